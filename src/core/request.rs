//! A run's request, understood: what a user wrote, with every value checked and every variable replaced that is the same for all
//! platforms.
//!
//! Parsing finds every problem at once. What comes out of it cannot be wrong in any way that this page knows of, so nothing
//! behind it checks again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use super::path::Path;
use super::platform::Platform;
use super::problem::{Problem, Reason};
use super::variables::{Context, ResultsOfTask, Scope, TaskResults};
use super::{duration, nearest, params, shape};
use crate::api::multiarchbuild::{MultiArchBuildSpec, TaskRunSpecEntry, TaskRunTemplate};
use crate::api::tekton::{CustomRun, Metadata, ParamValue};

mod index;
mod platforms;
mod tasks;
mod workspaces;

pub use index::{IndexRequest, Source};
pub use platforms::Target;
pub use tasks::{Task, TaskSource};
pub use workspaces::Workspace;

/// The most platforms and the most tasks that a run may have.
pub const MOST: usize = 64;
/// Name of the one task of a build that has no chain.
pub const ONLY_TASK: &str = "build";

/// What a run shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The platforms, in the order in which everything lists them.
    pub targets: Vec<Target>,
    /// The tasks that run one after the other on each platform.
    pub tasks: Vec<Task>,
    /// Whether the tasks were written as a chain. Children of a chain bear the name of their task.
    pub chained: bool,
    /// Every param with its value.
    pub params: BTreeMap<String, ParamValue>,
    /// The run itself, for variables.
    pub context: Context,
    /// The workspaces of the run, bound.
    pub workspaces: Vec<Workspace>,
    /// What every child gets.
    pub template: TaskRunTemplate,
    /// Labels and annotations from an embedded task's metadata.
    pub metadata: Metadata,
    /// Exceptions, in order; later ones win.
    pub overrides: Vec<Override>,
    /// How platforms are run.
    pub strategy: Strategy,
    /// The image index, if one is wanted.
    pub index: Option<IndexRequest>,
    /// How long one attempt may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// How many further attempts a failure is given.
    pub retries: u32,
}

/// An entry of `taskRunSpecs`, with what it applies to.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Only this platform, or all.
    pub platform: Option<Platform>,
    /// The entry.
    pub entry: TaskRunSpecEntry,
    /// Its index in the list, for complaints.
    pub place: usize,
}

impl Override {
    /// Whether the entry speaks of this task on this platform.
    pub fn applies_to(&self, platform: &Platform, task: &str) -> bool {
        self.platform.as_ref().is_none_or(|only| only == platform)
            && self.entry.task_name.as_ref().is_none_or(|only| only == task)
    }
}

/// How platforms are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// Whether the others are cancelled once a required platform has failed.
    pub fail_fast: bool,
    /// How many children may run at once; `None` is any number.
    pub max_parallel: Option<usize>,
    /// How long a child may wait for a node.
    pub pending_timeout: Option<Duration>,
    /// How long children stay after the run has ended; `None` is for ever.
    pub ttl: Option<Duration>,
    /// The text by which earlier children are found again.
    pub reuse: Option<String>,
}

/// What a request is read from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The run.
    pub run: &'a CustomRun,
    /// The spec of the build: embedded, or of the `MultiArchBuild`.
    pub spec: &'a Value,
    /// Where that spec stands, for complaints.
    pub root: &'a Path<'a>,
    /// Tekton's `default-timeout-minutes`, for a run that names no timeout.
    pub default_timeout: Option<Duration>,
}

impl Request {
    /// Reads a run's request.
    ///
    /// # Errors
    /// Everything that is wrong, in the order in which it stands.
    pub fn parse(input: Input<'_>) -> Result<Self, Vec<Problem>> {
        let Input { run, spec, root, .. } = input;
        if spec.is_null() || spec.as_object().is_some_and(serde_json::Map::is_empty) {
            return Err(vec![Problem::new(
                Reason::EmptySpec,
                root,
                "the spec is empty; say at least platforms and one of taskRef, taskSpec and tasks",
            )]);
        }
        let mut problems = shape::check(spec, root);
        let fatal = problems.iter().any(|problem| problem.reason == Reason::InvalidField);
        let spec: MultiArchBuildSpec = match MultiArchBuildSpec::deserialize(spec) {
            Ok(spec) if !fatal => spec,
            Ok(_) => return Err(problems),
            Err(error) => {
                if problems.is_empty() {
                    problems.push(Problem::new(Reason::InvalidField, root, error.to_string()));
                }
                return Err(problems);
            }
        };
        let mut parser = Parser { input, problems, context: context(run) };
        let request = parser.request(spec);
        if parser.problems.is_empty() { Ok(request) } else { Err(parser.problems) }
    }

