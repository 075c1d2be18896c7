//! As much as a run can be: many platforms with long chains, many params, and results up to what an object takes.

use std::time::{Duration, Instant};

use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::{embedded, name, result, script, succeeded};
use archfan_e2e::wait::until;
use serde_json::{Value, json};

#[tokio::test]
async fn sixty_four_platforms_with_sixty_four_tasks_and_a_thousand_params() {
    let namespace = Namespace::new("most").await;
    // No node here is s390x, so that nothing of it runs.
    let platforms: Value = (0..64)
        .map(|number| json!({"platform": format!("linux/arm64/v8.{number}"), "runsOn": "linux/s390x"}))
        .collect();
    let tasks: Value =
        (0..64).map(|number| json!({"name": format!("t{number}"), "taskRef": {"name": "nowhere"}})).collect();
    let mut run = embedded("most", &json!({"platforms": platforms, "tasks": tasks}));
    run["spec"]["params"] =
        (0..1000).map(|number| json!({"name": format!("p{number}"), "value": "x".repeat(20)})).collect();
    let start = Instant::now();
    namespace.create(&run).await;
    let children = namespace.children_until("most", 64).await;
    eprintln!("64 children of 4096 tasks after {:?}", start.elapsed());
    assert_eq!(children[0]["spec"]["params"].as_array().map(Vec::len), Some(1000));
    let run = namespace.run("most").await;
    let entries = run["status"]["extraFields"]["platforms"].as_array().expect("platforms");
    assert_eq!(entries.len(), 64);
    assert!(entries.iter().all(|entry| entry["tasks"].as_array().map(Vec::len) == Some(64)));
    namespace.cancel("most", None).await;
    assert_eq!(succeeded(&namespace.ended("most").await).1, "CustomRunCancelled");

    let tasks: Value =
        (0..65).map(|number| json!({"name": format!("t{number}"), "taskRef": {"name": "x"}})).collect();
    namespace.create(&embedded("more", &json!({"platforms": ["linux/amd64"], "tasks": tasks}))).await;
    let (_, reason, message) = succeeded(&namespace.ended("more").await);
    assert_eq!(reason, "InvalidField");
    assert!(message.contains("65") && message.contains("the most is 64"), "{message}");
    namespace.done().await;
}

/// A build of so many platforms whose children find no node: what they report is written by hand, as large as it is wanted.
fn unplaced(platforms: usize) -> Value {
    let platforms: Value = (0..platforms)
        .map(|number| json!({"platform": format!("linux/arm64/v8.{number}"), "runsOn": "linux/s390x"}))
        .collect();
    json!({"platforms": platforms, "taskSpec": script(&env("ARCHFAN_IMAGE_SHELL"), &["text"], "true")})
}

/// The status of a child that has succeeded with a result of this size.
fn wrote(bytes: usize) -> Value {
    json!({"status": {
        "completionTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "by hand", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "results": [{"name": "text", "type": "string", "value": "x".repeat(bytes)}],
    }})
}

#[tokio::test]
async fn results_up_to_what_an_object_takes() {
    let namespace = Namespace::new("results").await;
    let build = unplaced(4);
    for (run, bytes) in [("large", 80_000), ("too-large", 240_000)] {
        namespace.create(&embedded(run, &build)).await;
        namespace.children_until(run, 4).await;
        let status = wrote(bytes);
        until(&format!("{run} to end"), Duration::from_mins(2), || async {
            for child in namespace.children(run).await {
                write(&namespace, &name(&child), &status).await;
            }
            let there = namespace.run(run).await;
            let over = there["status"]["completionTime"].is_string();
            if over { Ok(()) } else { Err(there["status"]["conditions"].clone()) }
        })
        .await;
    }
    // 4 × 80 kB, once by platform and once as an array.
    let run = namespace.run("large").await;
    assert_eq!(succeeded(&run).0, "True", "{}", succeeded(&run).2);
    assert_eq!(result(&run, "linux-arm64-v8.3-text").map(|text| text.len()), Some(80_000));
    assert_eq!(result(&run, "text").map(|text| text.len()), Some(4 * 80_003 + 1));
    // 4 × 240 kB twice: more than etcd takes. The run ends with a reason, and nothing is half there.
    let run = namespace.run("too-large").await;
    let (status, reason, message) = succeeded(&run);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ResultsTooLarge"), "{message}");
    assert!(message.contains("have the tasks write less"), "{message}");
    assert_eq!(run["status"].get("results"), None);
    assert!(run["status"]["completionTime"].is_string());
    namespace.done().await;
}

