//! The policies on the real cluster: failure, optional platforms, concurrency, chains, reuse, pending timeouts, clean-up, deletion.

use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::{claim, custom_runs, embedded, name, platform, result, script, succeeded, tekton};
use archfan_e2e::wait::until;
use serde_json::{Value, json};

fn shell(results: &[&str], text: &str) -> Value {
    script(&env("ARCHFAN_IMAGE_SHELL"), results, text)
}

/// Names like s390x stand for platforms that are built on amd64 nodes here.
fn on_amd64(platforms: &[&str]) -> Value {
    platforms.iter().map(|platform| json!({"platform": platform, "runsOn": "linux/amd64"})).collect()
}

/// A build whose script has the platform's key as `$(params.key)`.
fn keyed(platforms: Value, task: Value) -> Value {
    json!({
        "platforms": platforms, "taskSpec": task,
        "taskRunSpecs": [{"params": [{"name": "key", "value": "$(platform.key)"}]}],
    })
}

#[tokio::test]
async fn one_failure_ends_the_others_and_optional_ones_do_not() {
    let namespace = Namespace::new("failure").await;
    let task = shell(&[], "[ $(params.key) = linux-s390x ] && exit 3; sleep $(params.wait)");
    let mut strict = keyed(on_amd64(&["linux/amd64", "linux/s390x"]), task.clone());
    strict["params"] = json!([{"name": "wait", "default": "120"}]);
    namespace.create(&embedded("strict", &strict)).await;
    let run = namespace.ended("strict").await;
    assert_eq!(succeeded(&run).1, "BuildFailed");
    assert_eq!(platform(&run, "linux/amd64")["phase"], "Cancelled");
    assert_eq!(platform(&run, "linux/s390x")["phase"], "Failed");
    let stopped =
        namespace.cluster.get(&namespace.child_path("strict-linux-amd64")).await.expect("the sibling");
    assert!(
        stopped["spec"]["statusMessage"].as_str().is_some_and(|m| m.contains("linux/s390x failed")),
        "{stopped:#}"
    );

    let mut lenient = strict.clone();
    lenient["platforms"][1]["required"] = false.into();
    lenient["params"][0]["default"] = "1".into();
    namespace.create(&embedded("lenient", &lenient)).await;
    let run = namespace.ended("lenient").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert!(succeeded(&run).2.contains("(optional, left out)"), "{}", succeeded(&run).2);
    assert_eq!(result(&run, "PLATFORMS").as_deref(), Some(r#"["linux/amd64"]"#));
    let told = namespace.event("lenient", "Warning", "PlatformLeftOut").await;
    assert!(told.contains("linux/s390x"), "{told}");
    namespace.done().await;
}

#[tokio::test]
async fn no_more_run_at_once_than_allowed() {
    let namespace = Namespace::new("parallel").await;
    namespace.create(&claim("count", "shared", "ReadWriteMany")).await;
    // Each counts how many are at work beside it.
    let mut task = shell(
        &["seen"],
        "cd $(workspaces.w.path); mkdir $(params.key); sleep 2; ls | wc -l > $(results.seen.path); rmdir $(params.key)",
    );
    task["workspaces"] = json!([{"name": "w"}]);
    let mut build = keyed(on_amd64(&["linux/amd64", "linux/s390x", "linux/ppc64le"]), task);
    build["strategy"] = json!({"maxParallel": 1});
    let mut run = embedded("run", &build);
    run["spec"]["workspaces"] =
        json!([{"name": "w", "subPath": "a", "persistentVolumeClaim": {"claimName": "count"}}]);
    namespace.create(&run).await;
    let message = namespace.waits("run", "linux/ppc64le", "MaxParallel").await;
    assert_eq!(message, "waits for one of 1 places (strategy.maxParallel)");
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "seen").as_deref(), Some(r#"["1","1","1"]"#));
    let starts: Vec<&str> = run["status"]["extraFields"]["platforms"]
        .as_array()
        .expect("platforms")
        .iter()
        .map(|platform| platform["startTime"].as_str().unwrap_or_default())
        .collect();
    assert!(starts.is_sorted(), "in the order of the list: {starts:?}");
    namespace.done().await;
}

#[tokio::test]
async fn a_chain_runs_on_folders_of_its_own() {
    let namespace = Namespace::new("chain").await;
    namespace.create(&claim("shared", "shared", "ReadWriteMany")).await;
    let with_source = |results: &[&str], text: &str| {
        let mut task = shell(results, text);
        task["workspaces"] = json!([{"name": "source"}]);
        task
    };
    let build = json!({
        "platforms": ["linux/amd64", "linux/arm64"],
        "workspaces": [{"name": "source", "perPlatform": true}],
        "tasks": [
            {"name": "clone", "taskSpec": with_source(&["commit"], "echo c0ffee > $(results.commit.path); uname -m > $(workspaces.source.path)/machine")},
            {"name": "native", "taskSpec": with_source(&[], "echo only here"),
             "when": [{"input": "$(platform.arch)", "operator": "in", "values": ["amd64"]}]},
            {"name": "build", "retries": 0, "timeout": "5m",
             "params": [{"name": "commit", "value": "$(tasks.clone.results.commit)"}],
             "taskSpec": with_source(&["made"], "echo $(params.commit) $(cat $(workspaces.source.path)/machine) > $(results.made.path)")},
        ],
    });
    let mut run = embedded("run", &build);
    run["spec"]["workspaces"] =
        json!([{"name": "source", "subPath": "work", "persistentVolumeClaim": {"claimName": "shared"}}]);
    namespace.create(&run).await;
    let run = namespace.ended_within("run", Duration::from_mins(4)).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "linux-amd64-made").as_deref(), Some("c0ffee x86_64"));
    assert_eq!(result(&run, "linux-arm64-made").as_deref(), Some("c0ffee aarch64"));
    let names: Vec<String> = namespace.children("run").await.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "run-linux-amd64-build",
            "run-linux-amd64-clone",
            "run-linux-amd64-native",
            "run-linux-arm64-build",
            "run-linux-arm64-clone"
        ]
    );
    assert_eq!(platform(&run, "linux/arm64")["tasks"][1]["phase"], "Skipped");
    namespace.done().await;
}

