//! The documents that netproof writes and reads as JSON, one schema each.
//!
//! The same types write and read a document. They are plain data: a document needs neither the engine nor the
//! run that it comes from. Reading ignores unknown fields, because fields may be added, and takes the default
//! for fields that older versions did not write. The exception is [`ExpectationDocument`]: its pairs are computed
//! while a report writes them, and it is not read.
//!
//! `docs/json.md` documents the fields. Fields with `#[serde(skip)]` are not in JSON. Reports need them, too.

mod cell;
mod comparison;
mod diagnosis;
mod expectation;
mod fuzz;
mod profile;
mod run;
mod scenario;
mod scenario_list;
mod selftest;
mod tenancy;
mod time;
mod verify;
mod verify_plan;

pub use cell::{Cell, CellDeviation, Observation, Problem, Reason, Verdict};
pub use comparison::{
    CellPlace, CellState, ComparedRun, ComparisonCounts, ComparisonDocument, Coverage, Difference,
    EnvironmentChange, ScenarioCells, Slower, StepCells, Thresholds, TimeComparison,
};
pub use diagnosis::{Cause, Diagnosis, Enforcement, Explanation, UnexplainedCell};
pub use expectation::{AllPorts, Assumption, ExpectationDocument, ExpectedTraffic, Ports, UnshownServices};
pub use fuzz::{Finding, FuzzDocument, RuleCases};
pub use profile::{Deviation, Profile};
pub use run::{Error, RunDocument};
pub use scenario::{Alone, Fate, OpenConnection, Scenario, Step};
pub use scenario_list::{Deciding, ListedRule, ListedScenario, ScenarioListDocument};
pub use selftest::{FaultAccuracy, FaultDiagnosis, FaultTrial, SelfTestDocument, TriedFault};
pub use tenancy::{ListedTenant, ListedZone, TenantListDocument};
pub use time::{Latency, Millis, Quantiles, RunLatency, StepTimes};
pub use verify::{Blame, Difference as TenantDifference, Tenant, TenantPair, VerifyDocument};
pub use verify_plan::{AddedPod, NeededRights, NeededRole, VerifyPlanDocument};

pub use crate::fuzz::{Differs, Tally};
pub use crate::policy::{Decision, Direction, IpFamily, Labels};
pub use crate::scenario::Demonstrates;
pub(crate) use crate::selftest::ENOUGH;
pub use crate::snapshot::Unmodelled;
pub use crate::verdict::{Change, Counts, NodeCounts, NodeCoverage, Outcome, Proof, Repetitions};
pub use crate::verify::{ClosedBySender, Coverage as TwinCoverage, Gap, LabelLeak, State as PairState};

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares an enum whose variants have names in JSON.
macro_rules! names {
    ($(#[$about:meta])* $enum:ident { $($(#[$meta:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $enum { $($(#[$meta])* #[serde(rename = $name)] $variant,)+ }

        impl $enum {
            /// Returns the name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}
use names;

/// Declares enums of one variant: a document of another version or kind is refused.
macro_rules! fixed {
    ($($(#[$about:meta])* $enum:ident::$variant:ident = $name:literal;)+) => { $(
        names! { $(#[$about])* #[derive(Default)] $enum { #[doc = $name] #[default] $variant = $name, } }
    )+ };
}

fixed! {
    /// Version of the schemas. While it is an alpha version, fields may be renamed: CHANGELOG.md lists them.
    ApiVersion::V1Alpha1 = "netproof.dev/v1alpha1";
    /// Kind of a [`RunDocument`].
    RunKind::RunResult = "RunResult";
    /// Kind of a [`ComparisonDocument`].
    ComparisonKind::RunComparison = "RunComparison";
    /// Kind of a [`FuzzDocument`].
    FuzzKind::FuzzResult = "FuzzResult";
    /// Kind of a [`ScenarioListDocument`].
    ListKind::ScenarioList = "ScenarioList";
    /// Kind of a [`VerifyDocument`].
    VerifyKind::VerifyResult = "VerifyResult";
    /// Kind of a [`VerifyPlanDocument`].
    VerifyPlanKind::VerifyPlan = "VerifyPlan";
    /// Kind of an [`ExpectationDocument`].
    ExpectationKind::ExpectedMatrix = "ExpectedMatrix";
    /// Kind of a [`TenantListDocument`].
    TenantListKind::TenantList = "TenantList";
}

/// A map that is written in the order of its names, and that keeps its own order for reports.
mod by_name {
    use super::*;

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        pairs: &[(String, V)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)).collect::<BTreeMap<_, _>>())
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, V)>, D::Error> {
        BTreeMap::deserialize(deserializer).map(|map| map.into_iter().collect())
    }
}

/// Returns the list of an iterator of values that are shown.
fn texts(values: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}
