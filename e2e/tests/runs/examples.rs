//! The examples: each is run as its README says, on both nodes, its index is read back, and its image run on both.

use std::time::Duration;

use archfan_e2e::cluster::env;
use archfan_e2e::objects::{core, name, result, succeeded, tekton};
use archfan_e2e::wait::until;
use archfan_e2e::{Namespace, examples, registry};
use serde_json::{Value, json};

/// How long one example may take while others keep two cores and the emulator busy.
const LONG: Duration = Duration::from_mins(12);
/// What most of them build for.
const BOTH: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Runs an example's PipelineRun to its end, under the name of the example, and gives back that and the CustomRun of its task `build`.
async fn run_pipeline(
    namespace: &Namespace,
    example: &str,
    mut run: Value,
    limit: Duration,
) -> (Value, Value) {
    assert!(run["spec"].get("taskRunSpecs").is_none(), "an example must need none");
    run["metadata"] = json!({"name": example});
    namespace.create(&run).await;
    let run = namespace.pipeline_run_ended(example, limit).await;
    let custom_run = namespace.run(&format!("{example}-build")).await;
    (run, custom_run)
}

/// As [`run_pipeline`], of a run that succeeds and whose index is as it should be.
async fn build(
    namespace: &Namespace,
    example: &str,
    run: Value,
    image: &str,
    platforms: &[&str],
) -> (Value, Value) {
    build_within(namespace, example, run, image, platforms, LONG).await
}

/// As [`build`], of a run that ends within `limit`.
async fn build_within(
    namespace: &Namespace,
    example: &str,
    run: Value,
    image: &str,
    platforms: &[&str],
    limit: Duration,
) -> (Value, Value) {
    let (run, custom_run) = run_pipeline(namespace, example, run, limit).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}\n{:#}", run["status"], custom_run["status"]);
    examples::check_build(&custom_run, image, platforms).await;
    let digest = result(&custom_run, "IMAGE_DIGEST").expect("IMAGE_DIGEST");
    examples::record(example, &run, image, platforms, &digest);
    (run, custom_run)
}

#[tokio::test]
async fn one_liner() {
    let namespace = Namespace::new("one-liner").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/one-liner").await;
    let run = examples::prepare(
        &namespace,
        "examples/one-liner",
        &[
            ("image", image.clone().into()),
            ("context", format!("{git}#main").into()),
            ("base-image", env("ARCHFAN_IMAGE_SHELL").into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
    )
    .await;
    build(&namespace, "one-liner", run, &image, &["linux/arm64", "linux/amd64"]).await;
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("x86_64\n".to_owned(), "aarch64\n".to_owned()));

    // The index as `docker buildx imagetools inspect` would show it.
    let controllers = namespace.cluster.list("/apis/apps/v1/namespaces/archfan/deployments").await;
    let archfan = controllers[0]["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let inspect = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inspect"},
        "spec": {
            "restartPolicy": "Never", "serviceAccountName": "builder",
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "containers": [{
                "name": "main", "image": archfan, "command": ["/archfan"],
                "args": ["index", "inspect", "--authfile=/login", "--ca=/ca", image],
                "volumeMounts": [{"name": "login", "mountPath": "/login"}, {"name": "ca", "mountPath": "/ca"}],
            }],
            "volumes": [
                {"name": "login", "secret": {"secretName": "registry-login"}},
                {"name": "ca", "configMap": {"name": "registry-ca"}},
            ],
        },
    });
    namespace.create(&inspect).await;
    let shown = namespace.output_of("inspect").await;
    let digest = registry::digest(&image).await;
    let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text} in:\n{shown}"));
    assert!(place(&digest) < place("linux/arm64") && place("linux/arm64") < place("linux/amd64"), "{shown}");
    namespace.done().await;
}

