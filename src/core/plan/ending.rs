//! How a run ends: well, with the image index as its last child, or for a cause, once its children are stopped. And what it says of itself,
//! at its end and on the way.

use std::time::Duration;

use serde_json::Value;

use super::{Action, Plan, Work};
use crate::api::status::{Ending, ExtraFields, Phase, PlatformStatus, Warning};
use crate::api::tekton::CustomRunStatus;
use crate::core::accept::Accepted;
use crate::core::children::Family;
use crate::core::observed::Observed;
use crate::core::problem::Reason;
use crate::core::refusal::Outcome;
use crate::core::request::ONLY_TASK;
use crate::core::status::{NewStatus, Verdict};
use crate::core::{cancel, events, failure, progress, results, size, status};

impl<'a> Work<'a> {
    /// All platforms have ended well: the index, and then the end.
    pub(super) fn finish(mut self, accepted: &Accepted, family: &Family<'_>) -> Plan {
        let Some(wanted) = &accepted.request.index else {
            return self.succeed(accepted);
        };
        let name = accepted.request.context.custom_run.clone();
        let mut index = self.index.take().unwrap_or_else(|| {
            progress::of_task("index", self.was.index.as_ref(), self.seen(&name, None, false))
        });
        let held = self.held(&index, &name).filter(|_| index.phase == Phase::Waiting);
        if let Some(held) = held {
            index.reason = held.reason.as_str().to_owned();
            index.message = held.message;
            held.left.into_iter().for_each(|left| self.wake_in(left));
        } else if index.phase == Phase::Waiting {
            let body =
                family.members(wanted, &self.platforms).and_then(|members| family.index(wanted, &members));
            let outcome = match body {
                Err(problem) => Some(Outcome::Fail { reason: problem.reason, message: problem.to_string() }),
                Ok(body) => {
                    let refused = self.refused(&name, true);
                    if refused.is_none() {
                        self.actions.push(Action::CreateTaskRun(Box::new(body)));
                    }
                    refused
                }
            };
            match outcome {
                None => {}
                Some(Outcome::Wait { reason, message, .. }) => {
                    index.reason = reason.as_str().to_owned();
                    index.message = message;
                }
                Some(Outcome::Fail { reason, message }) => {
                    index.phase = Phase::Failed;
                    index.reason = reason.as_str().to_owned();
                    index.message.clone_from(&message);
                    self.index = Some(index);
                    let ending = Ending { reason: reason.as_str().to_owned(), message };
                    return self.wind_down(ending, Some(accepted));
                }
            }
        }
        let (phase, message) = (index.phase, index.message.clone());
        self.index = Some(index);
        match phase {
            Phase::Succeeded => self.succeed(accepted),
            Phase::Failed | Phase::Cancelled => {
                let ending = Ending {
                    reason: Reason::IndexFailed.as_str().to_owned(),
                    message: format!("the image index could not be assembled: {message}"),
                };
                self.wind_down(ending, Some(accepted))
            }
            _ => self.report(Verdict::Unknown, Reason::Running.as_str(), None),
        }
    }

    fn succeed(mut self, accepted: &Accepted) -> Plan {
        // What was given up may still write to the volume that the pipeline's next task reads.
        if self.still_at_work() > 0 {
            return self.report(Verdict::Unknown, Reason::Running.as_str(), None);
        }
        for platform in failure::left_out(&self.platforms) {
            self.extra.warnings.push(Warning {
                reason: Reason::PlatformLeftOut.as_str().to_owned(),
                message: format!("{} is optional and failed: {}", platform.platform, platform.message),
            });
        }
        let results = results::collect(&accepted.request, &self.platforms, self.index.as_ref());
        if let Some(ending) = size::ending(results::size(&results) + size::without_results(&self.platforms)) {
            return self.wind_down(ending, Some(accepted));
        }
        self.results = results;
        self.report(Verdict::True, Reason::Succeeded.as_str(), None)
    }

