//! The test cluster's registry, read as users read theirs: with crane and skopeo.

use serde_json::Value;
use tokio::process::Command;

use crate::cluster::env;

/// The manifest that a reference names.
pub async fn manifest(reference: &str) -> Value {
    json(&["manifest", reference]).await
}

/// The digest that a reference names.
pub async fn digest(reference: &str) -> String {
    crane(&["digest", reference]).await.trim().to_owned()
}

/// Whether the registry has what a reference names.
pub async fn has(reference: &str) -> bool {
    let output = call(&["digest", reference]).await;
    let error = String::from_utf8_lossy(&output.stderr);
    let unknown = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404"].iter().any(|code| error.contains(code));
    assert!(output.status.success() || unknown, "crane digest {reference} failed: {error}");
    output.status.success()
}

/// The config of an image.
pub async fn config(reference: &str) -> Value {
    json(&["config", reference]).await
}

async fn json(args: &[&str]) -> Value {
    let text = crane(args).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("crane {args:?}: {error}\n{text}"))
}

/// Calls crane with the cluster's login and CA.
pub async fn crane(args: &[&str]) -> String {
    let output = call(args).await;
    assert!(output.status.success(), "crane {args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn call(args: &[&str]) -> std::process::Output {
    Command::new("crane")
        .args(args)
        .env("DOCKER_CONFIG", env("ARCHFAN_DOCKER_CONFIG"))
        .env("SSL_CERT_FILE", env("ARCHFAN_REGISTRY_CA"))
        .output()
        .await
        .expect("crane is on the PATH")
}
