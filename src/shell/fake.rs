//! An API server for tests of what a look at a run does: it keeps what is written, and fails where it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::api::{Api, ApiError, ApiResult, Key};
use crate::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun};
use crate::core::accept::ClaimBody;
use crate::core::children::TaskRunBody;
use crate::core::events::Event;
use crate::core::observed::{Claim, ClaimFacts, Definition, TektonConfig};

/// What a call is met with.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It fails, and nothing has happened.
    Before(ApiError),
    /// It fails, and yet has taken effect.
    After(ApiError),
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<String, CustomRun>,
    children: BTreeMap<String, TaskRun>,
    /// Claims that are not there until somebody makes them. All others are.
    missing_claims: BTreeSet<String>,
    asked: Vec<String>,
    told: Vec<String>,
    faults: Vec<(String, Fault)>,
    versions: u64,
    uids: u64,
}

/// The server.
#[derive(Debug, Default)]
pub(super) struct Server {
    state: Mutex<State>,
}

impl Server {
    pub(super) fn put_run(&self, run: &CustomRun) {
        let mut state = self.state.lock().unwrap();
        state.runs.insert(run.metadata.name.clone().unwrap(), run.clone());
    }

    pub(super) fn remove_run(&self, name: &str) {
        self.state.lock().unwrap().runs.remove(name);
    }

    pub(super) fn run(&self, name: &str) -> CustomRun {
        self.state.lock().unwrap().runs[name].clone()
    }

    pub(super) fn put_child(&self, child: &TaskRun) {
        let mut state = self.state.lock().unwrap();
        state.children.insert(child.metadata.name.clone().unwrap(), child.clone());
    }

    pub(super) fn remove_child(&self, name: &str) {
        self.state.lock().unwrap().children.remove(name);
    }

    pub(super) fn lack_claim(&self, name: &str) {
        self.state.lock().unwrap().missing_claims.insert(name.to_owned());
    }

    pub(super) fn children(&self) -> Vec<TaskRun> {
        self.state.lock().unwrap().children.values().cloned().collect()
    }

    /// The next call that begins with these words meets this fault.
    pub(super) fn fail(&self, call: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((call.to_owned(), fault));
    }

    /// What was asked since this was called last: verbs, each with a name.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// Reasons of the events that were told since this was called last.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().told)
    }

    /// Serves a call. Others have their turn before it is: what they do happens while the call is under way.
    async fn serve<T>(&self, call: String, effect: impl FnOnce(&mut State) -> ApiResult<T>) -> ApiResult<T> {
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        let fault = state.faults.iter().position(|(begin, _)| call.starts_with(begin.as_str()));
        let fault = fault.map(|place| state.faults.remove(place).1);
        state.asked.push(call);
        match fault {
            None => effect(&mut state),
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => {
                effect(&mut state)?;
                Err(error)
            }
        }
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::NotFound(name.to_owned())
}

impl State {
    fn version(&mut self) -> String {
        self.versions += 1;
        (1000 + self.versions).to_string()
    }
}

impl Api for Server {
    async fn create_task_run(&self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        let name = body.metadata.name.clone();
        self.serve(format!("create {name}"), |state| {
            if state.children.contains_key(&name) {
                return Err(ApiError::AlreadyExists(name.clone()));
            }
            let mut child: TaskRun = serde_json::from_value(serde_json::to_value(body).unwrap()).unwrap();
            state.uids += 1;
            child.metadata.uid = Some(format!("made-{}", state.uids));
            child.metadata.resource_version = Some(state.version());
            state.children.insert(name.clone(), child.clone());
            Ok(Arc::new(child))
        })
        .await
    }

    async fn get_task_run(&self, key: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        self.serve(format!("get {}", key.name), |state| {
            Ok(state.children.get(&key.name).cloned().map(Arc::new))
        })
        .await
    }

