//! archfan: one Tekton custom task that builds a container image on every architecture and reports one image index.
//!
//! The library holds everything; the binary only starts it. [`core`] decides, [`shell`] acts.

pub mod api;
pub mod cli;
pub mod core;
pub mod index;
pub mod obs;
pub mod shell;
