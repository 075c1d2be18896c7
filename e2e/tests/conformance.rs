//! What Tekton demands of a custom task's controller: a case for each obligation, on the real API server with the real Tekton.
//!
//! The obligations are those of Tekton's `docs/customruns.md` and of the code that reads a CustomRun back
//! (`pkg/reconciler/pipelinerun`); `docs/conformance.md` lists them with their sources.

use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::{
    claim, custom_runs, embedded, name, platform, result, script, succeeded, tekton, time, written,
};
use archfan_e2e::wait::until;
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

/// Two platforms that both run on amd64 nodes, where the architecture itself is not what is tested.
fn platforms() -> Value {
    json!(["linux/amd64", {"platform": "linux/s390x", "runsOn": "linux/amd64"}])
}

fn shell(results: &[&str], text: &str) -> Value {
    script(&env("ARCHFAN_IMAGE_SHELL"), results, text)
}

fn build(task: Value) -> Value {
    json!({"platforms": platforms(), "taskSpec": task})
}

/// Makes a run that has nothing to do and waits for its end: whatever happened before it, the controller has seen then.
async fn barrier(namespace: &Namespace, name: &str) {
    namespace.create(&embedded(name, &json!({}))).await;
    namespace.ended(name).await;
}

/// A PipelineRun of one task, which is ours.
fn pipeline_run(name: &str, task: Value) -> Value {
    let mut task = task;
    task["name"] = "build".into();
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name},
        "spec": {"taskRunTemplate": {"serviceAccountName": "builder"}, "pipelineSpec": {"tasks": [task]}},
    })
}

fn custom_task(build: Value) -> Value {
    json!({"taskSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": build}})
}

#[tokio::test]
async fn o01_only_runs_addressed_to_us_are_touched() {
    let namespace = Namespace::new("o01").await;
    let (group, kind) = ("archfan.dev/v1alpha1", "MultiArchBuild");
    let mut foreign = Vec::new();
    for (name, group, kind) in [
        ("of-another", "example.dev/v1", "Wait"),
        ("of-our-group", group, "Wait"),
        ("of-our-kind", "example.dev/v1", kind),
    ] {
        for (way, more) in [
            ("customRef", json!({"name": "build"})),
            ("customSpec", json!({"spec": {"platforms": ["linux/amd64"]}})),
        ] {
            let mut task = more;
            task["apiVersion"] = group.into();
            task["kind"] = kind.into();
            let name = format!("{name}-{}", way.to_lowercase());
            let run = json!({
                "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": name}, "spec": {way: task},
            });
            foreign.push(namespace.create(&run).await);
        }
    }
    barrier(&namespace, "ours").await;
    for before in foreign {
        assert_eq!(namespace.run(&name(&before)).await, before, "nobody has touched it");
    }
    namespace.done().await;
}

#[tokio::test]
async fn o02_a_run_is_unknown_and_started_at_once() {
    let namespace = Namespace::new("o02").await;
    let created = namespace.create(&embedded("run", &build(shell(&[], "sleep 5")))).await;
    let started = |run: &Value| run["status"]["startTime"].is_string();
    namespace.run_until("run", "to have started", started).await;
    let has_started = |runs: &[Value]| runs.iter().any(started);
    let (_, runs) = namespace.cluster.first(&custom_runs(&namespace.name), &created, has_started).await;
    let run = &runs[0];
    let took = written(run, "archfan").duration_since(time(&created["metadata"]["creationTimestamp"]));
    assert!(took < SignedDuration::from_secs(5), "{took:?}");
    assert_eq!(succeeded(run).0, "Unknown");
    assert_eq!(
        run["status"]["conditions"][0]["type"], "Succeeded",
        "Tekton reads the reason of conditions[0]"
    );
    assert_eq!(run["status"]["conditions"].as_array().map(Vec::len), Some(1));
    namespace.done().await;
}

/// Looks at the moment at which a run was first over: each of its children had ended before.
async fn over_after_its_children(namespace: &Namespace, created: &Value) {
    let run = name(created);
    let is_over = |object: &Value| matches!(succeeded(object).0.as_str(), "True" | "False");
    let run_is_over = |runs: &[Value]| runs.iter().any(|object| name(object) == run && is_over(object));
    let (end, _) = namespace.cluster.first(&custom_runs(&namespace.name), created, run_is_over).await;
    let were = namespace.cluster.list_at(&tekton(&namespace.name, "taskruns"), end).await;
    for child in namespace.children(&run).await {
        let child = name(&child);
        let had_ended = were.iter().any(|object| name(object) == child && is_over(object));
        assert!(had_ended, "the run {run} was over before its child {child}: in version {end}");
    }
}

