# kube-network-policies of kubernetes-sigs. Descriptions source this file, and set `program`.
title="kube-network-policies"
data_path="nfqueue"
families=both
command="$program --kubeconfig \$KUBECONFIG --hostname-override \$NODE"

# Builds outside of a git repository print no version. VERSION then names it.
version() { echo "${VERSION:-unknown}"; }
