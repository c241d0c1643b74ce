//! A naive evaluator of NetworkPolicy, written from the specification alone, on Kubernetes' own types:
//! slow, short, and without any knowledge of [`policy`](crate::policy). Random policies are held against
//! both.

mod evaluate;
mod objects;
mod tiers;

pub use evaluate::{Answer, End, Question, Target, World, evaluate};
