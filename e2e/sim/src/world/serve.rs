//! The server takes a call, and what may go wrong with it.

use std::sync::Arc;
use std::time::Duration;

use archfan::api::tekton::{CustomRunStatus, TaskRun};
use archfan::core::children::TaskRunBody;
use archfan::core::observed::{Claim, Definition, TektonConfig};
use archfan::shell::api::ApiError;
use serde_json::Value;

use super::setup::claim_facts;
use super::{Part, World};
use crate::coverage::Point;
use crate::invariants;
use crate::life::Life;
use crate::scenario::VolumePlan;
use crate::server::Refuse;
use crate::tape::Channel;
use crate::wire::{Answer, Ask, Call, Progress, Reply};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is served.
    Served,
    /// It fails before it takes effect.
    Error,
    /// It takes effect, and the answer is lost.
    Lost,
    /// It times out, and takes effect later.
    Late,
    /// The server has too much to do.
    Throttled,
}

/// Who made a call, for the invariants.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The replica.
    pub replica: usize,
    /// The reconcile.
    pub reconcile: u64,
    /// Whether nobody waits for the answer.
    pub abandoned: bool,
}

impl World {
    /// The server takes a call.
    pub(super) fn serve(&mut self, id: u64) {
        let (ask, caller) = {
            let wire = self.wire.lock();
            let Some(call) = wire.calls.iter().find(|call| call.id == id) else { return };
            let caller =
                Caller { replica: call.replica, reconcile: call.reconcile, abandoned: call.abandoned };
            (call.ask.clone(), caller)
        };
        if caller.abandoned {
            self.serve_orphan(id, &ask, &caller);
            return;
        }
        let fate = self.fate(&ask);
        let unavailable = |words: &str| Err(ApiError::Unavailable(words.to_owned()));
        let answer: Answer = match fate {
            Fate::Served => self.carry_out(&ask, &caller),
            Fate::Error => unavailable("etcdserver: leader changed"),
            Fate::Lost => {
                let _ = self.carry_out(&ask, &caller);
                unavailable("error reading a body from connection")
            }
            Fate::Late => unavailable("no answer within 15 s"),
            Fate::Throttled => Err(ApiError::Throttled {
                message: "too many requests, please try again later".to_owned(),
                after: Some(Duration::from_secs(u64::from(1 + self.tape.on(Channel::Fault).below(5)))),
            }),
        };
        self.say(|| {
            let told = match &answer {
                Ok(_) => "done".to_owned(),
                Err(error) => format!("{}: {error}", error.class()),
            };
            format!("the server takes: {} {} ({fate:?}) -> {told}", ask.verb(), ask.name())
        });
        self.count(&answer);
        let mut wire = self.wire.lock();
        let Some(index) = wire.calls.iter().position(|call| call.id == id) else { return };
        wire.calls[index].progress = Progress::Answered(answer);
        if fate == Fate::Late {
            // What is still under way keeps its place in the order of things.
            let late = Call::left_behind(&wire.calls[index]);
            self.ledger.leave_behind(late.id, self.server.now);
            wire.calls.push(late);
        }
    }

    /// A call that nobody waits for any more takes effect, or is lost.
    fn serve_orphan(&mut self, id: u64, ask: &Ask, caller: &Caller) {
        let arrives =
            ask.writes() && (self.part != Part::Anything || !self.tape.on(Channel::Fault).permille(300));
        if arrives {
            self.ledger.overlap = true;
            self.coverage.meet(Point::Orphaned);
            let answer = self.carry_out(ask, caller);
            self.say(|| {
                let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
                format!("the server takes what nobody waits for: {} {} -> {told}", ask.verb(), ask.name())
            });
        } else if ask.writes() {
            self.coverage.meet(Point::LostCall);
            self.say(|| format!("never arrives: {} {}", ask.verb(), ask.name()));
        }
        self.wire.lock().calls.retain(|call| !(call.id == id && call.abandoned));
    }

    fn fate(&mut self, ask: &Ask) -> Fate {
        if self.part != Part::Anything || matches!(ask, Ask::Tell(..)) {
            return Fate::Served;
        }
        let fate = if self.tape.on(Channel::Fault).permille(self.knobs.error) {
            (Fate::Error, Point::ServerError)
        } else if self.tape.on(Channel::Fault).permille(self.knobs.throttled) {
            (Fate::Throttled, Point::Throttled)
        } else if ask.writes() && self.tape.on(Channel::Fault).permille(self.knobs.lost) {
            (Fate::Lost, Point::LostAnswer)
        } else if ask.writes() && self.tape.on(Channel::Fault).permille(self.knobs.late) {
            (Fate::Late, Point::LateEffect)
        } else {
            return Fate::Served;
        };
        self.coverage.meet(fate.1);
        self.ledger.troubles += 1;
        fate.0
    }

