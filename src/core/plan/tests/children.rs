//! What happens to a child: deleted, refused, its name taken, its pod left over, taken over from an earlier run.

use super::*;

#[test]
fn a_child_deleted_by_hand_is_created_again() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.run_pod(ARM64, "node-b");
    world.settle();
    world.observed.children.remove(ARM64);
    world.settle();
    assert_eq!(
        world.created,
        [AMD64, ARM64],
        "its pod is still there, and a new TaskRun would take it for its own"
    );
    assert!(
        world.condition().message.contains("created again once its pod is gone"),
        "{}",
        world.condition().message
    );
    world.observed.pods.remove(ARM64);
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64, ARM64]);
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
    assert!(world.events.iter().any(|event| event.starts_with("Warning Deleted: linux/arm64 waits: ")));
    // Tekton may be making a pod for one that had none yet. It is told even if all this is within one second.
    world.observed.children.remove(AMD64);
    assert!(world.settle().unwrap() <= Duration::from_secs(5));
    assert_eq!(world.created, [AMD64, ARM64, ARM64]);
    assert!(world.events.iter().any(|event| event.starts_with("Warning Deleted: linux/amd64 waits: ")));
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64, ARM64, AMD64]);
    assert!(world.extra().platforms.iter().all(|platform| platform.tasks[0].deleted_time.is_none()));
}

#[test]
fn a_child_deleted_by_hand_keeps_its_place() {
    let one_at_once = with(two(), json!({"strategy": {"maxParallel": 1}}));
    let mut world = World::new(&one_at_once, json!({}));
    world.settle();
    world.observed.children.remove(AMD64);
    world.settle();
    assert_eq!(world.created, [AMD64], "{:#?}", world.extra().platforms);
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.created, [AMD64, AMD64]);
}

#[test]
fn a_child_that_is_being_deleted_is_waited_for() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.child(ARM64).metadata.deletion_timestamp = Some(Time(START.parse().unwrap()));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
    assert!(world.condition().message.contains("is being deleted and will be created again"));
}

#[test]
fn what_was_built_is_not_lost_with_its_task_run() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.settle();
    world.observed.children.remove(AMD64);
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64], "it is not built again");
    world.succeed(ARM64, image('b'));
    world.settle();
    assert_eq!(world.result("linux-amd64-IMAGE_DIGEST"), Some(digest('a')));
}

#[test]
fn a_refused_child_fails_or_waits() {
    let refuse = |why| {
        let mut world = World::new(&two(), json!({}));
        world.observed.refusals.push(Refusal { name: ARM64.into(), why });
        world
    };
    let mut world = refuse(RefusalReason::Rejected("admission webhook denied it".into()));
    let told = plan(&world.observed).status.unwrap().written();
    let told: ExtraFields = serde_json::from_value(told.extra_fields).unwrap();
    assert_eq!(told.platforms[1].phase, Phase::Failed, "by the very look that was refused");
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "ChildRejected"));
    assert!(world.condition().message.contains("its TaskRun was refused: admission webhook denied it"));

    let mut world = refuse(RefusalReason::Quota("exceeded quota: taskruns".into()));
    let again = world.settle().unwrap();
    assert_eq!(again, RETRY);
    assert_eq!(world.created, [AMD64]);
    assert_eq!(world.extra().platforms[1].reason, "Quota");
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64], "it is tried again");
}

#[test]
fn a_name_that_is_taken_is_handled() {
    let there = |labels: Value, owner: &str| -> Arc<TaskRun> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": ARM64, "uid": "old", "labels": labels,
                "ownerReferences": [{"apiVersion": "x/v1", "kind": "PipelineRun", "name": owner, "uid": "z"}]}, "spec": {}}))
            .unwrap(),
        )
    };
    for labels in [
        json!({}),
        json!({"archfan.dev/role": "build", "tekton.dev/customRun": "another-run"}),
        json!({"archfan.dev/role": "build"}),
        json!({"tekton.dev/customRun": "app-build"}),
    ] {
        let mut world = World::new(&two(), json!({}));
        let foreign = there(labels, "other");
        world.observed.refusals.push(Refusal { name: ARM64.into(), why: RefusalReason::Taken(foreign) });
        world.settle();
        world.end_cancelled();
        world.settle();
        assert_eq!(world.verdict(), outcome("False", "NameTaken"));
        assert!(
            world
                .condition()
                .message
                .contains("which belongs to the PipelineRun other; rename this pipeline task")
        );
        assert_eq!(world.deleted, Vec::<String>::new(), "it is not ours");
    }

    let mut world = World::new(&two(), json!({}));
    let leftover = there(json!({"archfan.dev/role": "build", "tekton.dev/customRun": "app-build"}), "app");
    let refusal = Refusal { name: ARM64.into(), why: RefusalReason::Taken(leftover) };
    world.observed.refusals.push(refusal);
    let actions = plan(&world.observed).actions;
    assert!(
        actions.contains(&Action::DeleteTaskRun { name: ARM64.into(), uid: "old".into() }),
        "{actions:?}"
    );
}

