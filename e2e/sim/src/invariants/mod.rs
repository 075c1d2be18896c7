//! What must hold, whatever happens. Each invariant has a name, by which a failure is known, and says what it promises.
//!
//! They are checked against what has really happened ([`crate::ledger`]), never against what the controller believes; and some of
//! what they promise ends where Kubernetes offers no fencing. `docs/simulator.md` says where, and why.

use archfan::api::tekton::CustomRun;
use archfan::core::events::Event;
use serde_json::Value;

use crate::world::World;

mod asking;
mod cause;
mod creating;
mod ending;
mod rest;
mod results;
mod status;

pub use asking::on_ask;
pub use creating::on_create;
pub use ending::{on_cancel, on_delete};
pub use rest::{at_rest, before_time};
pub use status::on_status;

/// The outcome of a check: the name of the invariant that is broken, and how.
pub type Check = Result<(), (&'static str, String)>;

/// An invariant that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// How it was broken.
    pub detail: String,
    /// At which step.
    pub step: u32,
}

/// Every invariant: its name, and what it promises.
pub const ALL: &[(&str, &str)] = &[
    (
        "one_child_per_platform_and_task",
        "At no time are there two unfinished children of one run for one platform and task.",
    ),
    (
        "nothing_is_made_for_a_run_known_to_be_over",
        "A look that begins after its replica was shown that the run has ended, was cancelled or is being deleted, or after its deadline, creates nothing.",
    ),
    (
        "nothing_final_is_made_again",
        "No child is made for a task that the run's stored status says has ended, unless a replica that has lost its lead, or a call that nobody waits for, makes it.",
    ),
    (
        "a_child_is_made_as_asked",
        "A child has its run as first owner, its platform's selector, the labels of its run, and retries; and it is the same each time it is made, but for labels that the run has got meanwhile.",
    ),
    (
        "a_chain_keeps_its_order",
        "A task of a chain begins after every task before it has succeeded or was skipped, on its own platform.",
    ),
    ("max_parallel_is_kept", "No more children are unfinished at once than strategy.maxParallel says."),
    (
        "the_index_is_whole",
        "The index names every required platform, each with what a child of it has really reported, in the order of the list.",
    ),
    (
        "a_foreign_object_is_never_written",
        "Nothing is cancelled, removed or written that does not belong to the run that is looked at.",
    ),
    (
        "nothing_is_cancelled_without_a_cause",
        "A child is cancelled only once the run is to end, or its platform was given up.",
    ),
    (
        "nothing_is_removed_before_its_time",
        "A child is removed only after the run's end and its time to live, or because it was left behind by an earlier run of the name.",
    ),
    ("over_is_over", "A status with True or False is the last: nothing of it changes any more."),
    ("a_status_write_changes_something", "No status is written that is there already."),
    (
        "a_status_is_well_formed",
        "One condition, Succeeded; times that are set once; the generation that was read; platforms in the order of the list.",
    ),
    ("phases_go_forward", "A task that has ended stays as it ended."),
    (
        "a_message_explains_its_phase",
        "What waits, has failed or has ended says why, in words of its own and in the line of the run.",
    ),
    (
        "a_verdict_has_its_reason",
        "True is Succeeded; False has a cause that has really happened; a cancel ends as CustomRunCancelled with Tekton's words, and nothing else does; a timeout is no earlier than the deadline.",
    ),
    (
        "a_run_does_not_end_before_its_children",
        "No run is reported to have ended while a child of it that its replica knows has not.",
    ),
    (
        "results_are_what_the_children_said",
        "Every result is one that a child of the run has written, whole, in order and to the byte.",
    ),
    ("an_event_is_told_once", "Transitions are told at most once, and without faults each is told."),
    (
        "a_run_ends_once_its_children_have",
        "Once faults stop, everything comes to rest within a bounded number of steps, and every run has ended.",
    ),
    (
        "nothing_waits_for_the_clock",
        "Without faults, before time passes, the status of a run says of every child that has ended that it has, unless the look failed and is to be made again.",
    ),
    ("no_child_outlives_its_run", "At rest no child is unfinished whose run has ended or is gone."),
    (
        "children_go_when_their_time_has_come",
        "At rest no child is left of a finished run whose time to live is over.",
    ),
    ("caches_catch_up", "At rest the cache of the replica that leads is what the server has."),
    (
        "writes_are_bounded",
        "A run takes as many creates as it has children, and no more status writes than there were visible changes; each fault allows a few more.",
    ),
    (
        "nothing_is_read_twice",
        "Once a run is accepted and its claims are settled, claims, builds, PipelineRuns and Tekton's configuration are not read again.",
    ),
    ("no_panic", "A reconcile does not panic."),
];

