//! Where a cleanup looks.

/// The namespaces in which a cleanup looks. Without any, it looks in the whole cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// Namespaces that were prepared for runs.
    pub prepared: &'a [String],
    /// Namespaces of tenants, in which checks may have left probe pods.
    pub tenants: &'a [String],
}

impl Places<'_> {
    /// Returns whether the whole cluster is meant.
    pub(super) fn is_everywhere(self) -> bool {
        self.prepared.is_empty() && self.tenants.is_empty()
    }
}
