# shellcheck shell=bash
# Volumes: a GlusterFS volume served by `control` and mounted by FUSE on each node over the bridge (StorageClass
# `shared`, ReadWriteMany), node-local folders (StorageClass `local`, ReadWriteOnce), and the provisioner of both.
# Sourced after the lib files.

GLUSTER_VOLUME=shared
SHARED_MOUNT=/mnt/shared

storage_services() {
  local node
  mkdir -p "$(machine_disk control)"/var/{lib/glusterd,lib/brick,log/glusterfs}
  # Geo-replication is not used here. At each start glusterd calls it two dozen times to set it up, and it is a Python program: this answers in
  # its place.
  printf '#!/bin/sh\necho gsyncd\n' >"$STATE_DIR/config/gsyncd"
  chmod +x "$STATE_DIR/config/gsyncd"
  service control glusterd <<EOF
mkdir -p /run/gluster
for program in /usr/lib/*/glusterfs/gsyncd; do mountpoint -q "\$program" || mount --bind '$STATE_DIR/config/gsyncd' "\$program"; done
exec glusterd --no-daemon --log-file=- --log-level=WARNING
EOF
  for node in "${NODES[@]}"; do
    mkdir -p "$(machine_disk "$node")"/{mnt/shared,var/log/glusterfs}
    # What one node has written, the other shall see at its next look: no attributes or names are remembered.
    service "$node" shared-volume <<EOF
umount -l $SHARED_MOUNT 2>/dev/null || true
exec glusterfs --no-daemon --log-file=- --log-level=WARNING --volfile-server=$CONTROL_IP --volfile-id=$GLUSTER_VOLUME \
  --attribute-timeout=0 --entry-timeout=0 --process-name=fuse $SHARED_MOUNT
EOF
  done
}

gluster() { on control gluster --mode=script "$@"; }

# storage_start: makes the volume, once glusterd answers. The client's caches are switched off where they could show
# one node what another has changed since.
storage_start() {
  local option
  wait_for 30 "glusterd to answer" gluster volume list
  gluster volume create "$GLUSTER_VOLUME" "$CONTROL_IP:/var/lib/brick" force
  for option in stat-prefetch quick-read io-cache open-behind; do
    gluster volume set "$GLUSTER_VOLUME" "performance.$option" off
  done
  gluster volume start "$GLUSTER_VOLUME"
}

glusterd_health() { gluster volume status "$GLUSTER_VOLUME" | awk '/^Brick/ && $(NF-1) == "Y" {up = 1} END {exit !up}'; }
glusterd_version() { glusterd --version | awk 'NR == 1 {print $2}'; }
glusterd_address() { echo "$CONTROL_IP:/$GLUSTER_VOLUME"; }

shared_volume_health() { on "$1" timeout 5 stat -f "$SHARED_MOUNT" | grep 'Type: fuse'; }
shared_volume_version() { glusterd_version; }
shared_volume_address() { echo "$1:$SHARED_MOUNT"; }

volume_provisioner_health() { deployment_health kube-system volume-provisioner; }
volume_provisioner_version() { module_version volume-provisioner sigs.k8s.io/sig-storage-lib-external-provisioner/v13; }
volume_provisioner_address() { echo "StorageClasses shared, local"; }
