//! What carries decisions out: watches, caches, a queue, and calls to the API server. No policy lives here.
//!
//! One reconcile is: gather what is known, let [`crate::core::plan`](mod@crate::core::plan) decide, carry out its actions, write
//! the status once, and tell. Everything that a reconcile calls goes through [`api::Api`], so the simulator drives the same code
//! against a model of the API server.

pub mod api;
pub mod cache;
pub mod controller;
#[cfg(test)]
mod fake;
pub mod gate;
pub mod gather;
pub mod kube_api;
pub mod kube_errors;
pub mod leader;
pub mod lease;
mod pace;
pub mod patch;
pub mod queue;
pub mod reconcile;
pub mod watches;