#[tokio::test]
async fn o03_a_run_is_true_or_false_only_at_its_end() {
    let namespace = Namespace::new("o03").await;
    // One fails at once, the other takes a while to be stopped: no False before it has.
    let task = shell(&[], "[ $(params.key) = linux-s390x ] && exit 1; sleep 30");
    let mut build = build(task);
    build["taskRunSpecs"] = json!([{"params": [{"name": "key", "value": "$(platform.key)"}]}]);
    let created = namespace.create(&embedded("run", &build)).await;
    // One ends well at once, the other takes a little longer.
    build["taskSpec"] = shell(&[], "[ $(params.key) = linux-s390x ] || sleep 5");
    let good = namespace.create(&embedded("good", &build)).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).1, "BuildFailed");
    over_after_its_children(&namespace, &created).await;
    let end = run["status"]["completionTime"].as_str().expect("a completion time").to_owned();
    for child in namespace.children("run").await {
        let ended = child["status"]["completionTime"].as_str().expect("the child has ended").to_owned();
        assert!(ended <= end, "{} ended at {ended}, the run at {end}", name(&child));
        assert_eq!(succeeded(&child).0, "False");
    }
    assert_eq!(succeeded(&namespace.ended("good").await).0, "True");
    over_after_its_children(&namespace, &good).await;
    namespace.done().await;
}

#[tokio::test]
async fn o04_what_is_over_stays_over() {
    let namespace = Namespace::new("o04").await;
    namespace.create(&embedded("run", &build(shell(&["x"], "echo 1 > $(results.x.path)")))).await;
    let before = namespace.ended("run").await;
    assert_eq!(succeeded(&before).0, "True");
    // Tekton patches finished runs too when a PipelineRun is cancelled late (pkg/reconciler/pipelinerun/cancel.go).
    namespace
        .cancel("run", Some("CustomRun cancelled as the PipelineRun it belongs to has been cancelled."))
        .await;
    for child in namespace.children("run").await {
        namespace.cluster.delete(&namespace.child_path(&name(&child))).await;
    }
    let rebuilt = json!({"spec": {"customSpec": {"spec": {"platforms": ["linux/arm64"]}}}});
    namespace.cluster.patch(&namespace.run_path("run"), &rebuilt).await;
    barrier(&namespace, "after").await;
    let after = namespace.run("run").await;
    assert!(after["metadata"]["generation"].as_i64() > before["metadata"]["generation"].as_i64());
    assert_eq!(after["status"], before["status"], "what is over is said anew");
    assert!(namespace.children("run").await.is_empty(), "nothing is created again");
    namespace.done().await;
}

#[tokio::test]
async fn o05_a_cancelled_run_cancels_its_children_and_says_so() {
    let namespace = Namespace::new("o05").await;
    namespace.create(&embedded("run", &build(shell(&[], "sleep 60")))).await;
    namespace.children_until("run", 2).await;
    let words = "CustomRun cancelled as the PipelineRun it belongs to has timed out.";
    namespace.cancel("run", Some(words)).await;
    let run = namespace.ended("run").await;
    let (status, reason, message) = succeeded(&run);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "CustomRunCancelled"));
    assert!(message.starts_with(words), "{message}");
    for child in namespace.children("run").await {
        assert_eq!(child["spec"]["status"], "TaskRunCancelled");
        assert_eq!(succeeded(&child).1, "TaskRunCancelled");
    }
    // By hand, without a message.
    namespace.create(&embedded("by-hand", &build(shell(&[], "sleep 60")))).await;
    namespace.children_until("by-hand", 2).await;
    namespace.cancel("by-hand", None).await;
    assert_eq!(succeeded(&namespace.ended("by-hand").await).1, "CustomRunCancelled");
    namespace.done().await;
}

#[tokio::test]
async fn o05_a_pipeline_run_that_is_cancelled_counts_the_run_as_cancelled() {
    let namespace = Namespace::new("o05p").await;
    namespace.create(&pipeline_run("app", custom_task(build(shell(&[], "sleep 60"))))).await;
    namespace.children_until("app-build", 2).await;
    let path = format!("{}/app", tekton(&namespace.name, "pipelineruns"));
    namespace.cluster.patch(&path, &json!({"spec": {"status": "CancelledRunFinally"}})).await;
    let run = namespace.pipeline_run_ended("app", Duration::from_mins(2)).await;
    let (_, reason, message) = succeeded(&run);
    assert_eq!(reason, "Cancelled", "counted as cancelled, not as failed: {message}");
    assert_eq!(succeeded(&namespace.run("app-build").await).1, "CustomRunCancelled");
    namespace.done().await;
}

