# shellcheck shell=bash
# What archfan says of itself, compared with what is there. Sourced by e2e/test-install.

# load: runs of every kind: some that succeed, an index, one that fails after a retry, one that waits for a node that never comes.
load() {
  local before name
  before=$(value 'sum(archfan_runs_total{result="succeeded"})')
  start_sleeping load 6 8
  start index index '.spec.workspaces = [{name: "ca", configMap: {name: "registry-ca"}}]'
  start broken broken '.spec.retries = 1'
  start nowhere nowhere
  all_succeeded load 6
  for name in index broken nowhere; do end_of "$name" 120; done
  [[ $(status index) == "True Succeeded" ]] || die "index: $(in_team get customrun index -o jsonpath='{.status.conditions}')"
  [[ $(status broken) == "False BuildFailed" ]] || die "broken: $(status broken)"
  [[ $(status nowhere) == "False "* ]] || die "nowhere: $(status nowhere)"
  until_true 20 "the count of the runs that succeeded" value_is "$((before + 7))" 'sum(archfan_runs_total{result="succeeded"})'
  value_is 1 'sum(archfan_runs_total{reason="BuildFailed"})' || die "the run that failed was not counted once"
  saw "9 runs: 7 succeeded, 2 failed, counted so"
}

# gauges_are_what_is_listed: numbers of objects, in every replica, against the API server's lists.
gauges_are_what_is_listed() {
  local runs nodes
  runs=$(kubectl get customruns -A -o json |
    jq '[.items[].spec | (.customRef // .customSpec) | select(.apiVersion == "archfan.dev/v1alpha1" and .kind == "MultiArchBuild")] | length')
  until_true 20 "caches with $runs runs" value_is "$runs" 'min(archfan_cached_objects{kind="CustomRun"})'
  value_is "$runs" 'max(archfan_cached_objects{kind="CustomRun"})' || die "the replicas differ"
  until_true 20 "no run that has not ended" value_is 0 'sum(archfan_runs_unfinished) or vector(0)'
  for nodes in amd64 arm64; do
    value_is 1 "max(archfan_nodes{platform=\"linux/$nodes\",usable=\"true\"})" || die "the nodes are not what is there"
  done
  # They sleep until they are told: how long pods take to start is not what is looked at.
  start_sleeping gauge 3 600
  until_true 20 "3 runs that have not ended" value_is 3 'max(sum by (pod) (archfan_runs_unfinished))'
  until_true 120 "6 platforms at work" value_is 6 'max(sum by (pod) (archfan_platforms{phase="running"}))'
  all_cancelled gauge 3
  until_true 20 "none again" value_is 0 'sum(archfan_runs_unfinished) or vector(0)'
  value_is 1 'sum(archfan_leader)' || die "not one leader"
  saw "$runs runs, 2 nodes, 3 runs and 6 platforms at work: the gauges are what is listed"
}

no_alert_fires() {
  local firing
  firing=$(curl -fsS "http://$PROMETHEUS/api/v1/alerts" | jq -r '[.data.alerts[] | select(.state == "firing") | .labels.alertname] | join(" ")')
  [[ -z $firing ]] || die "alerts fire: $firing"
}

# change_level LEVEL: a kubelet looks after the ConfigMaps of a pod about once a minute, and when the pod changes: so it is changed, too.
change_level() {
  in_ops patch configmap archfan-log --type merge -p "{\"data\": {\"level\": \"$1\"}}" >/dev/null
  in_ops annotate pods -l app.kubernetes.io/component=controller --overwrite "archfan.dev/test-level=$1" >/dev/null
}

# level_has_changed: the kubelet brings a changed ConfigMap within about a minute.
level_has_changed() {
  local pod restarts
  for pod in $(in_ops get pods -l app.kubernetes.io/component=controller -o name); do
    until_true 120 "the level of the log of $pod" has_said "$pod" 'what is logged was changed'
    restarts=$(in_ops get "$pod" -o jsonpath='{.status.containerStatuses[0].restartCount}')
    [[ $restarts == 0 ]] || die "$pod was restarted"
  done
  saw "the level of the log was changed in both replicas without a restart"
}

has_said() { in_ops logs "$1" | grep -q "$2"; }

# logs_are_structured: every line is JSON with a level, and every run that ended has its line.
logs_are_structured() {
  in_ops logs "$(leader)" >"$WORK/log"
  jq -e '.timestamp and .level' "$WORK/log" >/dev/null || die "a line of the log is no JSON"
  jq -se '[.[] | select(.message == "a run ended" and .run == "broken" and .result == "failed" and .reason == "BuildFailed" and .why)] | length == 1' "$WORK/log" >/dev/null ||
    die "the log does not say once that the run broken failed"
  if grep -qF "$ARCHFAN_REGISTRY_PASSWORD" "$WORK/log"; then die "the log has the registry's password"; fi
  saw "$(wc -l <"$WORK/log") lines of log: all JSON, one for each end, no password"
}