/// The archives example, changed as a test wants it.
async fn archives(namespace: &Namespace, image: &str, change: impl Fn(&mut Value)) -> Value {
    let git = examples::publish(namespace, "examples/archives").await;
    examples::prepare_with(
        namespace,
        "examples/archives",
        &[
            ("git-url", git.into()),
            ("image", image.into()),
            ("base-image", env("ARCHFAN_IMAGE_SHELL").into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
        change,
    )
    .await
}

#[tokio::test]
async fn archives_on_shared_storage() {
    let namespace = Namespace::new("archives").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let run = archives(&namespace, &image, |_| ()).await;
    build(&namespace, "archives", run, &image, &BOTH).await;
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(
        ran,
        ("Built from archives.\nx86_64\n".to_owned(), "Built from archives.\naarch64\n".to_owned())
    );
    namespace.done().await;
}

#[tokio::test]
async fn archives_are_not_pushed_unless_all_have_built() {
    let namespace = Namespace::new("archives-half").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    // On arm64 there is nothing to build from. The other platform has finished by then, or is let finish.
    let run = archives(&namespace, &image, |document| {
        if document["kind"] == "MultiArchBuild" {
            document["spec"]["strategy"] = json!({"failFast": false});
            document["spec"]["taskRunSpecs"] = json!([{
                "platform": "linux/arm64", "params": [{"name": "CONTAINERFILE", "value": "nothing"}],
            }]);
        }
    })
    .await;
    let (run, custom_run) = run_pipeline(&namespace, "archives", run, LONG).await;
    assert_eq!(succeeded(&run).0, "False");
    let message = succeeded(&custom_run).2;
    assert!(message.contains("linux/amd64 succeeded") && message.contains("linux/arm64 failed"), "{message}");
    assert!(!registry::has(&image).await, "{image} is there, though only one platform was built");
    namespace.done().await;
}

#[tokio::test]
async fn argo_loop() {
    let namespace = Namespace::new("argo-loop").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    // What a device plugin would say of the nodes.
    for node in ["ARCHFAN_NODE_AMD64", "ARCHFAN_NODE_ARM64"] {
        let devices = json!({"github.com/fuse": "8"});
        let status = json!({"status": {"capacity": devices, "allocatable": devices}});
        namespace.cluster.patch(&format!("/api/v1/nodes/{}/status", env(node)), &status).await;
    }
    let git = examples::publish(&namespace, "examples/argo-loop").await;
    let mut run = examples::prepare(
        &namespace,
        "examples/argo-loop",
        &[
            ("IMAGE", image.clone().into()),
            ("CONTEXT", format!("{git}#main").into()),
            ("BUILD_ARGS", json!([format!("BASE={}", env("ARCHFAN_IMAGE_SHELL"))])),
            ("BUILDER_IMAGE", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
    )
    .await;
    run["metadata"] = json!({"name": "loop"});
    namespace.create(&run).await;
    let run = namespace.ended_within("loop", LONG).await;
    assert_eq!(succeeded(&run).0, "True", "{:#}", run["status"]);
    examples::check_build(&run, &image, &BOTH).await;
    let digest = result(&run, "IMAGE_DIGEST").expect("IMAGE_DIGEST");
    examples::record("argo-loop", &run, &image, &BOTH, &digest);

    // What the loop gave each pod.
    for arch in ["amd64", "arm64"] {
        let pod = namespace.pod_of(&format!("loop-linux-{arch}")).await;
        assert_eq!(pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false");
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        assert_eq!(containers[0]["resources"]["limits"]["github.com/fuse"], "1", "{containers:#?}");
        let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
        assert!(volumes.iter().any(|volume| volume["emptyDir"]["medium"] == "Memory"), "{volumes:#?}");
        let tag = format!("{image}-{arch}");
        assert_eq!(registry::config(&tag).await["architecture"], arch, "{tag}");
    }
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("x86_64\n".to_owned(), "aarch64\n".to_owned()));

    // A minute after the end all that ran is gone. What it made, and the run that says so, stay.
    let path = core(&namespace.name, "pods") + "?labelSelector=tekton.dev/customRun=loop";
    until("the TaskRuns and pods to be gone", Duration::from_secs(100), || async {
        let mut left = namespace.cluster.list(&tekton(&namespace.name, "taskruns")).await;
        left.extend(namespace.cluster.list(&path).await);
        if left.is_empty() { Ok(()) } else { Err(left.iter().map(name).collect::<Vec<_>>()) }
    })
    .await;
    assert_eq!(result(&namespace.run("loop").await, "IMAGE_DIGEST"), Some(digest.clone()));
    assert_eq!(registry::digest(&image).await, digest);
    namespace.done().await;
}

#[tokio::test]
async fn nodejs() {
    let namespace = Namespace::new("nodejs").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/nodejs").await;
    let caches = examples::caches().await;
    let run = examples::prepare(
        &namespace,
        "examples/nodejs",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("base-image", env("ARCHFAN_IMAGE_NODE_BASE").into()),
            ("node-image", env("ARCHFAN_IMAGE_NODE").into()),
            ("npm-registry", caches["ARCHFAN_NPM_URL"].clone().into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
    )
    .await;
    let (_, custom_run) = build(&namespace, "nodejs", run, &image, &BOTH).await;
    // Three tasks on each platform, and the index.
    assert_eq!(namespace.children(&name(&custom_run)).await.len(), 2 * 3 + 1);
    let (on_amd64, on_arm64) = examples::run_on_both(&namespace, &image).await;
    assert!(on_amd64.starts_with("x64 true /app/node_modules/@node-rs/bcrypt-linux-x64-"), "{on_amd64}");
    assert!(on_arm64.starts_with("arm64 true /app/node_modules/@node-rs/bcrypt-linux-arm64-"), "{on_arm64}");
    namespace.done().await;
}

#[tokio::test]
async fn quarkus() {
    let namespace = Namespace::new("quarkus").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/quarkus").await;
    let caches = examples::caches().await;
    let mut run = examples::prepare(
        &namespace,
        "examples/quarkus",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("base-image", env("ARCHFAN_IMAGE_JRE").into()),
            ("maven-image", env("ARCHFAN_IMAGE_MAVEN").into()),
            ("maven-mirror", caches["ARCHFAN_MAVEN_URL"].clone().into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
    )
    .await;
    // Maven may run anywhere, but one node of the test cluster is emulated, and a compiler slow there. What is said of the whole
    // pipeline does not keep a platform from its nodes.
    run["spec"]["taskRunTemplate"]["podTemplate"] = json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}});
    build(&namespace, "quarkus", run, &image, &BOTH).await;
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("quarkus on amd64\n".to_owned(), "quarkus on aarch64\n".to_owned()));
    namespace.done().await;
}

/// The same application by Jib, which makes both images on one node, of what was packaged once.
#[tokio::test]
async fn quarkus_by_jib() {
    let namespace = Namespace::new("quarkus-jib").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/quarkus").await;
    let caches = examples::caches().await;
    let mut run = examples::prepare(
        &namespace,
        "examples/quarkus/jib",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("base-image", env("ARCHFAN_IMAGE_JRE").into()),
            ("maven-image", env("ARCHFAN_IMAGE_MAVEN").into()),
            ("maven-mirror", caches["ARCHFAN_MAVEN_URL"].clone().into()),
            ("git-image", env("ARCHFAN_IMAGE_BUILDER").into()),
        ],
    )
    .await;
    run["spec"]["taskRunTemplate"]["podTemplate"] = json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}});
    build(&namespace, "quarkus-jib", run, &image, &BOTH).await;
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("quarkus on amd64\n".to_owned(), "quarkus on aarch64\n".to_owned()));
    namespace.done().await;
}

