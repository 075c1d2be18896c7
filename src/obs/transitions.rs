//! What happened to a run between two versions of its status: one line in the log for each transition, and counts.
//!
//! Only the leader writes the status, and what it has written is in its cache at once; so comparing the run before and after a
//! reconcile sees each transition once, whatever the watches bring when.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize as _;
use tracing::{info, warn};

use super::labels;
use super::metrics::{Metrics, observe};
use crate::api::kubernetes::Pod;
use crate::api::names::{label, result};
use crate::api::status::{ExtraFields, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{Condition, CustomRun, CustomRunStatus};

/// The moments of a pod's life that explain how long a task took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodTimes {
    /// When it was made.
    pub made: Option<Timestamp>,
    /// When it was given a node.
    pub scheduled: Option<Timestamp>,
    /// When its first step began.
    pub started: Option<Timestamp>,
}

impl PodTimes {
    /// Reads them from a pod.
    pub fn of(pod: &Pod) -> Self {
        let scheduled = pod
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "True");
        let started = pod.status.container_statuses.iter().filter_map(|container| {
            let state = &container.state;
            let began = state.running.as_ref().or(state.terminated.as_ref())?;
            began.started_at.as_ref()
        });
        Self {
            made: time(pod.metadata.creation_timestamp.as_ref()),
            scheduled: scheduled.and_then(|condition| time(condition.last_transition_time.as_ref())),
            started: started.map(|Time(time)| *time).min(),
        }
    }
}

/// What is known of a run's TaskRuns beside its status.
pub trait TaskRuns {
    /// The pod of a TaskRun's last attempt.
    fn pod(&self, task_run: &str) -> Option<PodTimes>;
    /// A result that a TaskRun has written. The status of a run that has ended does not tell any more which task wrote what.
    fn result(&self, task_run: &str, name: &str) -> Option<String>;
}

/// Tells and counts what happened to a run.
pub fn record(metrics: &Metrics, before: &CustomRun, after: &CustomRun, task_runs: &impl TaskRuns) {
    let nothing = CustomRunStatus::default();
    let old = before.status.as_ref().unwrap_or(&nothing);
    let new = after.status.as_ref().unwrap_or(&nothing);
    if old == new {
        return;
    }
    let was = ExtraFields::deserialize(&old.extra_fields).unwrap_or_default();
    let is = ExtraFields::deserialize(&new.extra_fields).unwrap_or_default();
    let named = Named::new(after);
    for platform in &is.platforms {
        let earlier = was.platforms.iter().find(|earlier| earlier.platform == platform.platform);
        of_platform(metrics, &named, new.start_time.as_ref(), earlier, platform, task_runs);
    }
    if let Some(index) = &is.index {
        of_index(metrics, &named, was.index.as_ref(), index, task_runs);
    }
    if new.completion_time.is_some() && old.completion_time.is_none() {
        of_end(metrics, &named, new);
    } else if old.start_time.is_none() && new.start_time.is_some() {
        let platforms: Vec<&str> = is.platforms.iter().map(|platform| platform.platform.as_str()).collect();
        named.say("", "", "Accepted", "", &format!("builds for {}", platforms.join(", ")));
    }
}

/// How a line of the log names a run.
struct Named<'a> {
    namespace: &'a str,
    run: &'a str,
    pipeline_run: &'a str,
}

impl<'a> Named<'a> {
    fn new(run: &'a CustomRun) -> Self {
        let labels = run.metadata.labels.as_ref();
        Self {
            namespace: run.metadata.namespace.as_deref().unwrap_or_default(),
            run: run.metadata.name.as_deref().unwrap_or_default(),
            pipeline_run: labels
                .and_then(|labels| labels.get(label::PIPELINE_RUN))
                .map(String::as_str)
                .unwrap_or_default(),
        }
    }

    fn say(&self, platform: &str, task: &str, phase: &str, reason: &str, why: &str) {
        let Self { namespace, run, pipeline_run } = self;
        info!(
            target: "archfan::decisions",
            namespace, run, pipeline_run, platform, task, phase, reason, why, "a run went on"
        );
    }
}

