use serde_json::{Value, json};

use super::*;

/// A run with an embedded spec, and whatever else the test puts into the run's own spec.
pub(crate) fn run_with(build: &Value, spec: Value) -> CustomRun {
    let mut spec = spec;
    spec["customSpec"] =
        json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": build});
    serde_json::from_value(json!({
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": {
            "name": "app-build", "namespace": "ci", "uid": "uid-run", "generation": 1,
            "labels": {"tekton.dev/pipelineRun": "app", "tekton.dev/pipelineTask": "build"},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "app", "uid": "uid-pr", "controller": true}],
        },
        "spec": spec,
    }))
    .unwrap()
}

fn parse(build: &Value, spec: Value) -> Result<Request, Vec<String>> {
    let run = run_with(build, spec);
    let root = Path::root("customSpec.spec");
    let spec = &run.spec.custom_spec.as_ref().unwrap().spec;
    let input = Input { run: &run, spec, root: &root, default_timeout: Some(Duration::from_hours(1)) };
    Request::parse(input)
        .map_err(|problems| problems.iter().map(|problem| format!("{} {problem}", problem.reason)).collect())
}

fn problems(build: &Value, spec: Value) -> Vec<String> {
    parse(build, spec).expect_err("this must not be accepted")
}

#[test]
fn reads_the_smallest_build() {
    let request =
        parse(&json!({"platforms": ["arm64", "linux/amd64"], "taskRef": {"name": "buildah"}}), json!({}))
            .unwrap();
    let platforms: Vec<String> = request.targets.iter().map(|target| target.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"], "the order is the author's");
    assert!(request.targets.iter().all(|target| target.required && target.runs_on == target.platform));
    assert_eq!(request.tasks.len(), 1);
    assert_eq!(request.tasks[0].name, ONLY_TASK);
    assert!(!request.chained);
    assert!(request.strategy.fail_fast);
    assert_eq!(request.strategy.max_parallel, None);
    assert_eq!(request.timeout, Some(Duration::from_hours(1)));
    assert_eq!(request.index, None);
    assert_eq!(request.context.pipeline_run, "app");
}

#[test]
fn spreads_platforms_from_params() {
    let request = parse(
        &json!({
            "params": [{"name": "archs", "type": "array"}],
            "platforms": ["$(params.archs[*])", {"platform": "linux/riscv64", "required": false, "runsOn": "linux/amd64"}],
            "taskRef": {"name": "x"},
        }),
        json!({"params": [{"name": "archs", "value": ["amd64", "aarch64", "linux/arm/v7"]}]}),
    )
    .unwrap();
    let platforms: Vec<String> = request.targets.iter().map(|target| target.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"]);
    assert_eq!(
        (request.targets[3].required, request.targets[3].runs_on.to_string().as_str()),
        (false, "linux/amd64")
    );
}

#[test]
fn each_bad_platform_is_named() {
    let found = problems(
        &json!({
            "platforms": ["linux/amd64", "x86_64", "linux/amd65", 7, {"platform": "arm64", "runOn": "amd64"}, {"required": true}, "$(params.nope)"],
            "taskRef": {"name": "x"},
        }),
        json!({}),
    );
    let expected = [
        r#"DuplicatePlatform customSpec.spec.platforms[1]: "x86_64" is linux/amd64, which is listed already as "linux/amd64"; list each platform once"#,
        r#"InvalidPlatform customSpec.spec.platforms[2]: "linux/amd65" is no platform: "amd65" is no architecture; did you mean "amd64"?"#,
        r#"InvalidPlatform customSpec.spec.platforms[3]: 7 is no platform; write a string like "linux/arm64", or an object with platform, required and runsOn"#,
        "UnknownField customSpec.spec.platforms[4].runOn: unknown field; did you mean runsOn?",
        "InvalidField customSpec.spec.platforms[5]: platform is missing; it is required here",
        "UnknownVariable customSpec.spec.platforms[6]: $(params.nope) is not known; the run has no params; give the pipeline task one of that name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_empty_spec_and_no_platform_have_reasons_of_their_own() {
    assert!(problems(&json!({}), json!({}))[0].starts_with("EmptySpec customSpec.spec: "));
    assert!(problems(&Value::Null, json!({}))[0].starts_with("EmptySpec "));
    for build in [
        json!({"taskRef": {"name": "x"}}),
        json!({"platforms": [], "taskRef": {"name": "x"}}),
        json!({"platforms": ["$(params.none[*])"], "taskRef": {"name": "x"}}),
    ] {
        let found = problems(&build, json!({"params": [{"name": "none", "value": []}]}));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("NoPlatforms customSpec.spec.platforms: "), "{found:?}");
    }
}

#[test]
fn exactly_one_thing_is_built() {
    let platforms = json!(["linux/amd64"]);
    for (build, expected) in [
        (json!({}), "NoTask customSpec.spec: nothing says what to build"),
        (
            json!({"taskRef": {"name": "x"}, "taskSpec": {}}),
            "AmbiguousTask customSpec.spec: taskRef and taskSpec are all set",
        ),
        (json!({"taskRef": {}}), "NoTask customSpec.spec.taskRef: neither name nor resolver is set"),
        (
            json!({"taskRef": {"name": "x", "resolver": "git"}}),
            "NoTask customSpec.spec.taskRef: name and resolver are both set",
        ),
        (
            json!({"taskRef": {"name": "x", "kind": "ClusterTask"}}),
            "NoTask customSpec.spec.taskRef: kind ClusterTask is gone",
        ),
        (
            json!({"taskRef": {"name": "x", "params": [{"name": "a", "value": "b"}]}}),
            "NoTask customSpec.spec.taskRef: params are for resolvers",
        ),
        (
            json!({"tasks": [{"name": "a"}]}),
            "NoTask customSpec.spec.tasks[0]: nothing says what this task runs",
        ),
        (
            json!({"tasks": [{"name": "a", "taskSpec": {}}, {"name": "a", "taskRef": {"name": "x"}}]}),
            "InvalidField customSpec.spec.tasks[1].name: another task is called \"a\"",
        ),
        (
            json!({"tasks": [{"name": "A b", "taskSpec": {}}]}),
            "InvalidField customSpec.spec.tasks[0].name: \"A b\" is no name",
        ),
    ] {
        let mut build = build;
        build["platforms"] = platforms.clone();
        let found = problems(&build, json!({}));
        assert!(found[0].starts_with(expected), "{build}\n{found:#?}");
        assert_eq!(found.len(), 1, "{build}\n{found:#?}");
    }
}

#[test]
fn every_problem_is_found_at_once() {
    let found = problems(
        &json!({
            "platforms": ["linux/amd65"],
            "platfroms": [],
            "params": [{"name": "image"}],
            "workspaces": [{"name": "source"}],
            "taskRunSpecs": [{"platform": "arm46"}, {"taskName": "x"}],
            "strategy": {"pendingTimeout": "10"},
            "index": {"image": "docker://x/y", "tags": ["-a"], "workspaces": [{"name": "auth"}], "archives": {"workspace": "images", "path": "../x.tar"}},
        }),
        json!({"timeout": "1 hour", "retries": -2, "status": "Paused", "workspaces": [{"name": "sources", "emptyDir": {}}]}),
    );
    for part in [
        "UnknownField customSpec.spec.platfroms",
        "MissingParam spec.params",
        "InvalidPlatform customSpec.spec.platforms[0]",
        "NoTask customSpec.spec:",
        "InvalidPlatform customSpec.spec.taskRunSpecs[0].platform",
        "InvalidField customSpec.spec.taskRunSpecs[1].taskName",
        "InvalidField customSpec.spec.strategy.pendingTimeout",
        "MissingWorkspace spec.workspaces: the workspace \"source\" is not bound; did you mean it by \"sources\"?",
        "UnknownWorkspace spec.workspaces[sources]",
        "InvalidField customSpec.spec.index.image",
        "InvalidField customSpec.spec.index.tags[0]",
        "InvalidField customSpec.spec.index.workspaces[0].name",
        "UnknownWorkspace customSpec.spec.index.workspaces[0]",
        "UnknownWorkspace customSpec.spec.index.archives.workspace",
        "InvalidField customSpec.spec.index.archives.path",
        "InvalidRun spec.timeout",
        "InvalidRun spec.retries",
        "InvalidRun spec.status",
    ] {
        assert!(found.iter().any(|line| line.starts_with(part)), "missing {part} in {found:#?}");
    }
    assert_eq!(found.len(), 18, "{found:#?}");
}

#[test]
fn workspaces_go_to_builds_or_to_the_index() {
    let spec = json!({"workspaces": [
        {"name": "source", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "auth", "secret": {"secretName": "login"}},
    ]});
    let index = json!({"image": "r/app:v1", "workspaces": [{"name": "dockerconfig", "workspace": "auth"}]});
    let request =
        parse(&json!({"platforms": ["amd64"], "taskRef": {"name": "x"}, "index": index}), spec.clone())
            .unwrap();
    let by_default = |request: &Request| -> Vec<String> {
        request.workspaces.iter().filter(|w| w.by_default).map(|w| w.name.clone()).collect()
    };
    assert_eq!(by_default(&request), ["source"], "what the index takes, builds do not, unless declared");
    let request = parse(
        &json!({"platforms": ["amd64"], "taskRef": {"name": "x"}, "index": index,
            "workspaces": [{"name": "source"}, {"name": "auth"}, {"name": "cache", "optional": true}]}),
        spec,
    )
    .unwrap();
    assert_eq!(by_default(&request), ["source", "auth", "cache"]);
    assert_eq!(request.workspace("cache").unwrap().binding, None);
}

#[test]
fn a_task_takes_the_workspaces_that_it_names_or_all() {
    let mapped = json!([{"name": "src", "workspace": "source"}, {"name": "cache"}]);
    let request = parse(
        &json!({"platforms": ["amd64"], "tasks": [
            {"name": "some", "taskRef": {"name": "x"}, "workspaces": mapped},
            {"name": "none", "taskRef": {"name": "x"}, "workspaces": []},
            {"name": "all", "taskRef": {"name": "x"}},
        ]}),
        json!({"workspaces": [{"name": "source", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}, {"name": "auth", "emptyDir": {}}]}),
    )
    .unwrap();
    let taken: Vec<Vec<&str>> = request
        .tasks
        .iter()
        .map(|task| request.workspaces.iter().filter(|w| task.takes(w)).map(|w| w.name.as_str()).collect())
        .collect();
    assert_eq!(taken, [vec!["source", "cache"], vec![], vec!["source", "cache", "auth"]]);
}

#[test]
fn the_index_knows_where_images_are() {
    let build =
        |index: Value| json!({"platforms": ["amd64", "arm64"], "taskRef": {"name": "x"}, "index": index});
    let source = |index: Value| {
        parse(&build(index), json!({"params": [{"name": "IMAGE", "value": "r/app:v1"}], "workspaces": [{"name": "images", "emptyDir": {}}]}))
            .map(|request| request.index.unwrap())
    };
    let index = source(json!({"image": "$(params.IMAGE)", "tags": ["latest"]})).unwrap();
    assert_eq!(index.image, "r/app:v1");
    assert_eq!(index.source, Source::Results { url: "IMAGE_URL".into(), digest: "IMAGE_DIGEST".into() });
    let index = source(json!({"image": "r/app:v1", "results": {"digest": "D"}})).unwrap();
    assert_eq!(index.source, Source::Results { url: "IMAGE_URL".into(), digest: "D".into() });
    let index = source(json!({"image": "r/app:v1", "archives": {"workspace": "images"}})).unwrap();
    assert_eq!(index.source, Source::Archives { workspace: "images".into(), path: DEFAULT.into() });
    for (index, part) in [
        (
            json!({"image": "r/app:v1", "source": "results", "archives": {"workspace": "images"}}),
            "archives is set, but source is results",
        ),
        (json!({"image": "r/app:v1", "source": "archives"}), "does not say on which workspace"),
        (json!({"image": "r/app:v1", "source": "archives", "results": {}}), "results is set, but"),
        (
            json!({"image": "r/app:v1", "archives": {"workspace": "images", "path": "image.tar"}}),
            "the same file for every platform",
        ),
        (json!({"image": "r/app@sha256:00"}), "has a digest"),
        (json!({"image": "app:v1"}), "names no registry"),
        (json!({"image": "r/app v1"}), "has characters"),
    ] {
        let found = source(index.clone()).expect_err("must be refused");
        assert!(found.len() == 1 && found[0].contains(part), "{index}: {found:?}");
    }
}

#[test]
fn a_workspace_that_is_not_there_is_told_with_those_that_are() {
    let index = json!({"image": "r/a:b", "workspaces": [{"name": "ca", "workspace": "certs"}]});
    let build = json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "index": index});
    for (names, says) in [
        (vec![], "the run binds no workspaces"),
        (vec!["source", "login"], "the workspaces are source, login"),
        (vec!["cert"], "did you mean \"cert\"?"),
    ] {
        let bound: Vec<Value> = names.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect();
        let found = problems(&build, json!({"workspaces": bound}));
        let says = format!(
            "UnknownWorkspace customSpec.spec.index.workspaces[0]: there is no workspace \"certs\"; {says}"
        );
        assert_eq!(found, [says]);
    }
}

