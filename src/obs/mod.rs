//! What can be seen of a running controller from outside: logs, health, metrics, traces.

pub mod access;
pub mod api_calls;
pub mod families;
pub mod gauges;
pub mod health;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod server;
pub mod tls;
pub mod traces;
pub mod transitions;
