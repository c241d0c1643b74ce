//! The kinds that netproof does not read, and how they may affect the answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{kind, plain};
use crate::source::{Node, Value};

/// An object that netproof does not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherObject {
    /// `Kind`, or `Kind.group` outside the core group.
    pub kind: String,
    does: Does,
}

/// The effect of an object whose kind usually has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    Nothing,
    /// A policy of Kyverno with rules that make or change objects, such as NetworkPolicies and labels. Most policies
    /// of Kyverno only check objects.
    WritesObjects,
    /// A Subnet of Kube-OVN with rules. Every pod of Kube-OVN is in a Subnet, and most Subnets have no rules.
    Decides,
}

impl OtherObject {
    /// Returns an object of a kind that netproof does not read.
    pub(super) fn new(kind: String, node: &Node) -> Self {
        let does = match split(&kind) {
            (_, KYVERNO) if kyverno_writes_objects(node) => Does::WritesObjects,
            ("Subnet", KUBE_OVN) if subnet_decides(node) => Does::Decides,
            (_, _) => Does::Nothing,
        };
        Self { kind, does }
    }
}

const KYVERNO: &str = "kyverno.io";
const KUBE_OVN: &str = "kubeovn.io";

/// Policies of Kyverno. Their rules show whether they make objects.
const KYVERNO_POLICIES: [&str; 2] = ["ClusterPolicy", "Policy"];

fn kyverno_writes_objects(policy: &Node) -> bool {
    let rules = policy.get("spec").and_then(|spec| spec.get("rules"));
    let writes = |rule: &Node| {
        ["generate", "mutate"].into_iter().any(|field| rule.get(field).is_some_and(|rule| !rule.is_null()))
    };
    rules.map(Node::items).unwrap_or_default().iter().any(writes)
}

/// Returns whether a Subnet is private, or has lists of what it allows. A value of an unexpected type counts as well.
fn subnet_decides(subnet: &Node) -> bool {
    let decides = |value: &Node| match &value.value {
        Value::Null | Value::Bool(false) => false,
        Value::Sequence(items) => !items.is_empty(),
        Value::Bool(true) | Value::Integer(_) | Value::Float(_) | Value::String(_) | Value::Mapping(_) => {
            true
        }
    };
    let spec = subnet.get("spec");
    ["private", "allowSubnets", "acls"]
        .into_iter()
        .any(|field| spec.and_then(|spec| spec.get(field)).is_some_and(decides))
}

/// How the objects of a kind that netproof does not read affect the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Not at all: `ConfigMap`, `Secret` and others.
    None,
    /// They decide about packets or make pods, so the answer is unknown without them. The text says what they do.
    Unmodelled(String),
    /// They may decide about packets or make pods, but usually do not. The text says what they may do.
    Perhaps(String),
}

/// A kind that netproof does not model, and that has objects in the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmodelled {
    /// `Kind`, or `Kind.group` outside the core group.
    pub kind: String,
    /// Number of objects; `None` if they could not be counted.
    pub count: Option<usize>,
    /// What they do.
    #[serde(default)]
    pub why: String,
    /// Whether the user accepts by name that these objects are left out.
    #[serde(rename = "accepted")]
    pub is_accepted: bool,
}

/// The kinds that were not read, by their effect on the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherKinds {
    /// Kinds without an effect on NetworkPolicies, with the number of objects.
    pub ignored: BTreeMap<String, usize>,
    /// Kinds without which the answer is unknown.
    pub unmodelled: Vec<Unmodelled>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl OtherKinds {
    /// Groups objects that netproof does not read. Each object comes with its count.
    pub fn new(objects: &BTreeMap<OtherObject, usize>) -> Self {
        let mut sorted = Self::default();
        // One warning for all kinds that may do the same.
        let mut perhaps = BTreeMap::<String, Vec<String>>::new();
        for (object, count) in objects {
            let kind = &object.kind;
            match part_of(object) {
                Part::None => {
                    sorted.ignored.insert(kind.clone(), *count);
                }
                Part::Unmodelled(why) => sorted.unmodelled.push(Unmodelled {
                    kind: kind.clone(),
                    count: Some(*count),
                    why,
                    is_accepted: false,
                }),
                Part::Perhaps(why) => perhaps.entry(why).or_default().push(format!("{kind} ({count})")),
            }
        }
        let warnings = perhaps.into_iter().map(|(why, kinds)| format!("{}: {why}", kinds.join(", ")));
        sorted.warnings.extend(warnings);
        sorted
    }
}

