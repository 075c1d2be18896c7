//! What a PipelineRun says about the pods of its tasks, which Tekton hands to TaskRuns and not to custom tasks.
//!
//! Tekton gives a CustomRun the service account and the timeout only (Tekton `pkg/reconciler/pipelinerun/pipelinerun.go`,
//! `createCustomRun`), so the rest is read from the owner, by Tekton's own rule (`GetTaskRunSpec`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::observed::TektonConfig;
use crate::api::names::{annotation, label};
use crate::api::status::Inherited;
use crate::api::tekton::{CustomRun, PipelineRun};

/// What the children of `run` inherit from its PipelineRun and from Tekton's defaults; `None` if nothing.
pub fn from_owner(run: &CustomRun, owner: Option<&PipelineRun>, tekton: &TektonConfig) -> Option<Inherited> {
    let task = run
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(label::PIPELINE_TASK))
        .map_or("", String::as_str);
    let mut inherited = Inherited::default();
    inherited.general.extend(tekton.default_pod_template.clone());
    if let Some(owner) = owner {
        inherited.general.extend(owner.spec.task_run_template.pod_template.clone());
        if let Some(spec) = owner.spec.task_run_specs.iter().find(|spec| spec.pipeline_task_name == task) {
            inherited.specific.clone_from(&spec.pod_template);
            inherited.step_specs.clone_from(&spec.step_specs);
            inherited.sidecar_specs.clone_from(&spec.sidecar_specs);
            inherited.compute_resources.clone_from(&spec.compute_resources);
            inherited.metadata.clone_from(&spec.metadata);
        }
    }
    inherited.general.retain(|template| template.as_object().is_some_and(|fields| !fields.is_empty()));
    (inherited != Inherited::default()).then_some(inherited)
}

/// The trace context that children go on with: the run's own, else its PipelineRun's, as the JSON carrier that Tekton reads
/// (Tekton `pkg/reconciler/taskrun/tracing.go`).
pub fn span_context(run: &CustomRun, owner: Option<&PipelineRun>) -> Option<String> {
    let annotations = run.metadata.annotations.as_ref();
    let annotated = |key: &str| annotations.and_then(|all| all.get(key)).cloned();
    let carrier = |context: &BTreeMap<String, String>| {
        (!context.is_empty()).then(|| Value::from_iter(context.clone()).to_string())
    };
    annotated(annotation::CUSTOM_RUN_SPAN_CONTEXT)
        .or_else(|| annotated(annotation::PIPELINE_RUN_SPAN_CONTEXT))
        .or_else(|| owner.and_then(|owner| carrier(&owner.status.as_ref()?.span_context)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> CustomRun {
        serde_json::from_value(json!({
            "metadata": {"name": "r", "labels": {"tekton.dev/pipelineTask": "image"}},
            "spec": {},
        }))
        .unwrap()
    }

    #[test]
    fn nothing_is_inherited_from_nobody() {
        assert_eq!(from_owner(&run(), None, &TektonConfig::default()), None);
        let empty = TektonConfig { default_pod_template: Some(json!({})), ..TektonConfig::default() };
        assert_eq!(from_owner(&run(), None, &empty), None);
    }

    #[test]
    fn the_entry_for_this_task_is_found() {
        let owner: PipelineRun = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "taskRunTemplate": {"podTemplate": {"priorityClassName": "ci"}},
                "taskRunSpecs": [
                    {"pipelineTaskName": "other", "podTemplate": {"nodeSelector": {"x": "y"}}},
                    {"pipelineTaskName": "image", "podTemplate": {"nodeSelector": {"pool": "big"}},
                     "stepSpecs": [{"name": "push"}], "computeResources": {"limits": {"cpu": "1"}},
                     "metadata": {"labels": {"team": "a"}}},
                ],
            },
            "status": {"spanContext": {"traceparent": "00-1-2-01"}},
        }))
        .unwrap();
        let tekton = TektonConfig {
            default_pod_template: Some(json!({"schedulerName": "s"})),
            ..TektonConfig::default()
        };
        let inherited = from_owner(&run(), Some(&owner), &tekton).unwrap();
        assert_eq!(inherited.general, [json!({"schedulerName": "s"}), json!({"priorityClassName": "ci"})]);
        assert_eq!(inherited.specific, Some(json!({"nodeSelector": {"pool": "big"}})));
        assert_eq!(inherited.step_specs, [json!({"name": "push"})]);
        assert_eq!(inherited.compute_resources, Some(json!({"limits": {"cpu": "1"}})));
        assert_eq!(inherited.metadata.unwrap().labels["team"], "a");
        assert_eq!(span_context(&run(), Some(&owner)).as_deref(), Some(r#"{"traceparent":"00-1-2-01"}"#));
    }

    #[test]
    fn a_run_s_own_trace_context_comes_first() {
        let mut run = run();
        run.metadata.annotations =
            Some(BTreeMap::from([(annotation::PIPELINE_RUN_SPAN_CONTEXT.to_owned(), "pipeline".to_owned())]));
        assert_eq!(span_context(&run, None).as_deref(), Some("pipeline"));
        run.metadata
            .annotations
            .get_or_insert_default()
            .insert(annotation::CUSTOM_RUN_SPAN_CONTEXT.to_owned(), "custom".to_owned());
        assert_eq!(span_context(&run, None).as_deref(), Some("custom"));
        run.metadata.annotations = None;
        assert_eq!(span_context(&run, None), None);
    }
}
