//! What the watches have seen: plain data behind one lock, no I/O.
//!
//! Every change says which runs it concerns. Deletions that a watch missed are found when it lists again, and concern their runs as
//! if they had been seen. What this process has written itself is put in at once, so that the next reconcile does not decide on an
//! older state; a watch event that is older than what is there is passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::api::Key;
use super::queue::unique;
use crate::api::kubernetes::{Node, Pod, labels};
use crate::api::names::label;
use crate::api::tekton::{CustomRun, TaskRun};
use crate::core::cleanup;
use crate::core::observed::{NodeFacts, Nodes, PodNote};
use crate::core::progress::has_ended;

/// How many events are kept for a pod.
const NOTES: usize = 4;
/// How many deletions are remembered, against late answers to creates.
const TOMBSTONES: usize = 4096;
/// Tekton's label on a pod with the name of its TaskRun (Tekton `pkg/apis/pipeline/register.go`).
const LABEL_TASK_RUN: &str = "tekton.dev/taskRun";

/// Everything that is known about the cluster.
#[derive(Debug, Default)]
pub struct Cache {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<Key, Arc<CustomRun>>,
    /// Every TaskRun of ours.
    children: HashMap<Key, Arc<TaskRun>>,
    /// Their names, by uid of the run that is their first owner.
    families: HashMap<String, BTreeMap<String, Key>>,
    /// Those that had not ended when they were last seen, by run of that name, with the uid of the run that they were for. Of those that
    /// are gone the latest are remembered.
    at_work: HashMap<Key, BTreeMap<String, String>>,
    gone_at_work: VecDeque<(Key, String)>,
    /// Names of those that may be taken over, by namespace and digest of the text.
    reusable: HashMap<Key, BTreeMap<String, Key>>,
    pods: HashMap<Key, Arc<Pod>>,
    /// Names of pods, by TaskRun.
    pods_of: HashMap<Key, BTreeMap<String, Key>>,
    /// Names of pods, by run.
    pods_of_run: HashMap<Key, BTreeMap<String, Key>>,
    notes: HashMap<Key, VecDeque<PodNote>>,
    nodes: Option<Arc<Nodes>>,
    /// Runs whose status may be another than the one that is here.
    doubted: HashSet<Key>,
    tombstones: HashSet<String>,
    tombstone_order: VecDeque<String>,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// It is there, new or changed.
    Applied(Arc<T>),
    /// It is gone.
    Deleted(Arc<T>),
    /// These are all that there are, in one namespace or in all: what is not among them is gone.
    Listed(Option<String>, Vec<Arc<T>>),
}

impl Cache {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happened to CustomRuns. Those of other controllers are passed over.
    pub fn runs_changed(&self, change: Change<CustomRun>) -> Vec<Key> {
        let mut inner = self.write();
        match change {
            Change::Applied(run) => inner.put_run(run).into_iter().collect(),
            Change::Deleted(run) => {
                let key = key(&run.metadata);
                inner.doubted.remove(&key);
                inner.runs.remove(&key).map(|_| key).into_iter().collect()
            }
            Change::Listed(scope, runs) => {
                let ours: Vec<Arc<CustomRun>> = runs.into_iter().filter(|run| run.is_ours()).collect();
                let there: HashSet<Key> = ours.iter().map(|run| key(&run.metadata)).collect();
                let mut concerned = gone(inner.runs.keys(), &there, scope.as_deref());
                for key in &concerned {
                    inner.runs.remove(key);
                    inner.doubted.remove(key);
                }
                concerned.extend(ours.into_iter().filter_map(|run| inner.put_run(run)));
                concerned
            }
        }
    }

