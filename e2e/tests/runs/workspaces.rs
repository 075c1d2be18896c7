//! Which volume can be shared by which platforms: every row of the table in `docs/workspaces.md`, on real claims of real volumes.
//!
//! The test cluster has two classes: `shared` is a network filesystem that every node mounts (ReadWriteMany, bound at once), `local` is
//! a folder of one node (ReadWriteOnce or ReadWriteOncePod, made where its first pod runs, with the node affinity of a zonal disk).

use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::{claim, core, embedded, name, platform, result, script, succeeded};
use archfan_e2e::wait::until;
use serde_json::{Value, json};

const ASSISTANT: &str = "pipeline.tekton.dev/affinity-assistant";

/// A task with one workspace, `source`.
fn task(results: &[&str], text: &str) -> Value {
    let mut task = script(&env("ARCHFAN_IMAGE_SHELL"), results, text);
    task["workspaces"] = json!([{"name": "source"}]);
    task
}

/// A build whose script has the platform's key as `$(params.key)`.
fn keyed(platforms: Value, task: Value) -> Value {
    json!({
        "platforms": platforms, "taskSpec": task,
        "taskRunSpecs": [{"params": [{"name": "key", "value": "$(platform.key)"}]}],
    })
}

/// Both of the cluster's architectures.
fn both() -> Value {
    json!(["linux/amd64", "linux/arm64"])
}

/// Two platforms that are built on nodes of one architecture.
fn on_amd64() -> Value {
    json!(["linux/amd64", {"platform": "linux/s390x", "runsOn": "linux/amd64"}])
}

/// A run with one workspace, `source`, on a claim.
fn on(claim: &str, name: &str, build: &Value) -> Value {
    bound(json!({"persistentVolumeClaim": {"claimName": claim}}), name, build)
}

/// A run with one workspace, `source`, on anything.
fn bound(source: Value, name: &str, build: &Value) -> Value {
    let mut run = embedded(name, build);
    run["spec"]["workspaces"] = json!([source]);
    run["spec"]["workspaces"][0]["name"] = "source".into();
    run
}

/// A PipelineRun of one task, which is ours, with a volume of its own.
fn pipeline_run(name: &str, build: &Value, class: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name},
        "spec": {
            "taskRunTemplate": {"serviceAccountName": "builder"},
            "pipelineSpec": {
                "workspaces": [{"name": "volume"}],
                "tasks": [{
                    "name": "build", "workspaces": [{"name": "source", "workspace": "volume"}],
                    "taskSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": build},
                }],
            },
            "workspaces": [{"name": "volume", "volumeClaimTemplate": {"spec": {
                "storageClassName": class, "accessModes": [mode], "resources": {"requests": {"storage": "10Mi"}}}}}],
        },
    })
}

/// A volume made by hand, on the filesystem that all nodes have, and a claim that is bound to it.
async fn volume(namespace: &Namespace, name: &str, mode: &str, node: Option<&str>) -> String {
    let volume = format!("{}-{name}", namespace.name);
    let mut spec = json!({
        "capacity": {"storage": "10Mi"}, "accessModes": [mode], "storageClassName": "by-hand",
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": format!("/mnt/shared/{volume}"), "type": "DirectoryOrCreate"},
    });
    if let Some(node) = node {
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}});
    }
    let body =
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": spec});
    namespace.cluster.create("/api/v1/persistentvolumes", &body).await;
    let mut body = claim(name, "by-hand", mode);
    body["spec"]["volumeName"] = volume.as_str().into();
    body["spec"]["resources"]["requests"]["storage"] = "10Mi".into();
    namespace.create(&body).await;
    let path = format!("{}/{name}", core(&namespace.name, "persistentvolumeclaims"));
    until(&format!("the claim {name} to be bound"), Duration::from_secs(30), || async {
        let claim = namespace.cluster.get(&path).await.unwrap_or_default();
        if claim["status"]["phase"] == "Bound" { Ok(()) } else { Err(claim["status"].clone()) }
    })
    .await;
    volume
}

