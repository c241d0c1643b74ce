# The network policy controller of kube-router. Descriptions source this file, and set `program`.
title="kube-router"
data_path="iptables and ipset"
needs=(iptables ipset)
command="$program --run-firewall --run-router=false --run-service-proxy=false --kubeconfig \$KUBECONFIG"
command+=" --hostname-override \$NODE"

# Development builds print no version. VERSION then names it.
version() { echo "${VERSION:-$("$program" --version 2>&1 | head -n 1)}"; }
