//! Runs without a cluster: what a folder of documents says would be run, and where each field of it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::documents::Document;
use crate::api::names::{API_VERSION, KIND};
use crate::api::status::ExtraFields;
use crate::api::tekton::{CustomRun, CustomRunSpec, Param, ParamValue};
use crate::core::accept::{self, Accepted};
use crate::core::children::{Family, TaskRunBody};
use crate::core::observed::{Claim, ClaimFacts, Definition, Facts, Observed, TektonConfig};
use crate::core::path::Path;
use crate::core::problem::Problem;
use crate::core::settings::Settings;
use crate::core::{duration, pipeline, reuse};

/// The documents, and what was said on the command line.
pub(super) struct Offline {
    pub(super) documents: Vec<Document>,
    pub(super) params: Vec<Param>,
    pub(super) settings: Arc<Settings>,
    /// Whether a build that no run uses stands for itself with params that are not known.
    pub(super) guess: bool,
}

/// A run that the documents describe.
pub(super) struct Case {
    /// What it is, for people: `PipelineRun app, task build`.
    pub(super) title: String,
    /// The run.
    pub(super) run: CustomRun,
    /// The MultiArchBuild among the documents that it refers to.
    definition: Option<usize>,
    facts: Facts,
    /// Where fields of the run are written: by the beginning of their path, the longest first.
    origins: Vec<(String, usize, String)>,
}

