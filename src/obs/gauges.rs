//! The metrics that say how things are now. They are computed from the listed objects when somebody asks, and so cannot drift: there
//! is nothing to count up and forget to count down, and what is gone is gone from them too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use serde::Deserialize as _;

use super::families::{self, Family, Kind};
use super::labels;
use crate::api::kubernetes::{LABEL_ARCH, LABEL_OS};
use crate::api::status::{ExtraFields, Phase, PlatformStatus};
use crate::api::tekton::CustomRunStatus;
use crate::core::cleanup;
use crate::core::observed::Nodes;

/// What is the case now.
#[derive(Debug, Default)]
pub struct Now {
    values: BTreeMap<(&'static str, Vec<String>), f64>,
}

impl Now {
    /// Sets a gauge.
    pub fn set(&mut self, family: &Family, labels: &[&str], value: f64) {
        self.values.insert((family.name, owned(labels)), value);
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float; counts of objects are small")]
    /// Sets a gauge to a count.
    pub fn count(&mut self, family: &Family, labels: &[&str], count: usize) {
        self.set(family, labels, count as f64);
    }

    fn add(&mut self, family: &Family, labels: &[&str]) {
        *self.values.entry((family.name, owned(labels))).or_default() += 1.0;
    }

    fn raise(&mut self, family: &Family, labels: &[&str], value: f64) {
        let there = self.values.entry((family.name, owned(labels))).or_default();
        *there = there.max(value);
    }

    /// Takes in a run, if it has not ended.
    pub fn run(&mut self, status: &CustomRunStatus, now: Timestamp) {
        if cleanup::is_finished(status) {
            return;
        }
        let extra = ExtraFields::deserialize(&status.extra_fields).unwrap_or_default();
        self.add(&families::RUNS_UNFINISHED, &[state(&extra)]);
        for platform in extra.platforms.iter().filter(|platform| !platform.phase.is_final()) {
            self.platform(platform, status.start_time.as_ref(), now);
        }
    }

    fn platform(&mut self, platform: &PlatformStatus, accepted: Option<&Time>, now: Timestamp) {
        let label = labels::platform(&platform.platform);
        let phase = match platform.phase {
            Phase::Waiting => "waiting",
            Phase::Pending => "pending",
            _ => "running",
        };
        self.add(&families::PLATFORMS, &[&label, phase]);
        if phase == "running" {
            return;
        }
        self.add(&families::WAITING, &[&label, labels::reason(&platform.reason)]);
        // What waits in the middle of a chain waits since the task before it has ended.
        let since = platform
            .tasks
            .iter()
            .rev()
            .find_map(|task| task.completion_time.as_ref().or(task.start_time.as_ref()))
            .or(accepted);
        if let Some(Time(since)) = since {
            let waited = now.duration_since(*since).as_secs_f64().max(0.0);
            self.raise(&families::OLDEST_WAIT, &[&label], waited);
        }
    }

    /// Takes in the nodes.
    pub fn nodes(&mut self, nodes: &Nodes) {
        for node in nodes.values() {
            let of = |key: &str| node.labels.get(key).map(String::as_str).unwrap_or_default();
            let label = labels::platform(&format!("{}/{}", of(LABEL_OS), of(LABEL_ARCH)));
            // Both, so that an architecture whose last usable node goes shows as 0 and does not vanish.
            for usable in ["true", "false"] {
                self.values.entry((families::NODES.name, owned(&[&label, usable]))).or_default();
            }
            self.add(&families::NODES, &[&label, if node.usable { "true" } else { "false" }]);
        }
    }

    /// All of it, as Prometheus' families. A family without a value is left out, as the text format has no way to say it.
    pub fn families(&self) -> Vec<MetricFamily> {
        let gauges = families::ALL.iter().filter(|family| family.kind == Kind::Gauge);
        gauges.filter_map(|family| self.family(family)).collect()
    }

    fn family(&self, family: &Family) -> Option<MetricFamily> {
        let metrics: Vec<Metric> = self
            .values
            .iter()
            .filter(|((name, _), _)| *name == family.name)
            .map(|((_, values), value)| {
                let mut pairs: Vec<LabelPair> =
                    family.labels.iter().zip(values).map(|(name, value)| pair(name, value)).collect();
                pairs.sort_by(|one, other| one.name().cmp(other.name()));
                let mut metric = Metric::from_label(pairs);
                let mut gauge = Gauge::default();
                gauge.set_value(*value);
                metric.set_gauge(gauge);
                metric
            })
            .collect();
        if metrics.is_empty() {
            return None;
        }
        let mut made = MetricFamily::default();
        made.set_name(family.name.to_owned());
        made.set_help(family.help.to_owned());
        made.set_field_type(MetricType::GAUGE);
        made.set_metric(metrics);
        Some(made)
    }
}

/// What a run that has not ended does.
fn state(extra: &ExtraFields) -> &'static str {
    if extra.ending.is_some() {
        "ending"
    } else if extra.index.is_some() {
        "indexing"
    } else if extra
        .platforms
        .iter()
        .any(|platform| platform.phase == Phase::Running || platform.phase.is_final())
    {
        "building"
    } else {
        "waiting"
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// Asks a function at every scrape.
pub struct AtScrape<F>(pub F);

impl<F: Fn() -> Now + Send + Sync> Collector for AtScrape<F> {
    fn desc(&self) -> Vec<&Desc> {
        // Descriptions only keep names from standing twice, and these are in one table.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.0)().families()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::observed::NodeFacts;
    use crate::obs::metrics::Metrics;

    fn status(platforms: &Value, more: &Value) -> CustomRunStatus {
        let mut status = json!({
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Succeeded", "status": "Unknown"}],
            "extraFields": {"platforms": platforms},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            status["extraFields"][key] = value.clone();
        }
        serde_json::from_value(status).unwrap()
    }

    fn text(now: Now) -> String {
        let metrics = Metrics::new().unwrap();
        let now = std::sync::Mutex::new(Some(now));
        metrics.add(Box::new(AtScrape(move || now.lock().unwrap().take().unwrap_or_default()))).unwrap();
        metrics.text().unwrap()
    }

    #[test]
    fn waits_are_told_by_architecture_and_cause() {
        let at: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let mut now = Now::default();
        let waits = |reason: &str, start: &str| json!({"platform": "linux/arm64", "phase": "Pending", "reason": reason, "tasks": [{"startTime": start}]});
        let runs = json!({"platform": "linux/amd64", "phase": "Running"});
        now.run(&status(&json!([runs, waits("NoNode", "2026-01-01T00:01:00Z")]), &json!({})), at);
        now.run(&status(&json!([runs, waits("NoNode", "2026-01-01T00:05:00Z")]), &json!({})), at);
        now.run(&status(&json!([waits("Tekton says this", "2026-01-01T00:09:00Z")]), &json!({})), at);
        now.run(&status(&json!([]), &json!({"index": {"name": "index"}})), at);
        now.run(&status(&json!([]), &json!({"ending": {"reason": "x", "message": "y"}})), at);
        let mut ended = status(&json!([waits("NoNode", "2025-01-01T00:01:00Z")]), &json!({}));
        ended.conditions[0].status = "False".into();
        ended.completion_time = ended.start_time.clone();
        now.run(&ended, at);
        let text = text(now);
        for line in [
            r#"archfan_runs_unfinished{state="building"} 2"#,
            r#"archfan_runs_unfinished{state="waiting"} 1"#,
            r#"archfan_runs_unfinished{state="indexing"} 1"#,
            r#"archfan_runs_unfinished{state="ending"} 1"#,
            r#"archfan_platforms{phase="pending",platform="linux/arm64"} 3"#,
            r#"archfan_platforms{phase="running",platform="linux/amd64"} 2"#,
            r#"archfan_platforms_waiting{cause="NoNode",platform="linux/arm64"} 2"#,
            r#"archfan_platforms_waiting{cause="Other",platform="linux/arm64"} 1"#,
            r#"archfan_platform_oldest_wait_seconds{platform="linux/arm64"} 540"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains(r#"oldest_wait_seconds{platform="linux/amd64"}"#), "what runs does not wait");
    }

    #[test]
    fn an_architecture_without_a_usable_node_shows_as_zero() {
        let node = |arch: &str, usable| NodeFacts { usable, ..NodeFacts::linux(arch) };
        let mut now = Now::default();
        now.nodes(&[("a".to_owned(), node("amd64", true)), ("b".to_owned(), node("arm64", false))].into());
        let text = text(now);
        for line in [
            r#"archfan_nodes{platform="linux/amd64",usable="true"} 1"#,
            r#"archfan_nodes{platform="linux/arm64",usable="true"} 0"#,
            r#"archfan_nodes{platform="linux/arm64",usable="false"} 1"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
    }
}
