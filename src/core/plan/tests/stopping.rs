//! Runs, and children, that are stopped: cancelled, out of time, given up, over.

use super::*;

#[test]
fn a_cancelled_run_waits_for_its_children() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.settle();
    let run = Arc::make_mut(&mut world.observed.run);
    run.spec.status = Some("RunCancelled".into());
    run.spec.status_message =
        Some("CustomRun cancelled as the PipelineRun it belongs to has been cancelled.".into());
    run.metadata.generation = Some(2);
    world.settle();
    assert_eq!(world.cancelled, [ARM64]);
    assert_eq!(world.verdict().0, "Unknown");
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"));
    assert!(world.condition().message.starts_with("CustomRun cancelled as the PipelineRun"));
    assert_eq!(world.phases(), [Phase::Succeeded, Phase::Cancelled]);
    assert_eq!(world.observed.run.status.as_ref().unwrap().observed_generation, Some(2));
}

#[test]
fn a_run_cancelled_before_it_started_creates_nothing() {
    let template = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    let with_claim = with(two(), json!({"workspaces": [{"name": "w"}]}));
    for (build, workspaces) in [
        (two(), json!([])),
        (json!({}), json!([])),
        (with_claim, json!([{"name": "w", "volumeClaimTemplate": template}])),
    ] {
        let mut world = World::new(&build, json!({"status": "RunCancelled", "workspaces": workspaces}));
        world.settle();
        assert_eq!(world.created, Vec::<String>::new());
        assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"), "{build}");
    }
}

#[test]
fn a_cancel_comes_before_an_end_under_way() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    world.settle();
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"));
}

/// A spec is read again where it may have changed, and only there: an archfan that digests it otherwise goes on with what another one has
/// accepted.
#[test]
fn a_digest_of_another_version_stops_nobody() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    let run = Arc::make_mut(&mut world.observed.run);
    let digest = run.status.as_mut().unwrap().extra_fields.pointer_mut("/plan/specDigest").unwrap();
    *digest = json!("of another version");
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
}

/// What archfan itself cancels belongs to an end; what anybody else cancels is a child that will not be built.
#[test]
fn a_child_that_somebody_else_cancels_has_failed() {
    for message in [None, Some("not today"), Some("because of archfan: too slow")] {
        let mut world = World::new(&with(two(), json!({"strategy": {"failFast": false}})), json!({}));
        world.settle();
        let child = world.child(ARM64);
        child.spec.status = Some("TaskRunCancelled".into());
        child.spec.status_message = message.map(str::to_owned);
        world.report(ARM64, "False", "TaskRunCancelled", "TaskRun was cancelled", json!([]));
        world.settle();
        assert_eq!(world.phases(), [Phase::Pending, Phase::Failed], "{message:?}");
        assert_eq!(world.extra().platforms[1].tasks[0].reason, "TaskRunCancelled");
    }
}

#[test]
fn what_is_over_stays_over() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    let end = world.observed.run.status.clone();
    let run = Arc::make_mut(&mut world.observed.run);
    run.spec.status = Some("RunCancelled".into());
    run.metadata.generation = Some(7);
    world.observed.children.clear();
    world.pass(Duration::from_hours(10));
    assert_eq!(world.settle(), None);
    assert_eq!(world.observed.run.status, end);
    assert_eq!(world.created.len(), 2, "nothing is created again");
}

#[test]
fn a_child_that_turns_up_after_the_end_is_stopped() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    let late = world.observed.children.remove(ARM64).unwrap();
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"));
    world.observed.children.insert(ARM64.into(), late);
    world.settle();
    assert_eq!(world.cancelled, [AMD64, ARM64]);
}