impl Offline {
    /// Every run that the documents describe: CustomRuns, the custom tasks of PipelineRuns, those of Pipelines that no PipelineRun uses,
    /// and MultiArchBuilds that nobody uses.
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut used = BTreeSet::new();
        for (index, document) in self.documents.iter().enumerate() {
            if document.kind() == ("tekton.dev/v1", "PipelineRun") {
                let embedded = document.value.pointer("/spec/pipelineSpec");
                let name = document.value.pointer("/spec/pipelineRef/name").and_then(Value::as_str);
                let found = name.and_then(|name| self.find("Pipeline", name, document.namespace()));
                match (embedded, found) {
                    (Some(spec), _) => {
                        cases.extend(self.of_pipeline(
                            None,
                            spec,
                            &document.value,
                            Some(index),
                            (index, "spec.pipelineSpec"),
                        ));
                    }
                    (None, Some((place, found))) => {
                        used.insert(place);
                        let spec = &found.value["spec"];
                        cases.extend(self.of_pipeline(
                            name,
                            spec,
                            &document.value,
                            Some(index),
                            (place, "spec"),
                        ));
                    }
                    (None, None) => {}
                }
            }
        }
        for (index, document) in self.documents.iter().enumerate() {
            match document.kind() {
                ("tekton.dev/v1", "Pipeline") if !used.contains(&index) => {
                    let run = stand_in_pipeline_run(document);
                    let spec = &document.value["spec"];
                    cases.extend(self.of_pipeline(Some(document.name()), spec, &run, None, (index, "spec")));
                }
                ("tekton.dev/v1beta1", "CustomRun") => {
                    if let Ok(run) = serde_json::from_value::<CustomRun>(document.value.clone())
                        && run.is_ours()
                    {
                        let origins = vec![("spec".to_owned(), index, "spec".to_owned())];
                        cases.push(self.case(
                            format!("CustomRun {}", document.name()),
                            run,
                            None,
                            &BTreeMap::new(),
                            origins,
                        ));
                    }
                }
                _ => {}
            }
        }
        let alone =
            self.documents.iter().enumerate().filter(|(_, document)| document.kind() == (API_VERSION, KIND));
        let referred: BTreeSet<usize> = cases.iter().filter_map(|case| case.definition).collect();
        for (index, document) in alone.filter(|(index, _)| !referred.contains(index)) {
            let run = stand_in_run(document, &self.params, self.guess);
            let title = format!("MultiArchBuild {}", document.name());
            cases.push(self.case_of(title, run, Some(index), None, &BTreeMap::new(), Vec::new()));
        }
        cases
    }

    /// What a document of a namespace means by a name: the document of the same namespace, or else, where one of the two says no namespace,
    /// as in most files, any of that name.
    fn find(&self, kind: &str, name: &str, namespace: &str) -> Option<(usize, &Document)> {
        let named = || {
            self.documents
                .iter()
                .enumerate()
                .filter(|(_, document)| document.kind().1 == kind && document.name() == name)
        };
        named()
            .find(|(_, document)| document.namespace() == namespace)
            .or_else(|| named().find(|(_, document)| namespace.is_empty() || document.namespace().is_empty()))
    }

    fn of_pipeline(
        &self,
        name: Option<&str>,
        spec: &Value,
        run: &Value,
        run_document: Option<usize>,
        (document, prefix): (usize, &str),
    ) -> Vec<Case> {
        let mut cases = Vec::new();
        for task in pipeline::custom_runs(name, spec, run) {
            let place = format!("{prefix}.{}", task.place);
            let mut origins = vec![
                ("spec.customSpec".to_owned(), document, format!("{place}.taskSpec")),
                ("spec.customRef".to_owned(), document, format!("{place}.taskRef")),
                ("spec".to_owned(), document, place.clone()),
            ];
            if let Some(run) = run_document {
                origins.push(("PipelineRun spec".to_owned(), run, "spec".to_owned()));
            }
            let label = task.run.metadata.labels.as_ref().and_then(|l| l.get("tekton.dev/pipelineTask"));
            let title = match (run_document, name) {
                (Some(_), _) => format!(
                    "PipelineRun {}, task {}",
                    run["metadata"]["name"].as_str().unwrap_or_default(),
                    label.map_or("", String::as_str)
                ),
                (None, name) => format!(
                    "Pipeline {}, task {}",
                    name.unwrap_or_default(),
                    label.map_or("", String::as_str)
                ),
            };
            cases.push(self.case(title, task.run, Some(run), &task.templates, origins));
        }
        cases
    }

    fn case(
        &self,
        title: String,
        run: CustomRun,
        pipeline_run: Option<&Value>,
        templates: &BTreeMap<String, Value>,
        origins: Vec<(String, usize, String)>,
    ) -> Case {
        let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
        let found = run.spec.custom_ref.as_ref().and_then(|named| self.find(KIND, &named.name, namespace));
        self.case_of(title, run, found.map(|(index, _)| index), pipeline_run, templates, origins)
    }

    /// A run of the MultiArchBuild that is document `build`, if it refers to any.
    fn case_of(
        &self,
        title: String,
        run: CustomRun,
        build: Option<usize>,
        pipeline_run: Option<&Value>,
        templates: &BTreeMap<String, Value>,
        mut origins: Vec<(String, usize, String)>,
    ) -> Case {
        let mut definition = Definition::None;
        if let Some((index, document)) = build.and_then(|index| Some((index, self.documents.get(index)?))) {
            definition = Definition::Found {
                uid: String::new(),
                generation: 0,
                spec: document.value.get("spec").cloned().unwrap_or_default(),
            };
            origins.push((format!("MultiArchBuild {:?} spec", document.name()), index, "spec".to_owned()));
        }
        let facts = Facts {
            definition,
            pipeline_run: pipeline_run.and_then(|run| serde_json::from_value(run.clone()).ok()).map(Arc::new),
            claims: self.claims(templates),
            reusable: Vec::new(),
            tekton: self.tekton(),
        };
        origins.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.len()));
        Case { title, run, definition: build, facts, origins }
    }

    /// The claims among the documents, and those that Tekton would make. A claim that is not among them is not judged.
    fn claims(&self, templates: &BTreeMap<String, Value>) -> BTreeMap<String, Claim> {
        let written =
            self.documents.iter().filter(|document| document.kind() == ("v1", "PersistentVolumeClaim"));
        let written = written.map(|document| (document.name().to_owned(), &document.value));
        let made = templates.iter().map(|(name, template)| (name.clone(), template));
        written.chain(made).map(|(name, claim)| (name, Claim::Found(self.claim_facts(claim)))).collect()
    }

    fn claim_facts(&self, claim: &Value) -> ClaimFacts {
        let text = |pointer: &str| claim.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let class = self.find("StorageClass", text("/spec/storageClassName"), "");
        let modes = claim.pointer("/spec/accessModes").and_then(Value::as_array);
        ClaimFacts {
            access_modes: modes.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            block: text("/spec/volumeMode") == "Block",
            waits_for_consumer: class
                .is_some_and(|(_, class)| class.value["volumeBindingMode"] == "WaitForFirstConsumer"),
            ..ClaimFacts::default()
        }
    }

    /// Tekton's ConfigMaps among the documents, or its defaults.
    fn tekton(&self) -> TektonConfig {
        let entry = |map: &str, key: &str| {
            let (_, document) = self.find("ConfigMap", map, "")?;
            document.value.get("data")?.get(key)?.as_str().map(str::to_owned)
        };
        TektonConfig {
            coschedule: Some(entry("feature-flags", "coschedule").unwrap_or_else(|| "workspaces".to_owned())),
            default_timeout: entry("config-defaults", "default-timeout-minutes")
                .and_then(|minutes| duration::parse(&format!("{minutes}m")).ok()),
            default_pod_template: entry("config-defaults", "default-pod-template")
                .and_then(|text| serde_saphyr::from_str(&text).ok()),
        }
    }

    /// The TaskRuns that a run would create, in the order in which it would.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn plan(&self, case: &Case) -> Result<Vec<TaskRunBody>, Vec<Problem>> {
        let mut observed = Observed::alone(case.run.clone(), self.settings.clone(), Timestamp::UNIX_EPOCH);
        observed.facts = case.facts.clone();
        let Accepted { request, plan, root, templates, .. } =
            accept::accept(&observed, &ExtraFields::default())?;
        let family = Family {
            run: &case.run,
            request: &request,
            plan: &plan,
            settings: &self.settings,
            root: Path::root(&root),
            keep_assistant: plan.keep_assistant,
            templates: &templates,
        };
        let mut children = Vec::new();
        for index in 0..request.tasks.len() {
            for target in &request.targets {
                let body = family.build(target, index, &request.expected_results(index));
                let mut body = body.map_err(|problem| vec![problem])?;
                if let Some(text) = &request.strategy.reuse {
                    reuse::mark(&mut body, text);
                }
                children.push(body);
            }
        }
        if let Some(index) = &request.index {
            let body = family.expected_members(index).and_then(|members| family.index(index, &members));
            children.push(body.map_err(|problem| vec![problem])?);
        }
        Ok(children)
    }

    /// `file:line: field: message`, with the field as it stands in the file.
    pub(super) fn tell(&self, case: &Case, problem: &Problem) -> String {
        match self.origin(case, problem) {
            Some((document, field)) => {
                format!("{}: {field}: {} ({})", document.place(&field), problem.message, problem.reason)
            }
            None => format!("{}: {problem} ({})", case.title, problem.reason),
        }
    }

    /// Whether a problem is about a value that is not known without a run, and so may be none.
    pub(super) fn may_be_none(&self, case: &Case, problem: &Problem) -> bool {
        let Some((document, field)) = self.origin(case, problem) else { return false };
        let written = document.text_at(&field);
        case.run.spec.params.iter().any(|param| {
            is_unknown(&param.value)
                && ["", "[\"", "['"].iter().any(|open| {
                    let variable = match *open {
                        "" => format!("$(params.{}", param.name),
                        open => format!("$(params{open}{}", param.name),
                    };
                    written.contains(&variable)
                })
        })
    }

    fn origin(&self, case: &Case, problem: &Problem) -> Option<(&Document, String)> {
        let (prefix, index, place) =
            case.origins.iter().find(|(prefix, ..)| problem.field.starts_with(prefix.as_str()))?;
        Some((self.documents.get(*index)?, format!("{place}{}", &problem.field[prefix.len()..])))
    }
}