#[test]
fn what_takes_the_place_of_an_earlier_run_waits_for_the_pods_that_may_still_come() {
    let mut run = run_with(&two(), json!({}));
    run.metadata.creation_timestamp = Some(Time(START.parse().unwrap()));
    let mut world = World::with_run(run);
    world.observed.predecessors = [ARM64.to_owned()].into();
    assert!(world.settle().unwrap() <= Duration::from_secs(5));
    assert_eq!(world.created, [AMD64]);
    let told =
        |event: &String| event.starts_with("Warning NameTaken: linux/arm64 waits: a TaskRun of its name");
    assert!(world.events.iter().any(told), "{:#?}", world.events);
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
}

#[test]
fn a_pod_whose_task_run_has_not_been_seen_yet_holds_its_place() {
    let build = with(two(), json!({"strategy": {"maxParallel": 1}}));
    let mut world = World::new(&build, json!({}));
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    world.observed.pods.insert(AMD64.into(), Arc::new(pod));
    world.settle();
    assert_eq!(world.created, Vec::<String>::new(), "there may be one already");
    world.observed.pods.clear();
    world.settle();
    assert_eq!(world.created, [AMD64]);
}

#[test]
fn children_go_when_their_time_has_come_and_results_stay() {
    let mut world = World::new(&with(two(), json!({"strategy": {"ttlSecondsAfterFinished": 60}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    assert_eq!(world.settle(), Some(Duration::from_mins(1)));
    let end = world.observed.run.status.clone();
    world.pass(Duration::from_secs(59));
    assert_eq!(world.settle(), Some(Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.deleted, [AMD64, ARM64]);
    assert_eq!(world.observed.run.status, end);
}

#[test]
fn an_earlier_child_is_taken_over() {
    let build = with(two(), json!({"strategy": {"reuse": "rev-1"}}));
    let mut first = World::new(&build, json!({}));
    first.settle();
    first.succeed(AMD64, image('a'));
    first.report(ARM64, "False", "StepFailed", "broken", json!([]));
    first.settle();
    let earlier: Vec<Arc<TaskRun>> = first.observed.children.values().cloned().collect();

    let mut run = run_with(&build, json!({}));
    run.metadata.name = Some("second".into());
    run.metadata.uid = Some("uid-second".into());
    let mut second = World::with_run(run);
    second.observed.facts.reusable = earlier.clone();
    second.settle();
    assert_eq!(second.created, ["second-linux-arm64"], "what failed is built again");
    let taken_over = &second.extra().platforms[0].tasks[0];
    assert_eq!(taken_over.reused, AMD64);
    let now = Some(status::whole_seconds(second.observed.now));
    assert_eq!((&taken_over.start_time, &taken_over.completion_time), (&now, &now), "it took no time");
    assert!(
        second.events.iter().any(|event| event.contains("taken over from the TaskRun app-build-linux-amd64"))
    );
    second.succeed("second-linux-arm64", image('b'));
    second.settle();
    assert_eq!(second.result("linux-amd64-IMAGE_DIGEST"), Some(digest('a')));

    for other in [
        with(two(), json!({"strategy": {"reuse": "rev-2"}})),
        with(two(), json!({"strategy": {"reuse": "rev-1"}, "taskRef": {"name": "y"}})),
        two(),
    ] {
        let mut world = World::new(&other, json!({}));
        world.observed.facts.reusable = earlier.clone();
        world.settle();
        assert_eq!(world.created, [AMD64, ARM64], "{other}");
    }
}

#[test]
fn what_has_begun_is_not_traded_for_an_earlier_child() {
    let build = with(two(), json!({"strategy": {"reuse": "rev-1"}}));
    let mut first = World::new(&build, json!({}));
    first.settle();
    let mut run = run_with(&build, json!({}));
    run.metadata.name = Some("second".into());
    run.metadata.uid = Some("uid-second".into());
    let mut second = World::with_run(run);
    second.settle();
    // Of two runs at work at once the other is done first, and this one's own TaskRun is not seen for a while.
    first.succeed(AMD64, image('a'));
    second.observed.facts.reusable = first.observed.children.values().cloned().collect();
    second.observed.children.remove("second-linux-amd64");
    second.settle();
    second.pass(Duration::from_secs(5));
    second.settle();
    assert_eq!(second.created, ["second-linux-amd64", "second-linux-arm64", "second-linux-amd64"]);
    assert_eq!(second.extra().platforms[0].tasks[0].reused, "");
}

#[test]
fn a_child_of_what_has_been_taken_over_is_stopped_and_has_a_place_meanwhile() {
    let build = json!({
        "platforms": ["amd64", "arm64", "s390x"], "taskRef": {"name": "x"}, "strategy": {"reuse": "rev-1", "maxParallel": 1},
    });
    let mut first = World::new(&build, json!({}));
    first.settle();
    first.succeed(AMD64, image('a'));
    let mut run = run_with(&build, json!({}));
    run.metadata.name = Some("second".into());
    run.metadata.uid = Some("uid-second".into());
    // A replica that does not lead any more knows nothing of the earlier child.
    let mut late = World::with_run(run.clone());
    late.settle();
    assert_eq!(late.created, ["second-linux-amd64"]);

    let mut second = World::with_run(run);
    second.observed.facts.reusable = first.observed.children.values().cloned().collect();
    second.settle();
    assert_eq!(second.created, ["second-linux-arm64"]);
    second.observed.children.append(&mut late.observed.children);
    second.succeed("second-linux-arm64", image('b'));
    second.settle();
    assert_eq!(second.cancelled, ["second-linux-amd64"]);
    assert_eq!(second.created, ["second-linux-arm64"], "its place is taken until it has ended");
    second.end_cancelled();
    second.settle();
    assert_eq!(second.created, ["second-linux-arm64", "second-linux-s390x"]);
    assert_eq!(second.extra().platforms[0].tasks[0].reused, AMD64);
}

#[test]
fn a_child_that_lost_a_race_for_a_folder_is_replaced() {
    let race = "the step \"run\" failed to start. The pod errored with the message: \"failed to create subPath directory for volumeMount \"ws\"\"";
    let mut world = World::new(&two(), json!({}));
    world.settle();
    for round in 1..=3 {
        world.child(ARM64).metadata.uid = Some(format!("uid-{round}"));
        world.report(ARM64, "False", "CreateContainerConfigError", race, json!([]));
        world.settle();
        assert_eq!(world.deleted.len(), round);
        assert_eq!(world.extra().platforms[1].tasks[0].replaced, round);
        assert_eq!(world.verdict(), outcome("Unknown", "Running"), "{}", world.condition().message);
    }
    assert_eq!(world.created, [AMD64, ARM64, ARM64, ARM64, ARM64]);
    assert_eq!(world.cancelled, Vec::<String>::new(), "this is no failure of the platform");
    assert!(
        world
            .events
            .iter()
            .any(|event| event.starts_with("Warning Volume: linux/arm64 waits: the folder of a workspace"))
    );
    world.child(ARM64).metadata.uid = Some("uid-4".into());
    world.report(ARM64, "False", "CreateContainerConfigError", race, json!([]));
    world.settle();
    world.end_cancelled();
    world.settle();
    assert_eq!(world.verdict(), outcome("False", "BuildFailed"), "what fails each time is no race");
}

#[test]
fn an_index_child_deleted_by_hand_is_created_again_after_its_pod() {
    let mut world = World::new(&with(two(), json!({"index": {"image": "r/app:v1"}})), json!({}));
    world.settle();
    world.succeed(AMD64, image('a'));
    world.succeed(ARM64, image('b'));
    world.settle();
    world.run_pod("app-build", "node-a");
    world.settle();
    world.created.clear();
    world.observed.children.remove("app-build");
    world.settle();
    assert_eq!(world.created, Vec::<String>::new(), "Tekton would take the old pod for the new TaskRun's");
    assert_eq!(world.extra().index.unwrap().reason, "Deleted");
    let told = |event: &String| event.starts_with("Warning Deleted: index waits: its TaskRun was deleted");
    assert!(world.events.iter().any(told), "{:#?}", world.events);
    world.observed.pods.remove("app-build");
    assert!(world.settle().unwrap() <= Duration::from_secs(5));
    assert_eq!(world.created, Vec::<String>::new(), "Tekton may be making another pod for it");
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.created, ["app-build"]);
}
