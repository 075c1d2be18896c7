//! The examples as users find them, put into a namespace.

use serde_json::{Value, json};

use crate::cluster::{env, root, run};
use crate::namespace::Namespace;
use crate::objects::{platform, result};
use crate::registry;

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

/// The kinds that start something.
const RUNS: [&str; 2] = ["PipelineRun", "CustomRun"];

/// Creates everything of an example but its run (a PipelineRun, or a CustomRun by itself), which is given back, ready to be created:
/// with the test cluster's storage class, and with these params instead of its own.
pub async fn prepare(namespace: &Namespace, path: &str, params: &[(&str, Value)]) -> Value {
    prepare_with(namespace, path, params, |_| ()).await
}

/// As [`prepare`], with each document changed by `change` before it is created.
pub async fn prepare_with(
    namespace: &Namespace,
    path: &str,
    params: &[(&str, Value)],
    change: impl Fn(&mut Value),
) -> Value {
    let mut run = None;
    for mut document in documents("config/tasks").into_iter().chain(documents(path)) {
        change(&mut document);
        if RUNS.contains(&document["kind"].as_str().unwrap_or_default()) {
            run = Some(document);
        } else {
            namespace.create(&document).await;
        }
    }
    let mut run = run.unwrap_or_else(|| panic!("{path} has no PipelineRun and no CustomRun"));
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
    for (name, _) in params {
        assert!(given.iter().any(|param| param["name"] == *name), "{path} has no param {name}");
    }
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

/// Publishes a folder of the checkout on the test cluster's git server, under the namespace's name, and gives back its URL.
pub async fn publish(namespace: &Namespace, folder: &str) -> String {
    run("e2e/cluster/git-publish", &[folder, &namespace.name]).await.trim().to_owned()
}

/// Checks what every example promises of its build: each platform was built on a node of that platform, or of the one that its
/// `runsOn` names, the registry has one index of exactly these platforms in this order, and each image says that it is what it was
/// built as.
pub async fn check_build(custom_run: &Value, image: &str, platforms: &[&str]) {
    for name in platforms {
        let runs_on = runs_on(custom_run, name);
        let node = env(&format!("ARCHFAN_NODE_{}", arch_of(&runs_on).to_uppercase()));
        assert_eq!(platform(custom_run, name)["node"], json!(node), "{name} was built on another node");
    }
    let digest = registry::digest(image).await;
    assert_eq!(result(custom_run, "IMAGE_DIGEST").as_deref(), Some(digest.as_str()), "what the run says");
    let index = registry::manifest(image).await;
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let manifests = index["manifests"].as_array().expect("manifests");
    let there: Vec<String> = manifests
        .iter()
        .map(|manifest| {
            let text = |field: &str| manifest["platform"][field].as_str().unwrap_or_default();
            format!("{}/{}", text("os"), text("architecture"))
        })
        .collect();
    assert_eq!(there, platforms);
    let repository = image.rsplit_once(':').expect("a tag").0;
    for (manifest, name) in manifests.iter().zip(platforms) {
        let child = format!("{repository}@{}", manifest["digest"].as_str().expect("a digest"));
        assert_eq!(registry::config(&child).await["architecture"], arch_of(name), "{child}");
    }
}

/// Runs an image by its tag on a node of each architecture, and gives back what it printed on amd64 and on arm64.
pub async fn run_on_both(namespace: &Namespace, image: &str) -> (String, String) {
    tokio::join!(
        namespace.run_image("run-amd64", image, "amd64"),
        namespace.run_image("run-arm64", image, "arm64")
    )
}

/// Leaves what was measured for the table that `e2e/examples` prints: how long the run took by its own status, and its index.
pub fn record(example: &str, run: &Value, image: &str, platforms: &[&str], digest: &str) {
    let text = |field: &str| run["status"][field].as_str().unwrap_or_default().to_owned();
    let tasks = run["status"]["childReferences"].as_array().map_or(1, Vec::len);
    let row = json!({
        "example": example, "image": image, "digest": digest, "platforms": platforms, "tasks": tasks,
        "start": text("startTime"), "end": text("completionTime"),
    });
    let folder = root().join("target/examples");
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = folder.join(format!("{example}.json"));
    std::fs::write(&file, row.to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// The platform whose nodes build for this one: itself, unless the run says otherwise.
fn runs_on(custom_run: &Value, name: &str) -> String {
    let platforms = custom_run["spec"]["customSpec"]["spec"]["platforms"].as_array();
    let said = platforms.into_iter().flatten().find(|platform| platform["platform"] == name);
    said.and_then(|platform| platform["runsOn"].as_str()).unwrap_or(name).to_owned()
}

fn arch_of(platform: &str) -> &str {
    platform.split('/').nth(1).unwrap_or_default()
}

/// Addresses of the caching package registries that pods can reach, by the names that `e2e/caches` prints. Starts them if need be.
pub async fn caches() -> std::collections::BTreeMap<String, String> {
    run("e2e/caches", &["up"])
        .await
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
