//! Traces, for those who have a collector: when a run has ended, what it did becomes spans beneath its PipelineRun's, and is sent over
//! OTLP/HTTP. Without an endpoint nothing is made, kept or sent.
//!
//! Spans are made from the times that stand in the run and its pods, at its end, and bear ids that follow from the run's uid: so a
//! restart of the controller in the middle of a run loses nothing, and a span that should be sent twice is the same span.
//!
//! Why no OpenTelemetry SDK: its spans begin and end while code runs, under ids of its own, and these do neither. What would be left of
//! it is the encoding and one POST, for which it brings 14 crates (tokio's h2, prost and a second random generator among them) into
//! a binary whose HTTP client is there already. OTLP's JSON encoding is as stable as its protobuf one, and every receiver of
//! OTLP/HTTP takes it (OTLP specification 1.x, "OTLP/HTTP").

mod document;
mod export;
mod settings;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use self::settings::Settings;
use self::spans::Span;
use super::metrics::Metrics;
use super::transitions::PodTimes;
use crate::api::tekton::CustomRun;

/// How many spans wait to be sent at most: `OTEL_BSP_MAX_QUEUE_SIZE`'s default. What does not fit is dropped and counted.
const QUEUE: usize = 2048;

/// Where the spans of runs go that have ended. By default nowhere.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<Queue>);

#[derive(Clone, Debug)]
struct Queue {
    to: mpsc::Sender<Span>,
    counts: IntCounterVec,
}

/// Sends spans while the controller runs.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Spans {
    /// Begins to send, in a task of its own.
    pub fn start(settings: Settings, metrics: &Arc<Metrics>) -> (Self, Exporter) {
        Self::with(settings, metrics, export::Pace::default())
    }

    fn with(settings: Settings, metrics: &Arc<Metrics>, pace: export::Pace) -> (Self, Exporter) {
        let counts = metrics.spans.clone();
        for outcome in ["exported", "dropped", "failed"] {
            counts.with_label_values(&[outcome]);
        }
        info!(endpoint = %settings.endpoint, "traces are exported");
        let (to, queue) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(export::run(settings, queue, stopped, counts.clone(), pace));
        (Self(Some(Queue { to, counts })), Exporter { stop, task })
    }

    /// Notes a run's spans, if it has ended between the two versions. `pod` finds the pod of a TaskRun's last attempt. Never waits:
    /// the spans of a run for which there is no place are dropped.
    pub fn record(&self, before: &CustomRun, after: &CustomRun, pod: impl Fn(&str) -> Option<PodTimes>) {
        let Some(queue) = &self.0 else { return };
        let spans = spans::of_end(before, after, pod);
        let count = spans.len();
        if count == 0 {
            return;
        }
        match queue.to.try_reserve_many(count) {
            Ok(places) => places.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_) => queue.counts.with_label_values(&["dropped"]).inc_by(count as u64),
        }
    }
}

impl Exporter {
    /// Sends what is left, within `bound`.
    pub async fn flush(self, bound: Duration) {
        // Where the task has ended already nothing is left.
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(bound, self.task).await.is_err() {
            abort.abort();
            warn!(seconds = bound.as_secs_f64(), "the collector did not take the last spans in time");
        }
    }
}

#[cfg(test)]
mod tests;
