//! Intent × expected × observed: what each cell's probes showed, what that means, and the results of
//! steps, scenarios and runs.

mod judge;
mod observation;
mod result;

pub use judge::{Cause, Evidence, Verdict, judge};
pub use observation::{Observation, observe};
pub use result::{
    CellResult, Counts, Machines, Outcome, PolicyGap, RunResult, ScenarioFailure, ScenarioResult, StepResult,
    TimeToSettle,
};
