//! A replica's end of the wire, with the bug that is planted there, if one is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archfan::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun, TaskRunSpec};
use archfan::core::accept::ClaimBody;
use archfan::core::children::TaskRunBody;
use archfan::core::events::Event;
use archfan::core::observed::{Claim, Definition, TektonConfig};
use archfan::shell::api::{Api, ApiError, ApiResult, Key};

use crate::bend;
use crate::faults::Fault;
use crate::wire::SimApi;

/// A replica's end of the wire.
#[derive(Debug)]
pub struct Seam {
    wire: SimApi,
    fault: Option<Fault>,
    memory: Mutex<Memory>,
}

/// What a bug needs to remember.
#[derive(Debug, Default)]
struct Memory {
    /// Creates whose answer was lost, by name.
    lost: BTreeSet<String>,
    /// TaskRuns as they were seen last, by name.
    seen: BTreeMap<String, Arc<TaskRun>>,
    /// Creates that are put off.
    put_off: Vec<TaskRunBody>,
    /// What was created since somebody asked.
    created: Vec<Key>,
    /// Uids of TaskRuns that are held to be gone for good.
    buried: BTreeSet<String>,
}

impl Seam {
    /// An end of the wire with a bug, or without one.
    pub fn new(wire: SimApi, fault: Option<Fault>) -> Self {
        Self { wire, fault, memory: Mutex::default() }
    }

    /// The bug.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Remembers a TaskRun that was seen.
    pub fn saw(&self, task_run: &Arc<TaskRun>) {
        let name = task_run.metadata.name.clone().unwrap_or_default();
        self.memory().seen.insert(name, task_run.clone());
    }

    /// What was created since this was asked last.
    pub fn take_created(&self) -> Vec<Key> {
        std::mem::take(&mut self.memory().created)
    }

    /// Holds a TaskRun to be gone for good.
    pub fn bury(&self, task_run: &TaskRun) {
        self.memory().buried.extend(task_run.metadata.uid.clone());
    }

    /// Whether a TaskRun is held to be gone for good.
    pub fn is_buried(&self, task_run: &TaskRun) -> bool {
        task_run.metadata.uid.as_ref().is_some_and(|uid| self.memory().buried.contains(uid))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    async fn create(&self, mut body: TaskRunBody, fault: Fault) -> ApiResult<Arc<TaskRun>> {
        bend::body(&mut body, fault);
        let name = body.metadata.name.clone();
        let key = Key::new(body.metadata.namespace.clone(), name.clone());
        if fault == Fault::StatusBeforeCreate {
            let fake = fake(&body);
            self.memory().put_off.push(body);
            return Ok(fake);
        }
        if fault == Fault::TwinAfterLostAnswer && self.memory().lost.contains(&name) {
            body.metadata.name = format!("{name}-2");
        }
        let answer = self.wire.create_task_run(&body).await;
        match (fault, answer) {
            (Fault::TwinAfterLostAnswer, Err(ApiError::Unavailable(words))) => {
                self.memory().lost.insert(name);
                Err(ApiError::Unavailable(words))
            }
            (Fault::AdoptsStrangers, Err(ApiError::AlreadyExists(words))) => {
                self.wire.get_task_run(&key).await?.ok_or(ApiError::Unavailable(words))
            }
            (Fault::ErrorIsRefusal, Err(ApiError::Unavailable(words))) => Err(ApiError::Invalid(words)),
            (Fault::QuotaIsRefusal, Err(ApiError::Forbidden(words))) if words.contains("exceeded quota") => {
                Err(ApiError::Invalid(words))
            }
            (Fault::CreateIsBelieved, Err(ApiError::Unavailable(_))) => Ok(fake(&body)),
            (Fault::OwnWritesForgotten, answer) => {
                self.memory().created.push(key);
                answer
            }
            (_, answer) => answer,
        }
    }

    async fn write(
        &self,
        run: &CustomRun,
        status: &CustomRunStatus,
        fault: Fault,
    ) -> ApiResult<Arc<CustomRun>> {
        let (mut run, mut status) = (run.clone(), status.clone());
        if fault == Fault::StatusWithoutVersion {
            run.metadata.resource_version = None;
        }
        bend::status(&run, &mut status, fault);
        let (run, status) = (Arc::new(run), Arc::new(status));
        let answer = self.wire.write_status(&run, &status).await;
        match (fault, answer) {
            (Fault::ConflictIsSuccess, Err(ApiError::Conflict(_))) => {
                Ok(Arc::new(CustomRun { status: Some((*status).clone()), ..(*run).clone() }))
            }
            (Fault::StatusTwice, Ok(written)) => self.wire.write_status(&written, &status).await,
            (Fault::StatusBeforeCreate, Ok(written)) => {
                let bodies = std::mem::take(&mut self.memory().put_off);
                for body in bodies {
                    let _ = self.wire.create_task_run(&body).await;
                }
                Ok(written)
            }
            (_, Ok(mut written)) => {
                bend::run(Arc::make_mut(&mut written), fault);
                Ok(written)
            }
            (_, answer) => answer,
        }
    }
}

/// What the server might have answered to a create.
fn fake(body: &TaskRunBody) -> Arc<TaskRun> {
    let mut task_run = TaskRun::new(&body.metadata.name, TaskRunSpec::default());
    task_run.metadata = crate::server::metadata(&body.metadata);
    task_run.metadata.namespace = Some(body.metadata.namespace.clone());
    task_run.metadata.uid = Some("none".to_owned());
    task_run.metadata.resource_version = Some("1".to_owned());
    Arc::new(task_run)
}

impl Api for Seam {
    async fn create_task_run(&self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        match self.fault {
            None => self.wire.create_task_run(body).await,
            Some(fault) => self.create(body.clone(), fault).await,
        }
    }

