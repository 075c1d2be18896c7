//! `archfan plan` prints what the controller creates: each TaskRun as it was created on the cluster is compared, as text, with what
//! `archfan plan` printed for the same documents.
//!
//! Both have been through the same API server and Tekton's webhook: the printed one by a dry run. Only what the cluster alone can know is
//! made equal before: uids, times, the namespace, the name that Tekton gives to a claim, and results of tasks that have run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::{Cluster, env, root};
use archfan_e2e::examples::documents;
use archfan_e2e::objects::{claim, embedded, name, platform, script, tekton};
use archfan_e2e::program;
use archfan_e2e::wait::until;
use futures::{StreamExt as _, future, stream};
use serde_json::{Value, json};
use tokio::process::Command;

/// What `archfan plan` prints for some documents, with the settings of the controller on the cluster.
async fn planned(cluster: &Cluster, documents: &[Value], run: &str) -> Vec<Value> {
    let settings = cluster.get("/api/v1/namespaces/archfan/configmaps/archfan").await.expect("the settings");
    let settings = settings["data"]["config.yaml"].as_str().expect("config.yaml").to_owned();
    let folder = std::env::temp_dir().join(format!("archfan-plan-{}-{run}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (config, file) = (folder.join("settings"), folder.join("documents.json"));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    std::fs::write(&config, settings).expect("a file for the settings");
    std::fs::write(&file, list.to_string()).expect("a file for the documents");
    let output = Command::new(program::archfan().await)
        .args(["plan", "-o", "json", "--config"])
        .arg(&config)
        .arg("-f")
        .arg(&file)
        .output()
        .await
        .expect("archfan starts");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    list["items"].as_array().expect("items").clone()
}

/// Every TaskRun as it was when it was created, from now on.
struct Created {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<BTreeMap<String, Value>>,
}

impl Created {
    async fn watch(namespace: &Namespace) -> Self {
        let path = tekton(&namespace.name, "taskruns");
        let list = namespace.cluster.get(&path).await.expect("a list");
        let mut version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let (cluster, done) = (namespace.cluster.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut created = BTreeMap::new();
            loop {
                let stopped = done.load(Ordering::Relaxed);
                let watch = format!(
                    "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=2&resourceVersion={version}"
                );
                for line in cluster.text(&watch).await.lines() {
                    let event: Value = serde_json::from_str(line).expect("an event");
                    assert_ne!(event["type"], "ERROR", "the watch is broken: {event}");
                    let seen = event["object"]["metadata"]["resourceVersion"].as_str();
                    seen.expect("a version").clone_into(&mut version);
                    if event["type"] == "ADDED" {
                        created.insert(name(&event["object"]), event["object"].clone());
                    }
                }
                if stopped {
                    return created;
                }
            }
        });
        Self { stop, task }
    }

    async fn all(self) -> BTreeMap<String, Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the watch")
    }
}

/// A TaskRun as text, without what only the cluster knows.
fn text(mut task_run: Value, claims: &BTreeMap<String, String>) -> String {
    let metadata = task_run["metadata"].as_object_mut().expect("metadata");
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace"] {
        metadata.remove(field);
    }
    for owner in task_run["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        owner["uid"] = "".into();
    }
    if let Some(uid) = task_run["metadata"]["labels"].get_mut("tekton.dev/pipelineRunUID") {
        *uid = "".into();
    }
    for binding in task_run["spec"]["workspaces"].as_array_mut().into_iter().flatten() {
        if let Some(claim) = binding.pointer_mut("/persistentVolumeClaim/claimName")
            && let Some(same) = claim.as_str().and_then(|name| claims.get(name))
        {
            *claim = same.as_str().into();
        }
    }
    task_run.as_object_mut().expect("an object").remove("status");
    serde_json::to_string_pretty(&task_run).expect("text")
}

