# shellcheck shell=bash
# Images, put together without a container engine: a root file system for each architecture becomes one layer, and the
# two manifests one index, kept in the cache as an OCI layout. Sourced after common.sh and gobuild.sh.

ARCHES=(amd64 arm64)
# Raise it when this file makes other images of the same inputs.
IMAGE_FORMAT=1
# Tekton's programs: those of its own pods are for amd64 nodes only, those that run in everyone's pods for both.
TEKTON_CONTROLLERS=(controller webhook events resolvers)
TEKTON_HELPERS=(entrypoint nop workingdirinit sidecarlogresults)

crane() { "$(bin crane crane)" "$@"; }

# Images are made in sets: `cluster` with the cluster itself, the others (folders of e2e/images) when something needs them.
IMAGE_SETS=(cluster examples self)

# set_folder SET: where the set's images are that consist of Debian packages, a folder each.
set_folder() { if [[ $1 == cluster ]]; then echo "$CLUSTER_DIR/images"; else echo "$REPO_DIR/e2e/images/$1"; fi; }

# debian_images SET: the images that are a folder.
debian_images() { find "$(set_folder "$1")" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | LC_ALL=C sort; }

# image_names SET: every image of a set.
image_names() {
  debian_images "$1"
  case $1 in
    cluster)
      echo coredns
      echo volume-provisioner
      printf 'tekton/%s\n' "${TEKTON_CONTROLLERS[@]}" "${TEKTON_HELPERS[@]}"
      ;;
    examples) printf '%s\n' kaniko/executor ko ;;
  esac
}

# image_folder NAME: the folder of an image that consists of Debian packages.
image_folder() {
  local set folder
  for set in "${IMAGE_SETS[@]}"; do
    folder=$(set_folder "$set")/$1
    if [[ -d $folder ]]; then
      echo "$folder"
      return
    fi
  done
  die "no image is called '$1': there is no such folder in $CLUSTER_DIR/images or $REPO_DIR/e2e/images"
}

# image_arches NAME: the architectures that an image of Debian packages is made for.
image_arches() {
  local file
  file=$(image_folder "$1")/arches
  if [[ -f $file ]]; then cat "$file"; else printf '%s\n' "${ARCHES[@]}"; fi
}

# image_builds NAME: for an image that holds one Go program, the builds it comes from, one for each architecture it has,
# as ARCH=BUILD; nothing for other images.
image_builds() {
  case $1 in
    coredns | volume-provisioner | chains | ko) echo "amd64=$1" ;;
    kaniko/executor) printf '%s\n' amd64=kaniko arm64=kaniko-arm64 ;;
    tekton/*)
      echo amd64=tekton
      if [[ " ${TEKTON_HELPERS[*]} " == *" ${1#tekton/} "* ]]; then echo arm64=tekton-arm64; fi
      ;;
  esac
}

# program_base PROGRAM: the image beneath a program's.
program_base() {
  case $1 in
    resolvers) echo tini-git ;;
    ko) echo go ;;
    *) echo static ;;
  esac
}

# image_bases NAME...: the images beneath those that hold one program.
image_bases() {
  local name
  for name in "$@"; do [[ -z $(image_builds "$name") ]] || program_base "${name##*/}"; done | LC_ALL=C sort -u
}

