//! What is told as Kubernetes events: transitions, each once.

use crate::api::status::{ExtraFields, Phase, PlatformStatus};
use crate::api::tekton::{Condition, CustomRunStatus};

use super::problem::Reason;

/// An event about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The platform that it is about, or nothing for the run as a whole. Events about different platforms are not one event that
    /// repeats.
    pub about: String,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One word for programs.
    pub reason: String,
    /// A line for people.
    pub message: String,
}

impl Event {
    fn normal(about: &str, reason: Reason, message: String) -> Self {
        Self { about: about.to_owned(), warning: false, reason: reason.as_str().to_owned(), message }
    }

    fn warning(about: &str, reason: &str, message: String) -> Self {
        Self { about: about.to_owned(), warning: true, reason: reason.to_owned(), message }
    }
}

/// What is to be told of the way from one status to the next.
pub fn between(
    old: &CustomRunStatus,
    was: &ExtraFields,
    new: &CustomRunStatus,
    is: &ExtraFields,
) -> Vec<Event> {
    let mut events = Vec::new();
    if old.start_time.is_none() && new.completion_time.is_none() {
        let platforms: Vec<&str> = is.platforms.iter().map(|platform| platform.platform.as_str()).collect();
        events.push(Event::normal("", Reason::Started, format!("building for {}", platforms.join(", "))));
    }
    for warning in is.warnings.iter().filter(|warning| !was.warnings.contains(warning)) {
        events.push(Event::warning("", &warning.reason, warning.message.clone()));
    }
    for platform in &is.platforms {
        let before = was.platforms.iter().find(|before| before.platform == platform.platform);
        events.extend(made_again(before, platform));
        events.extend(of_platform(before, platform));
    }
    if new.completion_time.is_some()
        && old.completion_time.is_none()
        && let Some(condition) = Condition::succeeded(&new.conditions)
    {
        events.push(Event {
            about: String::new(),
            warning: condition.status != "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        });
    }
    events
}

/// That a child was deleted by hand and has been created again: its status shows nothing of it but a later start.
fn made_again(before: Option<&PlatformStatus>, platform: &PlatformStatus) -> Option<Event> {
    let again = platform.tasks.iter().find(|task| {
        before.into_iter().flat_map(|before| &before.tasks).any(|before| {
            before.task_run == task.task_run
                && before.replacing.is_empty()
                && !before.phase.is_final()
                && before.start_time.is_some()
                && task.start_time.is_some()
                && before.start_time != task.start_time
        })
    })?;
    Some(Event::warning(
        &platform.platform,
        Reason::Deleted.as_str(),
        format!(
            "{}: the TaskRun {} was deleted and has been created again",
            platform.platform, again.task_run
        ),
    ))
}

fn of_platform(before: Option<&PlatformStatus>, platform: &PlatformStatus) -> Option<Event> {
    let same =
        before.is_some_and(|before| (before.phase, &before.reason) == (platform.phase, &platform.reason));
    if same {
        return None;
    }
    let name = &platform.platform;
    match platform.phase {
        Phase::Succeeded if platform.reason == Reason::Reused.as_str() => {
            Some(Event::normal(name, Reason::Reused, format!("{name}: {}", platform.message)))
        }
        Phase::Succeeded => Some(Event::normal(name, Reason::Built, format!("{name} was built"))),
        Phase::Failed => {
            Some(Event::warning(name, &platform.reason, format!("{name} failed: {}", platform.message)))
        }
        // That a pod starts, or waits its turn, is nothing to look at.
        Phase::Pending | Phase::Waiting
            if !platform.reason.is_empty()
                && ![Reason::Starting, Reason::Resolving, Reason::Limit]
                    .iter()
                    .any(|usual| usual.as_str() == platform.reason) =>
        {
            Some(Event::warning(name, &platform.reason, format!("{name} waits: {}", platform.message)))
        }
        _ => None,
    }
}
