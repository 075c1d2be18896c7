//! Runs played through from beginning to end, in a world that does at once what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::kubernetes::Pod;
use crate::api::tekton::{Condition, CustomRun};
use crate::core::observed::{Claim, ClaimFacts, Definition, Facts, NodeFacts, Nodes};
use crate::core::request::tests::run_with;
use crate::core::settings::Settings;

/// The objects of one run, and the clock.
struct World {
    observed: Observed,
    events: Vec<String>,
    created: Vec<String>,
    bodies: BTreeMap<String, TaskRunBody>,
    cancelled: Vec<String>,
    deleted: Vec<String>,
    writes: usize,
}

const START: &str = "2026-01-01T10:00:00Z";

impl World {
    fn new(build: &Value, spec: Value) -> Self {
        Self::with_run(run_with(build, spec))
    }

    fn with_run(run: CustomRun) -> Self {
        let nodes = Nodes::from([
            ("node-a".into(), NodeFacts::linux("amd64")),
            ("node-b".into(), NodeFacts::linux("arm64")),
        ]);
        Self {
            observed: Observed {
                run: Arc::new(run),
                children: BTreeMap::new(),
                pods: BTreeMap::new(),
                notes: BTreeMap::new(),
                nodes: Some(Arc::new(nodes)),
                facts: Facts::default(),
                refusals: Vec::new(),
                now: START.parse().unwrap(),
                settings: Arc::new(Settings::default()),
            },
            events: Vec::new(),
            created: Vec::new(),
            bodies: BTreeMap::new(),
            cancelled: Vec::new(),
            deleted: Vec::new(),
            writes: 0,
        }
    }

    /// Plans, does what is planned, and plans again until nothing more is asked for.
    fn settle(&mut self) -> Option<Duration> {
        for _ in 0..50 {
            let plan = plan(&self.observed);
            if plan.actions.is_empty() && plan.status.is_none() {
                self.observed.refusals.clear();
                return plan.again;
            }
            let quiet = plan.actions.is_empty();
            for action in plan.actions {
                self.act(action);
            }
            // As the shell does: the status is written from what came of the actions.
            if quiet && let Some(status) = plan.status {
                self.writes += 1;
                let run = Arc::make_mut(&mut self.observed.run);
                let value = serde_json::to_value(status.written()).unwrap();
                run.status = Some(serde_json::from_value(value).unwrap());
                self.events.extend(plan.events.iter().map(|event| {
                    format!(
                        "{} {}: {}",
                        if event.warning { "Warning" } else { "Normal" },
                        event.reason,
                        event.message
                    )
                }));
            }
        }
        panic!("does not settle: {:#?}", plan(&self.observed));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::CreateClaim(claim) => {
                self.created.push(claim.metadata.name.clone());
                self.observed.facts.claims.insert(
                    claim.metadata.name.clone(),
                    Claim::Found(ClaimFacts {
                        access_modes: vec!["ReadWriteMany".into()],
                        ..ClaimFacts::default()
                    }),
                );
            }
            Action::CreateTaskRun(body) => {
                let name = body.metadata.name.clone();
                let refused = self.observed.refusals.iter().any(|refusal| refusal.name == name);
                assert!(!refused, "{name} is created although it was refused");
                let mut value = serde_json::to_value(&*body).unwrap();
                value["metadata"]["creationTimestamp"] = json!(self.observed.now.to_string());
                value["metadata"]["uid"] = json!(format!("uid-{name}"));
                let child: TaskRun = serde_json::from_value(value).unwrap();
                assert!(
                    self.observed.children.insert(name.clone(), Arc::new(child)).is_none(),
                    "{name} is created twice"
                );
                self.bodies.insert(name.clone(), *body);
                self.created.push(name);
            }
            Action::CancelTaskRun { name, message } => {
                let child = Arc::make_mut(self.observed.children.get_mut(&name).unwrap());
                assert_eq!(child.spec.status, None, "{name} is cancelled twice");
                child.spec.status = Some("TaskRunCancelled".into());
                child.spec.status_message = Some(message);
                self.cancelled.push(name);
            }
            Action::DeleteTaskRun { name, uid: _ } => {
                self.observed.children.remove(&name);
                self.deleted.push(name);
            }
        }
    }

    fn child(&mut self, name: &str) -> &mut TaskRun {
        let names: Vec<String> = self.observed.children.keys().cloned().collect();
        Arc::make_mut(
            self.observed.children.get_mut(name).unwrap_or_else(|| panic!("no child {name} in {names:?}")),
        )
    }

    fn report(&mut self, name: &str, status: &str, reason: &str, message: &str, results: Value) {
        let now = self.observed.now.to_string();
        let end = (status != "Unknown").then(|| now.clone());
        let child = self.child(name);
        child.status = Some(
            serde_json::from_value(json!({
                "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": message}],
                "completionTime": end, "results": results,
            }))
            .unwrap(),
        );
    }

    fn run_pod(&mut self, name: &str, node: &str) {
        self.report(name, "Unknown", "Running", "", json!([]));
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": format!("{name}-pod")}, "spec": {"nodeName": node}, "status": {"phase": "Running"}}))
                .unwrap();
        self.observed.pods.insert(name.into(), Arc::new(pod));
    }

    /// The params with which a child was created.
    fn params(&self, name: &str) -> Value {
        serde_json::to_value(&self.bodies[name].spec.params).unwrap()
    }

    fn succeed(&mut self, name: &str, results: Value) {
        self.report(name, "True", "Succeeded", "", results);
    }

    /// Ends every child that was asked to end, as Tekton would.
    fn end_cancelled(&mut self) {
        let asked: Vec<String> = self
            .observed
            .children
            .iter()
            .filter(|(_, child)| cancel::is_asked(child) && !progress::has_ended(child))
            .map(|(name, _)| name.clone())
            .collect();
        for name in asked {
            self.report(&name, "False", "TaskRunCancelled", "cancelled", json!([]));
        }
    }

    fn pass(&mut self, span: Duration) {
        self.observed.now = self.observed.now.checked_add(span).unwrap();
    }

    fn condition(&self) -> Condition {
        self.observed.run.status.as_ref().unwrap().conditions[0].clone()
    }

    fn verdict(&self) -> (String, String) {
        let condition = self.condition();
        (condition.status, condition.reason)
    }

    fn extra(&self) -> ExtraFields {
        serde_json::from_value(self.observed.run.status.as_ref().unwrap().extra_fields.clone()).unwrap()
    }

    fn phases(&self) -> Vec<Phase> {
        self.extra().platforms.iter().map(|platform| platform.phase).collect()
    }

    fn result(&self, name: &str) -> Option<String> {
        let status = self.observed.run.status.as_ref().unwrap();
        status.results.iter().find(|result| result.name == name).map(|result| result.value.clone())
    }
}

