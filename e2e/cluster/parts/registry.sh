# shellcheck shell=bash
# The image registry on the machine `control`: TLS by an authority of its own, basic authentication. Sourced after the
# lib files.

REGISTRY_CA=$PKI_DIR/registry-ca.crt
REGISTRY_PASSWORD_FILE=$STATE_DIR/registry-password

# registry_storage: where its disk has what it stores, seen from the host.
registry_storage() { echo "$(machine_disk control)/var/lib/registry/docker/registry/v2"; }

# registry_login: user:password, as basic authentication sends it.
registry_login() { echo "$REGISTRY_USER:$(cat "$REGISTRY_PASSWORD_FILE")"; }

# registry_basic_auth: the same, encoded.
registry_basic_auth() { registry_login | tr -d '\n' | base64 -w0; }

# docker_config: the login in the form of ~/.docker/config.json and of a kubernetes.io/dockerconfigjson Secret.
docker_config() { printf '{"auths":{"%s":{"auth":"%s"}}}\n' "$REGISTRY" "$(registry_basic_auth)"; }

registry_configure() {
  (umask 077 && openssl rand -hex 12 >"$REGISTRY_PASSWORD_FILE")
  # bcrypt at its lowest cost: it is paid at every request.
  htpasswd -niB -C 4 "$REGISTRY_USER" <"$REGISTRY_PASSWORD_FILE" >"$STATE_DIR/config/htpasswd" 2>/dev/null
  mkdir -p "$STATE_DIR/docker"
  docker_config >"$STATE_DIR/docker/config.json"
  cat >"$STATE_DIR/config/registry.yaml" <<YAML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
http:
  addr: 0.0.0.0:${REGISTRY##*:}
  secret: $(openssl rand -hex 16)
  tls: {certificate: $PKI_DIR/registry.crt, key: $PKI_DIR/registry.key}
auth:
  htpasswd: {realm: archfan, path: $STATE_DIR/config/htpasswd}
YAML
}

registry_services() {
  service control registry <<EOF
exec docker-registry serve '$STATE_DIR/config/registry.yaml'
EOF
}

registry_health() { curl -sf -m 5 --cacert "$REGISTRY_CA" -u "$(registry_login)" "https://$REGISTRY/v2/"; }
registry_version() { docker-registry --version | awk '{print $3}'; }
registry_address() { echo "https://$REGISTRY"; }

# in_registry COMMAND...: runs a client with the registry's login and authority.
in_registry() { DOCKER_CONFIG=$STATE_DIR/docker SSL_CERT_FILE=$REGISTRY_CA "$@"; }
