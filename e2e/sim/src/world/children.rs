//! TaskRuns go on, claims turn up, and the garbage collector comes.

use archfan::api::tekton::TaskRun;
use archfan::core::cancel::is_asked;
use archfan::core::progress::has_ended;

use super::setup::{claim_facts, claim_of};
use super::{Part, World};
use crate::coverage::Point;
use crate::focus::Focus;
use crate::invariants;
use crate::ledger::End;
use crate::life::{self, Life, Outcome, Stage};
use crate::scenario::VolumePlan;
use crate::server::StoredClaim;
use crate::tape::Channel;

impl World {
    /// Whether something can happen to a TaskRun.
    pub(crate) fn can_live(&self, name: &str, life: &Life) -> bool {
        let Some(task_run) = self.server.task_runs.get(name) else { return false };
        if task_run.metadata.deletion_timestamp.is_some() {
            return true;
        }
        if life.stage == Stage::Over {
            return task_run.metadata.finalizers.is_some() && self.part != Part::Anything;
        }
        if is_asked(task_run) || life.deadline().is_some_and(|deadline| self.server.now >= deadline) {
            return true;
        }
        match life.stage {
            Stage::Unschedulable => self.node_for(life).is_some(),
            // The pod of an earlier TaskRun of that name is in the way.
            Stage::New | Stage::Resolving if life.pods => self.server.pods.get(&life.pod(name)).is_none(),
            Stage::PodRuns | Stage::Runs => !life.hangs,
            _ => true,
        }
    }

    /// The next thing happens to a TaskRun.
    pub(crate) fn live(&mut self, index: usize) {
        let Some(name) = self.lives.keys().nth(index).cloned() else { return };
        let Some(task_run) = self.server.task_runs.get(&name).cloned() else { return };
        let Some(mut life) = self.lives.get(&name).cloned() else { return };
        if task_run.metadata.deletion_timestamp.is_some() || life.stage == Stage::Over {
            if task_run.metadata.deletion_timestamp.is_some() {
                self.coverage.meet(Point::ChildHeldBack);
            }
            self.say(|| format!("the finalizer of {name} is served"));
            self.server.release_task_run(&name);
            self.forget_gone();
            return;
        }
        let late = life.deadline().is_some_and(|deadline| self.server.now >= deadline);
        if is_asked(&task_run) && (life.hangs || !self.tape.on(Channel::Life).permille(250)) {
            self.end_child(&mut life, &name, &task_run, "TaskRunCancelled", Vec::new());
            self.coverage.meet(Point::ChildCancelled);
        } else if late {
            self.coverage.meet(Point::ChildTimesOut);
            self.fail_child(&mut life, &name, &task_run, "TaskRunTimeout", "failed to finish in time");
        } else {
            if is_asked(&task_run) {
                self.coverage.meet(Point::ChildOutrunsCancel);
            }
            self.go_on(&mut life, &name, &task_run);
        }
        self.lives.insert(name, life);
    }

    fn go_on(&mut self, life: &mut Life, name: &str, task_run: &TaskRun) {
        let pod = life.pod(name);
        match life.stage {
            Stage::New => self.take_up(life, name, task_run, &pod),
            Stage::Resolving => self.begin(life, name, task_run, &pod),
            Stage::Unscheduled | Stage::Unschedulable => self.schedule(life, name, &pod),
            Stage::Scheduled => {
                if life.claim().is_some() && self.attempt_fails(6) {
                    self.coverage.meet(Point::ChildRaced);
                    self.ledger.troubles += 1;
                    self.fail_child(life, name, task_run, life::RACE, life::RACE_WORDS);
                } else if self.attempt_fails(4) {
                    life.stage = Stage::Pulling;
                    self.say(|| format!("the image of {name} cannot be pulled"));
                    let config = self.tape.on(Channel::Life).permille(300);
                    life::pull_fails(&mut self.server, &pod, config);
                    if !config {
                        let why = "Back-off pulling image";
                        life::ongoing(&mut self.server, name, "PullImageFailed", why, None);
                    }
                } else {
                    life.stage = Stage::PodRuns;
                    self.say(|| format!("the pod of {name} runs"));
                    life::pod_phase(&mut self.server, &pod, "Running");
                }
            }
            Stage::Pulling => {
                self.coverage.meet(Point::ChildImagePull);
                let why = "the step \"build\" failed to pull the image";
                self.fail_child(life, name, task_run, "TaskRunImagePullFailed", why);
            }
            Stage::PodRuns => {
                life.stage = Stage::Runs;
                self.say(|| format!("{name} runs"));
                life::ongoing(
                    &mut self.server,
                    name,
                    "Running",
                    "Not all Steps in the Task have finished executing",
                    None,
                );
            }
            Stage::Runs => {
                let outcome = self.outcome();
                life.stage = Stage::PodOver(outcome);
                if life.pods {
                    let phase = if matches!(outcome, Outcome::Success | Outcome::Silent) {
                        "Succeeded"
                    } else {
                        "Failed"
                    };
                    self.say(|| format!("the pod of {name} ends: {outcome:?}"));
                    life::pod_phase(&mut self.server, &pod, phase);
                } else {
                    self.see_end(life, name, task_run, outcome);
                }
            }
            Stage::PodOver(outcome) => self.see_end(life, name, task_run, outcome),
            Stage::Over => {}
        }
    }

