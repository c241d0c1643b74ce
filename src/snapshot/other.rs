//! The kinds that netproof does not read, and how they may affect the answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::info::NotEnforced;
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

/// Group of netproof's own files, which may be beside manifests.
const OWN: &str = "netproof.dev";

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
    Unmodelled(Cow<'static, str>),
    /// They may decide about packets or make pods, but usually do not. The text says what they may do.
    Perhaps(Cow<'static, str>),
    /// Not at all, although they look like policies: the network plugin only stages them.
    Staged,
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
    /// Kinds of policies that are only staged.
    pub staged: Vec<NotEnforced>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl OtherKinds {
    /// Groups objects that netproof does not read. Each object comes with its count.
    pub fn new(objects: &BTreeMap<OtherObject, usize>) -> Self {
        let mut sorted = Self::default();
        // One warning for all kinds that may do the same.
        let mut perhaps = BTreeMap::<_, Vec<String>>::new();
        for (object, count) in objects {
            let kind = &object.kind;
            match part_of(object) {
                Part::None => {
                    sorted.ignored.insert(kind.clone(), *count);
                }
                Part::Unmodelled(why) => sorted.unmodelled.push(Unmodelled {
                    kind: kind.clone(),
                    count: Some(*count),
                    why: why.into_owned(),
                    is_accepted: false,
                }),
                Part::Perhaps(why) => perhaps.entry(why).or_default().push(format!("{kind} ({count})")),
                Part::Staged => sorted.staged.push(NotEnforced {
                    what: format!("{kind} ({count})"),
                    why: STAGED.to_owned(),
                    source: String::new(),
                    is_everything: false,
                }),
            }
        }
        let warnings = perhaps.into_iter().map(|(why, kinds)| format!("{}: {why}", kinds.join(", ")));
        sorted.warnings.extend(warnings);
        sorted
    }
}

impl Unmodelled {
    /// Returns the kind without its group.
    pub fn name(&self) -> &str {
        split(&self.kind).0
    }

    /// Returns whether this is the kind's name: `Kind` or `Kind.group`.
    pub fn has_name(&self, name: &str) -> bool {
        name == self.kind || name == self.name()
    }

    /// Marks the kind as accepted, if one of the names is its own.
    pub fn accept(&mut self, names: &[String]) {
        self.is_accepted |= names.iter().any(|name| self.has_name(name));
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
    effect: &'static Part,
}

/// Returns the foreign kinds that may decide about packets.
pub fn foreign_policies() -> impl Iterator<Item = ForeignPolicy> {
    let of_group = |(group, effect, kinds): &'static Kinds| {
        kinds.iter().map(move |kind| ForeignPolicy { group, kind, effect })
    };
    FOREIGN_POLICIES.iter().flat_map(of_group)
}

const fn unmodelled(what: &'static str) -> Part {
    Part::Unmodelled(Cow::Borrowed(what))
}

const fn perhaps(what: &'static str) -> Part {
    Part::Perhaps(Cow::Borrowed(what))
}

/// Of kinds that allow or deny packets.
const DECIDES: Part = unmodelled("allows or denies packets by rules that netproof does not model");
/// Of kinds that the network plugin does not enforce.
pub(crate) const STAGED: &str =
    "is staged: the network plugin reports what it would do, and does not enforce it";
/// Of kinds that redirect packets, or change their source address.
const REDIRECTS: Part = unmodelled("changes where packets come from or go to, which netproof does not model");
/// Of kinds that put pods into networks of their own.
const SEPARATES: Part = unmodelled("gives pods networks of their own, which netproof does not model");
/// Of kinds that decide about requests, on connections that NetworkPolicies allow.
const ACTS_ABOVE: Part =
    perhaps("decides about requests on connections that policies allow; netproof shows the connections");
/// It adds networks to pods. NetworkPolicies do not apply there.
const ADDS_NETWORKS: Part =
    perhaps("pods may have further networks, where NetworkPolicies do not hold and netproof does not look");
const MAKES_PODS: Part =
    unmodelled("makes pods, which netproof sees only where the input has them (kubectl get pods -A -o json)");
/// It belongs to an admission controller, and makes or changes objects when other objects are made.
const MAKES_OBJECTS: Part = unmodelled(
    "may make or change policies, labels and pods, which netproof sees only where the input has them",
);

/// Kinds of a group that do the same.
type Kinds = (&'static str, Part, &'static [&'static str]);

const FOREIGN_POLICIES: &[Kinds] = {
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
        ("cilium.io", DECIDES, &["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"]),
        ("cilium.io", REDIRECTS, CILIUM_REDIRECTS),
        ("crd.projectcalico.org", DECIDES, CALICO),
        ("crd.projectcalico.org", Part::Staged, CALICO_STAGED),
        ("projectcalico.org", DECIDES, CALICO),
        ("projectcalico.org", Part::Staged, CALICO_STAGED),
        ("crd.antrea.io", DECIDES, &["NetworkPolicy", "ClusterNetworkPolicy"]),
        ("crd.antrea.io", REDIRECTS, &["Egress", "TrafficControl"]),
        ("networking.k8s.aws", DECIDES, &["ApplicationNetworkPolicy", "ClusterNetworkPolicy"]),
        ("k8s.ovn.org", DECIDES, &["EgressFirewall"]),
        ("k8s.ovn.org", REDIRECTS, &["AdminPolicyBasedExternalRoute", "EgressIP", "EgressService"]),
        ("k8s.ovn.org", SEPARATES, &["UserDefinedNetwork", "ClusterUserDefinedNetwork"]),
        ("network.openshift.io", DECIDES, &["EgressNetworkPolicy", "NetNamespace"]),
        ("networking.gke.io", DECIDES, &["FQDNNetworkPolicy"]),
        ("kubeovn.io", DECIDES, &["SecurityGroup"]),
        ("vpcresources.k8s.aws", DECIDES, &["SecurityGroupPolicy"]),
        ("neuvector.com", DECIDES, &["NvSecurityRule", "NvClusterSecurityRule"]),
        ("networking.istio.io", DECIDES, &["Sidecar"]),
        ("crd.nsx.vmware.com", DECIDES, &["SecurityPolicy"]),
        ("k8s.cni.cncf.io", DECIDES, &["MultiNetworkPolicy"]),
        ("k8s.cni.cncf.io", ADDS_NETWORKS, &["NetworkAttachmentDefinition"]),
        ("networking.istio.io", ACTS_ABOVE, &["EnvoyFilter"]),
        ("security.istio.io", ACTS_ABOVE, &["AuthorizationPolicy", "PeerAuthentication"]),
        ("policy.linkerd.io", ACTS_ABOVE, &["AuthorizationPolicy", "ServerAuthorization"]),
        ("kuma.io", ACTS_ABOVE, &["MeshTrafficPermission"]),
        ("consul.hashicorp.com", ACTS_ABOVE, &["ServiceIntentions"]),
    ]
};

/// Kinds that make pods or other objects. If there is a way to get manifests that netproof can read instead, the text
/// names it.
const MAKERS: &[Kinds] = {
    const TEMPLATE: Part = unmodelled(
        "is a template of objects, which netproof does not read: pipe `oc process -f FILE -o json` to it",
    );
    const POD_TEMPLATE: Part =
        unmodelled("is a template of pods, which netproof sees only where the input has them");
    const KUSTOMIZATION: Part =
        unmodelled("describes what kustomize makes: pipe `kubectl kustomize DIR` to netproof");
    const KYVERNO_MAKERS: &[&str] =
        &["GeneratingPolicy", "MutatingPolicy", "NamespacedGeneratingPolicy", "NamespacedMutatingPolicy"];
    const ADMISSION: &[&str] = &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];
    &[
        ("", POD_TEMPLATE, &["PodTemplate"]),
        ("", MAKES_PODS, &["DeploymentConfig"]),
        ("apps.openshift.io", MAKES_PODS, &["DeploymentConfig"]),
        ("argoproj.io", MAKES_PODS, &["Rollout"]),
        ("", TEMPLATE, &["Template"]),
        ("template.openshift.io", TEMPLATE, &["Template"]),
        ("kustomize.config.k8s.io", KUSTOMIZATION, &["Kustomization"]),
        ("policies.kyverno.io", MAKES_OBJECTS, KYVERNO_MAKERS),
        ("admissionregistration.k8s.io", MAKES_OBJECTS, ADMISSION),
    ]
};

/// Endings of the names of kinds that decide about packets, for network plugins that netproof does not know.
const DECIDING: [&str; 4] = ["NetworkPolicy", "Firewall", "SecurityGroupPolicy", "SecurityRule"];

/// Returns the foreign kind with this name and group, if there is one.
pub fn foreign_policy(kind: &str, group: &str) -> Option<ForeignPolicy> {
    foreign_policies().find(|policy| policy.group == group && policy.kind == kind)
}

/// Returns how a kind that decides about packets affects the answer. Returns `None` if it is not known to decide.
pub fn foreign_part(kind: &str, group: &str) -> Option<Part> {
    if let Some(policy) = foreign_policy(kind, group) {
        return Some(policy.effect.clone());
    }
    // A policy of an unknown network plugin must not be ignored like a ConfigMap.
    let seems_to_decide = !kind::is_closed(group)
        && !plain::is_plain(kind, group)
        && DECIDING.into_iter().any(|ending| kind.ends_with(ending));
    seems_to_decide
        .then(|| unmodelled("seems to allow or deny packets, by rules that netproof does not model"))
}

/// Returns how an object affects the answer.
fn part_of(object: &OtherObject) -> Part {
    let (kind, group) = split(&object.kind);
    if let Some(part) = foreign_part(kind, group) {
        return part;
    }
    let makes = |(maker_group, _, kinds): &&Kinds| *maker_group == group && kinds.contains(&kind);
    if let Some((_, effect, _)) = MAKERS.iter().find(makes) {
        return effect.clone();
    }
    match object.does {
        Does::Nothing => {}
        Does::WritesObjects => return MAKES_OBJECTS,
        Does::Decides => return DECIDES,
    }
    if group == OWN || plain::is_plain(kind, group) || (group == KYVERNO && KYVERNO_POLICIES.contains(&kind))
    {
        return Part::None;
    }
    if kind::is_closed(group) {
        let near = kind::similar(kind);
        let hint =
            if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) };
        return Part::Unmodelled(format!("netproof knows no such kind of Kubernetes{hint}").into());
    }
    perhaps(
        "custom resources may make pods or policies, which netproof does not see unless they are in the input",
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
        // Each group, with some of its kinds.
        let unmodelled = [
            ("", "DeploymentConfig PodTemplate"),
            ("admissionregistration.k8s.io", "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding"),
            ("apps", "Deploiment"),
            ("apps.openshift.io", "DeploymentConfig"),
            ("argoproj.io", "Rollout"),
            ("cilium.io", "CiliumNetworkPolicy CiliumClusterwideNetworkPolicy CiliumEgressNATPolicy"),
            ("cilium.io", "CiliumEnvoyConfig CiliumClusterwideEnvoyConfig"),
            ("crd.antrea.io", "ClusterNetworkPolicy TrafficControl"),
            ("crd.projectcalico.org", "NetworkPolicy HostEndpoint"),
            ("k8s.ovn.org", "EgressFirewall AdminPolicyBasedExternalRoute UserDefinedNetwork"),
            ("k8s.ovn.org", "EgressIP EgressService"),
            ("kustomize.config.k8s.io", "Kustomization"),
            ("networking.istio.io", "Sidecar"),
            ("networking.k8s.aws", "ApplicationNetworkPolicy ClusterNetworkPolicy"),
            ("networking.k8s.io", "NetworkPolcy"),
            ("neuvector.com", "NvSecurityRule NvClusterSecurityRule"),
            ("policies.kyverno.io", "MutatingPolicy"),
            ("projectcalico.org", "GlobalNetworkPolicy HostEndpoint"),
            ("template.openshift.io", "Template"),
            ("unheard.of.example", "SomeNetworkPolicy SecurityGroupPolicy PodSecurityRule"),
            ("vpcresources.k8s.aws", "SecurityGroupPolicy"),
        ];
        let ignored = [
            ("", "ConfigMap Secret"),
            ("cilium.io", "CiliumEndpoint"),
            ("controlplane.antrea.io", "NetworkPolicy"),
            ("kyverno.io", "ClusterPolicy PolicyException"),
            ("monitoring.coreos.com", "ServiceMonitor"),
            ("networking.istio.io", "VirtualService"),
            ("networking.k8s.io", "Ingress"),
            ("projectcalico.org", "Tier"),
            ("rbac.authorization.k8s.io", "Role"),
        ];
        // Some are new kinds in groups of which netproof knows other kinds.
        let with_warning = [
            ("apps.kruise.io", "StatefulSet"),
            ("argoproj.io", "Application"),
            ("capsule.clastix.io", "Tenant"),
            ("cilium.io", "CiliumNewKind"),
            ("k8s.cni.cncf.io", "NetworkAttachmentDefinition"),
            ("kubeovn.io", "Subnet"),
            ("kubevirt.io", "VirtualMachine"),
            ("kyverno.io", "NewKind"),
            ("monitoring.coreos.com", "Prometheus"),
            ("networking.istio.io", "EnvoyFilter NewKind"),
            ("operators.coreos.com", "ClusterServiceVersion"),
            ("security.istio.io", "AuthorizationPolicy"),
            ("unheard.of.example", "Secret"),
        ];
        let check = |table: &[(&str, &str)], count: fn(&OtherKinds) -> usize| {
            for (group, kinds) in table {
                for kind in kinds.split(' ') {
                    let name = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
                    assert_eq!(count(&sorted(&[name.as_str()])), 1, "{name}");
                }
            }
        };
        check(&unmodelled, |kinds| kinds.unmodelled.len());
        check(&ignored, |kinds| kinds.ignored.len());
        check(&with_warning, |kinds| kinds.warnings.len());
        // They decide about no packet, so the answer does not depend on them.
        let staged = "StagedNetworkPolicy StagedGlobalNetworkPolicy StagedKubernetesNetworkPolicy";
        check(&[("projectcalico.org", staged)], |kinds| kinds.staged.len());
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
