# shellcheck shell=bash
# What every script of the cluster shares: places, addresses, progress lines and remembered durations.
# Sourced, never run.

set -euo pipefail

CLUSTER_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
MODULES_DIR=$(cd -- "$CLUSTER_DIR/../modules" && pwd)
REPO_DIR=$(cd -- "$CLUSTER_DIR/../.." && pwd)

# Builds and downloads: outside the checkout, shared by all clones, each entry named by a hash of its inputs.
CACHE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/archfan
# What the scripts have cargo compile lies there too, unless the caller names a folder: another checkout compiles its own crates only.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE_DIR/target}
# The running cluster: normally one per computer, at a fixed place, whatever checkout it is started from. A second one
# beside it (the test of `down` makes one) takes another name and another network.
CLUSTER_NAME=${ARCHFAN_CLUSTER:-archfan}
STATE_DIR=/var/lib/$CLUSTER_NAME-cluster
# Beside the state, not in it: `down` removes the state while holding the lock.
LOCK_FILE=$STATE_DIR.lock

# The network: one bridge; machines in the first /24, each node's pods in a /24 of its own, services apart.
BRIDGE=${CLUSTER_NAME}0
NET_PREFIX=${ARCHFAN_CLUSTER_NET:-10.231}
HOST_IP=$NET_PREFIX.0.1
CONTROL_IP=$NET_PREFIX.0.2
POD_CIDR=$NET_PREFIX.16.0/20
SERVICE_CIDR=$NET_PREFIX.32.0/20
SERVICE_API_IP=$NET_PREFIX.32.1
SERVICE_DNS_IP=$NET_PREFIX.32.10
API_URL=https://$CONTROL_IP:6443
REGISTRY=$CONTROL_IP:5000
REGISTRY_USER=archfan
GIT_URL=http://$CONTROL_IP:8080

NODES=(node-amd64 node-arm64)
MACHINES=(control "${NODES[@]}")

# machine_ip NAME: its address on the bridge.
machine_ip() {
  case $1 in
    control) echo "$CONTROL_IP" ;;
    node-amd64) echo "$NET_PREFIX.0.11" ;;
    node-arm64) echo "$NET_PREFIX.0.12" ;;
    *) die "no machine is called '$1' (there are: ${MACHINES[*]})" ;;
  esac
}

# node_arch NAME: the architecture as Go, OCI and kubernetes.io/arch spell it.
node_arch() { echo "${1#node-}"; }

# node_pod_cidr NAME: the addresses of this node's pods.
node_pod_cidr() {
  case $1 in
    node-amd64) echo "$NET_PREFIX.17.0/24" ;;
    node-arm64) echo "$NET_PREFIX.18.0/24" ;;
    *) die "no node is called '$1' (there are: ${NODES[*]})" ;;
  esac
}

die() {
  echo "error: $*" >&2
  exit 1
}

say() { echo "[$(clock)] $*"; }

# clock: time since this command began, mm:ss. Scripts called by others inherit the beginning.
export ARCHFAN_T0=${ARCHFAN_T0:-$(date +%s)}
clock() {
  local s=$(($(date +%s) - ARCHFAN_T0))
  printf '%02d:%02d' $((s / 60)) $((s % 60))
}

# human SECONDS: 75 -> 1m15s
human() {
  if (($1 < 60)); then echo "${1}s"; else echo "$(($1 / 60))m$(($1 % 60))s"; fi
}

need_root() {
  [[ $(id -u) == 0 ]] || die "this needs root (it makes namespaces, a bridge and mounts): run it with sudo -E"
}

# usually NAME: ", usually 1m20s" from the median of the last runs, or nothing when it never ran.
usually() {
  local file=$CACHE_DIR/durations/$1
  [[ -s $file ]] || return 0
  local n
  n=$(wc -l <"$file")
  echo ", usually $(human "$(sort -n "$file" | sed -n "$(((n + 1) / 2))p")")"
}

# remember NAME SECONDS: keeps the last five durations of a step.
remember() {
  mkdir -p "$CACHE_DIR/durations"
  local file=$CACHE_DIR/durations/$1
  {
    tail -n 4 "$file" 2>/dev/null || true
    echo "$2"
  } >"$file.$$"
  mv "$file.$$" "$file"
}

# accompany PID WORDS: until the process ends, says the words every half minute.
accompany() {
  local waited=0
  while kill -0 "$1" 2>/dev/null; do
    sleep 0.2
    waited=$((waited + 1))
    if ((waited % 150 == 0)); then say "$2"; fi
  done
}

# step NAME WHAT COMMAND...: says what is done and how long it usually takes, runs the command with its output in a
# log file, says every half minute that it still runs, and at the end how long it took. A failure shows the log's end.
step() {
  local name=$1 what=$2 begin log pid status=0
  shift 2
  begin=$(date +%s)
  mkdir -p "$CACHE_DIR/logs"
  log=$CACHE_DIR/logs/$name.log
  say "$what$(usually "$name")"
  ("$@") >"$log" 2>&1 9>&- &
  pid=$!
  accompany "$pid" "  $name: still at it; log: $log"
  wait "$pid" || status=$?
  local took=$(($(date +%s) - begin))
  if ((status != 0)); then
    echo "---- the end of $log" >&2
    tail -n 25 "$log" >&2
    die "$name failed after $(human "$took") (status $status); whole log: $log"
  fi
  remember "$name" "$took"
  say "  $name: done in $(human "$took")"
}

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds; dies saying what was awaited and its last words.
wait_for() {
  local limit=$1 what=$2 end out
  shift 2
  end=$(($(date +%s) + limit))
  until out=$("$@" 2>&1); do
    if (($(date +%s) >= end)); then
      die "waited $(human "$limit") for: $what. Last answer: ${out:-none}"
    fi
    sleep 0.2
  done
}

# hash_of FILE...: a short name for the contents of files, in the order given.
hash_of() { cat -- "$@" | sha256sum | cut -c1-16; }

# hash_text TEXT...: the same for words.
hash_text() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# revision: what the checkout is, as the program and its image say what they were made from.
revision() { git -C "$REPO_DIR" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown; }

# kill_tree PID: ends a process of ours with everything below it.
kill_tree() {
  local child
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null || true); do kill_tree "$child"; done
  kill -KILL "$1" 2>/dev/null || true
}

# kill_background: ends the background jobs of this script; for its exit trap, so that ^C leaves no compiler behind.
kill_background() {
  local pid
  for pid in $(jobs -p); do kill_tree "$pid"; done
}
