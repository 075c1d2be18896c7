//! The model by itself: no replica of the controller, nothing by chance, everything as a script says.
//!
//! With it the model is held against the real API server and the real Tekton (`e2e/tests/model.rs`): the same script is played on both,
//! and both must answer and show the same.

use std::sync::Arc;
use std::time::Duration;

use archfan::api::tekton::{Condition, CustomRun, TaskRun};

use crate::focus::Focus;
use crate::knobs::Knobs;
use crate::life::{Outcome, Stage};
use crate::server::{Happened, Server};
use crate::tape::Tape;
use crate::wire::{Answer, Ask};
use crate::world::{Caller, World};

/// What becomes of the attempts of a TaskRun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fortune {
    /// Its steps are done.
    Succeeds,
    /// Its step fails, so often, before it is done.
    Fails(u32),
    /// Its step goes on until somebody ends it.
    Hangs,
    /// Its image cannot be pulled.
    NoImage,
    /// Tekton will not have it.
    Invalid,
}

/// The model, moved by a script.
pub struct Script {
    world: World,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// A server with a node of amd64 and nothing else.
    pub fn new() -> Self {
        let mut tape = Tape::given(Default::default());
        let mut knobs = Knobs::draw(&mut tape, Focus::Calm);
        knobs.pods = true;
        knobs.fails = [0; 7];
        knobs.finalizers = 0;
        let mut world = World::empty(tape, Focus::Calm, knobs, None, false);
        world.server.put_node(crate::world::node("amd64", true));
        Self { world }
    }

    /// The server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.world.server
    }

    /// Makes a call as the controller does.
    ///
    /// # Errors
    /// What the server says instead.
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        let caller = Caller { replica: 0, reconcile: 0, abandoned: false };
        let answer = self.world.carry_out(ask, &caller);
        self.world.forget_gone();
        answer
    }

    /// Lets a TaskRun go on until its state is as `done` says, or nothing moves; attempts end as `fortune` says.
    pub fn live(&mut self, name: &str, fortune: Fortune, done: impl Fn(&TaskRun) -> bool) {
        for _ in 0..200 {
            let Some(task_run) = self.world.server.task_runs.get(name).cloned() else { return };
            if done(&task_run) || task_run.metadata.deletion_timestamp.is_some() {
                return;
            }
            self.prepare(name, fortune);
            let Some(index) = self.world.lives.keys().position(|there| there == name) else { return };
            let Some(life) = self.world.lives.get(name).cloned() else { return };
            if self.world.can_live(name, &life) {
                self.world.live(index);
            } else if let Some(deadline) =
                life.deadline().filter(|deadline| *deadline > self.world.server.now)
            {
                self.world.server.now = deadline;
            } else {
                return;
            }
        }
    }

    /// Lets a TaskRun go on until time has to pass, or nothing moves.
    pub fn settle(&mut self, name: &str, fortune: Fortune) {
        for _ in 0..200 {
            self.prepare(name, fortune);
            let Some(index) = self.world.lives.keys().position(|there| there == name) else { return };
            let Some(life) = self.world.lives.get(name).cloned() else { return };
            // A finalizer is served by who has put it there.
            let held = self.world.server.task_runs.get(name).is_some_and(|there| {
                there.metadata.finalizers.is_some() && there.metadata.deletion_timestamp.is_some()
            });
            if held || !self.world.can_live(name, &life) {
                return;
            }
            self.world.live(index);
        }
    }

    fn prepare(&mut self, name: &str, fortune: Fortune) {
        let Some(life) = self.world.lives.get_mut(name) else { return };
        life.hangs = fortune == Fortune::Hangs;
        let failed = u32::try_from(life.failed).unwrap_or(u32::MAX);
        let mut fails = [0; 7];
        match fortune {
            Fortune::Fails(times) if failed < times => fails[0] = 1000,
            Fortune::NoImage => fails[4] = 1000,
            Fortune::Invalid => fails[5] = 1000,
            _ => {}
        }
        self.world.knobs.fails = fails;
    }

    /// Whether the pod of a TaskRun has ended, and Tekton has not seen it yet.
    pub fn pod_is_over(&self, name: &str) -> bool {
        self.world.lives.get(name).is_some_and(|life| matches!(life.stage, Stage::PodOver(Outcome::Success)))
    }

    /// Removes the pod of a TaskRun.
    pub fn delete_pod(&mut self, name: &str) {
        let Some(pod) = self.world.lives.get(name).map(|life| life.pod(name)) else { return };
        self.world.server.remove_pod(&pod);
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        if let Ok(later) = self.world.server.now.checked_add(span) {
            self.world.server.now = later;
        }
    }

    /// Lets the garbage collector come until it has nothing to do but to wait.
    pub fn collect(&mut self) {
        for _ in 0..5 {
            self.world.collect();
        }
    }

    /// A TaskRun as it is now.
    pub fn task_run(&self, name: &str) -> Option<Arc<TaskRun>> {
        self.world.server.task_runs.get(name).cloned()
    }

    /// A run as it is now.
    pub fn run(&self, name: &str) -> Option<Arc<CustomRun>> {
        self.world.server.runs.get(name).cloned()
    }

    /// What everybody who watches a TaskRun has seen of it, oldest first: status and reason of its condition, each once in a row, and
    /// `gone` at the end.
    pub fn seen_of(&self, name: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for happened in self.world.server.task_runs.log() {
            let (task_run, line) = match happened {
                Happened::Applied(task_run) => (task_run, tell(task_run)),
                Happened::Deleted(task_run) => (task_run, "gone".to_owned()),
            };
            if task_run.metadata.name.as_deref() == Some(name) && seen.last() != Some(&line) {
                seen.push(line);
            }
        }
        seen
    }
}

/// The condition of a TaskRun: status and reason.
pub fn tell(task_run: &TaskRun) -> String {
    let condition = task_run.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions));
    condition.map_or_else(String::new, |condition| format!("{} {}", condition.status, condition.reason))
}
