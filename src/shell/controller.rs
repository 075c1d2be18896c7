//! The controller: watches fill the cache, the queue says what is due, and reconciles run side by side.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tracing::{debug, error, info, warn};

use super::api::{Api, ApiError, Key};
use super::cache::Cache;
use super::kube_api::KubeApi;
use super::queue::Queue;
use super::reconcile::{Context, Outcome, reconcile};
use super::watches::{self, Readiness, Sink};

/// How the controller is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces whose runs are looked after; all if empty.
    pub namespaces: Vec<String>,
    /// How many runs are looked at at once.
    pub concurrency: usize,
    /// How long reconciles under way may take to end when the controller is asked to stop.
    pub grace: Duration,
}

/// The parts that watches and workers share.
pub struct Shared<A> {
    context: Context<A>,
    queue: Mutex<Queue<Key>>,
    wake: Notify,
}

impl<A: Api + 'static> Shared<A> {
    /// Puts the parts together.
    pub fn new(context: Context<A>) -> Arc<Self> {
        Arc::new(Self { context, queue: Mutex::new(Queue::default()), wake: Notify::new() })
    }

    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue<Key>) -> T) -> T {
        f(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<A: Api + 'static> Sink for Shared<A> {
    fn cache(&self) -> &Cache {
        &self.context.cache
    }

    fn due(&self, keys: Vec<Key>) {
        if keys.is_empty() {
            return;
        }
        let now = Timestamp::now();
        self.with_queue(|queue| keys.into_iter().for_each(|key| queue.add(key, now)));
        self.wake.notify_one();
    }

    fn restarted(&self, kind: &'static str) {
        debug!(kind, "watch restarted");
    }
}

/// Runs the controller until `stop` resolves, and then until the reconciles under way have ended.
pub async fn run(
    client: Client,
    context: Context<KubeApi>,
    options: Options,
    readiness: Arc<Readiness>,
    stop: impl Future<Output = ()>,
) {
    let shared = Shared::new(context);
    let mut watching = JoinSet::new();
    watches::start(&client, &options.namespaces, &shared, &readiness, &mut watching);
    let mut stop = std::pin::pin!(stop);
    let mut ready = readiness.subscribe();
    tokio::select! {
        () = &mut stop => return,
        // The sender lives as long as `readiness`, so this ends by becoming ready only.
        _ = ready.wait_for(|ready| *ready) => info!("ready: all caches are filled"),
    }
    work(shared, &options, stop).await;
}

/// Takes runs from the queue and looks at them, until `stop` resolves.
async fn work<A: Api + 'static>(shared: Arc<Shared<A>>, options: &Options, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut tasks: JoinSet<Outcome> = JoinSet::new();
    let mut keys: HashMap<Id, Key> = HashMap::new();
    loop {
        while tasks.len() < options.concurrency.max(1)
            && let Some(key) = shared.with_queue(|queue| queue.take(Timestamp::now()))
        {
            let id = tasks.spawn(look(shared.clone(), key.clone())).id();
            keys.insert(id, key);
        }
        let next = shared.with_queue(|queue| queue.next_due());
        let full = tasks.len() >= options.concurrency.max(1);
        let timer = async {
            match next {
                // With every place taken, a timer could start nothing.
                Some(time) if !full => {
                    let span = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
                    tokio::time::sleep(span).await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = tasks.join_next_with_id() => hand_back(&shared, &mut keys, ended),
            () = shared.wake.notified() => {}
            () = timer => {}
        }
    }
    info!(under_way = tasks.len(), "stopping");
    let drained = tokio::time::timeout(options.grace, async {
        while let Some(ended) = tasks.join_next_with_id().await {
            hand_back(&shared, &mut keys, ended);
        }
    });
    if drained.await.is_err() {
        warn!(
            left = keys.len(),
            "reconciles were still under way and are broken off; the next controller takes up where they were"
        );
    }
}

/// Looks at one run. A panic ends this look and nothing else.
async fn look<A: Api>(shared: Arc<Shared<A>>, key: Key) -> Outcome {
    let looking = AssertUnwindSafe(reconcile(&key, &shared.context, Timestamp::now())).catch_unwind();
    looking.await.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
            .unwrap_or_default();
        error!(run = %key, %words, "a reconcile panicked; please report this");
        Outcome::Retry { after: None, why: ApiError::Unavailable(format!("panicked: {words}")) }
    })
}

fn hand_back<A: Api + 'static>(
    shared: &Shared<A>,
    keys: &mut HashMap<Id, Key>,
    ended: Result<(Id, Outcome), tokio::task::JoinError>,
) {
    let (id, outcome) = match ended {
        Ok((id, outcome)) => (id, outcome),
        Err(error) => {
            (error.id(), Outcome::Retry { after: None, why: ApiError::Unavailable(error.to_string()) })
        }
    };
    let Some(key) = keys.remove(&id) else { return };
    let now = Timestamp::now();
    match outcome {
        Outcome::Done(again) => shared.with_queue(|queue| queue.done(key, again, now)),
        Outcome::Gone => shared.with_queue(|queue| {
            queue.done(key.clone(), None, now);
            queue.forget(&key);
        }),
        Outcome::Retry { after, why } => {
            // A conflict only says that there is news, which the watch brings.
            if let ApiError::Conflict(_) = &why {
                debug!(run = %key, %why, "will be looked at again");
            } else {
                warn!(run = %key, class = why.class(), %why, "will be looked at again");
            }
            shared.with_queue(|queue| queue.failed(key, after, now));
        }
    }
}
