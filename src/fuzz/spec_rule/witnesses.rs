//! The spec rules that show in the engine's answers for a case.

use super::Found;
use crate::plan::Cell;
use crate::policy::{Decision, Direction, Expectation, Pod, Reason, Selection, UndefinedCause};
use crate::world::{EndpointName, Probe, World};

/// Function that returns whether a spec rule decides something in a case.
pub(super) type Witness = fn(&Found<'_>) -> bool;

/// The spec rules that show in the engine's reasons, or in the pattern of its answers.
pub(super) const WITNESSES: [(u8, Witness); 9] = [
    (14, |found| {
        // One direction is open, and the way back is closed: only replies may pass.
        found.any(|cell, answer| {
            answer.decision == Decision::Allow
                && found.any(|back, answer| {
                    let is_way_back = back.from == cell.to && back.to == cell.from && cell.from != cell.to;
                    is_way_back && back.family == cell.family && answer.decision == Decision::Deny
                })
        })
    }),
    (20, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::ServiceAddressInIpBlock(_)))),
    (26, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::HostNetwork { .. }))),
    (28, |found| {
        found.any(|cell, answer| {
            // Other senders are denied.
            let is_closed = |other: &Cell, answer: &Expectation| {
                let is_same = other.to == cell.to && other.probe == cell.probe && other.family == cell.family;
                is_same && other.from != cell.from && answer.decision == Decision::Deny
            };
            answer.reasons.contains(&Reason::OwnAddress) && found.any(is_closed)
        }) || found.any_undefined(|cause| matches!(cause, UndefinedCause::Hairpin { .. }))
    }),
    (29, |found| {
        found.any(|cell, answer| {
            let by_egress = |reason: &Reason| match reason {
                Reason::AllowedBy { rule, .. } | Reason::DeniedBy(rule) | Reason::PassedBy(rule) => {
                    rule.direction == Direction::Egress
                }
                Reason::Isolated { direction, .. } => *direction == Direction::Egress,
                Reason::NotIsolated(_)
                | Reason::OwnAddress
                | Reason::OwnNode
                | Reason::NoPodNetwork
                | Reason::Undefined(_)
                | Reason::Reading { .. } => false,
            };
            matches!(cell.probe, Probe::Dns { .. }) && answer.reasons.iter().any(by_egress)
        })
    }),
    (30, |found| {
        found.any(|cell, answer| {
            let by_host =
                |reason: &Reason| matches!(reason, Reason::Undefined(UndefinedCause::HostNetwork { .. }));
            answer.reasons.iter().any(by_host) && leads_to_host(&found.case.world, &cell.to)
        })
    }),
    (31, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::NodePort { .. }))),
    (43, |found| found.any_undefined(|cause| matches!(cause, UndefinedCause::Unordered { .. }))),
    (36, |found| found.added().any(|name| is_denied_something(found, &name))),
];

fn is_denied_something(found: &Found<'_>, name: &EndpointName) -> bool {
    found.any(|cell, answer| (cell.from == *name || cell.to == *name) && answer.decision == Decision::Deny)
}

fn leads_to_host(world: &World, name: &EndpointName) -> bool {
    let EndpointName::Service { namespace, name } = name else { return false };
    let Some(service) = world.service(namespace, name) else { return false };
    let leads_to =
        |pod: &Pod| pod.namespace == *namespace && service.backends.select(pod) == Selection::Selected;
    world.cluster.pods.iter().any(|pod| pod.host_network && leads_to(pod))
}
