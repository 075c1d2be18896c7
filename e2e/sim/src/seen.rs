//! What the watches bring, on its way to the caches: as it is, or as a planted bug makes it.

use std::sync::Arc;

use archfan::api::tekton::{CustomRun, TaskRun};
use archfan::shell::api::Key;
use archfan::shell::cache::Change;
use archfan::shell::reconcile::Context;

use crate::bend;
use crate::faults::Fault;
use crate::seam::Seam;
use crate::server::{NAMESPACE, Object};

/// A watch of runs brings something. Gives the runs that are to be looked at.
pub fn runs(context: &Context<Seam>, change: Change<CustomRun>) -> Vec<Key> {
    let bent = |mut run: Arc<CustomRun>, fault| {
        bend::run(Arc::make_mut(&mut run), fault);
        run
    };
    let change = match (context.api.fault(), change) {
        (Some(fault), Change::Applied(run)) => Change::Applied(bent(run, fault)),
        (Some(fault), Change::Listed(scope, runs)) => {
            Change::Listed(scope, runs.into_iter().map(|run| bent(run, fault)).collect())
        }
        (_, change) => change,
    };
    context.cache.runs_changed(change)
}

/// A watch of children brings something; `again`, if it has brought it before. Gives the runs that are to be looked at.
pub fn children(context: &Context<Seam>, change: Change<TaskRun>, again: bool) -> Vec<Key> {
    let cache = &context.cache;
    let Some(fault) = context.api.fault() else { return cache.children_changed(change) };
    match &change {
        Change::Applied(child) => context.api.saw(child),
        Change::Listed(_, children) => children.iter().for_each(|child| context.api.saw(child)),
        Change::Deleted(_) => {}
    }
    match (fault, change) {
        (Fault::DeletionMissed, Change::Deleted(_)) => Vec::new(),
        (Fault::VersionsIgnored, Change::Applied(child)) if again => {
            cache.child_gone(&key_of(&*child), None);
            cache.children_changed(Change::Applied(child))
        }
        (Fault::ListOnlyAdds, Change::Listed(_, children)) => {
            let applied = children.into_iter().map(Change::Applied);
            applied.flat_map(|change| cache.children_changed(change)).collect()
        }
        (Fault::ListBuries, Change::Listed(scope, children)) => {
            for run in cache.all_runs() {
                for child in cache.children_of(run.metadata.uid.as_deref().unwrap_or_default()).values() {
                    if !children.iter().any(|listed| listed.metadata.uid == child.metadata.uid) {
                        context.api.bury(child);
                    }
                }
            }
            let children = children.into_iter().filter(|child| !context.api.is_buried(child)).collect();
            cache.children_changed(Change::Listed(scope, children))
        }
        (Fault::ListBuries, Change::Applied(child)) if context.api.is_buried(&child) => Vec::new(),
        (Fault::ChildWakesNobody, change) => {
            let _ = cache.children_changed(change);
            Vec::new()
        }
        (_, change) => cache.children_changed(change),
    }
}

/// The key of an object.
pub fn key_of(object: &impl Object) -> Key {
    Key::new(NAMESPACE, object.meta().name.clone().unwrap_or_default())
}
