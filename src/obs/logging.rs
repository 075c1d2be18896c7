//! Logs: one line for each decision, for people or for machines.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is said if nobody asks for more. kube's client logs each failed attempt as an error, also those that are tried again.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=warn";

/// Starts logging to the standard error. `filter` is a level, or directives as `tracing` has them (`debug,archfan::core=trace`).
///
/// # Errors
/// A filter that cannot be read.
pub fn start(format: Format, filter: Option<&str>) -> Result<(), String> {
    let filter = match filter.filter(|filter| !filter.is_empty()) {
        None => DEFAULT.to_owned(),
        // A bare level means ours; what others log at that level is seldom wanted.
        Some(level) if !level.contains(['=', ',']) => format!("{DEFAULT},archfan={level}"),
        Some(directives) => directives.to_owned(),
    };
    let filter =
        EnvFilter::try_new(&filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let started = match format {
        Format::Text => builder.with_ansi(terminal).try_init(),
        Format::Auto if terminal => builder.try_init(),
        Format::Auto | Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging cannot start: {error}"))
}
