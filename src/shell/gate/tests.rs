use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

use super::*;
use crate::core::children::{BodyMetadata, TaskRunBodySpec};
use crate::shell::leader::{Elector, Store, Timing, Version};

/// Notes what reaches it, and answers when it is let.
#[derive(Debug, Default)]
struct Server {
    reached: Mutex<Vec<&'static str>>,
    slow: bool,
}

impl Server {
    async fn reach<T>(&self, what: &'static str, answer: T) -> T {
        self.reached.lock().unwrap().push(what);
        if self.slow {
            std::future::pending::<()>().await;
        }
        answer
    }
}

impl Api for Server {
    async fn create_task_run(&self, _: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        self.reach("create", Ok(Arc::default())).await
    }
    async fn get_task_run(&self, _: &Key) -> ApiResult<Option<Arc<TaskRun>>> {
        self.reach("get", Ok(None)).await
    }
    async fn cancel_task_run(&self, _: &Key, _: &str, _: &str) -> ApiResult<Arc<TaskRun>> {
        self.reach("cancel", Ok(Arc::default())).await
    }
    async fn delete_task_run(&self, _: &Key, _: &str) -> ApiResult<()> {
        self.reach("delete", Ok(())).await
    }
    async fn create_claim(&self, _: &ClaimBody) -> ApiResult<()> {
        self.reach("claim", Ok(())).await
    }
    async fn get_claim(&self, _: &Key) -> ApiResult<Claim> {
        self.reach("get", Ok(Claim::NotFound)).await
    }
    async fn get_run(&self, _: &Key) -> ApiResult<Option<Arc<CustomRun>>> {
        self.reach("get", Ok(None)).await
    }
    async fn get_definition(&self, _: &Key) -> ApiResult<Definition> {
        self.reach("get", Ok(Definition::NotFound)).await
    }
    async fn get_pipeline_run(&self, _: &Key) -> ApiResult<Option<PipelineRun>> {
        self.reach("get", Ok(None)).await
    }
    async fn tekton_config(&self) -> TektonConfig {
        self.reach("get", TektonConfig::default()).await
    }
    async fn write_status(
        &self,
        run: &Arc<CustomRun>,
        _: &Arc<CustomRunStatus>,
    ) -> ApiResult<Arc<CustomRun>> {
        self.reach("status", Ok(run.clone())).await
    }
    async fn tell(&self, _: &Arc<CustomRun>, _: &Event) {
        self.reach("event", ()).await;
    }
}

/// Every write that there is, by name.
async fn write_everything(api: &impl Api) -> Vec<(&'static str, bool)> {
    let key = Key::new("a", "b");
    let run = Arc::default();
    let event = Event { about: String::new(), warning: false, reason: "R".into(), message: "m".into() };
    let child = TaskRunBody {
        api_version: "tekton.dev/v1",
        kind: "TaskRun",
        metadata: BodyMetadata::default(),
        spec: TaskRunBodySpec::default(),
    };
    let claim = ClaimBody {
        api_version: "v1",
        kind: "PersistentVolumeClaim",
        metadata: BodyMetadata::default(),
        spec: serde_json::Value::Null,
    };
    api.tell(&run, &event).await;
    vec![
        ("create", api.create_task_run(&child).await.is_ok()),
        ("cancel", api.cancel_task_run(&key, "u", "m").await.is_ok()),
        ("delete", api.delete_task_run(&key, "u").await.is_ok()),
        ("claim", api.create_claim(&claim).await.is_ok()),
        ("status", api.write_status(&run, &Arc::default()).await.is_ok()),
    ]
}

#[tokio::test]
async fn without_leadership_no_write_reaches_the_server() {
    let gated = Gated::new(Server::default(), Leadership::none());
    let written = write_everything(&gated).await;
    assert!(written.iter().all(|(_, passed)| !passed), "{written:?}");
    assert!(gated.inner.reached.lock().unwrap().is_empty());
    gated.get_task_run(&Key::new("a", "b")).await.unwrap();
    assert_eq!(*gated.inner.reached.lock().unwrap(), ["get"], "reads pass");
}

#[tokio::test]
async fn with_leadership_every_write_passes() {
    let gated = Gated::new(Server::default(), Leadership::always());
    let written = write_everything(&gated).await;
    assert!(written.iter().all(|(_, passed)| *passed), "{written:?}");
    let mut reached = gated.inner.reached.lock().unwrap().clone();
    reached.sort_unstable();
    assert_eq!(reached, ["cancel", "claim", "create", "delete", "event", "status"]);
}

/// A Lease that can be had once and never renewed.
#[derive(Debug)]
struct Once;

impl Store for Once {
    async fn read(&self) -> Result<Option<Version>, ApiError> {
        Ok(None)
    }
    async fn create(&self, spec: LeaseSpec) -> Result<Version, ApiError> {
        Ok(Version { version: "1".into(), spec })
    }
    async fn replace(&self, _: &str, _: LeaseSpec) -> Result<Version, ApiError> {
        Err(ApiError::Unavailable("down".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_is_broken_off_when_leadership_ends() {
    let mut elector = Elector::new(Once, "me".to_owned(), Timing::default());
    elector.acquire().await;
    let gated = Gated::new(Server { slow: true, ..Server::default() }, elector.leadership());
    let begin = tokio::time::Instant::now();
    let (written, why) =
        futures::future::join(gated.cancel_task_run(&Key::new("a", "b"), "u", "m"), elector.hold()).await;
    assert!(written.is_err());
    assert_eq!(why, "down");
    assert_eq!(*gated.inner.reached.lock().unwrap(), ["cancel"]);
    assert!(begin.elapsed() <= Duration::from_secs(10));
    assert!(gated.delete_task_run(&Key::new("a", "b"), "u").await.is_err());
    assert_eq!(*gated.inner.reached.lock().unwrap(), ["cancel"], "nothing more");
}