#[tokio::test]
async fn ko() {
    let namespace = Namespace::new("ko").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/ko").await;
    let run = examples::prepare(
        &namespace,
        "examples/ko",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("base-image", env("ARCHFAN_IMAGE_STATIC").into()),
            ("git-image", env("ARCHFAN_IMAGE_BUILDER").into()),
            ("ko-image", env("ARCHFAN_IMAGE_KO").into()),
        ],
    )
    .await;
    build(&namespace, "ko", run, &image, &BOTH).await;
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("go on amd64\n".to_owned(), "go on arm64\n".to_owned()));
    namespace.done().await;
}

/// archfan's own image, by archfan. It compiles for minutes: `make self`.
#[tokio::test]
#[ignore = "make self"]
async fn archfan_by_archfan() {
    let namespace = Namespace::new("self").await;
    let image = format!("{}:self", examples::image(&namespace, "archfan"));
    let git = examples::publish(&namespace, ".").await;
    let caches = examples::caches().await;
    let run = examples::prepare(
        &namespace,
        "examples/archfan",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("git-image", env("ARCHFAN_IMAGE_BUILDER").into()),
            ("rust-image", env("ARCHFAN_IMAGE_RUST").into()),
            ("crates", caches["ARCHFAN_CRATES_URL"].clone().into()),
            ("builder-image", env("ARCHFAN_IMAGE_BUILDER").into()),
            // The quicker of two ways to optimise: what is shown is the same.
            (
                "cargo-args",
                json!(["--config=profile.release.lto=\"off\"", "--config=profile.release.codegen-units=16"]),
            ),
        ],
    )
    .await;
    let (_, custom_run) =
        build_within(&namespace, "archfan", run, &image, &BOTH, Duration::from_mins(45)).await;
    // Cloned, compiled and put into an image for each platform, and the index.
    assert_eq!(namespace.children(&name(&custom_run)).await.len(), 2 * 3 + 1);
    for arch in ["amd64", "arm64"] {
        let said = namespace.run_image_with(&format!("version-{arch}"), &image, arch, &["--version"]).await;
        assert!(said.starts_with("archfan 0."), "on {arch}: {said}");
    }
    for digest in registry::manifest(&image).await["manifests"].as_array().expect("manifests") {
        let child = format!(
            "{}@{}",
            image.rsplit_once(':').expect("a tag").0,
            digest["digest"].as_str().expect("a digest")
        );
        let config = registry::config(&child).await;
        assert_eq!(config["config"]["User"], "65532:65532", "{config:#}");
        assert_eq!(config["config"]["Entrypoint"], json!(["/archfan"]), "{config:#}");
    }
    namespace.done().await;
}

