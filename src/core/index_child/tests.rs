use super::*;
use crate::api::status::TaskStatus;
use crate::api::tekton::TaskRunResult;
use crate::core::children::tests::Case;

fn task(name: &str, phase: Phase, results: &[(&str, &str)]) -> TaskStatus {
    let result = |(name, value): &(&str, &str)| TaskRunResult {
        name: (*name).to_owned(),
        value: ParamValue::String((*value).to_owned()),
    };
    TaskStatus {
        name: name.to_owned(),
        phase,
        results: results.iter().map(result).collect(),
        ..TaskStatus::default()
    }
}

#[test]
fn a_member_is_what_its_platform_has_written() {
    let platform = Platform::parse("linux/arm64").unwrap();
    let target = Target { platform: platform.clone(), required: true, runs_on: platform };
    let digest = format!("sha256:{}", "0a".repeat(32));
    let member = |url: &str, digest: &str| {
        let results = [("IMAGE_URL", url), ("IMAGE_DIGEST", digest)];
        let tasks = vec![task("build", Phase::Succeeded, &results)];
        let status = PlatformStatus { tasks, ..PlatformStatus::default() };
        from_results(&target, &status, "IMAGE_URL", "IMAGE_DIGEST").map_err(|problem| problem.to_string())
    };
    let whole = Ok(format!("docker://r:5000/app@{digest}"));
    assert_eq!(member("r:5000/app:v1\n", &format!("{digest}\n")), whole);
    assert_eq!(member("docker://r:5000/app", &digest), whole);
    for (url, digest, says) in [
        (" \n", digest.as_str(), "linux/arm64 results: no result IMAGE_URL says what was built"),
        ("r:5000/app", "\n", "linux/arm64 results: no result IMAGE_DIGEST says what was built"),
        ("r:5000/app", "latest", "\"latest\" is no digest"),
    ] {
        let told = member(url, digest).expect_err(says);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn a_task_is_known_once_it_has_ended_well_or_was_left_out() {
    let tasks = vec![
        task("clone", Phase::Succeeded, &[("commit", "abc\r\n")]),
        task("test", Phase::Skipped, &[]),
        task("build", Phase::Running, &[]),
        task("scan", Phase::Failed, &[("report", "bad")]),
    ];
    let known = known_results(&PlatformStatus { tasks, ..PlatformStatus::default() });
    assert_eq!(known.keys().collect::<Vec<_>>(), ["clone", "test"]);
    let ResultsOfTask::Known(results) = &known["clone"] else { panic!("{known:?}") };
    assert_eq!(results["commit"], ParamValue::String("abc".to_owned()));
    assert!(matches!(known["test"], ResultsOfTask::Skipped));
}

#[test]
fn tags_are_told_from_ports() {
    for (reference, bare) in [
        ("registry:5000/app:v1", "registry:5000/app"),
        ("registry:5000/app", "registry:5000/app"),
        ("registry/a/b:v1@sha256:00", "registry/a/b"),
        ("registry/a/b", "registry/a/b"),
        ("app", "app"),
    ] {
        assert_eq!(without_tag(reference), bare);
    }
}

#[test]
fn digests_are_known_by_their_shape() {
    assert!(is_digest(&format!("sha256:{}", "0a".repeat(32))));
    for text in ["", "sha256:", "sha512:00", &format!("sha256:{}", "0A".repeat(32)), &"0a".repeat(32)] {
        assert!(!is_digest(text), "{text}");
    }
}

/// The child that pushes the index, as far as it is known before anything is built.
fn index_child(case: &Case) -> Result<Value, String> {
    let family = case.family();
    let index = case.request.index.as_ref().unwrap();
    let members = family.expected_members(index).map_err(|problem| problem.to_string())?;
    let body = family.index(index, &members).map_err(|problem| problem.to_string())?;
    Ok(serde_json::to_value(body).unwrap())
}

#[test]
fn the_index_child_is_known_before_anything_is_built() {
    let build = json!({
        "platforms": ["linux/amd64", "linux/arm/v7"], "taskRef": {"name": "x"},
        "workspaces": [{"name": "out"}, {"name": "login"}, {"name": "certs"}],
        "taskRunTemplate": {"serviceAccountName": "pusher-$(context.customRun.name)", "podTemplate": {"securityContext": {"runAsUser": 0}, "env": [{"name": "A", "value": "$(context.customRun.name)"}]}},
        "index": {"image": "r.example.com/app:v1", "format": "docker", "tags": ["latest"], "insecure": true, "annotations": {"a": "b"},
            "archives": {"workspace": "out", "path": "$(platform.machine).tar.gz"},
            "workspaces": [{"name": "dockerconfig", "workspace": "login"}, {"name": "ca", "workspace": "certs"}]},
    });
    let spec = json!({"retries": 2, "timeout": "90m", "workspaces": [
        {"name": "out", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "login", "secret": {"secretName": "s"}},
        {"name": "certs", "configMap": {"name": "m"}},
    ]});
    let mut case = Case::new(&build, spec);
    case.settings.index.image_pull_policy = Some("IfNotPresent".into());
    case.settings.index.compute_resources = Some(json!({"requests": {"cpu": "10m"}}));
    let child = index_child(&case).unwrap();
    let step = &child["spec"]["taskSpec"]["steps"][0];
    assert_eq!(
        step["args"],
        json!([
            "index",
            "push",
            "--results-dir=/tekton/results",
            "--tag=latest",
            "--annotation=a=b",
            "--format=docker",
            "--insecure",
            "--authfile=/workspace/dockerconfig",
            "--ca=/workspace/ca",
            "--",
            "r.example.com/app:v1",
            "linux/amd64=archive:/workspace/archives/x86_64.tar.gz",
            "linux/arm/v7=archive:/workspace/archives/armv7l.tar.gz",
        ])
    );
    let bound = json!([
        {"name": "dockerconfig", "secret": {"secretName": "s"}},
        {"name": "ca", "configMap": {"name": "m"}},
        {"name": "archives", "persistentVolumeClaim": {"claimName": "c"}},
    ]);
    assert_eq!(child["spec"]["workspaces"], bound);
    let declared = child["spec"]["taskSpec"]["workspaces"].as_array().unwrap();
    let declared: Vec<&Value> = declared.iter().map(|workspace| &workspace["name"]).collect();
    assert_eq!(declared, ["dockerconfig", "ca", "archives"]);
    assert_eq!(step["imagePullPolicy"], "IfNotPresent");
    assert_eq!(step["computeResources"], json!({"requests": {"cpu": "10m"}}));
    assert_eq!(step["securityContext"].get("runAsNonRoot"), None, "its author lets the pod run as root");
    assert_eq!(child["metadata"]["name"], "app-build");
    assert_eq!(child["spec"]["serviceAccountName"], "pusher-app-build");
    assert_eq!((&child["spec"]["retries"], &child["spec"]["timeout"]), (&json!(2), &json!("1h30m0s")));
    assert_eq!(child["spec"]["podTemplate"]["env"], json!([{"name": "A", "value": "app-build"}]));

    let build = json!({"platforms": ["linux/arm64"], "taskRef": {"name": "x"}, "index": {"image": "r.example.com/app:v1", "format": "oci"},
        "taskRunTemplate": {"podTemplate": {"nodeSelector": {"pool": "$(platform.key)"}}}});
    let child = index_child(&Case::new(&build, json!({}))).unwrap();
    let args = child["spec"]["taskSpec"]["steps"][0]["args"].to_string();
    assert!(
        args.contains("linux/arm64=docker://$(linux-arm64-IMAGE_URL)@$(linux-arm64-IMAGE_DIGEST)"),
        "{args}"
    );
    assert!(args.contains("--format=oci"), "{args}");
    assert_eq!(
        child["spec"].get("podTemplate"),
        None,
        "what differs by platform says nothing of a child without one"
    );
    assert_eq!(child["spec"]["taskSpec"].get("workspaces"), None);
}

#[test]
fn the_index_child_is_no_root_unless_its_pod_may_be() {
    for (template, says) in [
        (json!({"nodeSelector": {"pool": "build"}}), Some(json!(true))),
        (json!({"securityContext": {"runAsUser": 1000}}), Some(json!(true))),
        (json!({"securityContext": {"runAsUser": 0}}), None),
        (json!({"securityContext": {"runAsNonRoot": false}}), None),
    ] {
        let build = json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "index": {"image": "r.example.com/app:v1"},
            "taskRunTemplate": {"podTemplate": template}});
        let child = index_child(&Case::new(&build, json!({}))).unwrap();
        let security = &child["spec"]["taskSpec"]["steps"][0]["securityContext"];
        assert_eq!(security.get("runAsNonRoot"), says.as_ref(), "{template}");
    }
}

