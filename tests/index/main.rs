//! `archfan index` on real registries: Debian's docker-registry 2.8 and CNCF distribution v3, read back by skopeo, crane and
//! containerd.
//!
//! Needs docker-registry, skopeo, openssl and htpasswd in PATH, and Go to build distribution, crane and containerd the first time
//! (`e2e/cluster/tool registry`, `e2e/cluster/tool crane`, `e2e/cluster/tool ctr`). containerd wants root.

// A test ends by panicking, in its helpers as well as in itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod archives;
mod containerd;
mod digests;
mod faults;
mod kill;
mod matrix;
mod proxies;
mod support;
