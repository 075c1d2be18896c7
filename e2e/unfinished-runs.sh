# shellcheck shell=bash
# What is asked before archfan is removed or replaced in a cluster. Sourced after e2e/cluster/lib/all.sh, with KUBECONFIG set.

# unfinished_runs [NAMESPACE]: some of archfan's runs that have not ended and are not being deleted, less those of a namespace: one line each.
unfinished_runs() {
  kubectl get customruns -A -o json | jq -r --arg except "${1:-}" '.items[]
    | select(.metadata.deletionTimestamp == null and .metadata.namespace != $except)
    | select((.spec | .customRef // .customSpec).apiVersion | startswith("archfan.dev/"))
    | select(any(.status.conditions[]?; .type == "Succeeded" and .status != "Unknown") | not)
    | "\(.metadata.namespace)/\(.metadata.name)"' | head -n 5
}
