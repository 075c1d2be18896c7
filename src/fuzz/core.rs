//! The policies' own reading: platforms, durations, variables, specs, runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::kubernetes::Pod;
use crate::api::tekton::{CustomRun, ParamValue, TaskRun};
use crate::core::observed::{Claim, ClaimFacts, Facts, NodeFacts, Observed, TektonConfig};
use crate::core::path::Path;
use crate::core::plan::{Action, Plan, plan};
use crate::core::platform::Platform;
use crate::core::settings::Settings;
use crate::core::variables::{self, Context, ResultsOfTask, Scope};
use crate::core::{cleanup, duration as durations};

/// What is written again is the same platform, and its key is one that labels, tags and names of results take.
pub(super) fn platform(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(platform) = Platform::parse(text) else { return };
    assert_eq!(Platform::parse(&platform.to_string()).as_ref(), Ok(&platform), "{text:?}");
    let key = platform.key();
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    assert!(!key.is_empty() && key.len() <= 63 && key.chars().all(fine), "{text:?}: {key:?}");
    assert!(!key.ends_with(['-', '.']) && !platform.machine().is_empty(), "{text:?}: {key:?}");
    assert!(platform.shares_nodes_with(&platform));
}

/// What is written again is the same to the millisecond, and what is written twice is the same text.
pub(super) fn duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = durations::parse(text) else { return };
    let written = durations::format(read);
    let again = durations::parse(&written).unwrap_or_default();
    // Beyond 2^40 s a double has no milliseconds left.
    assert!(again.abs_diff(read).as_millis() <= 1 || read.as_secs() > 1 << 40, "{text:?}: {written}");
    assert!(!durations::human(read).is_empty());
}

/// A text without variables stays as it is; one with them has none of ours left, but what was escaped or is known later.
pub(super) fn variables(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::root("x");
    let Ok(platform) = Platform::parse("linux/arm/v7") else { return };
    let params: BTreeMap<String, ParamValue> = [
        ("s".to_owned(), ParamValue::String("text".to_owned())),
        ("dotted.name".to_owned(), ParamValue::String("dots".to_owned())),
        ("a".to_owned(), ParamValue::Array(vec!["1".to_owned(), "2".to_owned()])),
        ("o".to_owned(), ParamValue::Object([("k".to_owned(), "v".to_owned())].into())),
    ]
    .into();
    let known = [("r".to_owned(), ParamValue::String("x".to_owned()))].into();
    let results = [
        ("t".to_owned(), ResultsOfTask::Known(known)),
        ("later".to_owned(), ResultsOfTask::Expected),
        ("no".to_owned(), ResultsOfTask::Skipped),
    ]
    .into();
    let context = Context::default();
    for tasks in [None, Some(&results)] {
        let scope = Scope { params: &params, platform: Some(&platform), tasks, context: &context };
        match scope.text(text, &path) {
            Ok(replaced) if !text.contains("$(") => assert_eq!(replaced, text),
            Ok(replaced) => {
                let left = ["$(platform)", "$(platform.arch)", "$(params.s)"];
                let left = left.iter().find(|variable| replaced.contains(**variable));
                // Two dollars stand for one, and what is put together of two pieces is not read again.
                assert!(left.is_none() || text.matches('$').count() > 1, "{text:?}: {replaced:?}");
            }
            Err(problem) => assert!(!problem.message.is_empty()),
        }
        let list = scope.list(&[text.to_owned(), "$(params.a[*])".to_owned()], &path);
        if let Ok(list) = list {
            assert!(list.len() >= 2, "{list:?}");
        }
        let _ = scope.optional(Some(&text.to_owned()), &path);
        let _ = scope.param(&ParamValue::Array(vec![text.to_owned()]), &path);
    }
    let value = json!({ "script": text });
    if let Ok(replaced) = variables::platform_only(&value, &platform, &path) {
        // Everything but the platform is Tekton's.
        assert!(text.contains("$(platform") || replaced == value, "{text:?}: {replaced}");
    }
}

/// JSON as the spec of a build: it is refused with words, or it is run, and then nothing is asked for twice.
pub(super) fn spec(bytes: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Value>(bytes) else { return };
    let run = json!({
        "metadata": {"name": "app", "namespace": "ci", "uid": "u", "generation": 1},
        "spec": {
            "customSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": spec},
            "params": [{"name": "IMAGE", "value": "r.example/a:v1"}, {"name": "list", "value": ["linux/amd64", "arm64"]}],
            "workspaces": [{"name": "source", "persistentVolumeClaim": {"claimName": "shared"}}],
        },
    });
    if let Ok(run) = serde_json::from_value::<CustomRun>(run) {
        settle(observed(run));
    }
}