#[tokio::test]
async fn o06_cancelling_is_quick() {
    let namespace = Namespace::new("o06").await;
    namespace.create(&embedded("run", &build(shell(&[], "sleep 60")))).await;
    namespace.children_until("run", 2).await;
    let cancel = json!({"spec": {"status": "RunCancelled"}});
    let path = format!("{}?fieldManager=user", namespace.run_path("run"));
    let cancelled = written(&namespace.cluster.patch(&path, &cancel).await, "user");
    let children = until("both children to be asked to end", Duration::from_secs(20), || async {
        let children = namespace.children("run").await;
        let asked = children.iter().filter(|child| child["spec"]["status"] == "TaskRunCancelled").count();
        if asked == 2 { Ok(children) } else { Err(asked) }
    })
    .await;
    for child in children {
        let took = written(&child, "archfan").duration_since(cancelled);
        assert!(took < SignedDuration::from_secs(3), "{}: {took:?}", name(&child));
    }
    namespace.done().await;
}

#[tokio::test]
async fn o07_a_timeout_is_per_attempt_and_has_its_own_reason() {
    let namespace = Namespace::new("o07").await;
    let with = |name: &str, timeout: Value, retries: u32, task: Value| {
        let mut run = embedded(name, &build(task));
        run["spec"]["timeout"] = timeout;
        run["spec"]["retries"] = retries.into();
        run
    };
    namespace.create(&with("once", "5s".into(), 0, shell(&[], "sleep 60"))).await;
    namespace.create(&with("twice", "20s".into(), 1, shell(&[], "sleep 60"))).await;
    namespace.create(&with("never", "0".into(), 0, shell(&[], "true"))).await;
    namespace.create(&with("default", Value::Null, 0, shell(&[], "true"))).await;

    let run = namespace.ended("once").await;
    let (status, reason, message) = succeeded(&run);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "CustomRunTimedOut"), "{message}");
    assert!(message.contains("longer than its timeout of 5s"), "{message}");

    let run = namespace.ended("twice").await;
    assert_eq!(succeeded(&run).1, "CustomRunTimedOut", "{:#}", run["status"]);
    let attempts = platform(&run, "linux/amd64")["tasks"][0]["failedAttempts"].as_i64();
    assert!(attempts >= Some(1), "the first attempt ended by its own timeout: {:#}", run["status"]);
    let at = |field: &str| time(&run["status"][field]).as_second();
    let took = at("completionTime") - at("startTime");
    assert!(took > 30, "both attempts together had {took} s, and should have had 20 s each");

    let timeout = |run: &Value| run["status"]["extraFields"]["plan"]["timeout"].clone();
    let run = namespace.ended("never").await;
    assert_eq!((succeeded(&run).0.as_str(), timeout(&run)), ("True", json!("0s")));
    let child = &namespace.children("never").await[0];
    assert_eq!(child["spec"]["timeout"], "0s");
    let run = namespace.ended("default").await;
    assert_eq!(timeout(&run), "1h0m0s", "Tekton's default-timeout-minutes");
    namespace.done().await;
}

