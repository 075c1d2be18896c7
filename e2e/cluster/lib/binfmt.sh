# shellcheck shell=bash
# The kernel's entry that runs arm64 programs by qemu-user. It is the whole computer's, so it has a name of our own by
# which `down` knows it; an entry that the computer has already is used and left. Sourced after common.sh.

BINFMT_ENTRY=$CLUSTER_NAME-cluster-aarch64
BINFMT_DIR=/proc/sys/fs/binfmt_misc

# What every emulated program has in its environment. qemu before 8.0 keeps its tree of translated code in memory of GLib's slices, which
# have locks that nobody releases in a forked child: a program of several threads that starts another one then hangs for good now and then,
# one in some hundred of Tekton's entrypoints on a busy machine. With this variable GLib takes malloc, which can be forked.
# (qemu's issue 285, and its commit "tcg: use QTree instead of GTree".)
QEMU_ENVIRONMENT=G_SLICE=always-malloc

# in_binfmt COMMAND...: runs a command with the kernel's list mounted, in a mount namespace that goes with it.
in_binfmt() {
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount bash -c 'mountpoint -q "$0" || mount -t binfmt_misc binfmt_misc "$0"; exec "$@"' "$BINFMT_DIR" "$@"
}

# binfmt_others: names of entries for aarch64 that are not ours and that hold their interpreter open (flag F), so that
# they work in any namespace.
binfmt_others() {
  # shellcheck disable=SC2016
  in_binfmt bash -c 'cd "$0"; for e in *aarch64*; do
    [[ -f $e && $e != *-cluster-aarch64 ]] && grep -qx enabled "$e" && grep -q "^flags:.*F" "$e" && echo "$e"; done; true' \
    "$BINFMT_DIR"
}

# binfmt_register: run inside the arm64 node, whose mount of the list keeps the entry for as long as the node lives.
binfmt_register() {
  mountpoint -q "$BINFMT_DIR" || mount -t binfmt_misc binfmt_misc "$BINFMT_DIR"
  [[ -e $BINFMT_DIR/$BINFMT_ENTRY || -n $(binfmt_others) ]] && return 0
  # The package's own line, under our name.
  sed "s/^:qemu-aarch64:/:$BINFMT_ENTRY:/" /usr/lib/binfmt.d/qemu-aarch64.conf >"$BINFMT_DIR/register"
}

# binfmt_unregister: takes our entry away, if it is there.
binfmt_unregister() {
  # shellcheck disable=SC2016
  in_binfmt bash -c '[[ ! -e $0/$1 ]] || echo -1 >"$0/$1"' "$BINFMT_DIR" "$BINFMT_ENTRY"
}
