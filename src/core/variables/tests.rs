use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context {
    custom_run: "run".into(),
    namespace: "ns".into(),
    uid: "u-1".into(),
    pipeline_run: "pr".into(),
});
static PARAMS: LazyLock<BTreeMap<String, ParamValue>> = LazyLock::new(|| {
    BTreeMap::from([
        ("image".into(), ParamValue::String("reg/app:v1".into())),
        ("my.dotted".into(), ParamValue::String("dots".into())),
        ("args".into(), ParamValue::Array(vec!["a".into(), "b c".into()])),
        ("git".into(), ParamValue::Object(BTreeMap::from([("url".into(), "https://x".into())]))),
    ])
});
static TASKS: LazyLock<TaskResults> = LazyLock::new(|| {
    BTreeMap::from([
        (
            "clone".into(),
            ResultsOfTask::Known(BTreeMap::from([
                ("commit".into(), ParamValue::String("abc".into())),
                ("files".into(), ParamValue::Array(vec!["x".into(), "y".into()])),
                ("meta".into(), ParamValue::Object(BTreeMap::from([("tag".into(), "v1".into())]))),
            ])),
        ),
        ("test".into(), ResultsOfTask::Skipped),
        ("later".into(), ResultsOfTask::Expected),
    ])
});

fn arm64() -> Platform {
    Platform::parse("linux/arm64").unwrap()
}

fn scope(platform: &Platform) -> Scope<'_> {
    Scope { params: &PARAMS, platform: Some(platform), tasks: Some(&TASKS), context: &CONTEXT }
}

fn text(input: &str) -> Result<String, String> {
    scope(&arm64()).text(input, &Path::root("f")).map_err(|problem| problem.to_string())
}

#[test]
fn replaces_every_kind_of_variable() {
    for (input, output) in [
        ("plain", "plain"),
        ("", ""),
        ("$(params.image)-$(platform.arch)", "reg/app:v1-arm64"),
        ("$(params[\"image\"])", "reg/app:v1"),
        ("$(params['my.dotted'])", "dots"),
        ("$(params.my.dotted)", "dots"),
        ("$(params.args[1])", "b c"),
        ("$(params.git.url)", "https://x"),
        (
            "$(platform) $(platform.os) $(platform.machine) $(platform.key) [$(platform.variant)]",
            "linux/arm64 linux aarch64 linux-arm64 []",
        ),
        ("$(tasks.clone.results.commit)", "abc"),
        ("$(tasks.clone.results.files[1])", "y"),
        ("$(tasks.clone.results.meta.tag)", "v1"),
        ("$(tasks.later.results.anything)", "$(tasks.later.results.anything)"),
        (
            "$(context.customRun.name)/$(context.customRun.namespace)/$(context.customRun.uid)/$(context.pipelineRun.name)",
            "run/ns/u-1/pr",
        ),
        ("a$(platform.arch)b$(platform.arch)c", "aarm64barm64c"),
    ] {
        assert_eq!(text(input).as_deref(), Ok(output), "{input}");
    }
}

#[test]
fn leaves_alone_what_is_no_variable() {
    for input in [
        "$(nproc)",
        "$(date +%s)",
        "$(cat file.txt)",
        "$((1+2))",
        "$HOME",
        "$(",
        "$()",
        "a $( b",
        "$(x",
        "$([0])",
        "$([*])",
        "$([\"a\"][1])",
        "$(params[\"image\"]x)",
        "$(params[\"my\"]dotted)",
        "$(params.args[1]0)",
        "$(params.args[1)",
    ] {
        assert_eq!(text(input).as_deref(), Ok(input), "{input}");
    }
    assert_eq!(text("$$(platform.arch)").as_deref(), Ok("$(platform.arch)"));
    assert_eq!(text("x$$(params.image)y$(platform.arch)").as_deref(), Ok("x$(params.image)yarm64"));
    assert_eq!(text("$$(").as_deref(), Ok("$("));
}

#[test]
fn names_the_nearest_known_variable() {
    for (input, part) in [
        ("$(params.imgae)", "did you mean $(params.image)?"),
        ("$(platform.arhc)", "did you mean $(platform.arch)?"),
        ("$(platfrom)", "did you mean $(platform)?"),
        ("$(context.customrun.name)", "did you mean $(context.customRun.name)?"),
        ("$(params.revision)", "the params are args, git, image, my.dotted"),
        (
            "$(tasks.build.results.digest)",
            "an earlier task of the chain, as $(tasks.NAME.results.RESULT); those are clone, later, test",
        ),
        ("$(tasks.clon.results.digest)", "did you mean $(tasks.clone.results.RESULT)?"),
        ("$(tasks.clone.results.url)", "the task \"clone\" wrote commit, files, meta"),
        ("$(tasks.clone.results.meta.tag[0])", "$(tasks.clone.results.meta.tag[0]) is not known"),
        ("$(tasks.clone.results.meta.tag.x)", "$(tasks.clone.results.meta.tag.x) is not known"),
        ("$(tasks.test.results.report)", "a when expression skipped the task \"test\""),
        ("$(workspaces.source.path)", "write $$( for a plain $("),
        ("$(params.args)", "it is an array; write $(params.args[0])"),
        ("$(params.args[*])", "cannot stand here"),
        ("$(params.args[2])", "there are 2 items"),
        ("$(params.git)", "it is an object"),
        ("$(params.git.branch)", "the keys are url"),
        ("$(params.git.url[0])", "$(params.git.url[0]) is not known"),
        ("$(params.image[*])", "it is a string; write $(params.image)"),
        ("$(params.image[0])", "it is a string"),
    ] {
        let error = text(&format!("x {input}")).expect_err(input);
        assert!(error.starts_with("f: ") && error.contains(part), "{input}: {error}");
    }
}