impl Unmodelled {
    /// Marks the kind as accepted, if one of the names is its `Kind` or `Kind.group`.
    pub fn accept(&mut self, names: &[String]) {
        let (kind, _) = split(&self.kind);
        self.is_accepted |= names.iter().any(|name| *name == self.kind || name == kind);
    }
}

/// Writes `Kind.group (count): why`.
impl std::fmt::Display for Unmodelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            Some(count) => write!(f, "{} ({count}): {}", self.kind, self.why),
            None => write!(f, "{} (cannot be listed): {}", self.kind, self.why),
        }
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

/// A kind other than NetworkPolicy that may decide about packets.
#[derive(Debug, Clone, Copy)]
pub struct ForeignPolicy {
    /// Its API group.
    pub group: &'static str,
    /// Its name.
    pub kind: &'static str,
    effect: Effect,
}

/// The effect of a foreign policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It allows or denies packets.
    Decides,
    /// It is only staged: the network plugin does not enforce it.
    Staged,
    /// It redirects packets, or changes their source address.
    Redirects,
    /// It puts pods into networks of their own.
    Separates,
    /// It decides about requests, on connections that NetworkPolicies allow.
    ActsAbove,
    /// It adds networks to pods. NetworkPolicies do not apply there.
    AddsNetworks,
}

impl ForeignPolicy {
    /// Returns whether the network plugin enforces it: it is not only staged.
    pub fn is_in_force(&self) -> bool {
        self.effect != Effect::Staged
    }

    /// Returns its effect on the answer.
    pub fn part(&self) -> Part {
        let unmodelled = |what: &str| Part::Unmodelled(what.to_owned());
        match self.effect {
            Effect::Decides => unmodelled(DECIDES),
            Effect::Staged => unmodelled("is staged: it is not in force, and netproof does not model what it plans"),
            Effect::Redirects => unmodelled("changes where packets come from or go to, which netproof does not model"),
            Effect::Separates => unmodelled("gives pods networks of their own, which netproof does not model"),
            Effect::ActsAbove => {
                Part::Perhaps("decides about requests on connections that policies allow; netproof shows the connections".to_owned())
            }
            Effect::AddsNetworks => Part::Perhaps(
                "pods may have further networks, where NetworkPolicies do not hold and netproof does not look".to_owned(),
            ),
        }
    }
}

/// Returns the foreign kinds that may decide about packets.
pub fn foreign_policies() -> impl Iterator<Item = ForeignPolicy> {
    FOREIGN_POLICIES.iter().flat_map(|(group, effect, kinds)| {
        kinds.iter().map(|kind| ForeignPolicy { group, kind, effect: *effect })
    })
}