#[tokio::test]
async fn a_child_waits_for_a_node_no_longer_than_allowed() {
    let namespace = Namespace::new("pendingtimeout").await;
    let build = json!({"platforms": ["linux/loong64"], "taskSpec": shell(&[], "true"), "strategy": {"pendingTimeout": "5s"}});
    namespace.create(&embedded("run", &build)).await;
    let run = namespace.ended("run").await;
    let (_, reason, message) = succeeded(&run);
    assert_eq!(reason, "PendingTimeout");
    assert!(
        message.contains(
            "found no node within 5s (strategy.pendingTimeout): no node has kubernetes.io/arch=loong64"
        ),
        "{message}"
    );
    namespace.done().await;
}

#[tokio::test]
async fn what_an_earlier_run_has_built_is_taken_over() {
    let namespace = Namespace::new("reuse").await;
    let task = shell(
        &["made"],
        "[ $(params.key) != linux-s390x ] || [ -e $(workspaces.w.path)/mended ]; date +%s%N > $(results.made.path)",
    );
    let mut task = task;
    task["workspaces"] = json!([{"name": "w"}]);
    namespace.create(&claim("state", "shared", "ReadWriteMany")).await;
    let mut build = keyed(on_amd64(&["linux/amd64", "linux/s390x"]), task);
    build["strategy"] = json!({"failFast": false, "reuse": "rev-1"});
    let run = |name: &str| {
        let mut run = embedded(name, &build);
        run["spec"]["workspaces"] = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "state"}}]);
        run
    };
    namespace.create(&run("first")).await;
    let first = namespace.ended("first").await;
    assert_eq!(succeeded(&first).1, "BuildFailed");
    let mut mend = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "mend"}, "spec": {"serviceAccountName": "builder"}});
    mend["spec"]["taskSpec"] = shell(&[], "touch $(workspaces.w.path)/mended");
    mend["spec"]["workspaces"] = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "state"}}]);
    namespace.create(&mend).await;
    until("the mending", Duration::from_mins(1), || async {
        let run = namespace.cluster.get(&namespace.child_path("mend")).await.unwrap_or_default();
        if succeeded(&run).0 == "True" { Ok(()) } else { Err(run["status"].clone()) }
    })
    .await;
    namespace.create(&run("second")).await;
    let second = namespace.ended("second").await;
    assert_eq!(succeeded(&second).0, "True", "{:#}", second["status"]);
    assert_eq!(result(&second, "linux-amd64-made"), result(&first, "linux-amd64-made"));
    assert_eq!(platform(&second, "linux/amd64")["tasks"][0]["reused"], "first-linux-amd64");
    let names: Vec<String> = namespace.children("second").await.iter().map(name).collect();
    assert_eq!(names, ["second-linux-s390x"], "only what failed was built again");
    assert!(namespace.event("second", "Normal", "Reused").await.contains("first-linux-amd64"));
    // Gone is gone.
    namespace.cluster.delete(&namespace.child_path("first-linux-amd64")).await;
    until("the earlier child to be gone", Duration::from_secs(30), || async {
        let there = namespace.cluster.get(&namespace.child_path("first-linux-amd64")).await;
        if there.is_none() { Ok(()) } else { Err("still there") }
    })
    .await;
    namespace.create(&run("third")).await;
    namespace.ended("third").await;
    let names: Vec<String> = namespace.children("third").await.iter().map(name).collect();
    assert_eq!(names, ["third-linux-amd64"]);
    namespace.done().await;
}

