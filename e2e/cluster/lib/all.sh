# shellcheck shell=bash
# Everything a command of the cluster may need, and the list of the cluster's parts. Sourced.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
for archfan_file in packages gobuild images cgroups machine network pki binfmt; do
  # shellcheck source=/dev/null
  source "$CLUSTER_DIR/lib/$archfan_file.sh"
done
for archfan_file in "$CLUSTER_DIR"/parts/*.sh; do
  # shellcheck source=/dev/null
  source "$archfan_file"
done
unset archfan_file
# What nearly every script calls.
know_build kubernetes
know_build crane
know_build containerd

# Each part: NAME WHERE. NAME_health, NAME_version and NAME_address (with - as _) are in parts/; WHERE is the machine,
# handed to them, or `pod`.
PARTS=(
  "etcd control"
  "kube-apiserver control"
  "kube-controller-manager control"
  "kube-scheduler control"
  "registry control"
  "git control"
  "glusterd control"
  "containerd node-amd64"
  "kubelet node-amd64"
  "kube-proxy node-amd64"
  "shared-volume node-amd64"
  "containerd node-arm64"
  "kubelet node-arm64"
  "kube-proxy node-arm64"
  "shared-volume node-arm64"
  "coredns pod"
  "volume-provisioner pod"
  "tekton-controller pod"
  "tekton-webhook pod"
  "tekton-events pod"
  "tekton-resolvers pod"
)

# part FUNCTION "NAME WHERE": calls the part's function of that kind, in a shell of its own: one that dies because its
# machine is gone is an answer, not the end of the caller.
part() (
  name=${2% *} where=${2#* }
  "${name//-/_}_$1" "$where"
)

# kubectl, of the cluster's own version, with the cluster's kubeconfig.
kubectl() { KUBECONFIG=$STATE_DIR/kubeconfig "$(bin kubernetes kubectl)" --request-timeout=20s "$@"; }

# external_cluster: succeeds when the caller has a cluster of his own with Tekton on it, which is then used.
external_cluster() {
  [[ -n ${KUBECONFIG:-} && $KUBECONFIG != "$STATE_DIR/kubeconfig" ]] || return 1
  [[ -r ${KUBECONFIG%%:*} ]] || return 1
  "$(any_kubectl)" --request-timeout=20s get crd customruns.tekton.dev >/dev/null 2>&1
}

# any_kubectl: the path of a kubectl: the caller's, the cluster's, or one built for this.
any_kubectl() {
  local client
  if client=$(type -P kubectl); then
    echo "$client"
  elif [[ -x $(bin kubernetes kubectl) ]]; then
    bin kubernetes kubectl
  else
    build kubectl >&2
    bin kubectl kubectl
  fi
}

# take_lock: one `up` or `down` at a time.
take_lock() {
  mkdir -p "$(dirname "$LOCK_FILE")"
  exec 9>"$LOCK_FILE"
  if ! flock -n 9; then
    say "another make cluster or cluster-down is at work: waiting for it"
    flock 9
  fi
}