const AMD64: &str = "app-build-linux-amd64";
const ARM64: &str = "app-build-linux-arm64";

fn two() -> Value {
    json!({"platforms": ["linux/amd64", "linux/arm64"], "taskRef": {"name": "x"}})
}

fn with(mut build: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        build[key] = value.clone();
    }
    build
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn image(digit: char) -> Value {
    json!([{"name": "IMAGE_URL", "value": "r/app:v1\n"}, {"name": "IMAGE_DIGEST", "value": digest(digit)}])
}

fn outcome(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

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
    let index = serde_json::to_value(&*plan_index(&world)).unwrap();
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

fn plan_index(world: &World) -> Box<TaskRunBody> {
    let mut again = world.observed.clone();
    again.children.remove("app-build");
    plan(&again)
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::CreateTaskRun(body) => Some(body),
            _ => None,
        })
        .expect("the index is created")
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
        "platforms": ["linux/amd64", {"platform": "linux/arm64", "required": false}],
        "taskRef": {"name": "x"}, "index": {"image": "r/app:v1"},
    });
    let mut world = World::new(&build, json!({}));
    world.settle();
    world.report(ARM64, "False", "StepFailed", "broken", json!([]));
    world.settle();
    assert_eq!(world.cancelled, Vec::<String>::new());
    world.succeed(AMD64, image('a'));
    world.settle();
    let index = plan_index(&world);
    let args = index.spec.task_spec.as_ref().unwrap()["steps"][0]["args"].to_string();
    assert!(args.contains("linux/amd64=") && !args.contains("linux/arm64="), "{args}");
    world.succeed("app-build", json!([{"name": "IMAGE_DIGEST", "value": digest('c')}]));
    world.settle();
    assert_eq!(world.verdict(), outcome("True", "Succeeded"));
    assert!(world.condition().message.contains("linux/arm64 failed after 0s: broken (optional, left out)"));
    assert!(
        world
            .events
            .iter()
            .any(|event| event.starts_with("Warning PlatformLeftOut: linux/arm64 is optional")),
        "{:#?}",
        world.events
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
    for build in [two(), json!({})] {
        let mut world = World::new(&build, json!({"status": "RunCancelled"}));
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
    assert_eq!(world.extra().platforms[1].tasks[1].phase, Phase::Skipped);
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
    world.pass(Duration::from_secs(3));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64, ARM64]);
    assert_eq!(world.verdict(), outcome("Unknown", "Running"));
    assert!(world.events.iter().any(|event| event.starts_with("Warning Deleted: linux/arm64 waits: ")));
    // One that had no pod yet is created again at once.
    world.observed.children.remove(AMD64);
    world.pass(Duration::from_secs(3));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64, ARM64, AMD64]);
    let told =
        format!("Warning Deleted: linux/amd64: the TaskRun {AMD64} was deleted and has been created again");
    assert!(world.events.contains(&told), "{:#?}", world.events);
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
    assert_eq!(world.extra().plan.unwrap().definition.unwrap().generation, 3);
    world.observed.facts = Facts::default();
    world.succeed(AMD64, json!([]));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64], "the spec of the start counts");
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
fn a_refused_child_fails_or_waits() {
    let refuse = |why| {
        let mut world = World::new(&two(), json!({}));
        world.observed.refusals.push(Refusal { name: ARM64.into(), why });
        world
    };
    let mut world = refuse(RefusalReason::Rejected("admission webhook denied it".into()));
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
    let there = |labels: Value, owner: &str| -> Box<TaskRun> {
        Box::new(
            serde_json::from_value(json!({"metadata": {"name": ARM64, "uid": "old", "labels": labels,
                "ownerReferences": [{"apiVersion": "x/v1", "kind": "PipelineRun", "name": owner, "uid": "z"}]}, "spec": {}}))
            .unwrap(),
        )
    };
    let mut world = World::new(&two(), json!({}));
    let foreign = there(json!({}), "other");
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
fn claims_decide_when_children_are_created() {
    let spec = json!({"workspaces": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]});
    let claim =
        |facts: ClaimFacts| Claim::Found(ClaimFacts { access_modes: vec!["ReadWriteMany".into()], ..facts });
    let mut world = World::new(&two(), spec);
    world.observed.facts.claims.insert("c".into(), Claim::NotFound);
    assert_eq!(world.settle(), Some(CLAIM_POLL));
    assert_eq!(world.created, Vec::<String>::new());
    assert_eq!(world.extra().platforms[0].reason, "ClaimPending");
    world
        .observed
        .facts
        .claims
        .insert("c".into(), claim(ClaimFacts { waits_for_consumer: true, ..ClaimFacts::default() }));
    world.settle();
    assert_eq!(world.created, [AMD64], "the first pod decides where the volume is");
    assert_eq!(world.extra().platforms[1].reason, "ClaimPending");
    world
        .observed
        .facts
        .claims
        .insert("c".into(), claim(ClaimFacts { bound: true, ..ClaimFacts::default() }));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
    assert!(world.extra().plan.unwrap().claims_settled);
}

