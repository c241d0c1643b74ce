//! The results of steps, scenarios and runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use super::judge::Verdict;
use super::latency::{Settling, TimeToSettle};
use super::machine::Machines;
use super::observation::Observation;
use super::open::OpenConnection;
use super::repeat::Repetitions;
use crate::plan::Cell;
use crate::policy::{Decision, Expectation};
use crate::profile::{Difference, Profile};
use crate::scenario::{Claim, Demonstrates, Item};

/// What a step found out about a cell.
#[derive(Debug, Clone)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// What the policies promise, and why.
    pub expected: Expectation,
    /// The difference of a profile that leaves undefined what packets do, whatever the policies promise.
    pub left_open: Option<Arc<Difference>>,
    /// What the scenario's author says they promise, if anything.
    pub asserted: Option<Claim>,
    /// What their owner wants, if that is said.
    pub intended: Option<Claim>,
    /// What the packets did; `None` if none could be sent.
    pub observed: Option<Observation>,
    /// What is true of it.
    pub verdict: Verdict,
    /// How many probes were sent.
    pub attempts: u32,
    /// How many of those were sent because an allowed probe had gone missing once.
    pub retries: u32,
    /// How long the step's change took to be in force; `None` if it changed nothing here, or if the
    /// packets did not do what is expected in the end.
    pub settled: Option<Settling>,
    /// How long after a new pod's first answer it was still delivered, where that pod had to be isolated
    /// from its first instant and was isolated later.
    pub delivered_until: Option<Duration>,
    /// Where its ends are.
    pub machines: Machines,
    /// How many repetitions had which verdict, by its name, if not all had the same.
    pub repeated: BTreeMap<&'static str, usize>,
}

/// A cell where the owner's intent and the policies say different things.
#[derive(Debug, Clone, Copy)]
pub struct PolicyGap<'a> {
    /// The cell.
    pub cell: &'a CellResult,
    /// What is intended.
    pub intended: Claim,
}

impl CellResult {
    /// What packets should do: what the policies promise, unless a profile leaves it undefined.
    pub fn decision(&self) -> Decision {
        if self.left_open.is_some() { Decision::Undefined } else { self.expected.decision }
    }

    /// Whether the author's assertion says something else than the policy engine.
    pub fn disagrees(&self) -> bool {
        self.asserted.is_some_and(|asserted| asserted != self.expected.decision)
    }

    fn gap(&self) -> Option<PolicyGap<'_>> {
        let intended = self.intended?;
        (intended != self.expected.decision).then_some(PolicyGap { cell: self, intended })
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Its name.
    pub name: String,
    /// The items of the semantics that it decides.
    pub items: BTreeSet<Item>,
    /// All of its cells, in the order in which they are shown.
    pub cells: Vec<CellResult>,
    /// How long it took since the first answer of a pod that came with the step until it was isolated by
    /// what was in force before, and until it was admitted.
    pub new_pods: TimeToSettle,
    /// What became of the connections that were open before the step.
    pub open_connections: Vec<OpenConnection>,
    /// How long it took to hand the changes over to whoever enforces them.
    pub handed_over: Duration,
    /// How many rounds of probes were sent.
    pub rounds: u32,
    /// How long the step took in all.
    pub took: Duration,
}

impl StepResult {
    /// The cells where intent and policies differ.
    pub fn gaps(&self) -> impl Iterator<Item = PolicyGap<'_>> {
        self.cells.iter().filter_map(CellResult::gap)
    }

    /// The cells where the author and the policy engine differ.
    pub fn disagreements(&self) -> impl Iterator<Item = &CellResult> {
        self.cells.iter().filter(|cell| cell.disagrees())
    }

    /// How many cells have which verdict.
    pub fn counts(&self) -> Counts {
        let verdicts = self.cells.iter().map(|cell| Counts::of(&cell.verdict)).sum::<Counts>();
        Counts {
            left_open: self.cells.iter().filter(|cell| is_left_open(cell)).count(),
            gaps: self.gaps().count(),
            disagreements: self.disagreements().count(),
            late: self.cells.iter().filter(|cell| cell.is_late()).count(),
            retries: self.cells.iter().map(|cell| cell.retries as usize).sum(),
            ..verdicts
        }
    }
}

fn is_left_open(cell: &CellResult) -> bool {
    cell.left_open.is_some() && cell.verdict == Verdict::Undefined
}

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// What it decides.
    pub description: String,
    /// The file that it was read from.
    pub file: Arc<str>,
    /// Set if it shows a mistake that has to be found.
    pub demonstrates: Option<Demonstrates>,
    /// The kinds of its manifests that have no part in NetworkPolicy, with their numbers.
    pub ignored: BTreeMap<String, usize>,
    /// The steps that were carried out.
    pub steps: Vec<StepResult>,
    /// Why the remaining steps were not.
    pub failure: Option<ScenarioFailure>,
    /// How long it took until the pods were there.
    pub start: Duration,
    /// How long to wait for an answer, as calibrated before the first step.
    pub timeout: Duration,
    /// How long the scenario took in all.
    pub took: Duration,
    /// How often it was carried out; `None` if it was asked for once.
    pub repetitions: Option<Repetitions>,
}

/// Why a scenario could not be carried out to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFailure {
    /// Why.
    pub message: String,
    /// Whether the same would happen to every other scenario.
    pub everywhere: bool,
}

/// What a result comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything matches.
    Pass,
    /// Something could not be measured or was flaky, and nothing is worse.
    Inconclusive,
    /// Leaks, blocked cells, policy gaps, assertions that the engine disagrees with, or changes that
    /// were in force too late.
    Fail,
}

impl ScenarioResult {
    /// How many cells have which verdict, over all steps.
    pub fn counts(&self) -> Counts {
        self.steps.iter().map(StepResult::counts).sum()
    }

