//! The whole path: one custom task builds a real image on two real architectures, and what stood in its way does not.

use std::time::Duration;

use archfan_e2e::cluster::{env, run};
use archfan_e2e::objects::{core, embedded, name, platform, result, script, succeeded, tekton};
use archfan_e2e::wait::until;
use archfan_e2e::{Namespace, examples, registry};
use serde_json::{Value, json};

/// How long the whole example may take while other tests keep the machine busy.
const LONG: Duration = Duration::from_mins(6);

#[tokio::test]
async fn one_custom_task_builds_an_image_for_two_architectures() {
    let namespace = Namespace::new("htop").await;
    let image = format!("{}:v1", examples::image(&namespace, "htop"));
    let git = run("e2e/cluster/git-publish", &["examples/htop", &namespace.name]).await;
    for task in examples::documents("e2e/tasks") {
        namespace.create(&task).await;
    }
    let mut pipeline_run = examples::prepare_with(
        &namespace,
        "examples/htop",
        &[
            ("git-url", git.trim().into()),
            ("image", image.clone().into()),
            ("base-image", env("ARCHFAN_IMAGE_HTOP_BASE").into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
        // The example itself ends with the build; here a task uses what came of it.
        |document| {
            if document["kind"] == "Pipeline" {
                let tasks = document["spec"]["tasks"].as_array_mut().expect("tasks");
                tasks.extend(examples::documents("e2e/tasks/use.json"));
            }
        },
    )
    .await;
    assert!(pipeline_run["spec"].get("taskRunSpecs").is_none(), "the example must need none");
    pipeline_run["metadata"] = json!({"name": "htop"});
    namespace.create(&pipeline_run).await;
    let pipeline_run = namespace.pipeline_run_ended("htop", LONG).await;
    let run = namespace.run("htop-build").await;
    assert_eq!(succeeded(&pipeline_run).0, "True", "{:#}\n{:#}", pipeline_run["status"], run["status"]);

    // What Tekton sees: one CustomRun, and none of its children.
    let references: Vec<(&str, &str)> = pipeline_run["status"]["childReferences"]
        .as_array()
        .expect("child references")
        .iter()
        .map(|child| {
            (
                child["kind"].as_str().unwrap_or_default(),
                child["pipelineTaskName"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert!(references.contains(&("CustomRun", "build")) && references.len() == 3, "{references:?}");

    // The children: names, owners, annotations, nodes.
    let children = namespace.children("htop-build").await;
    let names: Vec<String> = children.iter().map(name).collect();
    assert_eq!(names, ["htop-build", "htop-build-linux-amd64", "htop-build-linux-arm64"]);
    for child in &children {
        let owners = child["metadata"]["ownerReferences"].as_array().expect("owners");
        assert_eq!((&owners[0]["kind"], &owners[0]["name"]), (&json!("CustomRun"), &json!("htop-build")));
        let is_index = name(child) == "htop-build";
        assert_eq!(owners[0]["controller"], json!(!is_index));
        assert_eq!(owners.len(), if is_index { 2 } else { 1 });
        if is_index {
            assert_eq!((&owners[1]["kind"], &owners[1]["controller"]), (&json!("PipelineRun"), &json!(true)));
        }
        assert_eq!(child["metadata"]["annotations"].get("pipeline.tekton.dev/affinity-assistant"), None);
    }
    assert!(
        run["metadata"]["annotations"]["pipeline.tekton.dev/affinity-assistant"].is_string(),
        "Tekton put the affinity assistant on the run, and this test shows that it went no further"
    );
    for (arch, node) in [("amd64", env("ARCHFAN_NODE_AMD64")), ("arm64", env("ARCHFAN_NODE_ARM64"))] {
        let pod = namespace.pod_of(&format!("htop-build-linux-{arch}")).await;
        assert_eq!(pod["spec"]["nodeName"], json!(node));
        assert_eq!(platform(&run, &format!("linux/{arch}"))["node"], json!(node));
    }

    // The index, as the registry has it.
    let index_digest = registry::digest(&image).await;
    let index = registry::manifest(&image).await;
    let mut of_example = pipeline_run.clone();
    let references = of_example["status"]["childReferences"].as_array_mut().expect("child references");
    references.retain(|reference| reference["pipelineTaskName"] != "use");
    examples::record("htop", &of_example, &image, &["linux/amd64", "linux/arm64"], &index_digest);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["annotations"]["org.opencontainers.image.title"], "htop");
    let repository = image.rsplit_once(':').expect("a tag").0;
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .map(|manifest| manifest["platform"]["architecture"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"], "in the order of the platform list");
    for manifest in index["manifests"].as_array().expect("manifests") {
        let digest = manifest["digest"].as_str().expect("a digest");
        let arch = manifest["platform"]["architecture"].as_str().expect("an architecture");
        let config = registry::config(&format!("{repository}@{digest}")).await;
        assert_eq!(config["architecture"], json!(arch), "what the image itself says");
        assert_eq!(result(&run, &format!("linux-{arch}-IMAGE_DIGEST")).as_deref(), Some(digest));
    }

    // The results, on the run, on the pipeline, and in the task that consumed them.
    assert_eq!(result(&run, "IMAGE_URL").as_deref(), Some(image.as_str()));
    assert_eq!(result(&run, "IMAGE_DIGEST").as_deref(), Some(index_digest.as_str()));
    assert_eq!(result(&run, "PLATFORMS").as_deref(), Some(r#"["linux/amd64","linux/arm64"]"#));
    let images = result(&run, "IMAGES").expect("IMAGES");
    assert_eq!(images.split(',').count(), 3, "{images}");
    let of_pipeline = pipeline_run["status"]["results"].as_array().expect("results");
    assert!(of_pipeline.contains(&json!({"name": "IMAGE_DIGEST", "value": index_digest})), "{of_pipeline:?}");
    let consumer = namespace.cluster.get(&namespace.child_path("htop-use")).await.expect("the consumer");
    let params = consumer["spec"]["params"].as_array().expect("params");
    assert!(
        params.contains(&json!({"name": "platforms", "value": ["linux/amd64", "linux/arm64"]})),
        "{params:?}"
    );

    // The image itself, on both architectures, by one and the same reference.
    let (on_amd64, on_arm64) = tokio::join!(
        namespace.run_image("run-amd64", &image, "amd64"),
        namespace.run_image("run-arm64", &image, "arm64")
    );
    assert!(on_amd64.starts_with("x86_64\nhtop "), "{on_amd64}");
    assert!(on_arm64.starts_with("aarch64\nhtop "), "{on_arm64}");
    namespace.done().await;
}

/// A pipeline that writes a file on each architecture into one shared volume: the same work by `matrix` and by archfan.
fn shared_volume_pipeline(build: Value, task_run_specs: Value) -> Value {
    let shell = env("ARCHFAN_IMAGE_SHELL");
    let mut prepare = script(&shell, &[], "echo prepared > $(workspaces.source.path)/file");
    prepare["workspaces"] = json!([{"name": "source"}]);
    let mut run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "shared"},
        "spec": {
            "taskRunTemplate": {"serviceAccountName": "builder"},
            "taskRunSpecs": task_run_specs,
            "pipelineSpec": {
                "workspaces": [{"name": "shared"}],
                "tasks": [
                    {"name": "prepare", "taskSpec": prepare, "workspaces": [{"name": "source", "workspace": "shared"}]},
                    build,
                ],
            },
            "workspaces": [{"name": "shared", "volumeClaimTemplate": {"spec": {
                "storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "100Mi"}}}}}],
        },
    });
    run["spec"]["pipelineSpec"]["tasks"][1]["name"] = "build".into();
    run["spec"]["pipelineSpec"]["tasks"][1]["runAfter"] = json!(["prepare"]);
    run["spec"]["pipelineSpec"]["tasks"][1]["workspaces"] =
        json!([{"name": "source", "workspace": "shared"}]);
    run
}

const LOOK: &str = "cat $(workspaces.source.path)/file; uname -m > $(workspaces.source.path)/$(uname -m)";

#[tokio::test]
async fn plain_matrix_on_one_shared_claim_stays_pending_on_arm64() {
    let namespace = Namespace::new("matrix").await;
    let mut task = script(&env("ARCHFAN_IMAGE_SHELL"), &[], LOOK);
    task["params"] = json!([{"name": "arch"}]);
    task["workspaces"] = json!([{"name": "source"}]);
    let build =
        json!({"taskSpec": task, "matrix": {"params": [{"name": "arch", "value": ["amd64", "arm64"]}]}});
    let placed = json!([{
        "pipelineTaskName": "build",
        "podTemplate": {"nodeSelector": {"kubernetes.io/arch": "$(params.arch)"}},
    }]);
    let mut run = shared_volume_pipeline(build, placed);
    // The affinity assistant goes where the pipeline's own pod template says. Without this it may go to either node, and it is the
    // other architecture that waits.
    run["spec"]["taskRunTemplate"]["podTemplate"] = json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}});
    namespace.create(&run).await;

    let pods = format!("{}?labelSelector=tekton.dev/pipelineTask=build", core(&namespace.name, "pods"));
    let message = until("the arm64 pod to be refused by the scheduler", Duration::from_mins(3), || async {
        let pods = namespace.cluster.list(&pods).await;
        let stuck = pods.iter().find_map(|pod| {
            let condition = pod["status"]["conditions"]
                .as_array()?
                .iter()
                .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
            (pod["spec"]["nodeSelector"]["kubernetes.io/arch"] == "arm64")
                .then(|| condition["message"].as_str().unwrap_or_default().to_owned())
        });
        let done = pods.iter().any(|pod| pod["status"]["phase"] == "Succeeded");
        stuck.filter(|_| done).ok_or_else(|| pods.iter().map(|pod| pod["status"].clone()).collect::<Vec<_>>())
    })
    .await;
    assert!(message.contains("didn't match pod affinity rules"), "{message}");
    namespace.done().await;
}

#[tokio::test]
async fn the_same_pipeline_succeeds_as_a_custom_task() {
    let namespace = Namespace::new("shared").await;
    let mut task = script(&env("ARCHFAN_IMAGE_SHELL"), &[], LOOK);
    task["workspaces"] = json!([{"name": "source"}]);
    let build = json!({"taskSpec": {
        "apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild",
        "spec": {"platforms": ["linux/amd64", "linux/arm64"], "taskSpec": task},
    }});
    let mut pipeline = shared_volume_pipeline(build, json!([]));
    // What one node wrote, the other reads, over the network.
    let mut check = script(
        &env("ARCHFAN_IMAGE_SHELL"),
        &["seen"],
        "cd $(workspaces.source.path); cat x86_64 aarch64 | tr '\\n' ' ' > $(results.seen.path)",
    );
    check["workspaces"] = json!([{"name": "source"}]);
    pipeline["spec"]["pipelineSpec"]["tasks"].as_array_mut().expect("tasks").push(json!({
        "name": "check", "runAfter": ["build"], "taskSpec": check,
        "workspaces": [{"name": "source", "workspace": "shared"}],
    }));
    namespace.create(&pipeline).await;
    let run = namespace.pipeline_run_ended("shared", Duration::from_mins(4)).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    let check = namespace.cluster.get(&namespace.child_path("shared-check")).await.expect("the check");
    assert_eq!(check["status"]["results"][0]["value"], "x86_64 aarch64 ");
    namespace.done().await;
}

#[tokio::test]
async fn a_run_by_reference_takes_the_definition_of_its_start() {
    let namespace = Namespace::new("reference").await;
    let task =
        script(&env("ARCHFAN_IMAGE_SHELL"), &["said"], "echo \"$(params.word)\" > $(results.said.path)");
    let mut task_object =
        json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "say"}, "spec": task});
    task_object["spec"]["params"] = json!([{"name": "word"}]);
    namespace.create(&task_object).await;
    let definition = json!({
        "apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "metadata": {"name": "say"},
        "spec": {
            "params": [{"name": "word", "default": "hello"}],
            "platforms": ["linux/amd64", {"platform": "linux/s390x", "runsOn": "linux/amd64"}],
            "taskRef": {"name": "say"},
            "taskRunSpecs": [{"params": [{"name": "word", "value": "$(params.word) $(platform.key)"}]}],
            "strategy": {"maxParallel": 1},
        },
    });
    namespace.create(&definition).await;
    let run = json!({
        "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": "say"},
        "spec": {"serviceAccountName": "builder", "customRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "say"}},
    });
    namespace.create(&run).await;
    namespace.children_until("say", 1).await;
    // An edit under way, and even the end of the definition, change nothing.
    let path = format!("{}/say", archfan_e2e::objects::builds(&namespace.name));
    namespace
        .cluster
        .patch(&path, &json!({"spec": {"platforms": ["linux/amd64"], "taskRef": {"name": "gone"}}}))
        .await;
    namespace.cluster.delete(&path).await;
    let run = namespace.ended("say").await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    assert_eq!(result(&run, "said").as_deref(), Some(r#"["hello linux-amd64","hello linux-s390x"]"#));
    assert_eq!(result(&run, "linux-s390x-said").as_deref(), Some("hello linux-s390x"));
    namespace.done().await;
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_handled() {
    let namespace = Namespace::new("taken").await;
    let shell = env("ARCHFAN_IMAGE_SHELL");
    let taken = json!({
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "taken-linux-amd64"},
        "spec": {"serviceAccountName": "builder", "taskSpec": script(&shell, &[], "true")},
    });
    let taken = namespace.create(&taken).await;
    let build = json!({"platforms": ["linux/amd64"], "taskSpec": script(&shell, &[], "true")});
    namespace.create(&embedded("taken", &build)).await;
    let run = namespace.ended("taken").await;
    let (_, reason, message) = succeeded(&run);
    assert_eq!(reason, "NameTaken", "{message}");
    assert!(message.contains("there is another TaskRun taken-linux-amd64"), "{message}");
    let after =
        namespace.cluster.get(&format!("{}/taken-linux-amd64", tekton(&namespace.name, "taskruns"))).await;
    let after = after.expect("it is still there");
    assert_eq!(after["metadata"]["uid"], taken["metadata"]["uid"]);
    assert_eq!(after["spec"].get("status"), None, "it is left alone");
    namespace.done().await;
}