#[tokio::test]
async fn o08_retries_run_again_only_what_failed() {
    let namespace = Namespace::new("o08").await;
    let task = shell(
        &["attempt"],
        "echo $(context.task.retry-count) > $(results.attempt.path)
         [ $(params.key) = linux-amd64 ] || [ $(context.task.retry-count) = 1 ]",
    );
    let mut build = build(task);
    build["taskRunSpecs"] = json!([{"params": [{"name": "key", "value": "$(platform.key)"}]}]);
    let mut run = embedded("run", &build);
    run["spec"]["retries"] = 1.into();
    namespace.create(&run).await;
    let run = until("run to end", Duration::from_mins(2), || async {
        let run = namespace.run("run").await;
        let (status, reason, message) = succeeded(&run);
        assert_ne!(status, "False", "no False while there are retries left: {reason} {message}");
        if status == "True" { Ok(run) } else { Err(run["status"].clone()) }
    })
    .await;
    assert_eq!(result(&run, "attempt").as_deref(), Some(r#"["0","1"]"#));
    assert_eq!(platform(&run, "linux/amd64")["tasks"][0].get("failedAttempts"), None);
    assert_eq!(platform(&run, "linux/s390x")["tasks"][0]["failedAttempts"], 1);
    namespace.done().await;
}

#[tokio::test]
async fn o09_what_the_webhook_lets_pass_is_checked_in_the_reconcile() {
    let namespace = Namespace::new("o09").await;
    let with = |name: &str, field: &str, value: Value| {
        let mut run = embedded(name, &build(shell(&[], "true")));
        run["spec"][field] = value;
        run
    };
    for (name, field, value) in [
        ("retries", "retries", json!(-1)),
        ("timeout", "timeout", json!("-1m")),
        ("status", "status", json!("RunPaused")),
        ("params", "params", json!([])),
        ("workspaces", "workspaces", json!([{"name": "surplus", "emptyDir": {}}])),
    ] {
        let mut run = with(name, field, value);
        if name == "params" {
            run["spec"]["customSpec"]["spec"]["params"] = json!([{"name": "needed"}]);
        }
        if name == "workspaces" {
            run["spec"]["customSpec"]["spec"]["workspaces"] = json!([{"name": "other", "optional": true}]);
        }
        namespace.create(&run).await;
    }
    for (name, reason) in [
        ("retries", "InvalidRun"),
        ("timeout", "InvalidRun"),
        ("status", "InvalidRun"),
        ("params", "MissingParam"),
        ("workspaces", "UnknownWorkspace"),
    ] {
        let run = namespace.ended(name).await;
        assert_eq!(succeeded(&run).1, reason, "{name}: {}", succeeded(&run).2);
    }
    namespace.done().await;
}

#[tokio::test]
async fn o10_nothing_of_the_status_is_pruned() {
    let namespace = Namespace::new("o10").await;
    namespace.create(&embedded("run", &build(shell(&["x"], "echo 1 > $(results.x.path)")))).await;
    let run = namespace.ended("run").await;
    let mut fields: Vec<&str> =
        run["status"].as_object().expect("a status").keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["completionTime", "conditions", "extraFields", "observedGeneration", "results", "startTime"]
    );
    // What only `extraFields` can hold has come through the API server and back.
    assert_eq!(platform(&run, "linux/s390x")["tasks"][0]["taskRun"], "run-linux-s390x");
    assert!(run["status"]["results"].as_array().expect("results").iter().all(|r| r["value"].is_string()));
    namespace.done().await;
}

#[tokio::test]
async fn o11_results_are_there_on_failure_too_and_arrays_are_arrays() {
    let namespace = Namespace::new("o11").await;
    let task =
        shell(&["at"], "echo $(params.key) > $(results.at.path); [ \"$(params.fail)\" != $(params.key) ]");
    let mut build = build(task);
    build["params"] = json!([{"name": "fail", "default": ""}]);
    build["strategy"] = json!({"failFast": false});
    build["taskRunSpecs"] = json!([{"params": [{"name": "key", "value": "$(platform.key)"}]}]);
    let mut failing = embedded("failing", &build);
    failing["spec"]["params"] = json!([{"name": "fail", "value": "linux-s390x"}]);
    namespace.create(&failing).await;

    let mut run = pipeline_run("app", custom_task(build));
    let mut consume = shell(&["got"], "echo $(params.one) > $(results.got.path); echo \"$@\"");
    consume["params"] = json!([{"name": "all", "type": "array"}, {"name": "one"}]);
    run["spec"]["pipelineSpec"]["tasks"].as_array_mut().expect("tasks").push(json!({
        "name": "consume", "taskSpec": consume,
        "params": [
            {"name": "all", "value": "$(tasks.build.results.at[*])"},
            {"name": "one", "value": "$(tasks.build.results.linux-s390x-at)"},
        ],
    }));
    namespace.create(&run).await;

    let failed = namespace.ended("failing").await;
    assert_eq!(succeeded(&failed).1, "BuildFailed");
    assert_eq!(result(&failed, "linux-amd64-at").as_deref(), Some("linux-amd64"));
    assert_eq!(result(&failed, "linux-s390x-at").as_deref(), Some("linux-s390x"), "it says where it failed");
    assert_eq!(result(&failed, "PLATFORMS").as_deref(), Some(r#"["linux/amd64"]"#));

    let run = namespace.pipeline_run_ended("app", Duration::from_mins(3)).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let consumer = namespace.cluster.get(&namespace.child_path("app-consume")).await.expect("the consumer");
    assert_eq!(
        consumer["spec"]["params"],
        json!([{"name": "all", "value": ["linux-amd64", "linux-s390x"]}, {"name": "one", "value": "linux-s390x"}])
    );
    namespace.done().await;
}

#[tokio::test]
async fn o12_children_are_the_run_s_and_not_the_pipeline_run_s() {
    let namespace = Namespace::new("o12").await;
    namespace.create(&pipeline_run("app", custom_task(build(shell(&[], "sleep 3"))))).await;
    let children = namespace.children_until("app-build", 2).await;
    let run = namespace.run("app-build").await;
    for child in &children {
        assert_eq!(
            child["metadata"]["ownerReferences"],
            json!([{"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "name": "app-build",
                "uid": run["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]),
            "the run, and nobody else, owns its child"
        );
    }
    let pipeline_run = namespace.pipeline_run_ended("app", Duration::from_mins(2)).await;
    let references = pipeline_run["status"]["childReferences"].as_array().expect("child references");
    assert_eq!(references.len(), 1, "{references:?}");
    assert_eq!(references[0]["kind"], "CustomRun");
    // Kubernetes removes them with it.
    namespace.cluster.delete(&format!("{}/app", tekton(&namespace.name, "pipelineruns"))).await;
    until("the children to go with their run", Duration::from_mins(1), || async {
        let left = namespace.children("app-build").await.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    namespace.done().await;
}

#[tokio::test]
async fn o13_labels_are_handed_down_and_names_fit() {
    let namespace = Namespace::new("o13").await;
    let long = "a-pipeline-run-whose-name-is-so-long-that-nothing-more-fits";
    let mut run = pipeline_run(long, custom_task(build(shell(&[], "true"))));
    run["metadata"]["labels"] = json!({"team": "blue"});
    namespace.create(&run).await;
    let runs = until("the CustomRun", Duration::from_secs(30), || async {
        let runs = namespace.cluster.list(&custom_runs(&namespace.name)).await;
        if runs.len() == 1 { Ok(runs) } else { Err(runs.len()) }
    })
    .await;
    let run = name(&runs[0]);
    let children = namespace.children_until(&run, 2).await;
    for child in &children {
        let labels = &child["metadata"]["labels"];
        assert!(name(child).len() <= 63);
        assert_eq!(labels["team"], "blue", "the run's labels are its child's");
        assert_eq!(labels["tekton.dev/pipelineRun"], long);
        assert_eq!(labels["tekton.dev/pipelineTask"], "build");
        assert_eq!(labels["tekton.dev/memberOf"], "tasks");
        assert_eq!(labels["tekton.dev/customRun"], run);
        assert_eq!(labels["archfan.dev/role"], "build");
    }
    assert_ne!(name(&children[0]), name(&children[1]));
    assert_eq!(succeeded(&namespace.ended(&run).await).0, "True");
    namespace.done().await;
}

#[tokio::test]
async fn o14_annotations_that_speak_of_the_run_stay_with_it() {
    let namespace = Namespace::new("o14").await;
    let mut run = embedded("run", &build(shell(&[], "true")));
    run["metadata"]["annotations"] = json!({
        "pipeline.tekton.dev/affinity-assistant": "affinity-assistant-0123456789",
        "results.tekton.dev/record": "r",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "team": "blue",
    });
    let created = namespace.create(&run).await;
    let children = namespace.children_until("run", 2).await;
    // As they were created: kubectl's is one that Tekton takes away itself a moment later.
    for child in children {
        let this = |object: &&Value| name(object) == name(&child);
        let is_there = |objects: &[Value]| objects.iter().any(|object| this(&object));
        let (_, were) =
            namespace.cluster.first(&tekton(&namespace.name, "taskruns"), &created, is_there).await;
        let first = were.iter().find(this).expect("its first version");
        let mut keys: Vec<&String> =
            first["metadata"]["annotations"].as_object().expect("annotations").keys().collect();
        keys.retain(|key| *key != "pipeline.tekton.dev/release");
        assert_eq!(keys, ["archfan.dev/platform", "team"], "annotations of the child");
    }
    assert_eq!(succeeded(&namespace.ended("run").await).0, "True");
    namespace.done().await;
}

#[tokio::test]
async fn o15_claims_that_tekton_or_the_nodes_would_refuse_are_refused_first() {
    let namespace = Namespace::new("o15").await;
    for (name, class, mode) in [
        ("one", "shared", "ReadWriteMany"),
        ("two", "shared", "ReadWriteMany"),
        ("local", "local", "ReadWriteOnce"),
    ] {
        namespace.create(&claim(name, class, mode)).await;
    }
    let bound = |claims: &[&str]| -> Value {
        claims
            .iter()
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
            .collect()
    };
    let run = |name: &str, platforms: Value, claims: &[&str]| {
        let mut run = embedded(name, &json!({"platforms": platforms, "taskSpec": shell(&[], "true")}));
        run["spec"]["workspaces"] = bound(claims);
        run
    };
    namespace.create(&run("many", platforms(), &["one", "two"])).await;
    namespace.create(&run("local", json!(["linux/amd64", "linux/arm64"]), &["local"])).await;
    for (name, reason) in [("many", "TooManyClaims"), ("local", "WorkspaceNotShareable")] {
        let run = namespace.ended(name).await;
        assert_eq!(succeeded(&run).1, reason, "{}", succeeded(&run).2);
        assert!(namespace.children(name).await.is_empty());
    }
    namespace.done().await;
}

#[tokio::test]
async fn o16_the_pipeline_run_s_pod_templates_are_inherited() {
    let namespace = Namespace::new("o16").await;
    let mut build = build(shell(&[], "true"));
    build["taskRunTemplate"] = json!({"podTemplate": {"env": [{"name": "C", "value": "build"}]}});
    let mut run = pipeline_run("app", custom_task(build));
    run["spec"]["taskRunTemplate"]["podTemplate"] = json!({
        "env": [{"name": "A", "value": "pipeline"}, {"name": "B", "value": "pipeline"}],
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
    });
    run["spec"]["taskRunSpecs"] = json!([{
        "pipelineTaskName": "build",
        "podTemplate": {"env": [{"name": "B", "value": "task"}]},
        "stepSpecs": [{"name": "run", "computeResources": {"requests": {"cpu": "10m"}}}],
        "metadata": {"labels": {"cost-center": "42"}},
    }]);
    namespace.create(&run).await;
    let child = &namespace.children_until("app-build", 2).await[0];
    let template = &child["spec"]["podTemplate"];
    assert_eq!(
        template["env"],
        json!([{"name": "A", "value": "pipeline"}, {"name": "B", "value": "task"}, {"name": "C", "value": "build"}])
    );
    assert_eq!(template["nodeSelector"], json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}));
    assert!(
        template["tolerations"]
            .as_array()
            .expect("tolerations")
            .contains(&json!({"key": "ci", "operator": "Exists"}))
    );
    assert_eq!(child["spec"]["stepSpecs"][0]["name"], "run");
    assert_eq!(child["metadata"]["labels"]["cost-center"], "42");
    let run = namespace.ended("app-build").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    namespace.done().await;
}

#[tokio::test]
async fn o17_account_params_and_workspaces_arrive_and_a_finished_child_is_let_be() {
    let namespace = Namespace::new("o17").await;
    namespace.create(&claim("shared", "shared", "ReadWriteMany")).await;
    let mut task = shell(
        &["list", "key"],
        "printf '%s ' \"$@\" > $(results.list.path); echo $(params.object.key) > $(results.key.path); mkdir -p $(workspaces.source.path)/x",
    );
    task["params"] = json!([
        {"name": "list", "type": "array"},
        {"name": "object", "type": "object", "properties": {"key": {"type": "string"}}},
    ]);
    task["steps"][0]["args"] = json!(["$(params.list[*])"]);
    task["workspaces"] = json!([{"name": "source"}]);
    let mut run = embedded("run", &build(task));
    run["spec"]["params"] = json!([
        {"name": "list", "value": ["a", "b c"]},
        {"name": "object", "value": {"key": "value"}},
        {"name": "surplus", "value": "ignored by the Task, as Tekton does"},
    ]);
    run["spec"]["workspaces"] = json!([{"name": "source", "subPath": "deep/folder", "persistentVolumeClaim": {"claimName": "shared"}}]);
    namespace.create(&run).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "linux-amd64-list").as_deref(), Some("a b c "));
    assert_eq!(result(&run, "linux-amd64-key").as_deref(), Some("value"));
    let child = &namespace.children("run").await[0];
    assert_eq!(child["spec"]["serviceAccountName"], "builder");
    assert_eq!(child["spec"]["workspaces"][0]["subPath"], "deep/folder");

    // One child has ended when the run is cancelled: Tekton allows no change of it, and that stops nothing.
    let mut build = build(shell(&[], "[ $(params.key) = linux-amd64 ] || sleep 60"));
    build["taskRunSpecs"] = json!([{"params": [{"name": "key", "value": "$(platform.key)"}]}]);
    namespace.create(&embedded("half", &build)).await;
    namespace
        .run_until("half", "to have built one platform", |run| {
            platform(run, "linux/amd64")["phase"] == "Succeeded"
        })
        .await;
    namespace.cancel("half", None).await;
    let run = namespace.ended("half").await;
    assert_eq!(succeeded(&run).1, "CustomRunCancelled");
    assert_eq!(platform(&run, "linux/amd64")["phase"], "Succeeded");
    assert_eq!(platform(&run, "linux/s390x")["phase"], "Cancelled");
    namespace.done().await;
}

#[tokio::test]
async fn o18_an_eviction_is_believed_only_from_the_api_server() {
    let namespace = Namespace::new("o18").await;
    // On a node without a kubelet, so that nobody mends what is written here.
    let node = format!("evicting-{}", namespace.name);
    namespace.pretend_node(&node, "mips64", json!([])).await;
    let build = json!({"platforms": ["linux/mips64"], "taskSpec": shell(&[], "true")});
    namespace.create(&embedded("run", &build)).await;
    namespace
        .run_until("run", "to have a node", |run| platform(run, "linux/mips64")["node"] == node.as_str())
        .await;
    let pod = name(&namespace.pod_of("run-linux-mips64").await);
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/status", namespace.name);
    // What the kubelet writes when a node runs short.
    let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}});
    namespace.cluster.patch(&path, &evicted).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).1, "BuildFailed");
    assert_eq!(platform(&run, "linux/mips64")["reason"], "PodEvicted");
    // Tekton's cache may show an eviction that Tekton has got over (pkg/reconciler/pipelinerun/pipelinerun.go); so the child was
    // read from the server before it was believed.
    let uri = format!("/namespaces/{}/taskruns/run-linux-mips64\"", namespace.name);
    until("the controller's own look at the TaskRun in the audit log", Duration::from_secs(20), || async {
        let log = std::fs::read_to_string(env("ARCHFAN_AUDIT_LOG")).expect("the audit log");
        let read = log.lines().any(|line| {
            line.contains(&uri)
                && line.contains("\"verb\":\"get\"")
                && line.contains("\"username\":\"system:serviceaccount:archfan:archfan\"")
        });
        if read { Ok(()) } else { Err(uri.clone()) }
    })
    .await;
    namespace.cluster.delete(&format!("/api/v1/nodes/{node}")).await;
    namespace.done().await;
}

