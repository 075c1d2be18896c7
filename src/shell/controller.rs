//! The controller: watches fill the cache, the queue says what is due, and reconciles run side by side, in the replica that leads.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tracing::{debug, error, info, warn};

use super::api::{Api, ApiError, Key};
use super::cache::Cache;
use super::leader::{Elector, Leadership, Store};
use super::queue::Queue;
use super::reconcile::{Context, Outcome, reconcile};
use super::watches::{self, Readiness, Sink};
use crate::api::tekton::TaskRun;
use crate::obs::families;
use crate::obs::gauges::{AtScrape, Now};
use crate::obs::health::{Beat, Health};
use crate::obs::metrics::Metrics;
use crate::obs::traces::Spans;
use crate::obs::transitions::{self, PodTimes, TaskRuns};

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

/// Who watches the controller.
#[derive(Clone, Debug)]
pub struct Observers {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the loops make progress.
    pub health: Health,
    /// Whether the caches are filled.
    pub readiness: Arc<Readiness>,
    /// Whether this replica leads.
    pub leadership: Arc<Leadership>,
    /// Where traces go.
    pub spans: Spans,
    /// What the program was made from, which they are told.
    pub revision: &'static str,
}

/// How often the work loop shows that it is alive when nothing is to be done.
const PULSE: Duration = Duration::from_secs(10);
/// After how long without a sign of life the work loop is stuck.
const SILENCE: Duration = Duration::from_mins(1);
/// After how long a look at a run is stuck. Every call is bounded, and so is their number; this is well beyond their sum.
const STUCK: Duration = Duration::from_mins(10);

/// The parts that watches and workers share.
pub struct Shared<A> {
    context: Context<A>,
    queue: Mutex<Queue<Key>>,
    wake: Notify,
    /// Whether what is due is noted. A replica that stands by notes nothing: it will look at everything when it leads.
    leading: AtomicBool,
    running: AtomicUsize,
    observers: Observers,
}

impl<A: Api + 'static> Shared<A> {
    /// Puts the parts together.
    pub fn new(context: Context<A>, observers: Observers) -> Arc<Self> {
        Arc::new(Self {
            context,
            queue: Mutex::new(Queue::default()),
            wake: Notify::new(),
            leading: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            observers,
        })
    }

    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue<Key>) -> T) -> T {
        f(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on what is due is noted, and now everything is.
    fn lead(&self) {
        // In this order: what happens between the two is noted at least once.
        self.leading.store(true, Ordering::SeqCst);
        let runs = self.context.cache.all_runs();
        let key = |run: &Arc<crate::api::tekton::CustomRun>| {
            let meta = &run.metadata;
            Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        self.due(runs.iter().map(key).collect());
    }

    /// How things are now, for a scrape.
    fn now(&self) -> Now {
        let mut now = Now::default();
        let time = Timestamp::now();
        let runs = self.context.cache.all_runs();
        now.count(&families::CACHED, &["CustomRun"], runs.len());
        for status in runs.iter().filter_map(|run| run.status.as_ref()) {
            now.run(status, time);
        }
        if let Some(nodes) = self.context.cache.nodes() {
            now.count(&families::CACHED, &["Node"], nodes.len());
            now.nodes(&nodes);
        }
        let (depth, failing, oldest) =
            self.with_queue(|queue| (queue.depth(), queue.failing(), queue.oldest()));
        now.count(&families::QUEUE_DEPTH, &[], depth);
        now.count(&families::QUEUE_FAILING, &[], failing);
        let waited = oldest.map_or(0.0, |since| time.duration_since(since).as_secs_f64().max(0.0));
        now.set(&families::QUEUE_OLDEST, &[], waited);
        now.count(&families::RECONCILES_RUNNING, &[], self.running.load(Ordering::Relaxed));
        now.count(&families::READY, &[], usize::from(*self.observers.readiness.subscribe().borrow()));
        now.count(&families::LEADER, &[], usize::from(self.observers.leadership.holds()));
        now.count(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), self.observers.revision], 1);
        now
    }
}

