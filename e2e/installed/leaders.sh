# shellcheck shell=bash
# Two replicas: a leader that goes, and one that stands still. Sourced by e2e/test-install.

# another_leads POD: whether somebody else holds the Lease.
another_leads() {
  local now
  now=$(leader)
  [[ -n $now && $now != "$1" ]]
}

# acquired: when the Lease was taken, in milliseconds.
acquired() { milliseconds "$(in_ops get lease archfan -o jsonpath='{.spec.acquireTime}')"; }

two_ready() { [[ $(in_ops get deployment archfan -o jsonpath='{.status.readyReplicas} {.status.replicas}') == "2 2" ]]; }

# leader_is_deleted: it hands the Lease back before it ends, and ends in time.
leader_is_deleted() {
  local pod begin took
  until_true 60 "two replicas" two_ready
  pod=$(leader)
  start_sleeping handed 4 10
  until_true 60 "children of 4 runs" under_way handed 4
  begin=$(milliseconds)
  in_ops delete pod "$pod" --wait=false >/dev/null
  until_true 20 "another leader than $pod" another_leads "$pod"
  took=$(($(acquired) - begin))
  ((took <= 5000)) || die "another replica led after $took ms; a leader that is deleted should be followed within 2 s, and 5 s on a busy machine"
  until_true 35 "the end of $pod" gone "$pod"
  saw "leader deleted: another led after $took ms; the pod was gone after $(($(milliseconds) - begin)) ms"
  all_succeeded handed 4
}

gone() { ! in_ops get pod "$1" -o name; }

# process_of POD: the process of the controller, seen from this machine. There are no others with this name in their environment.
process_of() {
  local process
  for process in $(pgrep -f '^/archfan controller'); do
    if tr '\0' '\n' <"/proc/$process/environ" | grep -qx "POD_NAME=$1"; then
      echo "$process"
      return
    fi
  done
  die "no process of $1 on this machine"
}

# leader_stands_still: it does not renew, as if its node had lost power. Another takes over, the runs go on, and when the first
# comes back it writes nothing more.
leader_stands_still() {
  local pod process begin took writes back
  until_true 60 "two replicas" two_ready
  pod=$(leader)
  process=$(process_of "$pod")
  start_sleeping frozen 4 15
  until_true 60 "children of 4 runs" under_way frozen 4
  begin=$(milliseconds)
  kill -STOP "$process"
  # shellcheck disable=SC2064 # the value of now
  trap "kill -CONT $process 2>/dev/null || true; cleanup" EXIT
  until_true 40 "another leader than $pod" another_leads "$pod"
  took=$(($(acquired) - begin))
  ((took <= 20000)) || die "another replica led after $took ms"
  all_succeeded frozen 4
  back=$(milliseconds)
  kill -CONT "$process"
  trap cleanup EXIT
  until_true 30 "the end of the controller that leads no more" has_ended "$pod" "$process"
  # What the API server saw it write after it was set free. It may ask for the Lease, and may let events go that were on their way.
  writes=$(jq -rc --arg pod "$pod" --argjson back "$back" 'select(.user.extra["authentication.kubernetes.io/pod-name"] == [$pod])
    | select(.verb | IN("create", "update", "patch", "delete")) | select(.objectRef.resource | IN("leases", "events") | not)
    | select((.requestReceivedTimestamp[:19] + "Z" | fromdateiso8601) * 1000 > $back) | "\(.verb) \(.objectRef.resource)/\(.objectRef.name)"' \
    <(tail -n 20000 "$ARCHFAN_AUDIT_LOG") | head -n 3)
  [[ -z $writes ]] || die "$pod wrote after it had lost the Lease: $writes"
  saw "leader stopped dead: another led after $took ms and 4 runs succeeded; set free, the first wrote nothing and ended"
}

has_ended() { ! kill -0 "$2" 2>/dev/null; }
