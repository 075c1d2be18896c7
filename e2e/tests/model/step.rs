//! What a scenario is made of, and what is compared.

use std::sync::Arc;

use archfan::api::tekton::{CustomRun, CustomRunSpec, CustomRunStatus, EmbeddedSpec};
use archfan::core::children::{BodyMetadata, Owner, TaskRunBody, TaskRunBodySpec};
use serde_json::json;

/// Which uid a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uid {
    /// That of the object that the scenario made first.
    First,
    /// One that no object has.
    Foreign,
}

/// What becomes of a TaskRun's attempts.
pub(crate) use archfan_sim::script::Fortune;

/// How an object is deleted.
pub(crate) use archfan_sim::server::Deletion;

/// A TaskRun that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    /// What becomes of it.
    pub fortune: Fortune,
    /// Whether its run is its owner.
    pub owned: bool,
    /// Whether its pod fits no node.
    pub homeless: bool,
    /// Further attempts.
    pub retries: u32,
    /// How many seconds an attempt may take; 0 is no bound.
    pub timeout: u32,
}

/// A step of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The controller makes the TaskRun.
    Create(Make),
    /// The controller asks the TaskRun to end.
    Cancel(Uid, &'static str),
    /// The controller removes the TaskRun.
    Delete(Uid),
    /// The controller reads the TaskRun.
    Get,
    /// The TaskRun is waited for until it has ended.
    Ended,
    /// The TaskRun is waited for until it has a pod without a node.
    Homeless,
    /// The TaskRun is waited for until it runs.
    Runs,
    /// Somebody puts a finalizer on the TaskRun.
    Hold,
    /// The finalizer is served.
    Release,
    /// Somebody makes the run.
    MakeRun,
    /// The controller reads the run.
    GetRun,
    /// The controller remembers the run as it is.
    ReadRun,
    /// The controller writes a status over the run as it was read: the verdict, and with which uid.
    Write(&'static str, Uid),
    /// Somebody cancels the run.
    CancelRun(&'static str),
    /// Somebody labels the run.
    LabelRun,
    /// Somebody changes what the run asks for.
    EditRun,
    /// Somebody deletes the run.
    DeleteRun(Deletion),
    /// The garbage collector has done its work.
    Collected,
}

/// A scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// What was seen of a scenario: after each step the answer and the state of both objects, and what a watch of the TaskRun has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// One line for each step.
    pub steps: Vec<String>,
    /// Status and reason of the TaskRun's condition, in order.
    pub watched: Vec<String>,
}

/// States through which a TaskRun may pass unseen: two writes of Tekton's may become one.
fn is_passing(line: &str) -> bool {
    matches!(
        line,
        "" | "Unknown Started" | "Unknown Pending" | "Unknown Running" | "Unknown ResolvingTaskRef"
    )
}

/// What is different, in words.
pub(crate) fn difference(expected: &Seen, found: &Seen) -> Option<String> {
    for (number, (expected, found)) in expected.steps.iter().zip(&found.steps).enumerate() {
        if expected != found {
            return Some(format!("step {number}:\n  the model:   {expected}\n  the cluster: {found}"));
        }
    }
    let lasting =
        |lines: &[String]| lines.iter().filter(|line| !is_passing(line)).cloned().collect::<Vec<_>>();
    if lasting(&expected.watched) != lasting(&found.watched) {
        return Some(format!(
            "a watch shows\n  the model:   {:?}\n  the cluster: {:?}",
            expected.watched, found.watched
        ));
    }
    // What is passed through is passed through in the model's order; how far a pod gets in its seconds is the node's affair.
    let mut model = expected.watched.iter();
    for line in found
        .watched
        .iter()
        .filter(|line| !matches!(line.as_str(), "" | "Unknown Started" | "Unknown Running"))
    {
        if !model.any(|there| there == line) {
            return Some(format!(
                "a watch shows {line:?} where the model does not\n  the model:   {:?}\n  the cluster: {:?}",
                expected.watched, found.watched
            ));
        }
    }
    None
}

/// The state of a TaskRun.
pub(crate) struct View {
    /// Whether it is the one that was made first.
    pub first: bool,
    /// Whether it was asked to end.
    pub asked: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// How it ended, or that it has not.
    pub state: String,
}

/// The state of a run.
pub(crate) struct RunView {
    /// Whether it is the one that was made first.
    pub first: bool,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// How often what it asks for was changed, and one more.
    pub generation: i64,
    /// The status of its condition.
    pub verdict: String,
}

/// The line of a step.
pub(crate) fn line(answer: &str, task_run: Option<&View>, run: Option<&RunView>) -> String {
    let is = |yes: bool, words: &'static str| if yes { words } else { "" };
    let task_run = task_run.map_or_else(
        || "no TaskRun".to_owned(),
        |view| {
            let (another, asked) = (is(!view.first, ", another"), is(view.asked, ", asked to end"));
            format!("TaskRun{another}{asked}{} {}", is(view.deleting, ", being deleted"), view.state)
        },
    );
    let run = run.map_or_else(
        || "no run".to_owned(),
        |view| {
            let (another, cancelled) = (is(!view.first, ", another"), is(view.cancelled, ", cancelled"));
            let deleting = is(view.deleting, ", being deleted");
            format!("run{another}{cancelled}{deleting} generation {} {:?}", view.generation, view.verdict)
        },
    );
    format!("{answer}; {task_run}; {run}")
}

/// A uid that no object has.
pub(crate) const FOREIGN: &str = "00000000-0000-4000-8000-000000000000";
/// A finalizer of nobody's.
pub(crate) const FINALIZER: &str = "model.example/hold";

/// A run of another controller's, which is not there.
pub(crate) fn run(name: &str) -> CustomRun {
    let mut run = CustomRun::new(name, CustomRunSpec::default());
    run.spec.custom_spec = Some(EmbeddedSpec {
        api_version: "model.example/v1".to_owned(),
        kind: "Wait".to_owned(),
        spec: json!({"changed": false}),
        ..EmbeddedSpec::default()
    });
    run
}

/// A run that nobody has read, because it was never there.
pub(crate) fn unread(name: &str, namespace: &str) -> CustomRun {
    let mut run = run(name);
    run.metadata.namespace = Some(namespace.to_owned());
    run.metadata.uid = Some(FOREIGN.to_owned());
    run.metadata.resource_version = Some("1".to_owned());
    run
}

/// A status with a verdict.
pub(crate) fn status(verdict: &str) -> CustomRunStatus {
    // With a sign at its end, it is another one of the same verdict.
    let (message, verdict) = (verdict, verdict.trim_end_matches('+'));
    let reason = match verdict {
        "True" => "Succeeded",
        "False" => "BuildFailed",
        _ => "Running",
    };
    serde_json::from_value(json!({
        "conditions": [{
            "type": "Succeeded", "status": verdict, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T10:00:00Z",
        }],
        "startTime": "2026-01-01T10:00:00Z",
    }))
    .expect("a status")
}

/// The images that steps use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Images {
    /// One with a shell.
    pub shell: String,
    /// One that is not there.
    pub missing: String,
}

