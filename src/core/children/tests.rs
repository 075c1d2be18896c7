use serde_json::json;

use super::*;
use crate::core::request::{Input, tests::run_with};

/// A run and what is made from it.
pub(in crate::core) struct Case {
    pub(in crate::core) run: CustomRun,
    pub(in crate::core) request: Request,
    plan: AcceptedPlan,
    pub(in crate::core) settings: Settings,
    keep_assistant: bool,
    templates: Templates,
}

impl Case {
    pub(in crate::core) fn new(build: &Value, spec: Value) -> Self {
        let run = run_with(build, spec);
        let root = Path::root("spec");
        let embedded = &run.spec.custom_spec.as_ref().unwrap().spec;
        let input = Input { run: &run, spec: embedded, root: &root, default_timeout: None };
        let request = Request::parse(input).unwrap();
        Self {
            run,
            request,
            plan: AcceptedPlan::default(),
            settings: Settings::default(),
            keep_assistant: false,
            templates: Templates::default(),
        }
    }

    pub(in crate::core) fn family(&self) -> Family<'_> {
        Family {
            run: &self.run,
            request: &self.request,
            plan: &self.plan,
            settings: &self.settings,
            root: Path::root("spec"),
            keep_assistant: self.keep_assistant,
            templates: &self.templates,
        }
    }

    fn child(&self, target: usize, task: usize) -> Value {
        let results = self.request.expected_results(task);
        serde_json::to_value(self.family().build(&self.request.targets[target], task, &results).unwrap())
            .unwrap()
    }

    fn problem(&self) -> String {
        let problems = self.family().check().expect_err("there is a problem");
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }
}