/// A build whose own spec leaves less room for what its run tells than archfan counts on.
fn large(platforms: usize) -> Value {
    let mut build = unplaced(platforms);
    build["taskRunSpecs"] = json!([{
        "platform": "linux/ppc64le",
        "podTemplate": {"env": [{"name": "OF_ANOTHER_PLATFORM", "value": "x".repeat(900_000)}]},
    }]);
    build
}

/// Writes this into the status of a child, if that has a pod and has not succeeded. Tekton, which has just begun with it, may write over it
/// what it thinks of it, so this is called until what it is written for has happened.
async fn write(namespace: &Namespace, child: &str, status: &Value) {
    let path = namespace.child_path(child);
    let there = namespace.cluster.get(&path).await.unwrap_or_default();
    if there["status"]["podName"].is_string() && succeeded(&there).0 != "True" {
        namespace.cluster.patch(&format!("{path}/status"), status).await;
    }
}

/// etcd refuses the status of a run under way. The other child is stopped first, as at any other end.
#[tokio::test]
async fn a_status_that_the_server_refuses_ends_the_run_after_its_children() {
    let namespace = Namespace::new("refused").await;
    namespace.create(&embedded("run", &large(2))).await;
    let children = namespace.children_until("run", 2).await;
    let (first, second) = (&name(&children[0]), &name(&children[1]));
    let status = wrote(800_000);
    let stopped = until("the other child to be stopped", Duration::from_mins(2), || async {
        write(&namespace, first, &status).await;
        let other = namespace.cluster.get(&namespace.child_path(second)).await.unwrap_or_default();
        if other["spec"]["status"] == "TaskRunCancelled" { Ok(other) } else { Err(other["status"].clone()) }
    })
    .await;
    let words = stopped["spec"]["statusMessage"].as_str().unwrap_or_default();
    assert!(words.contains("larger than the API server takes"), "{words}");
    let run = namespace.ended("run").await;
    let (status, reason, message) = succeeded(&run);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ResultsTooLarge"), "{message}");
    let other = namespace.cluster.get(&namespace.child_path(second)).await.expect("the other child");
    assert_eq!(succeeded(&other).0, "False", "the run is over before its child");
    let told = namespace.event("run", "Warning", "ResultsTooLarge").await;
    assert!(message.starts_with(told.trim_end_matches('…')), "{told}\n{message}");
    namespace.done().await;
}

/// etcd refuses the status with which a run ends. What became of its platforms is still told, and its children go when their time has come.
#[tokio::test]
async fn a_run_whose_last_status_the_server_refuses_keeps_its_platforms() {
    let namespace = Namespace::new("refused-at-the-end").await;
    let mut build = large(1);
    build["strategy"] = json!({"ttlSecondsAfterFinished": 3});
    namespace.create(&embedded("run", &build)).await;
    let child = &name(&namespace.children_until("run", 1).await[0]);
    let status = wrote(400_000);
    let run = until("the run to end", Duration::from_mins(2), || async {
        write(&namespace, child, &status).await;
        let there = namespace.run("run").await;
        if there["status"]["completionTime"].is_string() { Ok(there) } else { Err(there["status"].clone()) }
    })
    .await;
    let (status, reason, message) = succeeded(&run);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ResultsTooLarge"), "{message}");
    assert!(message.contains("linux/arm64/v8.0 succeeded"), "{message}");
    assert_eq!(run["status"].get("results"), None);
    let platform = &run["status"]["extraFields"]["platforms"][0];
    assert_eq!((&platform["phase"], &platform["tasks"]), (&json!("Succeeded"), &json!([])));
    namespace.event("run", "Normal", "Built").await;
    namespace.event("run", "Warning", "ResultsTooLarge").await;
    until("the child to be removed", Duration::from_secs(30), || async {
        let left = namespace.children("run").await.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    namespace.done().await;
}
