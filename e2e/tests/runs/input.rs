//! What bad input gets: a reason of its own, a message that names field, value and remedy, a warning event, and no child.

use archfan_e2e::Namespace;
use archfan_e2e::objects::{custom_runs, embedded, succeeded};
use serde_json::{Value, json};

struct Bad {
    name: &'static str,
    build: Value,
    /// What is put into the CustomRun's own spec.
    spec: Value,
    reason: &'static str,
    /// What the message must say: field, value, remedy.
    says: &'static [&'static str],
}

fn bad(name: &'static str, build: Value, reason: &'static str, says: &'static [&'static str]) -> Bad {
    Bad { name, build, spec: json!({}), reason, says }
}

#[tokio::test]
async fn each_kind_of_bad_input_is_named() {
    let namespace = Namespace::new("input").await;
    let task = json!({"name": "x"});
    let cases = [
        bad(
            "platform",
            json!({"platforms": ["linux/amd65"], "taskRef": task}),
            "InvalidPlatform",
            &["spec.customSpec.spec.platforms[0]", "linux/amd65", r#"did you mean "amd64"?"#],
        ),
        bad(
            "twice",
            json!({"platforms": ["linux/amd64", "x86_64"], "taskRef": task}),
            "DuplicatePlatform",
            &["spec.customSpec.spec.platforms[1]", "x86_64", "list each platform once"],
        ),
        bad(
            "none",
            json!({"platforms": [], "taskRef": task}),
            "NoPlatforms",
            &["spec.customSpec.spec.platforms", "list at least one"],
        ),
        bad(
            "no-task",
            json!({"platforms": ["linux/amd64"]}),
            "NoTask",
            &["spec.customSpec.spec", "set taskRef to the name of a Task"],
        ),
        bad(
            "unknown-field",
            json!({"platforms": ["linux/amd64"], "taskRef": task, "platfroms": []}),
            "UnknownField",
            &["spec.customSpec.spec.platfroms", "did you mean platforms?"],
        ),
        bad(
            "param",
            json!({"platforms": ["linux/amd64"], "taskRef": task, "params": [{"name": "IMAGE"}]}),
            "MissingParam",
            &["spec.params", r#""IMAGE""#, "give it in the params of the pipeline task"],
        ),
        bad("empty", json!({}), "EmptySpec", &["spec.customSpec.spec", "say at least platforms"]),
        bad(
            "selector",
            json!({"platforms": ["linux/arm64"], "taskRef": task,
                "taskRunTemplate": {"podTemplate": {"nodeSelector": {"kubernetes.io/arch": "amd64"}}}}),
            "SelectorContradictsPlatform",
            &[
                r#"spec.customSpec.spec.taskRunTemplate.podTemplate.nodeSelector["kubernetes.io/arch"]"#,
                r#"asks for "amd64""#,
                "linux/arm64",
                "set runsOn",
            ],
        ),
        Bad {
            // Tekton refuses what it cannot read; what it can, it does not judge.
            spec: json!({"timeout": "-5m"}),
            ..bad(
                "timeout",
                json!({"platforms": ["linux/amd64"], "taskRef": task}),
                "InvalidRun",
                &["spec.timeout", "-5m", "cannot be negative", "write a duration such as"],
            )
        },
        Bad {
            spec: json!({"retries": -1}),
            ..bad(
                "retries",
                json!({"platforms": ["linux/amd64"], "taskRef": task}),
                "InvalidRun",
                &["spec.retries", "-1", "write 0 or more"],
            )
        },
    ];
    for case in &cases {
        let mut run = embedded(case.name, &case.build);
        for (field, value) in case.spec.as_object().expect("an object") {
            run["spec"][field] = value.clone();
        }
        namespace.create(&run).await;
    }
    let mut by_ref = embedded("no-definition", &json!({}));
    by_ref["spec"]["customSpec"] = Value::Null;
    by_ref["spec"]["customRef"] =
        json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "nowhere"});
    namespace.create(&by_ref).await;
    let not_found: (&str, &str, &[&str]) = (
        "no-definition",
        "MultiArchBuildNotFound",
        &["spec.customRef.name", "nowhere", "create it there, or correct the name"],
    );

    let all = cases.iter().map(|case| (case.name, case.reason, case.says)).chain([not_found]);
    for (name, reason, says) in all {
        let run = namespace.ended(name).await;
        let (status, found, message) = succeeded(&run);
        assert_eq!((status.as_str(), found.as_str()), ("False", reason), "{name}: {message}");
        for part in says {
            assert!(message.contains(part), "{name} does not say {part}: {message}");
        }
        assert!(run["status"]["completionTime"].is_string(), "{name}");
        assert!(namespace.children(name).await.is_empty(), "{name} has children");
        let told = namespace.event(name, "Warning", reason).await;
        assert!(message.starts_with(told.trim_end_matches('…')) || told == message, "{told}\n{message}");
    }
    namespace.done().await;
}

