//! A scenario as the model plays it.

use std::sync::Arc;

use archfan::api::tekton::{CustomRun, TaskRun};
use archfan::core::progress::has_ended;
use archfan_sim::script::{Fortune, Script, tell};
use archfan_sim::server::NAMESPACE;
use archfan_sim::wire::{Answer, Ask, Reply};

use crate::step::{self, Make, RunView, Scenario, Seen, Step, Uid, View};

const TASK_RUN: &str = "t";
const RUN: &str = "t-run";

struct Model {
    script: Script,
    /// The uids that the objects had when they were made first.
    first: (String, String),
    read: CustomRun,
    fortune: Fortune,
}

/// Plays a scenario.
pub(crate) fn play(scenario: &Scenario) -> Seen {
    let mut model = Model {
        script: Script::new(),
        first: (step::FOREIGN.to_owned(), step::FOREIGN.to_owned()),
        read: step::unread(RUN, NAMESPACE),
        fortune: Fortune::Hangs,
    };
    let mut seen = Seen::default();
    for step in &scenario.steps {
        let answer = model.make(*step);
        model.settle();
        seen.steps.push(model.line(*step, &answer));
    }
    seen.watched = model.script.seen_of(TASK_RUN);
    seen
}

impl Model {
    fn make(&mut self, step: Step) -> String {
        match step {
            Step::Create(make) => self.create(make),
            Step::Cancel(uid, message) => {
                let uid = self.uid(uid, 0);
                self.ask(&Ask::CancelTaskRun(TASK_RUN.to_owned(), uid, message.to_owned()))
            }
            Step::Delete(uid) => {
                let uid = self.uid(uid, 0);
                self.ask(&Ask::DeleteTaskRun(TASK_RUN.to_owned(), uid))
            }
            Step::Get => self.ask(&Ask::GetTaskRun(TASK_RUN.to_owned())),
            Step::GetRun => self.ask(&Ask::GetRun(RUN.to_owned())),
            Step::Ended => {
                self.script.live(TASK_RUN, self.fortune, has_ended);
                String::new()
            }
            Step::Write(verdict, uid) => {
                let mut run = self.read.clone();
                if uid == Uid::Foreign {
                    run.metadata.uid = Some(step::FOREIGN.to_owned());
                }
                self.ask(&Ask::WriteStatus(Arc::new(run), Arc::new(step::status(verdict))))
            }
            Step::ReadRun => {
                if let Some(run) = self.script.run(RUN) {
                    self.read = (*run).clone();
                }
                String::new()
            }
            other => {
                self.others(other);
                String::new()
            }
        }
    }

    /// What others than the controller do.
    fn others(&mut self, step: Step) {
        match step {
            Step::MakeRun => {
                let made = self.script.server().add_run(step::run(RUN));
                if self.first.1 == step::FOREIGN {
                    self.first.1 = made.metadata.uid.clone().unwrap_or_default();
                }
            }
            Step::Hold => {
                self.script.server().edit_task_run(TASK_RUN, |task_run| {
                    task_run.metadata.finalizers = Some(vec![step::FINALIZER.to_owned()]);
                });
            }
            Step::Release => self.script.server().release_task_run(TASK_RUN),
            Step::CancelRun(message) => {
                self.script.server().edit_run(RUN, |run| {
                    run.spec.status = Some("RunCancelled".to_owned());
                    run.spec.status_message = Some(message.to_owned());
                });
            }
            Step::LabelRun => {
                self.script.server().edit_run(RUN, |run| {
                    run.metadata
                        .labels
                        .get_or_insert_default()
                        .insert("touched".to_owned(), "yes".to_owned());
                });
            }
            Step::EditRun => {
                self.script.server().edit_run(RUN, |run| {
                    if let Some(embedded) = &mut run.spec.custom_spec {
                        embedded.spec = serde_json::json!({"changed": true});
                    }
                });
            }
            Step::DeleteRun(how) => self.script.server().delete_run(RUN, how),
            Step::Collected => self.script.collect(),
            _ => {}
        }
    }

    fn create(&mut self, make: Make) -> String {
        let owner = make.owned.then(|| self.first.1.clone());
        let body = step::body(TASK_RUN, RUN, NAMESPACE, make, owner.as_deref(), &step::Images::default());
        let answer = self.ask(&Ask::CreateTaskRun(Arc::new(body)));
        if answer == "ok" {
            self.fortune = make.fortune;
            if self.first.0 == step::FOREIGN
                && let Some(made) = self.script.task_run(TASK_RUN)
            {
                self.first.0 = made.metadata.uid.clone().unwrap_or_default();
            }
        }
        answer
    }

    fn uid(&self, uid: Uid, of: usize) -> String {
        let first = if of == 0 { &self.first.0 } else { &self.first.1 };
        if uid == Uid::First { first.clone() } else { step::FOREIGN.to_owned() }
    }

    fn ask(&mut self, ask: &Ask) -> String {
        let answer: Answer = self.script.ask(ask);
        match answer {
            Ok(Reply::TaskRun(None) | Reply::MaybeRun(None)) => "there is none".to_owned(),
            Ok(_) => "ok".to_owned(),
            Err(error) => error.class().to_owned(),
        }
    }

    /// Lets everything go on that goes on without time.
    fn settle(&mut self) {
        self.script.settle(TASK_RUN, self.fortune);
        self.script.collect();
    }

    fn line(&self, step: Step, answer: &str) -> String {
        let task_run = self.script.task_run(TASK_RUN);
        let view = task_run.as_ref().map(|task_run| View {
            first: task_run.metadata.uid.as_ref() == Some(&self.first.0),
            asked: task_run.spec.status.as_deref() == Some("TaskRunCancelled"),
            deleting: task_run.metadata.deletion_timestamp.is_some(),
            state: state(task_run, step),
        });
        let run = self.script.run(RUN);
        let run = run.as_ref().map(|run| RunView {
            first: run.metadata.uid.as_ref() == Some(&self.first.1),
            cancelled: run.spec.status.is_some(),
            deleting: run.metadata.deletion_timestamp.is_some(),
            generation: run.metadata.generation.unwrap_or_default(),
            verdict: run
                .status
                .as_ref()
                .and_then(|s| s.conditions.first())
                .map(|c| c.status.clone())
                .unwrap_or_default(),
        });
        step::line(answer, view.as_ref(), run.as_ref())
    }
}

fn state(task_run: &TaskRun, step: Step) -> String {
    if has_ended(task_run) || matches!(step, Step::Runs | Step::Homeless) {
        tell(task_run)
    } else {
        "at work".to_owned()
    }
}
