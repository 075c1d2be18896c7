//! Hands spans to the collector: in batches, again where that may help, and never so that anything else waits for it.

use std::time::Duration;

use backoff::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use prometheus::IntCounterVec;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::document::document;
use super::settings::Settings;
use super::spans::Span;
use crate::index::http::Transport;

/// How spans are sent: in the OpenTelemetry SDKs' own measures, where they have one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many spans are sent at once.
    pub(super) batch: usize,
    /// How long a batch waits for more spans.
    pub(super) delay: Duration,
    /// How long to wait after the first failure; after each further one twice as long.
    pub(super) pause: Duration,
    /// How often a batch is sent in vain.
    pub(super) attempts: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 512, delay: Duration::from_secs(2), pause: Duration::from_secs(1), attempts: 6 }
    }
}

/// The longest that is waited between two attempts, also where the collector asks for more.
const LONGEST: Duration = Duration::from_secs(30);
/// More of an answer is not read.
const ANSWER: u64 = 64 << 10;

/// What a collector may answer (`ExportTraceServiceResponse`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: Partial,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    /// A text by the specification; some write a number.
    rejected_spans: serde_json::Value,
    error_message: String,
}

impl Partial {
    fn rejected(&self) -> u64 {
        match &self.rejected_spans {
            serde_json::Value::String(text) => text.parse().unwrap_or_default(),
            number => number.as_u64().unwrap_or_default(),
        }
    }
}

/// Why a batch was not taken.
struct Failure {
    why: String,
    again: Again,
}

/// Whether to send a batch once more.
#[derive(Clone, Copy)]
enum Again {
    No,
    /// After the pause that is due, or that the collector asks for.
    After(Option<Duration>),
}

/// Sends what comes, until `stop`; then what is left, each batch once.
pub(super) async fn run(
    settings: Settings,
    mut queue: mpsc::Receiver<Span>,
    mut stop: watch::Receiver<bool>,
    counts: IntCounterVec,
    pace: Pace,
) {
    let transport = Transport::outside_of_registries(settings.authority.clone());
    let mut failing = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            () = collect(&mut queue, &mut batch, pace) => {}
            () = stopped(&mut stop) => queue.close(),
        }
        // What the selection broke off in the middle is in `batch` already; what is left comes at once from a closed queue.
        let room = pace.batch.saturating_sub(batch.len());
        if room > 0 && queue.is_closed() {
            queue.recv_many(&mut batch, room).await;
        }
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        match deliver(&transport, &settings, &batch, &mut stop, pace).await {
            Ok(rejected) => {
                counts.with_label_values(&["failed"]).inc_by(rejected.min(count));
                counts.with_label_values(&["exported"]).inc_by(count.saturating_sub(rejected));
                if std::mem::take(&mut failing) {
                    info!("the collector takes spans again");
                }
            }
            Err(why) => {
                counts.with_label_values(&["failed"]).inc_by(count);
                // Once, until it works again: a collector that is away for a day is not worth a line for each run.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%why, spans = count, endpoint = %settings.endpoint, "spans are lost: the collector does not take them");
                }
            }
        }
    }
}

/// Waits for spans, and then a while for more.
async fn collect(queue: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>, pace: Pace) {
    if queue.recv_many(batch, pace.batch).await == 0 {
        return;
    }
    let end = Instant::now() + pace.delay;
    while batch.len() < pace.batch {
        let room = pace.batch - batch.len();
        match timeout_at(end, queue.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An end without a word is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Sends a batch, again and again if that may help. Gives how many of its spans the collector has rejected.
async fn deliver(
    transport: &Transport,
    settings: &Settings,
    batch: &[Span],
    stop: &mut watch::Receiver<bool>,
    pace: Pace,
) -> Result<u64, String> {
    let body = document(&settings.resource, batch);
    let pauses = ExponentialBuilder::new()
        .with_min_delay(pace.pause)
        .with_max_delay(LONGEST)
        .with_max_times(pace.attempts.saturating_sub(1))
        .with_jitter();
    let mut pauses = pauses.build();
    loop {
        let Failure { why, again } = match post(transport, settings, body.clone()).await {
            Ok(rejected) => return Ok(rejected),
            Err(failure) => failure,
        };
        let (Again::After(asked), Some(pause)) = (again, pauses.next()) else { return Err(why) };
        if *stop.borrow() {
            return Err(why);
        }
        debug!(%why, "spans will be sent again");
        tokio::select! {
            () = sleep(asked.unwrap_or(pause).min(LONGEST)) => {}
            // Once more, at once.
            () = stopped(stop) => {}
        }
    }
}

async fn post(transport: &Transport, settings: &Settings, body: Bytes) -> Result<u64, Failure> {
    let mut headers = settings.headers.clone();
    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    let posting = transport.post(&settings.endpoint, headers, body, ANSWER);
    let reply = match timeout(settings.timeout, posting).await {
        Err(_) => {
            let why = format!("no answer in {} s", settings.timeout.as_secs_f64());
            return Err(Failure { why, again: Again::After(None) });
        }
        Ok(Err(why)) => return Err(Failure { why, again: Again::After(None) }),
        Ok(Ok(reply)) => reply,
    };
    if reply.status.is_success() {
        let answer: Answer = serde_json::from_slice(&reply.body).unwrap_or_default();
        let rejected = answer.partial_success.rejected();
        if rejected > 0 {
            warn!(
                spans = rejected,
                why = answer.partial_success.error_message,
                "the collector rejected spans"
            );
        }
        return Ok(rejected);
    }
    // These, and no others, are worth another attempt (OTLP specification, "Retryable Response Codes").
    let again = match reply.status.as_u16() {
        429 | 502 | 503 | 504 => Again::After(reply.retry_after),
        _ => Again::No,
    };
    Err(Failure { why: format!("it answered {}", reply.status), again })
}
