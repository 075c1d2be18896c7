//! Deletion and what follows from it: finalizers, and the garbage collector, which comes when it comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use archfan::api::tekton::TaskRun;
use archfan::shell::api::{ApiError, ApiResult};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Object, Server, uid_of};

/// What becomes of an object's dependents when it is deleted (Kubernetes `propagationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What the garbage collector has to look at.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Uids that are gone and may have dependents.
    dead: BTreeSet<String>,
    /// Runs that are being deleted and wait for the collector.
    waiting: BTreeSet<String>,
}

impl Garbage {
    /// Notes that an object is gone.
    pub fn bury(&mut self, uid: &str) {
        self.dead.insert(uid.to_owned());
    }

    /// Whether there is anything to do.
    pub fn is_due(&self) -> bool {
        !self.dead.is_empty() || !self.waiting.is_empty()
    }
}

impl Server {
    /// `DELETE customruns/NAME`.
    pub fn delete_run(&mut self, name: &str, how: Deletion) {
        let Some(run) = self.runs.get(name).cloned() else { return };
        let finalizer = match how {
            Deletion::Background => None,
            Deletion::Foreground => Some(FOREGROUND),
            Deletion::Orphan => Some(ORPHAN),
        };
        match finalizer {
            None if run.metadata.finalizers.is_none() => self.remove_run(name),
            _ => {
                let time = self.time();
                self.garbage.waiting.insert(name.to_owned());
                self.edit_run(name, |run| {
                    if run.metadata.deletion_timestamp.is_none() {
                        run.metadata.deletion_timestamp = Some(time);
                        run.metadata.generation = run.metadata.generation.map(|generation| generation + 1);
                        run.metadata.finalizers = finalizer.map(|name| vec![name.to_owned()]);
                    }
                });
            }
        }
    }

    fn remove_run(&mut self, name: &str) {
        if let Some(run) = self.runs.remove(&mut self.versions, name) {
            self.garbage.waiting.remove(name);
            self.garbage.bury(uid_of(&*run));
        }
    }

    /// Removes a PipelineRun.
    pub fn delete_pipeline_run(&mut self, name: &str) {
        if let Some(uid) = self.pipeline_runs.remove(name) {
            self.garbage.bury(&uid);
        }
    }

    /// `DELETE taskruns/NAME`, for the one with this uid if one is given.
    ///
    /// # Errors
    /// It is not there, or it is another.
    pub fn delete_task_run(&mut self, name: &str, uid: Option<&str>) -> ApiResult<()> {
        let Some(there) = self.task_runs.get(name).cloned() else {
            return Err(ApiError::NotFound(format!("taskruns.tekton.dev {name:?} not found")));
        };
        if uid.is_some_and(|uid| !uid.is_empty() && uid != uid_of(&*there)) {
            return Err(ApiError::Conflict(format!(
                "Operation cannot be fulfilled on taskruns.tekton.dev {name:?}: Precondition failed: UID in precondition: {}, UID in object meta: {}",
                uid.unwrap_or_default(),
                uid_of(&*there)
            )));
        }
        if there.metadata.finalizers.is_none() {
            self.remove_task_run(name);
            return Ok(());
        }
        let time = self.time();
        self.edit_task_run(name, |task_run| {
            if task_run.metadata.deletion_timestamp.is_none() {
                task_run.metadata.deletion_timestamp = Some(time);
                task_run.metadata.generation = task_run.metadata.generation.map(|generation| generation + 1);
            }
        });
        Ok(())
    }

    /// Takes the finalizers off a TaskRun; one that is being deleted is gone then.
    pub fn release_task_run(&mut self, name: &str) {
        let Some(there) = self.task_runs.get(name) else { return };
        if there.metadata.deletion_timestamp.is_some() {
            self.remove_task_run(name);
        } else {
            self.edit_task_run(name, |task_run| task_run.metadata.finalizers = None);
        }
    }

