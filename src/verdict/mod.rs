//! Intent × expected × observed: what each cell's probes showed, what that means, and the results of
//! steps, scenarios and runs.

mod alone;
mod counts;
mod enforcers;
mod excuse;
mod judge;
mod latency;
mod nodes;
mod observation;
mod open;
mod outcome;
mod power;
mod repeat;
mod result;

pub use counts::Counts;
pub use enforcers::Nodes;
pub use excuse::{AppliedProfile, Excuse};
pub use judge::{Cause, Evidence, Verdict, judge};
pub use latency::{Before, Change, Limits, PerChange, Punctuality, Settling, TimeToSettle};
pub use nodes::{NodeCounts, NodeCoverage};
pub use observation::{Agents, Control, Observation, observe};
pub use open::{Fate, OpenConnection};
pub use outcome::{INTERRUPTED, Outcome};
pub use power::{EnforcementPoint, Proof, enforcement_points, pools, probes_for};
pub use repeat::{Attempt, merge, with_earlier};
pub use result::{
    Alone, Beside, CellResult, DeliveredUntil, Environment, Repetitions, RunResult, ScenarioFailure,
    ScenarioResult, StepResult,
};
