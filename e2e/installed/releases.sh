# shellcheck shell=bash
# Install, upgrade, rollback, removal, with runs in flight. Sourced by e2e/test-install.

# What an upgrade takes to the new version: before the first release, a field of the definition that the version before has not, fewer
# reconciles at once, and another image.
PREVIOUS_CONCURRENCY=32

# previous_charts: makes the charts of the version before this one: those of the newest tag, or, before there is one, these under an older
# number and without the field `reuse` in the definition. Prints their folder.
previous_charts() {
  local tag folder=$WORK/previous chart
  mkdir -p "$folder"
  tag=$(git -C "$REPO_DIR" describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || true)
  if [[ -n $tag ]]; then
    git -C "$REPO_DIR" archive "$tag" charts | tar -x -C "$folder" --strip-components=1
  else
    cp -r "$REPO_DIR"/charts/archfan "$REPO_DIR"/charts/archfan-crds "$folder"
    for chart in archfan archfan-crds; do sed -i 's/^version: .*/version: 0.0.1/' "$folder/$chart/Chart.yaml"; done
    without_field reuse "$folder/archfan-crds/files/multiarchbuilds.yaml"
  fi
  echo "$folder"
}

# without_field NAME FILE: removes a field, with all that is indented beneath it, from the definition.
without_field() {
  grep -qE "^ +$1:\$" "$2" || die "$2 has no field $1"
  awk -v field="$1" '
    { match($0, /^ */) }
    gone && RLENGTH > depth { next }
    { gone = 0 }
    $0 ~ "^ +" field ":$" { gone = 1; depth = RLENGTH; next }
    { print }' "$2" >"$2.new"
  mv "$2.new" "$2"
}

# previous_image: the image under another name, as that of the version before: a new pod has to pull it, and the pods are replaced. What is
# in it is the same, as long as there has been no release.
previous_image() {
  local ref
  ref=$("$REPO_DIR/e2e/image")
  in_registry crane tag "$ref" previous >/dev/null 2>"$WORK/last" || die "$(cat "$WORK/last")"
  echo "${ref%:*}"
}

# knows_reuse: whether the API server takes a MultiArchBuild with the field that the version before had not.
knows_reuse() {
  jq -n '{apiVersion: "archfan.dev/v1alpha1", kind: "MultiArchBuild", metadata: {name: "reuse"}, spec: {platforms: ["linux/amd64"],
    strategy: {reuse: "$(params.revision)"}, params: [{name: "revision"}], taskRef: {name: "x"}}}' |
    in_team apply --dry-run=server --validate=strict -f -
}

# runs_as: image and number of reconciles at once of every controller that there is.
runs_as() {
  in_ops get pods -l app.kubernetes.io/component=controller -o json | jq -r '.items[] | select(.metadata.deletionTimestamp | not)
    | .spec.containers[0] | "\(.image) \(.args[] | select(startswith("--concurrency=")))"' | sort -u
}

install_previous() {
  local image
  image=$(previous_image)
  helm uninstall archfan --ignore-not-found --wait >/dev/null
  ARCHFAN_CHARTS=$(previous_charts) "$REPO_DIR/e2e/install" "$@" --set "image.tag=previous,concurrency=$PREVIOUS_CONCURRENCY" >/dev/null
  if knows_reuse >"$WORK/last" 2>&1; then die "the definition in the cluster has the field reuse although the version before is installed: was it left by somebody else? kubectl delete crd multiarchbuilds.archfan.dev, and call this again"; fi
  grep -q 'unknown field "spec.strategy.reuse"' "$WORK/last" || die "$(cat "$WORK/last")"
  BEFORE=$(runs_as)
  [[ $BEFORE == "$image:previous --concurrency=$PREVIOUS_CONCURRENCY" ]] || die "the version before runs as $BEFORE"
  saw "installed: $(helm list -o json | jq -r 'map("\(.name) \(.chart)") | join(", ")')"
}

upgrade_with_runs_in_flight() {
  local before
  start_sleeping upgrade 5 25
  until_true 60 "children of 5 runs" under_way upgrade 5
  before=$(children upgrade)
  "$REPO_DIR/e2e/install" "$@" >/dev/null
  saw "upgraded to $(helm list -o json | jq -r '.[] | select(.name == "archfan") | "\(.chart), revision \(.revision)"')"
  knows_reuse >"$WORK/last" 2>&1 || die "the definition was not changed: $(cat "$WORK/last")"
  AFTER=$(runs_as)
  [[ $AFTER != *previous* && $AFTER != *"=$PREVIOUS_CONCURRENCY" && $AFTER != *$'\n'* ]] || die "after the upgrade there runs: $AFTER"
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
  [[ $(runs_as) == "$BEFORE" ]] || die "after the rollback there runs: $(runs_as)"
  all_succeeded rollback 5
  [[ $(children rollback) == "$before" ]] || die "children were made anew during the rollback"
  # Helm leaves the definition, which is a release of its own, as it is.
  knows_reuse >"$WORK/last" 2>&1 || die "the definition went back: $(cat "$WORK/last")"
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
