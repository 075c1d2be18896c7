//! Runs that fail: for what, and in which words.

use super::*;

#[test]
fn the_first_failure_ends_the_others() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    world.report(ARM64, "False", "StepFailed", "step build exited with 1", json!([]));
    world.settle();
    assert_eq!(world.cancelled, [AMD64]);
    assert_eq!(world.verdict(), outcome("Unknown", "Running"), "False only when the children have ended");
    assert!(world.condition().message.contains("coming to its end: linux/arm64 failed"));
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "BuildFailed"));
    assert_eq!(world.phases(), [Phase::Cancelled, Phase::Failed]);
    assert_eq!(
        world.condition().message,
        "linux/arm64 failed: step build exited with 1 (linux/amd64 cancelled, linux/arm64 failed after 0s)",
        "the cause stands there once"
    );
}

#[test]
fn each_cause_is_told_once() {
    let build = json!({
        "platforms": ["linux/amd64", "linux/arm64", {"platform": "linux/s390x", "required": false}],
        "taskRef": {"name": "x"}, "strategy": {"failFast": false},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    for name in [AMD64, ARM64, "app-build-linux-s390x"] {
        world.report(name, "False", "StepFailed", "broken", json!([]));
    }
    world.settle();
    assert_eq!(
        world.condition().message,
        "linux/amd64 failed: broken; linux/arm64 failed: broken (linux/amd64 failed after 0s, linux/arm64 failed after 0s, \
         linux/s390x failed after 0s: broken (optional, left out))"
    );
}

#[test]
fn the_cause_of_an_end_survives_a_crash_before_it_was_written() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    // The cancel was carried out, the status was not written.
    let actions = plan(&world.observed).actions;
    for action in actions {
        world.act(action);
    }
    world.end_cancelled();
    world.settle();
    assert_eq!(world.phases(), [Phase::Cancelled, Phase::Failed]);
    assert!(
        world.condition().message.starts_with("linux/arm64 failed: broken ("),
        "{}",
        world.condition().message
    );
}

#[test]
fn without_fail_fast_everybody_finishes() {
    let mut world = World::new(&with(two(), json!({"strategy": {"failFast": false}})), json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    world.settle();
    assert_eq!(world.cancelled, Vec::<String>::new());
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
    world.succeed(AMD64, image('a'));
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "BuildFailed"));
    assert_eq!(world.result("linux-amd64-IMAGE_DIGEST"), Some(digest('a')), "what there is, is reported");
    assert_eq!(world.result("PLATFORMS").as_deref(), Some(r#"["linux/amd64"]"#));
}

#[test]
fn an_optional_platform_is_left_out_and_named() {
    let build = json!({
        "platforms": [
            "linux/amd64", {"platform": "linux/arm64", "required": false}, {"platform": "linux/s390x", "required": false},
        ],
        "taskRef": {"name": "x"}, "index": {"image": "r/app:v1"},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    world.settle();
    assert_eq!(world.cancelled, Vec::<String>::new());
    let told = "Warning StepFailed: linux/arm64 failed: broken";
    assert!(world.events.iter().any(|event| event == told), "{:#?}", world.events);
    world.succeed(AMD64, image('a'));
    world.succeed("app-build-linux-s390x", image('b'));
    world.settle();
    let index = &world.bodies["app-build"];
    let args = index.spec.task_spec.as_ref().unwrap()["steps"][0]["args"].to_string();
    assert!(args.contains("linux/amd64=") && !args.contains("linux/arm64="), "{args}");
    world.succeed("app-build", json!([{"name": "IMAGE_DIGEST", "value": digest('c')}]));
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
    assert!(world.condition().message.contains("linux/arm64 failed after 0s: broken (optional, left out)"));
    let left_out = world.events.iter().filter(|event| event.starts_with("Warning PlatformLeftOut"));
    assert_eq!(
        left_out.collect::<Vec<_>>(),
        ["Warning PlatformLeftOut: linux/arm64 is optional and failed: broken"]
    );
}

#[test]
fn a_run_of_which_nothing_was_built_fails() {
    let build = json!({"platforms": [{"platform": "arm64", "required": false}], "taskRef": {"name": "x"}});
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "NothingBuilt"));
}

#[test]
fn an_index_that_ended_before_its_run_could_not_be_read_any_more_is_told() {
    let mut world = World::new(&with(two(), json!({"index": {"image": "r/app:v1"}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    world.succeed("app-build", json!([{"name": "IMAGE_DIGEST", "value": digest('c')}]));
    let run = Arc::make_mut(&mut world.observed.run);
    run.spec.custom_spec.as_mut().unwrap().spec["platforms"] = json!(["s390x"]);
    run.metadata.generation = Some(2);
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "SpecChanged"));
    assert_eq!(world.extra().index.unwrap().phase, Phase::Succeeded, "it is in the registry");
}

#[test]
fn a_pod_on_a_foreign_node_fails() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    world.run_pod(ARM64, "node-a");
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "WrongNode"));
    assert!(world.condition().message.contains("was placed on node-a, which is no node of linux/arm64"));
}

#[test]
fn a_platform_that_says_nothing_of_its_image_is_named() {
    let mut world = World::new(&with(two(), json!({"index": {"image": "r/app:v1"}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, json!([{"name": "IMAGE_URL", "value": "r/app"}]));
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "ResultMissing"));
    assert!(
        world.condition().message.contains(
            "linux/arm64 results: no result IMAGE_DIGEST says what was built (there are: IMAGE_URL)"
        ),
        "{}",
        world.condition().message
    );
}

#[test]
fn an_index_that_fails_fails_the_run() {
    let mut world = World::new(&with(two(), json!({"index": {"image": "r/app:v1"}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    world.report("app-build", "False", "StepFailed", "denied", json!([]));
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "IndexFailed"));
    assert_eq!(world.result("linux-amd64-IMAGE_DIGEST"), Some(digest('a')));
    assert_eq!(world.result("IMAGE_DIGEST"), None, "there is no index to speak of");
}

#[test]
fn bad_input_ends_the_run_with_a_reason_of_its_own() {
    for (build, spec, reason) in [
        (json!({}), json!({}), "EmptySpec"),
        (json!({"taskRef": {"name": "x"}}), json!({}), "NoPlatforms"),
        (json!({"platforms": ["amd64"]}), json!({}), "NoTask"),
        (with(two(), json!({"platfrom": 1})), json!({}), "UnknownField"),
        (with(two(), json!({"platforms": ["linux/amd65"]})), json!({}), "InvalidPlatform"),
        (with(two(), json!({"platforms": ["amd64", "amd64"]})), json!({}), "DuplicatePlatform"),
        (with(two(), json!({"params": [{"name": "x"}]})), json!({}), "MissingParam"),
        (
            with(
                two(),
                json!({"taskRunTemplate": {"podTemplate": {"nodeSelector": {"kubernetes.io/arch": "amd64"}}}}),
            ),
            json!({}),
            "SelectorContradictsPlatform",
        ),
        (two(), json!({"timeout": "x"}), "InvalidRun"),
    ] {
        let mut world = World::new(&build, spec);
        assert_eq!(world.settle(), None);
        assert_eq!(world.verdict(), outcome("False", reason), "{build}");
        assert_eq!(world.created, Vec::<String>::new());
        assert_eq!(world.writes, 1);
        let event = world.events.last().unwrap();
        assert!(event.starts_with(&format!("Warning {reason}: ")), "{event}");
        let status = world.observed.run.status.as_ref().unwrap();
        assert!(status.completion_time.is_some() && status.start_time.is_some());
    }
}

#[test]
fn results_that_no_object_can_hold_fail_the_run() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    for name in [AMD64, ARM64] {
        world.succeed(name, json!([{"name": "SBOM", "value": "x".repeat(400_000)}]));
    }
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "ResultsTooLarge"));
    assert_eq!(world.result("PLATFORMS"), None);
}

/// A run whose first tasks have written more than its status can hold.
fn overflowing() -> World {
    let task = |name: &str| json!({"name": name, "taskRef": {"name": "x"}});
    let build = json!({"platforms": ["linux/amd64", "linux/arm64"], "tasks": [task("scan"), task("build")]});
    let mut world = World::new(&build, json!({}));
    world.settle();
    let scans = [format!("{AMD64}-scan"), format!("{ARM64}-scan")];
    for scan in &scans {
        world.succeed(scan, json!([{"name": "SBOM", "value": "x".repeat(800_000)}]));
        world.settle();
    }
    world
}

#[test]
fn results_that_no_status_can_hold_end_a_run_that_goes_on() {
    let mut world = overflowing();
    // By then the first platform's second task is at work.
    assert_eq!(world.cancelled, [format!("{AMD64}-build")]);
    assert_eq!(world.verdict(), outcome("Unknown", "Running"), "False only when the children have ended");
    let size = |world: &World| serde_json::to_string(&world.observed.run.status).unwrap().len();
    assert!(size(&world) < 100_000, "no status is written that the server would not take");
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "ResultsTooLarge"));
    assert!(world.condition().message.contains("have the tasks write less"), "{}", world.condition().message);
    assert_eq!(world.observed.run.status.as_ref().unwrap().results, [], "nothing is half there");
    assert!(size(&world) < 100_000);
}