#[test]
fn a_child_is_complete() {
    let case = Case::new(
        &json!({"platforms": ["amd64", "linux/arm/v7"], "taskRef": {"name": "buildah"}}),
        json!({
            "params": [{"name": "IMAGE", "value": "r/app:v1"}, {"name": "ARGS", "value": ["a"]}],
            "serviceAccountName": "builder",
            "timeout": "30m",
            "retries": 2,
            "workspaces": [{"name": "source", "subPath": "src", "persistentVolumeClaim": {"claimName": "shared"}}],
        }),
    );
    assert_eq!(
        case.child(1, 0),
        json!({
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {
                "name": "app-build-linux-arm-v7",
                "namespace": "ci",
                "labels": {
                    "archfan.dev/platform": "linux-arm-v7",
                    "archfan.dev/role": "build",
                    "archfan.dev/task": "build",
                    "tekton.dev/customRun": "app-build",
                    "tekton.dev/pipelineRun": "app",
                    "tekton.dev/pipelineTask": "build",
                },
                "annotations": {"archfan.dev/platform": "linux/arm/v7"},
                "ownerReferences": [{
                    "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "name": "app-build", "uid": "uid-run",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "params": [{"name": "ARGS", "value": ["a"]}, {"name": "IMAGE", "value": "r/app:v1"}],
                "serviceAccountName": "builder",
                "taskRef": {"name": "buildah"},
                "retries": 2,
                "timeout": "30m0s",
                "podTemplate": {
                    "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm"},
                    "tolerations": [
                        {"key": "kubernetes.io/arch", "operator": "Equal", "value": "arm"},
                        {"key": "multi-arch.openshift.io/arch", "operator": "Equal", "value": "arm"},
                    ],
                },
                "workspaces": [{"name": "source", "subPath": "src", "persistentVolumeClaim": {"claimName": "shared"}}],
            },
        })
    );
}

#[test]
fn the_same_run_makes_the_same_child() {
    let case = Case::new(&json!({"platforms": ["amd64"], "taskRef": {"name": "x"}}), json!({}));
    assert_eq!(case.child(0, 0).to_string(), case.child(0, 0).to_string());
}

#[test]
fn exceptions_win_in_the_order_they_stand() {
    let case = Case::new(
        &json!({
            "platforms": ["amd64", "arm64"],
            "taskRef": {"name": "buildah"},
            "taskRunTemplate": {
                "serviceAccountName": "template",
                "podTemplate": {"nodeSelector": {"pool": "build"}},
                "metadata": {"labels": {"team": "a", "archfan.dev/role": "mine"}, "annotations": {"tag": "$(platform.key)"}},
            },
            "taskRunSpecs": [
                {"params": [{"name": "IMAGE", "value": "$(params.IMAGE)-$(platform.arch)"}], "stepSpecs": [{"name": "s", "computeResources": {"limits": {"cpu": 1}}}]},
                {"platform": "aarch64", "taskRef": {"resolver": "git", "params": [{"name": "url", "value": "https://x/$(platform.arch)"}]},
                 "serviceAccountName": "arm", "timeout": "2h", "computeResources": {"requests": {"memory": "8Gi"}},
                 "podTemplate": {"nodeSelector": {"pool": "arm"}, "runtimeClassName": "kata"},
                 "stepSpecs": [{"name": "s", "computeResources": {"limits": {"cpu": 4}}}, {"name": "t"}],
                 "sidecarSpecs": [{"name": "side"}],
                 "metadata": {"labels": {"team": "b"}}},
            ],
        }),
        json!({"params": [{"name": "IMAGE", "value": "r/app:v1"}], "serviceAccountName": "run", "timeout": "1h"}),
    );
    let amd64 = case.child(0, 0);
    assert_eq!(amd64["spec"]["params"], json!([{"name": "IMAGE", "value": "r/app:v1-amd64"}]));
    assert_eq!(amd64["spec"]["serviceAccountName"], "template");
    assert_eq!(amd64["spec"]["timeout"], "1h0m0s");
    assert_eq!(amd64["spec"]["taskRef"], json!({"name": "buildah"}));
    assert_eq!(amd64["metadata"]["labels"]["team"], "a");
    assert_eq!(amd64["metadata"]["labels"]["archfan.dev/role"], "build", "our labels cannot be taken away");
    assert_eq!(amd64["metadata"]["annotations"]["tag"], "linux-amd64");
    let arm64 = case.child(1, 0);
    assert_eq!(arm64["spec"]["serviceAccountName"], "arm");
    assert_eq!(arm64["spec"]["timeout"], "2h0m0s");
    assert_eq!(
        arm64["spec"]["taskRef"],
        json!({"resolver": "git", "params": [{"name": "url", "value": "https://x/arm64"}]})
    );
    assert_eq!(arm64["spec"]["podTemplate"]["nodeSelector"]["pool"], "arm");
    assert_eq!(arm64["spec"]["podTemplate"]["runtimeClassName"], "kata");
    assert_eq!(
        arm64["spec"]["stepSpecs"],
        json!([{"name": "s", "computeResources": {"limits": {"cpu": 4}}}, {"name": "t"}])
    );
    assert_eq!(arm64["spec"]["sidecarSpecs"], json!([{"name": "side"}]));
    assert_eq!(arm64["spec"]["computeResources"], json!({"requests": {"memory": "8Gi"}}));
    assert_eq!(arm64["metadata"]["labels"]["team"], "b");
}

#[test]
fn an_exception_may_speak_of_one_task_of_a_chain() {
    let case = Case::new(
        &json!({
            "platforms": ["amd64", "arm64"],
            "tasks": [{"name": "test", "taskRef": {"name": "x"}}, {"name": "build", "taskRef": {"name": "x"}}],
            "taskRunSpecs": [
                {"taskName": "build", "serviceAccountName": "pusher"},
                {"taskName": "test", "platform": "arm64", "serviceAccountName": "tester"},
            ],
        }),
        json!({"serviceAccountName": "run"}),
    );
    let accounts = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(target, task)| case.child(target, task)["spec"]["serviceAccountName"].clone());
    assert_eq!(json!(accounts), json!(["run", "pusher", "tester", "pusher"]));
}

#[test]
fn another_task_takes_the_place_of_the_one_written_out() {
    let case = Case::new(
        &json!({
            "platforms": ["amd64", "arm64"],
            "taskSpec": {"steps": [{"name": "build", "image": "builder"}]},
            "taskRunSpecs": [{"platform": "arm64", "taskRef": {"name": "buildah-arm"}}],
        }),
        json!({}),
    );
    let amd64 = &case.child(0, 0)["spec"];
    assert_eq!(amd64["taskSpec"]["steps"][0]["image"], "builder");
    assert_eq!(amd64.get("taskRef"), None);
    let arm64 = &case.child(1, 0)["spec"];
    assert_eq!(arm64["taskRef"], json!({"name": "buildah-arm"}));
    assert_eq!(arm64.get("taskSpec"), None, "Tekton takes one of them");
}

