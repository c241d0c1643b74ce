//! A Service whose endpoints are promised different things: which promise a probe tests.

use crate::policy::Decision;
use crate::scenario::EndpointName;

/// Returns the decision that applies to one probe of a Service.
///
/// `servers` are the endpoints that the Service may choose, each with what the policies promise of a packet that
/// it chooses it for. `reached` are the endpoints that answered the probe or received its nonce.
///
/// A probe that reached an endpoint tests the promise of that endpoint: if it is denied, the delivery is a leak. If
/// several endpoints were reached, one that is denied is enough. Silence does not say which endpoint was chosen, so
/// it contradicts the promises only if none of them is a denial.
pub fn applicable(servers: &[(EndpointName, Decision)], reached: &[EndpointName]) -> Decision {
    let is_tested = |endpoint: &EndpointName| reached.is_empty() || reached.contains(endpoint);
    let tested = servers.iter().filter(|(endpoint, _)| is_tested(endpoint)).map(|(_, decision)| *decision);
    tested.reduce(Decision::and).unwrap_or(Decision::Undefined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Allow, Deny, Undefined};

    fn pod(name: &str) -> EndpointName {
        EndpointName::pod("x", name)
    }

    fn decided(servers: &[(&str, Decision)], reached: &[&str]) -> Decision {
        let servers: Vec<_> = servers.iter().map(|(name, decision)| (pod(name), *decision)).collect();
        let reached: Vec<_> = reached.iter().map(|name| pod(name)).collect();
        applicable(&servers, &reached)
    }

    #[test]
    fn an_answer_of_a_denied_backend_is_a_leak_though_another_one_is_allowed() {
        let servers = [("web", Allow), ("db", Deny)];
        assert_eq!(decided(&servers, &["db"]), Deny);
        assert_eq!(decided(&servers, &["web"]), Allow);
        // A datagram that was sent again may arrive at both.
        assert_eq!(decided(&servers, &["web", "db"]), Deny);
    }

    #[test]
    fn silence_is_right_if_a_backend_is_denied() {
        assert_eq!(decided(&[("web", Allow), ("db", Deny)], &[]), Deny);
        assert_eq!(decided(&[("web", Allow), ("api", Allow)], &[]), Allow);
        assert_eq!(decided(&[("web", Allow), ("host", Undefined)], &[]), Undefined);
    }

    #[test]
    fn nothing_is_decided_by_an_endpoint_that_the_service_does_not_have() {
        assert_eq!(decided(&[("web", Allow)], &["stranger"]), Undefined);
        assert_eq!(decided(&[], &[]), Undefined);
        assert_eq!(decided(&[("web", Allow), ("host", Undefined)], &["host"]), Undefined);
    }
}
