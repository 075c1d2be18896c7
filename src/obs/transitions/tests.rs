use serde_json::{Value, json};

use super::*;

fn run(status: &Value) -> CustomRun {
    serde_json::from_value(json!({
        "metadata": {"name": "build", "namespace": "team", "labels": {"tekton.dev/pipelineRun": "p"}},
        "spec": {},
        "status": status,
    }))
    .unwrap()
}

fn platform(phase: &str, end: Option<&str>, failed_attempts: usize) -> Value {
    json!({"platform": "linux/arm64", "phase": phase, "startTime": "2026-01-01T00:00:05Z", "completionTime": end,
        "tasks": [{"name": "build", "taskRun": "build-linux-arm64", "phase": phase, "failedAttempts": failed_attempts,
            "startTime": "2026-01-01T00:00:05Z", "completionTime": end}]})
}

fn status(platforms: &Value, index: &Value) -> Value {
    json!({
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}],
        "extraFields": {"platforms": platforms, "index": index},
    })
}

fn times() -> PodTimes {
    let at = |second: i64| Some(Timestamp::from_second(1_767_225_600 + second).unwrap());
    PodTimes { made: at(6), scheduled: at(46), started: at(56) }
}

/// TaskRuns that have pods, or are not known.
struct Seen(bool);

impl TaskRuns for Seen {
    fn pod(&self, _: &str) -> Option<PodTimes> {
        self.0.then(times)
    }

    fn result(&self, task_run: &str, name: &str) -> Option<String> {
        let value = match (task_run, name) {
            ("run-index", "BYTES_PUSHED") => "1000\n",
            ("run-index", "BYTES_SKIPPED") => "24",
            _ => return None,
        };
        self.0.then(|| value.to_owned())
    }
}

fn has(metrics: &Metrics, line: &str) {
    let text = metrics.text().unwrap();
    assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
}

#[test]
fn a_whole_life_is_counted_once() {
    let metrics = Metrics::new().unwrap();
    let mut end = status(
        &json!([platform("Succeeded", Some("2026-01-01T00:02:56Z"), 2)]),
        &json!({"name": "index", "phase": "Succeeded", "startTime": "2026-01-01T00:03:00Z",
            "completionTime": "2026-01-01T00:03:04Z", "taskRun": "run-index"}),
    );
    end["completionTime"] = "2026-01-01T00:03:05Z".into();
    end["conditions"][0]["status"] = "True".into();
    end["conditions"][0]["reason"] = "Succeeded".into();
    let life = [
        json!(null),
        status(&json!([{"platform": "linux/arm64", "phase": "Waiting"}]), &Value::Null),
        status(&json!([platform("Pending", None, 0)]), &Value::Null),
        status(&json!([platform("Running", None, 1)]), &Value::Null),
        status(&json!([platform("Succeeded", Some("2026-01-01T00:02:56Z"), 2)]), &Value::Null),
        status(
            &json!([platform("Succeeded", Some("2026-01-01T00:02:56Z"), 2)]),
            &json!({"name": "index", "phase": "Running"}),
        ),
        end,
    ];
    let life: Vec<CustomRun> = life.iter().map(run).collect();
    for pair in life.windows(2) {
        record(&metrics, &pair[0], &pair[1], &Seen(true));
        // Seeing the same status again, after a watch event, changes nothing.
        record(&metrics, &pair[1], &pair[1], &Seen(true));
    }
    for line in [
        r#"archfan_runs_total{reason="Succeeded",result="succeeded"} 1"#,
        r#"archfan_run_duration_seconds_sum{result="succeeded"} 185"#,
        r#"archfan_platform_queue_seconds_sum{platform="linux/arm64"} 5"#,
        r#"archfan_platform_queue_seconds_count{platform="linux/arm64"} 1"#,
        r#"archfan_platform_schedule_seconds_sum{platform="linux/arm64"} 40"#,
        r#"archfan_platform_startup_seconds_sum{platform="linux/arm64"} 10"#,
        r#"archfan_platform_build_seconds_sum{platform="linux/arm64",result="succeeded"} 120"#,
        r#"archfan_platform_build_seconds_count{platform="linux/arm64",result="succeeded"} 1"#,
        r#"archfan_platform_duration_seconds_sum{platform="linux/arm64",result="succeeded"} 171"#,
        r#"archfan_platform_retries_total{platform="linux/arm64"} 2"#,
        r#"archfan_index_duration_seconds_sum{result="succeeded"} 4"#,
        r#"archfan_index_bytes_total{action="pushed"} 1000"#,
        r#"archfan_index_bytes_total{action="skipped"} 24"#,
    ] {
        has(&metrics, line);
    }
}

#[test]
fn the_first_failure_of_a_platform_is_an_increase() {
    let metrics = Metrics::new().unwrap();
    let begun = run(&status(&json!([{"platform": "linux/arm64", "phase": "Waiting"}]), &Value::Null));
    record(&metrics, &run(&Value::Null), &begun, &Seen(false));
    for line in [
        r#"archfan_platform_retries_total{platform="linux/arm64"} 0"#,
        r#"archfan_platform_build_seconds_count{platform="linux/arm64",result="failed"} 0"#,
        r#"archfan_platform_duration_seconds_count{platform="linux/arm64",result="failed"} 0"#,
    ] {
        has(&metrics, line);
    }
}

#[test]
fn failures_and_refusals_have_their_reason() {
    let metrics = Metrics::new().unwrap();
    for (reason, result, label) in [
        ("MissingParam", "failed", "MissingParam"),
        ("CustomRunCancelled", "cancelled", "CustomRunCancelled"),
        ("WhateverElse", "failed", "Other"),
    ] {
        let end = run(&json!({
            "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Succeeded", "status": "False", "reason": reason}],
        }));
        record(&metrics, &run(&Value::Null), &end, &Seen(false));
        has(&metrics, &format!(r#"archfan_runs_total{{reason="{label}",result="{result}"}} 1"#));
    }
}

#[test]
fn moments_come_from_the_pod() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"creationTimestamp": "2026-01-01T00:00:06Z"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:46Z"}],
            "containerStatuses": [
                {"name": "step-b", "state": {"running": {"startedAt": "2026-01-01T00:00:58Z"}}},
                {"name": "step-a", "state": {"terminated": {"startedAt": "2026-01-01T00:00:56Z", "exitCode": 0}}},
                {"name": "step-c", "state": {"waiting": {"reason": "x"}}},
            ],
        },
    }))
    .unwrap();
    assert_eq!(PodTimes::of(&pod), times());
    assert_eq!(PodTimes::of(&Pod::default()), PodTimes::default());
}