/// A value that holds a variable of the pipeline is not known yet.
fn is_unknown(value: &ParamValue) -> bool {
    value.to_string().contains("$(")
}

/// A PipelineRun for a Pipeline that none uses: every workspace bound to something that nothing is known of.
fn stand_in_pipeline_run(pipeline: &Document) -> Value {
    let workspaces = pipeline.value.pointer("/spec/workspaces").and_then(Value::as_array);
    let bindings: Vec<Value> = workspaces
        .into_iter()
        .flatten()
        .filter_map(|workspace| workspace.get("name").and_then(Value::as_str))
        .map(|name| json!({"name": name, "csi": {"driver": "unknown"}}))
        .collect();
    json!({
        "metadata": {"name": pipeline.name(), "namespace": pipeline.value.pointer("/metadata/namespace")},
        "spec": {"workspaces": bindings},
    })
}

/// A CustomRun for a MultiArchBuild that none uses. With `guess`, params that are not given stand for themselves.
fn stand_in_run(build: &Document, given: &[Param], guess: bool) -> CustomRun {
    let spec = build.value.get("spec").cloned().unwrap_or_default();
    let list = |field: &str| spec.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut params = given.to_vec();
    if guess {
        for declared in list("params").iter().filter(|declared| declared.get("default").is_none()) {
            let name = text(declared, "name");
            if params.iter().all(|param| param.name != name) {
                let value = match text(declared, "type").as_str() {
                    "array" => ParamValue::Array(vec![format!("$({name})")]),
                    "object" => ParamValue::Object(
                        declared
                            .get("properties")
                            .and_then(Value::as_object)
                            .into_iter()
                            .flatten()
                            .map(|(key, _)| (key.clone(), format!("$({name}.{key})")))
                            .collect(),
                    ),
                    _ => ParamValue::String(format!("$({name})")),
                };
                params.push(Param { name, value });
            }
        }
    }
    // What nothing is known of is judged by nobody: only that it is bound.
    let workspaces: Vec<Value> = list("workspaces")
        .iter()
        .map(|workspace| json!({"name": text(workspace, "name"), "csi": {"driver": "unknown"}}))
        .collect();
    let run = json!({
        "metadata": {"name": build.name(), "namespace": build.value.pointer("/metadata/namespace")},
        "spec": {
            "customRef": {"apiVersion": API_VERSION, "kind": KIND, "name": build.name()},
            "params": params,
            "workspaces": workspaces,
        },
    });
    serde_json::from_value(run).unwrap_or_else(|_| CustomRun::new(build.name(), CustomRunSpec::default()))
}