#[test]
fn the_pipeline_run_of_a_run_is_its_owner_or_in_its_label() {
    let owner = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u"});
    for (owners, labels, found) in [
        (
            json!([owner("Build", "other"), owner("PipelineRun", "app")]),
            json!({"tekton.dev/pipelineRun": "label"}),
            "app",
        ),
        (json!([owner("Build", "other")]), json!({"tekton.dev/pipelineRun": "label"}), "label"),
        (json!([owner("Build", "other")]), json!({}), ""),
    ] {
        let mut run = run_with(&json!({}), json!({}));
        run.metadata.owner_references = serde_json::from_value(owners).unwrap();
        run.metadata.labels = serde_json::from_value(labels).unwrap();
        assert_eq!(context(&run).pipeline_run, found);
    }
}

/// What has not the right shape is not looked into any further, where it would be complained of again.
#[test]
fn one_fault_is_told_once() {
    let build = json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "index": {"image": ""}});
    assert_eq!(problems(&build, json!({})), ["InvalidField customSpec.spec.index.image: must not be empty"]);
}

#[test]
fn one_platform_needs_no_variable_in_the_path_of_its_archive() {
    let index = json!({"image": "r/app:v1", "archives": {"workspace": "images", "path": "image.tar"}});
    let request = parse(
        &json!({"platforms": ["arm64"], "taskRef": {"name": "x"}, "index": index}),
        json!({"workspaces": [{"name": "images", "emptyDir": {}}]}),
    );
    let source = Source::Archives { workspace: "images".into(), path: "image.tar".into() };
    assert_eq!(request.unwrap().index.unwrap().source, source);
}

