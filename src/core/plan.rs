//! All policies together: from what is observed to what shall be done.
//!
//! `plan` is idempotent: once its actions are carried out and its status is written, it asks for nothing more until something changes.
//! It keeps nothing between two calls; all it remembers is in the run's status and in its children.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize as _;

use super::accept::{self, Accepted, ClaimBody, Hold};
use super::children::{Family, TaskRunBody};
use super::events::Event;
use super::index_child::known_results;
use super::observed::{Observed, Refusal};
use super::path::Path;
use super::problem::{self, Problem, Reason};
use super::progress::{self, Seen};
use super::recreate::{self, Held};
use super::refusal::{self, Outcome, RETRY};
use super::replace::{self, Replacement};
use super::request::Target;
use super::status::{NewStatus, Verdict};
use super::{cancel, chain, cleanup, concurrency, failure, reuse, size, status, timeouts};
use crate::api::status::{Ending, ExtraFields, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{CustomRunStatus, RunResult};

mod ending;

/// What shall be done about a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Changes to other objects. They come before the status, and need no order among themselves, but that claims come first.
    pub actions: Vec<Action>,
    /// The run's status, if it shall become another.
    pub status: Option<Box<NewStatus>>,
    /// What to tell, once the status is written.
    pub events: Vec<Event>,
    /// When to look again if nothing happens until then.
    pub again: Option<Duration>,
}

/// A change to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a claim, unless it is there.
    CreateClaim(Box<ClaimBody>),
    /// Make a child, unless it is there.
    CreateTaskRun(Box<TaskRunBody>),
    /// Ask a child to end.
    CancelTaskRun {
        /// Its name.
        name: String,
        /// Why, for its `statusMessage`.
        message: String,
    },
    /// Remove a TaskRun, if it still is the one that is meant.
    DeleteTaskRun {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// How often a run is looked at that nothing happens to: a watch may lose a deletion, so nothing relies on it alone.
const RESYNC: Duration = Duration::from_mins(5);
/// How often a claim is looked at that a run waits for.
const CLAIM_POLL: Duration = Duration::from_secs(2);

/// Decides what shall be done about a run.
pub fn plan(observed: &Observed) -> Plan {
    let run = &observed.run;
    if run.metadata.deletion_timestamp.is_some() {
        // Kubernetes removes the children with it.
        return Plan::default();
    }
    let nothing = CustomRunStatus::default();
    let before = run.status.as_ref().unwrap_or(&nothing);
    let extra = ExtraFields::deserialize(&before.extra_fields).unwrap_or_default();
    if cleanup::is_finished(before) {
        return cleanup::after_the_end(observed, before, &extra);
    }
    match (accept::accept(observed, &extra), cancel::requested(run)) {
        (Err(_), Some(ending)) => Work::wind_down_unread(observed, before, extra, ending),
        (Err(problems), None) => {
            let reason = problems.first().map_or(Reason::InvalidField, |problem| problem.reason);
            let ending = Ending { reason: reason.as_str().to_owned(), message: problem::tell(&problems) };
            Work::wind_down_unread(observed, before, extra, ending)
        }
        (Ok(mut accepted), cancelled) => {
            let made = std::mem::take(&mut accepted.first).into_iter().map(Some).collect();
            Work { made, ..Work::new(observed, before, extra) }.go_on(&accepted, cancelled)
        }
    }
}

struct Work<'a> {
    observed: &'a Observed,
    /// The run's status as it is.
    before: &'a CustomRunStatus,
    /// What it remembers, as it is.
    was: ExtraFields,
    /// The same, as it becomes; the platforms and the index only once they are reported.
    extra: ExtraFields,
    /// What the run will report.
    results: Vec<RunResult>,
    start: Timestamp,
    platforms: Vec<PlatformStatus>,
    index: Option<TaskStatus>,
    /// Children at work that the run does not ask for, made by a look that could not write it down: before the run's spec was changed, or
    /// where another replica had taken over what an earlier run has built.
    strays: Vec<String>,
    /// The first child of each platform, if it was made already while the run was judged.
    made: Vec<Option<TaskRunBody>>,
    actions: Vec<Action>,
    again: Duration,
}

/// What came of trying to move a run forward.
enum Step {
    /// A task changed its state without a child; look at everything once more.
    Changed,
    /// Nothing more can be done now.
    Settled,
}

