# shellcheck shell=bash
# The nodes: containerd, kubelet and kube-proxy on a machine of their own each. Sourced after the lib files.

# base_spec NODE: what containerd makes every container's specification from: its own default, and on the arm64 node the environment that
# emulated programs need. As in containerd without such a file, the pod alone says what limits and profiles there are.
base_spec() {
  local environment=()
  if [[ $(node_arch "$1") == arm64 ]]; then environment=("$QEMU_ENVIRONMENT"); fi
  "$(bin containerd ctr)" oci spec | jq 'del(.process.rlimits, .process.apparmorProfile, .linux.seccomp)
    | .process.env += $ARGS.positional' --args "${environment[@]}"
}

# node_configure NODE
node_configure() {
  local node=$1 disk config=$STATE_DIR/config/$1
  disk=$(machine_disk "$node")
  mkdir -p "$config" "$disk"/var/lib/{kubelet,containerd} "$disk"/etc/{cni/net.d,containerd/certs.d/"$REGISTRY"}
  cat >"$disk/etc/cni/net.d/10-bridge.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "$(node_pod_cidr "$node")"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  # The node logs in to the registry for the images that no pod has a secret for: pause and Tekton's own.
  cat >"$disk/etc/containerd/certs.d/$REGISTRY/hosts.toml" <<TOML
server = "https://$REGISTRY"
[host."https://$REGISTRY"]
  ca = "$REGISTRY_CA"
  [host."https://$REGISTRY".header]
    authorization = "Basic $(registry_basic_auth)"
TOML
  base_spec "$node" >"$disk/etc/containerd/base-spec.json"
  # restrict_oom_score_adj: a computer without CAP_SYS_RESOURCE may not give a sandbox the score Kubernetes asks for.
  cat >"$disk/etc/containerd/config.toml" <<TOML
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  max_concurrent_downloads = 4
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$(image_ref pause)"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  base_runtime_spec = "/etc/containerd/base-spec.json"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = false
TOML
  cat >"$config/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: $PKI_DIR/ca.crt}, webhook: {enabled: true}, anonymous: {enabled: false}}
authorization: {mode: Webhook}
tlsCertFile: $PKI_DIR/$node.crt
tlsPrivateKeyFile: $PKI_DIR/$node.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$SERVICE_DNS_IP]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
# The host may have the old cgroups, and no systemd.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
# A kubelet that misses a change of a pod's annotation looks again after this long; by default after a minute. Tekton starts
# the first step by such a change, which is missed now and then on a busy machine.
syncFrequency: 10s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
maxParallelImagePulls: 3
makeIPTablesUtilChains: false
registryPullQPS: 0
eventRecordQPS: 0
YAML
  cat >"$config/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $STATE_DIR/config/kube-proxy.kubeconfig}
hostnameOverride: $node
clusterCIDR: $POD_CIDR
detectLocalMode: ClusterCIDR
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
metricsBindAddress: 127.0.0.1:10249
YAML
}

# kubelet_build ARCH: the build whose kubelet is of this architecture.
kubelet_build() { if [[ $1 == arm64 ]]; then echo kubelet-arm64; else echo kubernetes; fi; }

# node_services NODE
node_services() {
  local node=$1 arch
  arch=$(node_arch "$node")
  # containerd is an amd64 program on both nodes; CONTAINERD_NODE_ARCH says whose images it runs (see prepare.sh of
  # e2e/modules/containerd).
  service "$node" containerd <<EOF
export PATH='$(build_dir containerd)':"\$PATH" CONTAINERD_NODE_ARCH=$arch
exec containerd --config /etc/containerd/config.toml --log-level info
EOF
  # No pod may be started while the shared volume is not mounted: it would write to the folder beneath.
  service "$node" kubelet <<EOF
mountpoint -q $SHARED_MOUNT || { sleep 0.3; exit 1; }
test -S /run/containerd/containerd.sock || { sleep 0.3; exit 1; }
exec '$(bin "$(kubelet_build "$arch")" kubelet)' --v=1 --config='$STATE_DIR/config/$node/kubelet.yaml' \
  --kubeconfig='$STATE_DIR/config/$node.kubeconfig' --hostname-override=$node --node-ip=$(machine_ip "$node")
EOF
  service "$node" kube-proxy <<EOF
exec '$(bin kubernetes kube-proxy)' --v=1 --config='$STATE_DIR/config/$node/kube-proxy.yaml'
EOF
}

# node_ready NODE: fails, printing why, until the node is Ready.
node_ready() {
  local status
  status=$(kubectl get node "$1" -o jsonpath='{range .status.conditions[?(@.type=="Ready")]}{.status} {.message}{end}')
  echo "$status"
  [[ $status == True* ]]
}

containerd_health() { on "$1" "$(bin containerd ctr)" -a /run/containerd/containerd.sock version >/dev/null; }
containerd_version() { echo "$CONTAINERD_VERSION"; }
containerd_address() { echo "$1:/run/containerd/containerd.sock"; }

kubelet_health() { node_ready "$1"; }
kubelet_version() { kubectl get node "$1" -o jsonpath='{.status.nodeInfo.kubeletVersion} {.status.nodeInfo.architecture}'; }
kubelet_address() { echo "https://$(machine_ip "$1"):10250"; }

kube_proxy_health() { on "$1" curl -sf -m 5 http://127.0.0.1:10256/healthz; }
kube_proxy_version() { echo "$KUBERNETES_VERSION"; }
kube_proxy_address() { echo "$1, nftables"; }
