//! Random scenarios, judged by three independent judges: the policy engine, the naive evaluator, and packets. Each
//! disagreement is shrunk to a minimal scenario that shows it.

mod compare;
mod coverage;
mod describe;
mod disturb;
mod driver;
mod dry_run;
mod edit;
mod expect;
mod field;
mod flatten;
mod follow;
mod limits;
mod recording;
mod shrink;
mod spec_rule;
mod world;

pub use compare::{Differs, Disagreement};
pub use coverage::Coverage;
pub use describe::CaseName;
pub use disturb::{Tally, disturb};
pub use driver::{FuzzResult, Progress, fuzz};
pub use dry_run::{Case, cases};
pub use follow::{Found, Shown};
pub use limits::Limits;