    fn remove_task_run(&mut self, name: &str) {
        if let Some(task_run) = self.task_runs.remove(&mut self.versions, name) {
            self.garbage.bury(uid_of(&*task_run));
        }
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, name: &str) {
        self.pods.remove(&mut self.versions, name);
    }

    /// One round of the garbage collector.
    pub fn collect(&mut self) {
        let waiting = std::mem::take(&mut self.garbage.waiting);
        for name in waiting {
            self.finish_deletion(&name);
        }
        let dead = std::mem::take(&mut self.garbage.dead);
        if dead.is_empty() {
            return;
        }
        let dangling = |owner: &OwnerReference| dead.contains(&owner.uid);
        for run in dependents(self.runs.snapshot(), &dangling) {
            let name = run.metadata.name.clone().unwrap_or_default();
            match self.judge(&run.metadata, &dangling) {
                Judgement::Delete => self.remove_run(&name),
                Judgement::Keep(owners) => {
                    self.edit_run(&name, |run| run.metadata.owner_references = owners);
                }
            }
        }
        for task_run in dependents(self.task_runs.snapshot(), &dangling) {
            let name = task_run.metadata.name.clone().unwrap_or_default();
            match self.judge(&task_run.metadata, &dangling) {
                Judgement::Delete => {
                    let _ = self.delete_task_run(&name, task_run.metadata.uid.as_deref());
                }
                Judgement::Keep(owners) => {
                    self.edit_task_run(&name, |task_run| task_run.metadata.owner_references = owners);
                }
            }
        }
        for pod in dependents(self.pods.snapshot(), &dangling) {
            self.remove_pod(pod.metadata.name.as_deref().unwrap_or_default());
        }
        self.claims
            .retain(|_, claim| claim.owners.is_empty() || claim.owners.iter().any(|uid| !dead.contains(uid)));
    }

    /// What the collector makes of an object of which an owner is gone: it goes too, unless another owner is there.
    fn judge(&self, meta: &ObjectMeta, dangling: &dyn Fn(&OwnerReference) -> bool) -> Judgement {
        let owners: Vec<OwnerReference> =
            meta.owner_references.iter().flatten().filter(|owner| !dangling(owner)).cloned().collect();
        if owners.iter().any(|owner| self.is_alive(owner)) {
            Judgement::Keep(Some(owners))
        } else {
            Judgement::Delete
        }
    }

    /// Goes on with the deletion of a run in the foreground, or of one whose dependents are to stay.
    fn finish_deletion(&mut self, name: &str) {
        let Some(run) = self.runs.get(name).cloned() else { return };
        let orphan = run.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ORPHAN);
        let uid = uid_of(&*run).to_owned();
        let ours = |owner: &OwnerReference| owner.uid == uid;
        let children: Vec<Arc<TaskRun>> = dependents(self.task_runs.snapshot(), &ours).collect();
        let mut left = false;
        for child in children {
            let name = child.metadata.name.clone().unwrap_or_default();
            match self.judge(&child.metadata, &ours) {
                Judgement::Delete if orphan => {
                    self.edit_task_run(&name, |task_run| task_run.metadata.owner_references = None);
                }
                Judgement::Delete => {
                    let _ = self.delete_task_run(&name, child.metadata.uid.as_deref());
                    left |= self.task_runs.get(&name).is_some();
                }
                Judgement::Keep(owners) => {
                    self.edit_task_run(&name, |task_run| task_run.metadata.owner_references = owners);
                }
            }
        }
        if left {
            self.garbage.waiting.insert(name.to_owned());
        } else {
            self.remove_run(name);
        }
    }
}

enum Judgement {
    Delete,
    Keep(Option<Vec<OwnerReference>>),
}

fn dependents<T: Object>(
    all: Vec<Arc<T>>,
    of: &dyn Fn(&OwnerReference) -> bool,
) -> impl Iterator<Item = Arc<T>> {
    all.into_iter().filter(move |object| object.meta().owner_references.iter().flatten().any(of))
}
