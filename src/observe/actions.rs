//! What actions do to the endpoints.

use crate::world::{Action, EndpointName};

/// Returns the endpoint that an action removes.
pub(super) fn removed_end(action: &Action) -> Option<EndpointName> {
    match action {
        Action::RemovePod(pod) | Action::EndPod(pod) => Some(EndpointName::of_identity(pod)),
        Action::DeleteService(service) => Some(EndpointName::service(&service.namespace, &service.name)),
        Action::SetPolicy(_)
        | Action::DeletePolicy(_)
        | Action::SetClusterPolicy(_)
        | Action::DeleteClusterPolicy(_)
        | Action::SetService(_)
        | Action::LabelPod { .. }
        | Action::LabelNamespace { .. }
        | Action::AddPod(_) => None,
    }
}

/// Returns whether an action changes who is at an address, or where Services lead.
pub(super) fn changes_servers(action: &Action) -> bool {
    match action {
        Action::AddPod(_)
        | Action::RemovePod(_)
        | Action::EndPod(_)
        | Action::SetService(_)
        | Action::DeleteService(_)
        | Action::LabelPod { .. } => true,
        Action::SetPolicy(_)
        | Action::DeletePolicy(_)
        | Action::SetClusterPolicy(_)
        | Action::DeleteClusterPolicy(_)
        | Action::LabelNamespace { .. } => false,
    }
}
