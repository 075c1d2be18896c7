# shellcheck shell=bash
# Machines: each a set of namespaces (network, mount, PID, UTS, IPC, cgroup) with an init of its own, joined to the bridge.
# All of a machine's processes are in the cgroup CLUSTER/NAME of the unified hierarchy: that is how `down` finds every
# one of them, whatever has been killed before. Sourced after common.sh.

# machine_cable NAME: the host's end of its cable; a network device's name has 15 letters at most.
machine_cable() { echo "$CLUSTER_NAME-$(machine_ip "$1" | cut -d. -f4)"; }

# machines_up: their disks lie in memory, where there is plenty: what nodes pull and unpack is gone with the cluster anyhow, and a disk that
# must make sure of every layer of an image is what pods would wait for. All tests leave 5 GB there.
machines_up() {
  mkdir -p "$STATE_DIR/machines"
  if (($(awk '/^MemAvailable:/ { print int($2 / 1024 / 1024) }' /proc/meminfo) >= 14)); then
    mount -t tmpfs -o mode=755,size=12g "$CLUSTER_NAME-machines" "$STATE_DIR/machines"
  fi
}

# machines_down: called when none of their processes is left.
machines_down() {
  while mountpoint --quiet "$STATE_DIR/machines"; do umount "$STATE_DIR/machines"; done
}

machine_dir() { echo "$STATE_DIR/machines/$1"; }
machine_disk() { echo "$STATE_DIR/machines/$1/disk"; }
log_file() { echo "$STATE_DIR/logs/$1/$2.log"; }

# machine_pid NAME: the host's process id of the machine's init; fails when the machine does not run.
machine_pid() {
  local pid cgroup
  pid=$(cat "$(machine_dir "$1")/pid" 2>/dev/null) || return 1
  cgroup=$(grep '^0::' "/proc/$pid/cgroup" 2>/dev/null) || return 1
  [[ $cgroup == "0::"*"/$CLUSTER_NAME/$1"* ]] || return 1
  echo "$pid"
}

# on MACHINE COMMAND...: runs a command inside a machine.
on() {
  local pid
  pid=$(machine_pid "$1") || die "the machine $1 does not run: call make cluster"
  shift
  nsenter -t "$pid" --mount --uts --ipc --net --pid --cgroup -- "$@"
}

# service MACHINE PART: writes the supervised service PART; the shell lines that end in `exec PROGRAM` come from stdin.
service() {
  local dir log
  dir=$(machine_dir "$1")/services/$2
  log=$(log_file "$1" "$2")
  mkdir -p "$dir.new" "$(dirname "$log")"
  {
    echo '#!/bin/sh'
    echo "exec >>'$log' 2>&1"
    echo 'set -eu'
    cat
  } >"$dir.new/run"
  chmod +x "$dir.new/run"
  rm -rf "$dir"
  mv "$dir.new" "$dir"
}

# machine_prepare NAME: its disk: what its /etc has over the host's, an empty /var and /mnt.
machine_prepare() {
  local dir disk machine
  dir=$(machine_dir "$1")
  disk=$(machine_disk "$1")
  mkdir -p "$dir/services" "$disk"/{etc,etc.work,mnt} "$disk"/var/{lib,log,cache,tmp,spool} "$disk/var/lib/$(basename "$STATE_DIR")"
  chmod 1777 "$disk/var/tmp"
  ln -sfn /run "$disk/var/run"
  ln -sfn /run/lock "$disk/var/lock"
  echo "$1" >"$disk/etc/hostname"
  hash_text "$1" "$RANDOM$RANDOM" | sed 's/.*/&&/' >"$disk/etc/machine-id"
  {
    echo "127.0.0.1 localhost"
    for machine in "${MACHINES[@]}"; do echo "$(machine_ip "$machine") $machine"; done
  } >"$disk/etc/hosts"
  echo "# The machines know each other by /etc/hosts; pods have the cluster's DNS." >"$disk/etc/resolv.conf"
}

# machine_start NAME: makes its namespaces and starts its init, which starts the services; then plugs in its network.
machine_start() {
  local name=$1 dir parent pid veth
  veth=$(machine_cable "$name")
  dir=$(machine_dir "$name")
  # The subshell puts itself into the machine's cgroups first: everything below it is born there, and the machine's
  # cgroup namespace begins there.
  (
    enter_cgroups "$name"
    mkdir "$(cgroup2_root)/$CLUSTER_NAME/$name/init"
    exec setsid unshare --net --mount --pid --uts --ipc --cgroup --fork --kill-child --mount-proc \
      "$CLUSTER_DIR/lib/machine-init" "$name" </dev/null >"$dir/init.log" 2>&1 9>&-
  ) &
  parent=$!
  wait_for 10 "the first process of $name" machine_has_child "$parent"
  echo "$parent" >"$(cgroup2_root)/$CLUSTER_NAME/$name/init/cgroup.procs"
  pid=$(cat "/proc/$parent/task/$parent/children")
  echo "${pid// /}" >"$dir/pid"
  ip link add "$veth" type veth peer name eth0 netns "${pid// /}"
  ip link set "$veth" master "$BRIDGE" up
  touch "$dir/plugged-in"
  wait_for 20 "the init of $name (its log: $dir/init.log)" grep -x tini "/proc/${pid// /}/comm"
}

# machine_has_child PID: the process has become unshare, and has started the first process of the machine.
machine_has_child() { [[ $(cat "/proc/$1/comm") == unshare && -n $(cat "/proc/$1/task/$1/children") ]]; }
