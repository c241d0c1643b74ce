//! The API groups of kinds.

/// Returns `Kind`, or `Kind.group` outside the core group.
pub(super) fn full_name(api_version: &str, kind: &str) -> String {
    match of(api_version) {
        "" => kind.to_owned(),
        group => format!("{kind}.{group}"),
    }
}

/// Returns the group of an `apiVersion`. The core group is empty, because its `apiVersion` is only a version.
pub(super) fn of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Returns whether a group is one of Kubernetes' own. Their names have no dot, or end in `.k8s.io` or
/// `.kubernetes.io`. The groups of custom resources are domains, because the API server requires a dot in them.
/// `x-k8s.io` is the domain of experiments.
pub(super) fn is_own(group: &str) -> bool {
    let is_below =
        |domain: &str| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !group.contains('.') || is_below("k8s.io") || is_below("kubernetes.io")
}
