//! The metrics that are counted as things happen. Those that say how things are now are in [`super::gauges`].

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TEXT_FORMAT, TextEncoder};

use super::families::{self, Family, Kind};

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    /// [`families::RUNS`].
    pub runs: IntCounterVec,
    /// [`families::RUN_DURATION`].
    pub run_duration: HistogramVec,
    /// [`families::PLATFORM_DURATION`].
    pub platform_duration: HistogramVec,
    /// [`families::PLATFORM_QUEUE`].
    pub platform_queue: HistogramVec,
    /// [`families::PLATFORM_SCHEDULE`].
    pub platform_schedule: HistogramVec,
    /// [`families::PLATFORM_STARTUP`].
    pub platform_startup: HistogramVec,
    /// [`families::PLATFORM_BUILD`].
    pub platform_build: HistogramVec,
    /// [`families::INDEX_DURATION`].
    pub index_duration: HistogramVec,
    /// [`families::INDEX_BYTES`].
    pub index_bytes: IntCounterVec,
    /// [`families::RETRIES`].
    pub retries: IntCounterVec,
    /// [`families::RECONCILES`].
    pub reconciles: IntCounterVec,
    /// [`families::RECONCILE_DURATION`].
    pub reconcile_duration: HistogramVec,
    /// [`families::CHILDREN`].
    pub children: IntCounterVec,
    /// [`families::EVENTS`].
    pub events: IntCounterVec,
    /// [`families::API_REQUESTS`].
    pub api_requests: IntCounterVec,
    /// [`families::API_DURATION`].
    pub api_duration: HistogramVec,
    /// [`families::WATCH_RESTARTS`].
    pub watch_restarts: IntCounterVec,
    /// [`families::SPANS`].
    pub spans: IntCounterVec,
}

/// Media type of what [`Metrics::text`] gives.
pub const MEDIA_TYPE: &str = TEXT_FORMAT;