/// Waits for the run's end and checks that it was refused before anything was created.
async fn refused(namespace: &Namespace, run: &str, reason: &str, says: &[&str]) {
    let ended = namespace.ended(run).await;
    let (status, found, message) = succeeded(&ended);
    assert_eq!((status.as_str(), found.as_str()), ("False", reason), "{run}: {message}");
    for part in says {
        assert!(message.contains(part), "{run} does not say {part:?}: {message}");
    }
    assert!(namespace.children(run).await.is_empty(), "{run} has children");
}

#[tokio::test]
async fn many_nodes_share_a_read_write_many_claim_without_the_affinity_assistant() {
    let namespace = Namespace::new("wsrwx").await;
    // Each leaves a file and goes on when it sees the other's, written: they run at the same time, on the same
    // volume.
    let text = "cd $(workspaces.source.path); uname -m > $(params.key)
        for i in $(seq 60); do [ -s linux-amd64 ] && [ -s linux-arm64 ] && break; sleep 1; done
        cat linux-amd64 linux-arm64 | tr '\\n' ' ' > $(results.seen.path)";
    let build = keyed(both(), task(&["seen"], text));
    namespace.create(&pipeline_run("app", &build, "shared", "ReadWriteMany")).await;
    let run = namespace.ended("app-build").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    for key in ["linux-amd64", "linux-arm64"] {
        assert_eq!(result(&run, &format!("{key}-seen")).as_deref(), Some("x86_64 aarch64 "), "{key}");
    }
    assert!(run["metadata"]["annotations"][ASSISTANT].is_string(), "Tekton's default is what is tested");
    for child in namespace.children("app-build").await {
        assert_eq!(child["metadata"]["annotations"].get(ASSISTANT), None, "{}", name(&child));
    }
    namespace.done().await;
}

#[tokio::test]
async fn many_nodes_share_a_read_only_many_claim() {
    let namespace = Namespace::new("wsrox").await;
    let volume = volume(&namespace, "frozen", "ReadOnlyMany", None).await;
    let build = keyed(both(), task(&["seen"], "ls -d $(workspaces.source.path) > $(results.seen.path)"));
    let mut run = on("frozen", "run", &build);
    run["spec"]["workspaces"][0]["persistentVolumeClaim"]["readOnly"] = true.into();
    namespace.create(&run).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    for child in namespace.children("run").await {
        assert_eq!(child["spec"]["workspaces"][0]["persistentVolumeClaim"]["readOnly"], true);
    }
    namespace.cluster.delete(&format!("/api/v1/persistentvolumes/{volume}")).await;
    namespace.done().await;
}

#[tokio::test]
async fn a_claim_for_one_node_is_refused_to_two_architectures() {
    let namespace = Namespace::new("wsrwo").await;
    namespace.create(&claim("disk", "local", "ReadWriteOnce")).await;
    namespace.create(&on("disk", "run", &keyed(both(), task(&[], "true")))).await;
    let says = [
        "spec.workspaces[source]",
        "\"disk\"",
        "ReadWriteOnce",
        "linux/amd64, linux/arm64",
        "use a claim with accessModes [ReadWriteMany]",
    ];
    refused(&namespace, "run", "WorkspaceNotShareable", &says).await;
    namespace.event("run", "Warning", "WorkspaceNotShareable").await;
    namespace.done().await;
}

#[tokio::test]
async fn the_first_child_decides_where_a_claim_for_one_node_lies_and_the_others_follow() {
    let namespace = Namespace::new("wswffc").await;
    namespace.create(&claim("disk", "local", "ReadWriteOnce")).await;
    let text = "cd $(workspaces.source.path); touch $(params.key); ls | wc -l > $(results.count.path)";
    namespace.create(&on("disk", "run", &keyed(on_amd64(), task(&["count"], text)))).await;
    // Read from the event, which stays: the volume may be there in no time.
    let message = namespace.event("run", "Warning", "ClaimPending").await;
    assert!(message.starts_with("linux/s390x waits"), "{message}");
    assert!(
        message.contains("\"disk\" gets its volume where its first pod runs") && message.contains("follow"),
        "{message}"
    );
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let starts =
        ["linux/amd64", "linux/s390x"].map(|p| platform(&run, p)["startTime"].as_str().map(str::to_owned));
    assert!(starts[0] <= starts[1], "{starts:?}");
    let nodes = ["linux/amd64", "linux/s390x"].map(|p| platform(&run, p)["node"].clone());
    assert_eq!(nodes[0], nodes[1]);
    assert_eq!(nodes[0], env("ARCHFAN_NODE_AMD64"));

    // The volume lies on that node now: a platform of another architecture cannot reach it.
    namespace.create(&on("disk", "elsewhere", &keyed(json!(["linux/arm64"]), task(&[], "true")))).await;
    let node = format!("kubernetes.io/hostname={}", env("ARCHFAN_NODE_AMD64"));
    refused(&namespace, "elsewhere", "VolumeNotReachable", &["linux/arm64", "\"disk\"", &node]).await;
    namespace.done().await;
}

