//! Why profiles make cells undefined.

use std::sync::Arc;
use std::time::Duration;

/// A profile of a run.
#[derive(Debug, Clone)]
pub struct AppliedProfile {
    /// Name of the profile.
    pub name: String,
    /// Description of the network plugin.
    pub description: String,
    /// Known deviations of the network plugin.
    pub deviations: Vec<Arc<Excuse>>,
}

/// A known deviation of a network plugin: why a profile excuses cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excuse {
    /// Name of its profile.
    pub profile: String,
    /// What the network plugin does instead.
    pub reason: String,
    /// Where the deviation is documented. At least one.
    pub references: Vec<String>,
    /// File, line and column.
    pub place: String,
    /// Whether it excuses only a moment. That moment may be over before the first probe. So if the deviation
    /// decides no cell of a run, that does not show that it is out of date.
    pub is_momentary: bool,
    /// Longest moment that it excuses. `None` if the moment may last until the settle deadline.
    pub longest_moment: Option<Duration>,
}

impl Excuse {
    /// Returns whether deliveries that lasted this long fit into the excused moment.
    pub fn is_moment(&self, lasted: Duration) -> bool {
        self.longest_moment.is_none_or(|longest| lasted <= longest)
    }
}
