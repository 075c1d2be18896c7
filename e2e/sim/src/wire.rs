//! The wire between a replica and the server: every call is a thing of its own that can be slow, lost, or answered too late.
//!
//! A call that a reconcile makes is put here and waits. The world decides when the server takes it, what comes of it, and when, or
//! whether, the answer arrives. A reconcile that is broken off leaves its calls behind: what is on the wire may still take effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use archfan::api::tekton::{CustomRun, CustomRunStatus, PipelineRun, TaskRun};
use archfan::core::accept::ClaimBody;
use archfan::core::children::TaskRunBody;
use archfan::core::events::Event;
use archfan::core::observed::{Claim, Definition, TektonConfig};
use archfan::shell::api::{Api, ApiError, ApiResult, Key};

/// What is asked of the server.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Make a TaskRun.
    CreateTaskRun(Arc<TaskRunBody>),
    /// Read a TaskRun.
    GetTaskRun(String),
    /// Cancel the TaskRun of this name and uid, with a message.
    CancelTaskRun(String, String, String),
    /// Remove the TaskRun of this name and uid.
    DeleteTaskRun(String, String),
    /// Make a claim.
    CreateClaim(Arc<ClaimBody>),
    /// Read a claim.
    GetClaim(String),
    /// Read a CustomRun.
    GetRun(String),
    /// Read a `MultiArchBuild`.
    GetDefinition(String),
    /// Read a PipelineRun.
    GetPipelineRun(String),
    /// Read Tekton's configuration.
    TektonConfig,
    /// Write a run's status over the version that was read.
    WriteStatus(Arc<CustomRun>, Arc<CustomRunStatus>),
    /// Tell an event about a run.
    Tell(Arc<CustomRun>, Event),
}

impl Ask {
    /// The verb, for logs and counters.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateTaskRun(_) => "create TaskRun",
            Self::GetTaskRun(_) => "get TaskRun",
            Self::CancelTaskRun(..) => "cancel TaskRun",
            Self::DeleteTaskRun(..) => "delete TaskRun",
            Self::CreateClaim(_) => "create claim",
            Self::GetClaim(_) => "get claim",
            Self::GetRun(_) => "get CustomRun",
            Self::GetDefinition(_) => "get MultiArchBuild",
            Self::GetPipelineRun(_) => "get PipelineRun",
            Self::TektonConfig => "read Tekton's configuration",
            Self::WriteStatus(..) => "write status",
            Self::Tell(..) => "tell event",
        }
    }

    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::CreateTaskRun(_)
                | Self::CancelTaskRun(..)
                | Self::DeleteTaskRun(..)
                | Self::CreateClaim(_)
                | Self::WriteStatus(..)
        )
    }

    /// The name of the object that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::CreateTaskRun(body) => &body.metadata.name,
            Self::CreateClaim(body) => &body.metadata.name,
            Self::GetTaskRun(name)
            | Self::CancelTaskRun(name, ..)
            | Self::DeleteTaskRun(name, _)
            | Self::GetClaim(name)
            | Self::GetRun(name)
            | Self::GetDefinition(name)
            | Self::GetPipelineRun(name) => name,
            Self::WriteStatus(run, _) | Self::Tell(run, _) => {
                run.metadata.name.as_deref().unwrap_or_default()
            }
            Self::TektonConfig => "",
        }
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A TaskRun, or `None` where one may be missing.
    TaskRun(Option<Arc<TaskRun>>),
    /// A CustomRun.
    Run(Arc<CustomRun>),
    /// A CustomRun, or `None` where one may be missing.
    MaybeRun(Option<Arc<CustomRun>>),
    /// That it is done.
    Done,
    /// A claim.
    Claim(Claim),
    /// A build.
    Definition(Definition),
    /// A PipelineRun.
    PipelineRun(Option<Box<PipelineRun>>),
    /// Tekton's configuration.
    Tekton(TektonConfig),
}

/// An answer, or why there is none.
pub type Answer = ApiResult<Reply>;

/// Where a call is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// On its way to the server.
    Asked,
    /// On its way back.
    Answered(Answer),
    /// Read by who asked.
    Read,
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Its number.
    pub id: u64,
    /// The replica that made it.
    pub replica: usize,
    /// The reconcile that made it.
    pub reconcile: u64,
    /// What is asked.
    pub ask: Ask,
    /// Where it is.
    pub progress: Progress,
    /// Whether nobody waits for the answer any more.
    pub abandoned: bool,
    /// Whether the answer may be read.
    arrived: bool,
    waker: Option<Waker>,
}

impl Call {
    /// A call that was given up and is still on its way.
    pub fn left_behind(call: &Self) -> Self {
        Self {
            // Never the number of a call that is waited for.
            id: call.id | LEFT_BEHIND,
            replica: call.replica,
            reconcile: call.reconcile,
            ask: call.ask.clone(),
            progress: Progress::Asked,
            abandoned: true,
            arrived: false,
            waker: None,
        }
    }
}

/// Marks the number of a call that was given up.
const LEFT_BEHIND: u64 = 1 << 40;

/// All calls under way.
#[derive(Debug, Default)]
pub struct Wire {
    /// The calls, oldest first.
    pub calls: Vec<Call>,
    /// The reconcile that runs at this moment.
    pub running: (usize, u64),
    made: u64,
}

impl Wire {
    /// Lets the answer of a call be read. The reconcile that waits for it is to be polled then.
    pub fn deliver(&mut self, id: u64) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == id) {
            call.arrived = true;
            if let Some(waker) = call.waker.take() {
                waker.wake();
            }
        }
    }

    /// Forgets calls that nobody waits for and that can do nothing more.
    pub fn tidy(&mut self) {
        self.calls.retain(|call| match call.progress {
            Progress::Asked => true,
            Progress::Answered(_) => !call.abandoned,
            Progress::Read => false,
        });
    }
}

