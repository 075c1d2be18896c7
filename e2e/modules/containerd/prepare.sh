#!/usr/bin/env bash
# prepare.sh DIR: lays out in DIR a go.mod whose github.com/containerd/platforms lets the environment variable
# CONTAINERD_NODE_ARCH name the architecture that this containerd pulls, unpacks and runs images for.
#
# Why: the arm64 node's containerd is an amd64 program (under qemu-user it cannot start a sandbox), and containerd asks
# runtime.GOARCH which manifest of an image index to take. The CRI plugin's `runtime_platforms` is read only to choose a
# snapshotter, never the platform of a pull. With this one function changed, the node pulls the arm64 manifest of any
# index from the registry by itself, as an arm64 machine would.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
dest=$1
mkdir -p "$dest/platforms"
cp "$here/go.mod" "$here/go.sum" "$dest/"
cd "$dest"
go mod download github.com/containerd/platforms
source=$(go list -m -f '{{.Dir}}' github.com/containerd/platforms)
cp "$source"/*.go "$source/go.mod" platforms/
rm platforms/*_test.go
chmod -R u+w platforms

file=platforms/defaults_unix.go
sed -i 's/Architecture: runtime\.GOARCH,/Architecture: nodeArchitecture(),/' "$file"
grep -q 'nodeArchitecture()' "$file" || {
  echo "error: $file of $source no longer takes runtime.GOARCH where it did: look at how DefaultSpec works now" >&2
  exit 1
}
cat >platforms/node_architecture.go <<'GO'
package platforms

import (
	"os"
	"runtime"
)

// nodeArchitecture is the architecture of the node this program serves, which may be emulated.
func nodeArchitecture() string {
	if arch := os.Getenv("CONTAINERD_NODE_ARCH"); arch != "" {
		return arch
	}
	return runtime.GOARCH
}
GO
go mod edit -replace github.com/containerd/platforms=./platforms
