//! A naive evaluator of NetworkPolicy on Kubernetes' own types. It is slow and short, and it was written from the
//! specification alone, without use of [`policy`](crate::policy). Both evaluate random policies, and the answers are
//! compared.

mod evaluate;
mod model;
mod objects;
mod tiers;

pub use evaluate::evaluate;
pub use model::{Answer, End, Objects, Question, Target};
