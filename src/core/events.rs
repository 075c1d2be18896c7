//! What is told as Kubernetes events: transitions, each once.

use crate::api::status::{ExtraFields, Phase, PlatformStatus};
use crate::api::tekton::{Condition, CustomRunStatus};

use super::cleanup::is_finished;
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
        events.extend(of_platform(before, platform));
    }
    if let Some(index) = &is.index
        && was.index.as_ref().is_none_or(|was| (was.phase, &was.reason) != (index.phase, &index.reason))
    {
        events.extend(waits("index", index.phase, &index.reason, &index.message));
    }
    if new.completion_time.is_some() && old.completion_time.is_none() {
        events.extend(of_the_end(new));
    }
    events
}

/// What is to be told where a run has ended with another status than was planned: the planned events, with the end that was written in the
/// place of the planned one, if there was one.
pub fn of_another_end(
    mut events: Vec<Event>,
    planned: &CustomRunStatus,
    written: &CustomRunStatus,
) -> Vec<Event> {
    if is_finished(planned) {
        // The end is told last.
        events.pop();
    }
    events.extend(of_the_end(written));
    events
}

/// What is to be told of a run that has ended.
fn of_the_end(status: &CustomRunStatus) -> Option<Event> {
    let condition = Condition::succeeded(&status.conditions)?;
    Some(Event {
        about: String::new(),
        warning: condition.status != "True",
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
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
        phase => waits(name, phase, &platform.reason, &platform.message),
    }
}

/// What keeps a platform, or the index, from going on. That a pod starts, or waits its turn, is nothing to look at.
fn waits(about: &str, phase: Phase, reason: &str, message: &str) -> Option<Event> {
    let usual = [Reason::Starting, Reason::Resolving, Reason::Limit];
    let unusual = !reason.is_empty() && !usual.iter().any(|usual| usual.as_str() == reason);
    (matches!(phase, Phase::Pending | Phase::Waiting) && unusual)
        .then(|| Event::warning(about, reason, format!("{about} waits: {message}")))
}