/// Replaces in what was planned the variables whose values are known now.
fn with_results(planned: &Value, created: &BTreeMap<String, Value>, ended: &[Value]) -> Value {
    let before = planned.to_string();
    let mut text = before.clone();
    let platform = planned["metadata"]["labels"]["archfan.dev/platform"].as_str().unwrap_or_default();
    for child in ended {
        let labels = &child["metadata"]["labels"];
        let key = labels["archfan.dev/platform"].as_str().unwrap_or_default();
        for result in child["status"]["results"].as_array().into_iter().flatten() {
            let (name, value) =
                (result["name"].as_str().unwrap_or_default(), result["value"].as_str().unwrap_or_default());
            let value = value.trim_end();
            let bare = if name == "IMAGE_URL" {
                value.rsplit_once(':').map_or(value, |(bare, _)| bare)
            } else {
                value
            };
            text = text.replace(&format!("$({key}-{name})"), bare);
            if key == platform {
                let task = labels["archfan.dev/task"].as_str().unwrap_or_default();
                text = text.replace(&format!("$(tasks.{task}.results.{name})"), value);
            }
        }
    }
    let mut value: Value = serde_json::from_str(&text).expect("still JSON");
    // The digest of what a child does is of its final words.
    let changed = text != before;
    let name = name(&value);
    if changed && let Some(digest) = value.pointer_mut("/metadata/annotations/archfan.dev~1spec-digest") {
        *digest = created[&name]["metadata"]["annotations"]["archfan.dev/spec-digest"].clone();
    }
    value
}