#[test]
fn time_is_up_after_as_many_spans_as_there_are_attempts() {
    let mut world = World::new(&two(), json!({"timeout": "10m", "retries": 1}));
    let again = world.settle().unwrap();
    assert!(again <= Duration::from_mins(20), "{again:?}");
    world.pass(Duration::from_mins(20) - Duration::from_secs(1));
    world.settle();
    assert_eq!(world.cancelled, Vec::<String>::new());
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.cancelled, [AMD64, ARM64]);
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunTimedOut"));
    assert!(
        world
            .condition()
            .message
            .starts_with("the run took longer than its timeout of 10m00s for each of 2 attempts")
    );
}

#[test]
fn a_run_without_a_timeout_goes_on() {
    let mut world = World::new(&two(), json!({"timeout": "0"}));
    world.settle();
    world.pass(Duration::from_hours(1000));
    world.settle();
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
}

#[test]
fn waiting_for_a_node_is_explained_and_bounded() {
    let mut world = World::new(&with(two(), json!({"strategy": {"pendingTimeout": "5m"}})), json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    let mut nodes = (**world.observed.nodes.as_ref().unwrap()).clone();
    nodes.remove("node-b");
    world.observed.nodes = Some(Arc::new(nodes.clone()));
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "creationTimestamp": START}, "status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}}))
    .unwrap();
    world.observed.pods.insert(ARM64.into(), Arc::new(pod));
    let again = world.settle().unwrap();
    assert_eq!(again, Duration::from_mins(5));
    assert_eq!(
        world.condition().message,
        "linux/amd64 running, linux/arm64 pending: no node has kubernetes.io/arch=arm64"
    );
    assert_eq!(world.extra().platforms[1].reason, "NoNode");
    assert!(
        world
            .events
            .contains(&"Warning NoNode: linux/arm64 waits: no node has kubernetes.io/arch=arm64".into())
    );
    world.pass(Duration::from_mins(5));
    world.settle();
    assert_eq!(world.cancelled, [AMD64, ARM64]);
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "PendingTimeout"));
    assert!(
        world.condition().message.starts_with(
            "linux/arm64 failed: found no node within 5m00s (strategy.pendingTimeout): no node has kubernetes.io/arch=arm64"
        ),
        "{}",
        world.condition().message
    );
}

