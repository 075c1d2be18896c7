//! One replica of the controller: the real cache, the real queue and the real reconcile, with watches and a wire that the world moves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use archfan::api::kubernetes::{Node, Pod};
use archfan::api::names::label;
use archfan::api::tekton::{CustomRun, TaskRun};
use archfan::core::cleanup::is_finished;
use archfan::core::settings::Settings;
use archfan::shell::api::Key;
use archfan::shell::cache::{Cache, Change};
use archfan::shell::queue::Queue;
use archfan::shell::reconcile::{Context, Outcome, reconcile};
use jiff::Timestamp;

use crate::faults::Fault;
use crate::seam::Seam;
use crate::seen::{self, key_of};
use crate::server::{Happened, Object, Server, Table};
use crate::wire::{SharedWire, SimApi};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CustomRuns.
    Runs,
    /// TaskRuns of archfan's.
    Children,
    /// Their pods.
    Pods,
    /// Nodes.
    Nodes,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Runs, Kind::Children, Kind::Pods, Kind::Nodes];
}

/// A watch of one kind.
#[derive(Debug)]
pub struct Watch<T> {
    /// How many events of the server's log have been seen.
    pub seen: usize,
    /// Whether it is broken and has to list anew.
    pub broken: bool,
    /// What a list that is under way has found.
    pub listing: Option<Vec<Arc<T>>>,
    /// Whether it has ever listed.
    pub filled: bool,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        Self { seen: 0, broken: true, listing: None, filled: false }
    }
}

impl<T: Object> Watch<T> {
    /// Whether something can be brought.
    fn is_due(&self, table: &Table<T>) -> bool {
        self.broken || self.listing.is_some() || self.seen < table.log().len()
    }

    /// The next thing that it brings. A list is taken at one moment and arrives at another; events of the time between follow it.
    fn next(&mut self, table: &Table<T>, ours: fn(&T) -> bool) -> Option<Change<T>> {
        if let Some(found) = self.listing.take() {
            self.filled = true;
            let found = found.into_iter().filter(|object| ours(object)).collect();
            return Some(Change::Listed(None, found));
        }
        if self.broken {
            self.broken = false;
            self.seen = table.log().len();
            self.listing = Some(table.snapshot());
            return None;
        }
        let happened = table.log().get(self.seen)?;
        self.seen += 1;
        match happened {
            Happened::Applied(object) if ours(object) => Some(Change::Applied(object.clone())),
            Happened::Deleted(object) if ours(object) => Some(Change::Deleted(object.clone())),
            _ => None,
        }
    }

    /// An event that has been brought before and is brought again.
    fn again(&self, table: &Table<T>, back: usize, ours: fn(&T) -> bool) -> Option<Change<T>> {
        match table.log().get(self.seen.checked_sub(1 + back)?)? {
            // An object that is gone does not come back: a watch goes on from the version that was seen.
            Happened::Applied(object) if ours(object) => {
                let gone = |event: &Happened<T>| matches!(event, Happened::Deleted(last) if last.meta().uid == object.meta().uid);
                (!table.log()[..self.seen].iter().any(gone)).then(|| Change::Applied(object.clone()))
            }
            _ => None,
        }
    }
}

/// What a replica may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It leads.
    Leads,
    /// Another leads, and it has not noticed.
    Unaware,
    /// It is gone.
    Gone,
}

/// A reconcile under way.
pub struct Reconcile {
    /// Its number.
    pub id: u64,
    /// The run it looks at.
    pub key: Key,
    /// Uid of that run.
    pub run_uid: String,
    /// The run as the cache showed it at the start.
    pub run: Arc<CustomRun>,
    /// When it began.
    pub began: Timestamp,
    /// Whether this replica had been shown, before the start, that the run is over or to be over.
    pub knew_over: bool,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
}

/// A replica.
pub struct Replica {
    /// Its number.
    pub number: usize,
    /// What reconciles share.
    pub context: Arc<Context<Seam>>,
    /// What is due.
    pub queue: Queue<Key>,
    /// The watch of runs.
    pub runs: Watch<CustomRun>,
    /// The watch of children.
    pub children: Watch<TaskRun>,
    /// The watch of pods.
    pub pods: Watch<Pod>,
    /// The watch of nodes.
    pub nodes: Watch<Node>,
    /// Reconciles under way.
    pub reconciles: Vec<Reconcile>,
    /// What it may do.
    pub duty: Duty,
    /// Runs that it has been shown to be over, or to have been cancelled, by uid.
    pub shown_over: BTreeMap<String, u32>,
    made: u64,
}

