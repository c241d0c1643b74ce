//! The kinds of objects that do not affect the answer.

use super::group;

/// Groups in which no kind decides about packets, makes objects or makes pods. If some kinds of a group do, the other
/// kinds are in [`PLAIN`]: a kind that is added to such a group later must not look like a `ConfigMap`.
const PLAIN_GROUPS: &[&str] = &[
    "external-secrets.io",
    "generators.external-secrets.io",
    "cert-manager.io",
    "bitnami.com",
    "route.openshift.io",
    "security.openshift.io",
    "telemetry.istio.io",
    "traefik.io",
    "snapshot.storage.k8s.io",
    "metrics.k8s.io",
    "custom.metrics.k8s.io",
    "external.metrics.k8s.io",
    // Antrea's controller derives these objects from policies. The policies themselves are counted.
    "controlplane.antrea.io",
    "stats.antrea.io",
    "autoscaling.k8s.io",
];

/// Single kinds that do not affect the answer, by group.
#[rustfmt::skip]
const PLAIN: &[(&str, &[&str])] = &[
    (
        "monitoring.coreos.com",
        &["ServiceMonitor", "PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "AlertmanagerConfig"],
    ),
    ("keda.sh", &["ScaledObject", "TriggerAuthentication", "ClusterTriggerAuthentication"]),
    (
        "gateway.networking.k8s.io",
        &["HTTPRoute", "GRPCRoute", "TCPRoute", "UDPRoute", "TLSRoute", "ReferenceGrant"],
    ),
    (
        "networking.istio.io",
        &[
            "DestinationRule", "Gateway", "ProxyConfig", "ServiceEntry", "VirtualService", "WorkloadEntry", "WorkloadGroup",
        ],
    ),
    ("argoproj.io", &["AppProject", "AnalysisTemplate", "ClusterAnalysisTemplate"]),
    (
        "cilium.io",
        &[
            "CiliumBGPAdvertisement", "CiliumBGPClusterConfig", "CiliumBGPNodeConfig", "CiliumBGPNodeConfigOverride",
            "CiliumBGPPeerConfig", "CiliumBGPPeeringPolicy", "CiliumCIDRGroup", "CiliumEndpoint",
            "CiliumEndpointSlice", "CiliumExternalWorkload", "CiliumGatewayClassConfig", "CiliumIdentity",
            "CiliumL2AnnouncementPolicy", "CiliumLoadBalancerIPPool", "CiliumNode", "CiliumNodeConfig",
            "CiliumPodIPPool",
        ],
    ),
    ("crd.projectcalico.org", CALICO),
    ("projectcalico.org", CALICO),
    (
        "crd.antrea.io",
        &[
            "AntreaAgentInfo", "AntreaControllerInfo", "BGPPolicy", "ClusterGroup", "ExternalEntity", "ExternalIPPool",
            "ExternalNode", "Group", "IPPool", "NodeLatencyMonitor", "SupportBundleCollection", "Tier", "Traceflow",
        ],
    ),
    ("networking.k8s.aws", &["ClusterPolicyEndpoint", "PolicyEndpoint"]),
    ("k8s.ovn.org", &["EgressQoS", "NetworkQoS"]),
    (
        "kyverno.io",
        &[
            "AdmissionReport", "BackgroundScanReport", "ClusterAdmissionReport", "ClusterBackgroundScanReport",
            "GlobalContextEntry", "PolicyException", "UpdateRequest",
        ],
    ),
];

/// Calico's kinds that do not affect the answer, for both of Calico's groups.
#[rustfmt::skip]
const CALICO: &[&str] = &[
    "BGPConfiguration", "BGPFilter", "BGPPeer", "BlockAffinity", "CalicoNodeStatus", "ClusterInformation",
    "FelixConfiguration", "GlobalNetworkSet", "IPAMBlock", "IPAMConfig", "IPAMConfiguration",
    "IPAMHandle", "IPPool", "IPReservation", "KubeControllersConfiguration", "NetworkSet", "Tier",
];

/// Kinds that Kubernetes itself defines and that do not affect the answer, or only by what they say about a workload
/// (`HorizontalPodAutoscaler`).
#[rustfmt::skip]
pub(super) const BUILT_IN: &[&str] = &[
    "APIService", "Binding", "CSIDriver", "CSINode", "CSIStorageCapacity", "CertificateSigningRequest",
    "ClusterRole", "ClusterRoleBinding", "ClusterTrustBundle", "ComponentStatus", "ConfigMap",
    "ControllerRevision", "CustomResourceDefinition", "DeviceClass", "DeviceTaintRule", "EndpointSlice",
    "Endpoints", "Event", "FlowSchema", "HorizontalPodAutoscaler", "IPAddress", "Ingress", "IngressClass",
    "Lease", "LeaseCandidate", "LimitRange", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration", "NodeMetrics", "PersistentVolume", "PersistentVolumeClaim",
    "PodCertificateRequest", "PodDisruptionBudget", "PodGroup", "PodMetrics", "PodSecurityPolicy",
    "PriorityClass", "PriorityLevelConfiguration", "ResourceClaim", "ResourceClaimTemplate",
    "ResourceQuota", "ResourceSlice", "Role", "RoleBinding", "RuntimeClass", "Secret", "ServiceAccount",
    "ServiceCIDR", "StorageClass", "StorageVersion", "StorageVersionMigration",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
    "VolumeAttachment", "VolumeAttributesClass", "Workload",
];

/// Returns whether no kind of a group affects the answer.
pub fn is_plain_group(group: &str) -> bool {
    PLAIN_GROUPS.contains(&group)
}

/// Returns whether objects of a kind never affect the answer, whatever they contain.
pub(super) fn is_plain(kind: &str, group: &str) -> bool {
    is_plain_group(group)
        || PLAIN.iter().any(|(plain, kinds)| *plain == group && kinds.contains(&kind))
        || (group::is_own(group) && BUILT_IN.contains(&kind))
}