impl<'a> Work<'a> {
    fn new(observed: &'a Observed, before: &'a CustomRunStatus, was: ExtraFields) -> Self {
        let start = before.start_time.as_ref().map_or(observed.now, |Time(start)| *start);
        Self {
            observed,
            before,
            extra: ExtraFields {
                plan: was.plan.clone(),
                ending: was.ending.clone(),
                warnings: was.warnings.clone(),
                ..ExtraFields::default()
            },
            was,
            results: before.results.clone(),
            start,
            platforms: Vec::new(),
            index: None,
            strays: Vec::new(),
            made: Vec::new(),
            actions: Vec::new(),
            again: jittered(RESYNC, observed.run.metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    fn wake_in(&mut self, span: Duration) {
        self.again = self.again.min(span);
    }

    /// The main road: an accepted run that has not ended.
    fn go_on(mut self, accepted: &Accepted, cancelled: Option<Ending>) -> Plan {
        let root = Path::root(&accepted.root);
        let family = Family {
            run: &self.observed.run,
            request: &accepted.request,
            plan: &accepted.plan,
            settings: &self.observed.settings,
            root,
            keep_assistant: accepted.plan.keep_assistant,
            templates: &accepted.templates,
        };
        // A cancel comes before an end that is under way, because Tekton waits for its exact reason.
        let asked = cancelled
            .or_else(|| self.extra.ending.clone())
            .or_else(|| timeouts::over(&accepted.request, self.start, self.observed.now));
        if let Some(deadline) = timeouts::deadline(&accepted.request, self.start) {
            self.wake_in(timeouts::until(deadline, self.observed.now));
        }
        self.look(accepted, &family, asked.is_some());
        self.extra.plan = Some(accepted.plan.clone());
        self.extra.warnings.clone_from(&accepted.warnings);
        let taken = accepted.claims.iter().find_map(|claim| self.refusal(&claim.metadata.name).cloned());
        let asked = asked.or_else(|| taken.map(|refusal| refusal::of_claim(&refusal)));
        self.actions.extend(accepted.claims.iter().map(|claim| Action::CreateClaim(Box::new(claim.clone()))));
        if let Some(ending) = asked {
            return self.wind_down(ending, Some(accepted));
        }
        // Every step makes a task final that was not, so this ends.
        loop {
            let failed = failure::ending(&accepted.request, &self.platforms);
            if let Some(ending) = failed.or_else(|| size::ending(size::of(&self.platforms))) {
                self.look(accepted, &family, true);
                return self.wind_down(ending, Some(accepted));
            }
            let claims = self.actions.len();
            if matches!(self.advance(accepted, &family), Step::Settled) {
                break;
            }
            self.actions.truncate(claims);
        }
        self.stop_failed();
        if self.platforms.iter().any(|platform| !platform.phase.is_final()) {
            return self.report(Verdict::Unknown, Reason::Running.as_str(), None);
        }
        self.finish(accepted, &family)
    }

    /// Finds out where every task of every platform is, and the index.
    fn look(&mut self, accepted: &Accepted, family: &Family<'_>, ending: bool) {
        let request = &accepted.request;
        let mut platforms = Vec::with_capacity(request.targets.len());
        let mut asked = Vec::with_capacity(request.targets.len() * request.tasks.len() + 1);
        asked.push(request.context.custom_run.clone());
        for target in &request.targets {
            let display = target.platform.to_string();
            let known = self.platforms.iter().find(|platform| platform.platform == display);
            let prior = known.or_else(|| self.was.platforms.iter().find(|p| p.platform == display));
            let mut tasks = Vec::with_capacity(request.tasks.len());
            for task in &request.tasks {
                let name = family.name(target, task);
                let prior = prior.and_then(|platform| platform.tasks.iter().find(|t| t.name == task.name));
                let mut found = progress::of_task(&task.name, prior, self.seen(&name, Some(target), ending));
                if found.phase == Phase::Failed
                    && !ending
                    && let Some(child) = self.observed.children.get(&name)
                    && replace::consider(&mut found, prior, child) == Replacement::Due
                {
                    self.actions.push(Action::DeleteTaskRun {
                        name: name.clone(),
                        uid: child.metadata.uid.clone().unwrap_or_default(),
                    });
                }
                if let Some(limit) = request.strategy.pending_timeout
                    && found.phase == Phase::Pending
                {
                    let since = self.observed.children.get(&name).and_then(|child| {
                        progress::unscheduled_since(child, self.observed.pods.get(&name).map(|pod| &**pod))
                    });
                    match timeouts::pending_deadline(Some(limit), since) {
                        Some(deadline) if self.observed.now >= deadline => {
                            timeouts::give_up(&mut found, limit);
                        }
                        Some(deadline) => {
                            self.again = self.again.min(timeouts::until(deadline, self.observed.now));
                        }
                        None => {}
                    }
                }
                // What has been taken over needs no child of its own.
                if found.reused.is_empty() {
                    asked.push(name);
                }
                tasks.push(found);
            }
            platforms.push(progress::of_platform(request, target, tasks));
        }
        size::tighten(&mut platforms);
        self.platforms = platforms;
        asked.sort_unstable();
        let at_work = self.observed.children.iter().filter(|(_, child)| !progress::has_ended(child));
        let strays = at_work.map(|(name, _)| name).filter(|name| asked.binary_search(name).is_err());
        self.strays = strays.cloned().collect();
        let name = &request.context.custom_run;
        if self.was.index.is_some() || self.observed.children.contains_key(name) {
            self.index =
                Some(progress::of_task("index", self.was.index.as_ref(), self.seen(name, None, ending)));
        }
    }

    fn seen<'b>(&'b self, name: &'b str, target: Option<&'b Target>, ending: bool) -> Seen<'b> {
        let pod = self.observed.pods.get(name).map(|pod| &**pod);
        let notes = pod
            .and_then(|pod| pod.metadata.name.as_ref())
            .and_then(|pod| self.observed.notes.get(pod))
            .map_or(&[][..], Vec::as_slice);
        Seen {
            name,
            child: self.observed.children.get(name).map(|child| &**child),
            pod,
            notes,
            nodes: self.observed.nodes.as_deref(),
            runs_on: target.map(|target| &target.runs_on),
            now: self.observed.now,
            ending,
        }
    }

    /// Creates what may be created now, in the order of the platform list.
    fn advance(&mut self, accepted: &Accepted, family: &Family<'_>) -> Step {
        let request = &accepted.request;
        let mut places =
            concurrency::free_places(request.strategy.max_parallel, &self.platforms, self.still_at_work());
        // A child that has ended can give no volume a place any more.
        let mut first = self.observed.children.values().all(|child| progress::has_ended(child));
        for (number, target) in request.targets.iter().enumerate() {
            let Some(index) = chain::next(&self.platforms[number].tasks) else { continue };
            let name = family.name(target, &request.tasks[index]);
            match self.candidate(accepted, family, number, index) {
                Ok(Candidate::Task(found)) => {
                    self.platforms[number].tasks[index] = *found;
                    self.settle_platform(accepted, number);
                    return Step::Changed;
                }
                Err(problem) => {
                    self.fail(accepted, number, index, problem.reason, problem.to_string());
                    return Step::Changed;
                }
                Ok(Candidate::Child(body)) => {
                    let held = self.held(&self.platforms[number].tasks[index], &name);
                    // What was there before keeps its place, and where there is a pod, there may be a TaskRun that was not seen yet.
                    let its_place = held.is_some();
                    if let Some(left) = held.as_ref().and_then(|held| held.left) {
                        self.wake_in(left);
                    }
                    let wait = match &accepted.hold {
                        _ if let Some(held) = held => Some((held.reason, held.message)),
                        Hold::All(why) => Some((Reason::ClaimPending, why.clone())),
                        Hold::FirstOnly(why) if !first => Some((Reason::ClaimPending, why.clone())),
                        _ if places == Some(0) => Some((
                            Reason::Limit,
                            format!(
                                "waits for one of {} places (strategy.maxParallel)",
                                request.strategy.max_parallel.unwrap_or_default()
                            ),
                        )),
                        _ => None,
                    };
                    if accepted.hold != Hold::None {
                        self.wake_in(CLAIM_POLL);
                    }
                    if let Some((reason, why)) = wait {
                        if its_place {
                            places = places.map(|places| places.saturating_sub(1));
                        }
                        self.wait(accepted, number, index, reason, why);
                        continue;
                    }
                    match self.refused(&name, false) {
                        None => self.actions.push(Action::CreateTaskRun(body)),
                        Some(Outcome::Wait { reason, message, .. }) => {
                            self.wait(accepted, number, index, reason, message);
                        }
                        Some(Outcome::Fail { reason, message }) => {
                            self.fail(accepted, number, index, reason, message);
                            return Step::Changed;
                        }
                    }
                    first = false;
                    places = places.map(|places| places.saturating_sub(1));
                }
            }
        }
        Step::Settled
    }

    /// How many children are still at work although their task has ended: it was given up, and they have yet to be stopped.
    fn still_at_work(&self) -> usize {
        let tasks = self.platforms.iter().flat_map(|platform| &platform.tasks);
        tasks
            .filter(|task| task.phase.is_final())
            .filter_map(|task| self.observed.children.get(&task.task_run))
            .filter(|child| !progress::has_ended(child))
            .count()
            + self.strays.len()
    }

    /// What the next task of a platform comes to: a child to create, or an end without one.
    fn candidate(
        &mut self,
        accepted: &Accepted,
        family: &Family<'_>,
        number: usize,
        index: usize,
    ) -> Result<Candidate, Problem> {
        let request = &accepted.request;
        let target = &request.targets[number];
        let results = known_results(&self.platforms[number]);
        let task = &request.tasks[index];
        let found = |phase| TaskStatus { name: task.name.clone(), phase, ..TaskStatus::default() };
        if chain::is_skipped(request, target, index, &results, &family.root)? {
            let reason = Reason::When.as_str().to_owned();
            return Ok(Candidate::Task(Box::new(TaskStatus { reason, ..found(Phase::Skipped) })));
        }
        let made = self.made.get_mut(number).filter(|_| index == 0).and_then(Option::take);
        let mut body = match made {
            Some(body) => body,
            None => family.build(target, index, &results)?,
        };
        if let Some(text) = &request.strategy.reuse {
            reuse::mark(&mut body, text);
            // What has begun by itself is not traded for another's: its child may be there, and only not be seen.
            let begun = self.platforms[number].tasks[index].start_time.is_some();
            if let Some(earlier) = reuse::find(&body, &self.observed.facts.reusable).filter(|_| !begun) {
                let reported = earlier.status.clone().unwrap_or_default();
                let name = earlier.metadata.name.clone().unwrap_or_default();
                return Ok(Candidate::Task(Box::new(TaskStatus {
                    reason: Reason::Reused.as_str().to_owned(),
                    message: format!("taken over from the TaskRun {name} of an earlier run"),
                    reused: name,
                    results: reported.results,
                    start_time: Some(status::whole_seconds(self.observed.now)),
                    completion_time: Some(status::whole_seconds(self.observed.now)),
                    ..found(Phase::Succeeded)
                })));
            }
        }
        Ok(Candidate::Child(Box::new(body)))
    }

    /// What keeps a child from being created again.
    fn held(&self, task: &TaskStatus, name: &str) -> Option<Held> {
        let Observed { run, pods, predecessors, now, .. } = self.observed;
        let created = run.metadata.creation_timestamp.as_ref().filter(|_| predecessors.contains(name));
        recreate::held(task, pods.contains_key(name), created, *now)
    }

    fn refusal(&self, name: &str) -> Option<&Refusal> {
        self.observed.refusals.iter().find(|refusal| refusal.name == name)
    }

    /// What a child comes to that the API server did not make, and what is done about it meanwhile; nothing if it was not refused.
    fn refused(&mut self, name: &str, is_index: bool) -> Option<Outcome> {
        let why = self.refusal(name)?.why.clone();
        let outcome = refusal::of_child(name, why, &self.observed.run, is_index);
        if let Outcome::Wait { remove, .. } = &outcome {
            self.wake_in(RETRY);
            let name = name.to_owned();
            self.actions.extend(remove.clone().map(|uid| Action::DeleteTaskRun { name, uid }));
        }
        Some(outcome)
    }

    fn fail(&mut self, accepted: &Accepted, number: usize, index: usize, reason: Reason, message: String) {
        let now = status::whole_seconds(self.observed.now);
        let task = &mut self.platforms[number].tasks[index];
        task.phase = Phase::Failed;
        task.reason = reason.as_str().to_owned();
        task.message = message;
        task.completion_time = Some(now);
        self.settle_platform(accepted, number);
    }

    fn wait(&mut self, accepted: &Accepted, number: usize, index: usize, reason: Reason, message: String) {
        let task = &mut self.platforms[number].tasks[index];
        task.reason = reason.as_str().to_owned();
        task.message = message;
        self.settle_platform(accepted, number);
    }

    /// Works out a platform's state anew after one of its tasks has changed.
    fn settle_platform(&mut self, accepted: &Accepted, number: usize) {
        let tasks = std::mem::take(&mut self.platforms[number].tasks);
        self.platforms[number] =
            progress::of_platform(&accepted.request, &accepted.request.targets[number], tasks);
    }

    /// Cancels children whose platform has been given up while they run, and those that the run does not ask for any more.
    fn stop_failed(&mut self) {
        let failed = self
            .platforms
            .iter()
            .flat_map(|platform| &platform.tasks)
            .filter(|task| matches!(task.phase, Phase::Failed | Phase::Cancelled));
        let unwanted = "its run does not ask for it any more".to_owned();
        let running: Vec<(String, String)> = failed
            .map(|task| (task.task_run.clone(), task.message.clone()))
            .chain(self.strays.iter().map(|name| (name.clone(), unwanted.clone())))
            .filter(|(name, _)| {
                self.observed.children.get(name).is_some_and(|child| {
                    !progress::has_ended(child)
                        && !cancel::is_asked(child)
                        && child.metadata.deletion_timestamp.is_none()
                })
            })
            .collect();
        for (name, message) in running {
            self.actions.push(Action::CancelTaskRun { name, message: cancel::message(&message) });
        }
    }
}

enum Candidate {
    Child(Box<TaskRunBody>),
    Task(Box<TaskStatus>),
}

/// Spreads runs over time, so that thousands of them are not all looked at in the same moment.
fn jittered(span: Duration, uid: &str) -> Duration {
    let hash = uid.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    span + span.mul_f64(f64::from(hash % 1000) / 1000.0)
}

#[cfg(test)]
mod tests;
