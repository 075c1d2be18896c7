//! Tekton Chains, the real one, signs what a pipeline with one custom task has built: the PipelineRun, the index, every platform's
//! image.

use std::collections::BTreeSet;
use std::time::Duration;

use archfan_e2e::cluster::{env, is_our_own, run};
use archfan_e2e::objects::{name, result, script, succeeded, tekton};
use archfan_e2e::wait::until;
use archfan_e2e::{Namespace, examples, registry};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

/// Chains looks at a run when it has ended, and again when its index child has been signed.
const SIGNED: Duration = Duration::from_mins(2);

/// A pipeline whose one custom task "builds" images that are there already, which is all that Chains needs to sign them.
fn pipeline_run(image: &str, built: &Value) -> Value {
    let mut task = script(
        &env("ARCHFAN_IMAGE_SHELL"),
        &["IMAGE_URL", "IMAGE_DIGEST"],
        "printf %s $(params.url) > $(results.IMAGE_URL.path); printf %s $(params.digest) > $(results.IMAGE_DIGEST.path)",
    );
    task["params"] = json!([{"name": "url"}, {"name": "digest"}]);
    let of = |arch: &str| json!({"platform": format!("linux/{arch}"), "params": [{"name": "url", "value": image}, {"name": "digest", "value": built[arch]}]});
    let spec = json!({
        "platforms": ["linux/amd64", "linux/arm64"],
        "taskRunSpecs": [of("amd64"), of("arm64")],
        "workspaces": [{"name": "ca"}],
        "taskSpec": task,
        "index": {"image": image, "workspaces": [{"name": "ca"}]},
    });
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "app"},
        "spec": {
            "taskRunTemplate": {"serviceAccountName": "builder"},
            "workspaces": [{"name": "ca", "configMap": {"name": "registry-ca"}}],
            "pipelineSpec": {
                "workspaces": [{"name": "ca"}],
                "results": [
                    {"name": "IMAGE_URL", "value": "$(tasks.build.results.IMAGE_URL)"},
                    {"name": "IMAGE_DIGEST", "value": "$(tasks.build.results.IMAGE_DIGEST)"},
                ],
                "tasks": [{
                    "name": "build",
                    "taskSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": spec},
                    "workspaces": [{"name": "ca", "workspace": "ca"}],
                }],
            },
        },
    })
}

/// An annotation of Chains on a run.
fn annotation(run: &Value, what: &str) -> String {
    run["metadata"]["annotations"][format!("chains.tekton.dev/{what}")]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Waits until Chains has signed a run, and gives it back.
async fn signed(namespace: &Namespace, plural: &str, run: &str) -> Value {
    let path = format!("{}/{run}", tekton(&namespace.name, plural));
    until(&format!("Chains to sign {run}"), SIGNED, || async {
        let run = namespace.cluster.get(&path).await.unwrap_or_default();
        if annotation(&run, "signed") == "true" {
            Ok(run)
        } else {
            Err(run["metadata"]["annotations"].clone())
        }
    })
    .await
}

/// The subjects of the attestation that Chains has left on a run, as `repository@digest`, once its signature has been verified.
async fn subjects(run: &Value, kind: &str, public_key: &str) -> BTreeSet<String> {
    let uid = run["metadata"]["uid"].as_str().expect("a uid");
    let envelope = decode(&annotation(run, &format!("signature-{kind}-{uid}")));
    let envelope: Value = serde_json::from_slice(&envelope).expect("a DSSE envelope");
    let payload = decode(envelope["payload"].as_str().expect("a payload"));
    let type_ = envelope["payloadType"].as_str().expect("a type");
    // What a DSSE signature is over (its protocol, "PAE").
    let mut signed = format!("DSSEv1 {} {type_} {} ", type_.len(), payload.len()).into_bytes();
    signed.extend(&payload);
    let signature = decode(envelope["signatures"][0]["sig"].as_str().expect("a signature"));
    verify(public_key, &signed, &signature).await;
    let statement: Value = serde_json::from_slice(&payload).expect("an in-toto statement");
    let subjects = statement["subject"].as_array().cloned().unwrap_or_default();
    subjects
        .iter()
        .map(|subject| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{}@sha256:{}", text(&subject["name"]), text(&subject["digest"]["sha256"]))
        })
        .collect()
}

/// Panics unless `signature` is the key's over `message`.
async fn verify(public_key: &str, message: &[u8], signature: &[u8]) {
    let folder = std::env::temp_dir().join(format!("chains-{}-{}", std::process::id(), message.len()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (message_file, signature_file) = (folder.join("message"), folder.join("signature"));
    std::fs::write(&message_file, message).expect("a file");
    std::fs::write(&signature_file, signature).expect("a file");
    let output = tokio::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-verify", public_key, "-signature"])
        .args([&signature_file, &message_file])
        .output()
        .await
        .expect("openssl can be started");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_else(|error| panic!("not base64: {error}: {text:?}"))
}

#[tokio::test]
async fn the_pipeline_run_the_index_and_every_image_are_signed() {
    if !is_our_own() {
        return;
    }
    let namespace = Namespace::new("chains").await;
    let public_key = run("e2e/chains/install", &[&namespace.name]).await.trim().to_owned();
    let image = examples::image(&namespace, "app");
    let mut built = json!({});
    for arch in ["amd64", "arm64"] {
        let to = format!("{image}:{arch}");
        registry::crane(&["copy", "--platform", &format!("linux/{arch}"), &env("ARCHFAN_IMAGE_STATIC"), &to])
            .await;
        built[arch] = registry::digest(&to).await.into();
    }
    namespace.create(&pipeline_run(&image, &built)).await;
    let ended = namespace.pipeline_run_ended("app", Duration::from_mins(3)).await;
    assert_eq!(
        succeeded(&ended).0,
        "True",
        "{:#}\n{:#}",
        ended["status"],
        namespace.run("app-build").await["status"]
    );

    let run_of = namespace.run("app-build").await;
    let digest = result(&run_of, "IMAGE_DIGEST").expect("a digest");
    let own = |arch: &str| format!("{image}@{}", built[arch].as_str().expect("a digest"));
    let all: BTreeSet<String> = [format!("{image}@{digest}"), own("amd64"), own("arm64")].into();

    // The PipelineRun, although nothing in it is a TaskRun: Chains finds the one that has the CustomRun's name.
    let of_pipeline = signed(&namespace, "pipelineruns", "app").await;
    assert_eq!(subjects(&of_pipeline, "pipelinerun", &public_key).await, all);
    // Every child, for itself.
    let children = namespace.children("app-build").await;
    let names: Vec<String> = children.iter().map(name).collect();
    assert_eq!(names, ["app-build", "app-build-linux-amd64", "app-build-linux-arm64"]);
    for (child, expected) in [
        ("app-build", all),
        ("app-build-linux-amd64", [own("amd64")].into()),
        ("app-build-linux-arm64", [own("arm64")].into()),
    ] {
        let child = signed(&namespace, "taskruns", child).await;
        assert_eq!(subjects(&child, "taskrun", &public_key).await, expected, "{}", name(&child));
    }

    // Chains has put a finalizer on them: they go while it is there.
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    namespace.cluster.delete(&path).await;
    until("the namespace to go", Duration::from_mins(2), || async {
        namespace.cluster.get(&path).await.map_or(Ok(()), |there| Err(there["status"].clone()))
    })
    .await;
    run("e2e/chains/install", &["--remove"]).await;
}