    /// Takes in what happened to TaskRuns of ours.
    pub fn children_changed(&self, change: Change<TaskRun>) -> Vec<Key> {
        let mut inner = self.write();
        match change {
            Change::Applied(child) => inner.put_child(child).into_iter().collect(),
            Change::Deleted(child) => {
                let run = run_of(&child.metadata);
                let (key, uid) = (key(&child.metadata), &child.metadata.uid);
                inner.bury(uid.as_deref());
                // Another of that name, which this process has just made, stays.
                if inner.children.get(&key).is_some_and(|there| there.metadata.uid == *uid) {
                    inner.lose_child(&key);
                }
                run.into_iter().collect()
            }
            Change::Listed(scope, children) => {
                let there: HashSet<Key> = children.iter().map(|child| key(&child.metadata)).collect();
                let mut concerned = Vec::new();
                for key in gone(inner.children.keys(), &there, scope.as_deref()) {
                    if let Some(child) = inner.lose_child(&key) {
                        concerned.extend(run_of(&child.metadata));
                    }
                }
                concerned.extend(children.into_iter().filter_map(|child| inner.put_child(child)));
                unique(concerned)
            }
        }
    }

    /// Takes in what happened to pods of ours.
    pub fn pods_changed(&self, change: Change<Pod>) -> Vec<Key> {
        let mut inner = self.write();
        match change {
            Change::Applied(pod) => inner.put_pod(pod).into_iter().collect(),
            Change::Deleted(pod) => inner.remove_pod(&key(&pod.metadata)).into_iter().collect(),
            Change::Listed(scope, pods) => {
                let there: HashSet<Key> = pods.iter().map(|pod| key(&pod.metadata)).collect();
                let gone = gone(inner.pods.keys(), &there, scope.as_deref());
                let mut concerned: Vec<Key> = gone.iter().filter_map(|key| inner.remove_pod(key)).collect();
                concerned.extend(pods.into_iter().filter_map(|pod| inner.put_pod(pod)));
                unique(concerned)
            }
        }
    }

