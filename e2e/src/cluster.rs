//! The API server, spoken to in plain JSON: a test should see what is there and not what a type has room for.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use crate::wait::until;

/// The cluster under test.
#[derive(Clone)]
pub struct Cluster {
    /// The client. It retries nothing.
    pub client: Client,
}

/// What the API server said to a request that it did not grant.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Its words.
    pub message: String,
}

impl Cluster {
    /// Connects to the cluster that `KUBECONFIG` names.
    pub async fn connect() -> Self {
        let mut config = kube::Config::infer().await.expect("no cluster: set KUBECONFIG, or call e2e/run");
        config.default_retry = false;
        Self { client: Client::try_from(config).expect("no client") }
    }

    /// Sends a request and gives back the answer.
    ///
    /// # Errors
    /// What the API server said instead.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content_type)
            .body(bytes)
            .expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => {
                Err(Refusal { code: status.code, message: status.message.clone() })
            }
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Waits until the API server, which has just been restarted, answers and is ready.
    pub async fn answers(&self) {
        until("the API server to be ready", Duration::from_mins(1), || async {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            self.client.request_text(request).await
        })
        .await;
    }

    /// Reads an object; `None` if it is not there.
    pub async fn get(&self, path: &str) -> Option<Value> {
        match self.request("GET", path, "application/json", None).await {
            Ok(value) => Some(value),
            Err(refusal) if refusal.code == 404 => None,
            Err(refusal) => panic!("GET {path}: {refusal:?}"),
        }
    }

    /// Reads a text, such as a pod's log.
    pub async fn text(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.client.request_text(request).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Lists objects.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_else(|| panic!("{path} is not there"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The first moment, after an object was created, at which a list was as asked: its version, and the objects as they were then.
    /// Once the list is as asked, it shall stay so: the moment is searched for by halves. What was is asked of etcd, which remembers
    /// minutes of it (kube-apiserver's `--etcd-compaction-interval`); a watch would ask the API server's cache, which forgets everything when a
    /// definition changes.
    pub async fn first(
        &self,
        path: &str,
        created: &Value,
        as_asked: impl Fn(&[Value]) -> bool,
    ) -> (u64, Vec<Value>) {
        let now = self.get(path).await.unwrap_or_else(|| panic!("{path} is not there"));
        let (mut before, mut then) = (version(created), version(&now));
        let mut objects = self.list_at(path, then).await;
        assert!(as_asked(&objects), "{path} is not as asked even now: {objects:#?}");
        while then - before > 1 {
            let middle = before + (then - before) / 2;
            let were = self.list_at(path, middle).await;
            if as_asked(&were) {
                (then, objects) = (middle, were);
            } else {
                before = middle;
            }
        }
        (then, objects)
    }

    /// Lists objects as they were in a version that is minutes old at most.
    pub async fn list_at(&self, path: &str, version: u64) -> Vec<Value> {
        self.list(&format!("{path}?resourceVersion={version}&resourceVersionMatch=Exact")).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// What the API server said instead.
    pub async fn try_create(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.request("POST", path, "application/json", Some(body)).await
    }

    /// Creates an object.
    pub async fn create(&self, path: &str, body: &Value) -> Value {
        let created = self.try_create(path, body).await;
        created.unwrap_or_else(|refusal| panic!("POST {path}: {refusal:?}\n{body:#}"))
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, path: &str, change: &Value) -> Value {
        let patched = self.request("PATCH", path, "application/merge-patch+json", Some(change)).await;
        patched.unwrap_or_else(|refusal| panic!("PATCH {path}: {refusal:?}\n{change:#}"))
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, path: &str) {
        self.delete_with(path, json!({"propagationPolicy": "Background"})).await;
    }

    /// Deletes a pod, if it is there, without giving it time to end.
    pub async fn kill(&self, path: &str) {
        self.delete_with(path, json!({"gracePeriodSeconds": 0})).await;
    }

    async fn delete_with(&self, path: &str, options: Value) {
        match self.request("DELETE", path, "application/json", Some(&options)).await {
            Ok(_) => {}
            Err(refusal) if refusal.code == 404 => {}
            Err(refusal) => panic!("DELETE {path}: {refusal:?}"),
        }
    }
}

/// The version of an object or a list. Whatever is stored is counted by one counter, so versions tell what came first.
fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
    version.unwrap_or_else(|| panic!("no version: {object:#}"))
}

/// A setting of the test cluster, as `e2e/cluster/env` prints it.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; call the tests by e2e/run"))
}

/// Whether the cluster is the one that this checkout has made, whose parts may be stopped and added to; somebody else's may not.
pub fn is_our_own() -> bool {
    let ours = std::env::var_os("ARCHFAN_CLUSTER_STATE").is_some();
    if !ours {
        eprintln!("left out: this is not done to somebody else's cluster");
    }
    ours
}

/// The root of the checkout. As cargo's configuration says it (`.cargo/config.toml`), so that this crate is compiled again for another one: see
/// the end of archfan's `lib.rs`, of which it is not made.
pub fn root() -> PathBuf {
    PathBuf::from(env!("ARCHFAN_CHECKOUT"))
}

/// Runs a program of the checkout and gives back what it printed.
pub async fn run(program: &str, args: &[&str]) -> String {
    let output = tokio::process::Command::new(root().join(program))
        .current_dir(root())
        .args(args)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
