//! The result of a check of tenants.

#![expect(missing_docs, reason = "docs/json.md documents the fields")]

use serde::{Deserialize, Serialize};

use super::{ApiVersion, Cell, RunDocument, VerifyKind, names, texts};
use crate::policy::Decision;
use crate::tenants::{Intent, Tenancy};
use crate::verdict::Outcome;
use crate::verify::{Checked, ClosedBySender, Coverage, Gap, LabelLeak, Plan, Question, State};

names! {
    /// What is wrong: the policies, or the network.
    Blame {
        /// The network does something else than the policies promise.
        EnforcementGap = "enforcementGap",
        /// The policies promise something else than the owners want.
        PolicyGap = "policyGap",
    }
}

/// The result of a check of tenants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyDocument {
    pub api_version: ApiVersion,
    pub kind: VerifyKind,
    pub version: Option<String>,
    pub outcome: Outcome,
    pub exit_code: u8,
    pub tenants: Vec<Tenant>,
    pub co_owned: Vec<String>,
    pub coverage: Coverage,
    /// Destinations that nobody reaches, so that nothing was asked about them.
    pub silent: Vec<String>,
    /// What is not known, although a pass needs it.
    #[serde(default)]
    pub lacks: Vec<String>,
    pub matrix: Vec<TenantPair>,
    pub label_leaks: Vec<LabelLeak>,
    /// Connections to other tenants that only the policies of their senders deny.
    #[serde(default)]
    pub closed_by_sender: Vec<ClosedBySender>,
    /// Policy gaps of all connections, also of those that were not asked.
    pub gaps: Vec<Gap>,
    /// What was not asked, and why.
    pub notes: Vec<String>,
    pub differences: Vec<Difference>,
    /// The cells, as one scenario with one step.
    pub run: RunDocument,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub name: String,
    pub namespaces: Vec<String>,
    pub ingress: String,
    pub egress: String,
    pub mode: String,
}

/// What one tenant can do to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPair {
    /// `None` stands for everything that belongs to no tenant.
    pub from: Option<String>,
    pub to: Option<String>,
    pub state: State,
}

/// A connection about which intent, policies and packets disagree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub blame: Blame,
    /// Whether it does not change the exit code, because its tenants are only monitored.
    pub monitored: bool,
    pub from_tenants: Vec<String>,
    pub to_tenants: Vec<String>,
    /// What the owners want of the connection: `required`, `permitted` or `forbidden`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wish: Option<String>,
    /// What says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(flatten)]
    pub cell: Cell,
}

impl Difference {
    /// Returns whether something gets through, or may get through, that must not.
    pub fn is_open(&self) -> bool {
        match self.blame {
            Blame::EnforcementGap => self.cell.verdict == super::Verdict::Leak,
            Blame::PolicyGap => self.cell.intended == Some(Decision::Deny),
        }
    }
}

impl VerifyDocument {
    /// Describes the result of a plan's check.
    pub fn new(plan: &Plan, tenancy: &Tenancy, checked: &Checked) -> Self {
        let mut run = RunDocument::from(&checked.run);
        let outcome = checked.outcome();
        let exit_code = outcome.exit_code_unless(run.interrupted);
        (run.outcome, run.exit_code) = (outcome, exit_code);
        let pairs = checked.matrix.states.iter();
        let pairs =
            pairs.map(|((from, to), state)| TenantPair { from: from.clone(), to: to.clone(), state: *state });
        Self {
            api_version: ApiVersion::V1Alpha1,
            kind: VerifyKind::VerifyResult,
            version: run.version.clone(),
            outcome,
            exit_code,
            tenants: tenancy.tenants().iter().map(Tenant::from).collect(),
            co_owned: texts(tenancy.co_owned()),
            coverage: plan.coverage,
            silent: checked.silent.iter().cloned().collect(),
            lacks: checked.lacks.clone(),
            matrix: pairs.collect(),
            label_leaks: plan.label_leaks.clone(),
            closed_by_sender: plan.closed_by_sender.clone(),
            gaps: plan.gaps.clone(),
            notes: plan.notes.clone(),
            differences: run
                .cells()
                .zip(&checked.questions)
                .flat_map(|(cell, question)| differences(cell, question))
                .collect(),
            run,
        }
    }

    /// Returns the policy gaps that no probe has shown: none was sent between these tenants, namespaces or addresses.
    pub fn unprobed_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| {
            !self.differences.iter().any(|it| {
                it.blame == Blame::PolicyGap
                    && it.why.as_ref() == Some(&gap.why)
                    && it.cell.intended == Some(gap.wanted)
                    && (&it.from_tenants, &it.to_tenants) == (&gap.from_tenants, &gap.to_tenants)
                    && namespace(&it.cell.from) == gap.from_namespace.as_deref()
                    && namespace(&it.cell.to) == gap.to_namespace.as_deref()
            })
        })
    }

    /// Returns whether a policy gap that counts lets something through.
    pub fn has_open_gap(&self) -> bool {
        self.gaps.iter().any(|gap| !gap.monitored && gap.wanted == Decision::Deny)
    }
}

impl From<&crate::tenants::Tenant> for Tenant {
    fn from(tenant: &crate::tenants::Tenant) -> Self {
        Self {
            name: tenant.name.clone(),
            namespaces: tenant.namespaces.iter().cloned().collect(),
            ingress: tenant.ingress.to_string(),
            egress: tenant.egress.to_string(),
            mode: tenant.mode.to_string(),
        }
    }
}

/// Returns the namespace of an end of a cell. `None` if it is no pod.
fn namespace(end: &str) -> Option<&str> {
    end.split_once('/').map(|(namespace, _)| namespace).filter(|namespace| !namespace.contains(':'))
}

/// Returns the differences of a cell: the network may be wrong, the policies, or both.
fn differences(cell: &Cell, question: &Question) -> Vec<Difference> {
    let is_wrong = match cell.verdict {
        super::Verdict::Leak | super::Verdict::Blocked => true,
        super::Verdict::Match
        | super::Verdict::Flaky
        | super::Verdict::Undefined
        | super::Verdict::Skipped
        | super::Verdict::Inconclusive => false,
    };
    let has_gap = cell.has(super::Problem::PolicyGap);
    let blames = [(is_wrong, Blame::EnforcementGap), (has_gap, Blame::PolicyGap)];
    let blames = blames.into_iter().filter(|(is_it, _)| *is_it);
    let difference = |(_, blame)| {
        let intent: Option<&Intent> = question.intent.as_ref();
        Difference {
            blame,
            monitored: match blame {
                Blame::PolicyGap => !question.is_enforced(),
                Blame::EnforcementGap => question.monitored,
            },
            from_tenants: question.from.clone(),
            to_tenants: question.to.clone(),
            wish: intent.map(|intent| intent.wish.to_string()),
            why: intent.map(|intent| intent.why.clone()),
            cell: cell.clone(),
        }
    };
    blames.map(difference).collect()
}