    /// Tekton looks at a TaskRun for the first time.
    fn take_up(&mut self, life: &mut Life, name: &str, task_run: &TaskRun, pod: &str) {
        life.begun = Some(self.server.now);
        if self.attempt_fails(5) {
            self.coverage.meet(Point::ChildInvalid);
            self.fail_child(life, name, task_run, "TaskRunValidationFailed", "[User error] missing param");
        } else if self.tape.on(Channel::Life).permille(100) {
            life.stage = Stage::Resolving;
            self.say(|| format!("Tekton fetches the Task of {name}"));
            life::ongoing(&mut self.server, name, "ResolvingTaskRef", "Task is being resolved", None);
        } else {
            self.begin(life, name, task_run, pod);
        }
    }

    fn begin(&mut self, life: &mut Life, name: &str, task_run: &TaskRun, pod: &str) {
        if life.pods {
            life.stage = Stage::Unscheduled;
            self.say(|| format!("Tekton makes the pod of {name}"));
            life::make_pod(&mut self.server, task_run, pod);
            life::ongoing(&mut self.server, name, "Pending", "Pending", Some(pod));
        } else {
            life.stage = Stage::Runs;
            self.say(|| format!("{name} runs"));
            life::ongoing(
                &mut self.server,
                name,
                "Running",
                "Not all Steps in the Task have finished executing",
                None,
            );
            self.bind_claim(life);
        }
    }

    fn schedule(&mut self, life: &mut Life, name: &str, pod: &str) {
        if self.server.pods.get(pod).is_none() {
            // Somebody deleted it: Tekton makes another.
            life.stage = Stage::New;
            return;
        }
        // A node may be there and full.
        let full = self.part == Part::Anything
            && self.focus == Focus::Nodes
            && life.stage == Stage::Unscheduled
            && self.tape.on(Channel::Life).permille(400);
        if let Some(node) = self.node_for(life).filter(|_| !full) {
            life.stage = Stage::Scheduled;
            self.say(|| format!("the pod of {name} is placed on {node}"));
            life::schedule(&mut self.server, pod, &node);
            self.bind_claim(life);
        } else {
            life.stage = Stage::Unschedulable;
            self.coverage.meet(Point::PodUnschedulable);
            let nodes = self.server.nodes.iter().count();
            self.say(|| format!("the pod of {name} finds no node"));
            let how = self.tape.on(Channel::Life).index(life::UNSCHEDULABLE.len());
            life::unschedulable(&mut self.server, pod, nodes, how);
        }
    }

    /// The first pod that mounts a claim gives it its volume.
    fn bind_claim(&mut self, life: &Life) {
        let Some(claim) = life.claim().and_then(|name| self.server.claims.get_mut(name)) else { return };
        if !claim.facts.bound {
            claim.facts.bound = true;
            self.coverage.meet(Point::ClaimBound);
        }
    }

    /// A node that a TaskRun's pod may be placed on.
    fn node_for(&self, life: &Life) -> Option<String> {
        let fits = |arch: &str| life.arch().is_none_or(|wanted| wanted == arch);
        self.server
            .nodes
            .iter()
            .find(|(name, node)| {
                !node.spec.unschedulable
                    && node.spec.taints.is_empty()
                    && name.strip_prefix("node-").is_some_and(fits)
            })
            .map(|(name, _)| name.clone())
    }

    fn attempt_fails(&mut self, how: usize) -> bool {
        self.part == Part::Anything && self.tape.on(Channel::Life).permille(self.knobs.fails[how])
    }

    fn outcome(&mut self) -> Outcome {
        const OUTCOMES: [Outcome; 4] =
            [Outcome::StepFailed, Outcome::Evicted, Outcome::SeemsEvicted, Outcome::Silent];
        for (index, outcome) in OUTCOMES.into_iter().enumerate() {
            if self.attempt_fails(index) {
                return outcome;
            }
        }
        Outcome::Success
    }