/// A TaskRun as the controller would make it.
pub(crate) fn body(
    name: &str,
    run: &str,
    namespace: &str,
    make: Make,
    owner: Option<&str>,
    images: &Images,
) -> TaskRunBody {
    let image = if make.fortune == Fortune::NoImage { &images.missing } else { &images.shell };
    let script = match make.fortune {
        Fortune::Fails(_) => "exit 1",
        Fortune::Hangs => "sleep 600",
        _ => "true",
    };
    let mut task =
        json!({"steps": [{"name": "build", "image": image, "script": format!("#!/bin/sh\n{script}\n")}]});
    if make.fortune == Fortune::Invalid {
        task["params"] = json!([{"name": "missing"}]);
    }
    let owners = owner.map(|uid| Owner {
        api_version: "tekton.dev/v1beta1".to_owned(),
        kind: "CustomRun".to_owned(),
        name: run.to_owned(),
        uid: uid.to_owned(),
        controller: true,
        block_owner_deletion: Some(true),
    });
    TaskRunBody {
        api_version: "tekton.dev/v1",
        kind: "TaskRun",
        metadata: BodyMetadata {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            owner_references: owners.into_iter().collect(),
            ..BodyMetadata::default()
        },
        spec: TaskRunBodySpec {
            task_spec: Some(task),
            retries: make.retries,
            timeout: format!("{}s", make.timeout),
            pod_template: Some(Arc::new(json!({"nodeSelector": {
                "kubernetes.io/arch": if make.homeless { "mips64le" } else { "amd64" },
            }}))),
            ..TaskRunBodySpec::default()
        },
    }
}