#[tokio::test]
async fn kaniko() {
    let namespace = Namespace::new("kaniko").await;
    let image = format!("{}:v1", examples::image(&namespace, "app"));
    let git = examples::publish(&namespace, "examples/kaniko").await;
    let args =
        json!([format!("--build-arg=BASE={}", env("ARCHFAN_IMAGE_SHELL")), "--build-arg=GREETING=good day",]);
    let run = examples::prepare(
        &namespace,
        "examples/kaniko",
        &[
            ("git-url", git.into()),
            ("image", image.clone().into()),
            ("args", args),
            ("git-image", env("ARCHFAN_IMAGE_BUILDER").into()),
            ("executor-image", env("ARCHFAN_IMAGE_KANIKO").into()),
        ],
    )
    .await;
    let (_, custom_run) = build(&namespace, "kaniko", run, &image, &BOTH).await;
    for arch in ["amd64", "arm64"] {
        let pod = namespace.pod_of(&format!("{}-linux-{arch}", name(&custom_run))).await;
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        assert!(containers.iter().all(|container| container["securityContext"]["privileged"] != true));
    }
    let ran = examples::run_on_both(&namespace, &image).await;
    assert_eq!(ran, ("good day from x86_64\n".to_owned(), "good day from aarch64\n".to_owned()));
    namespace.done().await;
}