# image_key NAME: a hash of all that goes into an image.
image_key() {
  local inputs=() builds build folder
  builds=$(image_builds "$1")
  if [[ -n $builds ]]; then
    for build in $builds; do inputs+=("$(build_dir "${build#*=}")"); done
    hash_text "$(image_key "$(program_base "${1##*/}")")" "${inputs[@]##*/}"
  else
    folder=$(image_folder "$1")
    mapfile -t inputs < <(find "$folder" -type f | LC_ALL=C sort)
    hash_text "$IMAGE_FORMAT" "$(hash_of "${inputs[@]}")"
  fi
}

# image_ref NAME: the image in the cluster's registry. The tag tells the contents, so that a node which has it need not
# ask the registry again; "latest" is there too.
image_ref() { echo "$REGISTRY/$1:$(image_key "$1")"; }

# image_layout NAME: where the image's OCI layout lies in the cache, or will lie.
image_layout() { echo "$CACHE_DIR/images/${1//\//-}-$(image_key "$1")"; }

# rootfs_tar NAME ARCH: its root file system, packed.
rootfs_tar() { echo "$CACHE_DIR/rootfs/$1-$2-$(image_key "$1").tar"; }

rootfs_now() {
  local name=$1 arch=$2 tar folder suite=bookworm options=()
  tar=$(rootfs_tar "$name" "$arch")
  folder=$(image_folder "$name")
  mkdir -p "$CACHE_DIR/rootfs"
  if grep -qx base-files "$folder/packages"; then options=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr); fi
  if [[ -x $folder/finish ]]; then options+=(--extract-hook="'$folder/finish' \"\$1\" $arch"); fi
  if [[ -f $folder/suite ]]; then
    suite=$(<"$folder/suite")
    # Of a suite that is in the making, a mirror may have an old list.
    options+=(--aptopt='Acquire::Check-Valid-Until "false"')
  fi
  if grep -q :arm64 "$folder/packages"; then arch+=,arm64; fi
  # In namespaces of its own: its mounts and processes go with it, however it ends.
  unshare --mount --pid --fork --kill-child --mount-proc \
    mmdebstrap --variant=extract --skip=output/dev --architectures="$arch" --include="$(paste -sd, "$folder/packages")" \
    "${options[@]}" "$suite" "$tar.tmp.tar"
  mv "$tar.tmp.tar" "$tar"
}

# build_rootfs SET: the root file systems of all images of the set of which no layout is there yet.
build_rootfs() {
  local name arch
  for name in $(debian_images "$1"); do
    [[ -d $(image_layout "$name") ]] && continue
    for arch in $(image_arches "$name"); do
      [[ -f $(rootfs_tar "$name" "$arch") ]] ||
        step "rootfs-$name-$arch" "unpacking Debian packages for the image $name, $arch" rootfs_now "$name" "$arch"
    done
  done
}

# rootfs_child NAME ARCH REF: pushes the image of one architecture that consists of Debian packages.
rootfs_child() {
  local config=() folder
  folder=$(image_folder "$1")
  crane append --oci-empty-base -f "$(rootfs_tar "$1" "$2")" -t "$3"
  if [[ -f $folder/config ]]; then mapfile -t config <"$folder/config"; fi
  crane mutate --set-platform "linux/$2" "${config[@]}" -t "$3" "$3"
}

# program_child PROGRAM ARCH BUILD REF: pushes the image of one architecture that holds one program, where `ko` puts it.
program_child() {
  local dir
  dir=$(mktemp -d)
  mkdir "$dir/ko-app"
  cp "$(bin "$3" "$1")" "$dir/ko-app/$1"
  tar -C "$dir" --owner=0 --group=0 --mtime=@0 -cf "$dir/layer.tar" ko-app
  crane append --platform "linux/$2" -b "$WORKSHOP/$(program_base "$1"):latest" -f "$dir/layer.tar" -t "$4"
  rm -rf "$dir"
  crane mutate --set-platform "linux/$2" --entrypoint="/ko-app/$1" -t "$4" "$4"
}

# image_children NAME REF: pushes the image of each architecture and prints their references.
image_children() {
  local builds build arch
  builds=$(image_builds "$1")
  if [[ -n $builds ]]; then
    for build in $builds; do
      arch=${build%%=*}
      program_child "${1##*/}" "$arch" "${build#*=}" "$2-$arch" >&2
      echo "$2-$arch"
    done
  else
    for arch in $(image_arches "$1"); do
      rootfs_child "$1" "$arch" "$2-$arch" >&2
      echo "$2-$arch"
    done
  fi
}

# plain_index NAME: takes from the workshop's index what crane says twice of each image, its artifactType: Jib refuses a base that has it.
plain_index() {
  crane manifest "$WORKSHOP/$1:latest" | jq -c 'del(.manifests[].artifactType)' |
    curl -sfS -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' --data-binary @- "http://$WORKSHOP/v2/$1/manifests/latest"
}

# images_now NAME...: makes the layouts, by way of a registry that lives as long as this takes.
images_now() {
  local name arch ref layout children workshop bases
  workshop=$(mktemp -d)
  "$(bin crane crane)" registry serve --address=127.0.0.1:0 >"$workshop/log" 2>&1 &
  # shellcheck disable=SC2064 # the values of now
  trap "kill $!; rm -rf '$workshop'" EXIT
  wait_for 10 "the registry in which images are put together" grep -o 'port [0-9]*' "$workshop/log"
  WORKSHOP=127.0.0.1:$(grep -o 'port [0-9]*' "$workshop/log" | head -n 1 | cut -d' ' -f2)
  mapfile -t bases < <(image_bases "$@")
  for name in "${bases[@]}" "$@"; do
    ref=$WORKSHOP/$name:latest
    layout=$(image_layout "$name")
    if [[ -d $layout ]]; then
      crane push "$layout" "$ref"
      continue
    fi
    image_children "$name" "$ref" >"$workshop/children"
    mapfile -t children < <(sed 's/^/--manifest=/' "$workshop/children")
    crane index append "${children[@]}" -t "$ref"
    plain_index "$name"
    rm -rf "$layout.tmp"
    mkdir -p "$CACHE_DIR/images"
    crane pull --format=oci "$ref" "$layout.tmp"
    mv "$layout.tmp" "$layout"
    for arch in "${ARCHES[@]}"; do rm -f "$(rootfs_tar "$name" "$arch")"; done
    echo "made $name"
  done
}

# build_images SET: every image of the set whose layout is not in the cache. The programs and root file systems must be there.
build_images() {
  local name missing=()
  for name in $(image_names "$1"); do [[ -d $(image_layout "$name") ]] || missing+=("$name"); done
  ((${#missing[@]} == 0)) || step "images-$1" "putting ${#missing[@]} images together" images_now "${missing[@]}"
}

# give_image NAME REF LAYOUT: lays an image on the registry's disk, where and as it would itself had the image been pushed (distribution's
# registry/storage/paths.go). A push sends a gigabyte through TLS, and has its digests computed on both sides, at each start of a cluster.
give_image() {
  local storage repository blobs=$3/blobs blob index manifest digest tag
  storage=$(registry_storage)
  repository=$storage/repositories/$1
  for blob in "$blobs"/sha256/*; do give_blob "$blob" "$storage/blobs/sha256"; done
  index=$(jq -r '.manifests[0].digest' "$3/index.json")
  for manifest in "$index" $(jq -r '.manifests[].digest' "$blobs/${index/://}"); do
    registry_link "$repository/_manifests/revisions" "$manifest"
    for digest in $(jq -r '(.config, .layers[]?).digest // empty' "$blobs/${manifest/://}"); do
      registry_link "$repository/_layers" "$digest"
    done
  done
  for tag in "${2##*:}" latest; do
    registry_link "$repository/_manifests/tags/$tag/index" "$index"
    registry_link "$repository/_manifests/tags/$tag" "$index" current
  done
}

# give_blob FILE FOLDER: the blob, in the folder that the registry has for its digest. Images share some.
give_blob() {
  local digest=${1##*/} place
  place=$2/${digest:0:2}/$digest
  [[ -f $place/data ]] && return
  mkdir -p "$place"
  cp "$1" "$place/data.$BASHPID"
  mv "$place/data.$BASHPID" "$place/data"
}

# registry_link FOLDER DIGEST [NAME]: says there that the repository has this blob, under its digest or the name.
registry_link() {
  local place=$1/${3:-${2/://}}
  mkdir -p "$place"
  printf %s "$2" >"$place/link"
}

# image_refs SET: NAME REF LAYOUT of every image.
image_refs() {
  local name
  for name in $(image_names "$1"); do echo "$name $(image_ref "$name") $(image_layout "$name")"; done
}

# images_given SET: the file that lists what the cluster's registry has been given of the set.
images_given() { echo "$STATE_DIR/images-$1"; }

# give_images SET: those that the cluster's registry has not been given yet.
give_images() {
  local given name ref layout
  given=$(images_given "$1")
  touch "$given"
  image_refs "$1" >"$given.wanted"
  while read -r name ref layout; do
    grep -qxF "$name $ref $layout" "$given" || give_image "$name" "$ref" "$layout"
  done <"$given.wanted"
  mv "$given.wanted" "$given"
}

# images_are_given SET: the registry has every image of the set as the checkout wants it.
images_are_given() { image_refs "$1" | cmp -s - "$(images_given "$1")"; }
