//! Policies of the sentinels. Scenarios that run at the same time share the pods, but each has its own policy
//! and its own ports.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::Api;

use super::canaries::SENTINEL;
use super::deployment::policies::write;
use super::purpose::CANARIES;
use super::request::failed;
use super::shared::Shared;
use crate::backend::{Canary, Error, SENTINEL_PORT, SENTINEL_PORTS, Sentinels};

/// The policies that exist, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Vec<Slot>>);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    is_taken: bool,
    /// How often its policy has been written.
    changes: u16,
}

/// The right to use one policy of the sentinels while a scenario runs.
#[derive(Debug)]
pub(super) struct Turn {
    number: u16,
    changes: u16,
    pods: Vec<Canary>,
}

impl Turns {
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        // A panic while the lock was held left no partial change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first free policy, or a new one.
    pub(super) fn take(&self, pods: Vec<Canary>) -> Turn {
        let mut slots = self.slots();
        let index = slots.iter().position(|slot| !slot.is_taken).unwrap_or(slots.len());
        if index == slots.len() {
            slots.push(Slot::default());
        }
        let changes = slots.get_mut(index).map_or(0, |slot| {
            slot.is_taken = true;
            slot.changes
        });
        Turn { number: u16::try_from(index).unwrap_or(u16::MAX), changes, pods }
    }

    pub(super) fn give_back(&self, turn: &Turn) {
        if let Some(slot) = self.slots().get_mut(usize::from(turn.number)) {
            *slot = Slot { is_taken: false, changes: turn.changes };
        }
    }
}

impl Turn {
    fn first_port(&self) -> u16 {
        SENTINEL_PORT.saturating_add(self.number.saturating_mul(SENTINEL_PORTS))
    }

    /// Returns the sentinels after the last change.
    pub(super) fn sentinels(&self) -> Sentinels {
        Sentinels::after(self.changes, self.pods.clone(), self.first_port())
    }

    /// Opens the next port. An enforcer that processes policies in order has processed all earlier changes
    /// when packets get through to this port.
    pub(super) async fn move_on(&mut self, shared: &Shared) -> Result<(), Error> {
        let namespace = shared.names_of_canaries().namespace(CANARIES);
        let name = format!("sentinel-{}", self.number);
        let open = self.sentinels().next;
        let policy = shared.maker.open_port(&namespace, &name, SENTINEL, open)?;
        let policies: Api<NetworkPolicy> = Api::namespaced(shared.client.clone(), &namespace);
        let written = write(&policies, &name, &policy, self.changes > 0).await;
        written.map_err(failed(format!("apply NetworkPolicy {namespace}/{name}")))?;
        self.changes = self.changes.wrapping_add(1).max(1);
        Ok(())
    }
}
