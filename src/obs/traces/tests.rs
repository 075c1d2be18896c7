//! A collector that takes nothing but what OTLP says, and the exporter against it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// `ExportTraceServiceRequest` and what is in it, as `opentelemetry/proto` has them; a field that is not there is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<Pair>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Decoded>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    version: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Decoded {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    trace_state: String,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Pair>,
    status: Status,
    flags: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    key: String,
    value: AnyValue,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "arrayValue")]
    List(Values),
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Values {
    values: Vec<AnyValue>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Status {
    code: u8,
    #[serde(default)]
    message: String,
}

impl Decoded {
    fn seconds(&self) -> (u64, u64) {
        let of = |text: &str| text.parse::<u64>().unwrap() / 1_000_000_000 - BEGIN;
        (of(&self.start_time_unix_nano), of(&self.end_time_unix_nano))
    }

    fn text(&self, key: &str) -> String {
        match self.attributes.iter().find(|pair| pair.key == key).map(|pair| &pair.value) {
            Some(AnyValue::Text(text) | AnyValue::Number(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }
}

/// What a collector has been sent.
#[derive(Clone, Debug, Default)]
struct Taken {
    requests: Vec<(HeaderMap, Request)>,
    answers: Vec<(StatusCode, Value)>,
}

impl Taken {
    fn spans(&self) -> Vec<Decoded> {
        let requests = self.requests.iter().flat_map(|(_, request)| &request.resource_spans);
        requests.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// A collector that gives these answers in turn, and then takes everything.
async fn collector(answers: &[(u16, Value)]) -> (SocketAddr, Arc<Mutex<Taken>>) {
    let answers = answers
        .iter()
        .rev()
        .map(|(code, body)| (StatusCode::from_u16(*code).unwrap(), body.clone()))
        .collect();
    let taken = Arc::new(Mutex::new(Taken { answers, ..Taken::default() }));
    let to = taken.clone();
    let take = move |headers: HeaderMap, body: String| async move {
        let request = serde_json::from_str(&body).unwrap_or_else(|error| panic!("no OTLP: {error}: {body}"));
        let mut taken = to.lock().unwrap();
        taken.requests.push((headers, request));
        let (status, body) = taken.answers.pop().unwrap_or((StatusCode::OK, json!({})));
        (status, body.to_string())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, taken)
}

fn settings(address: SocketAddr) -> Settings {
    let variables = BTreeMap::from([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000".to_owned()),
    ]);
    Settings::from_environment(|name| variables.get(name).cloned()).unwrap().unwrap()
}

/// Attempts follow each other at once, and a batch waits for an hour unless it is full or the end has come.
fn pace() -> export::Pace {
    export::Pace {
        delay: Duration::from_hours(1),
        pause: Duration::from_millis(1),
        attempts: 3,
        ..export::Pace::default()
    }
}

/// 2026-01-01T00:00:00Z.
const BEGIN: u64 = 1_767_225_600;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn run(uid: &str, status: &Value) -> CustomRun {
    serde_json::from_value(json!({
        "metadata": {"name": "image", "namespace": "team", "uid": uid, "labels": {"tekton.dev/pipelineRun": "p"}},
        "spec": {},
        "status": status,
    }))
    .unwrap()
}

/// A run of two platforms, of which one failed.
fn ended(uid: &str, flags: &str) -> [CustomRun; 2] {
    let platform = |platform: &str, phase: &str, end: &str| {
        json!({"platform": platform, "phase": phase, "reason": if phase == "Failed" { "BuildFailed" } else { "" },
            "message": if phase == "Failed" { "step run exited with 1" } else { "" }, "node": "n",
            "startTime": "2026-01-01T00:00:05Z", "completionTime": end,
            "tasks": [{"name": "build", "taskRun": format!("image-{}", platform.replace('/', "-")), "phase": phase,
                "startTime": "2026-01-01T00:00:05Z", "completionTime": end, "failedAttempts": 1}]})
    };
    let carrier = json!({"traceparent": format!("00-{TRACE}-{PARENT}-{flags}"), "tracestate": "vendor=1"});
    let mut status = json!({
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}],
        "extraFields": {"plan": {"spanContext": carrier.to_string()}, "platforms": [
            platform("linux/amd64", "Succeeded", "2026-01-01T00:01:00Z"),
            platform("linux/arm64", "Failed", "2026-01-01T00:02:00Z"),
            {"platform": "linux/s390x", "phase": "Waiting"},
        ], "index": {"name": "index", "taskRun": "image", "phase": "Succeeded", "startTime": "2026-01-01T00:02:01Z",
            "completionTime": "2026-01-01T00:02:04Z"}},
    });
    let before = run(uid, &status);
    status["completionTime"] = "2026-01-01T00:02:05Z".into();
    status["conditions"][0] = json!({"type": "Succeeded", "status": "False", "reason": "BuildFailed", "message": "linux/arm64 failed"});
    [before, run(uid, &status)]
}

fn pod(task_run: &str) -> Option<PodTimes> {
    let at = |second: i64| Some(jiff::Timestamp::from_second(BEGIN.cast_signed() + second).unwrap());
    // Of the other one nothing is known any more.
    (task_run == "image-linux-amd64").then(|| PodTimes { made: at(6), scheduled: at(20), started: at(30) })
}

fn has(metrics: &Metrics, outcome: &str, count: u64) {
    let found = metrics.spans.with_label_values(&[outcome]).get();
    assert_eq!(found, count, "spans {outcome}");
}

const FLUSH: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_run_becomes_a_tree_beneath_its_pipeline_run() {
    let (address, taken) = collector(&[]).await;
    let metrics = Metrics::new().unwrap();
    let (spans, exporter) = Spans::with(settings(address), &metrics, pace());
    let [before, after] = ended("uid", "01");
    spans.record(&before, &before, pod);
    spans.record(&before, &after, pod);
    // What has ended already ends no second time: a late status, or another controller that takes over.
    spans.record(&after, &after, pod);
    exporter.flush(FLUSH).await;
    let taken = taken.lock().unwrap().clone();
    let (headers, request) = &taken.requests[0];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Bearer abc");
    let resource = &request.resource_spans[0].resource.attributes;
    assert!(
        resource
            .iter()
            .any(|pair| pair.key == "service.name" && pair.value == AnyValue::Text("archfan".to_owned()))
    );
    let scope = &request.resource_spans[0].scope_spans[0].scope;
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("archfan", env!("CARGO_PKG_VERSION")));

    let all = taken.spans();
    let seen: Vec<(&str, String, (u64, u64), u8)> = all
        .iter()
        .map(|span| (span.name.as_str(), span.text("archfan.platform"), span.seconds(), span.status.code))
        .collect();
    let (amd64, arm64, none) = ("linux/amd64".to_owned(), "linux/arm64".to_owned(), "None".to_owned());
    assert_eq!(
        seen,
        [
            ("MultiArchBuild", none.clone(), (0, 125), 2),
            ("platform", amd64.clone(), (5, 60), 1),
            ("waiting", amd64.clone(), (6, 20), 1),
            ("starting", amd64.clone(), (20, 30), 1),
            ("building", amd64, (30, 60), 1),
            ("platform", arm64.clone(), (5, 120), 2),
            ("waiting", arm64, (5, 120), 1),
            ("index", none, (121, 124), 1),
        ]
    );
    let run = &all[0];
    assert_eq!((run.trace_id.as_str(), run.parent_span_id.as_str()), (TRACE, PARENT));
    assert_eq!(run.status.message, "linux/arm64 failed");
    for (key, value) in [
        ("k8s.namespace.name", "team"),
        ("archfan.run", "image"),
        ("archfan.pipeline_run", "p"),
        ("archfan.result", "failed"),
        ("archfan.reason", "BuildFailed"),
        ("error.type", "BuildFailed"),
    ] {
        assert_eq!(run.text(key), value, "{key}");
    }
    let parents: Vec<usize> = all[1..]
        .iter()
        .map(|span| all.iter().position(|parent| parent.span_id == span.parent_span_id).unwrap())
        .collect();
    assert_eq!(parents, [0, 1, 1, 1, 0, 5, 0]);
    for span in &all {
        assert_eq!((span.kind, span.flags & 1, span.trace_state.as_str()), (1, 1, "vendor=1"));
        assert_eq!((span.trace_id.as_str(), span.span_id.len()), (TRACE, 16));
    }
    let ids: std::collections::BTreeSet<&str> = all.iter().map(|span| span.span_id.as_str()).collect();
    assert_eq!(ids.len(), all.len());
    has(&metrics, "exported", 8);
    has(&metrics, "dropped", 0);
}

/// Of a last status that the API server refuses because of its size, the tasks are left out, or all of it.
#[test]
fn a_last_status_that_was_too_large_takes_no_span_away() {
    let [before, after] = ended("uid", "01");
    let whole = spans::of_end(&before, &after, pod);
    let left = |change: fn(&mut Value)| {
        let mut after = after.clone();
        change(&mut after.status.as_mut().unwrap().extra_fields);
        spans::of_end(&before, &after, pod)
    };
    let without_tasks = left(|extra| {
        for platform in extra["platforms"].as_array_mut().unwrap() {
            platform["tasks"] = json!([]);
        }
    });
    assert_eq!((whole.len(), without_tasks), (8, whole.clone()));
    assert_eq!(left(|extra| *extra = Value::Null), whole);
}

#[tokio::test]
async fn another_controller_gives_the_same_spans_and_an_unrecorded_trace_gives_none() {
    let mut documents = Vec::new();
    for _ in 0..2 {
        let (address, taken) = collector(&[]).await;
        let metrics = Metrics::new().unwrap();
        let (spans, exporter) = Spans::with(settings(address), &metrics, pace());
        let [before, after] = ended("uid", "01");
        spans.record(&before, &after, pod);
        let [before, after] = ended("other", "00");
        spans.record(&before, &after, pod);
        exporter.flush(FLUSH).await;
        documents.push(format!("{:?}", taken.lock().unwrap().spans()));
        has(&metrics, "exported", 8);
    }
    assert_eq!(documents[0], documents[1]);
}

#[tokio::test]
async fn what_may_succeed_later_is_sent_again_and_what_cannot_is_not() {
    let rejected = json!({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}});
    for (answers, requests, exported, failed) in [
        (vec![(503, json!({})), (429, json!({}))], 3, 8, 0),
        (vec![(503, json!({})), (502, json!({})), (504, json!({}))], 3, 0, 8),
        (vec![(400, json!({}))], 1, 0, 8),
        (vec![(200, rejected)], 1, 5, 3),
    ] {
        let (address, taken) = collector(&answers).await;
        let metrics = Metrics::new().unwrap();
        // A full batch goes at once, and so before anybody asks for the end.
        let (spans, exporter) = Spans::with(settings(address), &metrics, export::Pace { batch: 8, ..pace() });
        let [before, after] = ended("uid", "01");
        spans.record(&before, &after, pod);
        let end = Instant::now() + FLUSH;
        let all = || ["exported", "failed"].map(|outcome| metrics.spans.with_label_values(&[outcome]).get());
        while all().iter().sum::<u64>() < 8 {
            assert!(Instant::now() < end, "waited for the fate of 8 spans");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        exporter.flush(FLUSH).await;
        assert_eq!(taken.lock().unwrap().requests.len(), requests, "{answers:?}");
        assert_eq!(all(), [exported, failed], "{answers:?}");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_up_nobody() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = Metrics::new().unwrap();
    let (spans, exporter) = Spans::with(settings(silent.local_addr().unwrap()), &metrics, pace());
    let [before, after] = ended("uid", "01");
    let begin = Instant::now();
    for _ in 0..400 {
        spans.record(&before, &after, pod);
    }
    // Whole runs only; the sender has not even begun on this thread.
    let dropped = (400 - QUEUE as u64 / 8) * 8;
    has(&metrics, "dropped", dropped);
    exporter.flush(Duration::from_millis(200)).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "the end was held up: {:?}", begin.elapsed());
    has(&metrics, "exported", 0);
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_the_spans_and_nothing_else() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let metrics = Metrics::new().unwrap();
    let (spans, exporter) = Spans::with(settings(nobody), &metrics, pace());
    let [before, after] = ended("uid", "01");
    spans.record(&before, &after, pod);
    exporter.flush(FLUSH).await;
    has(&metrics, "failed", 8);
}

#[test]
fn without_an_endpoint_nothing_is_made() {
    let [before, after] = ended("uid", "01");
    Spans::default().record(&before, &after, |_| panic!("nobody asks for pods"));
}
