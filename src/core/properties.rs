//! Laws that hold for any run, whatever is asked for and whatever happens to it.
//!
//! [`specs`] makes builds as people write them, and builds with faults; [`world`] plays a run through: children report, fail, vanish and
//! come back, creations are refused, the controller dies between two steps. Here are the laws.
//!
//! What once broke one of them is kept under `proptest-regressions/` and tried first.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::path::Path;
use super::placement::{self, Layer};
use super::plan::plan;
use super::platform::Platform;
use super::request::tests::run_with;
use super::variables::{self, Context, ResultsOfTask, Scope};
use super::{duration, names, pending, results, workspaces};
use crate::api::status::Phase;
use crate::api::tekton::{CustomRun, ParamValue, TaskRun};

mod specs;
mod world;

use specs::{any_json, case, damaged};
use world::{Step, World};

/// Fewer cases than usual, since each is a whole life; `PROPTEST_CASES` asks for more.
fn lives() -> ProptestConfig {
    let usual = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { ProptestConfig { cases: 96, ..usual } }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(world::step(), 0..40)
}

proptest! {
    #![proptest_config(lives())]

    #[test]
    fn a_run_keeps_every_law_whatever_happens(case in case(), steps in steps()) {
        let mut world = World::new(&case);
        world.look()?;
        for step in &steps {
            world.take(step);
            world.look()?;
        }
    }

    /// Nothing is forgotten: as long as the children do their part, a run comes to its end.
    #[test]
    fn a_run_whose_children_succeed_ends(case in case(), steps in prop::collection::vec(world::step(), 0..12)) {
        let mut world = World::new(&case);
        world.look()?;
        for step in &steps {
            world.take(step);
            world.look()?;
        }
        world.calm();
        for _ in 0..200 {
            if world.is_over() {
                break;
            }
            world.let_everybody_succeed();
            world.look()?;
        }
        prop_assert!(world.is_over(), "{:#?}", world.status());
    }

    #[test]
    fn a_build_with_a_fault_in_it_is_taken_or_refused(case in damaged()) {
        let mut world = World::new(&case);
        world.look()?;
        world.let_everybody_succeed();
        world.look()?;
    }

    #[test]
    fn what_an_earlier_version_left_in_the_status_stops_nobody(case in case(), extra in any_json()) {
        let mut world = World::new(&case);
        let status = json!({"extraFields": extra, "startTime": "2026-01-01T10:00:00Z"});
        world.set_status(status);
        world.look()?;
    }
}