    async fn get_task_run(&self, key: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        if self.has(Fault::StaleReadTrusted) {
            let seen = self.memory().seen.get(&key.name).cloned();
            if seen.is_some() {
                return Ok(seen);
            }
        }
        self.wire.get_task_run(key).await
    }

    async fn cancel_task_run(&self, key: &Key, uid: &str, message: &str) -> ApiResult<Arc<TaskRun>> {
        let uid = if self.has(Fault::CancelWithoutUid) { "" } else { uid };
        let answer = self.wire.cancel_task_run(key, uid, message).await;
        if self.has(Fault::CancelIsBelieved) && answer.is_err() {
            let seen = self.memory().seen.get(&key.name).cloned();
            if let Some(mut seen) = seen {
                Arc::make_mut(&mut seen).spec.status = Some("TaskRunCancelled".to_owned());
                return Ok(seen);
            }
        }
        answer
    }

    async fn delete_task_run(&self, key: &Key, uid: &str) -> ApiResult<()> {
        let uid = if self.has(Fault::DeleteWithoutUid) { "" } else { uid };
        self.wire.delete_task_run(key, uid).await
    }

    async fn create_claim(&self, body: &ClaimBody) -> ApiResult<()> {
        self.wire.create_claim(body).await
    }

    async fn get_claim(&self, key: &Key) -> ApiResult<Claim> {
        self.wire.get_claim(key).await
    }

    async fn get_run(&self, key: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        self.wire.get_run(key).await
    }

    async fn get_definition(&self, key: &Key) -> ApiResult<Definition> {
        let mut found = self.wire.get_definition(key).await;
        if let (Some(fault), Ok(Definition::Found { spec, .. })) = (self.fault, &mut found) {
            bend::spec(spec, fault);
        }
        found
    }

    async fn get_pipeline_run(&self, key: &Key) -> ApiResult<Option<PipelineRun>> {
        self.wire.get_pipeline_run(key).await
    }

    async fn tekton_config(&self) -> TektonConfig {
        self.wire.tekton_config().await
    }

    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        match self.fault {
            None => self.wire.write_status(run, status).await,
            Some(fault) => self.write(run, status, fault).await,
        }
    }

    async fn tell(&self, run: &Arc<CustomRun>, event: &Event) {
        if self.has(Fault::EventTwice) {
            self.wire.tell(run, event).await;
        }
        self.wire.tell(run, event).await;
    }
}
