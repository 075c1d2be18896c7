//! [`Api`] on a real API server.
//!
//! The client retries nothing by itself: what failed goes back into the queue, where it waits without holding anything up. Every call
//! is bounded in time, since the client's reads are not, and the calls under way at once are bounded in number, so that a burst of
//! runs opens no flood of connections.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::events::{self, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tracing::{debug, warn};

use super::api::{Api, ApiError, ApiResult, Key};
use super::kube_errors::{classify, timed_out};
use super::pace::Pace;
use super::patch;
use crate::api::multiarchbuild::MultiArchBuild;
use crate::api::names::CUSTOM_RUN_API_VERSION;
use crate::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun};
use crate::core::accept::ClaimBody;
use crate::core::children::TaskRunBody;
use crate::core::cleanup::is_finished;
use crate::core::duration;
use crate::core::events::Event;
use crate::core::observed::{Claim, ClaimFacts, Definition, TektonConfig};
use crate::obs::metrics::Metrics;

/// The name by which the API server knows who wrote a field.
pub const FIELD_MANAGER: &str = "archfan";
/// The longest that a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How many calls may be under way at once.
const CALLS_AT_ONCE: usize = 256;
/// How long Tekton's configuration is believed.
const CONFIG_TTL: Duration = Duration::from_secs(30);
/// The longest message of an event (Kubernetes API reference, Event, `note`: 1 kB).
const LONGEST_NOTE: usize = 1000;

/// The API server.
pub struct KubeApi {
    client: Client,
    recorder: Recorder,
    tekton_namespace: String,
    tekton: Mutex<Option<(Instant, TektonConfig)>>,
    calls: Arc<Semaphore>,
    pace: Pace,
    metrics: Arc<Metrics>,
}

impl KubeApi {
    /// Speaks to the API server through `client`, as the replica `instance`, with Tekton installed in `tekton_namespace`.
    pub fn new(
        client: Client,
        instance: Option<String>,
        tekton_namespace: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter { controller: "archfan.dev/controller".to_owned(), instance };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            tekton_namespace,
            tekton: Mutex::new(None),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
            pace: Pace::default(),
            metrics,
        }
    }

    /// Counts something done to a TaskRun, if it was.
    fn counted<T>(&self, action: &str, done: ApiResult<T>) -> ApiResult<T> {
        if done.is_ok() {
            self.metrics.children.with_label_values(&[action]).inc();
        }
        done
    }

    /// Makes a call, within the bounds of time and number.
    async fn call<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> ApiResult<T> {
        let _permit = self.calls.acquire().await;
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let error = classify(&error);
                debug!(what, class = error.class(), %error, "a call failed");
                Err(error)
            }
            Err(_) => Err(timed_out(what, CALL_TIMEOUT)),
        }
    }

    fn namespaced<K>(&self, namespace: &str) -> kube::Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(self.client.clone(), namespace)
    }

    /// Reads an object; `None` if it is not there.
    async fn get<K>(&self, key: &Key) -> ApiResult<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: kube::Api<K> = self.namespaced(&key.namespace);
        self.call("get", api.get_opt(&key.name)).await
    }

    /// Reads an object of the cluster, where that is allowed.
    async fn get_of_cluster<K>(&self, name: &str) -> ApiResult<Option<K>>
    where
        K: Resource<Scope = ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: kube::Api<K> = kube::Api::all(self.client.clone());
        match self.call("get", api.get_opt(name)).await {
            // In one namespace only, volumes and classes are out of sight; the claim itself says enough.
            Err(ApiError::Forbidden(_)) => Ok(None),
            other => other,
        }
    }

    /// Makes an object of any body and reads the answer as a view.
    async fn create<K, B>(&self, namespace: &str, body: &B) -> ApiResult<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
        B: Serialize + Sync,
    {
        let url = K::url_path(&(), Some(namespace));
        let bytes = serde_json::to_vec(body)
            .map_err(|error| ApiError::Invalid(format!("cannot be written: {error}")))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(url)
            .create(&params, bytes)
            .map_err(|error| ApiError::Invalid(format!("cannot be asked for: {error}")))?;
        self.call("create", self.client.request::<K>(request)).await
    }

    async fn config_map(&self, name: &str) -> Option<ConfigMap> {
        let key = Key::new(&self.tekton_namespace, name);
        match self.get::<ConfigMap>(&key).await {
            Ok(found) => found,
            Err(error) => {
                warn!(config_map = %key, %error, "Tekton's configuration cannot be read; its defaults are assumed");
                None
            }
        }
    }
}

