//! A namespace of a test's own, with the registry's login in it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster, Refusal};
use crate::objects::{self, core, custom_runs, name, succeeded, tekton};
use crate::wait::until;

/// How long a run may take that does next to nothing, on a machine that does other things besides.
pub const SOON: Duration = Duration::from_mins(2);

/// A namespace. It is deleted when the test ends well; after a failure it stays, to be looked at.
pub struct Namespace {
    /// The cluster it is in.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes a namespace for the test of this name.
    pub async fn new(test: &str) -> Self {
        let cluster = Cluster::connect().await;
        let name = format!("e2e-{test}-{}", std::process::id());
        cluster::run("e2e/cluster/namespace", &[&name]).await;
        Self { cluster, name }
    }

    /// Takes the namespace away, without waiting for it to be gone.
    pub async fn done(self) {
        self.cluster.delete(&format!("/api/v1/namespaces/{}", self.name)).await;
    }

    /// Creates an object of any kind that tests use, in this namespace.
    pub async fn create(&self, body: &Value) -> Value {
        self.try_create(body).await.unwrap_or_else(|refusal| panic!("{refusal:?}\n{body:#}"))
    }

    /// Creates an object of any kind that tests use, in this namespace.
    ///
    /// # Errors
    /// What the API server said instead.
    pub async fn try_create(&self, body: &Value) -> Result<Value, Refusal> {
        self.cluster.try_create(&self.path_of_kind(body["kind"].as_str().unwrap_or_default()), body).await
    }

    fn path_of_kind(&self, kind: &str) -> String {
        match kind {
            "CustomRun" => custom_runs(&self.name),
            "MultiArchBuild" => objects::builds(&self.name),
            "Task" | "TaskRun" | "Pipeline" | "PipelineRun" => {
                tekton(&self.name, &format!("{}s", kind.to_lowercase()))
            }
            "ResourceQuota" | "PersistentVolumeClaim" | "ConfigMap" | "Secret" | "ServiceAccount" | "Pod" => {
                core(&self.name, &format!("{}s", kind.to_lowercase()))
            }
            other => panic!("no path is known for {other:?}"),
        }
    }

    /// Path of one CustomRun.
    pub fn run_path(&self, run: &str) -> String {
        format!("{}/{run}", custom_runs(&self.name))
    }

    /// Path of one TaskRun.
    pub fn child_path(&self, task_run: &str) -> String {
        format!("{}/{task_run}", tekton(&self.name, "taskruns"))
    }

    /// Reads a CustomRun. One that Tekton is about to make is waited for.
    pub async fn run(&self, run: &str) -> Value {
        let path = self.run_path(run);
        until(&format!("a CustomRun {run}"), Duration::from_secs(20), || async {
            self.cluster.get(&path).await.ok_or("there is none")
        })
        .await
    }

