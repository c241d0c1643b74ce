//! Intent × expected × observed: what each cell's probes showed, what that means, and the results of
//! steps, scenarios and runs.

mod counts;
mod deviation;
mod judge;
mod latency;
mod nodes;
mod observation;
mod open;
mod power;
mod repeat;
mod result;

pub use counts::Counts;
pub use deviation::{AppliedProfile, DeviationResult, Excuse, Excuses};
pub use judge::{Cause, Evidence, Verdict, judge};
pub use latency::{Before, Change, Limits, Punctuality, Settling, TimeToSettle};
pub use nodes::{NodeCounts, NodeCoverage, Nodes};
pub use observation::{Agents, Control, Observation, observe};
pub use open::{Fate, OpenConnection};
pub use power::{EnforcementPoint, Power, detectable_share, enforcement_points, pools, probes_for};
pub use repeat::{Repetitions, merge};
pub use result::{
    CellResult, DeliveredUntil, Environment, Outcome, PolicyGap, RunResult, ScenarioFailure, ScenarioResult,
    StepResult,
};