    /// What variables stand for in a field that is the same for all platforms.
    pub fn scope(&self) -> Scope<'_> {
        Scope { params: &self.params, platform: None, tasks: None, context: &self.context }
    }

    /// What variables stand for in a field of one platform.
    pub fn scope_on<'a>(&'a self, platform: &'a Platform, tasks: Option<&'a TaskResults>) -> Scope<'a> {
        Scope { params: &self.params, platform: Some(platform), tasks, context: &self.context }
    }

    /// The results that the task at `index` of the chain may name before any task has run: those of the tasks before it.
    pub fn expected_results(&self, index: usize) -> TaskResults {
        self.tasks[..index].iter().map(|task| (task.name.clone(), ResultsOfTask::Expected)).collect()
    }

    /// The exceptions for one task on one platform, in order.
    pub fn overrides_for<'a>(
        &'a self,
        platform: &'a Platform,
        task: &'a str,
    ) -> impl Iterator<Item = &'a Override> {
        self.overrides.iter().filter(move |entry| entry.applies_to(platform, task))
    }

    /// Finds a workspace of the run.
    pub fn workspace(&self, name: &str) -> Option<&Workspace> {
        self.workspaces.iter().find(|workspace| workspace.name == name)
    }
}

fn context(run: &CustomRun) -> Context {
    let meta = &run.metadata;
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.kind == "PipelineRun");
    let label = meta.labels.as_ref().and_then(|labels| labels.get(crate::api::names::label::PIPELINE_RUN));
    Context {
        custom_run: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        pipeline_run: owner.map(|owner| owner.name.clone()).or_else(|| label.cloned()).unwrap_or_default(),
    }
}

struct Parser<'a> {
    input: Input<'a>,
    problems: Vec<Problem>,
    context: Context,
}

