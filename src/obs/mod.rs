//! What can be seen of a running controller from outside: logs, health, metrics.

pub mod logging;
pub mod server;