    fn count(&mut self, answer: &Answer) {
        let point = match answer {
            Ok(_) => Point::Served,
            Err(ApiError::Conflict(_)) => Point::Conflict,
            Err(ApiError::AlreadyExists(_)) => Point::AlreadyExists,
            Err(ApiError::NotFound(_)) => Point::NotFound,
            Err(ApiError::TooLarge(_)) => Point::StatusTooLarge,
            Err(ApiError::Invalid(words)) if words.contains("no updates are allowed") => Point::CancelTooLate,
            Err(_) => return,
        };
        self.coverage.meet(point);
    }

    /// Does what is asked.
    pub(crate) fn carry_out(&mut self, ask: &Ask, caller: &Caller) -> Answer {
        match ask {
            Ask::CreateTaskRun(body) => self.create(body, caller),
            Ask::GetTaskRun(name) => {
                let found = self.server.get_task_run(name);
                self.note_adopted(found.as_deref(), caller);
                Ok(Reply::TaskRun(found))
            }
            Ask::GetRun(name) => Ok(Reply::MaybeRun(self.server.runs.get(name).cloned())),
            Ask::CancelTaskRun(name, uid, message) => {
                self.swap(name, Point::UserSwapsCancelled);
                let before = self.server.task_runs.get(name).cloned();
                let answer = self.server.cancel_task_run(name, Some(uid), message);
                if let (Some(before), Ok(after)) = (before, &answer) {
                    self.check(|world| invariants::on_cancel(world, caller, &before, after));
                    if before.metadata.resource_version == after.metadata.resource_version {
                        self.coverage.meet(Point::NothingChanged);
                    }
                }
                answer.map(|task_run| Reply::TaskRun(Some(task_run)))
            }
            Ask::DeleteTaskRun(name, uid) => {
                self.swap(name, Point::UserSwapsDeleted);
                let before = self.server.task_runs.get(name).cloned();
                let answer = self.server.delete_task_run(name, Some(uid));
                if let (Some(before), Ok(())) = (before, &answer) {
                    self.check(|world| invariants::on_delete(world, caller, &before));
                }
                self.forget_gone();
                answer.map(|()| Reply::Done)
            }
            Ask::CreateClaim(body) => {
                let volume = if body.metadata.name.len() % 2 == 0 {
                    VolumePlan::FirstConsumer
                } else {
                    VolumePlan::Shared
                };
                self.server.create_claim(body, claim_facts(volume)).map(|()| Reply::Done)
            }
            Ask::GetClaim(name) => {
                let claim: Claim = self.server.get_claim(name);
                Ok(Reply::Claim(claim))
            }
            Ask::GetDefinition(name) => Ok(Reply::Definition(match self.server.definitions.get(name) {
                None => Definition::NotFound,
                Some(stored) => Definition::Found {
                    uid: stored.uid.clone(),
                    generation: stored.generation,
                    spec: stored.spec.clone(),
                },
            })),
            Ask::GetPipelineRun(name) => {
                let there = self.server.pipeline_runs.contains_key(name);
                Ok(Reply::PipelineRun(there.then(Box::default)))
            }
            Ask::TektonConfig => Ok(Reply::Tekton(TektonConfig {
                coschedule: Some("workspaces".to_owned()),
                ..TektonConfig::default()
            })),
            Ask::WriteStatus(run, status) => {
                let odds = too_large(status, self.knobs.too_large);
                if self.part == Part::Anything && self.tape.on(Channel::Fault).permille(odds) {
                    self.ledger.troubles += 1;
                    return Err(ApiError::TooLarge("etcdserver: request is too large".to_owned()));
                }
                let name = run.metadata.name.as_deref().unwrap_or_default();
                let before = self.server.runs.get(name).cloned();
                let answer = self.server.write_status(run, status);
                if let (Some(before), Ok(after)) = (before, &answer) {
                    let after = after.clone();
                    self.check(|world| invariants::on_status(world, &before, &after));
                }
                answer.map(Reply::Run)
            }
            Ask::Tell(run, event) => {
                self.check(|world| invariants::on_event(world, run, event));
                Ok(Reply::Done)
            }
        }
    }