#[cfg(test)]
mod tests {
    use super::super::documents;
    use super::*;

    fn titles_and_problems(text: &str) -> Vec<(String, Vec<String>)> {
        let mut all = Vec::new();
        documents::parse("f.yaml", text, &mut all).unwrap();
        let offline = Offline {
            documents: all,
            params: Vec::new(),
            settings: Arc::new(Settings::default()),
            guess: true,
        };
        let told = |case: &Case| {
            let problems = offline.plan(case).err().unwrap_or_default();
            problems.iter().map(|problem| offline.tell(case, problem)).collect()
        };
        offline.cases().iter().map(|case| (case.title.clone(), told(case))).collect()
    }

    fn build(namespace: &str, platform: &str) -> String {
        format!(
            "---\napiVersion: archfan.dev/v1alpha1\nkind: MultiArchBuild\nmetadata: {{name: app, namespace: {namespace}}}\n\
             spec: {{platforms: [{platform}], taskRef: {{name: x}}}}\n"
        )
    }

    fn run(namespace: &str) -> String {
        format!(
            "---\napiVersion: tekton.dev/v1beta1\nkind: CustomRun\nmetadata: {{name: run, namespace: {namespace}}}\n\
             spec: {{customRef: {{apiVersion: archfan.dev/v1alpha1, kind: MultiArchBuild, name: app}}}}\n"
        )
    }

    #[test]
    fn a_name_means_the_object_of_the_same_namespace() {
        let told = titles_and_problems(&(build("a", "linux/amd64") + &build("b", "linux/amd65") + &run("b")));
        let [(run, wrong), (alone, fine)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((run.as_str(), alone.as_str()), ("CustomRun run", "MultiArchBuild app"));
        assert!(wrong.len() == 1 && wrong[0].starts_with("f.yaml:10: spec.platforms[0]: "), "{wrong:?}");
        assert!(fine.is_empty(), "{fine:?}");
    }

    #[test]
    fn a_file_that_says_no_namespace_is_of_any() {
        let told = titles_and_problems(&(build("''", "linux/amd64") + &run("b")));
        assert_eq!(told, [("CustomRun run".to_owned(), Vec::new())]);
    }

    #[test]
    fn builds_of_one_name_are_each_judged_by_themselves() {
        let told = titles_and_problems(&(build("''", "linux/amd64") + &build("''", "linux/amd65")));
        let problems: Vec<usize> = told.iter().map(|(_, problems)| problems.len()).collect();
        assert_eq!(problems, [0, 1], "{told:?}");
    }
}