    /// Takes in what happened to nodes. Runs that wait for one are concerned, if anything changed that placement depends on: nodes
    /// report themselves all the time.
    pub fn nodes_changed(&self, change: Change<Node>) -> Vec<Key> {
        let mut inner = self.write();
        let there = inner.nodes.as_deref();
        match change {
            // A map of thousands of nodes is not copied for a report that says nothing new.
            Change::Applied(node) => {
                let (name, facts) = named_facts(&node);
                if there.and_then(|nodes| nodes.get(&name)) == Some(&facts) {
                    return Vec::new();
                }
                Arc::make_mut(inner.nodes.get_or_insert_default()).insert(name, facts);
            }
            Change::Deleted(node) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                if there.is_some_and(|nodes| !nodes.contains_key(name)) {
                    return Vec::new();
                }
                Arc::make_mut(inner.nodes.get_or_insert_default()).remove(name);
            }
            Change::Listed(_, all) => {
                let all: Nodes = all.iter().map(|node| named_facts(node)).collect();
                if there == Some(&all) {
                    return Vec::new();
                }
                inner.nodes = Some(Arc::new(all));
            }
        }
        let mut unfinished: Vec<Key> = inner
            .runs
            .iter()
            .filter(|(_, run)| !run.status.as_ref().is_some_and(cleanup::is_finished))
            .map(|(key, _)| key.clone())
            .collect();
        unfinished.sort();
        unfinished
    }

    /// Takes in something that the cluster said about a pod.
    pub fn noted(&self, pod: Key, note: PodNote) -> Vec<Key> {
        let mut inner = self.write();
        // Of pods that are not ours nothing is kept.
        let Some(run) = inner.pods.get(&pod).and_then(|pod| run_of_pod(pod)) else { return Vec::new() };
        let notes = inner.notes.entry(pod).or_default();
        if notes.back() == Some(&note) {
            return Vec::new();
        }
        notes.push_back(note);
        if notes.len() > NOTES {
            notes.pop_front();
        }
        vec![run]
    }

    /// Puts in what this process has just made or changed.
    pub fn child_written(&self, child: Arc<TaskRun>) {
        let mut inner = self.write();
        if child.metadata.uid.as_ref().is_some_and(|uid| inner.tombstones.contains(uid)) {
            return;
        }
        inner.put_child(child);
    }

    /// Takes out what this process has just found to be gone.
    pub fn child_gone(&self, child: &Key, uid: Option<&str>) {
        let mut inner = self.write();
        inner.bury(uid);
        if uid.is_none() || inner.children.get(child).and_then(|c| c.metadata.uid.as_deref()) == uid {
            inner.lose_child(child);
        }
    }

    /// Puts in the run whose status this process has just written.
    pub fn run_written(&self, run: Arc<CustomRun>) {
        let mut inner = self.write();
        let key = key(&run.metadata);
        // A run that has gone meanwhile does not come back, and does not take the place of another of its name.
        if inner.runs.get(&key).is_some_and(|there| there.metadata.uid == run.metadata.uid) {
            inner.put_run(run);
        }
    }

    /// Notes that a run's status may be another than the one that is here: a write of it was not answered, or was told that there is
    /// a newer one.
    pub fn doubt_run(&self, key: &Key) {
        self.write().doubted.insert(key.clone());
    }

    /// Whether a run has to be read from the server before anything is decided about it.
    pub fn is_doubted(&self, key: &Key) -> bool {
        self.read().doubted.contains(key)
    }

    /// Puts in a run as it was read from the server, which ends the doubt about it.
    pub fn run_read(&self, run: Arc<CustomRun>) {
        self.write().doubted.remove(&key(&run.metadata));
        self.run_written(run);
    }

    /// Finds a run.
    pub fn run(&self, key: &Key) -> Option<Arc<CustomRun>> {
        self.read().runs.get(key).cloned()
    }

    /// All runs.
    pub fn all_runs(&self) -> Vec<Arc<CustomRun>> {
        self.read().runs.values().cloned().collect()
    }

    /// The children of a run, by name.
    pub fn children_of(&self, run_uid: &str) -> BTreeMap<String, Arc<TaskRun>> {
        let inner = self.read();
        let names = inner.families.get(run_uid).into_iter().flatten();
        names.filter_map(|(name, key)| Some((name.clone(), inner.children.get(key)?.clone()))).collect()
    }

    /// The pod of a TaskRun's current attempt: the one that it names, or else the newest.
    pub fn pod_of(&self, child: &TaskRun) -> Option<Arc<Pod>> {
        let inner = self.read();
        let pods = inner.pods_of.get(&key(&child.metadata))?;
        // Pods of an earlier TaskRun of this name may still be there, or still be seen; they have the same names.
        let uid = child.metadata.uid.as_deref();
        let ours = |pod: &&Arc<Pod>| {
            let mut owners = pod.metadata.owner_references.iter().flatten().peekable();
            owners.peek().is_none() || owners.any(|owner| Some(owner.uid.as_str()) == uid)
        };
        let named = child.status.as_ref().map(|status| status.pod_name.as_str()).unwrap_or_default();
        if let Some(pod) = pods.get(named).and_then(|key| inner.pods.get(key)).filter(ours) {
            return Some(pod.clone());
        }
        let pods = pods.values().filter_map(|key| inner.pods.get(key)).filter(ours);
        pods.max_by_key(|pod| {
            (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone())
        })
        .cloned()
    }

    /// Names of TaskRuns that were at work for another run of this name than the one that has this uid.
    pub fn predecessors(&self, run: &Key, uid: &str) -> BTreeSet<String> {
        let inner = self.read();
        let at_work = inner.at_work.get(run).into_iter().flatten();
        at_work.filter(|(_, of)| *of != uid).map(|(name, _)| name.clone()).collect()
    }

    /// The pods of a run whose TaskRuns are gone, with the names of those. A pod whose TaskRun is there, whosever it is, is not left
    /// behind: it goes with its TaskRun.
    pub fn stray_pods_of_run(&self, run: &Key) -> Vec<(String, Arc<Pod>)> {
        let inner = self.read();
        let names = inner.pods_of_run.get(run).into_iter().flatten();
        names
            .filter_map(|(_, key)| {
                let pod = inner.pods.get(key)?;
                let task_run = task_run_of(pod)?;
                (!inner.children.contains_key(&task_run)).then(|| (task_run.name, pod.clone()))
            })
            .collect()
    }

    /// What the cluster said about a pod, newest last.
    pub fn notes_of(&self, pod: &Key) -> Vec<PodNote> {
        self.read().notes.get(pod).into_iter().flatten().cloned().collect()
    }

    /// The nodes, once they have been listed.
    pub fn nodes(&self) -> Option<Arc<Nodes>> {
        self.read().nodes.clone()
    }

    /// TaskRuns in a namespace that bear the digest of a reuse text, of whatever run.
    pub fn reusable(&self, namespace: &str, digest: &str) -> Vec<Arc<TaskRun>> {
        let inner = self.read();
        let names = inner.reusable.get(&Key::new(namespace, digest)).into_iter().flatten();
        names.filter_map(|(_, key)| inner.children.get(key).cloned()).collect()
    }
}

