//! The YAML that people read: the files of the examples and Tasks, and the blocks in the documentation.
//!
//! A block is a whole document, or a part of one that can be told by its looks: entries of a pipeline's `tasks`, fields of one, fields of a
//! MultiArchBuild's `spec`, fields of a PipelineRun's `spec`, or a part that begins with the name of the field it stands in. What is no
//! document of a cluster (a chart's values, a program's output) is fenced as something else than `yaml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cluster::root;

/// Fields of a MultiArchBuild's `spec`.
const OF_BUILD: [&str; 10] = [
    "params",
    "platforms",
    "taskRef",
    "taskSpec",
    "tasks",
    "workspaces",
    "taskRunTemplate",
    "taskRunSpecs",
    "strategy",
    "index",
];
/// Fields of a PipelineRun's `spec`.
const OF_RUN: [&str; 7] =
    ["params", "pipelineRef", "pipelineSpec", "taskRunTemplate", "taskRunSpecs", "timeouts", "workspaces"];

/// Fields of a pipeline task.
const OF_TASK: [&str; 7] = ["name", "params", "retries", "runAfter", "taskRef", "timeout", "workspaces"];
/// The name of what was made whole.
const PART: &str = "part";

/// A document, and where it is written.
#[derive(Clone, Debug)]
pub struct Written {
    /// File and line, from the root of the checkout.
    pub place: String,
    /// The document, whole.
    pub document: Value,
}

/// Every YAML block of the Markdown files, by file, and every YAML file under `examples` and `config/tasks`, by folder: what belongs
/// together is together. The rest of `config` is the chart's business (`tests/chart`).
pub fn all() -> Vec<(String, Vec<Written>)> {
    let mut files = Vec::new();
    for folder in ["", "docs", "examples", "config/tasks"] {
        find(&root().join(folder), !folder.is_empty(), &mut files);
    }
    files.sort();
    files.dedup();
    let mut groups: Vec<(String, Vec<Written>)> = Vec::new();
    for file in &files {
        let group = if is_markdown(file) { file } else { file.parent().unwrap_or(file) };
        let (group, documents) = (relative(group), of_file(file));
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, all)) => all.extend(documents),
            None if documents.is_empty() => {}
            None => groups.push((group, documents)),
        }
    }
    groups
}

fn is_markdown(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
}

fn find(folder: &Path, deep: bool, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        if path.is_dir() {
            if deep {
                find(&path, deep, files);
            }
        } else if extension == "md" || (deep && extension == "yaml") {
            files.push(path);
        }
    }
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn of_file(file: &Path) -> Vec<Written> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = relative(file);
    if is_markdown(file) {
        blocks(&text).into_iter().flat_map(|(line, block)| parse(&format!("{name}:{line}"), &block)).collect()
    } else {
        parse(&name, &text)
    }
}

/// The blocks that are fenced as `yaml`, each with the line on which it begins.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (open, fence) {
            (None, Some(language)) => {
                open = Some(line.len() - line.trim_start().len());
                if matches!(language.split_whitespace().next(), Some("yaml" | "yml")) {
                    blocks.push((number + 2, String::new()));
                } else {
                    // A fence of another language: skipped to its end.
                    open = Some(usize::MAX);
                }
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) if indent != usize::MAX => {
                if let Some((_, block)) = blocks.last_mut() {
                    block.push_str(line.get(indent..).unwrap_or_default());
                    block.push('\n');
                }
            }
            _ => {}
        }
    }
    blocks
}

fn parse(place: &str, text: &str) -> Vec<Written> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{place}: {error}"));
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| Written { place: place.to_owned(), document: whole(place, document) })
        .map(|mut written| {
            // What was made whole gets a name of its own: parts of one page stand side by side.
            if written.document["metadata"]["name"] == PART {
                let line = place.rsplit(':').next().unwrap_or_default();
                written.document["metadata"]["name"] = format!("{PART}-{line}").into();
            }
            written
        })
        .collect()
}

/// A whole document of what may be a part of one.
fn whole(place: &str, document: Value) -> Value {
    if document.get("kind").is_some() && document.get("apiVersion").is_some() {
        return document;
    }
    let fields: Vec<&str> =
        document.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if let Some(tasks) = document.as_array() {
        return pipeline(tasks);
    }
    match fields.as_slice() {
        ["spec"] => whole(place, document["spec"].clone()),
        ["tasks"]
            if document["tasks"][0].get("taskRef").is_some_and(|task| task["kind"] == "MultiArchBuild") =>
        {
            pipeline(document["tasks"].as_array().map_or(&[], Vec::as_slice))
        }
        fields if is_part(fields, &OF_TASK) && takes_workspaces_of_a_pipeline(&document) => {
            let mut task = document;
            task["name"] = PART.into();
            if task.get("taskRef").is_none() {
                task["taskRef"] = json!({"name": "any"});
            }
            pipeline(&[task])
        }
        fields if is_part(fields, &OF_BUILD) && !says_more_of_a_run(&document) => build(document),
        fields if is_part(fields, &OF_RUN) => run(document),
        _ => panic!(
            "{place}: this YAML is no document, and it cannot be told what it is a part of. Write it whole, or as entries of a pipeline's \
             tasks, fields of a MultiArchBuild's spec or of a PipelineRun's spec; or fence it as text if no cluster is meant to take it."
        ),
    }
}

/// A pipeline task says which workspace of the pipeline is meant.
fn takes_workspaces_of_a_pipeline(document: &Value) -> bool {
    document["workspaces"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|workspace| workspace.get("workspace").is_some())
}