    /// Waits until a CustomRun is as wanted.
    pub async fn run_until(&self, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{run}: {what}"), SOON, || async {
            let run = self.run(run).await;
            if wanted(&run) { Ok(run) } else { Err(run["status"].clone()) }
        })
        .await
    }

    /// Waits until a TaskRun is as it is wanted.
    pub async fn child_until(&self, task_run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{task_run}: {what}"), SOON, || async {
            let task_run = self.cluster.get(&self.child_path(task_run)).await.unwrap_or_default();
            if wanted(&task_run) { Ok(task_run) } else { Err(task_run["status"].clone()) }
        })
        .await
    }

    /// Waits until a CustomRun has ended, within `limit`.
    pub async fn ended_within(&self, run: &str, limit: Duration) -> Value {
        until(&format!("{run} to end"), limit, || async {
            let run = self.run(run).await;
            let over = matches!(succeeded(&run).0.as_str(), "True" | "False");
            if over { Ok(run) } else { Err(run["status"].clone()) }
        })
        .await
    }

    /// Waits until a CustomRun has ended.
    pub async fn ended(&self, run: &str) -> Value {
        self.ended_within(run, SOON).await
    }

    /// Waits until a PipelineRun has ended, within `limit`.
    pub async fn pipeline_run_ended(&self, run: &str, limit: Duration) -> Value {
        let path = format!("{}/{run}", tekton(&self.name, "pipelineruns"));
        until(&format!("the PipelineRun {run} to end"), limit, || async {
            let run = self.cluster.get(&path).await.unwrap_or_default();
            let over = matches!(succeeded(&run).0.as_str(), "True" | "False");
            if over { Ok(run) } else { Err(run["status"].clone()) }
        })
        .await
    }

    /// Waits until a CustomRun says of a platform what it waits for, and gives back its message.
    pub async fn waits(&self, run: &str, platform: &str, reason: &str) -> String {
        let what = format!("{platform} to wait for {reason}");
        let run =
            self.run_until(run, &what, |run| objects::platform(run, platform)["reason"] == reason).await;
        objects::platform(&run, platform)["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The TaskRuns that belong to a CustomRun, by its label, in order of their names.
    pub async fn children(&self, run: &str) -> Vec<Value> {
        let path = format!("{}?labelSelector=tekton.dev/customRun={run}", tekton(&self.name, "taskruns"));
        let mut children = self.cluster.list(&path).await;
        children.sort_by_key(name);
        children
    }

    /// Waits until a CustomRun has this many children.
    pub async fn children_until(&self, run: &str, count: usize) -> Vec<Value> {
        until(&format!("{run} to have {count} TaskRuns"), SOON, || async {
            let children = self.children(run).await;
            if children.len() == count { Ok(children) } else { Err(self.run(run).await["status"].clone()) }
        })
        .await
    }

    /// The pod of a TaskRun.
    pub async fn pod_of(&self, task_run: &str) -> Value {
        let path = format!("{}?labelSelector=tekton.dev/taskRun={task_run}", core(&self.name, "pods"));
        self.cluster
            .list(&path)
            .await
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("there is no pod of the TaskRun {task_run}"))
    }

    /// Runs an image as a pod on nodes of an architecture, waits for its end, and gives back what it printed.
    pub async fn run_image(&self, name: &str, image: &str, arch: &str) -> String {
        self.run_image_with(name, image, arch, &[]).await
    }

    /// As [`Self::run_image`], with arguments for the image's entrypoint.
    pub async fn run_image_with(&self, name: &str, image: &str, arch: &str, args: &[&str]) -> String {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never", "serviceAccountName": "builder",
                "nodeSelector": {"kubernetes.io/arch": arch},
                "containers": [{"name": "main", "image": image, "args": args}],
            },
        });
        self.create(&pod).await;
        self.output_of(name).await
    }

    /// Waits for the end of a pod and gives back what it printed.
    pub async fn output_of(&self, name: &str) -> String {
        let path = format!("{}/{name}", core(&self.name, "pods"));
        until(&format!("the pod {name} to end"), SOON, || async {
            let pod = self.cluster.get(&path).await.unwrap_or_default();
            match pod["status"]["phase"].as_str() {
                Some("Succeeded" | "Failed") => Ok(()),
                _ => Err(pod["status"].clone()),
            }
        })
        .await;
        self.cluster.text(&format!("{path}/log")).await
    }

    /// Events about an object: type, reason and message, oldest first.
    pub async fn events_of(&self, object: &str) -> Vec<(String, String, String)> {
        let path = format!("{}?fieldSelector=involvedObject.name={object}", core(&self.name, "events"));
        let mut events = self.cluster.list(&path).await;
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        events.sort_by_key(|event| text(event, "eventTime") + &text(&event["metadata"], "creationTimestamp"));
        events
            .iter()
            .map(|event| (text(event, "type"), text(event, "reason"), text(event, "message")))
            .collect()
    }

    /// Waits for one of our events about an object: when it was recorded first, by our clock.
    pub async fn event_time(&self, object: &str, reason: &str) -> Timestamp {
        let path = format!(
            "{}?fieldSelector=involvedObject.name={object},reason={reason}",
            core(&self.name, "events")
        );
        until(&format!("an event {reason} about {object}"), Duration::from_secs(20), || async {
            let events = self.cluster.list(&path).await;
            events.iter().map(|event| objects::time(&event["eventTime"])).min().ok_or("there is none")
        })
        .await
    }

    /// Waits for an event about an object.
    pub async fn event(&self, object: &str, type_: &str, reason: &str) -> String {
        until(&format!("a {type_} event {reason} about {object}"), Duration::from_secs(20), || async {
            let events = self.events_of(object).await;
            let found = events.iter().find(|(t, r, _)| t == type_ && r == reason);
            found.map(|(_, _, message)| message.clone()).ok_or(events)
        })
        .await
    }

    /// A node that nobody stands behind: the scheduler takes it for one.
    pub async fn pretend_node(&self, name: &str, arch: &str, taints: Value) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": arch}},
            "spec": {"taints": taints},
        });
        self.cluster.create("/api/v1/nodes", &node).await;
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "Pretended", "lastHeartbeatTime": null, "lastTransitionTime": null}],
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
        }});
        self.cluster.patch(&format!("/api/v1/nodes/{name}/status"), &status).await;
        // The node controller taints a node that has no lease; the scheduler must see it as it is meant.
        let wanted = taints;
        until(&format!("the node {name} to be open for pods"), Duration::from_secs(30), || async {
            let node = self.cluster.get(&format!("/api/v1/nodes/{name}")).await.unwrap_or_default();
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            if taints.len() == wanted.as_array().map_or(0, Vec::len) {
                return Ok(());
            }
            self.cluster.patch(&format!("/api/v1/nodes/{name}"), &json!({"spec": {"taints": wanted}})).await;
            Err(taints)
        })
        .await;
    }

    /// Asks a CustomRun to end, as Tekton does.
    pub async fn cancel(&self, run: &str, message: Option<&str>) {
        let patch = json!({"spec": {"status": "RunCancelled", "statusMessage": message}});
        self.cluster.patch(&self.run_path(run), &patch).await;
    }
}