/// JSON as a run with everything around it: `run`, and `children`, `pods` and `claims` by name.
pub(super) fn run(bytes: &[u8]) {
    let Ok(Value::Object(mut given)) = serde_json::from_slice::<Value>(bytes) else { return };
    let mut take = |name: &str| given.remove(name).unwrap_or_default();
    let Ok(run) = serde_json::from_value::<CustomRun>(take("run")) else { return };
    let mut world = observed(run);
    let map = |value: Value| match value {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    for (name, child) in map(take("children")) {
        if let Ok(child) = serde_json::from_value::<TaskRun>(child) {
            world.children.insert(name, Arc::new(child));
        }
    }
    for (name, pod) in map(take("pods")) {
        if let Ok(pod) = serde_json::from_value::<Pod>(pod) {
            world.pods.insert(name, Arc::new(pod));
        }
    }
    let finished = world.run.status.as_ref().is_some_and(cleanup::is_finished);
    let planned = look(&world);
    assert!(!finished || planned.status.is_none(), "a run that is over changes to {:?}", planned.status);
}

/// What there is around a run when it begins.
fn observed(run: CustomRun) -> Observed {
    let nodes = [("a".to_owned(), NodeFacts::linux("amd64")), ("b".to_owned(), NodeFacts::linux("arm64"))];
    let claim =
        ClaimFacts { access_modes: vec!["ReadWriteMany".to_owned()], bound: true, ..ClaimFacts::default() };
    let now = Timestamp::from_second(1_767_261_600).unwrap_or(Timestamp::UNIX_EPOCH);
    Observed {
        nodes: Some(Arc::new(nodes.into())),
        facts: Facts {
            claims: [("shared".to_owned(), Claim::Found(claim))].into(),
            tekton: TektonConfig { coschedule: Some("workspaces".to_owned()), ..TektonConfig::default() },
            ..Facts::default()
        },
        ..Observed::alone(run, Arc::new(Settings::default()), now)
    }
}

/// One look. The same look sees the same.
fn look(world: &Observed) -> Plan {
    let planned = plan(world);
    let again = plan(world);
    assert_eq!(planned.actions, again.actions, "two looks at one run differ");
    assert_eq!(planned.status, again.status, "two looks at one run differ");
    planned
}

/// Does what is planned until nothing more is.
fn settle(mut world: Observed) {
    for round in 0..8 {
        let planned = look(&world);
        assert!(
            round > 0 || planned.status.is_some() || !planned.actions.is_empty(),
            "a run is neither gone on with nor refused"
        );
        if planned.status.is_none() && planned.actions.is_empty() {
            return;
        }
        for action in planned.actions {
            carry_out(&mut world, &action);
        }
        // With what was done, the plan may say more; only what it says then is written.
        let planned = look(&world);
        if let Some(status) = planned.status.filter(|_| planned.actions.is_empty()) {
            let mut run = (*world.run).clone();
            run.status = Some(status.written());
            world.run = Arc::new(run);
        }
    }
    let planned = plan(&world);
    assert!(planned.actions.is_empty() && planned.status.is_none(), "it never settles: {planned:#?}");
}

fn carry_out(world: &mut Observed, action: &Action) {
    match action {
        Action::CreateClaim(claim) => {
            let facts = ClaimFacts {
                access_modes: vec!["ReadWriteMany".to_owned()],
                bound: true,
                ..ClaimFacts::default()
            };
            world.facts.claims.insert(claim.metadata.name.clone(), Claim::Found(facts));
        }
        Action::CreateTaskRun(body) => {
            let name = body.metadata.name.clone();
            assert!(!name.is_empty() && name.len() <= 63, "{name:?} is no name of an object");
            assert!(!world.children.contains_key(&name), "{name} is made twice");
            let mut value = serde_json::to_value(body).unwrap_or_default();
            value["metadata"]["uid"] = json!(format!("uid-{name}"));
            if let Ok(child) = serde_json::from_value::<TaskRun>(value) {
                world.children.insert(name, Arc::new(child));
            }
        }
        Action::CancelTaskRun { name, .. } | Action::DeleteTaskRun { name, .. } => {
            world.children.remove(name);
        }
    }
}
