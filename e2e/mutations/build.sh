# shellcheck shell=bash
# Controllers with a change each, built in a copy of the checkout in the cache, beside the runs of those that are built already.
# Sourced by e2e/mutations/run.

ROOT=$CACHE_DIR/mutations
COPY=$ROOT/checkout

# what_is_compiled: the files that Cargo reads, and the charts.
what_is_compiled() {
  git -C "$REPO_DIR" ls-files -co --exclude-standard -- Cargo.toml Cargo.lock clippy.toml src benches tests charts e2e |
    while read -r file; do if [[ -f $REPO_DIR/$file ]]; then echo "$file"; fi; done | LC_ALL=C sort
}

# refresh: makes the copy what the checkout is. What is the same is not written again, and what is written is newer than what was
# built from it: Cargo goes by times.
refresh() {
  local file
  mkdir -p "$COPY"
  what_is_compiled >"$ROOT/files"
  while read -r file; do
    if cmp -s "$REPO_DIR/$file" "$COPY/$file"; then continue; fi
    mkdir -p "$COPY/$(dirname -- "$file")"
    cp "$REPO_DIR/$file" "$COPY/$file"
  done <"$ROOT/files"
  (cd "$COPY" && find . -type f | sed 's|^\./||' | LC_ALL=C sort) | LC_ALL=C comm -13 "$ROOT/files" - | (cd "$COPY" && xargs -rd '\n' rm --)
}

# binary PATCH: the controller with this change; without a patch, the right one. Named by what it is made from.
binary() {
  local name=right
  if [[ -n ${1:-} ]]; then name=$(basename -- "$1" .patch); fi
  echo "$BINARIES/$name-$(hash_text "$(sed -n '/^---/,$p' "${1:-/dev/null}")")"
}

# choose_folder: binaries of the sources as they are have a folder of their own; those of others are removed.
choose_folder() {
  local sources
  sources=$( (cd "$COPY" && rustc --version && grep -E '^(Cargo|src/)' "$ROOT/files" | xargs sha256sum) | sha256sum | cut -c1-16)
  BINARIES=$ROOT/binaries/$sources
  mkdir -p "$BINARIES"
  find "$ROOT/binaries" -mindepth 1 -maxdepth 1 ! -name "$sources" -exec rm -rf {} +
}

compile() {
  (cd "$COPY" && CARGO_TARGET_DIR=${MUTATIONS_TARGET_DIR:-$ROOT/target} CARGO_INCREMENTAL=1 nice -n "${MUTATIONS_NICE:-5}" \
    cargo build --locked --package archfan --bin archfan) &&
    strip -o "$1.new" "${MUTATIONS_TARGET_DIR:-$ROOT/target}/debug/archfan"
}

# build_one [PATCH]: makes the binary; if it cannot be made, a file beside it says why.
build_one() {
  local to
  to=$(binary "${1:-}")
  rm -f "$to.failed"
  [[ ! -x $to ]] || return 0
  [[ -z ${1:-} ]] || apply "$COPY" "$1"
  if ! compile "$to" >"$to.log" 2>&1; then mv "$to.log" "$to.failed"; fi
  [[ -z ${1:-} ]] || apply "$COPY" "$1" --reverse
  [[ ! -e $to.new ]] || mv "$to.new" "$to"
}

# build_all PATCH...: each, in the order in which they are wanted.
build_all() {
  local patch
  for patch; do build_one "$patch"; done
}

# built FILE: waits for a binary, as long as somebody is making any.
built() {
  until [[ -x $1 ]]; do
    [[ ! -e $1.failed ]] || die "this cannot be compiled: $(grep -m 5 -A 5 '^error' "$1.failed")"
    kill -0 "$BUILDER" 2>/dev/null || [[ -x $1 ]] || die "nobody makes $1 any more"
    sleep 0.5
  done
}
