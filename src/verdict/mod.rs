//! Intent × expected × observed: what each cell's probes showed, what that means, and the results of
//! steps, scenarios and runs.

mod counts;
mod deviation;
mod judge;
mod latency;
mod machine;
mod observation;
mod open;
mod power;
mod repeat;
mod result;

pub use counts::Counts;
pub use deviation::{DeviationResult, Excuses};
pub use judge::{Cause, Evidence, Verdict, judge};
pub use latency::{Before, Change, Latency, Limits, Punctuality, Quantiles, Settling, TimeToSettle};
pub use machine::{MachineCounts, Machines, NodeCoverage};
pub use observation::{Agents, Control, Observation, observe};
pub use open::{Fate, OpenConnection, OpenCounts};
pub use power::{EnforcementPoint, Power, detectable_share, enforcement_points, pools, probes_for};
pub use repeat::{Repetitions, merge};
pub use result::{
    CellResult, DeliveredUntil, Environment, Excuse, LessProved, Outcome, PolicyGap, RunResult,
    ScenarioFailure, ScenarioResult, Shortcoming, StepResult,
};
