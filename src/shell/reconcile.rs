//! One look at one run: gather, plan, carry out, write the status once, tell.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tracing::{debug, info, warn};

use super::api::{Api, ApiError, Key};
use super::cache::Cache;
use super::gather;
use super::queue::Queue;
use crate::api::tekton::{CustomRun, CustomRunStatus, TaskRun};
use crate::core::cleanup::is_finished;
use crate::core::events;
use crate::core::observed::{Observed, Refusal, RefusalReason};
use crate::core::plan::{Action, plan};
use crate::core::settings::Settings;
use crate::core::status::{same, smaller};

/// What every reconcile needs.
#[derive(Debug)]
pub struct Context<A> {
    /// The API server.
    pub api: A,
    /// What the watches have seen.
    pub cache: Cache,
    /// What the person who installed archfan decided.
    pub settings: Arc<Settings>,
}

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is done that can be done now. Look again after a while, or when something happens.
    Done(Option<Duration>),
    /// The run is gone.
    Gone,
    /// Something failed that may succeed later.
    Retry {
        /// Not before this long, if the server said so.
        after: Option<Duration>,
        /// What failed.
        why: ApiError,
    },
}

impl Outcome {
    /// Hands a run back to the queue from which it was taken.
    pub fn hand_back(self, queue: &mut Queue<Key>, key: Key, now: Timestamp) {
        match self {
            Self::Done(again) => queue.done(key, again, now),
            Self::Gone => {
                queue.done(key.clone(), None, now);
                queue.forget(&key);
            }
            Self::Retry { after, .. } => queue.failed(key, after, now),
        }
    }
}

/// How often plan and action alternate in one reconcile: an action may show that another plan is wanted, for instance that a name is
/// taken. More than this is left to the next reconcile.
const ROUNDS: usize = 6;