type Kinds = (&'static str, Effect, &'static [&'static str]);

const FOREIGN_POLICIES: &[Kinds] = {
    use Effect::{ActsAbove, AddsNetworks, Decides, Redirects, Separates, Staged};
    const CILIUM_REDIRECTS: &[&str] = &[
        "CiliumLocalRedirectPolicy",
        "CiliumEgressGatewayPolicy",
        "CiliumEgressNATPolicy",
        "CiliumEnvoyConfig",
        "CiliumClusterwideEnvoyConfig",
    ];
    const CALICO: &[&str] = &["NetworkPolicy", "GlobalNetworkPolicy", "Profile", "HostEndpoint"];
    const CALICO_STAGED: &[&str] =
        &["StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy"];
    &[
        ("cilium.io", Decides, &["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]),
        ("cilium.io", Redirects, CILIUM_REDIRECTS),
        ("crd.projectcalico.org", Decides, CALICO),
        ("crd.projectcalico.org", Staged, CALICO_STAGED),
        ("projectcalico.org", Decides, CALICO),
        ("projectcalico.org", Staged, CALICO_STAGED),
        ("crd.antrea.io", Decides, &["NetworkPolicy", "ClusterNetworkPolicy"]),
        ("crd.antrea.io", Redirects, &["Egress", "TrafficControl"]),
        ("networking.k8s.aws", Decides, &["ApplicationNetworkPolicy", "ClusterNetworkPolicy"]),
        ("k8s.ovn.org", Decides, &["EgressFirewall"]),
        ("k8s.ovn.org", Redirects, &["AdminPolicyBasedExternalRoute", "EgressIP", "EgressService"]),
        ("k8s.ovn.org", Separates, &["UserDefinedNetwork", "ClusterUserDefinedNetwork"]),
        ("network.openshift.io", Decides, &["EgressNetworkPolicy", "NetNamespace"]),
        ("networking.gke.io", Decides, &["FQDNNetworkPolicy"]),
        ("kubeovn.io", Decides, &["SecurityGroup"]),
        ("vpcresources.k8s.aws", Decides, &["SecurityGroupPolicy"]),
        ("neuvector.com", Decides, &["NvSecurityRule", "NvClusterSecurityRule"]),
        ("networking.istio.io", Decides, &["Sidecar"]),
        ("crd.nsx.vmware.com", Decides, &["SecurityPolicy"]),
        ("k8s.cni.cncf.io", Decides, &["MultiNetworkPolicy"]),
        ("k8s.cni.cncf.io", AddsNetworks, &["NetworkAttachmentDefinition"]),
        ("networking.istio.io", ActsAbove, &["EnvoyFilter"]),
        ("security.istio.io", ActsAbove, &["AuthorizationPolicy", "PeerAuthentication"]),
        ("policy.linkerd.io", ActsAbove, &["AuthorizationPolicy", "ServerAuthorization"]),
        ("kuma.io", ActsAbove, &["MeshTrafficPermission"]),
        ("consul.hashicorp.com", ActsAbove, &["ServiceIntentions"]),
    ]
};

/// Kinds that make pods, with the groups that have them. The text says how to get manifests that netproof can read
/// instead.
const POD_MAKERS: &[(&[&str], &str, &str)] = &[
    (&[""], "PodTemplate", "is a template of pods, which netproof sees only where the input has them"),
    (&["", "apps.openshift.io"], "DeploymentConfig", MAKES_PODS),
    (&["argoproj.io"], "Rollout", MAKES_PODS),
    (
        &["", "template.openshift.io"],
        "Template",
        "is a template of objects, which netproof does not read: pipe `oc process -f FILE -o json` to it",
    ),
    (
        &["kustomize.config.k8s.io"],
        "Kustomization",
        "describes what kustomize makes: pipe `kubectl kustomize DIR` to netproof",
    ),
];

const MAKES_PODS: &str =
    "makes pods, which netproof sees only where the input has them (kubectl get pods -A -o json)";

/// Kinds of admission controllers that make or change objects when other objects are made.
const OBJECT_MAKERS: &[(&str, &[&str])] = &[
    (
        "policies.kyverno.io",
        &["GeneratingPolicy", "MutatingPolicy", "NamespacedGeneratingPolicy", "NamespacedMutatingPolicy"],
    ),
    ("admissionregistration.k8s.io", &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"]),
];

/// Endings of the names of kinds that decide about packets, for network plugins that netproof does not know.
const DECIDING: [&str; 4] = ["NetworkPolicy", "Firewall", "SecurityGroupPolicy", "SecurityRule"];

const DECIDES: &str = "allows or denies packets by rules that netproof does not model";

const MAKES_OBJECTS: &str =
    "may make or change policies, labels and pods, which netproof sees only where the input has them";

/// Returns the foreign kind with this name and group, if there is one.
pub fn foreign_policy(kind: &str, group: &str) -> Option<ForeignPolicy> {
    foreign_policies().find(|policy| policy.group == group && policy.kind == kind)
}

/// Returns how a kind that decides about packets affects the answer. Returns `None` if it is not known to decide.
pub fn foreign_part(kind: &str, group: &str) -> Option<Part> {
    if let Some(policy) = foreign_policy(kind, group) {
        return Some(policy.part());
    }
    // A policy of an unknown network plugin must not be ignored like a ConfigMap.
    let seems_to_decide = !kind::is_closed(group)
        && !plain::is_plain(kind, group)
        && DECIDING.into_iter().any(|ending| kind.ends_with(ending));
    let why = "seems to allow or deny packets, by rules that netproof does not model";
    seems_to_decide.then(|| Part::Unmodelled(why.to_owned()))
}

/// Returns how an object affects the answer.
fn part_of(object: &OtherObject) -> Part {
    let (kind, group) = split(&object.kind);
    let is_it = |other_group: &str, other_kind: &str| other_group == group && other_kind == kind;
    if let Some(part) = foreign_part(kind, group) {
        return part;
    }
    let makes_pods = |groups: &[&str], maker: &str| groups.contains(&group) && maker == kind;
    if let Some((.., why)) = POD_MAKERS.iter().find(|(groups, maker, _)| makes_pods(groups, maker)) {
        return Part::Unmodelled((*why).to_owned());
    }
    let makes_objects =
        OBJECT_MAKERS.iter().any(|(group, kinds)| kinds.iter().any(|kind| is_it(group, kind)));
    match object.does {
        Does::Nothing if !makes_objects => {}
        Does::Nothing | Does::WritesObjects => return Part::Unmodelled(MAKES_OBJECTS.to_owned()),
        Does::Decides => return Part::Unmodelled(DECIDES.to_owned()),
    }
    if plain::is_plain(kind, group) || KYVERNO_POLICIES.iter().any(|kind| is_it(KYVERNO, kind)) {
        return Part::None;
    }
    if kind::is_closed(group) {
        let near = kind::similar(kind);
        let hint =
            if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) };
        return Part::Unmodelled(format!("netproof knows no such kind of Kubernetes{hint}"));
    }
    Part::Perhaps(
        "custom resources may make pods or policies, which netproof does not see unless they are in the input"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> OtherKinds {
        let object = |name: &&str| OtherObject { kind: (*name).to_owned(), does: Does::Nothing };
        OtherKinds::new(&names.iter().map(|name| (object(name), 1)).collect())
    }

    #[test]
    fn policies_of_other_kinds_are_told_apart_from_config_maps() {
        for name in [
            "CiliumNetworkPolicy.cilium.io",
            "CiliumClusterwideNetworkPolicy.cilium.io",
            "NetworkPolicy.crd.projectcalico.org",
            "GlobalNetworkPolicy.projectcalico.org",
            "StagedKubernetesNetworkPolicy.projectcalico.org",
            "ClusterNetworkPolicy.crd.antrea.io",
            "ApplicationNetworkPolicy.networking.k8s.aws",
            "ClusterNetworkPolicy.networking.k8s.aws",
            "EgressFirewall.k8s.ovn.org",
            "AdminPolicyBasedExternalRoute.k8s.ovn.org",
            "UserDefinedNetwork.k8s.ovn.org",
            "EgressIP.k8s.ovn.org",
            "EgressService.k8s.ovn.org",
            "TrafficControl.crd.antrea.io",
            "CiliumEnvoyConfig.cilium.io",
            "CiliumClusterwideEnvoyConfig.cilium.io",
            "MutatingPolicy.policies.kyverno.io",
            "SomeNetworkPolicy.unheard.of.example",
            "SecurityGroupPolicy.vpcresources.k8s.aws",
            "NvSecurityRule.neuvector.com",
            "NvClusterSecurityRule.neuvector.com",
            "CiliumEgressNATPolicy.cilium.io",
            "HostEndpoint.crd.projectcalico.org",
            "HostEndpoint.projectcalico.org",
            "Sidecar.networking.istio.io",
            "MutatingAdmissionPolicy.admissionregistration.k8s.io",
            "MutatingAdmissionPolicyBinding.admissionregistration.k8s.io",
            "SecurityGroupPolicy.unheard.of.example",
            "PodSecurityRule.unheard.of.example",
            "NetworkPolcy.networking.k8s.io",
            "Deploiment.apps",
            "DeploymentConfig",
            "DeploymentConfig.apps.openshift.io",
            "Rollout.argoproj.io",
            "PodTemplate",
            "Template.template.openshift.io",
            "Kustomization.kustomize.config.k8s.io",
        ] {
            assert_eq!(sorted(&[name]).unmodelled.len(), 1, "{name}");
        }
        for name in [
            "ConfigMap",
            "Secret",
            "Ingress.networking.k8s.io",
            "Role.rbac.authorization.k8s.io",
            "CiliumEndpoint.cilium.io",
            "NetworkPolicy.controlplane.antrea.io",
            "Tier.projectcalico.org",
            "ClusterPolicy.kyverno.io",
            "PolicyException.kyverno.io",
            "VirtualService.networking.istio.io",
            "ServiceMonitor.monitoring.coreos.com",
        ] {
            assert_eq!(sorted(&[name]).ignored.len(), 1, "{name}");
        }
        for name in [
            "Prometheus.monitoring.coreos.com",
            "VirtualMachine.kubevirt.io",
            "ClusterServiceVersion.operators.coreos.com",
            "StatefulSet.apps.kruise.io",
            "Secret.unheard.of.example",
            "AuthorizationPolicy.security.istio.io",
            "EnvoyFilter.networking.istio.io",
            // New kinds in groups of which netproof knows other kinds.
            "CiliumNewKind.cilium.io",
            "NewKind.networking.istio.io",
            "NewKind.kyverno.io",
            "NetworkAttachmentDefinition.k8s.cni.cncf.io",
            "Tenant.capsule.clastix.io",
            "Application.argoproj.io",
            "Subnet.kubeovn.io",
        ] {
            assert_eq!(sorted(&[name]).warnings.len(), 1, "{name}");
        }
    }

    /// Regression: a private Subnet was treated as a custom resource without rules.
    #[test]
    fn a_subnet_of_kube_ovn_is_a_policy_if_it_has_rules() {
        for (spec, does) in [
            ("{private: true}", Does::Decides),
            ("{acls: [{action: drop}]}", Does::Decides),
            ("{allowSubnets: [10.0.0.0/8]}", Does::Decides),
            ("{private: false, acls: [], allowSubnets: null, cidrBlock: 10.16.0.0/16}", Does::Nothing),
        ] {
            let node = crate::source::parse(&format!("spec: {spec}\n")).unwrap().remove(0);
            let subnet = OtherObject::new("Subnet.kubeovn.io".to_owned(), &node);
            assert_eq!(subnet.does, does, "{spec}");
            let is_unmodelled = matches!(part_of(&subnet), Part::Unmodelled(_));
            assert_eq!(is_unmodelled, does == Does::Decides, "{spec}");
        }
    }

    #[test]
    fn kinds_that_may_do_the_same_are_one_warning() {
        let warnings = sorted(&["B.example.com", "A.example.com", "C.example.org"]).warnings;
        assert_eq!(
            warnings,
            [
                "A.example.com (1), B.example.com (1), C.example.org (1): custom resources may make pods or policies, which netproof does not see unless they are in the input"
            ]
        );
    }

    #[test]
    fn a_misspelt_kind_of_kubernetes_is_told_what_it_may_be() {
        let unmodelled = sorted(&["NetworkPolcy.networking.k8s.io"]).unmodelled.remove(0);
        assert!(unmodelled.why.contains("did you mean NetworkPolicy"), "{unmodelled}");
    }

    #[test]
    fn kinds_are_accepted_by_name_with_or_without_their_group() {
        let accepted = |names: &[&str]| {
            let mut kind = sorted(&["NetworkPolicy.projectcalico.org"]).unmodelled.remove(0);
            kind.accept(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            kind.is_accepted
        };
        assert!(accepted(&["NetworkPolicy"]));
        assert!(accepted(&["Other", "NetworkPolicy.projectcalico.org"]));
        assert!(!accepted(&["NetworkPolicy.crd.projectcalico.org", "networkpolicy", ""]));
    }
}
