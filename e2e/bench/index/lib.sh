# shellcheck shell=bash
# Registries, images and figures. Sourced by run.

export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
REGISTRY_PID='' DELAY_PIDS=()

die() {
  echo "bench: $*" >&2
  exit 1
}

say() { echo "bench: $*" >&2; }

cleanup() {
  [[ -z $REGISTRY_PID ]] || kill "$REGISTRY_PID" 2>/dev/null || true
  ((${#DELAY_PIDS[@]} == 0)) || kill "${DELAY_PIDS[@]}" 2>/dev/null || true
  rm -rf "$WORK"
}

# machine: what this ran on.
machine() {
  local cpu memory
  cpu=$(sed -nE 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
  memory=$(awk '/^MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)
  echo "$(nproc) cores of $cpu, $memory, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) at the start."
  echo "Registry: docker-registry $(docker-registry --version | awk '{print $3}') on a local disk; crane $("$CRANE" version); $(buildah --version | sed 's/ (.*//')."
}

# registry_start ADDRESS [CONFIG...]: a registry with an empty store; further lines of its configuration.
registry_start() {
  registry_stop
  rm -rf "$WORK/store"
  registry_resume "$@"
}

# registry_resume: the same, with the store as it is.
registry_resume() {
  local address=$1
  shift
  export REGISTRY=$address
  {
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\n' "$WORK/store"
    printf 'http:\n  addr: %s\n  secret: bench\n' "$address"
    (($# == 0)) || printf '%s\n' "$@"
  } >"$WORK/registry.yaml"
  docker-registry serve "$WORK/registry.yaml" >"$WORK/registry.log" 2>&1 &
  REGISTRY_PID=$!
  for _ in $(seq 200); do
    (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null && return 0
    sleep 0.05
  done
  die "the registry does not listen on $address: $(tail -n 1 "$WORK/registry.log")"
}

registry_stop() {
  [[ -n $REGISTRY_PID ]] || return 0
  kill "$REGISTRY_PID" 2>/dev/null || true
  wait "$REGISTRY_PID" 2>/dev/null || true
  REGISTRY_PID=''
}

# free_port: one that nobody listens on.
free_port() {
  local port
  while port=$((20000 + RANDOM)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# image ARCH MEGABYTES: an OCI archive of one layer of bytes that do not compress, at $WORK/ARCH.tar, and its blobs unpacked.
image() {
  local dir=$WORK/layout-$1 layer config manifest size
  rm -rf "$dir" && mkdir -p "$dir/blobs/sha256" "$WORK/root"
  head -c "${2}MB" /dev/urandom >"$WORK/root/data"
  tar -C "$WORK/root" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$WORK/layer" data
  rm "$WORK/root/data"
  layer=$(blob "$dir" "$WORK/layer")
  size=$(stat -c %s "$dir/blobs/sha256/$layer")
  printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$1" "$layer" >"$WORK/config"
  local config_size
  config_size=$(stat -c %s "$WORK/config")
  config=$(blob "$dir" "$WORK/config")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
    "$config" "$config_size" "$layer" "$size" >"$WORK/manifest"
  size=$(stat -c %s "$WORK/manifest")
  manifest=$(blob "$dir" "$WORK/manifest")
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' "$manifest" "$size" >"$dir/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
  tar -C "$dir" -cf "$WORK/$1.tar" blobs index.json oci-layout
  echo "sha256:$manifest" >"$WORK/$1.digest"
  echo "$layer" >"$WORK/$1.layer"
}

# blob DIR FILE: moves a file to its place among blobs and prints its digest.
blob() {
  local digest
  digest=$(sha256sum <"$2" | cut -d' ' -f1)
  mv "$2" "$1/blobs/sha256/$digest"
  echo "$digest"
}

# measure NAME COMMAND...: runs a command, and notes its wall time in ms and its largest memory in kB.
measure() {
  local name=$1 start end
  shift
  start=$EPOCHREALTIME
  /usr/bin/time -o "$WORK/time" -f %M "$@" >"$WORK/output" 2>&1 || die "$name failed: $(tail -n 5 "$WORK/output")"
  end=$EPOCHREALTIME
  echo $(((${end/./} - ${start/./}) / 100)) >>"$WORK/$name.times"
  tail -n 1 "$WORK/time" >>"$WORK/$name.memory"
}

# spread FILE DIVISOR: the smallest, the middle and the largest, divided.
spread() {
  sort -n "$1" | awk -v d="$2" '{v[NR] = $1} END {printf "%.1f / %.1f / %.1f", v[1] / d, v[int((NR + 1) / 2)] / d, v[NR] / d}'
}

middle() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# ratio A B: the middle time of A, in parts of that of B.
ratio() { awk -v a="$(middle "$WORK/$1.times")" -v b="$(middle "$WORK/$2.times")" 'BEGIN {printf "%.2f", a / b}'; }

forget() { rm -f "$WORK"/*.times "$WORK"/*.memory; }

# row NAME DIVISOR LABEL BASE: a line of a table; times are kept in tenths of a ms.
row() { echo "| $3 | $(spread "$WORK/$1.times" "$2") | $(ratio "$1" "$4") | $(spread "$WORK/$1.memory" 1000) |"; }