const DEFAULT: &str = "$(platform.machine).tar";

#[test]
fn bounds_and_names_are_checked() {
    let with = |fields: Value| {
        let mut build = json!({"platforms": ["linux/amd64"], "taskRef": {"name": "x"}});
        for (name, value) in fields.as_object().unwrap() {
            build[name] = value.clone();
        }
        build
    };
    let platforms: Value = (0..65).map(|number| json!(format!("linux/arm64/v8.{number}"))).collect();
    let spread: Vec<String> = (0..65).map(|number| format!("linux/arm64/v8.{number}")).collect();
    let tasks: Value = (0..65).map(|number| json!({"name": format!("t{number}"), "taskSpec": {}})).collect();
    for (build, says) in [
        (
            with(json!({"platforms": platforms})),
            "InvalidField customSpec.spec.platforms: has 65 items; the most is 64",
        ),
        (
            with(json!({"platforms": ["$(params.all[*])"]})),
            "InvalidField customSpec.spec.platforms: 65 platforms are listed; the most is 64",
        ),
        (
            json!({"platforms": ["amd64"], "tasks": tasks}),
            "InvalidField customSpec.spec.tasks: has 65 items; the most is 64",
        ),
        (
            json!({"platforms": ["amd64"], "tasks": [{"name": "a", "taskRef": {"name": "x"}, "taskSpec": {}}]}),
            "AmbiguousTask customSpec.spec.tasks[0]: taskRef and taskSpec are both set",
        ),
        (
            with(json!({"taskRef": {"name": "x", "kind": "StepAction"}})),
            "NoTask customSpec.spec.taskRef: kind must be Task",
        ),
        (
            with(json!({"taskRunSpecs": [{"taskName": "build"}]})),
            "taskRunSpecs[0].taskName: there is no chain of tasks to choose from",
        ),
        (
            json!({"platforms": ["amd64"], "tasks": [{"name": "build", "taskSpec": {}}], "taskRunSpecs": [{"taskName": "biuld"}]}),
            "taskRunSpecs[0].taskName: no task is called \"biuld\"; did you mean \"build\"?",
        ),
        (
            json!({"platforms": ["amd64"], "tasks": [{"name": "build", "taskSpec": {}}], "taskRunSpecs": [{"taskName": "deploy"}]}),
            "no task is called \"deploy\"; the tasks are build",
        ),
        (
            with(json!({"taskRunSpecs": [{"taskRef": {}}]})),
            "NoTask customSpec.spec.taskRunSpecs[0].taskRef: neither name nor resolver",
        ),
        (
            with(json!({"workspaces": [{"name": "w", "optional": true}, {"name": "w", "optional": true}]})),
            "the workspace \"w\" is declared twice",
        ),
        (
            with(json!({"strategy": {"pendingTimeout": "soon"}})),
            "InvalidField customSpec.spec.strategy.pendingTimeout: \"soon\"",
        ),
        (with(json!({"strategy": {"maxParallel": 1.5}})), "strategy.maxParallel: 1.5 is no whole number"),
        (
            with(json!({"strategy": {"maxParallel": -1}})),
            "strategy.maxParallel: -1 is too small; the least is 0",
        ),
        (with(json!({"taskSpec": [], "taskRef": null})), "customSpec.spec.taskSpec: "),
        (with(json!({"index": {"image": ""}})), "index.image: must not be empty"),
        (
            with(json!({"index": {"image": "r/a:b", "format": "zip"}})),
            "index.format: \"zip\" is not allowed; write one of oci, docker",
        ),
        (
            with(json!({"index": {"image": "r/a:b", "source": "results", "archives": {"workspace": "w"}}})),
            "source is results; set source to archives",
        ),
    ] {
        let found = problems(&build, json!({"params": [{"name": "all", "value": spread}]}));
        assert!(found.iter().any(|problem| problem.contains(says)), "{says}: {found:?}");
    }
}

/// Names of tasks become parts of the names of TaskRuns.
#[test]
fn names_of_tasks_are_labels() {
    let named = |name: &str| {
        parse(
            &json!({"platforms": ["amd64"], "tasks": [{"name": name, "taskRef": {"name": "x"}}]}),
            json!({}),
        )
    };
    let longest = "a".repeat(63);
    for good in ["a", "0", "a-b", "a--b", &longest] {
        assert_eq!(named(good).unwrap().tasks[0].name, good);
    }
    let too_long = "a".repeat(64);
    for bad in ["-", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", &too_long] {
        let says = format!("InvalidField customSpec.spec.tasks[0].name: {bad:?} is no name");
        let found = named(bad).expect_err(bad);
        assert!(found.iter().any(|problem| problem.starts_with(&says)), "{bad:?}: {found:?}");
    }
}
