# Calico's felix as a plain process on each node, with the Kubernetes API as its datastore. Descriptions source this file,
# and set `nftables_mode`.
title="Calico felix"
program=${FELIX:-calico-felix}
families=both
# CALICO_CRDS: the folder libcalico-go/config/crd of the same version.
needs=(iptables ipset jq "${CALICO_CRDS:-CALICO_CRDS}")
cni_extra=$HERE/caliveth
lacks=("AdminNetworkPolicy and BaselineAdminNetworkPolicy: Calico 3.32 has ClusterNetworkPolicy v1alpha2 instead")

version() { "$program" --version 2>&1 | head -n 1; }

prepare() {
  local node
  kubectl apply --server-side --validate=false -f "$CALICO_CRDS" >/dev/null
  kubectl wait --for=condition=Established crd --all --timeout=30s >/dev/null
  kubectl apply --validate=false -f - >/dev/null <<'OBJECTS'
{apiVersion: crd.projectcalico.org/v1, kind: ClusterInformation, metadata: {name: default}, spec: {datastoreReady: true}}
---
{apiVersion: crd.projectcalico.org/v1, kind: Tier, metadata: {name: kube-admin}, spec: {order: 1000, defaultAction: Pass}}
---
{apiVersion: crd.projectcalico.org/v1, kind: Tier, metadata: {name: default}, spec: {order: 1000000, defaultAction: Deny}}
---
{apiVersion: crd.projectcalico.org/v1, kind: Tier, metadata: {name: kube-baseline}, spec: {order: 10000000, defaultAction: Pass}}
OBJECTS
  # Felix takes the addresses of nodes from these annotations, which calico/node sets.
  for node in $(kubectl get nodes -o name); do
    kubectl get "$node" -o json |
      jq '{metadata: {annotations: ([.status.addresses[] | select(.type == "InternalIP") | .address
        | if contains(":") then {"projectcalico.org/IPv6Address": "\(.)/64"} else {"projectcalico.org/IPv4Address": "\(.)/24"} end
        ] | add)}}' >"$RESULTS/node.json"
    kubectl patch "$node" --patch-file "$RESULTS/node.json" >/dev/null
    rm "$RESULTS/node.json"
  done
}

# Variables of up are replaced on each node.
command='env FELIX_DATASTORETYPE=kubernetes FELIX_FELIXHOSTNAME=$NODE FELIX_INTERFACEPREFIX=cali'
command+=" FELIX_IPV6SUPPORT=$([ "$DUAL_STACK" = 1 ] && echo true || echo false)"
command+=" FELIX_NFTABLESMODE=$nftables_mode FELIX_IPTABLESBACKEND=nft FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT"
command+=" FELIX_IPINIPENABLED=false FELIX_VXLANENABLED=false FELIX_BPFENABLED=false FELIX_XDPENABLED=false"
command+=" FELIX_HEALTHENABLED=false FELIX_ENDPOINTSTATUSPATHPREFIX=none FELIX_USAGEREPORTINGENABLED=false FELIX_REMOVEEXTERNALROUTES=false"
command+=" FELIX_LOGSEVERITYSCREEN=${FELIX_LOG:-Warning} FELIX_LOGFILEPATH=none FELIX_LOGSEVERITYFILE=none"
command+=" $program"
