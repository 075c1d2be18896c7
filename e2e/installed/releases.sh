# shellcheck shell=bash
# Install, upgrade, rollback, removal, with runs in flight. Sourced by e2e/test-install.

# previous_charts: makes the charts of the version before this one: those of the newest tag, or, before there is one, these under an older
# number. Prints their folder.
previous_charts() {
  local tag folder=$WORK/previous chart
  mkdir -p "$folder"
  tag=$(git -C "$REPO_DIR" describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || true)
  if [[ -n $tag ]]; then
    git -C "$REPO_DIR" archive "$tag" charts | tar -x -C "$folder" --strip-components=1
  else
    cp -r "$REPO_DIR"/charts/archfan "$REPO_DIR"/charts/archfan-crds "$folder"
    for chart in archfan archfan-crds; do sed -i 's/^version: .*/version: 0.0.1/' "$folder/$chart/Chart.yaml"; done
  fi
  echo "$folder"
}

install_previous() {
  helm uninstall archfan --ignore-not-found --wait >/dev/null
  ARCHFAN_CHARTS=$(previous_charts) "$REPO_DIR/e2e/install" "$@" >/dev/null
  saw "installed: $(helm list -o json | jq -r 'map("\(.name) \(.chart)") | join(", ")')"
}

upgrade_with_runs_in_flight() {
  local before
  start_sleeping upgrade 5 25
  until_true 60 "children of 5 runs" under_way upgrade 5
  before=$(children upgrade)
  "$REPO_DIR/e2e/install" "$@" >/dev/null
  saw "upgraded to $(helm list -o json | jq -r '.[] | select(.name == "archfan") | "\(.chart), revision \(.revision)"')"
  start_sleeping after-upgrade 1 1
  all_succeeded upgrade 5
  all_succeeded after-upgrade 1
  [[ $(children upgrade) == "$before" ]] || die "children were made anew during the upgrade: $before"
  saw "5 runs in flight succeeded, with the children that they had; a new one too"
}

rollback_with_runs_in_flight() {
  local before
  start_sleeping rollback 5 20
  until_true 60 "children of 5 runs" under_way rollback 5
  before=$(children rollback)
  helm rollback archfan 1 --wait --timeout 120s >/dev/null
  all_succeeded rollback 5
  [[ $(children rollback) == "$before" ]] || die "children were made anew during the rollback"
  saw "rolled back to revision 1; 5 runs in flight succeeded, with the children that they had"
}

# removal: what is the users' stays; of archfan nothing does.
removal() {
  local builds runs left
  builds=$(in_team get multiarchbuilds -o name | wc -l)
  runs=$(in_team get customruns,taskruns -o name | wc -l)
  helm uninstall archfan --wait >/dev/null
  helm uninstall archfan-crds --wait >/dev/null
  [[ $(in_team get multiarchbuilds -o name | wc -l) == "$builds" ]] || die "MultiArchBuilds went with the chart"
  [[ $(in_team get customruns,taskruns -o name | wc -l) == "$runs" ]] || die "CustomRuns or TaskRuns went with the chart"
  left=$(kubectl get clusterroles,clusterrolebindings,roles,rolebindings,deployments,services,configmaps,serviceaccounts,secrets,poddisruptionbudgets,leases -A \
    -l app.kubernetes.io/part-of=archfan -o name)
  [[ -z $left ]] || die "of archfan is left: $left"
  kubectl get crd multiarchbuilds.archfan.dev -o name >/dev/null
  saw "removed; the definition, $builds MultiArchBuilds and $runs runs stay"
  # And an installation afterwards takes the definition over again.
  "$REPO_DIR/e2e/install" >/dev/null
  start_sleeping again 1 1
  all_succeeded again 1
  saw "installed again; a run of a MultiArchBuild that was there before succeeded"
}
