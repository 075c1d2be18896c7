# shellcheck shell=bash
# Tekton Pipelines as it is shipped: the YAML of its module's config/ folder, as its release process makes it (images in
# place of ko:// references, the version in place of "devel"). Sourced after the lib files.

# tekton_manifests: everything to apply.
tekton_manifests() {
  local config file program replace=()
  config=$(cd "$MODULES_DIR/tekton" && GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' github.com/tektoncd/pipeline)/config
  for program in "${TEKTON_CONTROLLERS[@]}" "${TEKTON_HELPERS[@]}"; do
    replace+=(-e "s#ko://github.com/tektoncd/pipeline/cmd/$program\\b#$(image_ref "tekton/$program")#")
  done
  # The image for steps with a `script` is not one of Tekton's own: the one here stands for it.
  replace+=(-e "s#cgr.dev/chainguard/busybox@sha256:[0-9a-f]*#$(image_ref shell)#")
  replace+=(-e "s#version: \"devel\"#version: \"$TEKTON_VERSION\"#; s#release: \"devel\"#release: \"$TEKTON_VERSION\"#")
  find "$config" -name '*.yaml' | LC_ALL=C sort | while read -r file; do
    printf '\n---\n'
    sed "${replace[@]}" "$file"
  done
}

# tekton_apply: first the namespaces, with an annotation that keeps their pods on amd64 nodes: there are no arm64
# controllers here, and the manifests are left as they are. Then the registry's authority where Tekton's documentation wants it: later its
# webhook would be asked, which may be registered and not serve yet. Then everything.
tekton_apply() {
  local namespace
  for namespace in tekton-pipelines tekton-pipelines-resolvers; do
    kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply --server-side -f -
    kubectl annotate --overwrite namespace "$namespace" scheduler.alpha.kubernetes.io/node-selector=kubernetes.io/arch=amd64
  done
  kubectl -n tekton-pipelines create configmap config-registry-cert --from-file "cert=$REGISTRY_CA" --dry-run=client -o yaml \
    | kubectl apply --server-side --field-manager cluster -f -
  tekton_manifests >"$STATE_DIR/config/tekton.yaml"
  kubectl apply --server-side --force-conflicts -f "$STATE_DIR/config/tekton.yaml"
}

# deployment_health NAMESPACE NAME
deployment_health() {
  local answer
  answer=$(kubectl -n "$1" get deployment "$2" -o jsonpath='{.status.readyReplicas}/{.spec.replicas} ready')
  echo "$answer"
  [[ $answer =~ ^([0-9]+)/([0-9]+) && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]]
}

tekton_controller_health() { deployment_health tekton-pipelines tekton-pipelines-controller; }
tekton_webhook_health() {
  deployment_health tekton-pipelines tekton-pipelines-webhook || return 1
  # Ready means that it serves; this, that the API server reaches it and trusts it.
  kubectl create --dry-run=server -f - >/dev/null <<'YAML'
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: does-the-webhook-answer, namespace: default}
spec: {steps: [{name: step, image: none, command: ["true"]}]}
YAML
}
tekton_events_health() { deployment_health tekton-pipelines tekton-events-controller; }
tekton_resolvers_health() { deployment_health tekton-pipelines-resolvers tekton-pipelines-remote-resolvers; }
tekton_version() { echo "$TEKTON_VERSION"; }
tekton_controller_version() { tekton_version; }
tekton_webhook_version() { tekton_version; }
tekton_events_version() { tekton_version; }
tekton_resolvers_version() { tekton_version; }
tekton_controller_address() { echo "namespace tekton-pipelines"; }
tekton_webhook_address() { echo "namespace tekton-pipelines"; }
tekton_events_address() { echo "namespace tekton-pipelines"; }
tekton_resolvers_address() { echo "namespace tekton-pipelines-resolvers"; }
