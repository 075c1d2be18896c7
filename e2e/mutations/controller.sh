# shellcheck shell=bash
# A controller that runs as a process of this machine, in place of the installed one and as it: with its arguments, its settings, its
# ServiceAccount's token and its Lease. Sourced by e2e/mutations/run.

OPS=${ARCHFAN_NAMESPACE:-archfan}
PROBES=127.0.0.1:18081

in_ops() { kubectl --namespace "$OPS" "$@"; }
lease_holder() { in_ops get lease archfan -o jsonpath='{.spec.holderIdentity}'; }
holds_the_lease() { [[ $(lease_holder) == "$1" ]]; }
no_pods() { [[ -z $(in_ops get pods -l app.kubernetes.io/name=archfan -o name) ]]; }

# take_over: learns how the installed controller is called, and stops it.
take_over() {
  REPLICAS=$(in_ops get deployment archfan -o jsonpath='{.spec.replicas}')
  ((REPLICAS > 0)) || die "the installed archfan has no replicas; call e2e/install"
  in_ops get configmap archfan -o jsonpath='{.data.config\.yaml}' >"$WORK/config.yaml"
  mapfile -t ARGUMENTS < <(in_ops get deployment archfan -o json | jq -r '.spec.template.spec.containers[0].args[]
    | select(test("^--(config|log-file|health-address|metrics-address|metrics-tls)=") | not)')
  ARGUMENTS+=("--config=$WORK/config.yaml" "--health-address=$PROBES" --metrics-address=127.0.0.1:18080)
  cp "$KUBECONFIG" "$WORK/kubeconfig"
  kubectl --kubeconfig "$WORK/kubeconfig" config set-credentials archfan \
    --token="$(in_ops create token archfan --duration=4h)" >/dev/null
  kubectl --kubeconfig "$WORK/kubeconfig" config set-context --current --user=archfan >/dev/null
  in_ops scale deployment archfan --replicas=0 >/dev/null
  wait_for 60 "the installed controllers to be gone" no_pods
}

# give_back: the installed controller again, as it was.
give_back() {
  [[ -n ${REPLICAS:-} ]] || return 0
  in_ops scale deployment archfan --replicas="$REPLICAS" >/dev/null
  in_ops rollout status deployment archfan --timeout=120s >/dev/null
  REPLICAS=
}

# start_controller BINARY NAME: runs it, until it leads and knows what there is.
start_controller() {
  CONTROLLER_NAME=$2
  KUBECONFIG=$WORK/kubeconfig POD_NAME=$2 POD_NAMESPACE=$OPS "$1" "${ARGUMENTS[@]}" >"$WORK/$2.log" 2>&1 &
  CONTROLLER=$!
  wait_for 40 "the controller $2 to be ready ($WORK/$2.log)" curl --silent --fail --max-time 2 "http://$PROBES/readyz"
  wait_for 40 "the controller $2 to lead" holds_the_lease "$2"
}

# controller_works: whether it has not ended, and still leads: what failed meanwhile failed because of what it did.
controller_works() { kill -0 "$CONTROLLER" 2>/dev/null && holds_the_lease "$CONTROLLER_NAME"; }

stop_controller() {
  [[ -n ${CONTROLLER:-} ]] || return 0
  kill "$CONTROLLER" 2>/dev/null || true
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    kill -0 "$CONTROLLER" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$CONTROLLER" 2>/dev/null || true
  wait "$CONTROLLER" 2>/dev/null || true
  CONTROLLER=
}
