//! Tasks of a run: one by itself, or a chain of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{MOST, ONLY_TASK, Parser, Workspace};
use crate::api::multiarchbuild::{ChainTask, TaskRef};
use crate::core::path::Path;
use crate::core::problem::Reason;

/// A task that runs on each platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name in the chain, or [`ONLY_TASK`].
    pub name: String,
    /// What it runs.
    pub source: TaskSource,
    /// What else is written of it; its fields may hold variables that differ from platform to platform.
    pub written: ChainTask,
    /// Where it stands, for complaints: `tasks[2]`, or nothing for the only task.
    pub place: Option<usize>,
}

impl Task {
    /// Whether a workspace of the run is bound to the task's children.
    pub fn takes(&self, workspace: &Workspace) -> bool {
        match &self.written.workspaces {
            None => workspace.by_default,
            Some(mappings) => mappings.iter().any(|mapping| mapping.target() == workspace.name),
        }
    }
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskSource {
    /// A Task by name or by resolver.
    Ref(TaskRef),
    /// A Task written out.
    Spec(Value),
}

impl Parser<'_> {
    /// The tasks, of which either the one without a chain is written, by reference or in full, or the chain.
    pub(super) fn tasks(
        &mut self,
        task_ref: Option<TaskRef>,
        task_spec: Option<Value>,
        chain: Vec<ChainTask>,
    ) -> Vec<Task> {
        let root = *self.input.root;
        let said = [
            ("taskRef", task_ref.is_some()),
            ("taskSpec", task_spec.is_some()),
            ("tasks", !chain.is_empty()),
        ];
        let said: Vec<&str> = said.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        match said.as_slice() {
            [] => {
                self.report(
                    Reason::NoTask,
                    &root,
                    "nothing says what to build; set taskRef to the name of a Task, or taskSpec, or tasks",
                );
                Vec::new()
            }
            [_] if chain.is_empty() => {
                let written =
                    ChainTask { name: ONLY_TASK.to_owned(), task_ref, task_spec, ..ChainTask::default() };
                self.task(written, None).into_iter().collect()
            }
            [_] => {
                let mut tasks: Vec<Task> = Vec::with_capacity(chain.len());
                let mut seen = BTreeSet::new();
                for (index, written) in chain.into_iter().enumerate() {
                    if !seen.insert(written.name.clone()) {
                        self.report(
                            Reason::InvalidField,
                            &root.field("tasks").index(index).field("name"),
                            format!("another task is called {:?}; give each its own name", written.name),
                        );
                    }
                    tasks.extend(self.task(written, Some(index)));
                }
                if tasks.len() > MOST {
                    self.report(
                        Reason::InvalidField,
                        &root.field("tasks"),
                        format!("{} tasks are listed; the most is {MOST}", tasks.len()),
                    );
                }
                tasks
            }
            several => {
                self.report(
                    Reason::AmbiguousTask,
                    &root,
                    format!("{} are all set; exactly one says what is built", several.join(" and ")),
                );
                Vec::new()
            }
        }
    }

    fn task(&mut self, mut written: ChainTask, place: Option<usize>) -> Option<Task> {
        let root = *self.input.root;
        let list = root.field("tasks");
        let item = place.map(|place| list.index(place));
        let path = item.as_ref().unwrap_or(self.input.root);
        if place.is_some() && !is_dns_label(&written.name) {
            self.report(
                Reason::InvalidField,
                &path.field("name"),
                format!("{:?} is no name; write lower-case letters, digits and dashes", written.name),
            );
        }
        let source = match (written.task_ref.take(), written.task_spec.take()) {
            (Some(task_ref), None) => {
                self.task_ref(&task_ref, &path.field("taskRef"))?;
                TaskSource::Ref(task_ref)
            }
            (None, Some(spec)) => TaskSource::Spec(spec),
            (None, None) => {
                self.report(
                    Reason::NoTask,
                    path,
                    "nothing says what this task runs; set taskRef or taskSpec",
                );
                return None;
            }
            (Some(_), Some(_)) => {
                self.report(
                    Reason::AmbiguousTask,
                    path,
                    "taskRef and taskSpec are both set; exactly one says what this task runs",
                );
                return None;
            }
        };
        Some(Task { name: written.name.clone(), source, written, place })
    }

    /// Tekton `pkg/apis/pipeline/v1/container_validation.go`: a name, or a resolver with params.
    pub(super) fn task_ref(&mut self, task_ref: &TaskRef, path: &Path<'_>) -> Option<()> {
        let name = task_ref.name.as_deref().filter(|name| !name.is_empty());
        let resolver = task_ref.resolver.as_deref().filter(|resolver| !resolver.is_empty());
        let complaint = match (name, resolver) {
            (None, None) => "neither name nor resolver is set; name a Task of this namespace, or a resolver",
            (Some(_), Some(_)) => {
                "name and resolver are both set; a resolver takes the name as one of its params"
            }
            (Some(_), None) if !task_ref.params.is_empty() => {
                "params are for resolvers, and none is set; params of the Task stand beside taskRef"
            }
            _ => match task_ref.kind.as_deref() {
                None | Some("" | "Task") => return Some(()),
                Some("ClusterTask") => {
                    "kind ClusterTask is gone from Tekton; use resolver cluster with the params kind, name and namespace"
                }
                Some(_) => "kind must be Task: the children of a run are TaskRuns",
            },
        };
        self.report(Reason::NoTask, path, complaint);
        None
    }
}

fn is_dns_label(text: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|c| edge(*c) || *c == b'-')
        && edge(bytes[0])
        && edge(bytes[bytes.len() - 1])
}
