# shellcheck shell=bash
# Debian packages. Sourced after common.sh.

# package_list: the names in packages.txt.
package_list() { sed -E 's/#.*//; s/[[:space:]]+//g; /^$/d' "$CLUSTER_DIR/packages.txt"; }

# missing_packages: those of the list that are not installed.
missing_packages() {
  local packages
  mapfile -t packages < <(package_list | LC_ALL=C sort)
  # dpkg-query fails when there is one that it does not know.
  { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true; } | sed -n 's/^installed //p' |
    LC_ALL=C sort -u | LC_ALL=C comm -23 <(printf '%s\n' "${packages[@]}") -
}

install_packages_now() {
  export DEBIAN_FRONTEND=noninteractive
  # The packages bring services (etcd, nginx, glusterd, ...) that must not start on the host: the cluster runs its own.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\n# archfan: no service is started while its packages are installed\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get -o DPkg::Lock::Timeout=300 update
  apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"
}

# install_packages: installs what is missing; does not call apt when nothing is.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) && return 0
  step packages "installing ${#missing[@]} Debian packages" install_packages_now "${missing[@]}"
}
