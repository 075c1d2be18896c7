//! The watches: each feeds one kind into the cache and makes the runs due that it concerns.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Event;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt as _, watcher::Error};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::api::Key;
use super::cache::{Cache, Change};
use crate::api::kubernetes::{Node, Pod};
use crate::api::names::label;
use crate::api::tekton::{CustomRun, TaskRun};
use crate::core::observed::PodNote;

/// How many objects are asked for at once when listing: enough to be quick, few enough to be small.
const PAGE: u32 = 250;

/// What the cluster says of pods that no condition holds: reasons of events that are watched, each on the server's side, because
/// the events of a whole cluster are too many.
const NOTE_REASONS: [&str; 5] =
    ["TriggeredScaleUp", "NotTriggerScaleUp", "Nominated", "FailedMount", "FailedAttachVolume"];

/// Where the changes go.
pub trait Sink: Send + Sync + 'static {
    /// The cache that takes them in.
    fn cache(&self) -> &Cache;
    /// Makes runs due.
    fn due(&self, keys: Vec<Key>);
    /// A watch was broken off and begins anew.
    fn restarted(&self, kind: &'static str);
}

/// Tells when every watch has filled the cache for the first time.
#[derive(Debug)]
pub struct Readiness {
    missing: AtomicUsize,
    ready: watch::Sender<bool>,
}

impl Readiness {
    /// Nothing is ready yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { missing: AtomicUsize::new(0), ready: watch::Sender::new(false) })
    }

    fn expect(&self) {
        self.missing.fetch_add(1, Ordering::SeqCst);
    }

    fn arrived(&self) {
        if self.missing.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ready.send_replace(true);
        }
    }

    /// A receiver that turns true once everything has arrived.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}

/// Starts all watches, in one namespace each, or in all if none is given. Each runs until its task is dropped.
pub fn start<S: Sink>(
    client: &Client,
    namespaces: &[String],
    sink: &Arc<S>,
    readiness: &Arc<Readiness>,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let ours = watcher::Config::default().page_size(PAGE).labels(label::ROLE);
    let scopes: Vec<Option<String>> = match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    // Counted first: no watch may be ready before all are known.
    let watches = scopes.len() * 3 + 1;
    for _ in 0..watches {
        readiness.expect();
    }
    for scope in scopes {
        let feed =
            |kind| Feed { kind, scope: scope.clone(), sink: sink.clone(), ready: Some(readiness.clone()) };
        let runs =
            watcher(scoped::<CustomRun>(client, scope.as_ref()), watcher::Config::default().page_size(PAGE));
        tasks.spawn(feed("CustomRun").run(runs, Cache::runs_changed));
        let children = watcher(scoped::<TaskRun>(client, scope.as_ref()), ours.clone());
        tasks.spawn(feed("TaskRun").run(children, Cache::children_changed));
        let pods = watcher(scoped::<Pod>(client, scope.as_ref()), ours.clone());
        tasks.spawn(feed("Pod").run(pods, Cache::pods_changed));
        for reason in NOTE_REASONS {
            let config = watcher::Config::default()
                .page_size(PAGE)
                .fields(&format!("involvedObject.kind=Pod,reason={reason}"));
            let notes = watcher(scoped::<Event>(client, scope.as_ref()), config);
            let feed = Feed { kind: "Event", scope: scope.clone(), sink: sink.clone(), ready: None };
            tasks.spawn(feed.run(notes, noted));
        }
    }
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default().page_size(PAGE));
    let feed = Feed { kind: "Node", scope: None, sink: sink.clone(), ready: Some(readiness.clone()) };
    tasks.spawn(feed.run(nodes, Cache::nodes_changed));
}

fn scoped<K>(client: &Client, namespace: Option<&String>) -> Api<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Events say something about a pod; that they are deleted says nothing.
fn noted(cache: &Cache, change: Change<Event>) -> Vec<Key> {
    let events = match change {
        Change::Applied(event) => vec![event],
        Change::Deleted(_) => Vec::new(),
        Change::Listed(_, events) => events,
    };
    let mut due = Vec::new();
    for event in events {
        let object = &event.involved_object;
        let pod =
            Key::new(object.namespace.clone().unwrap_or_default(), object.name.clone().unwrap_or_default());
        let note = PodNote {
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
        };
        due.extend(cache.noted(pod, note));
    }
    due
}

struct Feed<S> {
    kind: &'static str,
    scope: Option<String>,
    sink: Arc<S>,
    /// Set until the first list has arrived, or has been forbidden.
    ready: Option<Arc<Readiness>>,
}

impl<S: Sink> Feed<S> {
    async fn run<K>(
        mut self,
        stream: impl Stream<Item = Result<watcher::Event<K>, Error>> + Send + 'static,
        apply: fn(&Cache, Change<K>) -> Vec<Key>,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut stream = std::pin::pin!(stream.default_backoff());
        let mut listing: Vec<Arc<K>> = Vec::new();
        while let Some(event) = stream.next().await {
            let change = match event {
                Ok(watcher::Event::Init) => {
                    listing.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(mut object)) => {
                    object.meta_mut().managed_fields = None;
                    listing.push(Arc::new(object));
                    continue;
                }
                Ok(watcher::Event::InitDone) => {
                    debug!(kind = self.kind, objects = listing.len(), "listed");
                    Change::Listed(self.scope.clone(), std::mem::take(&mut listing))
                }
                Ok(watcher::Event::Apply(mut object)) => {
                    object.meta_mut().managed_fields = None;
                    Change::Applied(Arc::new(object))
                }
                Ok(watcher::Event::Delete(object)) => Change::Deleted(Arc::new(object)),
                Err(error) => {
                    self.broken(&error);
                    continue;
                }
            };
            let first = matches!(change, Change::Listed(..)).then(|| self.ready.take()).flatten();
            let due = apply(self.sink.cache(), change);
            self.sink.due(due);
            if let Some(readiness) = first {
                info!(kind = self.kind, "the cache is filled");
                readiness.arrived();
            }
        }
    }

    fn broken(&mut self, error: &Error) {
        self.sink.restarted(self.kind);
        let forbidden =
            matches!(error, Error::InitialListFailed(kube::Error::Api(status)) if status.is_forbidden());
        if forbidden && matches!(self.kind, "Node" | "Event") {
            // Useful and not needed: an installation for one namespace may not see nodes.
            if let Some(readiness) = self.ready.take() {
                info!(kind = self.kind, "may not be read; archfan does without");
                readiness.arrived();
            }
            return;
        }
        warn!(kind = self.kind, %error, "a watch was broken off; it begins anew");
    }
}
