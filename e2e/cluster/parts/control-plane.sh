# shellcheck shell=bash
# etcd and Kubernetes' control plane, on the machine `control`. Sourced after the lib files.

AUDIT_LOG=$STATE_DIR/logs/control/audit.log

control_plane_configure() {
  local name
  cat >"$STATE_DIR/config/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
  for name in kube-controller-manager kube-scheduler kube-proxy "${NODES[@]}"; do
    kubeconfig "$STATE_DIR/config/$name.kubeconfig" "$name"
  done
}

control_plane_services() {
  local kubernetes
  kubernetes=$(build_dir kubernetes)
  # The data is in memory and not flushed: nothing here outlives the cluster.
  service control etcd <<EOF
mkdir -p /run/etcd
exec etcd --name control --data-dir /run/etcd --unsafe-no-fsync --log-level warn --logger zap \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --quota-backend-bytes 4294967296 --auto-compaction-retention 1h
EOF
  # PodNodeSelector: an administrator's way to keep a namespace's pods on some nodes (see parts/tekton.sh).
  # Aggregator routing: webhooks are called at their pods, the control machine needs no kube-proxy.
  service control kube-apiserver <<EOF
exec '$kubernetes/kube-apiserver' --v=1 --etcd-servers=http://127.0.0.1:2379 \
  --advertise-address=$CONTROL_IP --bind-address=0.0.0.0 --secure-port=6443 --service-cluster-ip-range=$SERVICE_CIDR \
  --client-ca-file='$PKI_DIR/ca.crt' \
  --tls-cert-file='$PKI_DIR/kube-apiserver.crt' --tls-private-key-file='$PKI_DIR/kube-apiserver.key' \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file='$PKI_DIR/service-account.pub' \
  --service-account-signing-key-file='$PKI_DIR/service-account.key' \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction,PodNodeSelector --allow-privileged=true \
  --kubelet-certificate-authority='$PKI_DIR/ca.crt' --kubelet-preferred-address-types=InternalIP \
  --kubelet-client-certificate='$PKI_DIR/apiserver-kubelet-client.crt' \
  --kubelet-client-key='$PKI_DIR/apiserver-kubelet-client.key' \
  --requestheader-client-ca-file='$PKI_DIR/front-proxy-ca.crt' --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file='$PKI_DIR/front-proxy-client.crt' --proxy-client-key-file='$PKI_DIR/front-proxy-client.key' \
  --enable-aggregator-routing=true \
  --audit-policy-file='$STATE_DIR/config/audit-policy.yaml' --audit-log-path='$AUDIT_LOG' --audit-log-maxsize=200 \
  --audit-log-maxbackup=2
EOF
  # The autoscaler of pods would only complain: Tekton ships one for its webhook and there is no metrics server.
  service control kube-controller-manager <<EOF
exec '$kubernetes/kube-controller-manager' --v=1 --kubeconfig='$STATE_DIR/config/kube-controller-manager.kubeconfig' \
  --authentication-kubeconfig='$STATE_DIR/config/kube-controller-manager.kubeconfig' \
  --authorization-kubeconfig='$STATE_DIR/config/kube-controller-manager.kubeconfig' \
  --bind-address=$CONTROL_IP --leader-elect=false --use-service-account-credentials=true \
  --service-account-private-key-file='$PKI_DIR/service-account.key' --root-ca-file='$PKI_DIR/ca.crt' \
  --cluster-signing-cert-file='$PKI_DIR/ca.crt' --cluster-signing-key-file='$PKI_DIR/ca.key' \
  --controllers='*,-horizontal-pod-autoscaler-controller' --node-monitor-grace-period=40s
EOF
  service control kube-scheduler <<EOF
exec '$kubernetes/kube-scheduler' --v=1 --kubeconfig='$STATE_DIR/config/kube-scheduler.kubeconfig' \
  --authentication-kubeconfig='$STATE_DIR/config/kube-scheduler.kubeconfig' \
  --authorization-kubeconfig='$STATE_DIR/config/kube-scheduler.kubeconfig' \
  --bind-address=$CONTROL_IP --leader-elect=false
EOF
}

etcd_health() { on control curl -sf -m 5 http://127.0.0.1:2379/health; }
etcd_version() { etcd --version | sed -n 's/^etcd Version: //p'; }
etcd_address() { echo "control, 127.0.0.1:2379"; }

kube_apiserver_health() { curl -sf -m 5 --cacert "$PKI_DIR/ca.crt" "$API_URL/readyz"; }
kube_apiserver_version() { echo "$KUBERNETES_VERSION"; }
kube_apiserver_address() { echo "$API_URL"; }

kube_controller_manager_health() { curl -skf -m 5 "https://$CONTROL_IP:10257/healthz"; }
kube_controller_manager_version() { echo "$KUBERNETES_VERSION"; }
kube_controller_manager_address() { echo "https://$CONTROL_IP:10257"; }

kube_scheduler_health() { curl -skf -m 5 "https://$CONTROL_IP:10259/healthz"; }
kube_scheduler_version() { echo "$KUBERNETES_VERSION"; }
kube_scheduler_address() { echo "https://$CONTROL_IP:10259"; }
