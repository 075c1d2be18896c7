//! A harness for tests on a real cluster: what is asserted is what the API server, the registry and the pods say.
//!
//! The cluster is the one that `KUBECONFIG` names; `e2e/run` brings it up, installs archfan and sets what
//! `e2e/cluster/env` prints. Each test has a namespace of its own, so tests run side by side.
//!
//! A helper that fails panics with what it waited for and what it saw last: in a test that is what is wanted.

pub mod cluster;
pub mod documents;
pub mod examples;
pub mod namespace;
pub mod objects;
pub mod program;
pub mod registry;
pub mod wait;

pub use cluster::Cluster;
pub use namespace::Namespace;