impl Metrics {
    /// Registers everything, beside what the process says of itself.
    ///
    /// # Errors
    /// A name that is none, or stands twice.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let counter = |family: &Family| -> prometheus::Result<IntCounterVec> {
            let counter = IntCounterVec::new(Opts::new(family.name, family.help), family.labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let histogram = |family: &Family| -> prometheus::Result<HistogramVec> {
            let buckets = match family.kind {
                Kind::Histogram(buckets) => buckets.to_vec(),
                Kind::Counter | Kind::Gauge => Vec::new(),
            };
            let options = HistogramOpts::new(family.name, family.help).buckets(buckets);
            let histogram = HistogramVec::new(options, family.labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let metrics = Self {
            runs: counter(&families::RUNS)?,
            run_duration: histogram(&families::RUN_DURATION)?,
            platform_duration: histogram(&families::PLATFORM_DURATION)?,
            platform_queue: histogram(&families::PLATFORM_QUEUE)?,
            platform_schedule: histogram(&families::PLATFORM_SCHEDULE)?,
            platform_startup: histogram(&families::PLATFORM_STARTUP)?,
            platform_build: histogram(&families::PLATFORM_BUILD)?,
            index_duration: histogram(&families::INDEX_DURATION)?,
            index_bytes: counter(&families::INDEX_BYTES)?,
            retries: counter(&families::RETRIES)?,
            reconciles: counter(&families::RECONCILES)?,
            reconcile_duration: histogram(&families::RECONCILE_DURATION)?,
            children: counter(&families::CHILDREN)?,
            events: counter(&families::EVENTS)?,
            api_requests: counter(&families::API_REQUESTS)?,
            api_duration: histogram(&families::API_DURATION)?,
            watch_restarts: counter(&families::WATCH_RESTARTS)?,
            spans: counter(&families::SPANS)?,
            registry: registry.clone(),
        };
        metrics.begin_at_zero();
        Ok(Arc::new(metrics))
    }

    /// Adds something that is asked at every scrape.
    ///
    /// # Errors
    /// A name that stands twice.
    pub fn add(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// All metrics as they are now.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// All metrics as they are now, in Prometheus' text format ([`MEDIA_TYPE`]).
    ///
    /// # Errors
    /// A family without metrics, which the format cannot express.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.gather())
    }

    /// What is counted by platform is there when a platform is first asked for, well before anything of it can fail.
    pub fn begin_platform_at_zero(&self, platform: &str) {
        self.retries.with_label_values(&[platform]);
        for result in ["succeeded", "failed"] {
            self.platform_build.with_label_values(&[platform, result]);
            self.platform_duration.with_label_values(&[platform, result]);
        }
    }

    /// A rate over a counter that appears with its first event misses that event. Those by which alerts and dashboards go are there
    /// from the beginning.
    fn begin_at_zero(&self) {
        for (result, reason) in
            [("succeeded", "Succeeded"), ("failed", "BuildFailed"), ("failed", "IndexFailed")]
        {
            self.runs.with_label_values(&[result, reason]);
        }
        for result in ["succeeded", "failed", "cancelled"] {
            self.run_duration.with_label_values(&[result]);
            self.index_duration.with_label_values(&[result]);
        }
        for result in ["done", "unavailable", "forbidden"] {
            self.reconciles.with_label_values(&[result]);
        }
        for action in ["pushed", "skipped"] {
            self.index_bytes.with_label_values(&[action]);
        }
        for kind in ["CustomRun", "TaskRun", "Pod", "Node", "Event"] {
            self.watch_restarts.with_label_values(&[kind]);
        }
        for action in ["created", "cancelled", "deleted"] {
            self.children.with_label_values(&[action]);
        }
        for kind in ["Normal", "Warning"] {
            self.events.with_label_values(&[kind]);
        }
        self.reconcile_duration.with_label_values::<&str>(&[]);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Observes a span under labels.
pub fn observe(histogram: &HistogramVec, labels: &[&str], span: Duration) {
    histogram.with_label_values(labels).observe(span.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::proto::LabelPair;

    use super::*;

    #[test]
    fn what_is_registered_is_in_the_table() {
        let metrics = Metrics::new().unwrap();
        // With a value under each label every family shows.
        let counters = [
            &metrics.runs,
            &metrics.retries,
            &metrics.children,
            &metrics.api_requests,
            &metrics.reconciles,
            &metrics.spans,
        ];
        for counter in counters {
            let labels = vec!["x"; counter.desc()[0].variable_labels.len()];
            counter.with_label_values(&labels);
        }
        for histogram in [
            &metrics.platform_duration,
            &metrics.platform_queue,
            &metrics.platform_schedule,
            &metrics.platform_startup,
            &metrics.platform_build,
            &metrics.api_duration,
        ] {
            let labels = vec!["x"; histogram.desc()[0].variable_labels.len()];
            observe(histogram, &labels, Duration::from_secs(1));
        }
        let gathered = metrics.gather();
        let found: BTreeSet<&str> =
            gathered.iter().map(MetricFamily::name).filter(|name| name.starts_with("archfan_")).collect();
        let counted = families::ALL.iter().filter(|family| family.kind != Kind::Gauge);
        assert_eq!(found, counted.map(|family| family.name).collect::<BTreeSet<_>>());
        for family in families::ALL.iter().filter(|family| family.kind != Kind::Gauge) {
            let there = gathered.iter().find(|there| there.name() == family.name).unwrap();
            let labels: Vec<&str> = there.get_metric()[0].get_label().iter().map(LabelPair::name).collect();
            let mut wanted = family.labels.to_vec();
            wanted.sort_unstable();
            assert_eq!(labels, wanted, "{}", family.name);
        }
        assert!(metrics.text().unwrap().contains("process_resident_memory_bytes"));
    }

    #[test]
    fn what_alerts_go_by_is_there_from_the_beginning() {
        let text = Metrics::new().unwrap().text().unwrap();
        for line in [
            r#"archfan_runs_total{reason="BuildFailed",result="failed"} 0"#,
            r#"archfan_watch_restarts_total{kind="TaskRun"} 0"#,
            r#"archfan_index_bytes_total{action="skipped"} 0"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
    }
}
