//! `archfan index` on real registries: Debian's docker-registry 2.8 and CNCF distribution v3, read back by skopeo and crane.
//!
//! Needs docker-registry, skopeo, openssl and htpasswd in PATH, and Go to build distribution and crane the first time
//! (`e2e/cluster/tool registry`, `e2e/cluster/tool crane`).

// A test ends by panicking, in its helpers as well as in itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod archives;
mod digests;
mod faults;
mod kill;
mod matrix;
mod support;