#[tokio::test]
async fn children_of_one_architecture_keep_to_the_affinity_assistant_of_a_claim_for_one_node() {
    let namespace = Namespace::new("wsassistant").await;
    let text = "echo $(params.key) >> $(workspaces.source.path)/log; wc -l < $(workspaces.source.path)/log > $(results.count.path)";
    let mut build = keyed(on_amd64(), task(&["count"], text));
    build["strategy"] = json!({"maxParallel": 1});
    let mut run = pipeline_run("app", &build, "local", "ReadWriteOnce");
    // For the affinity assistant itself, which goes by the PipelineRun's pod template.
    run["spec"]["taskRunTemplate"]["podTemplate"] = json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}});
    namespace.create(&run).await;
    let run = namespace.ended("app-build").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let assistant = &run["metadata"]["annotations"][ASSISTANT];
    assert!(assistant.is_string());
    let children = namespace.children("app-build").await;
    assert_eq!(children.len(), 2);
    for child in &children {
        assert_eq!(&child["metadata"]["annotations"][ASSISTANT], assistant, "{}", name(child));
    }
    assert_eq!(result(&run, "linux-s390x-count").as_deref(), Some("2"), "one volume for both");
    namespace.done().await;
}

#[tokio::test]
async fn a_claim_for_one_pod_serves_one_platform() {
    let namespace = Namespace::new("wsrwop").await;
    namespace.create(&claim("single", "local", "ReadWriteOncePod")).await;
    namespace.create(&on("single", "two", &keyed(on_amd64(), task(&[], "true")))).await;
    let says = ["\"single\"", "ReadWriteOncePod", "by one pod at a time", "ReadWriteMany"];
    refused(&namespace, "two", "WorkspaceNotShareable", &says).await;
    namespace.create(&on("single", "one", &keyed(json!(["linux/amd64"]), task(&[], "true")))).await;
    let run = namespace.ended("one").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    namespace.done().await;
}

#[tokio::test]
async fn two_claims_are_refused_and_two_folders_of_one_claim_are_not() {
    let namespace = Namespace::new("wstwo").await;
    for name in ["sources", "cache"] {
        namespace.create(&claim(name, "shared", "ReadWriteMany")).await;
    }
    let mut work = script(
        &env("ARCHFAN_IMAGE_SHELL"),
        &["seen"],
        "touch $(workspaces.cache.path)/c$(params.key)
         ls $(workspaces.source.path) $(workspaces.cache.path) > /dev/null
         ls $(workspaces.source.path) | tr '\\n' ' ' > $(results.seen.path)",
    );
    work["workspaces"] = json!([{"name": "source"}, {"name": "cache"}]);
    let build = keyed(both(), work);
    let with = |name: &str, second: &str, folders: [&str; 2]| {
        let mut run = embedded(name, &build);
        run["spec"]["workspaces"] = json!([
            {"name": "source", "subPath": folders[0], "persistentVolumeClaim": {"claimName": "sources"}},
            {"name": "cache", "subPath": folders[1], "persistentVolumeClaim": {"claimName": second}},
        ]);
        run
    };
    namespace.create(&with("two", "cache", ["", ""])).await;
    let says = [
        "\"sources\" (workspace source)",
        "\"cache\" (workspace cache)",
        "bind both workspaces to one claim with a subPath each",
    ];
    refused(&namespace, "two", "TooManyClaims", &says).await;

    namespace.create(&with("one", "sources", ["src", "cache"])).await;
    let run = namespace.ended("one").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "linux-amd64-seen").as_deref(), Some(""), "the folders are not one");
    namespace.done().await;
}