impl<A: Api + 'static> Sink for Shared<A> {
    fn cache(&self) -> &Cache {
        &self.context.cache
    }

    fn due(&self, keys: Vec<Key>) {
        if keys.is_empty() || !self.leading.load(Ordering::SeqCst) {
            return;
        }
        let now = Timestamp::now();
        self.with_queue(|queue| keys.into_iter().for_each(|key| queue.add(key, now)));
        self.wake.notify_one();
    }

    fn restarted(&self, kind: &'static str) {
        self.observers.metrics.watch_restarts.with_label_values(&[kind]).inc();
        debug!(kind, "watch restarted");
    }
}

/// Runs the controller until `stop` resolves, and then until the reconciles under way have ended. With an elector, it works only
/// while it leads.
///
/// # Errors
/// Why it cannot go on, in words: leadership is lost, or a watch has ended.
pub async fn run<A: Api + 'static, S: Store>(
    client: Client,
    context: Context<A>,
    options: Options,
    observers: Observers,
    mut elector: Option<Elector<S>>,
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let Observers { metrics, health, readiness, .. } = observers.clone();
    let shared = Shared::new(context, observers);
    let scraped = shared.clone();
    metrics.add(Box::new(AtScrape(move || scraped.now()))).map_err(|error| error.to_string())?;
    let mut watching = JoinSet::new();
    watches::start(&client, &options.namespaces, &shared, &readiness, &mut watching);
    let mut stop = std::pin::pin!(stop);
    let mut ready = readiness.subscribe();
    tokio::select! {
        () = &mut stop => return Ok(()),
        ended = watching.join_next() => return Err(watch_ended(ended)),
        // The sender lives as long as `readiness`, so this ends by becoming ready only.
        _ = ready.wait_for(|ready| *ready) => info!("ready: all caches are filled"),
    }
    if let Some(elector) = &mut elector {
        tokio::select! {
            () = &mut stop => return Ok(()),
            ended = watching.join_next() => return Err(watch_ended(ended)),
            () = elector.acquire() => {}
        }
    }
    shared.lead();
    let lost = async {
        match &mut elector {
            Some(elector) => elector.hold().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        why = lost => return Err(format!("this replica leads no more: {why}")),
        ended = watching.join_next() => return Err(watch_ended(ended)),
        () = work(shared, &options, &health, stop) => {}
    }
    // Nothing is under way any more: another may begin.
    if let Some(elector) = &mut elector {
        elector.release().await;
    }
    Ok(())
}

/// Watches never end by themselves; one that does has panicked, and without it archfan would be blind and not know.
fn watch_ended(ended: Option<Result<(), tokio::task::JoinError>>) -> String {
    match ended {
        Some(Err(error)) => format!("a watch has failed: {error}"),
        _ => "a watch has ended".to_owned(),
    }
}

/// Takes runs from the queue and looks at them, until `stop` resolves.
async fn work<A: Api + 'static>(
    shared: Arc<Shared<A>>,
    options: &Options,
    health: &Health,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let beat = health.watch("work", SILENCE);
    let mut tasks: JoinSet<Outcome> = JoinSet::new();
    let mut looks = Looks::default();
    loop {
        while tasks.len() < options.concurrency.max(1)
            && let Some(key) = shared.with_queue(|queue| queue.take(Timestamp::now()))
        {
            let id = tasks.spawn(look(shared.clone(), key.clone())).id();
            looks.0.insert(id, (key, Instant::now()));
        }
        shared.running.store(tasks.len(), Ordering::Relaxed);
        looks.show_life(&beat);
        let next = shared.with_queue(|queue| queue.next_due());
        let full = tasks.len() >= options.concurrency.max(1);
        let timer = async {
            let due = match next {
                // With every place taken, a timer could start nothing.
                Some(time) if !full => {
                    Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default()
                }
                _ => PULSE,
            };
            tokio::time::sleep(due.min(PULSE)).await;
        };
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = tasks.join_next_with_id() => hand_back(&shared, &mut looks, ended),
            () = shared.wake.notified() => {}
            () = timer => {}
        }
    }
    info!(under_way = tasks.len(), "stopping");
    let drained = tokio::time::timeout(options.grace, async {
        while let Some(ended) = tasks.join_next_with_id().await {
            looks.show_life(&beat);
            hand_back(&shared, &mut looks, ended);
        }
    });
    if drained.await.is_err() {
        warn!(
            left = looks.0.len(),
            "reconciles were still under way and are broken off; the next controller takes up where they were"
        );
    }
}

