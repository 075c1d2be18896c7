//! The calls that a reconcile makes, and how they can fail.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun};
use crate::core::accept::ClaimBody;
use crate::core::children::TaskRunBody;
use crate::core::events::Event;
use crate::core::observed::{Claim, Definition, TektonConfig};

/// Which object, in which namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Names an object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a call did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The object, or its namespace, is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// An object of that name is there already.
    #[error("already exists: {0}")]
    AlreadyExists(String),
    /// The object has changed since it was read.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The server, or a webhook behind it, will never take this.
    #[error("{0}")]
    Invalid(String),
    /// The server does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The object is larger than the server takes.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The server is busy and says when to come back.
    #[error("the API server is busy: {message}")]
    Throttled {
        /// Its words.
        message: String,
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// The server, or the way to it, is in trouble. The call may or may not have taken effect.
    #[error("{0}")]
    Unavailable(String),
}

impl ApiError {
    /// The class, for metrics and logs: few words, always the same.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Forbidden(_) => "forbidden",
            Self::TooLarge(_) => "too_large",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// A result of a call.
pub type ApiResult<T> = Result<T, ApiError>;

/// The API server, as far as a reconcile needs it. Every call is bounded in time by whoever implements it.
pub trait Api: Send + Sync {
    /// Makes a TaskRun and gives back what the server made of it.
    fn create_task_run(&self, body: &TaskRunBody) -> impl Future<Output = ApiResult<Arc<TaskRun>>> + Send;

    /// Reads a TaskRun from the server itself; `None` if it is not there.
    fn get_task_run(&self, key: &Key) -> impl Future<Output = ApiResult<Option<Arc<TaskRun>>>> + Send;

    /// Asks a TaskRun to end, if it still has this uid, and gives back what it has become.
    fn cancel_task_run(
        &self,
        key: &Key,
        uid: &str,
        message: &str,
    ) -> impl Future<Output = ApiResult<Arc<TaskRun>>> + Send;

    /// Removes a TaskRun, if it still has this uid.
    fn delete_task_run(&self, key: &Key, uid: &str) -> impl Future<Output = ApiResult<()>> + Send;

    /// Makes a claim. That one is there already which belongs to the same run is no error.
    fn create_claim(&self, body: &ClaimBody) -> impl Future<Output = ApiResult<()>> + Send;

    /// Reads a claim and what stands behind it.
    fn get_claim(&self, key: &Key) -> impl Future<Output = ApiResult<Claim>> + Send;

    /// Reads a CustomRun from the server itself; `None` if it is not there.
    fn get_run(&self, key: &Key) -> impl Future<Output = ApiResult<Option<Arc<CustomRun>>>> + Send;

    /// Reads a `MultiArchBuild`.
    fn get_definition(&self, key: &Key) -> impl Future<Output = ApiResult<Definition>> + Send;

    /// Reads a PipelineRun; `None` if it is not there.
    fn get_pipeline_run(&self, key: &Key) -> impl Future<Output = ApiResult<Option<PipelineRun>>> + Send;

    /// Reads Tekton's configuration. What may not be read is left out of it.
    fn tekton_config(&self) -> impl Future<Output = TektonConfig> + Send;

    /// Writes a run's status, if the run still is as `run` has it, and gives back what it has become.
    fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> impl Future<Output = ApiResult<Arc<CustomRun>>> + Send;

    /// Tells an event about a run. That it cannot be told is no error of the run's.
    fn tell(&self, run: &Arc<CustomRun>, event: &Event) -> impl Future<Output = ()> + Send;
}