#[tokio::test]
async fn a_volume_that_some_platform_cannot_reach_is_refused() {
    let namespace = Namespace::new("wspinned").await;
    let node = env("ARCHFAN_NODE_AMD64");
    let volume = volume(&namespace, "pinned", "ReadWriteMany", Some(&node)).await;
    namespace.create(&on("pinned", "both", &keyed(both(), task(&[], "true")))).await;
    let place = format!("kubernetes.io/hostname={node}");
    let says = ["no node of linux/arm64", "\"pinned\"", &place, "every architecture's nodes can reach"];
    refused(&namespace, "both", "VolumeNotReachable", &says).await;
    namespace.create(&on("pinned", "there", &keyed(on_amd64(), task(&[], "true")))).await;
    let run = namespace.ended("there").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    namespace.cluster.delete(&format!("/api/v1/persistentvolumes/{volume}")).await;
    namespace.done().await;
}

#[tokio::test]
async fn an_empty_dir_is_each_child_s_own_and_warned_of() {
    let namespace = Namespace::new("wsempty").await;
    let text = "cd $(workspaces.source.path); ls | tr '\\n' ' ' > $(results.seen.path); touch left";
    let build = json!({"platforms": ["linux/amd64"], "tasks": [
        {"name": "fetch", "taskSpec": task(&["seen"], text)},
        {"name": "build", "taskSpec": task(&["seen"], text)},
    ]});
    namespace.create(&bound(json!({"emptyDir": {}}), "run", &build)).await;
    let told = namespace.event("run", "Warning", "EmptyDirNotShared").await;
    assert!(told.contains("\"source\"") && told.contains("gets its own"), "{told}");
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(
        result(&run, "linux-amd64-seen").as_deref(),
        Some(""),
        "what the first task left is not there"
    );
    assert_eq!(run["status"]["extraFields"]["warnings"][0]["reason"], "EmptyDirNotShared");
    namespace.done().await;
}

#[tokio::test]
async fn config_maps_and_secrets_go_to_every_child() {
    let namespace = Namespace::new("wsconfig").await;
    namespace
        .create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"word": "configured"}}))
        .await;
    namespace
        .create(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"word": "hidden"}}))
        .await;
    let build = keyed(both(), task(&["word"], "cp $(workspaces.source.path)/word $(results.word.path)"));
    for (name, source) in [
        ("config-map", json!({"configMap": {"name": "settings"}})),
        ("secret", json!({"secret": {"secretName": "login"}})),
        ("projected", json!({"projected": {"sources": [{"configMap": {"name": "settings"}}]}})),
    ] {
        namespace.create(&bound(source, name, &build)).await;
    }
    for (name, word) in [("config-map", "configured"), ("secret", "hidden"), ("projected", "configured")] {
        let run = namespace.ended(name).await;
        assert_eq!(succeeded(&run).0, "True", "{name}: {:#}", run["status"]);
        assert_eq!(result(&run, "linux-amd64-word").as_deref(), Some(word), "{name}");
        assert_eq!(result(&run, "linux-arm64-word").as_deref(), Some(word), "{name}");
        assert_eq!(run["status"]["extraFields"]["warnings"], json!([]), "{name}");
    }
    namespace.done().await;
}