proptest! {
    #[test]
    fn any_json_is_a_spec_or_an_error_with_a_reason(spec in any_json()) {
        let run = run_with(&spec, json!({}));
        let planned = plan(&World::around(run).observed);
        // Either it goes on, or it says why not; never nothing.
        prop_assert!(planned.status.is_some() || !planned.actions.is_empty());
    }

    #[test]
    fn any_json_is_a_run_or_none(value in any_json()) {
        let _ = serde_json::from_value::<CustomRun>(json!({"metadata": {"name": "r"}, "spec": value}));
        let _ = serde_json::from_value::<TaskRun>(json!({"metadata": {"name": "r"}, "spec": {}, "status": value}));
    }

    #[test]
    fn substitution_takes_any_json(value in any_json(), tasks in any::<bool>()) {
        let params = [
            ("s".to_owned(), ParamValue::String("text".into())),
            ("a".to_owned(), ParamValue::Array(vec!["1".into(), "2".into()])),
            ("o".to_owned(), ParamValue::Object([("k".to_owned(), "v".to_owned())].into())),
        ]
        .into();
        let platform = Platform::parse("linux/arm64").unwrap();
        let results = [
            ("t".to_owned(), ResultsOfTask::Known([("r".to_owned(), ParamValue::String("x".into()))].into())),
            ("later".to_owned(), ResultsOfTask::Expected),
            ("no".to_owned(), ResultsOfTask::Skipped),
        ]
        .into();
        let context = Context::default();
        let scope =
            Scope { params: &params, platform: Some(&platform), tasks: tasks.then_some(&results), context: &context };
        let path = Path::root("x");
        if let Ok(replaced) = scope.json(&value, &path) {
            // What has been replaced once has nothing left to replace, but what is known later and what was escaped.
            let text = replaced.to_string();
            prop_assert!(!text.contains("$(platform.arch)") || value.to_string().contains("$$("), "{text}");
        }
        let _ = scope.param(&ParamValue::from(value.clone()), &path);
        let _ = variables::platform_only(&value, &platform, &path);
    }

    #[test]
    fn merging_takes_any_json(layers in prop::collection::vec(any_json(), 0..4), named in prop::collection::vec(any_json(), 0..4)) {
        let platform = Platform::parse("linux/arm64").unwrap();
        let layers: Vec<Layer<'_>> = layers
            .iter()
            .enumerate()
            .map(|(number, template)| Layer { template, place: (number % 2 == 0).then(|| Path::root("x")) })
            .collect();
        let merged = placement::merge(&layers);
        // Merging what is merged changes nothing.
        let merged = Value::Object(merged);
        prop_assert_eq!(placement::merge(&[Layer { template: &merged, place: None }]), placement::merge(&layers));
        if let Ok(placed) = placement::place(&layers, &platform)
            && placed["nodeSelector"].is_object()
        {
            prop_assert_eq!(&placed["nodeSelector"]["kubernetes.io/arch"], "arm64");
        }
        let mut list = Vec::new();
        placement::by_key(&mut list, &named, "name");
    }

    #[test]
    fn any_text_is_a_duration_or_none(text in r"([0-9.]{0,6}(h|m|s|ms|us|µs|ns|d)?){0,4}|\PC{0,12}") {
        if let Ok(parsed) = duration::parse(&text) {
            // Written and read again, it is the same to the millisecond.
            let again = duration::parse(&duration::format(parsed)).unwrap();
            prop_assert!(parsed.abs_diff(again).as_millis() <= 1 || parsed.as_secs() > 1 << 40, "{text}: {parsed:?}, {again:?}");
        }
    }

    #[test]
    fn any_words_of_the_scheduler_are_read(words in r"(0/3 nodes are available: )?([0-9] |Insufficient cpu|node\(s\) |untolerated taint|volume|, |\. |\PC){0,12}", reason in "[A-Za-z]{0,12}") {
        let pod = serde_json::from_value(json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": reason, "message": words}]}}))
        .unwrap();
        let child = serde_json::from_value(json!({"metadata": {"name": "t"}, "spec": {}})).unwrap();
        let told = pending::diagnose(pending::Waiting { child: &child, pod: Some(&pod), notes: &[], platform: None, nodes: None });
        prop_assert!(told.is_some_and(|told| told.unscheduled));
    }

    #[test]
    fn names_are_those_of_objects(parent in "[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", key in "linux-(amd64|arm-v7|arm64-v8\\.1)", task in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?") {
        let name = names::child_name(&parent, &format!("-{key}-{task}"));
        prop_assert!(world::is_name(&name) || !world::is_name(&parent), "{name}");
        prop_assert_eq!(&name, &names::child_name(&parent, &format!("-{key}-{task}")));
    }
}

/// The generators reach what they are for: without this, laws would hold of nothing.
#[test]
fn the_generators_reach_every_end() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, TestRunner};

    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mut seen: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    let mut phases: std::collections::BTreeSet<Phase> = std::collections::BTreeSet::new();
    for _ in 0..250 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(&case);
        world.look().unwrap();
        for step in &steps {
            world.take(step);
            world.look().unwrap();
        }
        world.calm();
        for _ in 0..30 {
            world.let_everybody_succeed();
            world.look().unwrap();
        }
        let status = world.status();
        seen.extend(status.conditions.iter().map(|condition| condition.reason.clone()));
        let platforms = world.platforms();
        for task in platforms.iter().flat_map(|platform| &platform.tasks) {
            phases.insert(task.phase);
            seen.insert(task.reason.clone());
        }
    }
    for reason in [
        "Succeeded",
        "BuildFailed",
        "CustomRunCancelled",
        "CustomRunTimedOut",
        "WorkspaceNotShareable",
        "NameTaken",
        "ChildRejected",
        "PendingTimeout",
        "IndexFailed",
        "SpecChanged",
        "When",
        "Reused",
        "RunEnded",
    ] {
        assert!(seen.contains(reason), "no case came to {reason}: {seen:?}");
    }
    for phase in [Phase::Skipped, Phase::Succeeded, Phase::Failed, Phase::Cancelled] {
        assert!(phases.contains(&phase), "no task became {phase:?}");
    }
    assert!(results::MOST_BYTES > 0 && workspaces::claims_of(&run_with(&json!({}), json!({}))).is_empty());
}