    async fn cancel_task_run(&self, key: &Key, uid: &str, message: &str) -> ApiResult<Arc<TaskRun>> {
        self.serve(format!("cancel {}", key.name), |state| {
            let version = state.version();
            let child = state.children.get_mut(&key.name).ok_or_else(|| missing(&key.name))?;
            if child.metadata.uid.as_deref() != Some(uid) {
                return Err(ApiError::Invalid("metadata.uid: field is immutable".to_owned()));
            }
            child.metadata.resource_version = Some(version);
            child.spec.status = Some("TaskRunCancelled".to_owned());
            child.spec.status_message = Some(message.to_owned());
            Ok(Arc::new(child.clone()))
        })
        .await
    }

    async fn delete_task_run(&self, key: &Key, uid: &str) -> ApiResult<()> {
        self.serve(format!("delete {}", key.name), |state| {
            let child = state.children.get(&key.name).ok_or_else(|| missing(&key.name))?;
            if child.metadata.uid.as_deref() != Some(uid) {
                return Err(ApiError::Conflict("precondition failed: uid".to_owned()));
            }
            state.children.remove(&key.name);
            Ok(())
        })
        .await
    }

    async fn create_claim(&self, body: &ClaimBody) -> ApiResult<()> {
        let name = &body.metadata.name;
        self.serve(format!("claim {name}"), |state| {
            state.missing_claims.remove(name);
            Ok(())
        })
        .await
    }

    async fn get_claim(&self, key: &Key) -> ApiResult<Claim> {
        let access_modes = vec!["ReadWriteMany".to_owned()];
        let facts = ClaimFacts { access_modes, bound: true, ..ClaimFacts::default() };
        self.serve(format!("get claim {}", key.name), |state| {
            Ok(if state.missing_claims.contains(&key.name) { Claim::NotFound } else { Claim::Found(facts) })
        })
        .await
    }

    async fn get_run(&self, key: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        self.serve(format!("get run {}", key.name), |state| {
            Ok(state.runs.get(&key.name).cloned().map(Arc::new))
        })
        .await
    }

    async fn get_definition(&self, key: &Key) -> ApiResult<Definition> {
        self.serve(format!("get build {}", key.name), |_| Ok(Definition::NotFound)).await
    }

    async fn get_pipeline_run(&self, key: &Key) -> ApiResult<Option<PipelineRun>> {
        self.serve(format!("get PipelineRun {}", key.name), |_| Ok(None)).await
    }

    async fn tekton_config(&self) -> TektonConfig {
        let read = self.serve("get configuration".to_owned(), |_| Ok(TektonConfig::default())).await;
        read.unwrap_or_default()
    }

    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        let name = run.metadata.name.clone().unwrap();
        self.serve(format!("status {name}"), |state| {
            let version = state.version();
            let there = state.runs.get_mut(&name).ok_or_else(|| missing(&name))?;
            if there.metadata.resource_version != run.metadata.resource_version {
                return Err(ApiError::Conflict("the object has been modified".to_owned()));
            }
            there.metadata.resource_version = Some(version);
            there.status = Some((**status).clone());
            Ok(Arc::new(there.clone()))
        })
        .await
    }

    async fn tell(&self, _: &Arc<CustomRun>, event: &Event) {
        self.state.lock().unwrap().told.push(event.reason.clone());
    }
}

/// A run of a build for two platforms, with a run's other fields beside.
pub(super) fn run(name: &str, uid: &str, strategy: &Value) -> CustomRun {
    serde_json::from_value(json!({
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": "10", "generation": 1},
        "spec": {"customSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": {
            "platforms": ["linux/amd64", "linux/arm64"],
            "taskRef": {"name": "build"},
            "strategy": strategy,
        }}},
    }))
    .unwrap()
}

/// A TaskRun of a run.
pub(super) fn child(name: &str, uid: &str, run_uid: &str) -> TaskRun {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": "11",
            "labels": {"archfan.dev/role": "build", "tekton.dev/customRun": "r"},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "name": "r", "uid": run_uid, "controller": true}]},
        "spec": {},
    }))
    .unwrap()
}

/// The same TaskRun, which has come to this.
pub(super) fn ended(mut child: TaskRun, version: u64, status: &str, reason: &str) -> TaskRun {
    child.metadata.resource_version = Some(version.to_string());
    child.status = serde_json::from_value(json!({
        "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "m"}],
        "completionTime": (status != "Unknown").then_some("2026-01-01T10:01:00Z"),
    }))
    .unwrap();
    child
}
