//! Observes a network under test, state by state: rounds of probes that settle by polling what differs and
//! are then confirmed, and the evidence for the verdict of each cell.
//!
//! A caller that has changes to apply drives an [`Observer`], or one that checks a network as it is. The module knows
//! cells, routes, worlds and decisions. It knows no scenario and no tenant.

mod actions;
mod arrived;
mod baseline;
mod batch;
mod brackets;
mod canary;
mod conclude;
mod control;
mod finding;
mod glance;
mod held;
mod late;
mod ledger;
mod legs;
mod listen;
mod new_pods;
mod observer;
mod pace;
mod planned;
mod power;
mod reference;
mod round;
mod sentinel;
mod settings;
mod settle;
mod settle_closer;
mod settle_confirm;
mod settle_in_force;
mod settle_loss;
#[cfg(test)]
mod settle_networks;
mod sighting;
mod track;
mod unchanged;

pub(crate) use baseline::Calibration;
pub(crate) use finding::Finding;
pub(crate) use held::Held;
pub(crate) use observer::{Applied, Observed, Observer};
pub(crate) use planned::PlannedCell;
pub(crate) use settings::Settings;