/// The wire as the world and the replicas share it.
#[derive(Clone, Debug, Default)]
pub struct SharedWire(Arc<Mutex<Wire>>);

impl SharedWire {
    /// Takes hold of it.
    pub fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the wire that a replica holds.
#[derive(Clone, Debug)]
pub struct SimApi {
    wire: SharedWire,
}

impl SimApi {
    /// A replica's end of the wire.
    pub fn new(wire: SharedWire) -> Self {
        Self { wire }
    }

    fn ask(&self, ask: Ask) -> Waiting {
        Waiting { wire: self.wire.clone(), state: State::New(Some(ask)) }
    }
}

enum State {
    New(Option<Ask>),
    Made(u64),
    Over,
}

/// Waits for an answer. As with a real client nothing is sent before it is polled.
struct Waiting {
    wire: SharedWire,
    state: State,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let mut wire = this.wire.lock();
        match &mut this.state {
            State::New(ask) => {
                let Some(ask) = ask.take() else { return Poll::Pending };
                wire.made += 1;
                let id = wire.made;
                let (replica, reconcile) = wire.running;
                wire.calls.push(Call {
                    id,
                    replica,
                    reconcile,
                    ask,
                    progress: Progress::Asked,
                    abandoned: false,
                    arrived: false,
                    waker: Some(context.waker().clone()),
                });
                this.state = State::Made(id);
                Poll::Pending
            }
            State::Made(id) => {
                let id = *id;
                let Some(call) = wire.calls.iter_mut().find(|call| call.id == id) else {
                    return Poll::Pending;
                };
                if !call.arrived {
                    call.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                let Progress::Answered(answer) = std::mem::replace(&mut call.progress, Progress::Read) else {
                    return Poll::Pending;
                };
                this.state = State::Over;
                Poll::Ready(answer)
            }
            State::Over => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let State::Made(id) = self.state {
            let mut wire = self.wire.lock();
            if let Some(call) = wire.calls.iter_mut().find(|call| call.id == id) {
                call.abandoned = true;
            }
        }
    }
}

/// The server gave an answer to another question: a fault of the simulator itself.
fn mixed_up<T>(reply: &Reply) -> ApiResult<T> {
    Err(ApiError::Invalid(format!("the simulator mixed up its answers: {reply:?}")))
}

impl Api for SimApi {
    async fn create_task_run(&self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        match self.ask(Ask::CreateTaskRun(Arc::new(body.clone()))).await? {
            Reply::TaskRun(Some(task_run)) => Ok(task_run),
            other => mixed_up(&other),
        }
    }

    async fn get_task_run(&self, key: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        match self.ask(Ask::GetTaskRun(key.name.clone())).await? {
            Reply::TaskRun(found) => Ok(found),
            other => mixed_up(&other),
        }
    }

    async fn cancel_task_run(&self, key: &Key, uid: &str, message: &str) -> ApiResult<Arc<TaskRun>> {
        match self.ask(Ask::CancelTaskRun(key.name.clone(), uid.to_owned(), message.to_owned())).await? {
            Reply::TaskRun(Some(task_run)) => Ok(task_run),
            other => mixed_up(&other),
        }
    }

    async fn delete_task_run(&self, key: &Key, uid: &str) -> ApiResult<()> {
        match self.ask(Ask::DeleteTaskRun(key.name.clone(), uid.to_owned())).await? {
            Reply::Done => Ok(()),
            other => mixed_up(&other),
        }
    }

    async fn create_claim(&self, body: &ClaimBody) -> ApiResult<()> {
        match self.ask(Ask::CreateClaim(Arc::new(body.clone()))).await? {
            Reply::Done => Ok(()),
            other => mixed_up(&other),
        }
    }

    async fn get_claim(&self, key: &Key) -> ApiResult<Claim> {
        match self.ask(Ask::GetClaim(key.name.clone())).await? {
            Reply::Claim(claim) => Ok(claim),
            other => mixed_up(&other),
        }
    }

    async fn get_run(&self, key: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        match self.ask(Ask::GetRun(key.name.clone())).await? {
            Reply::MaybeRun(run) => Ok(run),
            other => mixed_up(&other),
        }
    }

    async fn get_definition(&self, key: &Key) -> ApiResult<Definition> {
        match self.ask(Ask::GetDefinition(key.name.clone())).await? {
            Reply::Definition(definition) => Ok(definition),
            other => mixed_up(&other),
        }
    }

    async fn get_pipeline_run(&self, key: &Key) -> ApiResult<Option<PipelineRun>> {
        match self.ask(Ask::GetPipelineRun(key.name.clone())).await? {
            Reply::PipelineRun(found) => Ok(found.map(|found| *found)),
            other => mixed_up(&other),
        }
    }

    async fn tekton_config(&self) -> TektonConfig {
        match self.ask(Ask::TektonConfig).await {
            Ok(Reply::Tekton(config)) => config,
            // As the real client does where it may not, or cannot, be read.
            _ => TektonConfig::default(),
        }
    }

    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        status: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        match self.ask(Ask::WriteStatus(run.clone(), status.clone())).await? {
            Reply::Run(run) => Ok(run),
            other => mixed_up(&other),
        }
    }

    async fn tell(&self, run: &Arc<CustomRun>, event: &Event) {
        let _ = self.ask(Ask::Tell(run.clone(), event.clone())).await;
    }
}
