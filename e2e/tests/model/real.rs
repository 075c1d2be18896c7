//! A scenario as the cluster plays it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use archfan::api::tekton::CustomRun;
use archfan::obs::metrics::Metrics;
use archfan::shell::api::{Api as _, ApiError, Key};
use archfan::shell::kube_api::KubeApi;
use archfan_e2e::Namespace;
use archfan_e2e::cluster::env;
use archfan_e2e::objects::succeeded;
use futures::TryStreamExt as _;
use kube::core::WatchEvent;
use serde_json::{Value, json};

use crate::step::{self, Deletion, Images, Make, RunView, Scenario, Seen, Step, Uid, View};

/// How long the cluster may take to show what the model shows at once.
const PATIENCE: Duration = Duration::from_secs(75);

type Watched = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// The cluster.
pub(crate) struct Real<'a> {
    namespace: &'a Namespace,
    api: KubeApi,
    images: Images,
    watched: Watched,
}

struct Play<'a> {
    real: &'a Real<'a>,
    task_run: String,
    run: String,
    first: (String, String),
    read: Arc<CustomRun>,
}

impl<'a> Real<'a> {
    /// A namespace of the cluster, and a watch of its TaskRuns.
    pub(crate) fn new(namespace: &'a Namespace) -> Self {
        let client = namespace.cluster.client.clone();
        let metrics = Metrics::new().expect("metrics");
        let api = KubeApi::new(client, None, "tekton-pipelines".to_owned(), metrics);
        let images = Images {
            shell: env("ARCHFAN_IMAGE_SHELL"),
            missing: format!("{}/not-there:v1", env("ARCHFAN_REGISTRY")),
        };
        let watched = Watched::default();
        tokio::spawn(watch(namespace.cluster.client.clone(), namespace.name.clone(), watched.clone()));
        Self { namespace, api, images, watched }
    }

