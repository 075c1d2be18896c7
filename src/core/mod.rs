//! The policies: pure functions from what is observed to what shall be done.
//!
//! Nothing here has a client, a clock, a thread or a source of randomness. The controller, `archfan plan`, the property tests
//! and the simulator all drive this same code. `shell` carries out what it decides; `core` never knows how.

pub mod children;
pub mod duration;
pub mod index_child;
pub mod inherit;
pub mod names;
pub mod nearest;
pub mod observed;
pub mod params;
pub mod path;
pub mod placement;
pub mod platform;
pub mod problem;
pub mod request;
pub mod settings;
pub mod shape;
pub mod variables;
pub mod workspaces;
