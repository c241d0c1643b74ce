//! From cells to a cause: which deviations of the catalogue predict the cells that differ, and no others.
//!
//! A diagnosis is pure. It takes the results of a run, and the states that the enforcers were given. For each
//! hypothesis, it predicts each judged cell with the policy engine, and compares the prediction with the packets.

mod enforcement;
mod enforcer;
mod evidence;
mod ground;
mod hypothesis;
mod packets;
mod result;
mod search;
mod subject;

pub use enforcement::Enforcement;
pub use evidence::{Case, Evidence, Seen, Shown};
pub use result::{Cause, Diagnosis, Explanation, Unexplained};
pub(crate) use search::diagnose;
