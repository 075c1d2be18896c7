# shellcheck shell=bash
# The bridge that joins the machines and the host. Sourced after common.sh.

network_up() {
  local node
  ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip address replace "$HOST_IP/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  # Pods are reached through their node, as with any "host-gw" network.
  for node in "${NODES[@]}"; do
    ip route replace "$(node_pod_cidr "$node")" via "$(machine_ip "$node")"
  done
}

# Routes go with the bridge; the host's ends of the machines' cables go with the machines, or here.
network_down() {
  local name
  for name in "${MACHINES[@]}"; do ip link delete "$(machine_cable "$name")" 2>/dev/null || true; done
  ip link delete "$BRIDGE" 2>/dev/null || true
}
