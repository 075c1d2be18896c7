# shellcheck shell=bash
# The cluster's cgroups: how all of its processes are found and ended. Sourced after machine.sh.

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