    /// Brings a run to its end: cancels what still runs, waits for it, and then reports why.
    pub(super) fn wind_down(mut self, ending: Ending, accepted: Option<&Accepted>) -> Plan {
        self.actions.retain(|action| !matches!(action, Action::CreateClaim(_)));
        let says_too_much = |ending: &Ending| ending.reason == Reason::ResultsTooLarge.as_str();
        // What has been left out stays out, also where the run is cancelled after that.
        let left_out = self.extra.ending.as_ref().is_some_and(says_too_much);
        let too_much = left_out || says_too_much(&ending);
        if too_much {
            // Neither the status on the way to the end nor the one after it could hold them.
            let tasks = self.platforms.iter_mut().flat_map(|platform| &mut platform.tasks);
            tasks.for_each(|task| task.results.clear());
        }
        let mut unfinished = 0;
        for (name, child) in &self.observed.children {
            if progress::has_ended(child) {
                continue;
            }
            unfinished += 1;
            // One that was given up is about to be asked already.
            let about_to = |action: &Action| matches!(action, Action::CancelTaskRun { name: given_up, .. } if given_up == name);
            if !cancel::is_asked(child)
                && child.metadata.deletion_timestamp.is_none()
                && !self.actions.iter().any(about_to)
            {
                self.actions.push(Action::CancelTaskRun {
                    name: name.clone(),
                    message: cancel::message(&ending.message),
                });
            }
        }
        if unfinished > 0 {
            // A cancel is read anew at every look; that results were left out is known from here alone.
            if !left_out {
                self.extra.ending = Some(ending);
            }
            return self.report(Verdict::Unknown, Reason::Running.as_str(), None);
        }
        for platform in &mut self.platforms {
            for task in &mut platform.tasks {
                if !task.phase.is_final() {
                    task.phase = Phase::Cancelled;
                    task.reason = Reason::RunEnded.as_str().to_owned();
                    task.message = String::new();
                }
            }
            progress::settle(platform, is_chain(platform));
        }
        if let Some(index) = self.index.as_mut().filter(|index| !index.phase.is_final()) {
            index.phase = Phase::Cancelled;
            index.reason = Reason::RunEnded.as_str().to_owned();
        }
        if let Some(accepted) = accepted.filter(|_| !too_much) {
            // What there is may say why it failed; that it is too much must not be another failure.
            let results = results::collect(&accepted.request, &self.platforms, self.index.as_ref());
            if size::ending(results::size(&results) + size::without_results(&self.platforms)).is_none() {
                self.results = results;
            }
        }
        self.extra.ending = None;
        let reason = ending.reason.clone();
        self.report(Verdict::False, &reason, Some(&ending.message))
    }

    /// The same for a run whose request cannot be read, so that only its earlier status tells what it has begun.
    pub(super) fn wind_down_unread(
        observed: &'a Observed,
        before: &'a CustomRunStatus,
        extra: ExtraFields,
        ending: Ending,
    ) -> Plan {
        let mut work = Self::new(observed, before, extra);
        let mut platforms = work.was.platforms.clone();
        for task in platforms.iter_mut().flat_map(|platform| &mut platform.tasks) {
            let name = task.task_run.clone();
            *task = progress::of_task(&task.name.clone(), Some(&*task), work.seen(&name, None, true));
        }
        for platform in &mut platforms {
            progress::settle(platform, is_chain(platform));
        }
        work.platforms = platforms;
        work.index = work
            .was
            .index
            .as_ref()
            .map(|index| progress::of_task("index", Some(index), work.seen(&index.task_run, None, true)));
        work.wind_down(ending, None)
    }

    /// Puts the status together, and says what has changed.
    pub(super) fn report(mut self, verdict: Verdict, reason: &str, cause: Option<&str>) -> Plan {
        let observed = self.observed;
        let told = cause.or(self.extra.ending.as_ref().map(|ending| ending.message.as_str()));
        let line = status::line(&self.platforms, self.index.as_ref(), told.unwrap_or_default());
        let message = match (cause, &self.extra.ending) {
            (Some(cause), _) if self.platforms.is_empty() => cause.to_owned(),
            (Some(cause), _) => format!("{cause} ({line})"),
            (None, Some(ending)) => status::coming_to_its_end(ending, &line),
            (None, None) => line,
        };
        self.extra.platforms = self.platforms;
        self.extra.index = self.index;
        if verdict != Verdict::Unknown {
            // `status.results` has them now.
            let tasks = self.extra.platforms.iter_mut().flat_map(|platform| &mut platform.tasks);
            for task in tasks.chain(&mut self.extra.index) {
                task.results.clear();
            }
        }
        let old = self.before;
        let mut new = CustomRunStatus {
            conditions: old.conditions.clone(),
            observed_generation: observed.run.metadata.generation,
            start_time: old.start_time.clone(),
            completion_time: old.completion_time.clone(),
            results: self.results,
            extra_fields: Value::Null,
        };
        status::set(&mut new, verdict, reason, message, observed.now);
        let events = events::between(old, &self.was, &new, &self.extra);
        let same = self.was == self.extra
            && old.conditions == new.conditions
            && old.results == new.results
            && old.start_time == new.start_time
            && old.completion_time == new.completion_time
            && old.observed_generation == new.observed_generation;
        let again = match verdict {
            Verdict::Unknown => Some(self.again),
            // The next look is at what is left to remove.
            _ => self.extra.plan.as_ref().and_then(|plan| plan.ttl_seconds).map(Duration::from_secs),
        };
        let status = (!same).then(|| Box::new(NewStatus { visible: new, extra: self.extra }));
        Plan { actions: self.actions, status, events, again }
    }
}

/// Whether a platform's tasks were written as a chain, as far as its status tells.
fn is_chain(platform: &PlatformStatus) -> bool {
    platform.tasks.iter().any(|task| task.name != ONLY_TASK)
}
