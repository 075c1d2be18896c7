//! Putting together what is known about a run: from the caches, and before it is accepted from the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{join, join_all, try_join_all};
use jiff::Timestamp;
use serde::Deserialize as _;

use super::api::{Api, ApiResult, Key};
use super::cache::Cache;
use crate::api::status::ExtraFields;
use crate::api::tekton::{CustomRun, TaskRun};
use crate::core::accept::{self, Needs};
use crate::core::observed::{Claim, Definition, Facts, Observed};
use crate::core::settings::Settings;
use crate::core::{progress, reuse};

/// Gathers everything that a decision about `run` is made from.
///
/// # Errors
/// A read that failed and may succeed later.
pub async fn gather<A: Api>(
    api: &A,
    cache: &Cache,
    settings: &Arc<Settings>,
    run: Arc<CustomRun>,
    now: Timestamp,
) -> ApiResult<Observed> {
    let namespace = run.metadata.namespace.clone().unwrap_or_default();
    let extra = run
        .status
        .as_ref()
        .and_then(|status| ExtraFields::deserialize(&status.extra_fields).ok())
        .unwrap_or_default();
    let finished = run.status.as_ref().is_some_and(crate::core::cleanup::is_finished);
    let needs = if finished { Needs::default() } else { accept::needs(&run, &extra) };
    let mut children = cache.children_of(run.metadata.uid.as_deref().unwrap_or_default());
    let (facts, fresh) = join(facts(api, &namespace, needs), look_again(api, &namespace, &children)).await;
    let mut facts = facts?;
    for (name, child) in fresh? {
        let old = children.remove(&name).and_then(|old| old.metadata.uid.clone());
        match child.filter(|child| child.metadata.uid == old) {
            Some(child) => {
                children.insert(name, child);
            }
            // What was believed of it must not outlive it.
            None => cache.child_gone(&Key::new(&namespace, &name), old.as_deref()),
        }
    }
    facts.reusable = reusable(cache, &run, &namespace, &extra, &facts);
    let mut pods = BTreeMap::new();
    let mut notes = BTreeMap::new();
    for (name, child) in &children {
        if let Some(pod) = cache.pod_of(child) {
            let pod_name = pod.metadata.name.clone().unwrap_or_default();
            let said = cache.notes_of(&Key::new(&namespace, &pod_name));
            if !said.is_empty() {
                notes.insert(pod_name, said);
            }
            pods.insert(name.clone(), pod);
        }
    }
    let own = Key::new(&namespace, run.metadata.name.clone().unwrap_or_default());
    pods.extend(cache.stray_pods_of_run(&own).into_iter().filter(|(name, _)| !children.contains_key(name)));
    let predecessors = cache.predecessors(&own, run.metadata.uid.as_deref().unwrap_or_default());
    Ok(Observed {
        run,
        children,
        pods,
        predecessors,
        notes,
        nodes: cache.nodes(),
        facts,
        refusals: Vec::new(),
        now,
        settings: settings.clone(),
    })
}

/// Reads what has to be read, all at once: one round trip, and none for a run that is under way.
async fn facts<A: Api>(api: &A, namespace: &str, needs: Needs) -> ApiResult<Facts> {
    if needs == Needs::default() {
        return Ok(Facts::default());
    }
    let key = |name: &str| Key::new(namespace, name);
    let definition = async {
        match &needs.definition {
            Some(name) => api.get_definition(&key(name)).await,
            None => Ok(Definition::None),
        }
    };
    let pipeline_run = async {
        match &needs.pipeline_run {
            Some(name) => api.get_pipeline_run(&key(name)).await,
            None => Ok(None),
        }
    };
    let claims = claims(api, namespace, needs.claims.iter());
    let tekton = async {
        if needs.tekton { api.tekton_config().await } else { crate::core::observed::TektonConfig::default() }
    };
    let ((definition, pipeline_run), (claims, tekton)) =
        join(join(definition, pipeline_run), join(claims, tekton)).await;
    Ok(Facts {
        definition: definition?,
        pipeline_run: pipeline_run?.map(Arc::new),
        claims: claims?,
        reusable: Vec::new(),
        tekton,
    })
}

/// Reads claims.
///
/// # Errors
/// A read that failed and may succeed later.
pub async fn claims<A: Api>(
    api: &A,
    namespace: &str,
    names: impl Iterator<Item = &String>,
) -> ApiResult<BTreeMap<String, Claim>> {
    let reads = names.map(|name| async move {
        let claim = api.get_claim(&Key::new(namespace, name)).await?;
        Ok((name.clone(), claim))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// Reads children anew whose cached state is not to be believed; `None` for one that is gone.
async fn look_again<A: Api>(
    api: &A,
    namespace: &str,
    children: &BTreeMap<String, Arc<TaskRun>>,
) -> ApiResult<Vec<(String, Option<Arc<TaskRun>>)>> {
    let doubtful = children.iter().filter(|(_, child)| progress::needs_fresh_look(child));
    let keys: Vec<Key> = doubtful.map(|(name, _)| Key::new(namespace, name)).collect();
    let reads = join_all(keys.iter().map(|key| api.get_task_run(key))).await;
    let mut fresh = Vec::with_capacity(reads.len());
    for read in reads {
        fresh.push(read?);
    }
    Ok(keys.into_iter().map(|key| key.name).zip(fresh).collect())
}

/// Earlier children that bear the digest of the run's reuse text, if it has one.
fn reusable(
    cache: &Cache,
    run: &CustomRun,
    namespace: &str,
    extra: &ExtraFields,
    facts: &Facts,
) -> Vec<Arc<TaskRun>> {
    match reuse::text_of(run, extra, facts) {
        Some(text) => cache.reusable(namespace, &reuse::key(&text)),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
