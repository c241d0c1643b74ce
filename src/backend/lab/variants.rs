//! Enforcers with a fault, as variants of a lab that enforces correctly.

use super::Lab;
use crate::backend::{Error, Variants};
use crate::deviation::{EnforcerState, Fault, Follower};

/// An enforcer with a fault.
#[derive(Debug)]
pub(super) struct Variant {
    fault: Fault,
    pub(super) follower: Follower,
    pub(super) view: EnforcerState,
}

impl Lab {
    /// Creates a lab that enforces correctly. At any time, it can be switched to enforce with one of these
    /// faults.
    ///
    /// # Errors
    /// If this machine lacks something that a lab needs.
    pub fn with_variants(faults: impl IntoIterator<Item = Fault>) -> Result<Self, Error> {
        let variant = |fault| Variant {
            fault,
            follower: Follower::new(Some(fault.deviation())),
            view: EnforcerState::default(),
        };
        Ok(Self { variants: faults.into_iter().map(variant).collect(), ..Self::new(None)? })
    }

    fn variant(&self, fault: Fault) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.fault == fault)
    }
}

impl Variants for Lab {
    type Variant = Fault;

    fn differing(&self, faults: &[Fault]) -> Vec<Fault> {
        let right = self.rules(&self.view, self.fault);
        let differs = |fault: &Fault| {
            self.variant(*fault).is_some_and(|variant| {
                // Equal enforcer states compile to equal rules, unless the fault is in the compiler.
                let is_plain = fault.compile().is_none() && fault.datapath().is_none();
                let is_known = is_plain && variant.view.is_same(&self.view);
                !is_known && self.rules(&variant.view, Some(*fault)) != right
            })
        };
        faults.iter().copied().filter(differs).collect()
    }

    async fn vary(&mut self, fault: Option<Fault>) -> Result<(), Error> {
        let varied = fault.and_then(|fault| self.variant(fault));
        let rules = match varied {
            Some(variant) => self.rules(&variant.view, fault),
            None => self.rules(&self.view, self.fault),
        };
        self.replace_rules(rules).await
    }
}