/// Seed 149881 of the simulator.
#[test]
fn results_that_were_left_out_stay_out_where_the_run_is_cancelled_then() {
    let mut world = overflowing();
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"));
    assert_eq!(world.observed.run.status.as_ref().unwrap().results, [], "nothing is half there");
}

#[test]
fn another_error_of_a_container_is_a_failure_at_once() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.report(ARM64, "False", "CreateContainerConfigError", "secret \"x\" not found", json!([]));
    world.settle();
    assert_eq!(world.deleted, Vec::<String>::new());
    assert_eq!(world.phases()[1], Phase::Failed);
}

/// Results of ten kilobytes are far from what an object takes, however the run ends.
#[test]
fn large_results_are_told() {
    let large = json!([{"name": "REPORT", "value": "x".repeat(10_000)}]);
    for (status, verdict) in [("True", "Succeeded"), ("False", "BuildFailed")] {
        let mut world = World::new(&with(two(), json!({"strategy": {"failFast": false}})), json!({}));
        world.settle();
        world.succeed(AMD64, large.clone());
        world.report(ARM64, status, "words", "words", large.clone());
        world.settle();
        assert_eq!(world.verdict().1, verdict);
        assert_eq!(world.result("linux-amd64-REPORT").map(|report| report.len()), Some(10_000), "{verdict}");
    }
}

#[test]
fn a_run_that_never_began_says_only_why() {
    let mut world = World::new(&with(two(), json!({"platforms": ["linux/amd65"]})), json!({}));
    world.settle();
    // No platform has anything to tell.
    let message = world.condition().message;
    assert!(message.ends_with(r#"did you mean "amd64"?"#), "{message}");
}

#[test]
fn a_platform_s_digest_is_the_result_that_the_index_takes() {
    let index = json!({"image": "r/app:v1", "results": {"digest": "MINE"}});
    for (build, found) in [(with(two(), json!({"index": index})), digest('b')), (two(), digest('a'))] {
        let mut world = World::new(&build, json!({}));
        world.settle();
        world.succeed(
            AMD64,
            json!([{"name": "IMAGE_URL", "value": "r/app"}, {"name": "IMAGE_DIGEST", "value": digest('a')}, {"name": "MINE", "value": digest('b')}]),
        );
        world.settle();
        assert_eq!(world.extra().platforms[0].digest, found);
    }
}
