//! How scenarios are run.

use std::collections::BTreeSet;

use crate::observe;
use crate::profile::Profile;
use crate::world::Capability;

/// How a run observes, how much it does at the same time, and what it excuses.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the states of each scenario are observed.
    pub observe: observe::Settings,
    /// What the environment must have, whatever scenarios declare. A lack of it is a failure.
    pub required: BTreeSet<Capability>,
    /// Number of scenarios that run at the same time. At least 1.
    pub parallel: usize,
    /// Whether to end after the first scenario that fails.
    pub fail_fast: bool,
    /// Whether to run everything, even if nothing enforces policies.
    pub keep_going: bool,
    /// Profiles of the network plugin.
    pub profiles: Vec<Profile>,
}

impl Settings {
    /// Returns the defaults of a run that observes like this.
    pub fn new(observe: observe::Settings) -> Self {
        let (required, profiles) = (BTreeSet::new(), Vec::new());
        Self { observe, required, parallel: 1, fail_fast: false, keep_going: true, profiles }
    }
}