impl Inner {
    fn put_run(&mut self, mut run: Arc<CustomRun>) -> Option<Key> {
        if !run.is_ours() {
            return None;
        }
        let key = key(&run.metadata);
        if let Some(there) = self.runs.get(&key)
            && is_older(&run.metadata, &there.metadata)
        {
            return None;
        }
        if run.metadata.managed_fields.is_some() {
            Arc::make_mut(&mut run).metadata.managed_fields = None;
        }
        self.runs.insert(key.clone(), run);
        Some(key)
    }

    fn put_child(&mut self, mut child: Arc<TaskRun>) -> Option<Key> {
        let key = key(&child.metadata);
        if let Some(there) = self.children.get(&key)
            && is_older(&child.metadata, &there.metadata)
        {
            return None;
        }
        self.remove_child(&key);
        if child.metadata.managed_fields.is_some() {
            Arc::make_mut(&mut child).metadata.managed_fields = None;
        }
        let run = run_of(&child.metadata);
        if let Some(owner) = first_owner(&child.metadata) {
            self.families.entry(owner.to_owned()).or_default().insert(key.name.clone(), key.clone());
        }
        match (&run, first_owner(&child.metadata)) {
            (Some(run), Some(owner)) if !has_ended(&child) => {
                self.at_work.entry(run.clone()).or_default().insert(key.name.clone(), owner.to_owned());
            }
            (Some(run), _) => remove_from(&mut self.at_work, run, &key.name),
            (None, _) => {}
        }
        if let Some(digest) = labels(&child.metadata).get(label::REUSE) {
            self.reusable
                .entry(Key::new(&key.namespace, digest))
                .or_default()
                .insert(key.name.clone(), key.clone());
        }
        self.children.insert(key, child);
        run
    }

    /// Takes out a child that is not there any more.
    fn lose_child(&mut self, key: &Key) -> Option<Arc<TaskRun>> {
        let child = self.remove_child(key)?;
        if let Some(run) = run_of(&child.metadata).filter(|_| !has_ended(&child)) {
            self.gone_at_work.push_back((run, key.name.clone()));
        }
        if self.gone_at_work.len() > TOMBSTONES
            && let Some((run, name)) = self.gone_at_work.pop_front()
            && !self.children.contains_key(&Key::new(&run.namespace, &name))
        {
            remove_from(&mut self.at_work, &run, &name);
        }
        Some(child)
    }

    fn remove_child(&mut self, key: &Key) -> Option<Arc<TaskRun>> {
        let child = self.children.remove(key)?;
        if let Some(owner) = first_owner(&child.metadata) {
            remove_from(&mut self.families, owner, &key.name);
        }
        if let Some(digest) = labels(&child.metadata).get(label::REUSE) {
            remove_from(&mut self.reusable, &Key::new(&key.namespace, digest), &key.name);
        }
        Some(child)
    }

