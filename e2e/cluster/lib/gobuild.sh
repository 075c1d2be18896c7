# shellcheck shell=bash
# Programs built from pinned Go modules (e2e/modules/NAME/go.mod), kept in the cache under a hash of all that goes
# into them. Sourced after common.sh.

# module_version NAME PATH: the version of the Go module PATH that e2e/modules/NAME pins.
module_version() { sed -nE "s#^(require)?[[:space:]]*$2 (v[^ ]+).*#\\2#p" "$MODULES_DIR/$1/go.mod" | head -n 1; }

KUBERNETES_VERSION=$(module_version kubernetes k8s.io/kubernetes)
TEKTON_VERSION=$(module_version tekton github.com/tektoncd/pipeline)
CONTAINERD_VERSION=$(module_version containerd github.com/containerd/containerd/v2)

# Every build: MODULE ARCH PACKAGE... One line is one call of the compiler, so that its packages are compiled together.
build_list() {
  local k=k8s.io/kubernetes/cmd t=github.com/tektoncd/pipeline/cmd c=github.com/containerd/containerd/v2/cmd
  case $1 in
    kubernetes) echo kubernetes amd64 $k/kube-apiserver $k/kube-controller-manager $k/kube-scheduler $k/kubelet $k/kube-proxy $k/kubectl ;;
    coredns) echo coredns amd64 archfan.dev/e2e/modules/coredns ;;
    volume-provisioner) echo volume-provisioner amd64 archfan.dev/e2e/modules/volume-provisioner ;;
    kubectl) echo kubernetes amd64 $k/kubectl ;;
    kubelet-arm64) echo kubernetes arm64 $k/kubelet ;;
    tekton) echo tekton amd64 $t/controller $t/webhook $t/events $t/resolvers $t/entrypoint $t/nop $t/workingdirinit $t/sidecarlogresults ;;
    tekton-arm64) echo tekton arm64 $t/entrypoint $t/nop $t/workingdirinit $t/sidecarlogresults ;;
    containerd) echo containerd amd64 $c/containerd $c/containerd-shim-runc-v2 $c/ctr ;;
    registry) echo distribution amd64 github.com/distribution/distribution/v3/cmd/registry ;;
    crane) echo crane amd64 github.com/google/go-containerregistry/cmd/crane ;;
    kaniko) echo kaniko amd64 github.com/chainguard-dev/kaniko/cmd/executor ;;
    kaniko-arm64) echo kaniko arm64 github.com/chainguard-dev/kaniko/cmd/executor ;;
    ko) echo ko amd64 github.com/google/ko ;;
    helm) echo helm amd64 helm.sh/helm/v4/cmd/helm ;;
    helm-unittest) echo helm-unittest amd64 github.com/helm-unittest/helm-unittest/cmd/helm-unittest ;;
    charttool) echo charttool amd64 archfan.dev/e2e/modules/charttool ;;
    kubeconform) echo kubeconform amd64 github.com/yannh/kubeconform/cmd/kubeconform ;;
    chains) echo chains amd64 archfan.dev/e2e/modules/chains ;;
    *) die "no build is called '$1'; see build_list in $CLUSTER_DIR/lib/gobuild.sh" ;;
  esac
}

# build_ldflags MODULE: versions that a release build would have stamped in; without them Kubernetes calls itself
# v0.0.0-master and both Tekton's minimum-version check and kubectl fail.
build_ldflags() {
  local flags="-s -w" package major minor
  case $1 in
    kubernetes)
      IFS=. read -r major minor _ <<<"${KUBERNETES_VERSION#v}"
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$KUBERNETES_VERSION -X $package.gitMajor=$major -X $package.gitMinor=$minor"
        flags+=" -X $package.gitTreeState=clean"
      done
      ;;
    containerd) flags+=" -X github.com/containerd/containerd/v2/version.Version=$CONTAINERD_VERSION" ;;
    helm) flags+=" -X helm.sh/helm/v4/internal/version.version=$(module_version helm helm.sh/helm/v4)" ;;
  esac
  echo "$flags"
}

# build_tags MODULE: containerd's snapshotters that need C libraries are left out, so that it builds without cgo.
build_tags() { if [[ $1 == containerd ]]; then echo no_btrfs,no_devmapper,no_zfs; fi; }

# build_sources MODULE: the files whose contents decide what the compiler makes.
build_sources() {
  find "$MODULES_DIR/$1" -type f \( -name go.mod -o -name go.sum -o -name '*.go' -o -name prepare.sh \) | LC_ALL=C sort
}

# build_hash NAME: a hash of all that goes into a build.
build_hash() {
  local module arch packages sources
  read -r module arch packages <<<"$(build_list "$1")"
  mapfile -t sources < <(build_sources "$module")
  hash_text "$(hash_of "${sources[@]}")" "$arch" "$packages" "$(build_ldflags "$module")" "$(build_tags "$module")"
}

# know_build NAME: computes a build's hash once, for this script and those that it calls: a dozen processes, and every call of a program
# of ours asks for it. The value names the checkout that it was computed from.
know_build() {
  local variable=ARCHFAN_BUILD_${1//-/_} hash
  [[ ${!variable:-} != "$MODULES_DIR "* ]] || return 0
  hash=$(build_hash "$1")
  export "$variable=$MODULES_DIR $hash"
}

# build_dir NAME: where the programs of a build lie, or will lie.
build_dir() {
  local variable=ARCHFAN_BUILD_${1//-/_}
  know_build "$1"
  echo "$CACHE_DIR/bin/$1-${!variable##* }"
}

# build_now NAME DIR: compiles into DIR. Run by `build` under a lock.
build_now() {
  local module arch packages package tmp=$2.tmp
  read -r module arch packages <<<"$(build_list "$1")"
  rm -rf "$tmp"
  mkdir -p "$tmp"
  cd "$MODULES_DIR/$module" || die "no $MODULES_DIR/$module"
  if [[ -x prepare.sh ]]; then
    # The module wants a changed dependency: prepare.sh lays out a copy of go.mod that has it.
    ./prepare.sh "$tmp/src"
    cd "$tmp/src" || die "prepare.sh made no $tmp/src"
  fi
  export CGO_ENABLED=0 GOARCH=$arch GOOS=linux GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOWORK=off
  # The linker leaves debug information out (build_ldflags): without any, the compiler writes a fifth less into its cache.
  # shellcheck disable=SC2086 # a list of packages
  go build -gcflags=all=-dwarf=false -o "$tmp/" -tags "$(build_tags "$module")" -ldflags "$(build_ldflags "$module")" $packages
  rm -rf "$tmp/src"
  for package in $packages; do [[ -x $tmp/${package##*/} ]] || die "the compiler left no $tmp/${package##*/}"; done
  rm -rf "$2"
  mv "$tmp" "$2"
}

# build NAME: makes the programs of a build unless they are there already.
build() {
  local dir
  know_build "$1"
  dir=$(build_dir "$1")
  [[ -d $dir ]] && return 0
  mkdir -p "$CACHE_DIR/bin"
  (
    exec 8>"$dir.lock"
    flock 8
    [[ -d $dir ]] || step "build-$1" "compiling $1" build_now "$1" "$dir"
  )
}

# bin NAME PROGRAM: the path of a built program.
bin() { echo "$(build_dir "$1")/$2"; }