/// Looks at one run and does what is to be done.
pub async fn reconcile<A: Api>(key: &Key, context: &Context<A>, now: Timestamp) -> Outcome {
    let run = match current(context, key).await {
        Ok(Some(run)) => run,
        Ok(None) => return Outcome::Gone,
        Err(error) => return retry(error),
    };
    let gathered = gather::gather(&context.api, &context.cache, &context.settings, run, now).await;
    let mut observed = match gathered {
        Ok(observed) => observed,
        Err(error) => return retry(error),
    };
    let mut failure: Option<ApiError> = None;
    for _ in 0..ROUNDS {
        let planned = plan(&observed);
        if planned.actions.is_empty() || failure.is_some() {
            return finish(context, &observed, planned, failure).await;
        }
        let outcomes = join_all(planned.actions.iter().map(|action| carry_out(context, &observed, action)));
        let outcomes = outcomes.await;
        for outcome in outcomes {
            match outcome {
                Ok(learned) => learn(&mut observed, &context.cache, key, learned),
                // The others' outcomes still count, and so does the worst of the errors.
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        if let Err(error) = read_made_claims(context, &mut observed, key, &planned.actions).await {
            failure = Some(worse(failure, error));
        }
    }
    let why = ApiError::Unavailable("actions and plan do not agree yet".to_owned());
    Outcome::Retry { after: None, why }
}

/// The run as the cache has it; or as the server has it, where a status that was written may be newer than the cache. Without that a
/// run that has just been reported to have ended would be gone on with.
async fn current<A: Api>(context: &Context<A>, key: &Key) -> Result<Option<Arc<CustomRun>>, ApiError> {
    let Some(cached) = context.cache.run(key) else { return Ok(None) };
    if !context.cache.is_doubted(key) {
        return Ok(Some(cached));
    }
    let another = || ApiError::Conflict(format!("the CustomRun {key} is another by now"));
    let Some(fresh) = context.api.get_run(key).await? else { return Ok(None) };
    if fresh.metadata.uid != cached.metadata.uid {
        return Err(another());
    }
    context.cache.run_read(fresh);
    let now = context.cache.run(key);
    if now.as_ref().is_some_and(|now| now.metadata.uid != cached.metadata.uid) {
        return Err(another());
    }
    Ok(now)
}

/// What speaks against it that a run is reported to have ended: an action whose outcome is not known, or a child that has turned up.
fn not_yet<A>(context: &Context<A>, observed: &Observed, failure: Option<&ApiError>) -> Option<ApiError> {
    if let Some(error) = failure {
        return Some(error.clone());
    }
    let uid = observed.run.metadata.uid.as_deref().unwrap_or_default();
    let known = context.cache.children_of(uid);
    let new = known.iter().find(|(name, child)| {
        !crate::core::progress::has_ended(child)
            && observed.children.get(*name).is_none_or(|seen| seen.metadata.uid != child.metadata.uid)
    });
    new.map(|(name, _)| ApiError::Unavailable(format!("the TaskRun {name} has turned up")))
}

/// Writes the status and tells about it.
async fn finish<A: Api>(
    context: &Context<A>,
    observed: &Observed,
    mut planned: crate::core::plan::Plan,
    failure: Option<ApiError>,
) -> Outcome {
    if let Some(status) = planned.status.take() {
        let status = status.written();
        if is_finished(&status)
            && let Some(why) = not_yet(context, observed, failure.as_ref())
        {
            return retry(why);
        }
        match write(context, observed, &mut planned, status).await {
            Ok(Some(written)) => context.cache.run_written(written),
            Ok(None) => {}
            Err(ApiError::NotFound(_)) => return Outcome::Gone,
            Err(error) => return not_written(context, observed, error),
        }
        for event in &planned.events {
            context.api.tell(&observed.run, event).await;
        }
    }
    match failure {
        Some(error) => retry(error),
        None => Outcome::Done(planned.again),
    }
}

/// Writes a status, or as much of it as the server takes, and makes what is told and when the run is looked at again fit what was written.
/// Gives back the run as it was written, or nothing if the server has that much already.
async fn write<A: Api>(
    context: &Context<A>,
    observed: &Observed,
    planned: &mut crate::core::plan::Plan,
    status: CustomRunStatus,
) -> Result<Option<Arc<CustomRun>>, ApiError> {
    let mut status = Arc::new(status);
    loop {
        let refused = match context.api.write_status(&observed.run, &status).await {
            Err(ApiError::TooLarge(words)) => words,
            other => return other.map(Some),
        };
        let Some(small) = smaller(&status, &refused, observed.now) else {
            return Err(ApiError::TooLarge(refused));
        };
        if is_finished(&small) {
            planned.events = events::of_another_end(std::mem::take(&mut planned.events), &status, &small);
        } else {
            // What has happened is told once it can be written down.
            planned.events.clear();
            if observed.run.status.as_ref().is_some_and(|there| same(there, &small)) {
                return Ok(None);
            }
            planned.again = Some(Duration::ZERO);
        }
        status = Arc::new(small);
    }
}

/// A status was not written, or was and nobody has heard of it.
fn not_written<A>(context: &Context<A>, observed: &Observed, why: ApiError) -> Outcome {
    if matches!(why, ApiError::Unavailable(_) | ApiError::Conflict(_)) {
        let meta = &observed.run.metadata;
        let key = Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        context.cache.doubt_run(&key);
    }
    retry(why)
}

fn retry(why: ApiError) -> Outcome {
    let after = match &why {
        ApiError::Throttled { after, .. } => *after,
        _ => None,
    };
    Outcome::Retry { after, why }
}

/// Of two errors the one to wait longer for.
fn worse(one: Option<ApiError>, other: ApiError) -> ApiError {
    match one {
        Some(one @ ApiError::Throttled { .. }) => one,
        _ => other,
    }
}

/// What an action has taught.
enum Learned {
    /// A child is as this says.
    Child(Arc<TaskRun>),
    /// A child is gone.
    Gone(String),
    /// An object cannot be made.
    Refused(Refusal),
    /// Nothing that a plan depends on.
    Nothing,
}

fn learn(observed: &mut Observed, cache: &Cache, run: &Key, learned: Learned) {
    match learned {
        Learned::Child(child) => {
            cache.child_written(child.clone());
            observed.children.insert(child.metadata.name.clone().unwrap_or_default(), child);
        }
        Learned::Gone(name) => {
            let gone = observed.children.remove(&name);
            let uid = gone.and_then(|child| child.metadata.uid.clone());
            cache.child_gone(&Key::new(&run.namespace, &name), uid.as_deref());
            observed.refusals.retain(|refusal| refusal.name != name);
        }
        Learned::Refused(refusal) => observed.refusals.push(refusal),
        Learned::Nothing => {}
    }
}

async fn carry_out<A: Api>(
    context: &Context<A>,
    observed: &Observed,
    action: &Action,
) -> Result<Learned, ApiError> {
    let meta = &observed.run.metadata;
    let run = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let key = |name: &str| Key::new(namespace, name);
    match action {
        Action::CreateTaskRun(body) => {
            let name = &body.metadata.name;
            match context.api.create_task_run(body).await {
                Ok(child) => {
                    info!(namespace, run, task_run = %name, "created a TaskRun");
                    Ok(Learned::Child(child))
                }
                Err(error) => not_created(context, &key(name), &key(run), uid, error).await,
            }
        }
        Action::CreateClaim(body) => {
            let name = &body.metadata.name;
            match context.api.create_claim(body).await {
                Ok(()) => {
                    info!(namespace, run, claim = %name, "made a claim");
                    Ok(Learned::Nothing)
                }
                Err(ApiError::AlreadyExists(words)) => Ok(refused(name, RefusalReason::Rejected(words))),
                Err(error) => refusal(name, error),
            }
        }
        Action::CancelTaskRun { name, message } => {
            let child = observed.children.get(name);
            let uid = child.and_then(|child| child.metadata.uid.as_deref()).unwrap_or_default();
            match context.api.cancel_task_run(&key(name), uid, message).await {
                Ok(child) => {
                    info!(namespace, run, task_run = %name, reason = %message, "cancelled a TaskRun");
                    Ok(Learned::Child(child))
                }
                Err(ApiError::NotFound(_)) => Ok(Learned::Gone(name.clone())),
                // It has ended meanwhile, and Tekton allows no change then; or another has its name. See what has become of it.
                Err(ApiError::Invalid(words) | ApiError::Forbidden(words)) => {
                    debug!(namespace, run, task_run = %name, %words, "a TaskRun could not be cancelled");
                    match context.api.get_task_run(&key(name)).await? {
                        Some(child) if child.metadata.uid.as_deref() != Some(uid) => {
                            Ok(Learned::Gone(name.clone()))
                        }
                        Some(child) if crate::core::progress::has_ended(&child) => Ok(Learned::Child(child)),
                        Some(_) => Err(ApiError::Unavailable(words)),
                        None => Ok(Learned::Gone(name.clone())),
                    }
                }
                Err(error) => Err(error),
            }
        }
        Action::DeleteTaskRun { name, uid } => match context.api.delete_task_run(&key(name), uid).await {
            Ok(()) => {
                info!(namespace, run, task_run = %name, "deleted a TaskRun");
                Ok(Learned::Gone(name.clone()))
            }
            Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Ok(Learned::Gone(name.clone())),
            Err(error) => Err(error),
        },
    }
}

/// What to make of it that a child was not created.
async fn not_created<A: Api>(
    context: &Context<A>,
    key: &Key,
    run: &Key,
    run_uid: &str,
    error: ApiError,
) -> Result<Learned, ApiError> {
    let ApiError::AlreadyExists(words) = error else { return refusal(&key.name, error) };
    let Some(there) = context.api.get_task_run(key).await? else {
        // Gone again between the two calls.
        return Err(ApiError::Unavailable(words));
    };
    let owner = there.metadata.owner_references.iter().flatten().next();
    if owner.is_some_and(|owner| owner.uid == run_uid) {
        debug!(%key, "the TaskRun is there already");
        return Ok(Learned::Child(there));
    }
    // What is there may be a later run's of this name, if the run that is looked at is gone and its watch has not said so yet.
    let current = context.api.get_run(run).await?;
    if current.as_ref().and_then(|current| current.metadata.uid.as_deref()) != Some(run_uid) {
        return Err(ApiError::Conflict(format!("the CustomRun {run} is gone, or is another by now")));
    }
    Ok(refused(&key.name, RefusalReason::Taken(there)))
}

/// Errors that say something about the request, and not about the way to the server.
fn refusal(name: &str, error: ApiError) -> Result<Learned, ApiError> {
    match error {
        ApiError::Invalid(words) | ApiError::TooLarge(words) => {
            Ok(refused(name, RefusalReason::Rejected(words)))
        }
        ApiError::Forbidden(words) if words.contains("exceeded quota") => {
            Ok(refused(name, RefusalReason::Quota(words)))
        }
        // A policy has spoken (Kubernetes words a webhook's denial so).
        ApiError::Forbidden(words) if words.contains("denied the request") => {
            Ok(refused(name, RefusalReason::Rejected(words)))
        }
        ApiError::Forbidden(words) => {
            warn!(%name, %words, "the API server forbids to create an object");
            Ok(refused(name, RefusalReason::NotNow(words)))
        }
        error => Err(error),
    }
}

fn refused(name: &str, why: RefusalReason) -> Learned {
    Learned::Refused(Refusal { name: name.to_owned(), why })
}

/// Reads claims that have just been made, so that they are judged in the same reconcile.
async fn read_made_claims<A: Api>(
    context: &Context<A>,
    observed: &mut Observed,
    run: &Key,
    actions: &[Action],
) -> Result<(), ApiError> {
    let made: Vec<String> = actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateClaim(claim) => Some(claim.metadata.name.clone()),
            _ => None,
        })
        .collect();
    if !made.is_empty() {
        let claims = gather::claims(&context.api, &run.namespace, made.iter()).await?;
        observed.facts.claims.extend(claims);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