impl Api for KubeApi {
    async fn create_task_run(&self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        let created = self.pace.creating(self.create(&body.metadata.namespace, body)).await;
        self.counted("created", created.map(Arc::new))
    }

    async fn get_task_run(&self, key: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        Ok(self.get(key).await?.map(Arc::new))
    }

    async fn cancel_task_run(&self, key: &Key, uid: &str, message: &str) -> ApiResult<Arc<TaskRun>> {
        let api: kube::Api<TaskRun> = self.namespaced(&key.namespace);
        // The server refuses a patch with another uid than the object's: 422, "field is immutable".
        let patch = json!({"metadata": {"uid": uid}, "spec": {"status": "TaskRunCancelled", "statusMessage": message}});
        let patched = self.call("cancel", api.patch(&key.name, &patch_params(), &Patch::Merge(patch))).await;
        self.counted("cancelled", patched.map(Arc::new))
    }

    async fn delete_task_run(&self, key: &Key, uid: &str) -> ApiResult<()> {
        let api: kube::Api<TaskRun> = self.namespaced(&key.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::background()
        };
        let deleted = self.call("delete", api.delete(&key.name, &params)).await.map(|_| ());
        self.counted("deleted", deleted)
    }

    async fn create_claim(&self, body: &ClaimBody) -> ApiResult<()> {
        let (namespace, name) = (&body.metadata.namespace, &body.metadata.name);
        match self.create::<PersistentVolumeClaim, _>(namespace, body).await {
            Err(ApiError::AlreadyExists(words)) => {
                let there = self.get::<PersistentVolumeClaim>(&Key::new(namespace, name)).await?;
                let owner = body.metadata.owner_references.first().map(|owner| owner.uid.as_str());
                let ours = there.is_some_and(|claim| {
                    claim
                        .metadata
                        .owner_references
                        .iter()
                        .flatten()
                        .any(|there| Some(there.uid.as_str()) == owner)
                });
                if ours { Ok(()) } else { Err(ApiError::AlreadyExists(words)) }
            }
            other => other.map(|_| ()),
        }
    }