    /// Plays a scenario. After each step the state that the model shows is waited for.
    pub(crate) async fn play(&self, name: &str, scenario: &Scenario, expected: &Seen) -> Seen {
        let (task_run, run) = (name.to_owned(), format!("{name}-run"));
        let mut play = Play {
            real: self,
            read: Arc::new(step::unread(&run, &self.namespace.name)),
            task_run,
            run,
            first: (step::FOREIGN.to_owned(), step::FOREIGN.to_owned()),
        };
        let mut seen = Seen::default();
        for (step, wanted) in scenario.steps.iter().zip(&expected.steps) {
            let answer = play.make(*step).await;
            let line = play.line_until(*step, &answer, wanted).await;
            let differs = line != *wanted;
            seen.steps.push(line);
            if differs {
                return seen;
            }
        }
        let begun = Instant::now();
        loop {
            seen.watched = self.watched.lock().expect("a lock").get(name).cloned().unwrap_or_default();
            if step::difference(expected, &seen).is_none() || begun.elapsed() > Duration::from_secs(15) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Notes what a watch of the TaskRuns shows.
async fn watch(client: kube::Client, namespace: String, watched: Watched) {
    let path = format!(
        "/apis/tekton.dev/v1/namespaces/{namespace}/taskruns?watch=1&resourceVersion=0&timeoutSeconds=900"
    );
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    let events = client.request_events::<Value>(request).await.expect("a watch");
    let mut events = std::pin::pin!(events);
    while let Ok(Some(event)) = events.try_next().await {
        let (object, line) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let (status, reason, _) = succeeded(&object);
                let line = if status.is_empty() { String::new() } else { format!("{status} {reason}") };
                (object, line)
            }
            WatchEvent::Deleted(object) => (object, "gone".to_owned()),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut watched = watched.lock().expect("a lock");
        let lines = watched.entry(name).or_default();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
}

impl Play<'_> {
    async fn make(&mut self, step: Step) -> String {
        let api = &self.real.api;
        let namespace = &self.real.namespace.name;
        let (task_run, run) = (Key::new(namespace, &self.task_run), Key::new(namespace, &self.run));
        match step {
            Step::Create(make) => self.create(make).await,
            Step::Cancel(uid, message) => told(api.cancel_task_run(&task_run, self.uid(uid), message).await),
            Step::Delete(uid) => told(api.delete_task_run(&task_run, self.uid(uid)).await),
            Step::Get => found(api.get_task_run(&task_run).await),
            Step::GetRun => found(api.get_run(&run).await),
            Step::Write(verdict, uid) => {
                let mut run = self.read.clone();
                if uid == Uid::Foreign {
                    Arc::make_mut(&mut run).metadata.uid = Some(step::FOREIGN.to_owned());
                }
                told(api.write_status(&run, &Arc::new(step::status(verdict))).await)
            }
            Step::ReadRun => {
                if let Some(run) = api.get_run(&run).await.expect("a run") {
                    self.read = run;
                }
                String::new()
            }
            other => {
                self.others(other).await;
                String::new()
            }
        }
    }

    async fn others(&mut self, step: Step) {
        let namespace = self.real.namespace;
        let (child, run) = (namespace.child_path(&self.task_run), namespace.run_path(&self.run));
        match step {
            Step::MakeRun => {
                let made = namespace
                    .create(&json!({
                        "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": self.run},
                        "spec": {"customSpec": {"apiVersion": "model.example/v1", "kind": "Wait", "spec": {"changed": false}}},
                    }))
                    .await;
                if self.first.1 == step::FOREIGN {
                    made["metadata"]["uid"].as_str().unwrap_or_default().clone_into(&mut self.first.1);
                }
            }
            Step::Hold => {
                namespace
                    .cluster
                    .patch(&child, &json!({"metadata": {"finalizers": [step::FINALIZER]}}))
                    .await;
            }
            Step::Release => {
                namespace.cluster.patch(&child, &json!({"metadata": {"finalizers": null}})).await;
            }
            Step::CancelRun(message) => namespace.cancel(&self.run, Some(message)).await,
            Step::LabelRun => {
                namespace.cluster.patch(&run, &json!({"metadata": {"labels": {"touched": "yes"}}})).await;
            }
            Step::EditRun => {
                namespace
                    .cluster
                    .patch(&run, &json!({"spec": {"customSpec": {"spec": {"changed": true}}}}))
                    .await;
            }
            Step::DeleteRun(how) => {
                let policy = match how {
                    Deletion::Background => "Background",
                    Deletion::Foreground => "Foreground",
                    Deletion::Orphan => "Orphan",
                };
                let options = json!({"propagationPolicy": policy});
                let _ = namespace.cluster.request("DELETE", &run, "application/json", Some(&options)).await;
            }
            _ => {}
        }
    }

    async fn create(&mut self, make: Make) -> String {
        let owner = make.owned.then(|| self.first.1.clone());
        let (namespace, images) = (&self.real.namespace.name, &self.real.images);
        let body = step::body(&self.task_run, &self.run, namespace, make, owner.as_deref(), images);
        let answer = self.real.api.create_task_run(&body).await;
        if let Ok(made) = &answer
            && self.first.0 == step::FOREIGN
        {
            self.first.0 = made.metadata.uid.clone().unwrap_or_default();
        }
        told(answer)
    }

    fn uid(&self, uid: Uid) -> &str {
        if uid == Uid::First { &self.first.0 } else { step::FOREIGN }
    }

    async fn line_until(&self, step: Step, answer: &str, wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            let line = self.line(step, answer).await;
            // An answer does not change any more.
            let hopeless = line.split(';').next() != wanted.split(';').next();
            if line == wanted || hopeless || begun.elapsed() > PATIENCE {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn line(&self, step: Step, answer: &str) -> String {
        let namespace = self.real.namespace;
        let task_run = namespace.cluster.get(&namespace.child_path(&self.task_run)).await;
        let run = namespace.cluster.get(&namespace.run_path(&self.run)).await;
        let view = task_run.map(|task_run| {
            let (status, reason, _) = succeeded(&task_run);
            let tell =
                matches!(status.as_str(), "True" | "False") || matches!(step, Step::Runs | Step::Homeless);
            View {
                first: task_run["metadata"]["uid"] == self.first.0.as_str(),
                asked: task_run["spec"]["status"] == "TaskRunCancelled",
                deleting: !task_run["metadata"]["deletionTimestamp"].is_null(),
                state: if tell { format!("{status} {reason}") } else { "at work".to_owned() },
            }
        });
        let run = run.map(|run| RunView {
            first: run["metadata"]["uid"] == self.first.1.as_str(),
            cancelled: !run["spec"]["status"].is_null(),
            deleting: !run["metadata"]["deletionTimestamp"].is_null(),
            generation: run["metadata"]["generation"].as_i64().unwrap_or_default(),
            verdict: succeeded(&run).0,
        });
        step::line(answer, view.as_ref(), run.as_ref())
    }
}

fn told<T>(answer: Result<T, ApiError>) -> String {
    answer.map_or_else(|error| error.class().to_owned(), |_| "ok".to_owned())
}

fn found<T>(answer: Result<Option<T>, ApiError>) -> String {
    match answer {
        Ok(None) => "there is none".to_owned(),
        other => told(other),
    }
}