#[tokio::test]
async fn a_claim_template_of_a_run_that_stands_alone_goes_with_the_run() {
    // That its children share the one claim is obligation 19 of the conformance tests.
    let namespace = Namespace::new("wstemplate").await;
    let template = json!({"volumeClaimTemplate": {"metadata": {"labels": {"team": "blue"}}, "spec": {
        "storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Mi"}}}}});
    let build = keyed(on_amd64(), task(&[], "touch $(workspaces.source.path)/$(params.key)"));
    namespace.create(&bound(template, "run", &build)).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    for child in namespace.children("run").await {
        let binding = &child["spec"]["workspaces"][0];
        assert_eq!(binding["persistentVolumeClaim"]["claimName"], "run-source");
        assert_eq!(binding.get("volumeClaimTemplate"), None);
    }
    let path = format!("{}/run-source", core(&namespace.name, "persistentvolumeclaims"));
    let made = namespace.cluster.get(&path).await.expect("the claim");
    assert_eq!(made["metadata"]["labels"]["team"], "blue");
    namespace.cluster.delete(&namespace.run_path("run")).await;
    until("the claim to go with its run", Duration::from_mins(1), || async {
        match namespace.cluster.get(&path).await {
            None => Ok(()),
            Some(claim) => Err(claim["metadata"].clone()),
        }
    })
    .await;
    namespace.done().await;
}

#[tokio::test]
async fn children_of_one_claim_with_other_users_are_warned_of() {
    let namespace = Namespace::new("wsusers").await;
    namespace.create(&claim("shared", "shared", "ReadWriteMany")).await;
    let mut build = keyed(on_amd64(), task(&[], "touch $(workspaces.source.path)/$(params.key)"));
    let user = |user: u32| json!({"securityContext": {"runAsUser": user, "fsGroup": user}});
    build["taskRunSpecs"].as_array_mut().expect("entries").extend([
        json!({"platform": "linux/amd64", "podTemplate": user(1000)}),
        json!({"platform": "linux/s390x", "podTemplate": user(2000)}),
    ]);
    namespace.create(&on("shared", "run", &build)).await;
    let told = namespace.event("run", "Warning", "MixedOwners").await;
    for part in ["run-linux-amd64", "user 1000", "run-linux-s390x", "user 2000", "\"shared\""] {
        assert!(told.contains(part), "it does not say {part:?}: {told}");
    }
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "a warning is no refusal: {:#}", run["status"]);
    namespace.done().await;
}

#[tokio::test]
async fn platforms_have_folders_of_their_own_where_that_is_asked_for() {
    let namespace = Namespace::new("wsfolders").await;
    namespace.create(&claim("shared", "shared", "ReadWriteMany")).await;
    let text = "cd $(workspaces.source.path); touch $(params.key); sleep 3; ls | tr '\\n' ' ' > $(results.seen.path)";
    for (run, declaration, folders) in [
        ("per-platform", json!({"perPlatform": true}), ["work/linux-amd64", "work/linux-arm64"]),
        (
            "sub-path",
            json!({"subPath": "build/$(platform.machine)"}),
            ["work/build/x86_64", "work/build/aarch64"],
        ),
    ] {
        let mut build = keyed(both(), task(&["seen"], text));
        build["workspaces"] = json!([declaration]);
        build["workspaces"][0]["name"] = "source".into();
        let mut body = on("shared", run, &build);
        body["spec"]["workspaces"][0]["subPath"] = "work".into();
        namespace.create(&body).await;
        let ended = namespace.ended(run).await;
        assert_eq!(succeeded(&ended).0, "True", "{run}: {:#}", ended["status"]);
        assert_eq!(
            result(&ended, "seen").as_deref(),
            Some(r#"["linux-amd64 ","linux-arm64 "]"#),
            "{run}: each sees its own files only"
        );
        let children = namespace.children(run).await;
        for (child, folder) in children.iter().zip(folders) {
            assert_eq!(child["spec"]["workspaces"][0]["subPath"], folder);
            assert_eq!(child["spec"]["workspaces"][0]["persistentVolumeClaim"]["claimName"], "shared");
        }
    }
    namespace.done().await;
}

#[tokio::test]
async fn a_claim_that_is_not_there_is_waited_for() {
    let namespace = Namespace::new("wslate").await;
    namespace.create(&on("late", "run", &keyed(both(), task(&[], "true")))).await;
    for platform in ["linux/amd64", "linux/arm64"] {
        let message = namespace.waits("run", platform, "ClaimPending").await;
        assert!(message.contains("\"late\" does not exist yet; make it"), "{message}");
    }
    assert!(namespace.children("run").await.is_empty());
    namespace.create(&claim("late", "shared", "ReadWriteMany")).await;
    let run = namespace.ended("run").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    namespace.done().await;
}