#[test]
fn says_where_a_platform_is_not_known() {
    let scope = Scope { params: &PARAMS, platform: None, tasks: None, context: &CONTEXT };
    let path = Path::root("f");
    let error = scope.text("$(platform.arch)", &path).unwrap_err().message;
    assert!(error.contains("the same for all platforms"), "{error}");
    let error = scope.text("$(tasks.clone.results.commit)", &path).unwrap_err().message;
    assert!(error.contains("later tasks of a chain only"), "{error}");
}

#[test]
fn spreads_arrays_in_lists() {
    let platform = arm64();
    let scope = scope(&platform);
    let path = Path::root("f");
    let items = ["x".to_owned(), "$(params.args[*])".to_owned(), "$(platform.os)".to_owned()];
    assert_eq!(scope.list(&items, &path), Ok(vec!["x".into(), "a".into(), "b c".into(), "linux".into()]));
    assert_eq!(
        scope.json(
            &json!({"a-$(platform.arch)": ["$(params.args[*])", 1, {"b": "$(params.image)"}], "n": null}),
            &path
        ),
        Ok(json!({"a-arm64": ["a", "b c", 1, {"b": "reg/app:v1"}], "n": null}))
    );
}

#[test]
fn hands_whole_arrays_and_objects_on() {
    let platform = arm64();
    let scope = scope(&platform);
    let path = Path::root("f");
    let param = |text: &str| scope.param(&ParamValue::String(text.into()), &path).unwrap();
    assert_eq!(param("$(params.args[*])"), PARAMS["args"]);
    assert_eq!(param("$(params.git[*])"), PARAMS["git"]);
    let later = "$(tasks.later.results.list[*])";
    assert_eq!(param(later), ParamValue::Array(vec![later.into()]));
    assert_eq!(param("$(params.image)"), PARAMS["image"]);
    assert_eq!(
        scope.param(&ParamValue::Object(BTreeMap::from([("k".into(), "$(platform.key)".into())])), &path),
        Ok(ParamValue::Object(BTreeMap::from([("k".into(), "linux-arm64".into())])))
    );
}

#[test]
fn touches_only_the_platform_in_a_task_spec() {
    let spec = json!({"steps": [{"image": "x-$(platform.arch)", "script": "echo $(params.image) $(platform) $(platforms list) $(platform"}]});
    assert_eq!(
        platform_only(&spec, &arm64(), &Path::root("taskSpec")),
        Ok(
            json!({"steps": [{"image": "x-arm64", "script": "echo $(params.image) linux/arm64 $(platforms list) $(platform"}]})
        )
    );
    let error = platform_only(&json!({"steps": ["$(platform.archs)"]}), &arm64(), &Path::root("taskSpec"))
        .unwrap_err();
    assert_eq!(error.field, "taskSpec.steps[0]");
}

#[test]
fn variables_are_seen_wherever_they_stand() {
    for value in [
        json!("$(platform)"),
        json!(["a", "x $(params.a)"]),
        json!({"a": {"b": ["$(x)"]}}),
        json!({"pool-$(platform.arch)": "true"}),
        json!({"a": 1, "b": "$(platform.arch)"}),
    ] {
        assert!(holds_variable(&value), "{value}");
    }
    for value in [json!(null), json!(1), json!(true), json!("$HOME (x)"), json!({"a": ["b", {"c": 1}]})] {
        assert!(!holds_variable(&value), "{value}");
    }
}

proptest! {
    #[test]
    fn never_panics(input in r#"(\$|\(|\)|\[|\]|\.|\*|"|'|params|platform|tasks|context|é|[a-z0-9]{1,3}){0,24}"#) {
        let platform = arm64();
        let path = Path::root("f");
        let _ = scope(&platform).text(&input, &path);
        let _ = scope(&platform).param(&ParamValue::String(input.clone()), &path);
        let _ = platform_only(&Value::String(input), &platform, &path);
    }

    #[test]
    fn text_without_variables_is_kept(input in "[^$]{0,40}") {
        prop_assert_eq!(text(&input), Ok(input));
    }
}
