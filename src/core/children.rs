//! Children of a run: what a TaskRun for one task on one platform looks like, down to the last field.
//!
//! The body depends on nothing but the run and its request, so creating a child twice makes the same child, and `archfan plan`
//! prints what the controller creates.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::names::child_name;
use super::path::Path;
use super::placement;
use super::platform::Platform;
use super::problem::{Problem, Reason};
use super::request::{Override, Request, Target, Task, TaskSource, Workspace};
use super::settings::Settings;
use super::templates::Templates;
use super::variables::{self, Scope, TaskResults};
use super::{duration, nearest, workspaces};
use crate::api::multiarchbuild::{TaskRef, WorkspaceMapping};
use crate::api::names::{CUSTOM_RUN_API_VERSION, TEKTON_API_VERSION, annotation, label};
use crate::api::status::{AcceptedPlan, Inherited};
use crate::api::tekton::{CustomRun, Metadata, Param, ParamValue, WorkspaceBinding};

mod body;

pub use body::{BodyMetadata, Owner, TaskRunBody, TaskRunBodySpec};

/// Makes the children of one run.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// The run.
    pub run: &'a CustomRun,
    /// What it asks for.
    pub request: &'a Request,
    /// What it was accepted as.
    pub plan: &'a AcceptedPlan,
    /// What the person who installed archfan decided.
    pub settings: &'a Settings,
    /// Where the build's spec stands, for complaints.
    pub root: Path<'a>,
    /// Whether children keep to the node of the pipeline's affinity assistant: only where all of them run on one architecture and
    /// share a volume that one node at a time can mount.
    pub keep_assistant: bool,
    /// The pod templates that have been made so far.
    pub templates: &'a Templates,
}

/// What comes of making every child before any is created.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// What the workspace planner wants to know of each, in the order of platforms and then of tasks.
    pub children: Vec<workspaces::Child<'a>>,
    /// The first child of each platform. No result of an earlier task can change it, so it may be created as it is.
    pub first: Vec<TaskRunBody>,
}

impl<'a> Family<'a> {
    /// Name of the child for a task on a platform.
    pub fn name(&self, target: &Target, task: &Task) -> String {
        let key = target.platform.key();
        let suffix =
            if self.request.chained { ["-", &key, "-", &task.name].concat() } else { ["-", &key].concat() };
        child_name(&self.request.context.custom_run, &suffix)
    }

    /// The child for the task at `index` of the chain on a platform, given the results of the tasks before it.
    ///
    /// # Errors
    /// The first thing in what the user wrote that makes it impossible.
    pub fn build(
        &self,
        target: &Target,
        index: usize,
        results: &TaskResults,
    ) -> Result<TaskRunBody, Problem> {
        let task = &self.request.tasks[index];
        let scope = self.request.scope_on(&target.platform, Some(results));
        let list = self.root.field("tasks");
        let item = task.place.map(|place| list.index(place));
        let place = item.unwrap_or(self.root);
        let overrides: Vec<&Override> = self.request.overrides_for(&target.platform, &task.name).collect();
        let spec = TaskRunBodySpec {
            params: self.params(task, &overrides, &scope, &place)?,
            service_account_name: self.service_account(&overrides, &scope)?,
            task_ref: self.task_ref(task, &overrides, &scope, &place)?,
            task_spec: task_spec(task, &overrides, &target.platform, &place)?,
            retries: match task.written.retries {
                None => self.request.retries,
                Some(retries) => u32::try_from(retries).unwrap_or_default(),
            },
            timeout: self.timeout(task, &overrides, &scope, &place)?,
            pod_template: Some(self.pod_template(target, &overrides, &scope)?),
            workspaces: self.workspaces(task, &target.platform, &scope, &place)?,
            step_specs: self.named_specs(
                &overrides,
                &scope,
                |inherited| &inherited.step_specs,
                |entry| (&entry.entry.step_specs, "stepSpecs"),
            )?,
            sidecar_specs: self.named_specs(
                &overrides,
                &scope,
                |inherited| &inherited.sidecar_specs,
                |entry| (&entry.entry.sidecar_specs, "sidecarSpecs"),
            )?,
            compute_resources: self.compute_resources(&overrides, &scope)?,
        };
        let mut metadata = self.metadata(&overrides, &scope)?;
        metadata.name = self.name(target, task);
        metadata.labels.insert(label::ROLE.to_owned(), label::ROLE_BUILD.to_owned());
        metadata.labels.insert(label::PLATFORM.to_owned(), target.platform.key());
        metadata.labels.insert(label::TASK.to_owned(), task.name.clone());
        metadata.annotations.insert(annotation::PLATFORM.to_owned(), target.platform.to_string());
        metadata.owner_references = vec![self.custom_run_owner(true)];
        Ok(TaskRunBody { api_version: TEKTON_API_VERSION, kind: "TaskRun", metadata, spec })
    }

