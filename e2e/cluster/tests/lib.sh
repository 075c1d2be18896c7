# shellcheck shell=bash
# What the cluster's own tests share. Sourced after lib/all.sh. A test is a function test_NAME that fails by its status;
# what it prints is shown when it fails.

PASSED=0
FAILED=0

# fail WORDS: ends a test.
fail() {
  echo "not so: $*"
  return 1
}

# same WHAT WANTED FOUND
same() { [[ $2 == "$3" ]] || fail "$1: wanted '$2', found '$3'"; }

# run_test NAME: runs test_NAME in a subshell and counts it.
run_test() {
  local begin out pid status=0
  begin=$(date +%s)
  out=$(mktemp)
  # In the background: as the condition of an `if`, a failing command in the test would not end it.
  ("test_$1") >"$out" 2>&1 &
  pid=$!
  accompany "$pid" "        $1: still at it"
  wait "$pid" || status=$?
  if ((status == 0)); then
    PASSED=$((PASSED + 1))
    say "ok      $1 ($(human $(($(date +%s) - begin))))"
  else
    FAILED=$((FAILED + 1))
    say "FAILED  $1 ($(human $(($(date +%s) - begin))))"
    sed 's/^/        /' "$out"
  fi
  rm -f "$out"
}

# run_tests: every test_ function of the file, in its order, then the count.
run_tests() {
  local name
  while read -r name; do run_test "${name#test_}" </dev/null; done < <(grep -oE '^test_[a-z0-9_]+' "$0")
  echo "$PASSED passed, $FAILED failed"
  ((FAILED == 0))
}

# in_namespace ARGS...: kubectl in the tests' namespace.
in_namespace() { kubectl -n "$NAMESPACE" "$@"; }

# pod NAME ARCH COMMAND [CLAIM]: starts a pod that runs a shell command on a node of that architecture, with the claim
# mounted at /data.
pod() {
  local volume
  volume=$(if [[ -n ${4:-} ]]; then jq -n --arg claim "$4" '[{name: "data", persistentVolumeClaim: {claimName: $claim}}]'; else echo '[]'; fi)
  jq -n --arg name "$1" --arg arch "$2" --arg command "$3" --arg image "$(image_ref shell)" --argjson volumes "$volume" '
    {apiVersion: "v1", kind: "Pod", metadata: {name: $name}, spec: {
      restartPolicy: "Never", terminationGracePeriodSeconds: 0, nodeSelector: {"kubernetes.io/arch": $arch},
      volumes: $volumes, containers: [{name: "main", image: $image, command: ["sh", "-ec", $command],
        volumeMounts: [$volumes[] | {name, mountPath: "/data"}]}]}}' | in_namespace create -f - >/dev/null
}

# awaited SECONDS KIND/NAME FOR: waits until the object is as `kubectl wait --for` has it: one process that watches, where a loop would start
# many. Fails with the object's conditions.
awaited() {
  in_namespace wait "$2" --for="$3" --timeout="$1s" --request-timeout=0 >/dev/null ||
    fail "$2 has not come to $3 within $1 s: $(in_namespace get "$2" -o jsonpath='{.status.phase} {.status.conditions[*].message}')"
}

# pod_is NAME PHASE: waits until the pod is in that phase.
pod_is() { awaited 60 "pod/$1" "jsonpath={.status.phase}=$2"; }

# output_of NAME: waits for the pod to succeed and prints what it has written.
output_of() {
  pod_is "$1" Succeeded || return
  in_namespace logs "$1"
}

# claim NAME CLASS MODE
claim() {
  jq -n --arg name "$1" --arg class "$2" --arg mode "$3" '
    {apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: {name: $name}, spec: {storageClassName: $class,
     accessModes: [$mode], resources: {requests: {storage: "1Mi"}}}}' | in_namespace create -f - >/dev/null
}

claim_phase_is() {
  local phase
  phase=$(in_namespace get persistentvolumeclaim "$1" -o jsonpath='{.status.phase}')
  echo "claim $1 is $phase"
  [[ $phase == "$2" ]]
}

# succeeded KIND/NAME: waits for a run of Tekton to finish, and fails unless it did so well.
succeeded() {
  local answer
  awaited 120 "$1" 'jsonpath={.status.completionTime}'
  answer=$(in_namespace get "$1" -o jsonpath='{range .status.conditions[?(@.type=="Succeeded")]}{.status} {.reason}: {.message}{end}')
  [[ $answer == True* ]] || fail "$1: ${answer:-no condition}"
}