    /// Notes that a look finds a child of its run that it did not know.
    fn note_adopted(&mut self, found: Option<&TaskRun>, caller: &Caller) {
        let looked_at = self.ledger.looks.get(&(caller.replica, caller.reconcile)).cloned();
        let uid = found.and_then(|found| found.metadata.uid.as_deref()).unwrap_or_default();
        let ours = self.ledger.child(uid).is_some_and(|child| Some(&child.run) == looked_at.as_ref());
        if ours && found.is_some_and(|found| !archfan::core::progress::has_ended(found)) {
            self.coverage.meet(Point::ChildAdopted);
        }
    }

    fn create(&mut self, body: &Arc<TaskRunBody>, caller: &Caller) -> Answer {
        let name = &body.metadata.name;
        if self.server.task_runs.get(name).is_none()
            && let Some(refuse) = self.refuse()
        {
            return Err(refuse.answer(name));
        }
        let task_run = self.server.create_task_run(body)?;
        self.ledger.born(&task_run, body, caller.abandoned);
        self.check(|world| invariants::on_create(world, caller, body, &task_run));
        self.give_life(&task_run, body);
        Ok(Reply::TaskRun(self.server.get_task_run(name)))
    }

    fn give_life(&mut self, task_run: &TaskRun, body: &Arc<TaskRunBody>) {
        let name = task_run.metadata.name.clone().unwrap_or_default();
        let mut life = Life::new(task_run, Some(body.clone()), self.knobs.pods);
        life.hangs = self.part == Part::Anything && self.tape.on(Channel::Life).permille(self.knobs.hangs);
        if self.tape.on(Channel::Life).permille(self.knobs.finalizers) {
            // Chains' controller holds on to what it has to sign.
            self.server.edit_task_run(&name, |task_run| {
                task_run.metadata.finalizers = Some(vec!["chains.tekton.dev".to_owned()]);
            });
        }
        self.lives.insert(name, life);
    }

    fn refuse(&mut self) -> Option<Refuse> {
        let (rate, how) = self.knobs.refuse;
        if self.part != Part::Anything || !self.tape.on(Channel::Fault).permille(rate) {
            return None;
        }
        self.ledger.troubles += 1;
        if !self.ledger.refused.contains(&how) {
            self.ledger.refused.push(how);
        }
        self.coverage.meet(match how {
            Refuse::Quota => Point::RefusedByQuota,
            Refuse::Webhook => Point::RefusedByWebhook,
            Refuse::Invalid => Point::RefusedAsInvalid,
            Refuse::Forbidden => Point::RefusedAsForbidden,
        });
        Some(how)
    }

    pub(super) fn check(&mut self, check: impl FnOnce(&mut World) -> invariants::Check) {
        if self.violation.is_none()
            && let Err((name, detail)) = check(self)
        {
            self.violate(name, || detail);
        }
    }

    /// Looks at the calls that a reconcile has just made, and lets those be answered at once that are to be.
    pub(super) fn check_new_calls(&mut self, index: usize, reconcile: u64, before: usize) {
        let fresh: Vec<Ask> = {
            let wire = self.wire.lock();
            let number = self.replicas[index].number;
            let calls = wire.calls.iter().skip(before.min(wire.calls.len()));
            calls
                .filter(|call| call.replica == number && call.reconcile == reconcile)
                .map(|call| call.ask.clone())
                .collect()
        };
        for ask in &fresh {
            *self.coverage.calls.entry(ask.verb()).or_default() += 1;
            self.check(|world| invariants::on_ask(world, index, reconcile, ask));
        }
    }

    /// Notes what an answer tells the replica that gets it.
    pub(super) fn note_answer(&mut self, index: usize, id: u64) {
        let run = {
            let wire = self.wire.lock();
            wire.calls.iter().find(|call| call.id == id).and_then(|call| match &call.progress {
                Progress::Answered(Ok(Reply::Run(run))) => Some(run.clone()),
                _ => None,
            })
        };
        if let Some(run) = run {
            let steps = self.steps;
            self.replicas[index].shown(&run, steps);
        }
    }
}

/// How likely it is that the server does not take a status because of its size, in thousandths. `odds` is that of one with tasks. One without
/// them is refused only of a run that has ended, mostly after the server has refused more, and so more often, or too few schedules would meet
/// it; of a run under way nothing would be left to remember its children by.
fn too_large(status: &CustomRunStatus, odds: u32) -> u32 {
    let platforms = status.extra_fields.get("platforms").and_then(|platforms| platforms.as_array());
    let has_tasks = |platform: &Value| platform["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty());
    match platforms {
        Some(platforms) if platforms.iter().any(has_tasks) => odds,
        Some(platforms) if !platforms.is_empty() && status.completion_time.is_some() => odds * 8,
        _ => 0,
    }
}
