//! A deterministic simulator of the cluster that archfan's controller lives in.
//!
//! The controller's real decision path (the policies, gathering, carrying out, the caches and the queue) runs against a model of the
//! API server, of Tekton, of nodes and of people. One thread, one seed, a clock of its own: the same seed plays the same schedule, so
//! what was found once can be found again, made smaller, and read.

pub mod bend;
pub mod coverage;
pub mod faults;
pub mod focus;
pub mod invariants;
pub mod knobs;
pub mod ledger;
pub mod life;
pub mod play;
pub mod replica;
pub mod scenario;
pub mod script;
pub mod seam;
pub mod seen;
pub mod server;
pub mod tape;
pub mod wire;
pub mod world;
