//! The CustomRun that Tekton would create for a task of a pipeline: what `archfan plan` needs when it is given a Pipeline.
//!
//! The rules are Tekton's own (`pkg/reconciler/pipelinerun/pipelinerun.go`, `createCustomRun`): names, labels, owner, params with their
//! variables replaced, workspaces with their folders joined, and nothing inside `taskSpec.spec` touched.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::names::child_name;
use super::path::Path;
use super::variables::{Context, ResultsOfTask, Scope, TaskResults};
use crate::api::names::{API_VERSION, KIND};
use crate::api::tekton::{CustomRun, ParamValue};

/// A task of a pipeline that is ours, and the run that Tekton would make for it.
#[derive(Clone, Debug)]
pub struct PipelineTask {
    /// Where the task stands in the pipeline's spec: `tasks[2]` or `finally[0]`.
    pub place: String,
    /// The run.
    pub run: CustomRun,
    /// The claims that Tekton would make for `volumeClaimTemplate`s, by the name that stands in the run.
    pub templates: BTreeMap<String, Value>,
}

/// Finds the tasks of a pipeline that are ours, and makes the runs that Tekton would make for them. `pipeline` and `pipeline_run` are
/// the objects as written; `spec` is the pipeline's spec, of its own or embedded in the run.
pub fn custom_runs(pipeline: Option<&str>, spec: &Value, pipeline_run: &Value) -> Vec<PipelineTask> {
    let name = text(pipeline_run, "/metadata/name").to_owned();
    let params = params(spec, pipeline_run);
    let context = Context { pipeline_run: name.clone(), ..Context::default() };
    let tasks: Vec<(&str, usize, &Value)> = ["tasks", "finally"]
        .into_iter()
        .flat_map(|section| {
            let list = spec.get(section).and_then(Value::as_array).into_iter().flatten();
            list.enumerate().map(move |(index, task)| (section, index, task))
        })
        .collect();
    // Results are known when tasks have run; until then they stand in the run as they are written.
    let results: TaskResults =
        tasks.iter().map(|(_, _, task)| (text(task, "/name").to_owned(), ResultsOfTask::Expected)).collect();
    let scope = Scope { params: &params, platform: None, tasks: Some(&results), context: &context };
    tasks
        .iter()
        .filter(|(_, _, task)| is_ours(task))
        .filter_map(|(section, index, task)| {
            let mut templates = BTreeMap::new();
            let run = custom_run(pipeline, section, task, pipeline_run, &scope, &mut templates);
            let run = serde_json::from_value(run).ok()?;
            Some(PipelineTask { place: format!("{section}[{index}]"), run, templates })
        })
        .collect()
}

fn is_ours(task: &Value) -> bool {
    ["/taskRef", "/taskSpec"].iter().any(|source| {
        text(task, &format!("{source}/apiVersion")) == API_VERSION
            && text(task, &format!("{source}/kind")) == KIND
    })
}