#[tokio::test]
async fn a_task_of_a_chain_that_is_given_too_much_is_told_the_field() {
    let namespace = Namespace::new("given").await;
    let image = archfan_e2e::cluster::env("ARCHFAN_IMAGE_SHELL");
    let task = archfan_e2e::objects::script(&image, &[], "true");
    // It does not declare the pipeline task's workspace. To one that is written out Tekton would give it without that.
    let task =
        json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "small"}, "spec": task});
    namespace.create(&task).await;
    let tasks = json!([{"name": "make", "taskRef": {"name": "small"}}, {"name": "test", "taskRef": {"name": "small"}}]);
    let mut run = embedded("run", &json!({"platforms": ["linux/amd64"], "tasks": tasks}));
    run["spec"]["workspaces"] = json!([{"name": "source", "emptyDir": {}}]);
    namespace.create(&run).await;
    let (status, reason, message) = succeeded(&namespace.ended("run").await);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "BuildFailed"), "{message}");
    for part in [
        "\"source\" does not match any declared workspace",
        "list those that the task declares in tasks[].workspaces",
    ] {
        assert!(message.contains(part), "it does not say {part}: {message}");
    }
    namespace.done().await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_read_stops_nobody_else() {
    let namespace = Namespace::new("odd").await;
    // Everything that the API server lets through.
    for (number, spec) in [
        json!({"platforms": {"a": [1, null]}}),
        json!({"tasks": [[]], "platforms": 7}),
        json!({"strategy": [{}]}),
    ]
    .iter()
    .enumerate()
    {
        namespace.create(&embedded(&format!("odd-{number}"), spec)).await;
    }
    let image = archfan_e2e::cluster::env("ARCHFAN_IMAGE_SHELL");
    let task = archfan_e2e::objects::script(&image, &[], "true");
    namespace.create(&embedded("good", &json!({"platforms": ["linux/amd64"], "taskSpec": task}))).await;
    assert_eq!(succeeded(&namespace.ended("good").await).0, "True");
    for number in 0..3 {
        let run = namespace.ended(&format!("odd-{number}")).await;
        assert_eq!(succeeded(&run).1, "InvalidField", "{}", succeeded(&run).2);
    }
    namespace.done().await;
}

#[tokio::test]
async fn a_run_of_another_controller_is_never_touched() {
    let namespace = Namespace::new("foreign").await;
    let foreign = |name: &str, version: &str, kind: &str| {
        json!({
            "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": name},
            "spec": {"customRef": {"apiVersion": version, "kind": kind, "name": "x"}},
        })
    };
    let others = [
        foreign("kind", "archfan.dev/v1alpha1", "Wait"),
        foreign("group", "example.dev/v1alpha1", "MultiArchBuild"),
        foreign("version", "archfan.dev/v1", "MultiArchBuild"),
    ];
    let mut made = Vec::new();
    for other in &others {
        made.push(namespace.create(other).await);
    }
    // A run of ours that is made after them and ends: by then the controller has seen them.
    namespace.create(&embedded("ours", &json!({}))).await;
    namespace.ended("ours").await;
    for before in made {
        let name = before["metadata"]["name"].as_str().expect("a name");
        let after = namespace.run(name).await;
        assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "{after:#}");
        assert!(after.get("status").is_none(), "{after:#}");
        assert!(namespace.events_of(name).await.is_empty());
    }
    assert_eq!(namespace.cluster.list(&custom_runs(&namespace.name)).await.len(), 4);
    namespace.done().await;
}
