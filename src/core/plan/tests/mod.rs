//! Runs played through from beginning to end, in a world that does at once what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::kubernetes::Pod;
use crate::api::names::label;
use crate::api::tekton::{Condition, CustomRun, TaskRun};
use crate::core::observed::{Claim, ClaimFacts, Definition, Facts, NodeFacts, Nodes, RefusalReason};
use crate::core::request::tests::run_with;
use crate::core::settings::Settings;

mod children;
mod claims;
mod failing;
mod stopping;
mod world;

use world::*;

#[test]
fn a_run_goes_from_start_to_end() {
    let build = with(two(), json!({"index": {"image": "r/app:v1"}}));
    let mut world = World::new(&build, json!({}));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
    assert_eq!(world.phases(), [Phase::Pending, Phase::Pending]);
    world.run_pod(AMD64, "node-a");
    world.run_pod(ARM64, "node-b");
    world.settle();
    assert_eq!(world.phases(), [Phase::Running, Phase::Running]);
    assert_eq!(world.condition().message, "linux/amd64 running, linux/arm64 running");
    world.pass(Duration::from_secs(130));
    world.succeed(AMD64, image('a'));
    world.settle();
    assert_eq!(world.condition().message, "linux/amd64 succeeded in 2m10s, linux/arm64 running");
    world.pass(Duration::from_secs(10));
    world.succeed(ARM64, image('b'));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64, "app-build"]);
    let index = serde_json::to_value(&world.bodies["app-build"]).unwrap();
    assert_eq!(
        index["metadata"]["ownerReferences"],
        json!([
            {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "name": "app-build", "uid": "uid-run", "controller": false, "blockOwnerDeletion": true},
            {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "app", "uid": "uid-pr", "controller": true},
        ])
    );
    let args: Vec<&str> = index["spec"]["taskSpec"]["steps"][0]["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    assert_eq!(
        args,
        [
            "index",
            "push",
            "--results-dir=/tekton/results",
            "--",
            "r/app:v1",
            &format!("linux/amd64=docker://r/app@{}", digest('a')),
            &format!("linux/arm64=docker://r/app@{}", digest('b')),
        ]
    );
    let images = format!("r/app@{},r/app@{},r/app@{}", digest('c'), digest('a'), digest('b'));
    world.succeed(
        "app-build",
        json!([
            {"name": "IMAGE_URL", "value": "r/app:v1"}, {"name": "IMAGE_DIGEST", "value": digest('c')},
            {"name": "IMAGE_REF", "value": format!("r/app@{}", digest('c'))}, {"name": "IMAGES", "value": images},
        ]),
    );
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
    assert_eq!(world.result("IMAGE_DIGEST"), Some(digest('c')));
    assert_eq!(world.result("IMAGES"), Some(images));
    assert_eq!(world.result("linux-arm64-IMAGE_DIGEST"), Some(digest('b')));
    assert_eq!(world.result("linux-amd64-IMAGE_URL").as_deref(), Some("r/app:v1"));
    assert_eq!(world.result("PLATFORMS").as_deref(), Some(r#"["linux/amd64","linux/arm64"]"#));
    assert_eq!(world.extra().platforms[1].digest, digest('b'));
    assert_eq!(world.extra().platforms[1].node, "node-b");
    assert!(world.condition().message.ends_with(&format!("index pushed as {}", digest('c'))));
    assert_eq!(
        world.events,
        [
            "Normal Started: building for linux/amd64, linux/arm64".to_owned(),
            "Normal Built: linux/amd64 was built".to_owned(),
            "Normal Built: linux/arm64 was built".to_owned(),
            format!("Normal Succeeded: {}", world.condition().message),
        ]
    );
    assert_eq!(world.writes, 5, "one status for each visible change");
    assert_eq!(world.settle(), None, "a finished run is left alone");
}

#[test]
fn without_an_index_results_are_arrays() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, json!([{"name": "IMAGE_DIGEST", "value": digest('b')}]));
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
    assert_eq!(world.result("IMAGE_DIGEST"), Some(json!([digest('a'), digest('b')]).to_string()));
    assert_eq!(world.result("IMAGE_URL"), None, "an array with a gap would lie");
    assert_eq!(world.result("linux-amd64-IMAGE_URL").as_deref(), Some("r/app:v1"));
}

#[test]
fn places_are_given_in_the_order_of_the_list() {
    let build = json!({"platforms": ["amd64", "arm64", "s390x"], "taskRef": {"name": "x"}, "strategy": {"maxParallel": 1}});
    let mut world = World::new(&build, json!({}));
    world.settle();
    assert_eq!(world.created, [AMD64]);
    assert_eq!(world.phases(), [Phase::Pending, Phase::Waiting, Phase::Waiting]);
    assert!(
        world
            .condition()
            .message
            .contains("linux/arm64 waiting: waits for one of 1 places (strategy.maxParallel)")
    );
    world.succeed(AMD64, json!([]));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
    world.succeed(ARM64, json!([]));
    world.settle();
    world.succeed("app-build-linux-s390x", json!([]));
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
}

