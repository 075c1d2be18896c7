//! Paths and bodies of the objects that tests make.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// Path of the CustomRuns of a namespace.
pub fn custom_runs(namespace: &str) -> String {
    format!("/apis/tekton.dev/v1beta1/namespaces/{namespace}/customruns")
}

/// Path of the objects of one of Tekton's other kinds in a namespace: `taskruns`, `pipelineruns`, `tasks`, `pipelines`.
pub fn tekton(namespace: &str, plural: &str) -> String {
    format!("/apis/tekton.dev/v1/namespaces/{namespace}/{plural}")
}

/// Path of the objects of one of Kubernetes' own kinds in a namespace: `pods`, `persistentvolumeclaims`.
pub fn core(namespace: &str, plural: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{plural}")
}

/// Path of the `MultiArchBuild`s of a namespace.
pub fn builds(namespace: &str) -> String {
    format!("/apis/archfan.dev/v1alpha1/namespaces/{namespace}/multiarchbuilds")
}

/// A CustomRun with an embedded build.
pub fn embedded(name: &str, build: &Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": "builder",
            "customSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": build},
        },
    })
}

/// A Task of one step that runs a shell script, and what results it writes.
pub fn script(image: &str, results: &[&str], script: &str) -> Value {
    let results: Vec<Value> = results.iter().map(|name| json!({"name": name})).collect();
    json!({
        "results": results,
        "steps": [{"name": "run", "image": image, "script": format!("#!/bin/sh\nset -eu\n{script}\n")}],
    })
}

/// A PersistentVolumeClaim.
pub fn claim(name: &str, class: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"storageClassName": class, "accessModes": [mode], "resources": {"requests": {"storage": "100Mi"}}},
    })
}

/// When a manager of fields last wrote to an object, by the API server's clock, which leaves out the parts of the second. What is told to be
/// quick is judged by such times: on a machine that is busy a test may see much later what was done at once.
pub fn written(object: &Value, manager: &str) -> Timestamp {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let times = entries.iter().filter(|entry| entry["manager"] == manager).map(|entry| time(&entry["time"]));
    times.max().unwrap_or_else(|| panic!("{manager} has not written to {object:#}"))
}

/// A time, as objects have them.
pub fn time(text: &Value) -> Timestamp {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} is no time"))
}

/// The `Succeeded` condition of an object: status, reason and message, empty if there is none.
pub fn succeeded(object: &Value) -> (String, String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    conditions
        .iter()
        .find(|condition| condition["type"] == "Succeeded")
        .map(|condition| (text(condition, "status"), text(condition, "reason"), text(condition, "message")))
        .unwrap_or_default()
}

/// A result of a run, by name.
pub fn result(run: &Value, name: &str) -> Option<String> {
    let results = run["status"]["results"].as_array()?;
    results
        .iter()
        .find(|result| result["name"] == name)
        .and_then(|result| Some(result["value"].as_str()?.to_owned()))
}

/// What `status.extraFields` says of a platform.
pub fn platform<'a>(run: &'a Value, platform: &str) -> &'a Value {
    run["status"]["extraFields"]["platforms"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["platform"] == platform)
        .unwrap_or(&Value::Null)
}

/// Name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}