    /// Makes every build child as it would be created, to see that it can be.
    ///
    /// # Errors
    /// Every problem that creating them would meet.
    pub fn check(&self) -> Result<Checked<'a>, Vec<Problem>> {
        let request = self.request;
        let mut problems: Vec<Problem> = Vec::new();
        let mut checked = Checked {
            children: Vec::with_capacity(request.targets.len() * request.tasks.len()),
            first: Vec::with_capacity(request.targets.len()),
        };
        let expected: Vec<TaskResults> =
            (0..request.tasks.len()).map(|index| request.expected_results(index)).collect();
        let list = self.root.field("tasks");
        for target in &request.targets {
            for (index, task) in request.tasks.iter().enumerate() {
                let scope = request.scope_on(&target.platform, Some(&expected[index]));
                let item = list.index(index);
                let when = item.field("when");
                for (place, expression) in task.written.when.iter().enumerate() {
                    let path = when.index(place);
                    note(&mut problems, scope.text(&expression.input, &path.field("input")));
                    note(&mut problems, scope.list(&expression.values, &path.field("values")));
                }
                let child = note(&mut problems, self.build(target, index, &expected[index]));
                let Some(child) = child else { continue };
                checked.children.push(workspaces::Child::new(&target.runs_on, &child));
                if index == 0 {
                    checked.first.push(child);
                }
            }
        }
        if problems.is_empty() { Ok(checked) } else { Err(problems) }
    }

    /// The CustomRun as an owner. It comes first: Tekton takes a TaskRun for a PipelineRun's own by `ownerReferences[0]`
    /// (Tekton `pkg/reconciler/pipelinerun/pipelinerun.go`), and archfan finds its children by it.
    pub fn custom_run_owner(&self, controller: bool) -> Owner {
        Owner {
            api_version: CUSTOM_RUN_API_VERSION.to_owned(),
            kind: "CustomRun".to_owned(),
            name: self.request.context.custom_run.clone(),
            uid: self.request.context.uid.clone(),
            controller,
            block_owner_deletion: Some(true),
        }
    }

    fn params(
        &self,
        task: &Task,
        overrides: &[&Override],
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<Vec<Param>, Problem> {
        let mut params = self.request.params.clone();
        let list = place.field("params");
        for param in &task.written.params {
            params.insert(param.name.clone(), scope.param(&param.value, &list.named(&param.name))?);
        }
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides {
            let item = entries.index(entry.place);
            let list = item.field("params");
            for param in &entry.entry.params {
                params.insert(param.name.clone(), scope.param(&param.value, &list.named(&param.name))?);
            }
        }
        Ok(params.into_iter().map(|(name, value)| Param { name, value }).collect())
    }

    /// The last of: the run's own, the build's, the exceptions'.
    fn service_account(&self, overrides: &[&Override], scope: &Scope<'_>) -> Result<String, Problem> {
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides.iter().rev() {
            if let Some(name) = &entry.entry.service_account_name {
                return scope.text(name, &entries.index(entry.place).field("serviceAccountName"));
            }
        }
        match &self.request.template.service_account_name {
            Some(name) => scope.text(name, &self.root.field("taskRunTemplate").field("serviceAccountName")),
            None => Ok(self.run.spec.service_account_name.clone()),
        }
    }

    fn task_ref(
        &self,
        task: &Task,
        overrides: &[&Override],
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<Option<Value>, Problem> {
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides.iter().rev() {
            if let Some(task_ref) = &entry.entry.task_ref {
                return resolve_ref(task_ref, scope, &entries.index(entry.place).field("taskRef")).map(Some);
            }
        }
        match &task.source {
            TaskSource::Ref(task_ref) => resolve_ref(task_ref, scope, &place.field("taskRef")).map(Some),
            TaskSource::Spec(_) => Ok(None),
        }
    }

    /// The last of: the run's own, the task's, the exceptions'. A child may take as long as its run: a shorter default of Tekton's
    /// would cut it off before.
    fn timeout(
        &self,
        task: &Task,
        overrides: &[&Override],
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<String, Problem> {
        let read = |text: &String, path: &Path<'_>| {
            let text = scope.text(text, path)?;
            duration::parse(&text)
                .map(duration::format)
                .map_err(|why| Problem::new(Reason::InvalidField, path, format!("{text:?}: {why}")))
        };
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides.iter().rev() {
            if let Some(text) = &entry.entry.timeout {
                return read(text, &entries.index(entry.place).field("timeout"));
            }
        }
        match &task.written.timeout {
            Some(text) => read(text, &place.field("timeout")),
            None => Ok(duration::format(self.request.timeout.unwrap_or_default())),
        }
    }

    fn workspaces(
        &self,
        task: &Task,
        platform: &Platform,
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<Vec<WorkspaceBinding>, Problem> {
        let Some(mappings) = &task.written.workspaces else {
            return self
                .request
                .workspaces
                .iter()
                .filter(|workspace| workspace.by_default)
                .filter_map(|workspace| {
                    self.bind(workspace, &workspace.name, None, Some(platform), scope, place).transpose()
                })
                .collect();
        };
        let mut bindings = Vec::with_capacity(mappings.len());
        let list = place.field("workspaces");
        for (index, mapping) in mappings.iter().enumerate() {
            bindings.extend(self.map_workspace(mapping, Some(platform), scope, &list.index(index))?);
        }
        Ok(bindings)
    }

    /// Binds a workspace of the build under the name that a task, or the push of the index, has for it.
    ///
    /// # Errors
    /// A folder that leads out of the volume, or an unknown variable in it.
    pub fn map_workspace(
        &self,
        mapping: &WorkspaceMapping,
        platform: Option<&Platform>,
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<Option<WorkspaceBinding>, Problem> {
        let Some(workspace) = self.request.workspace(mapping.target()) else {
            let names = self.request.workspaces.iter().map(|workspace| workspace.name.as_str());
            let hint = nearest::to(mapping.target(), names)
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            return Err(Problem::new(
                Reason::UnknownWorkspace,
                place,
                format!("there is no workspace {:?}{hint}", mapping.target()),
            ));
        };
        self.bind(workspace, &mapping.name, mapping.sub_path.as_deref(), platform, scope, place)
    }

    fn bind(
        &self,
        workspace: &Workspace,
        name: &str,
        further: Option<&str>,
        platform: Option<&Platform>,
        scope: &Scope<'_>,
        place: &Path<'_>,
    ) -> Result<Option<WorkspaceBinding>, Problem> {
        let Some(mut binding) = workspace.binding.clone() else { return Ok(None) };
        let place = place.named(&workspace.name);
        let path = place.field("subPath");
        let own = workspace.sub_path.as_deref().map(|text| scope.text(text, &path)).transpose()?;
        let further = further.map(|text| scope.text(text, &path)).transpose()?;
        let key = platform.filter(|_| workspace.per_platform).map(Platform::key);
        let folders = [Some(binding.sub_path.as_str()), own.as_deref(), key.as_deref(), further.as_deref()];
        let folders: Vec<&str> = folders
            .into_iter()
            .flatten()
            .map(|folder| folder.trim_matches('/'))
            .filter(|folder| !folder.is_empty())
            .collect();
        let sub_path = folders.join("/");
        if sub_path.split('/').any(|part| part == "..") {
            return Err(Problem::new(
                Reason::InvalidField,
                &path,
                format!("{sub_path:?} leads out of the volume; write a folder inside it"),
            ));
        }
        name.clone_into(&mut binding.name);
        binding.sub_path = sub_path;
        if let Some(claim) = self.plan.claims.get(&workspace.name) {
            binding.other.remove("volumeClaimTemplate");
            binding.persistent_volume_claim =
                Some(crate::api::tekton::ClaimSource { claim_name: claim.clone(), read_only: false });
        }
        Ok(Some(binding))
    }

    /// Resources of single steps or sidecars, merged by name.
    fn named_specs(
        &self,
        overrides: &[&Override],
        scope: &Scope<'_>,
        inherited: impl Fn(&Inherited) -> &Vec<Value>,
        written: impl for<'b> Fn(&'b Override) -> (&'b Vec<Value>, &'static str),
    ) -> Result<Vec<Value>, Problem> {
        let mut specs = self.plan.inherited.as_ref().map(|i| inherited(i).clone()).unwrap_or_default();
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides {
            let (items, field) = written(entry);
            if items.is_empty() {
                continue;
            }
            let item = entries.index(entry.place);
            if let Value::Array(items) = scope.json(&Value::Array(items.clone()), &item.field(field))? {
                placement::by_key(&mut specs, &items, "name");
            }
        }
        Ok(specs)
    }

    fn compute_resources(
        &self,
        overrides: &[&Override],
        scope: &Scope<'_>,
    ) -> Result<Option<Value>, Problem> {
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides.iter().rev() {
            if let Some(resources) = &entry.entry.compute_resources {
                return scope
                    .json(resources, &entries.index(entry.place).field("computeResources"))
                    .map(Some);
            }
        }
        Ok(self.plan.inherited.as_ref().and_then(|inherited| inherited.compute_resources.clone()))
    }

    /// Labels and annotations that a child gets from its run and from what was written for it.
    ///
    /// # Errors
    /// An unknown variable.
    pub fn metadata(&self, overrides: &[&Override], scope: &Scope<'_>) -> Result<BodyMetadata, Problem> {
        let mut labels = self.run.metadata.labels.clone().unwrap_or_default();
        let mut annotations: BTreeMap<String, String> = self
            .run
            .metadata
            .annotations
            .iter()
            .flatten()
            .filter(|(key, _)| self.hands_down(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let mut add = |metadata: &Metadata, path: &Path<'_>| -> Result<(), Problem> {
            labels.extend(scope.map(&metadata.labels, &path.field("labels"))?);
            annotations.extend(scope.map(&metadata.annotations, &path.field("annotations"))?);
            Ok(())
        };
        if let Some(metadata) = self.plan.inherited.as_ref().and_then(|i| i.metadata.as_ref()) {
            add(metadata, &Path::root("PipelineRun spec.taskRunSpecs").field("metadata"))?;
        }
        add(&self.request.metadata, &Path::root("customSpec").field("metadata"))?;
        if let Some(metadata) = &self.request.template.metadata {
            add(metadata, &self.root.field("taskRunTemplate").field("metadata"))?;
        }
        let entries = self.root.field("taskRunSpecs");
        for entry in overrides {
            if let Some(metadata) = &entry.entry.metadata {
                add(metadata, &entries.index(entry.place).field("metadata"))?;
            }
        }
        labels.insert(label::CUSTOM_RUN.to_owned(), self.request.context.custom_run.clone());
        if let Some(context) = &self.plan.span_context {
            annotations.insert(annotation::TASK_RUN_SPAN_CONTEXT.to_owned(), context.clone());
        }
        Ok(BodyMetadata {
            name: String::new(),
            namespace: self.request.context.namespace.clone(),
            labels,
            annotations,
            owner_references: Vec::new(),
        })
    }

    /// Whether an annotation of the run is copied to its children.
    ///
    /// Not copied: the affinity assistant's, which would tie every platform to one node; Chains' and Results', which speak of the
    /// run itself (Tekton drops Chains' too, `pkg/apis/pipeline/v1/taskrun_defaults.go`); kubectl's record of the last apply; and
    /// trace contexts of other kinds.
    fn hands_down(&self, key: &str) -> bool {
        if key == annotation::AFFINITY_ASSISTANT {
            return self.keep_assistant;
        }
        !["chains.tekton.dev/", "results.tekton.dev/", "kubectl.kubernetes.io/"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
            && ![annotation::CUSTOM_RUN_SPAN_CONTEXT, annotation::PIPELINE_RUN_SPAN_CONTEXT].contains(&key)
    }
}

/// What a task runs, if it is written out.
fn task_spec(
    task: &Task,
    overrides: &[&Override],
    platform: &Platform,
    place: &Path<'_>,
) -> Result<Option<Value>, Problem> {
    match &task.source {
        // Another Task for this platform takes the place of the one written out.
        TaskSource::Spec(_) if overrides.iter().any(|entry| entry.entry.task_ref.is_some()) => Ok(None),
        TaskSource::Spec(spec) => {
            variables::platform_only(spec, platform, &place.field("taskSpec")).map(Some)
        }
        TaskSource::Ref(_) => Ok(None),
    }
}

fn note<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result
        .map_err(|problem| {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        })
        .ok()
}

fn resolve_ref(task_ref: &TaskRef, scope: &Scope<'_>, path: &Path<'_>) -> Result<Value, Problem> {
    let mut out = Map::new();
    for (field, text) in [
        ("name", &task_ref.name),
        ("kind", &task_ref.kind),
        ("apiVersion", &task_ref.api_version),
        ("resolver", &task_ref.resolver),
    ] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            let path = path.field(field);
            let text = scope.text(text, &path)?;
            out.insert(field.to_owned(), text.into());
        }
    }
    if !task_ref.params.is_empty() {
        let list = path.field("params");
        let params: Vec<Value> = task_ref
            .params
            .iter()
            .map(|param| {
                let value: ParamValue = scope.param(&param.value, &list.named(&param.name))?;
                Ok(json!({"name": param.name, "value": value}))
            })
            .collect::<Result<_, Problem>>()?;
        out.insert("params".to_owned(), params.into());
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
pub(in crate::core) mod tests;
