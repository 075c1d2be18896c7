//! The kind as the API server has it: what `kubectl` shows and explains, and what the server itself refuses.

use archfan_e2e::Namespace;
use archfan_e2e::objects::builds;
use serde_json::{Value, json};
use tokio::process::Command;

async fn kubectl(args: &[&str]) -> String {
    let output = Command::new("kubectl").args(args).output().await.expect("kubectl is on the PATH");
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let text = kubectl(&["explain", "multiarchbuild.spec", "--recursive"]).await;
    for field in [
        "platforms",
        "params",
        "taskRef",
        "taskSpec",
        "tasks",
        "when",
        "workspaces",
        "perPlatform",
        "subPath",
        "taskRunTemplate",
        "podTemplate",
        "nodeSelector",
        "tolerations",
        "taskRunSpecs",
        "computeResources",
        "strategy",
        "failFast",
        "maxParallel",
        "pendingTimeout",
        "ttlSecondsAfterFinished",
        "reuse",
        "index",
        "archives",
        "insecure",
    ] {
        let there = text.lines().any(|line| line.trim_start().starts_with(&format!("{field}\t")));
        assert!(there, "kubectl does not explain {field}:\n{text}");
    }
    for (field, says) in [
        ("multiarchbuild.spec.platforms", "in the order in which results and the image index list them"),
        ("mab.spec.strategy.reuse", "is taken over instead of being run again"),
        (
            "multiarchbuild.spec.taskRunSpecs.podTemplate.nodeSelector",
            "kubernetes.io/os and kubernetes.io/arch are added",
        ),
        ("multiarchbuild.spec.index.archives.path", "OCI archives, OCI layout folders and Docker archives"),
    ] {
        // kubectl wraps lines.
        let text = kubectl(&["explain", field]).await.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(says), "{field}: {text}");
    }
}

#[tokio::test]
async fn kubectl_shows_what_a_build_is() {
    let namespace = Namespace::new("columns").await;
    let build = json!({
        "apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "metadata": {"name": "app"},
        "spec": {"platforms": ["linux/amd64", "linux/arm64"], "taskRef": {"name": "buildah"}, "index": {"image": "r.example.com/app:v1"}},
    });
    namespace.create(&build).await;
    for kind in ["mab", "multiarchbuilds", "archfan", "tekton"] {
        let text = kubectl(&["-n", &namespace.name, "get", kind, "-o", "wide"]).await;
        for part in [
            "PLATFORMS",
            "TASK",
            "IMAGE",
            "AGE",
            r#"["linux/amd64","linux/arm64"]"#,
            "buildah",
            "r.example.com/app:v1",
        ] {
            assert!(text.contains(part), "get {kind} does not show {part}:\n{text}");
        }
    }
    namespace.done().await;
}

#[tokio::test]
async fn the_api_server_refuses_what_it_can_check() {
    let namespace = Namespace::new("schema").await;
    let with = |fields: Value| {
        let mut spec = json!({"platforms": ["linux/amd64"], "taskRef": {"name": "x"}});
        for (name, value) in fields.as_object().expect("an object") {
            if value.is_null() {
                spec.as_object_mut().expect("an object").remove(name);
            } else {
                spec[name] = value.clone();
            }
        }
        json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "metadata": {"generateName": "x-"}, "spec": spec})
    };
    let many: Value = (0..65).map(|number| json!(format!("linux/arm64/v8.{number}"))).collect();
    for (fields, says) in [
        (json!({"platforms": []}), "should have at least 1 items"),
        (json!({"platforms": many}), "must have at most 64 items"),
        (json!({"taskRef": null}), "exactly one of taskRef, taskSpec and tasks"),
        (json!({"taskSpec": {}}), "exactly one of taskRef, taskSpec and tasks"),
        (json!({"strategy": {"maxParallel": -1}}), "should be greater than or equal to 0"),
        (json!({"strategy": {"failFast": "no"}}), "must be of type boolean"),
        (json!({"index": {}}), "spec.index.image: Required value"),
        (json!({"index": {"image": "r/a:b", "format": "zip"}}), "Unsupported value: \"zip\""),
        (json!({"workspaces": [{"name": "a"}, {"name": "a"}]}), "Duplicate value"),
        (json!({"taskRef": null, "tasks": [{"name": "No Name", "taskRef": {"name": "x"}}]}), "should match"),
        (
            json!({"taskRef": null, "tasks": [{"name": "a", "taskRef": {"name": "x"}, "when": [{"input": "a", "operator": "is", "values": ["a"]}]}]}),
            "Unsupported value: \"is\"",
        ),
        (json!({"platforms": null}), "spec.platforms: Required value"),
    ] {
        let refusal = namespace.try_create(&with(fields.clone())).await.expect_err(&fields.to_string());
        assert_eq!(refusal.code, 422, "{fields}: {}", refusal.message);
        assert!(refusal.message.contains(says), "{fields}: {}", refusal.message);
    }
    // A typing error is refused where the client asks for it, as kubectl does.
    let path = format!("{}?fieldValidation=Strict", builds(&namespace.name));
    let refusal = namespace
        .cluster
        .try_create(&path, &with(json!({"platfroms": []})))
        .await
        .expect_err("a typing error");
    assert!(refusal.message.contains("platfroms"), "{}", refusal.message);
    namespace.create(&with(json!({}))).await;
    namespace.done().await;
}