#[test]
fn a_chain_names_its_tasks_and_hands_results_on() {
    let case = Case::new(
        &json!({
            "platforms": ["arm64"],
            "tasks": [
                {"name": "clone", "taskRef": {"name": "git-clone"}, "timeout": "5m", "retries": 0},
                {"name": "build", "taskSpec": {"steps": [{"image": "x-$(platform.arch)", "script": "$(params.commit)"}]},
                 "params": [{"name": "commit", "value": "$(tasks.clone.results.commit)"}],
                 "workspaces": [{"name": "src", "workspace": "source", "subPath": "$(tasks.clone.results.dir)"}]},
            ],
            "workspaces": [{"name": "source", "perPlatform": true, "subPath": "w/$(context.pipelineRun.name)"}],
        }),
        json!({"retries": 3, "workspaces": [{"name": "source", "subPath": "/base/", "persistentVolumeClaim": {"claimName": "c"}}]}),
    );
    let clone = case.child(0, 0);
    assert_eq!(clone["metadata"]["name"], "app-build-linux-arm64-clone");
    assert_eq!(clone["spec"]["timeout"], "5m0s");
    assert_eq!(clone["spec"].get("retries"), None, "a task's own retries win over the run's");
    assert_eq!(clone["spec"]["workspaces"][0]["subPath"], "base/w/app/linux-arm64");
    let results = TaskResults::from([(
        "clone".to_owned(),
        crate::core::variables::ResultsOfTask::Known(BTreeMap::from([
            ("commit".to_owned(), ParamValue::String("abc".to_owned())),
            ("dir".to_owned(), ParamValue::String("app".to_owned())),
        ])),
    )]);
    let build = case.family().build(&case.request.targets[0], 1, &results).unwrap();
    let build = serde_json::to_value(build).unwrap();
    assert_eq!(build["metadata"]["name"], "app-build-linux-arm64-build");
    assert_eq!(build["spec"]["params"], json!([{"name": "commit", "value": "abc"}]));
    assert_eq!(
        build["spec"]["taskSpec"],
        json!({"steps": [{"image": "x-arm64", "script": "$(params.commit)"}]})
    );
    assert_eq!(build["spec"]["retries"], 3);
    assert_eq!(
        build["spec"]["workspaces"],
        json!([{"name": "src", "subPath": "base/w/app/linux-arm64/app", "persistentVolumeClaim": {"claimName": "c"}}])
    );
}

#[test]
fn what_a_pipeline_run_says_comes_first() {
    let mut case = Case::new(
        &json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "taskRunTemplate": {"podTemplate": {"nodeSelector": {"zone": "b"}}}}),
        json!({}),
    );
    case.plan.inherited = Some(Inherited {
        general: vec![json!({"nodeSelector": {"kubernetes.io/arch": "amd64", "zone": "a", "disk": "ssd"}})],
        specific: Some(json!({"priorityClassName": "high"})),
        step_specs: vec![json!({"name": "s"})],
        compute_resources: Some(json!({"limits": {}})),
        metadata: Some(Metadata {
            labels: BTreeMap::from([("from".to_owned(), "pipelinerun".to_owned())]),
            ..Metadata::default()
        }),
        ..Inherited::default()
    });
    case.plan.span_context = Some("{}".to_owned());
    let child = case.child(0, 0);
    assert_eq!(
        child["spec"]["podTemplate"]["nodeSelector"],
        json!({"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux", "zone": "b", "disk": "ssd"})
    );
    assert_eq!(child["spec"]["podTemplate"]["priorityClassName"], "high");
    assert_eq!(child["spec"]["stepSpecs"], json!([{"name": "s"}]));
    assert_eq!(child["spec"]["computeResources"], json!({"limits": {}}));
    assert_eq!(child["metadata"]["labels"]["from"], "pipelinerun");
    assert_eq!(child["metadata"]["annotations"]["tekton.dev/taskrunSpanContext"], "{}");
    case.templates = Templates::default();
    // For this one task, a contradiction is the author's error and not a default to overrule.
    case.plan.inherited.as_mut().unwrap().specific =
        Some(json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}}));
    assert!(case.problem().contains("PipelineRun spec.taskRunSpecs"), "{}", case.problem());
}

