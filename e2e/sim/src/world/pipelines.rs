//! Tekton's side of a run: the PipelineRun that made it.
//!
//! Tekton `pkg/reconciler/pipelinerun/cancel.go`, `timeout.go` and `pipelinerun.go`: a cancel patches every CustomRun, those that have
//! finished too; with `CancelledRunFinally` it waits for the run's `False` and patches again each time it looks; a CustomRun that is
//! gone while the PipelineRun goes on is made again under the same name.

use archfan::core::cleanup::is_finished;

use super::World;
use crate::coverage::Point;
use crate::tape::Channel;

/// What Tekton says with a cancel.
pub const CANCELLED: &str = "CustomRun cancelled as the PipelineRun it belongs to has been cancelled.";
/// What Tekton says when the PipelineRun has timed out.
pub const TIMED_OUT: &str = "CustomRun cancelled as the PipelineRun it belongs to has timed out.";

/// What a PipelineRun is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It goes on.
    Active,
    /// It has been cancelled, waits for its run, and looks so often again.
    Waits(u32),
    /// It is done.
    Done,
}

/// A PipelineRun.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The place of its run's plan.
    pub plan: usize,
    /// What it is doing.
    pub doing: Doing,
}

impl Pipeline {
    /// A PipelineRun that has just made its run.
    pub fn new(name: String, plan: usize) -> Self {
        Self { name, plan, doing: Doing::Active }
    }
}

impl World {
    /// Whether Tekton has something to do for a PipelineRun.
    pub(super) fn can_act(&self, pipeline: &Pipeline) -> bool {
        if !self.server.pipeline_runs.contains_key(&pipeline.name) {
            return false;
        }
        let run = self.server.runs.get(&self.plans[pipeline.plan].name);
        match pipeline.doing {
            Doing::Active => run.is_none(),
            Doing::Waits(looks) => {
                looks > 0 && run.is_some_and(|run| !run.status.as_ref().is_some_and(is_finished))
            }
            Doing::Done => false,
        }
    }

    /// Tekton looks at a PipelineRun.
    pub(super) fn look_at_pipeline(&mut self, index: usize) {
        let pipeline = self.pipelines[index].clone();
        let name = self.plans[pipeline.plan].name.clone();
        match pipeline.doing {
            Doing::Active => {
                self.coverage.meet(Point::PipelineRecreates);
                self.ledger.troubles += 1;
                self.say(|| format!("Tekton makes {name} again"));
                self.make_run(pipeline.plan);
            }
            Doing::Waits(looks) => {
                self.pipelines[index].doing = Doing::Waits(looks - 1);
                self.coverage.meet(Point::PipelineCancelsAgain);
                self.patch_cancel(&name, Some(CANCELLED));
            }
            Doing::Done => {}
        }
    }

    /// A PipelineRun is cancelled, or times out, or is deleted.
    pub(super) fn disturb_pipeline(&mut self) {
        if self.pipelines.is_empty() {
            return;
        }
        let index = self.tape.on(Channel::Disturb).index(self.pipelines.len());
        let pipeline = self.pipelines[index].clone();
        if pipeline.doing != Doing::Active || !self.server.pipeline_runs.contains_key(&pipeline.name) {
            return;
        }
        let run = self.plans[pipeline.plan].name.clone();
        let finished =
            self.server.runs.get(&run).is_some_and(|run| run.status.as_ref().is_some_and(is_finished));
        match self.tape.on(Channel::Disturb).weighted(&[((), 4), ((), 4), ((), 2), ((), 3)]) {
            0 => {
                self.pipelines[index].doing = Doing::Done;
                self.coverage.meet(if finished {
                    Point::PipelineCancelsDone
                } else {
                    Point::PipelineCancels
                });
                self.patch_cancel(&run, Some(CANCELLED));
            }
            1 => {
                self.pipelines[index].doing = Doing::Waits(1 + self.tape.on(Channel::Disturb).below(3));
                self.coverage.meet(if finished {
                    Point::PipelineCancelsDone
                } else {
                    Point::PipelineCancels
                });
                self.patch_cancel(&run, Some(CANCELLED));
            }
            2 => {
                self.pipelines[index].doing = Doing::Done;
                self.coverage.meet(Point::PipelineTimesOut);
                self.patch_cancel(&run, Some(TIMED_OUT));
            }
            _ => {
                self.coverage.meet(Point::PipelineDeleted);
                self.say(|| format!("the PipelineRun {} is deleted", pipeline.name));
                self.server.delete_pipeline_run(&pipeline.name);
            }
        }
    }

    /// Somebody writes `spec.status: RunCancelled`.
    pub(super) fn patch_cancel(&mut self, name: &str, message: Option<&str>) {
        self.say(|| format!("{name} is cancelled: {}", message.unwrap_or_default()));
        self.server.edit_run(name, |run| {
            run.spec.status = Some("RunCancelled".to_owned());
            run.spec.status_message = message.map(str::to_owned);
        });
    }
}