/// Breaks an invariant.
pub(crate) fn broken<T>(name: &'static str, detail: String) -> Result<T, (&'static str, String)> {
    assert!(ALL.iter().any(|(known, _)| *known == name), "{name} is not listed");
    Err((name, detail))
}

/// What is checked after every step.
pub fn after_step(_world: &World) -> Check {
    Ok(())
}

/// An event is told.
pub fn on_event(world: &mut World, run: &CustomRun, event: &Event) -> Check {
    let uid = run.metadata.uid.clone().unwrap_or_default();
    let record = world.ledger.run(&uid);
    let told = (event.about.clone(), event.reason.clone());
    let once = matches!(event.reason.as_str(), "Started" | "Succeeded" | "Built" | "Reused")
        || (event.about.is_empty()
            && event.warning
            && record.ended.is_some()
            && is_verdict(record.ended.as_deref(), &event.reason));
    if once && record.told.contains(&told) {
        return broken("an_event_is_told_once", format!("{}: {event:?} was told before", record.name));
    }
    record.told.push(told);
    world.coverage.say(&event.reason);
    Ok(())
}

fn is_verdict(run: Option<&CustomRun>, reason: &str) -> bool {
    run.is_some_and(|run| crate::ledger::verdict(run).1 == reason)
}

/// A task as a status reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskView<'a> {
    pub name: &'a str,
    pub task_run: &'a str,
    pub phase: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    pub reused: &'a str,
}

impl<'a> TaskView<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        Self {
            name: text(value, "name"),
            task_run: text(value, "taskRun"),
            phase: text(value, "phase"),
            reason: text(value, "reason"),
            message: text(value, "message"),
            reused: text(value, "reused"),
        }
    }
}

/// A platform as a status reports it.
#[derive(Clone, Debug)]
pub(crate) struct PlatformView<'a> {
    pub name: &'a str,
    pub required: bool,
    pub phase: &'a str,
    pub reason: &'a str,
    pub tasks: Vec<TaskView<'a>>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a run comes to its end because its status was too large.
fn is_too_large(run: &CustomRun) -> bool {
    let reason = run.status.as_ref().and_then(|status| status.extra_fields.pointer("/ending/reason"));
    reason.and_then(Value::as_str) == Some("ResultsTooLarge")
}

/// The platforms that a status reports.
pub(crate) fn platforms(run: &CustomRun) -> Vec<PlatformView<'_>> {
    let Some(status) = &run.status else { return Vec::new() };
    let list = status.extra_fields.get("platforms").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|platform| PlatformView {
            name: text(platform, "platform"),
            required: platform.get("required").and_then(Value::as_bool).unwrap_or_default(),
            phase: text(platform, "phase"),
            reason: text(platform, "reason"),
            tasks: platform
                .get("tasks")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(TaskView::of)
                .collect(),
        })
        .collect()
}

/// The index as a status reports it.
pub(crate) fn index(run: &CustomRun) -> Option<TaskView<'_>> {
    run.status.as_ref()?.extra_fields.get("index").filter(|index| !index.is_null()).map(TaskView::of)
}

/// Whether a phase is final.
pub(crate) fn is_final(phase: &str) -> bool {
    matches!(phase, "Skipped" | "Succeeded" | "Failed" | "Cancelled")
}
