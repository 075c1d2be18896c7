//! What people do to runs and to their children.

use archfan::api::tekton::{TaskRun, TaskRunSpec};
use archfan::core::cleanup::is_finished;
use archfan::core::progress::has_ended;

use super::setup::{claim_facts, claim_of, definition_of};
use super::{Part, World};
use crate::coverage::Point;
use crate::scenario::VolumePlan;
use crate::server::{Deletion, StoredClaim};
use crate::tape::Channel;

/// The label that users put on runs.
pub const TOUCHED: &str = "touched";

impl World {
    /// Somebody does something.
    pub(super) fn disturb_as_user(&mut self) {
        let run = self.tape.on(Channel::Disturb).index(self.submitted.max(1)).min(self.plans.len() - 1);
        let name = self.plans[run].name.clone();
        self.ledger.troubles += 1;
        match self.tape.on(Channel::Disturb).weighted(&[
            ((), 4),
            ((), 4),
            ((), 6),
            ((), 3),
            ((), 2),
            ((), 2),
            ((), 2),
        ]) {
            0 => self.cancel_run(&name),
            1 => self.delete_run(&name),
            2 => self.delete_child(),
            3 => self.cancel_child(),
            4 => self.edit_definition(run),
            5 => self.edit_run(&name),
            _ => self.delete_pod(),
        }
    }

    fn cancel_run(&mut self, name: &str) {
        let Some(run) = self.server.runs.get(name) else { return };
        let finished = run.status.as_ref().is_some_and(is_finished);
        self.coverage.meet(if finished { Point::UserCancelsDone } else { Point::UserCancelsRun });
        self.patch_cancel(name, None);
    }

    fn delete_run(&mut self, name: &str) {
        if self.server.runs.get(name).is_none() {
            return;
        }
        let (how, point) = match self.tape.on(Channel::Disturb).weighted(&[((), 4), ((), 3), ((), 1)]) {
            0 => (Deletion::Background, Point::UserDeletesRun),
            1 => (Deletion::Foreground, Point::UserDeletesRunForeground),
            _ => (Deletion::Orphan, Point::UserOrphansChildren),
        };
        self.coverage.meet(point);
        self.say(|| format!("a user deletes {name} ({how:?})"));
        self.server.delete_run(name, how);
    }

    /// One of the children that are there; by what it does.
    fn some_child(&mut self) -> Option<(String, std::sync::Arc<TaskRun>)> {
        let names: Vec<&String> = self.lives.keys().collect();
        if names.is_empty() {
            return None;
        }
        let name = names[self.tape.on(Channel::Disturb).index(names.len())].clone();
        let task_run = self.server.task_runs.get(&name)?.clone();
        Some((name, task_run))
    }

    fn delete_child(&mut self) {
        let Some((name, task_run)) = self.some_child() else { return };
        let ended = has_ended(&task_run);
        self.coverage.meet(if ended { Point::UserDeletesDoneChild } else { Point::UserDeletesChild });
        self.say(|| format!("a user deletes {name} ({})", if ended { "ended" } else { "at work" }));
        let _ = self.server.delete_task_run(&name, None);
        self.meddle(&name, &task_run);
        self.forget_gone();
    }

    fn cancel_child(&mut self) {
        let Some((name, task_run)) = self.some_child() else { return };
        if has_ended(&task_run) {
            return;
        }
        self.coverage.meet(Point::UserCancelsChild);
        self.say(|| format!("a user cancels {name}"));
        let _ = self.server.cancel_task_run(&name, None, "I do not need it");
        self.meddle(&name, &task_run);
    }

    /// In the moment in which a call about a child arrives, a user has removed it and made a TaskRun of their own by that name.
    pub(super) fn swap(&mut self, name: &str, point: Point) {
        if self.part != Part::Anything || !self.tape.on(Channel::Fault).permille(self.knobs.swapped) {
            return;
        }
        let Some(task_run) = self.server.task_runs.get(name).cloned() else { return };
        let _ = self.server.delete_task_run(name, None);
        self.meddle(name, &task_run);
        self.forget_gone();
        if self.server.task_runs.get(name).is_some() {
            // A finalizer holds it.
            return;
        }
        self.ledger.troubles += 1;
        self.coverage.meet(point);
        let mut own = TaskRun::new(name, TaskRunSpec::default());
        own.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
        let made = self.server.add_task_run(own);
        self.say(|| format!("a user deletes {name} and makes a TaskRun of that name"));
        self.ledger.strangers.insert(made.metadata.uid.clone().unwrap_or_default(), false);
    }

    fn meddle(&mut self, name: &str, task_run: &TaskRun) {
        let owner = task_run.metadata.owner_references.iter().flatten().next();
        if let Some(uid) = owner.map(|owner| owner.uid.clone()) {
            self.ledger.run(&uid).meddled.insert(name.to_owned());
        }
    }

    fn edit_definition(&mut self, run: usize) {
        let name = definition_of(&self.plans[run]);
        if let Some(definition) = self.server.definitions.get_mut(&name) {
            definition.generation += 1;
            definition.spec["platforms"] = serde_json::json!(["linux/riscv64"]);
            self.coverage.meet(Point::UserEditsDefinition);
            self.ledger.edited_definitions.insert(name.clone());
            self.say(|| format!("a user edits the MultiArchBuild {name}"));
        }
    }

    fn edit_run(&mut self, name: &str) {
        if self.tape.on(Channel::Disturb).permille(500) {
            self.coverage.meet(Point::UserLabelsRun);
            self.say(|| format!("a user labels {name}"));
            self.server.edit_run(name, |run| {
                run.metadata.labels.get_or_insert_default().insert(TOUCHED.to_owned(), "yes".to_owned());
            });
            return;
        }
        let run = self.server.edit_run(name, |run| {
            if let Some(embedded) = &mut run.spec.custom_spec {
                embedded.spec["platforms"] = serde_json::json!(["linux/riscv64"]);
            }
        });
        if let Some(run) = run.filter(|run| run.spec.custom_spec.is_some()) {
            self.coverage.meet(Point::UserEditsSpec);
            self.say(|| format!("a user edits the spec of {name}"));
            let uid = run.metadata.uid.clone().unwrap_or_default();
            self.ledger.run(&uid).edited = true;
        }
    }

    fn delete_pod(&mut self) {
        let names: Vec<String> = self.server.pods.iter().map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.tape.on(Channel::Disturb).index(names.len())];
        self.coverage.meet(Point::UserDeletesPod);
        self.say(|| format!("a user deletes the pod {name}"));
        self.server.remove_pod(name);
    }

    /// Claims that were deleted, or that nobody has made, are made.
    pub(super) fn mend_claims(&mut self) {
        for plan in &self.plans[..self.submitted] {
            let Some(volume) = plan.build.volume else { continue };
            let name = claim_of(plan);
            if !matches!(volume, VolumePlan::EmptyDir | VolumePlan::Template)
                && !self.server.claims.contains_key(&name)
            {
                let claim = StoredClaim { facts: claim_facts(volume), owners: Vec::new() };
                self.server.claims.insert(name, claim);
            }
        }
    }
}