fn is_part(fields: &[&str], of: &[&str]) -> bool {
    !fields.is_empty() && fields.iter().all(|field| of.contains(field))
}

/// Some fields are a build's and a PipelineRun's. What is bound to something is the run's.
fn says_more_of_a_run(document: &Value) -> bool {
    let bound = |workspace: &Value| {
        ["volumeClaimTemplate", "persistentVolumeClaim", "configMap", "secret", "emptyDir"]
            .iter()
            .any(|source| workspace.get(source).is_some())
    };
    let list = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    list("workspaces").iter().any(bound)
        || list("params").iter().any(|param| param.get("value").is_some())
        || list("taskRunSpecs").iter().any(|spec| spec.get("pipelineTaskName").is_some())
}

/// A Pipeline of these tasks, with the params, workspaces and earlier tasks that they speak of.
fn pipeline(tasks: &[Value]) -> Value {
    let text = Value::from(tasks.to_vec()).to_string();
    let mut all = Vec::new();
    let known: Vec<&Value> = tasks.iter().map(|task| &task["name"]).collect();
    let earlier = names(&text, "$(tasks.")
        .into_iter()
        .chain(
            tasks
                .iter()
                .flat_map(|task| task["runAfter"].as_array().cloned().unwrap_or_default())
                .filter_map(|name| name.as_str().map(str::to_owned)),
        )
        .collect::<BTreeSet<_>>();
    for name in earlier.into_iter().filter(|name| !known.iter().any(|known| *known == name)) {
        all.push(json!({"name": name, "taskRef": {"name": name}}));
    }
    all.extend_from_slice(tasks);
    let workspaces: BTreeSet<String> = tasks
        .iter()
        .flat_map(|task| task["workspaces"].as_array().cloned().unwrap_or_default())
        .filter_map(|workspace| {
            workspace["workspace"].as_str().or(workspace["name"].as_str()).map(str::to_owned)
        })
        .collect();
    let params: Vec<Value> = names(&text, "$(params.")
        .into_iter()
        .map(|name| {
            let list = text.contains(&format!("$(params.{name}[*])"));
            json!({"name": name, "type": if list { "array" } else { "string" }})
        })
        .collect();
    let workspaces: Vec<Value> = workspaces.into_iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": PART},
        "spec": {"params": params, "workspaces": workspaces, "tasks": all},
    })
}

/// The names behind a prefix, up to what cannot be of a name.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(prefix)
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect())
        .collect()
}

/// A MultiArchBuild with these fields, and what it cannot be without.
fn build(part: Value) -> Value {
    let mut spec = Map::new();
    spec.insert("platforms".into(), json!(["linux/amd64", "linux/arm64"]));
    if ["taskRef", "taskSpec", "tasks"].iter().all(|field| part.get(field).is_none()) {
        spec.insert("taskRef".into(), json!({"name": "any"}));
    }
    if part.get("params").is_none() {
        let params: Vec<Value> =
            names(&part.to_string(), "$(params.").iter().map(|name| json!({"name": name})).collect();
        spec.insert("params".into(), params.into());
    }
    spec.extend(part.as_object().cloned().unwrap_or_default());
    json!({"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "metadata": {"name": PART}, "spec": spec})
}

/// A PipelineRun with these fields, and a pipeline.
fn run(part: Value) -> Value {
    let mut spec = part;
    if spec.get("pipelineRef").is_none() && spec.get("pipelineSpec").is_none() {
        spec["pipelineRef"] = json!({"name": "any"});
    }
    json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": PART}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_lines_and_without_their_indent() {
        let text =
            "a\n```yaml\nkind: A\n```\n- b\n  ```yml\n  kind: B\n    c: d\n  ```\n```text\nkind: no\n```\n";
        assert_eq!(blocks(text), [(3, "kind: A\n".to_owned()), (7, "kind: B\n  c: d\n".to_owned())]);
    }

    #[test]
    fn parts_become_whole() {
        let kind = |text: &str| parse("here", text)[0].document["kind"].clone();
        assert_eq!(kind("- name: a\n  taskRef: {name: b}\n"), "Pipeline");
        assert_eq!(kind("strategy: {failFast: false}\n"), "MultiArchBuild");
        assert_eq!(kind("workspaces: [{name: a, perPlatform: true}]\n"), "MultiArchBuild");
        assert_eq!(kind("workspaces: [{name: a, workspace: b, subPath: c}]\n"), "Pipeline");
        assert_eq!(kind("workspaces: [{name: a, emptyDir: {}}]\n"), "PipelineRun");
        assert_eq!(kind("spec:\n  platforms: [linux/arm64]\n"), "MultiArchBuild");
    }

    #[test]
    fn a_part_of_a_pipeline_declares_what_it_speaks_of() {
        let part = "- name: a\n  runAfter: [clone]\n  params: [{name: x, value: $(params.y)}]\n  workspaces: [{name: s, workspace: t}]\n  taskRef: {name: b}\n";
        let document = &parse("here", part)[0].document;
        assert_eq!(document["spec"]["params"], json!([{"name": "y", "type": "string"}]));
        assert_eq!(document["spec"]["workspaces"], json!([{"name": "t"}]));
        assert_eq!(document["spec"]["tasks"][0]["name"], "clone");
    }

    #[test]
    #[should_panic(expected = "here: this YAML is no document")]
    fn what_is_no_part_of_anything_is_refused() {
        parse("here", "replicaCount: 2\n");
    }
}