/// Tekton Chains is woken by the owner that controls a TaskRun.
#[test]
fn the_index_child_is_controlled_by_the_pipeline_run_that_controls_its_run() {
    let build =
        json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "index": {"image": "r.example.com/app:v1"}});
    let owner = |kind: &str, controls: bool| json!([{"apiVersion": "a/v1", "kind": kind, "name": "o", "uid": "u", "controller": controls}]);
    for (owners, kinds) in [
        (owner("PipelineRun", true), json!([["CustomRun", false], ["PipelineRun", true]])),
        (owner("PipelineRun", false), json!([["CustomRun", true]])),
        (owner("Build", true), json!([["CustomRun", true]])),
        (json!([]), json!([["CustomRun", true]])),
    ] {
        let mut case = Case::new(&build, json!({}));
        case.run.metadata.owner_references = serde_json::from_value(owners.clone()).unwrap();
        let child = index_child(&case).unwrap();
        let found = child["metadata"]["ownerReferences"].as_array().unwrap().iter();
        let found: Vec<Value> = found.map(|owner| json!([owner["kind"], owner["controller"]])).collect();
        assert_eq!(json!(found), kinds, "{owners}");
    }
}

#[test]
fn the_index_child_names_what_is_wrong_with_it() {
    let build =
        |index: Value| json!({"platforms": ["linux/arm64"], "taskRef": {"name": "x"}, "index": index});
    let bound = json!({"workspaces": [{"name": "out", "emptyDir": {}}]});
    let case = Case::new(
        &build(json!({"image": "r/a:b", "archives": {"workspace": "out", "path": "$(platform.nothing)"}})),
        bound.clone(),
    );
    assert!(
        index_child(&case)
            .unwrap_err()
            .starts_with("spec.index.archives.path: $(platform.nothing) is not known")
    );
    let mapping =
        json!({"image": "r/a:b", "workspaces": [{"name": "ca", "workspace": "out", "subPath": "../x"}]});
    let case = Case::new(&build(mapping), bound);
    assert!(index_child(&case).unwrap_err().contains("leads out of the volume"));
}