    async fn get_claim(&self, key: &Key) -> ApiResult<Claim> {
        let Some(claim) = self.get::<PersistentVolumeClaim>(key).await? else { return Ok(Claim::NotFound) };
        let spec = claim.spec.clone().unwrap_or_default();
        let volume = match spec.volume_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.get_of_cluster::<PersistentVolume>(name).await?,
            None => None,
        };
        let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let class = match spec.storage_class_name.as_deref().filter(|name| !bound && !name.is_empty()) {
            Some(name) => self.get_of_cluster::<StorageClass>(name).await?,
            None => None,
        };
        Ok(Claim::Found(claim_facts(&claim, volume.as_ref(), class.as_ref())))
    }

    async fn get_definition(&self, key: &Key) -> ApiResult<Definition> {
        // Raw: what the author wrote is checked against the schema here, and unknown fields must be seen for that.
        let url = format!("{}/{}", MultiArchBuild::url_path(&(), Some(&key.namespace)), key.name);
        let request = http::Request::get(url)
            .body(Vec::new())
            .map_err(|error| ApiError::Invalid(format!("cannot be asked for: {error}")))?;
        let found: Value = match self.call("get", self.client.request(request)).await {
            Ok(found) => found,
            // The server has no words of its own for a kind that it does not know.
            Err(ApiError::NotFound(words))
                if words.contains("could not find the requested resource")
                    || words == "404 page not found\n" =>
            {
                return Ok(Definition::NoKind);
            }
            Err(ApiError::NotFound(_)) => return Ok(Definition::NotFound),
            Err(error) => return Err(error),
        };
        Ok(Definition::Found {
            uid: found.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            generation: found.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
            spec: found.get("spec").cloned().unwrap_or_default(),
        })
    }

    async fn get_run(&self, key: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        Ok(self.get(key).await?.map(Arc::new))
    }

    async fn get_pipeline_run(&self, key: &Key) -> ApiResult<Option<PipelineRun>> {
        self.get(key).await
    }

    async fn tekton_config(&self) -> TektonConfig {
        let mut cached = self.tekton.lock().await;
        if let Some((read, config)) = &*cached
            && read.elapsed() < CONFIG_TTL
        {
            return config.clone();
        }
        let (flags, defaults) =
            futures::future::join(self.config_map("feature-flags"), self.config_map("config-defaults")).await;
        let config = tekton_config(flags.as_ref(), defaults.as_ref());
        *cached = Some((Instant::now(), config.clone()));
        config
    }

    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        let meta = &run.metadata;
        let api: kube::Api<CustomRun> = self.namespaced(meta.namespace.as_deref().unwrap_or_default());
        let json = |status: Option<&CustomRunStatus>| {
            serde_json::to_value(status)
                .map_err(|error| ApiError::Invalid(format!("a status cannot be written: {error}")))
        };
        let patch = json!({
            // Written only over what was read: another replica, or a person, may have been faster.
            "metadata": {"resourceVersion": meta.resource_version, "uid": meta.uid},
            "status": patch::between(&json(run.status.as_ref())?, &json(Some(&**status))?),
        });
        // The end of a run is waited for; that it has begun is not, except by people.
        if !is_finished(status) {
            self.pace.telling().await;
        }
        let name = meta.name.as_deref().unwrap_or_default();
        let (params, patch) = (patch_params(), Patch::Merge(patch));
        let written = self.call("write status", api.patch_status(name, &params, &patch)).await?;
        Ok(Arc::new(written))
    }

    async fn tell(&self, run: &Arc<CustomRun>, event: &Event) {
        let mut note = event.message.clone();
        let mut end = LONGEST_NOTE.min(note.len());
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        let action = if event.about.is_empty() { "Run".to_owned() } else { format!("Build {}", event.about) };
        let told = events::Event {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.clone(),
            note: Some(note),
            action,
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some(CUSTOM_RUN_API_VERSION.to_owned()),
            kind: Some("CustomRun".to_owned()),
            name: run.metadata.name.clone(),
            namespace: run.metadata.namespace.clone(),
            uid: run.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        let kind = if event.warning { "Warning" } else { "Normal" };
        match tokio::time::timeout(CALL_TIMEOUT, self.recorder.publish(&told, &reference)).await {
            Ok(Ok(())) => self.metrics.events.with_label_values(&[kind]).inc(),
            // A run whose namespace is being removed needs no events any more.
            Ok(Err(kube::Error::Api(status)))
                if status.is_forbidden() && status.message.contains("being terminated") => {}
            Ok(Err(error)) => warn!(reason = %event.reason, %error, "an event could not be told"),
            Err(_) => warn!(reason = %event.reason, "an event could not be told in time"),
        }
    }
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Boils a claim, its volume and its class down to what decides something.
fn claim_facts(
    claim: &PersistentVolumeClaim,
    volume: Option<&PersistentVolume>,
    class: Option<&StorageClass>,
) -> ClaimFacts {
    let spec = claim.spec.clone().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let volume_spec = volume.and_then(|volume| volume.spec.as_ref());
    let modes = volume_spec
        .and_then(|spec| spec.access_modes.clone())
        .or_else(|| claim.status.as_ref().and_then(|status| status.access_modes.clone()))
        .or(spec.access_modes)
        .unwrap_or_default();
    let required = volume_spec.and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    ClaimFacts {
        access_modes: modes,
        bound: phase == "Bound",
        lost: phase == "Lost" || claim.metadata.deletion_timestamp.is_some(),
        block: spec.volume_mode.as_deref() == Some("Block"),
        waits_for_consumer: class.and_then(|class| class.volume_binding_mode.as_deref())
            == Some("WaitForFirstConsumer"),
        node_terms: required
            .map(|required| &required.node_selector_terms)
            .into_iter()
            .flatten()
            .filter_map(|term| serde_json::to_value(term).ok())
            .collect(),
    }
}

/// Tekton `pkg/apis/config/feature_flags.go` and `default.go`.
fn tekton_config(flags: Option<&ConfigMap>, defaults: Option<&ConfigMap>) -> TektonConfig {
    let entry = |map: Option<&ConfigMap>, key: &str| map.and_then(|map| map.data.as_ref()?.get(key).cloned());
    let minutes = entry(defaults, "default-timeout-minutes").and_then(|text| text.trim().parse::<u64>().ok());
    let template = entry(defaults, "default-pod-template");
    TektonConfig {
        // A map that is there and says nothing means Tekton's own default.
        coschedule: flags.map(|flags| {
            entry(Some(flags), "coschedule")
                .filter(|mode| !mode.is_empty())
                .unwrap_or_else(|| "workspaces".into())
        }),
        default_timeout: minutes.and_then(|minutes| duration::parse(&format!("{minutes}m")).ok()),
        default_pod_template: template.and_then(|text| serde_saphyr::from_str::<Value>(&text).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: Value) -> ConfigMap {
        serde_json::from_value(json!({"data": data})).unwrap()
    }

    #[test]
    fn tekton_s_configuration_is_read_or_assumed() {
        assert_eq!(tekton_config(None, None), TektonConfig::default());
        let flags = map(json!({"coschedule": "disabled"}));
        let defaults = map(
            json!({"default-timeout-minutes": "90", "default-pod-template": "nodeSelector:\n  pool: ci\n"}),
        );
        assert_eq!(
            tekton_config(Some(&flags), Some(&defaults)),
            TektonConfig {
                coschedule: Some("disabled".into()),
                default_timeout: Some(Duration::from_mins(90)),
                default_pod_template: Some(json!({"nodeSelector": {"pool": "ci"}})),
            }
        );
        assert_eq!(tekton_config(Some(&map(json!({}))), None).coschedule.as_deref(), Some("workspaces"));
    }

    #[test]
    fn a_bound_claim_has_its_volume_s_modes() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "c"},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "s"},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"]},
        }))
        .unwrap();
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": "v"},
            "spec": {"accessModes": ["ReadWriteMany"], "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        }))
        .unwrap();
        let facts = claim_facts(&claim, Some(&volume), None);
        assert_eq!(facts.access_modes, ["ReadWriteMany"]);
        assert!(facts.bound && !facts.lost && !facts.block);
        assert_eq!(
            facts.node_terms,
            [json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]})]
        );
        assert_eq!(claim_facts(&claim, None, None).access_modes, ["ReadWriteOnce"]);
    }

    #[test]
    fn an_unbound_claim_has_its_class_s_mode() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"accessModes": ["ReadWriteMany"], "volumeMode": "Block"},
            "status": {"phase": "Pending"},
        }))
        .unwrap();
        let class: StorageClass = serde_json::from_value(
            json!({"metadata": {"name": "s"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"}),
        )
        .unwrap();
        let facts = claim_facts(&claim, None, Some(&class));
        assert!(!facts.bound && facts.lost && facts.block && facts.waits_for_consumer);
    }
}