    /// Tekton sees that the pod has ended.
    fn see_end(&mut self, life: &mut Life, name: &str, task_run: &TaskRun, outcome: Outcome) {
        match outcome {
            Outcome::Success | Outcome::Silent => {
                self.coverage.meet(match outcome {
                    Outcome::Silent => Point::ChildSilent,
                    _ => Point::ChildSucceeds,
                });
                let results = life::results(task_run, outcome);
                self.end_child(life, name, task_run, "Succeeded", results);
            }
            Outcome::SeemsEvicted => {
                self.coverage.meet(Point::ChildSeemsEvicted);
                self.say(|| format!("{name} seems to be evicted, and goes on"));
                let message = "The node was low on resource: ephemeral-storage.";
                life::ended(&mut self.server, name, "False", "PodEvicted", message, Vec::new());
                life::go_on_again(&mut self.server, name);
                life.stage = Stage::Runs;
            }
            Outcome::Evicted => {
                self.coverage.meet(Point::ChildEvicted);
                self.fail_child(
                    life,
                    name,
                    task_run,
                    "PodEvicted",
                    "The node was low on resource: ephemeral-storage.",
                );
            }
            _ => {
                self.coverage.meet(Point::ChildFails);
                self.fail_child(life, name, task_run, "StepFailed", "\"step-build\" exited with code 1");
            }
        }
    }

    /// An attempt has failed: another begins, or the TaskRun has failed.
    fn fail_child(&mut self, life: &mut Life, name: &str, task_run: &TaskRun, reason: &str, message: &str) {
        let pod = life.pod(name);
        if life.failed < life.retries && !is_asked(task_run) {
            life.failed += 1;
            life.stage = Stage::New;
            life.begun = None;
            self.coverage.meet(Point::ChildRetried);
            self.say(|| format!("{name} has failed with {reason} and is tried again"));
            life::retried(&mut self.server, name, message);
            return;
        }
        if reason == "TaskRunTimeout" {
            self.server.remove_pod(&pod);
        }
        self.end_child_with(life, name, task_run, ("False", reason, message), Vec::new());
    }

    fn end_child(
        &mut self,
        life: &mut Life,
        name: &str,
        task_run: &TaskRun,
        reason: &str,
        results: Vec<archfan::api::tekton::TaskRunResult>,
    ) {
        let status = if reason == "Succeeded" { "True" } else { "False" };
        let message = if reason == "Succeeded" {
            "All Steps have completed executing".to_owned()
        } else {
            let pod = life.pod(name);
            self.server.remove_pod(&pod);
            let said = task_run.spec.status_message.as_deref().unwrap_or_default();
            format!("TaskRun {name:?} was cancelled. {said}")
        };
        self.end_child_with(life, name, task_run, (status, reason, &message), results);
    }

    fn end_child_with(
        &mut self,
        life: &mut Life,
        name: &str,
        task_run: &TaskRun,
        (status, reason, message): (&str, &str, &str),
        results: Vec<archfan::api::tekton::TaskRunResult>,
    ) {
        assert!(!has_ended(task_run), "the model ended {name} twice");
        life.stage = Stage::Over;
        self.say(|| format!("{name} has ended: {status} {reason}"));
        life::ended(&mut self.server, name, status, reason, message, results.clone());
        if let Some(child) = self.ledger.child(&life.uid) {
            child.end = Some(End { status: status.to_owned(), reason: reason.to_owned(), results });
        }
    }

    /// One round of the garbage collector.
    pub(crate) fn collect(&mut self) {
        let before = self.server.task_runs.log().len();
        self.server.collect();
        for happened in &self.server.task_runs.log()[before..] {
            self.coverage.meet(match happened {
                crate::server::Happened::Applied(_) => Point::OwnerStripped,
                crate::server::Happened::Deleted(_) => Point::Collected,
            });
        }
        self.forget_gone();
    }

    /// Forgets what was behind TaskRuns that are gone.
    pub(crate) fn forget_gone(&mut self) {
        let there = &self.server.task_runs;
        self.lives.retain(|name, life| {
            there
                .get(name)
                .is_some_and(|task_run| task_run.metadata.uid.as_deref() == Some(life.uid.as_str()))
        });
        for child in self.ledger.children.iter_mut().filter(|child| child.there) {
            child.there = there
                .get(&child.name)
                .is_some_and(|task_run| task_run.metadata.uid.as_deref() == Some(child.uid.as_str()));
        }
    }

    /// A claim that a run waits for and that nobody has made.
    pub(super) fn missing_claim(&self) -> Option<String> {
        let made = &self.plans[..self.submitted];
        made.iter()
            .filter(|plan| plan.build.volume == Some(VolumePlan::Missing))
            .map(claim_of)
            .find(|name| !self.server.claims.contains_key(name))
    }

    /// Somebody makes it.
    pub(super) fn make_missing_claim(&mut self) {
        if let Some(name) = self.missing_claim() {
            self.coverage.meet(Point::ClaimAppears);
            self.say(|| format!("the claim {name} is made"));
            let facts = claim_facts(VolumePlan::Shared);
            self.server.claims.insert(name, StoredClaim { facts, owners: Vec::new() });
        }
    }

    /// What is checked after every step.
    pub(super) fn after_step(&mut self) {
        if self.violation.is_none()
            && let Err((name, detail)) = invariants::after_step(self)
        {
            self.violate(name, || detail);
        }
    }

    /// What is checked once nothing moves any more.
    pub(super) fn at_rest(&mut self) {
        if let Err((name, detail)) = invariants::at_rest(self) {
            self.violate(name, || detail);
        }
    }
}