#[test]
fn an_optional_platform_that_is_given_up_is_stopped() {
    let build = json!({
        "platforms": ["linux/amd64", {"platform": "linux/arm64", "required": false}],
        "taskRef": {"name": "x"}, "strategy": {"pendingTimeout": "1m"},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    world.pass(Duration::from_mins(1));
    world.settle();
    assert_eq!(world.cancelled, [ARM64]);
    world.succeed(AMD64, image('a'));
    world.settle();
    assert_eq!(world.verdict(), outcome("Unknown", "Running"), "it has not ended yet, and may still write");
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
}

#[test]
fn what_is_known_of_the_index_is_told_to_the_end() {
    let mut world = World::new(&with(two(), json!({"index": {"image": "r/app:v1"}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    world.observed.children.remove("app-build");
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "CustomRunCancelled"));
    assert_eq!(world.extra().index.map(|index| index.phase), Some(Phase::Cancelled));
}

/// Meanwhile somebody may clean up behind the index.
#[test]
fn an_index_that_was_pushed_is_not_pushed_again() {
    let build = json!({
        "platforms": ["linux/amd64", {"platform": "linux/arm64", "required": false}],
        "taskRef": {"name": "x"}, "strategy": {"pendingTimeout": "1m"}, "index": {"image": "r/app:v1"},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    world.pass(Duration::from_mins(1));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.settle();
    world.succeed("app-build", json!([{"name": "IMAGE_DIGEST", "value": digest('c')}]));
    world.settle();
    assert_eq!(world.verdict(), outcome("Unknown", "Running"), "what was given up has not ended yet");
    world.observed.children.remove("app-build");
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
    assert_eq!(world.created, [AMD64, ARM64, "app-build"]);
    assert_eq!(world.result("IMAGE_DIGEST"), Some(digest('c')));
}

#[test]
fn a_child_that_was_given_up_keeps_its_place_until_it_has_ended() {
    let build = json!({
        "platforms": [{"platform": "linux/amd64", "required": false}, "linux/arm64"],
        "taskRef": {"name": "x"}, "strategy": {"pendingTimeout": "1m", "maxParallel": 1},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.pass(Duration::from_mins(1));
    world.settle();
    assert_eq!(world.cancelled, [AMD64]);
    assert_eq!(world.created, [AMD64], "it has been asked to end, and has not yet");
    world.end_cancelled();
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
}

#[test]
fn children_that_the_run_does_not_ask_for_are_stopped_and_waited_for() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    // The spec was changed before the first status was written.
    let run = Arc::make_mut(&mut world.observed.run);
    run.status = None;
    run.spec.custom_spec.as_mut().unwrap().spec["platforms"] = json!(["linux/amd64"]);
    world.settle();
    assert_eq!(world.cancelled, [ARM64]);
    world.succeed(AMD64, image('a'));
    world.settle();
    assert_eq!(world.verdict(), outcome("Unknown", "Running"), "a child is still at work");
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
}

#[test]
fn a_spec_that_changes_under_way_ends_the_run() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    let run = Arc::make_mut(&mut world.observed.run);
    run.spec.custom_spec.as_mut().unwrap().spec["platforms"] = json!(["s390x"]);
    run.metadata.generation = Some(2);
    world.settle();
    assert_eq!(world.cancelled, [AMD64, ARM64]);
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "SpecChanged"));
    assert_eq!(world.phases(), [Phase::Cancelled, Phase::Cancelled]);
    let extra = world.extra();
    let reasons: Vec<&str> = extra.platforms.iter().map(|platform| platform.reason.as_str()).collect();
    assert_eq!(reasons, ["RunEnded", "RunEnded"], "a platform says what its tasks say");
    assert_eq!(extra.platforms[0].message, "");
}

#[test]
fn a_chain_that_cannot_be_read_any_more_still_names_its_tasks() {
    let task = |name: &str| json!({"name": name, "taskRef": {"name": name}});
    let mut world =
        World::new(&json!({"platforms": ["arm64"], "tasks": [task("test"), task("build")]}), json!({}));
    world.settle();
    world.report(&format!("{ARM64}-test"), "False", "StepFailed", "broken", json!([]));
    let run = Arc::make_mut(&mut world.observed.run);
    run.spec.custom_spec.as_mut().unwrap().spec["platforms"] = json!(["s390x"]);
    run.metadata.generation = Some(2);
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "SpecChanged"));
    assert_eq!(world.extra().platforms[0].message, "test: broken");
}

#[test]
fn what_was_given_up_is_not_replaced_however_it_ends() {
    let build = json!({"platforms": ["linux/amd64", {"platform": "linux/arm64", "required": false}], "taskRef": {"name": "x"},
        "strategy": {"pendingTimeout": "1m"}});
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.run_pod(AMD64, "node-a");
    world.pass(Duration::from_mins(1));
    world.settle();
    assert_eq!(world.phases()[1], Phase::Failed);
    let words = "failed to create subPath directory for volumeMount";
    world.report(ARM64, "False", "CreateContainerConfigError", words, json!([]));
    world.settle();
    assert_eq!(world.phases()[1], Phase::Failed);
    assert_eq!(world.deleted, Vec::<String>::new());
}

#[test]
fn a_child_that_was_given_up_is_asked_to_end_once() {
    // The optional platform is given up in the same moment in which the required one says that it built nothing.
    let build = json!({"platforms": [{"platform": "linux/amd64", "required": false}, "linux/arm64"], "taskRef": {"name": "x"},
        "index": {"image": "r/app:v1"}});
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.run_pod(AMD64, "node-b");
    world.succeed(ARM64, json!([]));
    world.settle();
    assert_eq!(world.cancelled, [AMD64]);
}