impl Parser<'_> {
    fn request(&mut self, spec: MultiArchBuildSpec) -> Request {
        let root = *self.input.root;
        let run = Path::root("spec");
        let params = params::resolve(
            &spec.params,
            &self.input.run.spec.params,
            &root.field("params"),
            &run.field("params"),
            &mut self.problems,
        );
        let targets = self.targets(spec.platforms, &params);
        let chained = !spec.tasks.is_empty();
        let tasks = self.tasks(spec.task_ref, spec.task_spec, spec.tasks);
        let overrides = self.overrides(spec.task_run_specs, &params, &tasks, chained);
        let strategy = self.strategy(spec.strategy.as_ref(), &params);
        let workspaces = self.workspaces(&spec.workspaces, spec.index.as_ref(), &tasks);
        let index = spec.index.as_ref().and_then(|index| self.index(index, &params, &workspaces, &targets));
        let (timeout, retries) = self.limits();
        let metadata = self
            .input
            .run
            .spec
            .custom_spec
            .as_ref()
            .and_then(|embedded| embedded.metadata.clone())
            .unwrap_or_default();
        Request {
            targets,
            tasks,
            chained,
            params,
            context: self.context.clone(),
            workspaces,
            template: spec.task_run_template.unwrap_or_default(),
            metadata,
            overrides,
            strategy,
            index,
            timeout,
            retries,
        }
    }

    fn scope<'a>(&'a self, params: &'a BTreeMap<String, ParamValue>) -> Scope<'a> {
        Scope { params, platform: None, tasks: None, context: &self.context }
    }

    fn report(&mut self, reason: Reason, path: &Path<'_>, message: impl Into<String>) {
        self.problems.push(Problem::new(reason, path, message));
    }

    /// Keeps a value, or notes the problem.
    fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn overrides(
        &mut self,
        entries: Vec<TaskRunSpecEntry>,
        params: &BTreeMap<String, ParamValue>,
        tasks: &[Task],
        chained: bool,
    ) -> Vec<Override> {
        let root = *self.input.root;
        let list = root.field("taskRunSpecs");
        let mut overrides = Vec::with_capacity(entries.len());
        for (place, entry) in entries.into_iter().enumerate() {
            let item = list.index(place);
            let path = item.field("platform");
            let platform = match &entry.platform {
                None => None,
                Some(text) => {
                    let text = self.scope(params).text(text, &path);
                    let Some(platform) = self.keep(text).and_then(|text| self.platform(&text, &path)) else {
                        continue;
                    };
                    // An entry for a platform that is not listed (this time, by this param) does nothing.
                    Some(platform)
                }
            };
            if let Some(name) = &entry.task_name {
                let path = item.field("taskName");
                if !chained {
                    self.report(
                        Reason::InvalidField,
                        &path,
                        "there is no chain of tasks to choose from; leave taskName out",
                    );
                } else if tasks.iter().all(|task| task.name != *name) {
                    let names = tasks.iter().map(|task| task.name.as_str());
                    let hint = match nearest::to(name, names.clone()) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("the tasks are {}", names.collect::<Vec<_>>().join(", ")),
                    };
                    self.report(Reason::InvalidField, &path, format!("no task is called {name:?}; {hint}"));
                }
            }
            if let Some(task_ref) = &entry.task_ref {
                self.task_ref(task_ref, &item.field("taskRef"));
            }
            overrides.push(Override { platform, entry, place });
        }
        overrides
    }

    fn strategy(
        &mut self,
        written: Option<&crate::api::multiarchbuild::Strategy>,
        params: &BTreeMap<String, ParamValue>,
    ) -> Strategy {
        let written = written.cloned().unwrap_or_default();
        let root = *self.input.root;
        let place = root.field("strategy");
        let pending_timeout = written.pending_timeout.as_ref().and_then(|text| {
            let path = place.field("pendingTimeout");
            let text = self.scope(params).text(text, &path);
            let text = self.keep(text)?;
            let parsed = duration::parse(&text)
                .map_err(|why| Problem::new(Reason::InvalidField, &path, format!("{text:?}: {why}")));
            self.keep(parsed)
        });
        let reuse = self.scope(params).optional(written.reuse.as_ref(), &place.field("reuse"));
        Strategy {
            fail_fast: written.fail_fast,
            max_parallel: usize::try_from(written.max_parallel).ok().filter(|most| *most > 0),
            pending_timeout,
            ttl: written
                .ttl_seconds_after_finished
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            // An empty text says nothing about what is built, so nothing is recognised by it.
            reuse: self.keep(reuse).flatten().filter(|text| !text.is_empty()),
        }
    }

    /// `timeout` and `retries` of the CustomRun, which Tekton's webhook does not check.
    fn limits(&mut self) -> (Option<Duration>, u32) {
        let root = Path::root("spec");
        let spec = &self.input.run.spec;
        let timeout = match &spec.timeout {
            None => self.input.default_timeout,
            Some(text) => match duration::parse(text) {
                Ok(timeout) => Some(timeout),
                Err(why) => {
                    self.report(Reason::InvalidRun, &root.field("timeout"), format!("{text:?}: {why}"));
                    None
                }
            },
        };
        let retries = match spec.retries {
            None => 0,
            Some(retries) => u32::try_from(retries).unwrap_or_else(|_| {
                self.report(
                    Reason::InvalidRun,
                    &root.field("retries"),
                    format!("{retries} is no number of attempts; write 0 or more"),
                );
                0
            }),
        };
        if let Some(status) = spec.status.as_deref().filter(|status| !matches!(*status, "" | "RunCancelled"))
        {
            self.report(
                Reason::InvalidRun,
                &root.field("status"),
                format!("{status:?} is not known; the only status is RunCancelled"),
            );
        }
        (timeout.filter(|timeout| !timeout.is_zero()), retries)
    }
}

#[cfg(test)]
pub(crate) mod tests;
