//! Logs: one line for each decision, for people or for machines. What is logged can be changed while the controller runs.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tracing::{info, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

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
/// How often the file is looked at. The kubelet itself takes up to a minute to bring a change of a ConfigMap.
const LOOK: Duration = Duration::from_secs(5);

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Starts logging to the standard error. `filter` is a level, or directives as `tracing` has them (`debug,archfan::core=trace`).
///
/// # Errors
/// A filter that cannot be read.
pub fn start(format: Format, filter: Option<&str>) -> Result<Level, String> {
    let (filter, handle) = reload::Layer::new(filter_of(filter.unwrap_or_default())?);
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.with_ansi(terminal).boxed(),
        Format::Auto if terminal => lines.boxed(),
        Format::Auto | Format::Json => lines.json().flatten_event(true).boxed(),
    };
    Registry::default()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| format!("logging cannot start: {error}"))?;
    Ok(Level(handle))
}

fn filter_of(text: &str) -> Result<EnvFilter, String> {
    let filter = match text.trim() {
        "" => DEFAULT.to_owned(),
        // A bare level means ours; what others log at that level is seldom wanted.
        level if !level.contains(['=', ',']) => format!("{DEFAULT},archfan={level}"),
        directives => directives.to_owned(),
    };
    EnvFilter::try_new(&filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))
}

/// Follows a file that says what is logged, for ever: a mounted ConfigMap, so that a change needs no restart. While the file is
/// missing or makes no sense, what was logged before is logged on.
pub async fn follow(path: PathBuf, level: Level) {
    let mut last = String::new();
    loop {
        // A few bytes from memory: not worth a thread of its own.
        if let Ok(text) = std::fs::read_to_string(&path)
            && text != last
        {
            let changed =
                filter_of(&text).and_then(|filter| level.0.reload(filter).map_err(|error| error.to_string()));
            match changed {
                Ok(()) if last.is_empty() => {}
                Ok(()) => info!(level = text.trim(), "what is logged was changed"),
                Err(why) => warn!(%why, file = %path.display(), "what is logged stays as it was"),
            }
            last = text;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_ours_and_directives_are_taken_as_they_are() {
        let text = |filter: &str| filter_of(filter).unwrap().to_string();
        assert!(text("debug\n").contains("archfan=debug") && text("debug").contains("kube_client=off"));
        assert_eq!(text("warn,archfan::core=trace"), "archfan::core=trace,warn");
        assert!(text("").contains("info"));
        assert!(filter_of("archfan=loud").unwrap_err().contains("is no log filter"));
    }
}