fn custom_run(
    pipeline: Option<&str>,
    section: &str,
    task: &Value,
    pipeline_run: &Value,
    scope: &Scope<'_>,
    templates: &mut BTreeMap<String, Value>,
) -> Value {
    let root = Path::root("spec");
    let task_name = text(task, "/name");
    let run_name = text(pipeline_run, "/metadata/name");
    let strings = |pointer: &str| -> Map<String, Value> {
        pipeline_run.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let mut labels = strings("/metadata/labels");
    // A pipeline that is written out in its run goes by the run's name.
    labels.insert("tekton.dev/pipeline".into(), pipeline.unwrap_or(run_name).into());
    labels.insert("tekton.dev/pipelineRun".into(), run_name.into());
    labels.insert("tekton.dev/pipelineRunUID".into(), text(pipeline_run, "/metadata/uid").into());
    labels.insert("tekton.dev/pipelineTask".into(), task_name.into());
    labels.insert("tekton.dev/memberOf".into(), section.into());
    let mut annotations = strings("/metadata/annotations");
    annotations.retain(|key, _| !key.starts_with("chains.tekton.dev/"));
    let entry =
        list(pipeline_run, "/spec/taskRunSpecs").find(|entry| text(entry, "/pipelineTaskName") == task_name);
    let said = |field: &str| {
        entry.and_then(|entry| entry.get(field)).or_else(|| task.get(field)).filter(|value| !value.is_null())
    };
    let account = entry
        .and_then(|entry| entry.get("serviceAccountName"))
        .or_else(|| pipeline_run.pointer("/spec/taskRunTemplate/serviceAccountName"));
    // A value with a variable that Tekton does not know stays as it is written; Tekton would say so itself.
    let params: Vec<Value> = list(task, "/params")
        .map(|param| {
            let value = ParamValue::from(param.get("value").cloned().unwrap_or_default());
            let value = scope.param(&value, &root).unwrap_or(value);
            json!({"name": text(param, "/name"), "value": value})
        })
        .collect();
    let mut run_spec = json!({
        "params": params,
        "workspaces": workspaces(task, pipeline_run, templates),
        "serviceAccountName": account.cloned().unwrap_or_else(|| "".into()),
        "timeout": said("timeout"),
        "retries": task.get("retries"),
    });
    if let Some(spec) = task.get("taskSpec") {
        run_spec["customSpec"] = json!({
            "apiVersion": spec["apiVersion"], "kind": spec["kind"],
            "metadata": spec.get("metadata"), "spec": spec.get("spec"),
        });
    } else {
        let mut reference = task.get("taskRef").cloned().unwrap_or_default();
        if let Some(name) = reference.get("name").and_then(Value::as_str) {
            reference["name"] = scope.text(name, &root).unwrap_or_else(|_| name.to_owned()).into();
        }
        run_spec["customRef"] = reference;
    }
    json!({
        "metadata": {
            "name": child_name(run_name, &format!("-{task_name}")),
            "namespace": pipeline_run.pointer("/metadata/namespace"),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": run_name,
                "uid": text(pipeline_run, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": run_spec,
    })
}

/// Each workspace of the task, bound as the run binds the pipeline's (`getTaskrunWorkspaces`).
fn workspaces(task: &Value, pipeline_run: &Value, templates: &mut BTreeMap<String, Value>) -> Vec<Value> {
    list(task, "/workspaces")
        .filter_map(|workspace| {
            let name = text(workspace, "/name");
            let wanted = Some(text(workspace, "/workspace")).filter(|name| !name.is_empty()).unwrap_or(name);
            let bound =
                list(pipeline_run, "/spec/workspaces").find(|bound| text(bound, "/name") == wanted)?;
            // Something else than a binding binds nothing; Tekton would refuse it.
            let mut binding = bound.as_object()?.clone();
            binding.insert("name".into(), name.into());
            let folders = [text(bound, "/subPath"), text(workspace, "/subPath")];
            let sub_path =
                folders.iter().filter(|folder| !folder.is_empty()).copied().collect::<Vec<_>>().join("/");
            if !sub_path.is_empty() {
                binding.insert("subPath".into(), sub_path.into());
            }
            if let Some(template) = binding.remove("volumeClaimTemplate") {
                // Tekton's own name for it holds a digest of the run's uid, which there is not yet.
                let claim = child_name(text(pipeline_run, "/metadata/name"), &format!("-{wanted}"));
                binding.insert("persistentVolumeClaim".into(), json!({"claimName": claim}));
                templates.insert(claim, template);
            }
            Some(Value::Object(binding))
        })
        .collect()
}

/// The pipeline's params, as the run gives them or by default. One that has neither stands as its own variable.
fn params(spec: &Value, pipeline_run: &Value) -> BTreeMap<String, ParamValue> {
    let given = |name: &str| {
        list(pipeline_run, "/spec/params")
            .find(|param| text(param, "/name") == name)
            .and_then(|p| p.get("value"))
    };
    let mut params: BTreeMap<String, ParamValue> = list(spec, "/params")
        .map(|declared| {
            let name = text(declared, "/name");
            let value = given(name).or_else(|| declared.get("default")).cloned().map(ParamValue::from);
            let unknown = || match text(declared, "/type") {
                "array" => ParamValue::Array(vec![format!("$(params.{name}[*])")]),
                "object" => ParamValue::Object(
                    declared
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flatten()
                        .map(|(key, _)| (key.clone(), format!("$(params.{name}.{key})")))
                        .collect(),
                ),
                _ => ParamValue::String(format!("$(params.{name})")),
            };
            (name.to_owned(), value.unwrap_or_else(unknown))
        })
        .collect();
    for param in list(pipeline_run, "/spec/params") {
        let name = text(param, "/name").to_owned();
        params
            .entry(name)
            .or_insert_with(|| ParamValue::from(param.get("value").cloned().unwrap_or_default()));
    }
    params
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_made_as_tekton_makes_it() {
        let spec = json!({
            "params": [
                {"name": "image", "default": "r/app:v1"}, {"name": "archs", "type": "array"},
                {"name": "tags", "type": "array"}, {"name": "git", "type": "object", "properties": {"url": {}}}, {"name": "mode"},
            ],
            "tasks": [
                {"name": "clone", "taskRef": {"name": "clone"}},
                {
                    "name": "build", "retries": 2, "timeout": "1h",
                    "taskRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "b"},
                    "params": [
                        {"name": "IMAGE", "value": "$(params.image)"},
                        {"name": "COMMIT", "value": "$(tasks.clone.results.commit)"},
                        {"name": "ARCHS", "value": "$(params.archs[*])"},
                        {"name": "RUN", "value": "$(context.pipelineRun.name)"},
                        {"name": "TAGS", "value": "$(params.tags[*])"},
                        {"name": "URL", "value": "$(params.git.url)?$(params.mode)"},
                        {"name": "GIT", "value": "$(params.git[*])"},
                    ],
                    "workspaces": [{"name": "source", "workspace": "shared", "subPath": "src"}, {"name": "auth"}],
                },
                {"name": "of-another-kind", "taskRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "Wait", "name": "b"}},
                {"name": "of-another-group", "taskRef": {"apiVersion": "example.dev/v1", "kind": "MultiArchBuild", "name": "b"}},
            ],
            "finally": [{"name": "again", "taskSpec": {
                "apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild",
                "metadata": {"labels": {"a": "b"}}, "spec": {"platforms": ["$(params.p)"]}}}],
        });
        let pipeline_run = json!({
            "metadata": {"name": "app", "namespace": "ci", "uid": "u", "labels": {"team": "x"}, "annotations": {"chains.tekton.dev/signed": "true", "k": "v"}},
            "spec": {
                "params": [{"name": "archs", "value": ["amd64", "arm64"]}],
                "taskRunTemplate": {"serviceAccountName": "default-account"},
                "taskRunSpecs": [{"pipelineTaskName": "build", "serviceAccountName": "builder", "timeout": "2h"}],
                "workspaces": [{"name": "shared", "subPath": "base", "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}, {"name": "auth", "secret": {"secretName": "s"}}],
            },
        });
        let tasks = custom_runs(Some("p"), &spec, &pipeline_run);
        let places: Vec<&str> = tasks.iter().map(|task| task.place.as_str()).collect();
        assert_eq!(places, ["tasks[1]", "finally[0]"]);
        let run = serde_json::to_value(&tasks[0].run).unwrap();
        assert_eq!(run["metadata"]["name"], "app-build");
        assert_eq!(
            run["metadata"]["labels"],
            json!({"team": "x", "tekton.dev/pipeline": "p", "tekton.dev/pipelineRun": "app", "tekton.dev/pipelineRunUID": "u",
                "tekton.dev/pipelineTask": "build", "tekton.dev/memberOf": "tasks"})
        );
        assert_eq!(run["metadata"]["annotations"], json!({"k": "v"}));
        assert_eq!(run["spec"]["serviceAccountName"], "builder");
        assert_eq!((&run["spec"]["timeout"], &run["spec"]["retries"]), (&json!("2h"), &json!(2)));
        assert_eq!(
            run["spec"]["params"],
            json!([
                {"name": "IMAGE", "value": "r/app:v1"},
                {"name": "COMMIT", "value": "$(tasks.clone.results.commit)"},
                {"name": "ARCHS", "value": ["amd64", "arm64"]},
                {"name": "RUN", "value": "app"},
                // What has no value stands as its own variable.
                {"name": "TAGS", "value": ["$(params.tags[*])"]},
                {"name": "URL", "value": "$(params.git.url)?$(params.mode)"},
                {"name": "GIT", "value": {"url": "$(params.git.url)"}},
            ])
        );
        assert_eq!(
            run["spec"]["workspaces"],
            json!([
                {"name": "source", "subPath": "base/src", "persistentVolumeClaim": {"claimName": "app-shared"}},
                {"name": "auth", "secret": {"secretName": "s"}},
            ])
        );
        assert_eq!(tasks[0].templates["app-shared"]["spec"]["accessModes"], json!(["ReadWriteMany"]));
        let last = serde_json::to_value(&tasks[1].run).unwrap();
        assert_eq!(
            last["spec"]["customSpec"]["spec"]["platforms"],
            json!(["$(params.p)"]),
            "nobody looks inside"
        );
        assert_eq!(last["metadata"]["labels"]["tekton.dev/memberOf"], "finally");
        assert_eq!(last["spec"]["serviceAccountName"], "default-account");
    }

    /// Documents are as their author has typed them so far.
    #[test]
    fn what_is_no_binding_binds_nothing() {
        let build = json!({"name": "build", "taskRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "b"},
            "workspaces": [{}, "shared", {"name": "source", "workspace": "shared"}]});
        let spec = json!({"tasks": [build]});
        let run = json!({"metadata": {"name": "app"}, "spec": {"workspaces": ["shared", {"name": "shared", "emptyDir": {}}]}});
        let tasks = custom_runs(None, &spec, &run);
        let made = serde_json::to_value(&tasks[0].run).unwrap();
        assert_eq!(made["spec"]["workspaces"], json!([{"name": "source", "emptyDir": {}}]));
    }
}
