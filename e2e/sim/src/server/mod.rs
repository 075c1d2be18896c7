//! A model of the API server: what is stored, in which version, and who is told.
//!
//! It keeps the controller's own narrow views of objects. What it does with them is what Kubernetes does, as far as a client can see
//! it: one counter of versions for all kinds, generations that count changes of a spec, writes that change nothing and are not
//! written, finalizers, and a log of events for each kind from which every watcher reads at its own pace.

use std::collections::BTreeMap;
use std::sync::Arc;

use archfan::api::kubernetes::{Node, Pod};
use archfan::api::tekton::{CustomRun, TaskRun};
use archfan::core::observed::ClaimFacts;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::Value;

mod garbage;
mod verbs;

pub use garbage::{Deletion, Garbage};
pub use verbs::{Refuse, metadata};

/// The one namespace of the model.
pub const NAMESPACE: &str = "ns";

/// An object with metadata.
pub trait Object: Clone {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

macro_rules! objects {
    ($($kind:ty),+) => {
        $(impl Object for $kind {
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        })+
    };
}

objects!(CustomRun, TaskRun, Pod, Node);

/// Something that happened to an object, as watchers are told.
#[derive(Clone, Debug)]
pub enum Happened<T> {
    /// It was made or changed.
    Applied(Arc<T>),
    /// It is gone; this is what it was last.
    Deleted(Arc<T>),
}

/// All objects of a kind and everything that ever happened to them.
#[derive(Debug)]
pub struct Table<T> {
    there: BTreeMap<String, Arc<T>>,
    log: Vec<Happened<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { there: BTreeMap::new(), log: Vec::new() }
    }
}

impl<T: Object> Table<T> {
    /// Finds an object.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.there.get(name)
    }

    /// All objects, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.there.iter()
    }

    /// All objects: what a list shows.
    pub fn snapshot(&self) -> Vec<Arc<T>> {
        self.there.values().cloned().collect()
    }

    /// Everything that happened, in order.
    pub fn log(&self) -> &[Happened<T>] {
        &self.log
    }

    /// Stores a version of an object and tells.
    fn put(&mut self, versions: &mut u64, mut object: T) -> Arc<T> {
        *versions += 1;
        let meta = object.meta_mut();
        meta.resource_version = Some(versions.to_string());
        let name = meta.name.clone().unwrap_or_default();
        let object = Arc::new(object);
        self.there.insert(name, object.clone());
        self.log.push(Happened::Applied(object.clone()));
        object
    }

    /// Removes an object and tells.
    fn remove(&mut self, versions: &mut u64, name: &str) -> Option<Arc<T>> {
        let object = self.there.remove(name)?;
        *versions += 1;
        let mut last = (*object).clone();
        last.meta_mut().resource_version = Some(versions.to_string());
        self.log.push(Happened::Deleted(Arc::new(last)));
        Some(object)
    }
}

/// A claim, as far as a run looks at it.
#[derive(Clone, Debug)]
pub struct StoredClaim {
    /// What the controller sees of it.
    pub facts: ClaimFacts,
    /// Uids of its owners.
    pub owners: Vec<String>,
}

/// A `MultiArchBuild`.
#[derive(Clone, Debug)]
pub struct StoredDefinition {
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its spec.
    pub spec: Value,
}

/// Everything that is stored.
#[derive(Debug)]
pub struct Server {
    /// The one clock.
    pub now: Timestamp,
    versions: u64,
    uids: u64,
    /// The CustomRuns, other controllers' among them.
    pub runs: Table<CustomRun>,
    /// The TaskRuns, other people's among them.
    pub task_runs: Table<TaskRun>,
    /// The pods.
    pub pods: Table<Pod>,
    /// The nodes.
    pub nodes: Table<Node>,
    /// Uids of PipelineRuns that are there, by name.
    pub pipeline_runs: BTreeMap<String, String>,
    /// The claims.
    pub claims: BTreeMap<String, StoredClaim>,
    /// The builds that runs may refer to.
    pub definitions: BTreeMap<String, StoredDefinition>,
    /// What the garbage collector has still to do.
    pub garbage: Garbage,
}

