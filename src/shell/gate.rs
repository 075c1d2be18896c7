//! The gate before every effect: a replica that does not lead writes nothing.

use std::sync::Arc;

use super::api::{Api, ApiError, ApiResult, Key};
use super::leader::Leadership;
use crate::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun};
use crate::core::accept::ClaimBody;
use crate::core::children::TaskRunBody;
use crate::core::events::Event;
use crate::core::observed::{Claim, Definition, TektonConfig};

/// [`Api`] for as long as this replica leads. Reads pass; writes are refused without leadership, and broken off when it is lost.
#[derive(Debug)]
pub struct Gated<A> {
    inner: A,
    leadership: Arc<Leadership>,
}

impl<A> Gated<A> {
    /// Puts the gate before `inner`.
    pub fn new(inner: A, leadership: Arc<Leadership>) -> Self {
        Self { inner, leadership }
    }

    async fn pass<T>(&self, write: impl Future<Output = ApiResult<T>>) -> ApiResult<T> {
        if !self.leadership.holds() {
            return Err(lost());
        }
        tokio::select! {
            biased;
            () = self.leadership.lost() => Err(lost()),
            done = write => done,
        }
    }
}

fn lost() -> ApiError {
    ApiError::Unavailable("this replica does not lead".to_owned())
}

impl<A: Api> Api for Gated<A> {
    async fn create_task_run(&self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        self.pass(self.inner.create_task_run(body)).await
    }

    async fn get_task_run(&self, key: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        self.inner.get_task_run(key).await
    }

    async fn cancel_task_run(&self, key: &Key, uid: &str, message: &str) -> ApiResult<Arc<TaskRun>> {
        self.pass(self.inner.cancel_task_run(key, uid, message)).await
    }

    async fn delete_task_run(&self, key: &Key, uid: &str) -> ApiResult<()> {
        self.pass(self.inner.delete_task_run(key, uid)).await
    }

    async fn create_claim(&self, body: &ClaimBody) -> ApiResult<()> {
        self.pass(self.inner.create_claim(body)).await
    }

    async fn get_claim(&self, key: &Key) -> ApiResult<Claim> {
        self.inner.get_claim(key).await
    }

    async fn get_run(&self, key: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        self.inner.get_run(key).await
    }

    async fn get_definition(&self, key: &Key) -> ApiResult<Definition> {
        self.inner.get_definition(key).await
    }

    async fn get_pipeline_run(&self, key: &Key) -> ApiResult<Option<PipelineRun>> {
        self.inner.get_pipeline_run(key).await
    }

    async fn tekton_config(&self) -> TektonConfig {
        self.inner.tekton_config().await
    }

    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        self.pass(self.inner.write_status(run, status)).await
    }

    async fn tell(&self, run: &Arc<CustomRun>, event: &Event) {
        // An event that is not told is no error, so neither is one that may not be.
        let told = async {
            self.inner.tell(run, event).await;
            Ok(())
        };
        let _ = self.pass(told).await;
    }
}

#[cfg(test)]
mod tests;