/// The children that are made to judge a run before it is taken on are those of the first task; a platform may begin with another.
#[test]
fn a_platform_that_skips_the_first_task_begins_with_the_second() {
    let build = json!({
        "platforms": ["amd64", "arm64"],
        "tasks": [
            {"name": "test", "taskRef": {"name": "test"}, "when": [{"input": "$(platform.arch)", "operator": "in", "values": ["amd64"]}]},
            {"name": "build", "taskRef": {"name": "build"}},
        ],
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    assert_eq!(world.created, ["app-build-linux-amd64-test", "app-build-linux-arm64-build"]);
    for (child, task) in [("app-build-linux-amd64-test", "test"), ("app-build-linux-arm64-build", "build")] {
        let body = serde_json::to_value(&world.bodies[child]).unwrap();
        assert_eq!(body["spec"]["taskRef"], json!({"name": task}));
        assert_eq!(body["metadata"]["labels"][label::TASK], task);
    }
}

#[test]
fn a_chain_hands_results_on_and_one_platform_may_be_ahead() {
    let build = json!({
        "platforms": ["amd64", "arm64"],
        "tasks": [
            {"name": "clone", "taskRef": {"name": "clone"}},
            {"name": "test", "taskRef": {"name": "test"}, "when": [{"input": "$(platform.arch)", "operator": "in", "values": ["amd64"]}]},
            {"name": "build", "taskRef": {"name": "build"}, "params": [{"name": "commit", "value": "$(tasks.clone.results.commit)"}]},
        ],
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    assert_eq!(world.created, ["app-build-linux-amd64-clone", "app-build-linux-arm64-clone"]);
    world.succeed("app-build-linux-arm64-clone", json!([{"name": "commit", "value": "c1\n"}]));
    world.settle();
    assert_eq!(world.created.last().unwrap(), "app-build-linux-arm64-build", "test is skipped on arm64");
    assert_eq!(world.params("app-build-linux-arm64-build"), json!([{"name": "commit", "value": "c1"}]));
    let skipped = &world.extra().platforms[1].tasks[1];
    assert_eq!((skipped.phase, skipped.reason.as_str()), (Phase::Skipped, "When"));
    world.succeed("app-build-linux-arm64-build", image('b'));
    world.settle();
    assert_eq!(world.phases(), [Phase::Pending, Phase::Succeeded]);
    world.succeed("app-build-linux-amd64-clone", json!([{"name": "other", "value": "x"}]));
    world.settle();
    world.succeed("app-build-linux-amd64-test", json!([]));
    world.settle();
    assert_eq!(
        world.verdict(),
        outcome("False", "UnknownVariable"),
        "the result that the next task needs is not there"
    );
    assert!(
        world
            .condition()
            .message
            .contains("$(tasks.clone.results.commit) has no value: the task \"clone\" wrote other"),
        "{}",
        world.condition().message
    );
}

#[test]
fn a_definition_is_frozen_when_the_run_is_accepted() {
    let by_ref = || -> CustomRun {
        let mut run = run_with(&json!({}), json!({}));
        run.spec.custom_spec = None;
        run.spec.custom_ref = serde_json::from_value(
            json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "image"}),
        )
        .unwrap();
        run
    };
    let mut world = World::with_run(by_ref());
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "MultiArchBuildNotFound"));
    let mut world = World::with_run(by_ref());
    world.observed.facts.definition = Definition::Found {
        uid: "u".into(),
        generation: 3,
        spec: with(two(), json!({"strategy": {"maxParallel": 1}})),
    };
    world.settle();
    assert_eq!(world.created, [AMD64]);
    assert_eq!(world.extra().plan.unwrap().definition.as_ref().unwrap().generation, 3);
    world.observed.facts = Facts::default();
    world.succeed(AMD64, json!([]));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64], "the spec of the start counts");
}

#[test]
fn the_largest_run_is_taken_on_and_creates_the_first_task_of_every_platform() {
    let platforms: Value = (0..64).map(|number| json!(format!("linux/arm64/v8.{number}"))).collect();
    let tasks: Value =
        (0..64).map(|number| json!({"name": format!("t{number}"), "taskRef": {"name": "x"}})).collect();
    let params: Value = (0..100).map(|number| json!({"name": format!("p{number}"), "value": "x"})).collect();
    let mut world = World::new(&json!({"platforms": platforms, "tasks": tasks}), json!({"params": params}));
    world.settle();
    assert_eq!(world.created.len(), 64);
    assert_eq!(world.extra().platforms.iter().map(|platform| platform.tasks.len()).sum::<usize>(), 4096);
    let size = serde_json::to_string(&world.observed.run.status).unwrap().len();
    assert!(size < 1_000_000, "the status takes {size} bytes, of 1.5 MB that an object may");
}

#[test]
fn looks_are_spread_over_time() {
    let span = Duration::from_mins(5);
    let spread: Vec<Duration> = (0..200).map(|number| jittered(span, &format!("uid-{number}"))).collect();
    assert!(spread.iter().all(|wait| (span..span * 2).contains(wait)), "{spread:?}");
    let halves = spread.iter().filter(|wait| **wait < span * 3 / 2).count();
    assert!((50..150).contains(&halves), "{halves} of 200 are in the first half");
    assert_eq!(jittered(span, "uid-7"), spread[7], "and stay where they are");
}