impl Replica {
    /// A replica that has seen nothing yet.
    pub fn new(number: usize, wire: &SharedWire, settings: &Arc<Settings>, fault: Option<Fault>) -> Self {
        let api = Seam::new(SimApi::new(wire.clone()), fault);
        Self {
            number,
            context: Arc::new(Context { api, cache: Cache::default(), settings: settings.clone() }),
            queue: Queue::default(),
            runs: Watch::default(),
            children: Watch::default(),
            pods: Watch::default(),
            nodes: Watch::default(),
            reconciles: Vec::new(),
            duty: Duty::Leads,
            shown_over: BTreeMap::new(),
            made: 0,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.context.api.fault() == Some(fault)
    }

    /// Begins to lead: everything that is known is looked at.
    pub fn lead(&mut self, now: Timestamp) {
        self.queue = Queue::default();
        if self.has(Fault::LeadsWithoutLooking) {
            return;
        }
        let runs = self.context.cache.all_runs();
        self.due(runs.iter().map(|run| key_of(&**run)).collect(), now);
    }

    /// Whether every cache has been filled, before which nothing is looked at.
    pub fn is_ready(&self) -> bool {
        if self.has(Fault::LooksTooSoon) {
            return self.runs.filled;
        }
        self.runs.filled && self.children.filled && self.pods.filled && self.nodes.filled
    }

    /// Whether a watch has something to bring.
    pub fn is_due(&self, kind: Kind, server: &Server) -> bool {
        match kind {
            Kind::Runs => self.runs.is_due(&server.runs),
            Kind::Children => self.children.is_due(&server.task_runs),
            Kind::Pods => self.pods.is_due(&server.pods),
            Kind::Nodes => self.nodes.is_due(&server.nodes),
        }
    }

    /// Breaks a watch off.
    pub fn break_off(&mut self, kind: Kind) {
        match kind {
            Kind::Runs => (self.runs.broken, self.runs.listing) = (true, None),
            Kind::Children => (self.children.broken, self.children.listing) = (true, None),
            Kind::Pods => (self.pods.broken, self.pods.listing) = (true, None),
            Kind::Nodes => (self.nodes.broken, self.nodes.listing) = (true, None),
        }
    }

    /// Brings the next thing of a watch, and makes the runs due that it concerns. Says what it was, if anybody wants to know.
    pub fn bring(&mut self, kind: Kind, server: &Server, step: u32, wanted: bool) -> String {
        let cache = &self.context.cache;
        let mut told = String::new();
        let due = match kind {
            Kind::Runs => self.runs.next(&server.runs, |_| true).map(|change| {
                note_over(&mut self.shown_over, &change, step);
                say(&mut told, wanted, &change);
                seen::runs(&self.context, change)
            }),
            Kind::Children => self.children.next(&server.task_runs, is_labelled).map(|change| {
                say(&mut told, wanted, &change);
                seen::children(&self.context, change, false)
            }),
            Kind::Pods => self.pods.next(&server.pods, is_labelled).map(|change| {
                say(&mut told, wanted, &change);
                cache.pods_changed(change)
            }),
            Kind::Nodes => self.nodes.next(&server.nodes, |_| true).map(|change| {
                say(&mut told, wanted, &change);
                cache.nodes_changed(change)
            }),
        };
        self.due(due.unwrap_or_default(), server.now);
        told
    }

    /// Brings an event again that a watch has brought before.
    pub fn bring_again(&mut self, kind: Kind, back: usize, server: &Server) -> bool {
        let cache = &self.context.cache;
        let due = match kind {
            Kind::Runs => {
                self.runs.again(&server.runs, back, |_| true).map(|change| seen::runs(&self.context, change))
            }
            Kind::Children => self
                .children
                .again(&server.task_runs, back, is_labelled)
                .map(|change| seen::children(&self.context, change, true)),
            Kind::Pods => {
                self.pods.again(&server.pods, back, is_labelled).map(|change| cache.pods_changed(change))
            }
            Kind::Nodes => {
                self.nodes.again(&server.nodes, back, |_| true).map(|change| cache.nodes_changed(change))
            }
        };
        let there = due.is_some();
        self.due(due.unwrap_or_default(), server.now);
        there
    }

    /// Lets a watch begin as if it had listed before anything was there.
    pub fn follow_from_the_start(&mut self, kind: Kind) {
        match kind {
            Kind::Runs => (self.runs.broken, self.runs.filled) = (false, true),
            Kind::Children => (self.children.broken, self.children.filled) = (false, true),
            Kind::Pods => (self.pods.broken, self.pods.filled) = (false, true),
            Kind::Nodes => (self.nodes.broken, self.nodes.filled) = (false, true),
        }
    }

    /// How many events a watch has still to bring.
    pub fn behind(&self, kind: Kind, server: &Server) -> usize {
        match kind {
            Kind::Runs => server.runs.log().len() - self.runs.seen,
            Kind::Children => server.task_runs.log().len() - self.children.seen,
            Kind::Pods => server.pods.log().len() - self.pods.seen,
            Kind::Nodes => server.nodes.log().len() - self.nodes.seen,
        }
    }

    /// Makes runs due.
    pub fn due(&mut self, keys: Vec<Key>, now: Timestamp) {
        // The cache gives them in the order of its hash tables.
        let mut keys = keys;
        keys.sort_unstable();
        for key in keys {
            self.queue.add(key, now);
        }
    }

    /// Whether a reconcile may begin: the queue has to be asked for what.
    pub fn may_start(&self, concurrency: usize, now: Timestamp) -> bool {
        self.duty != Duty::Gone
            && self.is_ready()
            && self.reconciles.len() < concurrency
            && (self.queue.depth() > 0 || self.queue.next_due().is_some_and(|time| time <= now))
    }

    /// Takes the next run from the queue and begins to look at it. Gives the number of the reconcile.
    pub fn start(&mut self, now: Timestamp) -> Option<u64> {
        let key = self.queue.take(now)?;
        if self.has(Fault::TwoLooksAtOnce) {
            self.queue.done(key.clone(), None, now);
        }
        let run = self.context.cache.run(&key);
        self.made += 1;
        let id = self.made;
        let run_uid = run.as_ref().and_then(|run| run.metadata.uid.clone()).unwrap_or_default();
        let (context, looked_at) = (self.context.clone(), key.clone());
        self.reconciles.push(Reconcile {
            id,
            key,
            began: now,
            knew_over: self.shown_over.contains_key(&run_uid),
            run_uid,
            run: run.unwrap_or_default(),
            future: Box::pin(async move { reconcile(&looked_at, &context, now).await }),
        });
        Some(id)
    }

    /// Lets a reconcile go on as far as it can. Gives its outcome once it has one.
    pub fn poll(&mut self, id: u64, wire: &SharedWire, now: Timestamp) -> Option<Outcome> {
        let index = self.reconciles.iter().position(|reconcile| reconcile.id == id)?;
        wire.lock().running = (self.number, id);
        let mut context = std::task::Context::from_waker(Waker::noop());
        match self.reconciles[index].future.as_mut().poll(&mut context) {
            Poll::Pending => None,
            Poll::Ready(outcome) => {
                let reconcile = self.reconciles.remove(index);
                self.forget_own_writes();
                let outcome = match outcome {
                    Outcome::Retry { .. } if self.has(Fault::RequeueLost) => Outcome::Done(None),
                    Outcome::Done(Some(_)) if self.has(Fault::TimerLost) => Outcome::Done(None),
                    outcome => outcome,
                };
                outcome.clone().hand_back(&mut self.queue, reconcile.key, now);
                Some(outcome)
            }
        }
    }

    fn forget_own_writes(&self) {
        if self.has(Fault::OwnWritesForgotten) {
            for key in self.context.api.take_created() {
                self.context.cache.child_gone(&key, None);
            }
        }
    }

    /// Finds a reconcile.
    pub fn reconcile(&self, id: u64) -> Option<&Reconcile> {
        self.reconciles.iter().find(|reconcile| reconcile.id == id)
    }

    /// Stops everything that it was doing, wherever it was.
    pub fn die(&mut self) {
        self.duty = Duty::Gone;
        self.reconciles.clear();
    }

    /// Notes that it has been shown a run.
    pub fn shown(&mut self, run: &CustomRun, step: u32) {
        note_run(&mut self.shown_over, run, step);
    }
}

fn is_labelled<T: Object>(object: &T) -> bool {
    object.meta().labels.as_ref().is_some_and(|labels| labels.contains_key(label::ROLE))
}

fn note_over(over: &mut BTreeMap<String, u32>, change: &Change<CustomRun>, step: u32) {
    match change {
        Change::Applied(run) => note_run(over, run, step),
        Change::Deleted(_) => {}
        Change::Listed(_, runs) => runs.iter().for_each(|run| note_run(over, run, step)),
    }
}

fn note_run(over: &mut BTreeMap<String, u32>, run: &CustomRun, step: u32) {
    let cancelled = run.spec.status.as_deref() == Some("RunCancelled");
    if cancelled || run.metadata.deletion_timestamp.is_some() || run.status.as_ref().is_some_and(is_finished)
    {
        let uid = run.metadata.uid.clone().unwrap_or_default();
        over.entry(uid).or_insert(step);
    }
}

fn say<T: Object>(told: &mut String, wanted: bool, change: &Change<T>) {
    if !wanted {
        return;
    }
    let name = |object: &T| {
        let meta = object.meta();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {} v{}", text(&meta.name), text(&meta.uid), text(&meta.resource_version))
    };
    *told = match change {
        Change::Applied(object) => format!("sees {}", name(object)),
        Change::Deleted(object) => format!("sees that {} is gone", name(object)),
        Change::Listed(_, all) => {
            format!("has listed [{}]", all.iter().map(|object| name(object)).collect::<Vec<_>>().join(", "))
        }
    };
}
