//! The policies: pure functions from what is observed to what shall be done.
//!
//! Nothing here has a client, a clock, a thread or a source of randomness. The controller, `archfan plan`, the property tests
//! and the simulator all drive this same code. `shell` carries out what it decides; `core` never knows how.

pub mod accept;
pub mod cancel;
pub mod chain;
pub mod children;
pub mod cleanup;
pub mod concurrency;
pub mod duration;
pub mod events;
pub mod failure;
pub mod index_child;
pub mod inherit;
pub mod names;
pub mod nearest;
pub mod observed;
pub mod params;
pub mod path;
pub mod pending;
pub mod pipeline;
pub mod placement;
pub mod plan;
pub mod platform;
pub mod problem;
pub mod progress;
#[cfg(test)]
mod properties;
pub mod recreate;
pub mod refusal;
pub mod replace;
pub mod request;
pub mod results;
pub mod reuse;
pub mod settings;
pub mod shape;
pub mod size;
pub mod status;
pub mod templates;
pub mod timeouts;
pub mod variables;
pub mod workspaces;
