# shellcheck shell=bash
# The cluster's cgroups: how all of its processes are found and ended. Every machine has a cgroup in each hierarchy, and
# a cgroup namespace that begins there, so that whatever runs in it can make none elsewhere. `up` has one as well while it works: `down`
# finds it too, and beside other clusters it gets its own one's share of the processors. Sourced after common.sh.

# cgroup2_root: where the unified cgroup hierarchy is mounted.
cgroup2_root() { awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts; }

# cgroup_roots: every mounted cgroup hierarchy, old and unified.
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts; }

# enter_cgroups NAME: puts the calling process into the cgroup of this name, a machine's, `up` or `caches`, of each hierarchy.
enter_cgroups() {
  local root dir file
  for root in $(cgroup_roots); do
    for dir in "$root/$CLUSTER_NAME" "$root/$CLUSTER_NAME/$1"; do
      mkdir -p "$dir"
      # The old cpuset hierarchy admits nobody before these are set.
      for file in cpuset.cpus cpuset.mems; do
        if [[ -e $root/cgroup.clone_children && -e $dir/$file ]]; then cat "$dir/../$file" >"$dir/$file"; fi
      done
    done
    # A cgroup weighs as much as one process beside it. Beside a compiler the whole cluster would stand still.
    if [[ -e $root/$CLUSTER_NAME/cpu.shares ]]; then echo 8192 >"$root/$CLUSTER_NAME/cpu.shares"; fi
    if [[ -e $root/$CLUSTER_NAME/cpu.weight ]]; then echo 800 >"$root/$CLUSTER_NAME/cpu.weight"; fi
    echo "$BASHPID" >"$dir/cgroup.procs"
  done
}

# mount_cgroups: run inside a machine's namespaces: in place of the host's hierarchies, the part that is the machine's.
mount_cgroups() {
  local type point options hierarchies
  hierarchies=$(awk '$3 == "cgroup" || $3 == "cgroup2" {print $3, $2, $4}' /proc/mounts)
  umount --recursive /sys/fs/cgroup
  # As the host has it: one unified hierarchy at this place, or a folder of several.
  if [[ $hierarchies != "cgroup2 /sys/fs/cgroup "* ]]; then mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup; fi
  while read -r type point options; do
    mkdir -p "$point"
    if [[ $type == cgroup2 ]]; then
      mount -t cgroup2 cgroup2 "$point"
      # In the unified hierarchy processes belong into leaves.
      echo $$ >"$point/init/cgroup.procs"
    else
      options=$(tr ',' '\n' <<<"$options" | grep -vxE 'rw|ro|relatime|nosuid|nodev|noexec|release_agent=.*' | paste -sd,)
      mount -t cgroup -o "$options" cgroup "$point"
    fi
  done <<<"$hierarchies"
}

# cluster_processes: every process of the cluster, by what the kernel says; the dead that nobody has buried yet too.
cluster_processes() {
  grep -ls "^0::.*/$CLUSTER_NAME/" /proc/[0-9]*/cgroup | cut -d/ -f3 || true
}

no_cluster_processes() {
  local left
  left=$(cluster_processes | tr '\n' ' ')
  echo "still there: $left"
  [[ -z $left ]]
}

# kill_cluster: ends them all at once, and waits until they have gone.
kill_cluster() {
  local root pid
  root=$(cgroup2_root)/$CLUSTER_NAME
  [[ -d $root ]] || return 0
  if [[ -e $root/cgroup.kill ]]; then
    echo 1 >"$root/cgroup.kill"
  else
    for pid in $(cluster_processes); do kill -KILL "$pid" 2>/dev/null || true; done
  fi
  wait_for 30 "the cluster's processes to end" no_cluster_processes
}

# remove_cgroups: the cluster's folders in every hierarchy.
remove_cgroups() {
  local root
  for root in $(cgroup_roots); do
    [[ -d $root/$CLUSTER_NAME ]] || continue
    wait_for 10 "the cgroups under $root/$CLUSTER_NAME to be free" find "$root/$CLUSTER_NAME" -depth -type d -exec rmdir {} +
  done
}
