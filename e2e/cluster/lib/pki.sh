# shellcheck shell=bash
# Certificates: one authority for Kubernetes, one for aggregated APIs and one for the registry, new at each start of
# the cluster. Sourced after common.sh.

PKI_DIR=$STATE_DIR/pki

pki_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# pki_authority NAME
pki_authority() {
  pki_key "$PKI_DIR/$1.key"
  openssl req -x509 -new -key "$PKI_DIR/$1.key" -subj "/CN=archfan-$1" -days 30 -out "$PKI_DIR/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

# pki_issue AUTHORITY NAME SUBJECT [SAN]: a certificate for both ends of TLS.
pki_issue() {
  pki_key "$PKI_DIR/$2.key"
  openssl req -new -key "$PKI_DIR/$2.key" -subj "$3" -out "$PKI_DIR/$2.csr"
  openssl x509 -req -in "$PKI_DIR/$2.csr" -CA "$PKI_DIR/$1.crt" -CAkey "$PKI_DIR/$1.key" -days 30 \
    -set_serial "0x$(openssl rand -hex 8)" -out "$PKI_DIR/$2.crt" -extfile <(
      echo keyUsage=critical,digitalSignature
      echo extendedKeyUsage=serverAuth,clientAuth
      if [[ -n ${4:-} ]]; then echo "subjectAltName=$4"; fi
    ) 2>/dev/null
  rm "$PKI_DIR/$2.csr"
}

# kubeconfig FILE NAME: a client of the API server with the certificate NAME.
kubeconfig() {
  cat >"$1" <<YAML
apiVersion: v1
kind: Config
current-context: archfan
contexts: [{name: archfan, context: {cluster: archfan, user: $2}}]
clusters:
  - name: archfan
    cluster:
      server: $API_URL
      certificate-authority-data: $(base64 -w0 <"$PKI_DIR/ca.crt")
users:
  - name: $2
    user:
      client-certificate-data: $(base64 -w0 <"$PKI_DIR/$2.crt")
      client-key-data: $(base64 -w0 <"$PKI_DIR/$2.key")
YAML
  chmod 600 "$1"
}

pki_up() {
  local node
  mkdir -p "$PKI_DIR"
  chmod 700 "$PKI_DIR"
  pki_authority ca
  pki_authority front-proxy-ca
  pki_authority registry-ca
  pki_issue ca kube-apiserver /CN=kube-apiserver \
    "IP:$CONTROL_IP,IP:$SERVICE_API_IP,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  pki_issue ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  pki_issue ca admin /O=system:masters/CN=admin
  pki_issue ca kube-controller-manager /CN=system:kube-controller-manager
  pki_issue ca kube-scheduler /CN=system:kube-scheduler
  pki_issue ca kube-proxy /CN=system:kube-proxy
  pki_issue front-proxy-ca front-proxy-client /CN=front-proxy-client
  for node in "${NODES[@]}"; do
    pki_issue ca "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$(machine_ip "$node")"
  done
  pki_issue registry-ca registry /CN=registry "IP:$CONTROL_IP,DNS:control,DNS:registry.archfan.test"
  pki_key "$PKI_DIR/service-account.key"
  openssl pkey -in "$PKI_DIR/service-account.key" -pubout -out "$PKI_DIR/service-account.pub"
  kubeconfig "$STATE_DIR/kubeconfig" admin
}
