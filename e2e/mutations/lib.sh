# shellcheck shell=bash
# Changes of archfan that a case of e2e/tests/conformance.rs must catch: a patch each, o07-what-it-does.patch for obligation 7 of
# docs/conformance.md. Above the change stand what it breaks, the cases that must fail, and words of how (of several lines, each case has
# one of them).
# Sourced by e2e/mutations/run and e2e/mutations/check.

MUTATIONS_DIR=$REPO_DIR/e2e/mutations
CASES=$REPO_DIR/e2e/tests/conformance.rs

# header PATCH FIELD: what is said above the change, a line each.
header() { sed -n "/^---/q; s/^$2: //p" "$1"; }

# obligation PATCH: its number.
obligation() {
  local name=${1##*/o}
  echo $((10#${name%%-*}))
}

# is_of_the_installation PATCH: whether it changes the charts, and not what is compiled.
is_of_the_installation() { grep -q '^+++ b/charts/' "$1"; }

# apply DIR PATCH [GIT-ARGUMENT...]: applies it to a folder, which need be no repository, nor be in none.
apply() {
  local dir=$1 patch=$2
  shift 2
  (cd "$dir" && GIT_CEILING_DIRECTORIES=$(dirname -- "$dir") git apply "$@" "$patch")
}