/// The looks under way, and since when.
#[derive(Default)]
struct Looks(HashMap<Id, (Key, Instant)>);

impl Looks {
    /// Shows that the loop is alive, unless a look is stuck.
    fn show_life(&self, beat: &Beat) {
        match self.0.values().find(|(_, since)| since.elapsed() > STUCK) {
            None => beat.alive(),
            Some((key, since)) => {
                error!(run = %key, seconds = since.elapsed().as_secs(), "a look at a run is stuck");
            }
        }
    }
}

/// A run's TaskRuns as the cache has them.
struct Children<'a> {
    cache: &'a Cache,
    children: &'a BTreeMap<String, Arc<TaskRun>>,
}

impl TaskRuns for Children<'_> {
    fn pod(&self, task_run: &str) -> Option<PodTimes> {
        Some(PodTimes::of(&*self.cache.pod_of(self.children.get(task_run)?)?))
    }

    fn result(&self, task_run: &str, name: &str) -> Option<String> {
        let results = &self.children.get(task_run)?.status.as_ref()?.results;
        results.iter().find(|result| result.name == name).map(|result| result.value.to_string())
    }
}

/// Looks at one run. A panic ends this look and nothing else.
async fn look<A: Api>(shared: Arc<Shared<A>>, key: Key) -> Outcome {
    let metrics = &shared.observers.metrics;
    let cache = &shared.context.cache;
    let begin = Instant::now();
    let before = cache.run(&key);
    let looking = AssertUnwindSafe(reconcile(&key, &shared.context, Timestamp::now())).catch_unwind();
    let mut result = "";
    let outcome = looking.await.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
            .unwrap_or_default();
        error!(run = %key, %words, "a reconcile panicked; please report this");
        result = "panicked";
        Outcome::Retry { after: None, why: ApiError::Unavailable(format!("panicked: {words}")) }
    });
    if result.is_empty() {
        result = match &outcome {
            Outcome::Done(_) => "done",
            Outcome::Gone => "gone",
            Outcome::Retry { why, .. } => why.class(),
        };
    }
    metrics.reconciles.with_label_values(&[result]).inc();
    metrics.reconcile_duration.with_label_values::<&str>(&[]).observe(begin.elapsed().as_secs_f64());
    if let (Some(before), Some(after)) = (before, cache.run(&key))
        && before.metadata.uid == after.metadata.uid
        && !Arc::ptr_eq(&before, &after)
    {
        let children = cache.children_of(after.metadata.uid.as_deref().unwrap_or_default());
        let task_runs = Children { cache, children: &children };
        transitions::record(metrics, &before, &after, &task_runs);
        shared.observers.spans.record(&before, &after, |task_run: &str| task_runs.pod(task_run));
    }
    outcome
}

fn hand_back<A: Api + 'static>(
    shared: &Shared<A>,
    looks: &mut Looks,
    ended: Result<(Id, Outcome), tokio::task::JoinError>,
) {
    let (id, outcome) = match ended {
        Ok((id, outcome)) => (id, outcome),
        Err(error) => {
            (error.id(), Outcome::Retry { after: None, why: ApiError::Unavailable(error.to_string()) })
        }
    };
    let Some((key, _)) = looks.0.remove(&id) else { return };
    match &outcome {
        // A conflict only says that there is news, which the watch brings.
        Outcome::Retry { why: why @ ApiError::Conflict(_), .. } => {
            debug!(run = %key, %why, "will be looked at again");
        }
        Outcome::Retry { why, .. } => {
            warn!(run = %key, class = why.class(), %why, "will be looked at again");
        }
        Outcome::Done(_) | Outcome::Gone => {}
    }
    shared.with_queue(|queue| outcome.hand_back(queue, key, Timestamp::now()));
}
