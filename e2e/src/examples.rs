//! The examples as users find them, put into a namespace.

use serde_json::{Value, json};

use crate::cluster::{env, root};
use crate::namespace::Namespace;

/// The documents of a file or a folder of the checkout, in order of the files' names.
pub fn documents(path: &str) -> Vec<Value> {
    let path = root().join(path);
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            files.push(entry.expect("an entry").path());
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
    } else {
        files.push(path);
    }
    files
        .iter()
        .flat_map(|file| {
            let text =
                std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            documents
        })
        .collect()
}

/// Creates everything of an example but its PipelineRun, which is given back, ready to be created: with the test cluster's storage
/// class, and with these params instead of its own.
pub async fn prepare(namespace: &Namespace, path: &str, params: &[(&str, Value)]) -> Value {
    let mut pipeline_run = None;
    for document in documents("config/tasks").into_iter().chain(documents(path)) {
        if document["kind"] == "PipelineRun" {
            pipeline_run = Some(document);
        } else {
            namespace.create(&document).await;
        }
    }
    let mut run = pipeline_run.unwrap_or_else(|| panic!("{path} has no PipelineRun"));
    let given: Vec<Value> = run["spec"]["params"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|param| {
            let name = param["name"].as_str().unwrap_or_default();
            let value =
                params.iter().find(|(ours, _)| *ours == name).map_or(&param["value"], |(_, value)| value);
            json!({"name": name, "value": value})
        })
        .collect();
    run["spec"]["params"] = given.into();
    for workspace in run["spec"]["workspaces"].as_array_mut().into_iter().flatten() {
        if let Some(class) = workspace.pointer_mut("/volumeClaimTemplate/spec/storageClassName") {
            *class = "shared".into();
        }
    }
    run
}

/// A name for an image in the test cluster's registry, of a test's own.
pub fn image(namespace: &Namespace, name: &str) -> String {
    format!("{}/{}/{name}", env("ARCHFAN_REGISTRY"), namespace.name)
}