#[tokio::test]
async fn children_are_removed_when_their_time_has_come() {
    let namespace = Namespace::new("ttl").await;
    let mut build = keyed(
        on_amd64(&["linux/amd64", "linux/s390x"]),
        shell(&["x"], "echo $(params.key) > $(results.x.path)"),
    );
    build["strategy"] = json!({"ttlSecondsAfterFinished": 3});
    let created = namespace.create(&embedded("run", &build)).await;
    let before = namespace.ended("run").await;
    // Not before: they were there when the run ended. On a busy machine they may have gone by the time that one looks.
    let is_over = |runs: &[Value]| runs.iter().any(|run| succeeded(run).0 == "True");
    let (end, _) = namespace.cluster.first(&custom_runs(&namespace.name), &created, is_over).await;
    let were = namespace.cluster.list_at(&tekton(&namespace.name, "taskruns"), end).await;
    assert_eq!(were.len(), 2, "{:?}", were.iter().map(name).collect::<Vec<_>>());
    until("the children to be removed", Duration::from_secs(30), || async {
        let left = namespace.children("run").await.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let after = namespace.run("run").await;
    assert_eq!(after["status"], before["status"], "the results stay");
    assert_eq!(result(&after, "x").as_deref(), Some(r#"["linux-amd64","linux-s390x"]"#));
    namespace.done().await;
}

#[tokio::test]
async fn a_child_deleted_by_hand_is_created_again() {
    let namespace = Namespace::new("deleted").await;
    let build = keyed(on_amd64(&["linux/amd64", "linux/s390x"]), shell(&[], "sleep 6"));
    namespace.create(&embedded("run", &build)).await;
    let before = namespace.children_until("run", 2).await;
    namespace.cluster.delete(&namespace.child_path("run-linux-s390x")).await;
    let told = namespace.event("run", "Warning", "Deleted").await;
    assert!(told.contains("linux/s390x"), "{told}");
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let after = namespace.children("run").await;
    assert_eq!(after[0]["metadata"]["uid"], before[0]["metadata"]["uid"]);
    assert_ne!(after[1]["metadata"]["uid"], before[1]["metadata"]["uid"]);
    namespace.done().await;
}

#[tokio::test]
async fn a_run_that_is_deleted_takes_its_children_along() {
    let namespace = Namespace::new("gone").await;
    let build = keyed(on_amd64(&["linux/amd64", "linux/s390x"]), shell(&[], "sleep 60"));
    namespace.create(&embedded("run", &build)).await;
    namespace.children_until("run", 2).await;
    namespace.cluster.delete(&namespace.run_path("run")).await;
    until("the children to go", Duration::from_mins(1), || async {
        let left = namespace.children("run").await.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    namespace.done().await;
}

#[tokio::test]
async fn a_run_that_pipelines_makes_anew_copes_with_what_the_first_left() {
    // Tekton makes a CustomRun anew that somebody deletes while its PipelineRun runs; it has the same name and another uid.
    let namespace = Namespace::new("anew").await;
    let task = json!({"name": "build", "taskSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild",
        "spec": keyed(on_amd64(&["linux/amd64", "linux/s390x"]), shell(&[], "sleep 5"))}});
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "app"},
        "spec": {"taskRunTemplate": {"serviceAccountName": "builder"}, "pipelineSpec": {"tasks": [task]}}});
    namespace.create(&run).await;
    let first = namespace.children_until("app-build", 2).await;
    namespace.cluster.delete(&namespace.run_path("app-build")).await;
    let run = namespace.pipeline_run_ended("app", Duration::from_mins(3)).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let second = namespace.children("app-build").await;
    let uids = |children: &[Value]| -> Vec<Value> {
        children.iter().map(|c| c["metadata"]["uid"].clone()).collect()
    };
    assert!(
        uids(&second).iter().all(|uid| !uids(&first).contains(uid)),
        "children of a run that is gone are not adopted"
    );
    let runs = namespace.cluster.list(&tekton(&namespace.name, "taskruns")).await;
    assert_eq!(runs.len(), 2);
    namespace.done().await;
}

#[tokio::test]
async fn sixty_four_platforms_and_no_more() {
    let namespace = Namespace::new("scale").await;
    let many = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"platform": format!("linux/amd64/v{n}x"), "runsOn": "linux/s390x"}))
            .collect()
    };
    namespace
        .create(&embedded("most", &json!({"platforms": many(64), "taskSpec": shell(&[], "true")})))
        .await;
    namespace.children_until("most", 64).await;
    namespace.cancel("most", None).await;
    assert_eq!(succeeded(&namespace.ended("most").await).1, "CustomRunCancelled");
    namespace
        .create(&embedded("more", &json!({"platforms": many(65), "taskSpec": shell(&[], "true")})))
        .await;
    let (_, reason, message) = succeeded(&namespace.ended("more").await);
    assert_eq!(reason, "InvalidField");
    assert!(message.contains("the most is 64"), "{message}");
    namespace.done().await;
}