    fn put_pod(&mut self, mut pod: Arc<Pod>) -> Option<Key> {
        let key = key(&pod.metadata);
        // Tekton copies all that a TaskRun is annotated with to its pod, and nothing is decided by it.
        if pod.metadata.annotations.is_some() {
            Arc::make_mut(&mut pod).metadata.annotations = None;
        }
        let (task_run, run) = (task_run_of(&pod)?, run_of_pod(&pod)?);
        self.pods_of.entry(task_run).or_default().insert(key.name.clone(), key.clone());
        self.pods_of_run.entry(run.clone()).or_default().insert(key.name.clone(), key.clone());
        self.pods.insert(key, pod);
        Some(run)
    }

    fn remove_pod(&mut self, key: &Key) -> Option<Key> {
        let pod = self.pods.remove(key)?;
        let run = run_of_pod(&pod);
        if let Some(task_run) = task_run_of(&pod) {
            remove_from(&mut self.pods_of, &task_run, &key.name);
        }
        if let Some(run) = &run {
            remove_from(&mut self.pods_of_run, run, &key.name);
        }
        self.notes.remove(key);
        run
    }

    fn bury(&mut self, uid: Option<&str>) {
        let Some(uid) = uid else { return };
        if self.tombstones.insert(uid.to_owned()) {
            self.tombstone_order.push_back(uid.to_owned());
        }
        if self.tombstone_order.len() > TOMBSTONES
            && let Some(oldest) = self.tombstone_order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }
}

/// What is known in a scope and is not there any more, in order.
fn gone<'a>(known: impl Iterator<Item = &'a Key>, there: &HashSet<Key>, scope: Option<&str>) -> Vec<Key> {
    let in_scope = |key: &&Key| scope.is_none_or(|namespace| key.namespace == namespace);
    let mut gone: Vec<Key> = known.filter(in_scope).filter(|key| !there.contains(*key)).cloned().collect();
    gone.sort();
    gone
}

fn remove_from<K: Eq + Hash, V>(map: &mut HashMap<K, BTreeMap<String, V>>, key: &K, name: &str) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}

fn key(meta: &ObjectMeta) -> Key {
    Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Uid of the CustomRun that is an object's first owner. A child with two owners is still its run's: the order says so.
fn first_owner(meta: &ObjectMeta) -> Option<&String> {
    let owner = meta.owner_references.as_ref()?.first()?;
    (owner.kind == "CustomRun").then_some(&owner.uid)
}

/// The run that a child belongs to.
fn run_of(meta: &ObjectMeta) -> Option<Key> {
    let owner = meta.owner_references.as_ref()?.first()?;
    (owner.kind == "CustomRun")
        .then(|| Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

fn task_run_of(pod: &Pod) -> Option<Key> {
    let name = labels(&pod.metadata).get(LABEL_TASK_RUN)?;
    Some(Key::new(pod.metadata.namespace.clone().unwrap_or_default(), name))
}

/// The run that a pod works for. Its TaskRun may be gone already, so the label says it that Tekton copied from there.
fn run_of_pod(pod: &Pod) -> Option<Key> {
    let name = labels(&pod.metadata).get(label::CUSTOM_RUN)?;
    Some(Key::new(pod.metadata.namespace.clone().unwrap_or_default(), name))
}

/// Whether an object is older than one of that name that is there: an older version of it, or of one that had the name before it. Versions
/// of objects of one resource can be compared as numbers (Kubernetes KEP-5504; `k8s.io/apimachinery/pkg/util/resourceversion`).
fn is_older(new: &ObjectMeta, there: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_ref()?.parse::<u64>().ok();
    matches!((version(new), version(there)), (Some(new), Some(there)) if new < there)
}

fn named_facts(node: &Node) -> (String, NodeFacts) {
    let ready = node
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let facts = NodeFacts {
        labels: labels(&node.metadata).clone(),
        taints: node.spec.taints.clone(),
        usable: ready && !node.spec.unschedulable,
    };
    (node.metadata.name.clone().unwrap_or_default(), facts)
}

#[cfg(test)]
mod tests;