impl Server {
    /// An empty server.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            versions: 100,
            uids: 0,
            runs: Table::default(),
            task_runs: Table::default(),
            pods: Table::default(),
            nodes: Table::default(),
            pipeline_runs: BTreeMap::new(),
            claims: BTreeMap::new(),
            definitions: BTreeMap::new(),
            garbage: Garbage::default(),
        }
    }

    /// A uid that no object has had.
    pub fn uid(&mut self) -> String {
        self.uids += 1;
        format!("u{}", self.uids)
    }

    /// The clock in whole seconds, as Kubernetes keeps times.
    pub fn time(&self) -> Time {
        Time(Timestamp::from_second(self.now.as_second()).unwrap_or(self.now))
    }

    /// Fills in what the server decides about a new object.
    fn born(&mut self, meta: &mut ObjectMeta) {
        meta.uid = Some(self.uid());
        meta.generation = Some(1);
        meta.namespace = Some(NAMESPACE.to_owned());
        meta.creation_timestamp = Some(self.time());
    }

    /// Stores a new CustomRun.
    pub fn add_run(&mut self, mut run: CustomRun) -> Arc<CustomRun> {
        self.born(&mut run.metadata);
        self.runs.put(&mut self.versions, run)
    }

    /// Stores a new TaskRun.
    pub fn add_task_run(&mut self, mut task_run: TaskRun) -> Arc<TaskRun> {
        self.born(&mut task_run.metadata);
        for owner in task_run.metadata.owner_references.iter().flatten() {
            if !self.is_alive(owner) {
                self.garbage.bury(&owner.uid);
            }
        }
        self.task_runs.put(&mut self.versions, task_run)
    }

    /// Stores a new pod.
    pub fn add_pod(&mut self, mut pod: Pod) -> Arc<Pod> {
        self.born(&mut pod.metadata);
        self.pods.put(&mut self.versions, pod)
    }

    /// Stores a node, new or changed.
    pub fn put_node(&mut self, node: Node) {
        self.nodes.put(&mut self.versions, node);
    }

    /// Removes a node.
    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(&mut self.versions, name);
    }

    /// Changes the spec or the metadata of a run. A changed spec makes a new generation.
    pub fn edit_run(&mut self, name: &str, edit: impl FnOnce(&mut CustomRun)) -> Option<Arc<CustomRun>> {
        let before = self.runs.get(name)?.clone();
        let mut run = (*before).clone();
        edit(&mut run);
        if run == *before {
            return Some(before);
        }
        if run.spec != before.spec {
            run.metadata.generation = run.metadata.generation.map(|generation| generation + 1);
        }
        Some(self.runs.put(&mut self.versions, run))
    }

    /// Changes a TaskRun's status.
    pub fn edit_task_run(&mut self, name: &str, edit: impl FnOnce(&mut TaskRun)) -> Option<Arc<TaskRun>> {
        let before = self.task_runs.get(name)?.clone();
        let mut task_run = (*before).clone();
        edit(&mut task_run);
        if task_run == *before {
            return Some(before);
        }
        if task_run.spec != before.spec {
            task_run.metadata.generation = task_run.metadata.generation.map(|generation| generation + 1);
        }
        Some(self.task_runs.put(&mut self.versions, task_run))
    }

    /// Changes a pod.
    pub fn edit_pod(&mut self, name: &str, edit: impl FnOnce(&mut Pod)) -> Option<Arc<Pod>> {
        let mut pod = (**self.pods.get(name)?).clone();
        edit(&mut pod);
        Some(self.pods.put(&mut self.versions, pod))
    }

    /// Whether an owner is there: by name and uid.
    fn is_alive(&self, owner: &OwnerReference) -> bool {
        match owner.kind.as_str() {
            "CustomRun" => {
                self.runs.get(&owner.name).is_some_and(|run| run.metadata.uid.as_ref() == Some(&owner.uid))
            }
            "TaskRun" => self
                .task_runs
                .get(&owner.name)
                .is_some_and(|task_run| task_run.metadata.uid.as_ref() == Some(&owner.uid)),
            "PipelineRun" => self.pipeline_runs.get(&owner.name) == Some(&owner.uid),
            _ => true,
        }
    }
}

/// The uid of an object, which every stored object has.
pub fn uid_of(object: &impl Object) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// The version of an object as a number.
pub fn version_of(object: &impl Object) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}