#[test]
fn annotations_that_speak_of_the_run_stay_with_it() {
    let mut case = Case::new(&json!({"platforms": ["arm64"], "taskRef": {"name": "x"}}), json!({}));
    case.run.metadata.annotations = Some(
        [
            ("pipeline.tekton.dev/affinity-assistant", "affinity-assistant-1"),
            ("chains.tekton.dev/signed", "true"),
            ("results.tekton.dev/record", "r"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
            ("tekton.dev/pipelinerunSpanContext", "{}"),
            ("team", "a"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    let annotations = |case: &Case| case.child(0, 0)["metadata"]["annotations"].clone();
    assert_eq!(annotations(&case), json!({"archfan.dev/platform": "linux/arm64", "team": "a"}));
    case.keep_assistant = true;
    assert_eq!(
        annotations(&case),
        json!({"archfan.dev/platform": "linux/arm64", "team": "a", "pipeline.tekton.dev/affinity-assistant": "affinity-assistant-1"})
    );
}

#[test]
fn a_claim_made_for_a_template_is_shared() {
    let mut case = Case::new(
        &json!({"platforms": ["amd64", "arm64"], "taskRef": {"name": "x"}}),
        json!({"workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {}}}, {"name": "s", "secret": {"secretName": "x"}}]}),
    );
    case.plan.claims.insert("w".to_owned(), "app-build-w".to_owned());
    for target in 0..2 {
        assert_eq!(
            case.child(target, 0)["spec"]["workspaces"],
            json!([
                {"name": "w", "persistentVolumeClaim": {"claimName": "app-build-w"}},
                {"name": "s", "secret": {"secretName": "x"}},
            ])
        );
    }
}

#[test]
fn problems_are_found_before_anything_is_created() {
    for (build, part) in [
        (
            json!({"taskRef": {"name": "x"}, "taskRunSpecs": [{"platform": "arm64", "podTemplate": {"nodeSelector": {"kubernetes.io/arch": "amd64"}}}]}),
            r#"spec.taskRunSpecs[0].podTemplate.nodeSelector["kubernetes.io/arch"]: the selector asks for "amd64", but the platform runs on linux/arm64"#,
        ),
        (
            json!({"taskRef": {"name": "x-$(platform.archs)"}}),
            "spec.taskRef.name: $(platform.archs) is not known; did you mean $(platform.arch)?",
        ),
        (
            json!({"tasks": [{"name": "a", "taskSpec": {}, "when": [{"input": "$(params.x)", "operator": "in", "values": ["y"]}]}]}),
            "spec.tasks[0].when[0].input: $(params.x) is not known",
        ),
        (
            json!({"tasks": [{"name": "a", "taskSpec": {}, "params": [{"name": "p", "value": "$(tasks.b.results.r)"}]}, {"name": "b", "taskSpec": {}}]}),
            "spec.tasks[0].params[p]: $(tasks.b.results.r) is not known; no task of the chain comes before this one",
        ),
        (
            json!({"tasks": [{"name": "a", "taskSpec": {}, "timeout": "soon"}]}),
            r#"spec.tasks[0].timeout: "soon": no duration"#,
        ),
        (
            json!({"taskRef": {"name": "x"}, "workspaces": [{"name": "w", "subPath": "../$(platform.key)"}]}),
            "leads out of the volume",
        ),
    ] {
        let mut build = build;
        build["platforms"] = json!(["arm64"]);
        let case = Case::new(&build, json!({"workspaces": [{"name": "w", "emptyDir": {}}]}));
        let problem = case.problem();
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_pod_template_with_variables_is_read_for_each_platform() {
    let case = Case::new(
        &json!({"platforms": ["amd64", "arm64"], "taskRef": {"name": "x"},
            "taskRunTemplate": {"podTemplate": {"nodeSelector": {"pool": "build-$(platform.arch)"}}}}),
        json!({}),
    );
    for (target, pool) in [(0, "build-amd64"), (1, "build-arm64")] {
        assert_eq!(case.child(target, 0)["spec"]["podTemplate"]["nodeSelector"]["pool"], pool);
    }
}
