//! Observing a network under test: rounds of probes that settle by polling what differs and are then confirmed,
//! with the evidence that a judgement needs. Knows cells, worlds and decisions, and no scenarios.

mod arrived;
mod batch;
pub(crate) mod canary;
pub(crate) mod held;
pub(crate) mod ledger;
mod legs;
pub(crate) mod listen;
pub(crate) mod new_pods;
pub(crate) mod power;
pub(crate) mod round;
pub(crate) mod sentinel;
pub(crate) mod settle;
mod settle_closer;
mod settle_in_force;
mod settle_loss;
pub(crate) mod track;
