//! Helper pods: pods of a check whose agents are in the networks of running pods on the same node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use netproof_probe::wire::STARTUP_PORT;

use super::objects::{run_on, startup_probe};
use crate::backend::cluster::objects::Maker;

/// A running pod whose network an agent enters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::cluster) struct Entry {
    /// `metadata.uid`
    pub(in crate::backend::cluster) uid: String,
    /// `status.podIPs`
    pub(in crate::backend::cluster) addresses: Vec<IpAddr>,
}

/// Capabilities of a helper: to open the network namespace of a process of another user, to enter it, and to listen on
/// ports below 1024 there.
pub(super) const CAPABILITIES: [&str; 3] = ["SYS_PTRACE", "SYS_ADMIN", "NET_BIND_SERVICE"];

impl Maker {
    /// Turns a probe pod into a helper on a node. Its agent is controlled in the pod's own network, and does everything else
    /// in the network of a running pod.
    pub(in crate::backend::cluster) fn make_helper(&self, pod: &mut core::Pod, node: &str, entry: &Entry) {
        let Some(spec) = &mut pod.spec else { return };
        spec.host_pid = Some(true);
        run_on(spec, node);
        spec.security_context = Some(core::PodSecurityContext {
            run_as_user: Some(0),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            seccomp_profile: Some(core::SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..core::SeccompProfile::default()
            }),
            ..core::PodSecurityContext::default()
        });
        let mut arguments = vec!["--enter".to_owned(), entry.uid.clone()];
        arguments.extend(entry.addresses.iter().flat_map(|it| ["--address".to_owned(), it.to_string()]));
        arguments.extend(["--open".to_owned(), STARTUP_PORT.to_string()]);
        // Without a kubelet, the pod would not end at its deadline.
        arguments.extend(["--deadline".to_owned(), self.settings.deadline.as_secs().max(1).to_string()]);
        // The kubelet reaches the agent at the address of the running pod. So the agent is where it should be, and the
        // network of that pod works.
        let probe = startup_probe(entry.addresses.first().map(IpAddr::to_string));
        for container in &mut spec.containers {
            container.args.get_or_insert_default().extend(arguments.clone());
            container.startup_probe = Some(probe.clone());
            container.security_context = Some(security_context());
        }
    }
}

fn security_context() -> core::SecurityContext {
    core::SecurityContext {
        capabilities: Some(core::Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        }),
        read_only_root_filesystem: Some(true),
        // The default profiles of runtimes let a container read only processes that have the same profile.
        app_armor_profile: Some(core::AppArmorProfile {
            type_: "Unconfined".to_owned(),
            ..core::AppArmorProfile::default()
        }),
        ..core::SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cluster::agent_source::AgentSource;
    use crate::backend::cluster::mocked::settings;
    use crate::backend::cluster::settings::Settings;
    use crate::policy::Pod;
    use crate::snapshot::Identity;

    /// A field with a wrong name would be ignored.
    #[test]
    fn a_helper_has_the_least_that_it_needs() {
        let settings = Settings { image: None, ..settings() };
        let source = AgentSource::fake(&[("n", "amd64")]);
        let maker = Maker { run: "r".to_owned(), token: "t".to_owned(), settings, source };
        let pod = Pod { namespace: "helpers".to_owned(), name: "helper-1".to_owned(), ..Pod::default() };
        let real = Identity::new("netproof-r-helpers", "helper-1");
        let mut object = maker.pod(&pod, &real, "n", "pause").unwrap();
        let addresses = ["10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap()).to_vec();
        maker.make_helper(&mut object, "n", &Entry { uid: "1-2".to_owned(), addresses });
        insta::assert_snapshot!(serde_json::to_string_pretty(&object).unwrap());
    }
}
