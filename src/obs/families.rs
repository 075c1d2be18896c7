//! Every family of metrics, in one table: what is registered, and what `docs/metrics.md` shows.
//!
//! Names follow Prometheus' conventions (base units, unit as suffix, `_total` on counters). No label takes a value that users can
//! make up without bound: namespaces, runs, pipelines and images are in logs and events, never here.

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Grows until the process ends.
    Counter,
    /// Goes up and down; computed when it is asked for, from what is there.
    Gauge,
    /// Observations, in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Builds take seconds to hours, and so may the wait for a node.
pub const LONG: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0, 7200.0, 14400.0];
/// Calls and looks take milliseconds to seconds.
pub const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

macro_rules! families {
    ($($const:ident = $name:literal $kind:expr, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $const: Family =
                Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };
        )+
        /// All of them, in the order of the documentation.
        pub const ALL: &[Family] = &[$($const),+];
    };
}

families! {
    // What users see.
    RUNS = "archfan_runs_total" Kind::Counter, ["result", "reason"],
        "Runs that have ended, by result (succeeded, failed, cancelled) and by the reason of their condition";
    RUN_DURATION = "archfan_run_duration_seconds" Kind::Histogram(LONG), ["result"],
        "Time from the acceptance of a run to its end";
    RUNS_UNFINISHED = "archfan_runs_unfinished" Kind::Gauge, ["state"],
        "Runs that have not ended, by what they do: waiting, building, indexing, ending";
    PLATFORM_DURATION = "archfan_platform_duration_seconds" Kind::Histogram(LONG), ["platform", "result"],
        "Time from the first TaskRun of a platform to the end of its last";
    PLATFORM_QUEUE = "archfan_platform_queue_seconds" Kind::Histogram(LONG), ["platform"],
        "Time from the acceptance of a run to the first TaskRun of a platform: waiting for a place (maxParallel) or a claim";
    PLATFORM_SCHEDULE = "archfan_platform_schedule_seconds" Kind::Histogram(LONG), ["platform"],
        "Time from the making of a pod to its placement: waiting for a node";
    PLATFORM_STARTUP = "archfan_platform_startup_seconds" Kind::Histogram(LONG), ["platform"],
        "Time from the placement of a pod to the start of its first step: volumes and images";
    PLATFORM_BUILD = "archfan_platform_build_seconds" Kind::Histogram(LONG), ["platform", "result"],
        "Time from the start of the first step of a task to the end of its TaskRun: building";
    INDEX_DURATION = "archfan_index_duration_seconds" Kind::Histogram(LONG), ["result"],
        "Time from the making of the TaskRun that assembles the index to its end";
    INDEX_BYTES = "archfan_index_bytes_total" Kind::Counter, ["action"],
        "Bytes of blobs that pushing indexes has sent (pushed) and has found in the registry already (skipped)";
    RETRIES = "archfan_platform_retries_total" Kind::Counter, ["platform"],
        "Attempts of TaskRuns that failed and were followed by another";
    PLATFORMS = "archfan_platforms" Kind::Gauge, ["platform", "phase"],
        "Platforms of runs that have not ended, by phase: waiting, pending, running";
    WAITING = "archfan_platforms_waiting" Kind::Gauge, ["platform", "cause"],
        "Platforms that have a TaskRun, or should have one, and do not run, by cause: the reasons of the run's status";
    OLDEST_WAIT = "archfan_platform_oldest_wait_seconds" Kind::Gauge, ["platform"],
        "How long the platform that waits longest has waited";
    NODES = "archfan_nodes" Kind::Gauge, ["platform", "usable"],
        "Nodes of the cluster, by operating system and architecture, and whether they are ready and not cordoned";

    // How the controller does.
    RECONCILES = "archfan_reconciles_total" Kind::Counter, ["result"],
        "Looks at runs, by result: done, gone, or the class of the error after which the run is looked at again";
    RECONCILE_DURATION = "archfan_reconcile_duration_seconds" Kind::Histogram(SHORT), [],
        "Time that a look at a run takes, calls to the API server included";
    RECONCILES_RUNNING = "archfan_reconciles_running" Kind::Gauge, [],
        "Looks at runs that are under way";
    QUEUE_DEPTH = "archfan_queue_depth" Kind::Gauge, [],
        "Runs that are due and not yet looked at";
    QUEUE_OLDEST = "archfan_queue_oldest_seconds" Kind::Gauge, [],
        "How long the run that has been due longest has been so";
    QUEUE_FAILING = "archfan_queue_failing" Kind::Gauge, [],
        "Runs that wait because looking at them failed";
    CHILDREN = "archfan_task_runs_total" Kind::Counter, ["action"],
        "TaskRuns that archfan has created, cancelled and deleted";
    EVENTS = "archfan_events_total" Kind::Counter, ["type"],
        "Kubernetes events told, by type: Normal, Warning";
    API_REQUESTS = "archfan_api_requests_total" Kind::Counter, ["verb", "resource", "code"],
        "Calls to the API server, by verb, resource and code; the code is error where no answer came, and dropped where archfan gave up waiting";
    API_DURATION = "archfan_api_request_duration_seconds" Kind::Histogram(SHORT), ["verb", "resource"],
        "Time from a call to the API server to the head of its answer";
    WATCH_RESTARTS = "archfan_watch_restarts_total" Kind::Counter, ["kind"],
        "Watches that were broken off and began anew, by kind";
    CACHED = "archfan_cached_objects" Kind::Gauge, ["kind"],
        "Objects in the caches, by kind";
    SPANS = "archfan_spans_total" Kind::Counter, ["outcome"],
        "Spans of runs that have ended, where traces are exported: exported, failed (the collector did not take them), dropped (the queue was full)";
    READY = "archfan_ready" Kind::Gauge, [],
        "Whether the caches are filled";
    LEADER = "archfan_leader" Kind::Gauge, [],
        "Whether this replica leads: exactly one should";
    BUILD_INFO = "archfan_build_info" Kind::Gauge, ["version", "revision"],
        "Always 1; its labels tell which archfan this is";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_follow_prometheus_conventions() {
        let mut names = BTreeSet::new();
        for family in ALL {
            let Family { name, kind, labels, help } = family;
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("archfan_"), "{name}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            if matches!(kind, Kind::Histogram(_)) {
                assert!(name.ends_with("_seconds"), "{name}: base units");
            }
            assert!(!help.ends_with('.') && !help.is_empty(), "{name}");
            assert!(labels.len() <= 3, "{name}: every label multiplies");
            for label in *labels {
                // `namespace`, `pod`, `instance` and `job` are Prometheus' own; the first three it would overwrite.
                assert!(!["namespace", "pod", "instance", "job", "name"].contains(label), "{name}: {label}");
            }
        }
    }

    #[test]
    fn buckets_rise() {
        for buckets in [LONG, SHORT] {
            assert!(buckets.is_sorted() && buckets.len() <= 15);
        }
    }

    const BEGINS: &str = "<!-- metrics: made from src/obs/families.rs by make generate -->\n";
    const ENDS: &str = "<!-- end of metrics -->";

    /// The table in `docs/metrics.md`.
    fn table() -> String {
        let mut table = "\n| metric | kind | labels | what it says |\n|---|---|---|---|\n".to_owned();
        for Family { name, kind, labels, help } in ALL {
            let kind = match kind {
                Kind::Counter => "counter".to_owned(),
                Kind::Gauge => "gauge".to_owned(),
                Kind::Histogram(bounds) => {
                    format!("histogram, {} s to {} s", bounds[0], bounds[bounds.len() - 1])
                }
            };
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        }
        table + "\n"
    }

    #[test]
    fn the_table_in_the_documentation_is_the_generated_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGINS).unwrap();
        let (_, after) = rest.split_once(ENDS).unwrap();
        let wanted = format!("{before}{BEGINS}{}{ENDS}{after}", table());
        if std::env::var_os("ARCHFAN_UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap();
        assert!(there == wanted, "docs/metrics.md is not what the code says: run make generate");
    }
}
