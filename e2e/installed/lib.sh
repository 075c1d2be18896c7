# shellcheck shell=bash
# What the parts of the test of the installation share. Sourced by e2e/test-install.

OPS=${ARCHFAN_NAMESPACE:-archfan}
TEAM=installed

in_team() { kubectl --namespace "$TEAM" "$@"; }
in_ops() { kubectl --namespace "$OPS" "$@"; }
helm() { KUBECONFIG=$KUBECONFIG "$(bin helm helm)" --namespace "$OPS" "$@"; }

# saw WORDS...: a line of what was seen, with figures.
saw() { say "    $*"; }

# until_true SECONDS WHAT COMMAND...: calls the command until it succeeds.
until_true() {
  local limit=$1 what=$2 end
  shift 2
  end=$(($(date +%s) + limit))
  until "$@" >"$WORK/last" 2>&1; do
    (($(date +%s) < end)) || die "waited $limit s for: $what; last: $(tail -c 400 "$WORK/last")"
    sleep 0.3
  done
}

# nobody_else: fails when runs of others are under way in this cluster: they would stand still while archfan is removed.
nobody_else() {
  local others
  others=$(unfinished_runs "$TEAM")
  [[ -z $others ]] || die "archfan is at work for others in this cluster: $others; this test removes and installs it"
}

# definitions: builds that the test runs refer to. `sleep` does nothing for as long as a param says; `index` names an image that is there
# already for each platform, and `copied` makes its index in a repository that has nothing of it; `broken` fails and is tried again; `nowhere` waits for a node that the cluster does not have.
definitions() {
  jq -n --arg shell "$ARCHFAN_IMAGE_SHELL" --arg index "${ARCHFAN_IMAGE_SHELL%:*}" \
    --arg amd64 "$(digest linux/amd64)" --arg arm64 "$(digest linux/arm64)" '
    def build($name; $spec): {apiVersion: "archfan.dev/v1alpha1", kind: "MultiArchBuild", metadata: {name: $name}, spec: $spec};
    def step($script): {steps: [{name: "run", image: $shell, script: "#!/bin/sh\nset -eu\n\($script)\n"}]};
    def there: step("case $(platform.arch) in amd64) d=\($amd64) ;; *) d=\($arm64) ;; esac
      printf %s \($index) >$(results.IMAGE_URL.path); printf %s \"$d\" >$(results.IMAGE_DIGEST.path)")
      + {results: [{name: "IMAGE_URL"}, {name: "IMAGE_DIGEST"}]};
    ["linux/amd64", "linux/arm64"] as $both |
    {apiVersion: "v1", kind: "List", items: [
      build("sleep"; {params: [{name: "SECONDS"}], platforms: $both,
        taskSpec: (step("sleep $(params.SECONDS)") + {params: [{name: "SECONDS"}]})}),
      build("broken"; {platforms: $both, taskSpec: step("exit 1")}),
      build("nowhere"; {platforms: ["linux/s390x"], strategy: {pendingTimeout: "10s"}, taskSpec: step("true")}),
      build("index"; {platforms: $both, taskSpec: there, workspaces: [{name: "ca"}],
        index: {image: "\($index):installed", workspaces: [{name: "ca"}]}}),
      build("copied"; {params: [{name: "TO"}], platforms: $both, taskSpec: there, workspaces: [{name: "ca"}],
        index: {image: "\($index)-$(params.TO):installed", workspaces: [{name: "ca"}]}})
    ]}'
}

# digest PLATFORM: of the shell image.
digest() { in_registry crane digest --platform "$1" "$ARCHFAN_IMAGE_SHELL"; }

# start NAME BUILD [JQ]: makes a CustomRun of a build.
start() {
  jq -n --arg name "$1" --arg build "$2" '{
    apiVersion: "tekton.dev/v1beta1", kind: "CustomRun", metadata: {name: $name, labels: {test: "installed"}},
    spec: {serviceAccountName: "builder", customRef: {apiVersion: "archfan.dev/v1alpha1", kind: "MultiArchBuild", name: $build}}} | '"${3:-.}" |
    in_team create -f - >/dev/null
}

# start_sleeping PREFIX COUNT SECONDS
start_sleeping() {
  local i
  for ((i = 1; i <= $2; i++)); do start "$1-$i" sleep ".spec.params = [{name: \"SECONDS\", value: \"$3\"}]"; done
}

# status NAME: status and reason of a run.
status() { in_team get customrun "$1" -o jsonpath='{.status.conditions[?(@.type=="Succeeded")].status} {.status.conditions[?(@.type=="Succeeded")].reason}'; }

# end_of NAME SECONDS: waits for the end of a run, by one process that watches: a loop would start a kubectl for each look.
end_of() {
  in_team wait "customrun/$1" --for='jsonpath={.status.completionTime}' --timeout="$2s" >"$WORK/last" 2>&1 ||
    die "waited $2 s for the end of the run $1, which is $(status "$1"): $(cat "$WORK/last")"
}

# under_way PREFIX COUNT: whether every run of the prefix has both children.
under_way() { (($(in_team get taskruns -o name | grep -c "/$1-") == 2 * $2)); }

# all_succeeded PREFIX COUNT: waits for the runs, and looks whether each has one child for each platform, made once.
all_succeeded() {
  local i children
  for ((i = 1; i <= $2; i++)); do
    end_of "$1-$i" 180
    [[ $(status "$1-$i") == "True Succeeded" ]] || die "$1-$i: $(in_team get customrun "$1-$i" -o jsonpath='{.status.conditions}')"
    children=$(in_team get taskruns -l "tekton.dev/customRun=$1-$i" -o json |
      jq -r '[.items[] | .metadata.labels["archfan.dev/platform"]] | sort | join(" ")')
    [[ $children == "linux-amd64 linux-arm64" ]] || die "$1-$i has the children: $children"
  done
}

# all_cancelled PREFIX COUNT: cancels the runs, as a PipelineRun does, and waits for their end.
all_cancelled() {
  local i
  for ((i = 1; i <= $2; i++)); do in_team patch customrun "$1-$i" --type merge -p '{"spec": {"status": "RunCancelled"}}' >/dev/null; done
  for ((i = 1; i <= $2; i++)); do
    end_of "$1-$i" 60
    [[ $(status "$1-$i") == "False CustomRunCancelled" ]] || die "$1-$i: $(in_team get customrun "$1-$i" -o jsonpath='{.status.conditions}')"
  done
}

# children PREFIX: names and uids.
children() { in_team get taskruns -o json | jq -r --arg prefix "$1-" '.items[] | select(.metadata.name | startswith($prefix)) | "\(.metadata.name) \(.metadata.uid)"' | sort; }

# leader: the pod that holds the Lease.
leader() { in_ops get lease archfan -o jsonpath='{.spec.holderIdentity}'; }

# milliseconds TIME: of a time as Kubernetes writes it, or of now.
milliseconds() { date -d "${1:-now}" +%s%3N; }
