//! archfan: one Tekton custom task that builds a container image on every architecture and reports one image index.
//!
//! The library holds everything; the binary only starts it. [`core`] decides, [`shell`] acts.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation is for who works on the code, and is made with private items"
)]
#![cfg_attr(
    test,
    allow(
        clippy::needless_pass_by_value,
        reason = "a test reads better with `f(json!(…))` than with `f(&json!(…))`"
    )
)]

pub mod api;
pub mod cli;
pub mod core;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod index;
pub mod obs;
pub mod shell;

// Scripts of every checkout compile into one cache (e2e/cluster/lib/common.sh). There cargo knows a file by its place within the workspace and
// by its age, so that it takes what another, newer checkout has compiled for this one's. A variable that is read here it does compare; and
// with this crate, all that depend on it are compiled again. Absent where the crate is a dependency.
const _: Option<&str> = option_env!("ARCHFAN_CHECKOUT");