/// Creates the documents, lets the runs of these names go as far as `enough`, and compares.
async fn compare(namespace: &Namespace, documents: &[Value], run: &str, ends: bool) {
    let scratch = Namespace::new(&format!("{}d", run.replace('-', ""))).await;
    let planned = planned(&namespace.cluster, documents, run).await;
    let planned: Vec<Value> = planned
        .into_iter()
        .filter(|child| child["metadata"]["labels"]["tekton.dev/customRun"] == run)
        .collect();
    assert!(!planned.is_empty(), "nothing is planned for {run}");
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for child in planned.iter().filter(|child| child["metadata"]["labels"]["archfan.dev/role"] == "build") {
        first
            .entry(child["metadata"]["labels"]["archfan.dev/platform"].to_string())
            .or_insert_with(|| name(child));
    }
    let created = Created::watch(namespace).await;
    for document in documents {
        namespace.create(document).await;
    }
    if ends {
        namespace.ended_within(run, Duration::from_mins(4)).await;
    } else {
        until(&format!("the first children of {run}"), Duration::from_mins(1), || async {
            let children = namespace.children(run).await;
            if children.is_empty() { Err(namespace.run(run).await["status"].clone()) } else { Ok(()) }
        })
        .await;
        // The first task of every platform is created in one go; what follows is a matter of what they do.
        namespace.children_until(run, first.len()).await;
    }
    let ended = namespace.children(run).await;
    let mut created = created.all().await;
    created.retain(|_, child| child["metadata"]["labels"]["tekton.dev/customRun"] == run);
    // Tekton names the claims of a PipelineRun by a digest of its uid; each stands on the same workspace as the one that was planned.
    let claim_of = |child: &Value, at: usize| {
        child["spec"]["workspaces"][at]["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)
    };
    let mut claims = BTreeMap::new();
    for child in &planned {
        let Some(there) = created.get(&name(child)) else { continue };
        for at in 0..child["spec"]["workspaces"].as_array().map_or(0, Vec::len) {
            if let (Some(ours), Some(theirs)) = (claim_of(child, at), claim_of(there, at))
                && theirs.starts_with("pvc-")
            {
                claims.insert(theirs, ours);
            }
        }
    }
    let status = namespace.run(run).await;
    let is_skipped = |child: &Value| {
        let labels = &child["metadata"]["labels"];
        let of = platform(
            &status,
            child["metadata"]["annotations"]["archfan.dev/platform"].as_str().unwrap_or_default(),
        );
        let mut tasks = of["tasks"].as_array().into_iter().flatten();
        tasks.any(|task| task["name"] == labels["archfan.dev/task"] && task["phase"] == "Skipped")
    };
    let mut seen = Vec::new();
    for child in &planned {
        let name = name(child);
        let Some(there) = created.get(&name) else {
            // That a `when` expression says no is known only when the chain has come to it.
            let later = !ends && !first.values().any(|first| *first == name);
            assert!(
                is_skipped(child) || later,
                "{name} is planned and was not created: {:?}",
                created.keys()
            );
            continue;
        };
        let mut body = with_results(child, &created, &ended);
        body["metadata"]["namespace"] = scratch.name.as_str().into();
        for owner in body["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            owner["uid"] = "not-yet".into();
        }
        let path = format!("{}?dryRun=All", tekton(&scratch.name, "taskruns"));
        let body = namespace.cluster.create(&path, &body).await;
        let (ours, theirs) = (text(body, &claims), text(there.clone(), &claims));
        assert!(ours == theirs, "{name} was planned as\n{ours}\nand created as\n{theirs}");
        seen.push(name);
    }
    for name in created.keys() {
        assert!(seen.contains(name), "{name} was created and not planned: {seen:?}");
    }
    scratch.done().await;
}

fn shell(results: &[&str], text: &str) -> Value {
    script(&env("ARCHFAN_IMAGE_SHELL"), results, text)
}

fn on_amd64() -> Value {
    json!(["linux/amd64", {"platform": "linux/arm/v7", "runsOn": "linux/amd64"}])
}

#[tokio::test]
async fn a_plain_run() {
    let namespace = Namespace::new("planplain").await;
    let build =
        json!({"platforms": on_amd64(), "taskSpec": shell(&[], "echo $(platform) $(context.taskRun.name)")});
    let mut run = embedded("plain", &build);
    run["metadata"]["labels"] = json!({"team": "blue"});
    run["metadata"]["annotations"] = json!({"note": "kept", "chains.tekton.dev/x": "not kept"});
    run["spec"]["retries"] = 2.into();
    run["spec"]["timeout"] = "20m".into();
    run["spec"]["params"] =
        json!([{"name": "list", "value": ["a", "b"]}, {"name": "object", "value": {"k": "v"}}]);
    compare(&namespace, &[run], "plain", false).await;
    namespace.done().await;
}

#[tokio::test]
async fn a_chain_with_everything_on_a_shared_claim_to_its_end() {
    let namespace = Namespace::new("planchain").await;
    let mut first = shell(&["word"], "echo said-$(params.key) > $(results.word.path)");
    first["workspaces"] = json!([{"name": "source"}]);
    let made = "printf r.example.com/app:v1 > $(results.IMAGE_URL.path); printf sha256:%064d 7 > $(results.IMAGE_DIGEST.path)";
    let build = json!({
        "params": [{"name": "IMAGE"}],
        "platforms": on_amd64(),
        "workspaces": [{"name": "source", "perPlatform": true}, {"name": "ca", "optional": true}],
        "tasks": [
            {"name": "say", "taskSpec": first},
            {"name": "skip", "taskSpec": shell(&[], "false"), "when": [{"input": "$(platform.os)", "operator": "notin", "values": ["linux"]}]},
            {"name": "make", "taskSpec": shell(&["IMAGE_URL", "IMAGE_DIGEST"], made), "timeout": "3m", "retries": 1, "workspaces": [],
             "params": [{"name": "heard", "value": "$(tasks.say.results.word)!"}]},
        ],
        "taskRunTemplate": {"podTemplate": {"env": [{"name": "A", "value": "$(params.IMAGE)"}]}, "metadata": {"labels": {"from": "template"}}},
        "taskRunSpecs": [
            {"params": [{"name": "key", "value": "$(platform.key)"}]},
            {"platform": "armv7", "taskName": "make", "podTemplate": {"tolerations": [{"key": "slow", "operator": "Exists"}]},
             "stepSpecs": [{"name": "run", "computeResources": {"requests": {"cpu": "10m"}}}], "metadata": {"annotations": {"p": "$(platform)"}}},
        ],
        "strategy": {"reuse": "$(params.IMAGE)"},
        // It is created, which is what is compared; there is no such registry to push to.
        "index": {"image": "$(params.IMAGE)", "tags": ["latest"], "annotations": {"a": "b"}},
    });
    let claim = claim("shared", "shared", "ReadWriteMany");
    let mut run = embedded("chain", &build);
    run["spec"]["params"] = json!([{"name": "IMAGE", "value": "r.example.com/app:v1"}]);
    run["spec"]["workspaces"] =
        json!([{"name": "source", "subPath": "s", "persistentVolumeClaim": {"claimName": "shared"}}]);
    compare(&namespace, &[claim, run], "chain", true).await;
    namespace.done().await;
}

#[tokio::test]
async fn a_run_that_stands_alone_with_a_claim_of_its_own() {
    let namespace = Namespace::new("plantemplate").await;
    let mut task = shell(&[], "true");
    task["workspaces"] = json!([{"name": "w"}]);
    let mut run =
        embedded("template", &json!({"platforms": ["linux/amd64", "linux/arm64"], "taskSpec": task}));
    run["spec"]["workspaces"] = json!([{"name": "w", "volumeClaimTemplate": {"spec": {
        "storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Mi"}}}}}]);
    compare(&namespace, &[run], "template", false).await;
    namespace.done().await;
}