#[test]
fn the_next_child_goes_first_if_the_first_ended_without_a_volume() {
    let build =
        json!({"platforms": [{"platform": "amd64", "required": false}, "arm64"], "taskRef": {"name": "x"}});
    let spec = json!({"workspaces": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]});
    let mut world = World::new(&build, spec);
    let unbound = ClaimFacts {
        access_modes: vec!["ReadWriteMany".into()],
        waits_for_consumer: true,
        ..ClaimFacts::default()
    };
    world.observed.facts.claims.insert("c".into(), Claim::Found(unbound));
    world.settle();
    assert_eq!(world.created, [AMD64]);
    world.report(AMD64, "False", "TaskRunCancelled", "I do not need it", json!([]));
    world.settle();
    assert_eq!(world.created, [AMD64, ARM64]);
}

#[test]
fn a_run_that_comes_to_its_end_makes_no_claim() {
    let spec = json!({"workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}]});
    let mut world = World::new(&two(), spec);
    world.settle();
    world.created.clear();
    // Somebody deletes the claim and cancels the run.
    world.observed.facts.claims.clear();
    Arc::make_mut(&mut world.observed.run).spec.status = Some("RunCancelled".into());
    world.settle();
    assert_eq!(world.created, Vec::<String>::new());
    assert_eq!(world.cancelled, [AMD64, ARM64]);
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
fn a_claim_is_made_for_a_template_of_a_run_that_stands_alone() {
    let spec = json!({"workspaces": [{"name": "w", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}]});
    let mut world = World::new(&two(), spec);
    world.settle();
    assert_eq!(world.created, ["app-build-w", AMD64, ARM64]);
    world.settle();
    assert_eq!(world.created.len(), 3);
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
    assert_eq!(second.extra().platforms[0].tasks[0].reused, AMD64);
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

#[test]
fn results_that_no_status_can_hold_end_a_run_that_goes_on() {
    let task = |name: &str| json!({"name": name, "taskRef": {"name": "x"}});
    let build = json!({"platforms": ["linux/amd64", "linux/arm64"], "tasks": [task("scan"), task("build")]});
    let mut world = World::new(&build, json!({}));
    world.settle();
    let scans = [format!("{AMD64}-scan"), format!("{ARM64}-scan")];
    for scan in &scans {
        world.succeed(scan, json!([{"name": "SBOM", "value": "x".repeat(800_000)}]));
        world.settle();
    }
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
fn another_error_of_a_container_is_a_failure_at_once() {
    let mut world = World::new(&two(), json!({}));
    world.settle();
    world.report(ARM64, "False", "CreateContainerConfigError", "secret \"x\" not found", json!([]));
    world.settle();
    assert_eq!(world.deleted, Vec::<String>::new());
    assert_eq!(world.phases()[1], Phase::Failed);
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
    world.observed.pods.remove("app-build");
    world.settle();
    assert_eq!(world.created, ["app-build"]);
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