    /// Whether a mistake that has to be found was not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => self.failure.is_none() && self.counts().gaps == 0,
            None => false,
        }
    }

    /// What the scenario comes to.
    pub fn outcome(&self) -> Outcome {
        let counts = self.counts();
        let gaps_count = match self.demonstrates {
            Some(Demonstrates::PolicyGap) => false,
            None => counts.gaps > 0,
        };
        let fails = counts.leaks + counts.blocked + counts.disagreements + counts.late > 0;
        if fails || gaps_count || self.misses_demonstration() {
            Outcome::Fail
        } else if counts.flaky + counts.inconclusive > 0 || self.failure.is_some() {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The scenarios, in the order in which they were given.
    pub scenarios: Vec<ScenarioResult>,
    /// How many scenarios were asked for, each counted once.
    pub asked: usize,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether the run ended because a scenario failed, and others were left.
    pub stopped: bool,
    /// The names of the scenarios that were not carried out, as often as they were not.
    pub unfinished: Vec<String>,
    /// Where packets were sent.
    pub surroundings: Surroundings,
    /// What was known of the network plugin.
    pub profiles: Vec<Profile>,
    /// How long the run took in all.
    pub took: Duration,
}

/// Where packets were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// `lab`, and with which fault, or `cluster` and its name.
    pub name: String,
    /// What is worth knowing of it: pairs of a name and a value.
    pub facts: Vec<(String, String)>,
    /// What may decide about packets although the verdicts do not know of it.
    pub warnings: Vec<String>,
    /// How many of a cluster's nodes the run covers; `None` in the lab.
    pub nodes: Option<NodeCoverage>,
}

/// How many of a cluster's nodes a run covers. What a run proves, it proves of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCoverage {
    /// The nodes that its scenarios run on.
    pub used: usize,
    /// All nodes of the cluster.
    pub all: usize,
}

impl From<(usize, usize)> for NodeCoverage {
    fn from((used, all): (usize, usize)) -> Self {
        Self { used, all }
    }
}

impl fmt::Display for NodeCoverage {
    /// `2 of 200 nodes`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, all } = self;
        write!(f, "{used} of {all} {}", if *all == 1 { "node" } else { "nodes" })
    }
}

impl RunResult {
    /// How many cells have which verdict, over all scenarios.
    pub fn counts(&self) -> Counts {
        self.scenarios.iter().map(ScenarioResult::counts).sum()
    }

    /// What the run comes to.
    pub fn outcome(&self) -> Outcome {
        let worst = self.scenarios.iter().map(ScenarioResult::outcome).max();
        let incomplete = self.interrupted || self.scenarios.len() < self.asked || !self.unfinished.is_empty();
        // A profile that leaves nothing to judge must not look like a pass.
        let incomplete = incomplete || self.counts().proves_nothing();
        worst.unwrap_or(Outcome::Pass).max(if incomplete { Outcome::Inconclusive } else { Outcome::Pass })
    }

    /// Why nothing could be carried out, if so.
    pub fn failure(&self) -> Option<&ScenarioFailure> {
        if self.scenarios.iter().any(|scenario| !scenario.steps.is_empty()) {
            // What was found out until then counts.
            return None;
        }
        let mut failures = self.scenarios.iter().filter_map(|scenario| scenario.failure.as_ref());
        failures.find(|failure| failure.everywhere)
    }
}

/// Numbers of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// As the policies say.
    pub matches: usize,
    /// Breaches.
    pub leaks: usize,
    /// Outages.
    pub blocked: usize,
    /// Differing answers after settling.
    pub flaky: usize,
    /// Left to the implementation, by the specification or by a profile.
    pub undefined: usize,
    /// Of these, by a profile.
    pub left_open: usize,
    /// Not measured because the kernel or the network lacks something that the probe needs.
    pub unsupported: usize,
    /// Not measured for another reason.
    pub inconclusive: usize,
    /// Intent and policies differ.
    pub gaps: usize,
    /// The author and the policy engine differ.
    pub disagreements: usize,
    /// The change took longer than it may.
    pub late: usize,
    /// Probes that were sent again because one had gone missing.
    pub retries: usize,
}

impl Counts {
    fn of(verdict: &Verdict) -> Self {
        let mut counts = Self::default();
        let counter = match verdict {
            Verdict::Match => &mut counts.matches,
            Verdict::Leak => &mut counts.leaks,
            Verdict::Blocked => &mut counts.blocked,
            Verdict::Flaky => &mut counts.flaky,
            Verdict::Undefined => &mut counts.undefined,
            Verdict::Inconclusive(cause) if cause.is_unsupported() => &mut counts.unsupported,
            Verdict::Inconclusive(_) => &mut counts.inconclusive,
        };
        *counter = 1;
        counts
    }

    /// Whether profiles left nothing to judge.
    pub fn proves_nothing(&self) -> bool {
        self.left_open > 0 && self.matches == 0
    }

    /// All cells.
    pub fn cells(&self) -> usize {
        self.matches
            + self.leaks
            + self.blocked
            + self.flaky
            + self.undefined
            + self.unsupported
            + self.inconclusive
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            matches: self.matches + other.matches,
            leaks: self.leaks + other.leaks,
            blocked: self.blocked + other.blocked,
            flaky: self.flaky + other.flaky,
            undefined: self.undefined + other.undefined,
            left_open: self.left_open + other.left_open,
            unsupported: self.unsupported + other.unsupported,
            inconclusive: self.inconclusive + other.inconclusive,
            gaps: self.gaps + other.gaps,
            disagreements: self.disagreements + other.disagreements,
            late: self.late + other.late,
            retries: self.retries + other.retries,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}