fn of_platform(
    metrics: &Metrics,
    named: &Named<'_>,
    accepted: Option<&Time>,
    before: Option<&PlatformStatus>,
    after: &PlatformStatus,
    task_runs: &impl TaskRuns,
) {
    let label = labels::platform(&after.platform);
    if before.is_none() {
        metrics.begin_platform_at_zero(&label);
    }
    let same = before.is_some_and(|before| (before.phase, &before.reason) == (after.phase, &after.reason));
    if !same {
        let task = after.tasks.iter().rev().find(|task| task.phase != Phase::Waiting);
        let task = task.map(|task| task.name.as_str()).unwrap_or_default();
        named.say(&after.platform, task, after.phase.as_str(), &after.reason, &after.message);
    }
    if before.is_none_or(|before| before.start_time.is_none())
        && let Some(span) = span(time(accepted), time(after.start_time.as_ref()))
    {
        observe(&metrics.platform_queue, &[&label], span);
    }
    for task in &after.tasks {
        let earlier = before.and_then(|before| before.tasks.iter().find(|earlier| earlier.name == task.name));
        let retried = earlier.map_or(0, |earlier| earlier.failed_attempts);
        let attempts = u64::try_from(task.failed_attempts.saturating_sub(retried)).unwrap_or_default();
        if attempts > 0 {
            metrics.retries.with_label_values(&[label.as_str()]).inc_by(attempts);
        }
        let ended = task.phase.is_final() && earlier.is_none_or(|earlier| !earlier.phase.is_final());
        if ended
            && task.reused.is_empty()
            && !task.task_run.is_empty()
            && let Some(times) = task_runs.pod(&task.task_run)
        {
            of_task(metrics, &label, task, times);
        }
    }
    if after.phase.is_final()
        && before.is_none_or(|before| !before.phase.is_final())
        && let Some(span) = span(time(after.start_time.as_ref()), time(after.completion_time.as_ref()))
    {
        observe(&metrics.platform_duration, &[&label, result_of(after.phase)], span);
    }
}

/// Waiting, starting and building are observed apart: only so can one tell which of them makes an architecture slow.
fn of_task(metrics: &Metrics, platform: &str, task: &TaskStatus, times: PodTimes) {
    if let Some(span) = span(times.made, times.scheduled) {
        observe(&metrics.platform_schedule, &[platform], span);
    }
    if let Some(span) = span(times.scheduled, times.started) {
        observe(&metrics.platform_startup, &[platform], span);
    }
    if let Some(span) = span(times.started, time(task.completion_time.as_ref())) {
        observe(&metrics.platform_build, &[platform, result_of(task.phase)], span);
    }
}

fn of_index(
    metrics: &Metrics,
    named: &Named<'_>,
    before: Option<&TaskStatus>,
    after: &TaskStatus,
    task_runs: &impl TaskRuns,
) {
    let same = before.is_some_and(|before| (before.phase, &before.reason) == (after.phase, &after.reason));
    if !same {
        named.say("", "index", after.phase.as_str(), &after.reason, &after.message);
    }
    if !after.phase.is_final() || before.is_some_and(|before| before.phase.is_final()) {
        return;
    }
    if let Some(span) = span(time(after.start_time.as_ref()), time(after.completion_time.as_ref())) {
        observe(&metrics.index_duration, &[result_of(after.phase)], span);
    }
    for (name, action) in [(result::BYTES_PUSHED, "pushed"), (result::BYTES_SKIPPED, "skipped")] {
        let written = task_runs.result(&after.task_run, name);
        if let Some(Ok(bytes)) = written.map(|text| text.trim().parse::<u64>()) {
            metrics.index_bytes.with_label_values(&[action]).inc_by(bytes);
        }
    }
}

fn of_end(metrics: &Metrics, named: &Named<'_>, status: &CustomRunStatus) {
    let Some(condition) = Condition::succeeded(&status.conditions) else { return };
    let result = match (condition.status.as_str(), condition.reason.as_str()) {
        ("True", _) => "succeeded",
        (_, "CustomRunCancelled") => "cancelled",
        _ => "failed",
    };
    metrics.runs.with_label_values(&[result, labels::reason(&condition.reason)]).inc();
    if let Some(span) = span(time(status.start_time.as_ref()), time(status.completion_time.as_ref())) {
        observe(&metrics.run_duration, &[result], span);
    }
    let Named { namespace, run, pipeline_run } = named;
    let (reason, why) = (condition.reason.as_str(), condition.message.as_str());
    match result {
        "failed" => {
            warn!(target: "archfan::decisions", namespace, run, pipeline_run, result, reason, why, "a run ended");
        }
        _ => {
            info!(target: "archfan::decisions", namespace, run, pipeline_run, result, reason, why, "a run ended");
        }
    }
}

fn result_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Succeeded => "succeeded",
        Phase::Cancelled => "cancelled",
        Phase::Skipped => "skipped",
        Phase::Failed | Phase::Waiting | Phase::Pending | Phase::Running => "failed",
    }
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|Time(time)| *time)
}

/// The span between two moments. Clocks of machines differ, so a span that would be negative was short.
fn span(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Duration> {
    Some(Duration::try_from(to?.duration_since(from?)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
