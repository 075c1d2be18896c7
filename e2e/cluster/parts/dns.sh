# shellcheck shell=bash
# The cluster's DNS: CoreDNS as a pod (manifests/dns.yaml). Sourced after the lib files.

coredns_health() { deployment_health kube-system coredns; }
coredns_version() { module_version coredns github.com/coredns/coredns; }
coredns_address() { echo "$SERVICE_DNS_IP:53"; }