#[tokio::test]
async fn a_pipeline_run_with_pod_templates_of_its_own() {
    let namespace = Namespace::new("planpipeline").await;
    let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "work"}, "spec": shell(&[], "true")});
    let build = json!({
        "apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "metadata": {"name": "app"},
        "spec": {
            "params": [{"name": "archs", "type": "array"}],
            "platforms": ["$(params.archs[*])"],
            "taskRef": {"name": "work"},
            "workspaces": [{"name": "source", "subPath": "$(platform.machine)"}],
            "taskRunTemplate": {"podTemplate": {"securityContext": {"fsGroup": 1000}}},
        },
    });
    let pipeline = json!({
        "apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "app"},
        "spec": {
            "params": [{"name": "archs", "type": "array", "default": ["linux/amd64", "aarch64"]}],
            "workspaces": [{"name": "volume"}],
            "tasks": [{
                "name": "build", "timeout": "15m", "retries": 1,
                "taskRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "app"},
                "params": [{"name": "archs", "value": ["$(params.archs[*])"]}, {"name": "run", "value": "$(context.pipelineRun.name)"}],
                "workspaces": [{"name": "source", "workspace": "volume", "subPath": "src"}],
            }],
        },
    });
    let run = json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "nightly", "labels": {"team": "blue"}, "annotations": {"note": "kept"}},
        "spec": {
            "pipelineRef": {"name": "app"},
            "taskRunTemplate": {"serviceAccountName": "builder", "podTemplate": {"tolerations": [{"key": "ci", "operator": "Exists"}], "nodeSelector": {"kubernetes.io/arch": "amd64"}}},
            "taskRunSpecs": [{"pipelineTaskName": "build", "podTemplate": {"env": [{"name": "X", "value": "y"}]}, "computeResources": {"requests": {"cpu": "20m"}}, "metadata": {"labels": {"cost": "42"}}}],
            "workspaces": [{"name": "volume", "subPath": "base", "volumeClaimTemplate": {"spec": {
                "storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Mi"}}}}}],
        },
    });
    compare(&namespace, &[task, build, pipeline, run], "nightly-build", false).await;
    namespace.done().await;
}

/// Every example, with nothing changed but its storage class, and with its other tasks taken out of the way: what comes before a build
/// decides when it is built, and what comes after is not ours.
#[tokio::test]
async fn every_example() {
    let folders = std::fs::read_dir(root().join("examples")).expect("the examples");
    let folders: Vec<String> = folders
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let compared: Vec<String> = stream::iter(folders)
        .map(|folder| async { if example(&folder).await { Some(folder) } else { None } })
        .buffer_unordered(4)
        .filter_map(future::ready)
        .collect()
        .await;
    assert!(compared.contains(&"htop".to_owned()), "only {compared:?} were compared");
}

/// Compares the first children of the example in this folder, if it has a build in a PipelineRun: whether it has.
async fn example(folder: &str) -> bool {
    let mut all: Vec<Value> =
        documents("config/tasks").into_iter().chain(documents(&format!("examples/{folder}"))).collect();
    let Some(run) = all.iter_mut().find(|document| document["kind"] == "PipelineRun") else { return false };
    run["metadata"] = json!({"name": folder});
    for workspace in run["spec"]["workspaces"].as_array_mut().into_iter().flatten() {
        if let Some(class) = workspace.pointer_mut("/volumeClaimTemplate/spec/storageClassName") {
            *class = "shared".into();
        }
    }
    let mut builds = Vec::new();
    for document in &mut all {
        let tasks = if document["kind"] == "Pipeline" { "/spec/tasks" } else { "/spec/pipelineSpec/tasks" };
        let Some(tasks) = document.pointer_mut(tasks).and_then(Value::as_array_mut) else { continue };
        tasks.retain(|task| {
            ["taskRef", "taskSpec"].iter().any(|source| task[*source]["kind"] == "MultiArchBuild")
        });
        for task in tasks.iter_mut() {
            task.as_object_mut().expect("a task").remove("runAfter");
            if !task["params"].to_string().contains("$(tasks.") {
                builds.push(format!("{folder}-{}", name_of(task)));
            }
        }
        let spec = document["spec"].as_object_mut().expect("a spec");
        spec.remove("results");
        spec.remove("finally");
    }
    let Some(build) = builds.first() else { return false };
    let namespace = Namespace::new(&format!("planexample{}", folder.replace('-', ""))).await;
    // What is compared are TaskRuns. Their pods would pull images that cannot be had here.
    let no_pods = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}});
    namespace.create(&no_pods).await;
    all.retain(|document| {
        ["Task", "Pipeline", "PipelineRun", "MultiArchBuild"]
            .contains(&document["kind"].as_str().unwrap_or_default())
    });
    compare(&namespace, &all, build, false).await;
    namespace.done().await;
    true
}

fn name_of(task: &Value) -> &str {
    task["name"].as_str().unwrap_or_default()
}
