# shellcheck shell=bash
# The dashboards as pictures, from the test's Prometheus. Sourced by e2e/test-install.

# Drawn by this; not one of the packages that every test needs.
PICTURES_NEED=python3-matplotlib

# varied_load: for some minutes, runs of different lengths, some that push an index and copy what belongs to it, that wait for a node, that
# fail.
varied_load() {
  local wave
  for wave in 1 2 3 4; do
    start_sleeping "wave$wave" 4 $((4 * wave))
    start "wave$wave-copied" copied '.spec.workspaces = [{name: "ca", configMap: {name: "registry-ca"}}]
      | .spec.params = [{name: "TO", value: "copied-'"$wave-$(date +%s)"'"}]'
    ((wave % 2)) || start "wave$wave-broken" broken '.spec.retries = 1'
    ((wave % 2)) && start "wave$wave-nowhere" nowhere
    all_succeeded "wave$wave" 4
  done
  until_true 60 "no run that has not ended" value_is 0 'sum(archfan_runs_unfinished) or vector(0)'
}

# pictures FOLDER: one PNG for each dashboard. Every panel must have data.
pictures() {
  local file name
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$PICTURES_NEED" 2>/dev/null) == installed ]] ||
    step pictures-package "installing $PICTURES_NEED" install_packages_now "$PICTURES_NEED"
  varied_load
  mkdir -p "$1"
  for file in "$REPO_DIR"/charts/archfan/files/dashboards/*.json; do
    name=$(basename "$file" .json)
    "$REPO_DIR/e2e/installed/picture" "$file" "http://$PROMETHEUS" "$BEGAN" "$(date +%s)" "$1/dashboard-$name.png"
    saw "$1/dashboard-$name.png: $(stat -c %s "$1/dashboard-$name.png") bytes"
  done
}