#[tokio::test]
async fn o19_a_claim_template_of_a_run_that_stands_alone_is_one_claim_for_all() {
    let namespace = Namespace::new("o19").await;
    let mut task = shell(
        &["seen"],
        "echo 1 > $(workspaces.w.path)/$(params.key); sleep 4; ls $(workspaces.w.path) | tr '\\n' ' ' > $(results.seen.path)",
    );
    task["workspaces"] = json!([{"name": "w"}]);
    let mut build = json!({"platforms": ["linux/amd64", "linux/arm64"], "taskSpec": task});
    build["taskRunSpecs"] = json!([{"params": [{"name": "key", "value": "$(platform.key)"}]}]);
    let mut run = embedded("run", &build);
    run["spec"]["workspaces"] = json!([{"name": "w", "volumeClaimTemplate": {"spec": {
        "storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "100Mi"}}}}}]);
    namespace.create(&run).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let claims =
        namespace.cluster.list(&archfan_e2e::objects::core(&namespace.name, "persistentvolumeclaims")).await;
    assert_eq!(claims.iter().map(name).collect::<Vec<_>>(), ["run-w"]);
    assert_eq!(claims[0]["metadata"]["ownerReferences"][0]["uid"], run["metadata"]["uid"]);
    let seen = result(&run, "linux-amd64-seen").unwrap_or_default()
        + &result(&run, "linux-arm64-seen").unwrap_or_default();
    assert!(seen.contains("linux-amd64 linux-arm64"), "neither saw what the other wrote: {seen}");
    namespace.done().await;
}

#[tokio::test]
async fn o20_variables_in_the_spec_are_replaced() {
    let namespace = Namespace::new("o20").await;
    let mut task = shell(&["said"], "echo $(params.word) $(platform.machine) > $(results.said.path)");
    task["params"] = json!([{"name": "word"}]);
    let mut build = build(task);
    build["taskRunSpecs"] = json!([{"params": [{"name": "word", "value": "$(params.greeting)-$(context.customRun.name)-$(context.pipelineRun.name)"}]}]);
    let mut run = custom_task(build);
    run["params"] = json!([{"name": "greeting", "value": "hello-$(context.pipelineRun.name)"}]);
    namespace.create(&pipeline_run("app", run)).await;
    let run = namespace.ended("app-build").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "linux-s390x-said").as_deref(), Some("hello-app-app-build-app s390x"));
    namespace.done().await;
}

#[tokio::test]
async fn o21_the_trace_goes_on_in_the_children() {
    let namespace = Namespace::new("o21").await;
    let trace = r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let mut run = pipeline_run("app", custom_task(build(shell(&[], "true"))));
    run["metadata"]["annotations"] = json!({"tekton.dev/pipelinerunSpanContext": trace});
    namespace.create(&run).await;
    for child in namespace.children_until("app-build", 2).await {
        let annotations = &child["metadata"]["annotations"];
        assert_eq!(annotations["tekton.dev/taskrunSpanContext"], trace, "the child's trace");
        assert_eq!(annotations.get("tekton.dev/pipelinerunSpanContext"), None);
    }
    namespace.done().await;
}

#[tokio::test]
async fn o22_the_controller_has_the_rights_it_needs_and_no_finalizer() {
    let namespace = Namespace::new("o22").await;
    let allowed = |verb: &'static str, group: &'static str, resource: &'static str, sub: &'static str| {
        let namespace = &namespace;
        async move {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {
                    "user": "system:serviceaccount:archfan:archfan",
                    "resourceAttributes": {"namespace": namespace.name, "verb": verb, "group": group, "resource": resource, "subresource": sub},
                },
            });
            let answer =
                namespace.cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
            answer["status"]["allowed"] == true
        }
    };
    for (verb, group, resource, sub) in [
        ("list", "tekton.dev", "customruns", ""),
        ("watch", "tekton.dev", "customruns", ""),
        ("patch", "tekton.dev", "customruns", "status"),
        // OwnerReferencesPermissionEnforcement, which OpenShift has on, asks for it where an owner blocks its deletion.
        ("update", "tekton.dev", "customruns", "finalizers"),
        ("create", "tekton.dev", "taskruns", ""),
        ("patch", "tekton.dev", "taskruns", ""),
        ("delete", "tekton.dev", "taskruns", ""),
    ] {
        assert!(allowed(verb, group, resource, sub).await, "may not {verb} {resource}/{sub}");
    }
    for (verb, group, resource) in [
        ("get", "", "secrets"),
        ("list", "", "secrets"),
        ("create", "", "pods"),
        ("update", "tekton.dev", "customruns"),
        ("delete", "tekton.dev", "customruns"),
        ("create", "tekton.dev", "pipelineruns"),
    ] {
        assert!(!allowed(verb, group, resource, "").await, "may {verb} {resource}");
    }
    namespace.create(&embedded("run", &build(shell(&[], "true")))).await;
    for child in namespace.children_until("run", 2).await {
        let finalizers = child["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        assert!(
            finalizers.iter().all(|f| !f.as_str().unwrap_or_default().contains("archfan")),
            "{finalizers:?}"
        );
    }
    assert_eq!(namespace.run("run").await["metadata"].get("finalizers"), None);
    namespace.done().await;
}

#[tokio::test]
async fn o23_the_controller_runs_on_any_supported_kubernetes_without_being_told() {
    // A controller made with knative's libraries refuses to start on a Kubernetes older than they know, unless
    // KUBERNETES_MIN_VERSION says otherwise. This one has no such limit, so it needs no such setting.
    let namespace = Namespace::new("o23").await;
    let deployments = namespace.cluster.list("/apis/apps/v1/namespaces/archfan/deployments").await;
    assert_eq!(deployments.len(), 1);
    let containers = deployments[0]["spec"]["template"]["spec"]["containers"].as_array().expect("containers");
    assert!(!containers[0].to_string().contains("KUBERNETES_MIN_VERSION"));
    assert!(deployments[0]["status"]["readyReplicas"].as_i64() >= Some(1));
    namespace.done().await;
}
