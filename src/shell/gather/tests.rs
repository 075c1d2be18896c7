use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::api::kubernetes::Pod;
use crate::api::names::label;
use crate::core::observed::PodNote;
use crate::shell::api::ApiError;
use crate::shell::cache::Change;
use crate::shell::fake::{Fault, Server, child, ended, run};

const ARM: &str = "r-linux-arm64";

fn evicted() -> TaskRun {
    ended(child(ARM, "a", "u"), 12, "False", "PodEvicted")
}

async fn gathered(server: &Server, cache: &Cache) -> ApiResult<Observed> {
    let run = Arc::new(run("r", "u", &json!({})));
    gather(server, cache, &Arc::new(Settings::default()), run, "2026-01-01T10:00:00Z".parse().unwrap()).await
}

fn cache() -> Cache {
    let cache = Cache::default();
    cache.children_changed(Change::Applied(Arc::new(evicted())));
    cache
}

#[tokio::test]
async fn a_child_that_seems_to_be_evicted_is_read_anew() {
    let (server, cache) = (Server::default(), cache());
    server.put_child(&ended(child(ARM, "a", "u"), 13, "Unknown", "Running"));
    let observed = gathered(&server, &cache).await.unwrap();
    assert!(!progress::has_ended(&observed.children[ARM]), "it goes on");
    assert_eq!(server.asked(), ["get configuration", "get r-linux-arm64"]);
}

/// Deleted in the same moment: that it has failed must not be believed, by this look or by the next.
#[tokio::test]
async fn a_child_that_is_gone_is_not_believed_to_have_failed() {
    for there in [None, Some(child(ARM, "another", "u"))] {
        let (server, cache) = (Server::default(), cache());
        if let Some(there) = &there {
            server.put_child(there);
        }
        let observed = gathered(&server, &cache).await.unwrap();
        assert!(observed.children.is_empty(), "{there:?}");
        assert!(cache.children_of("u").is_empty(), "{there:?}");
        cache.child_written(Arc::new(evicted()));
        assert!(cache.children_of("u").is_empty(), "nor by a late answer");
    }
}

#[tokio::test]
async fn what_cannot_be_read_decides_nothing() {
    let (server, cache) = (Server::default(), cache());
    let error = ApiError::Unavailable("away".into());
    server.fail("get r-linux-arm64", Fault::Before(error.clone()));
    assert_eq!(gathered(&server, &cache).await.unwrap_err(), error);
    assert_eq!(cache.children_of("u").len(), 1, "it is still there");
}

#[tokio::test]
async fn what_runs_or_has_failed_for_good_is_not_read_again() {
    for (status, reason) in [("Unknown", "Running"), ("False", "Failed"), ("True", "Succeeded")] {
        let (server, cache) = (Server::default(), Cache::default());
        cache.children_changed(Change::Applied(Arc::new(ended(child(ARM, "a", "u"), 12, status, reason))));
        let observed = gathered(&server, &cache).await.unwrap();
        assert_eq!(observed.children.len(), 1);
        assert_eq!(server.asked(), ["get configuration"], "{reason}");
    }
}

/// A pod of the run `r`, of one of its TaskRuns.
fn pod(name: &str, task_run: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns",
            "labels": {"tekton.dev/taskRun": task_run, "tekton.dev/customRun": "r"},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": task_run, "uid": "a"}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn pods_are_gathered_with_what_was_said_of_them() {
    let (server, cache) = (Server::default(), Cache::default());
    cache.children_changed(Change::Applied(Arc::new(child(ARM, "a", "u"))));
    cache.children_changed(Change::Applied(Arc::new(child("r-linux-amd64", "b", "u"))));
    for pod in [pod("arm-pod", ARM), pod("left-pod", "r-linux-s390x")] {
        cache.pods_changed(Change::Applied(Arc::new(pod)));
    }
    let note = PodNote { reason: "FailedMount".into(), message: "no such volume".into() };
    cache.noted(Key::new("ns", "arm-pod"), note.clone());
    let observed = gathered(&server, &cache).await.unwrap();
    let pods: Vec<(&str, &str)> = observed
        .pods
        .iter()
        .map(|(task_run, pod)| (task_run.as_str(), pod.metadata.name.as_deref().unwrap()))
        .collect();
    assert_eq!(
        pods,
        [(ARM, "arm-pod"), ("r-linux-s390x", "left-pod")],
        "what a deleted TaskRun has left too"
    );
    assert_eq!(observed.notes, [("arm-pod".to_owned(), vec![note])].into());
    assert_eq!(observed.predecessors, BTreeSet::new());
    let mut of_another = child("r-linux-riscv64", "c", "an earlier run");
    of_another.status = None;
    cache.children_changed(Change::Applied(Arc::new(of_another)));
    let observed = gathered(&server, &cache).await.unwrap();
    assert_eq!(observed.predecessors, ["r-linux-riscv64".to_owned()].into());
}

#[tokio::test]
async fn earlier_children_are_gathered_for_a_run_that_reuses() {
    let (server, cache) = (Server::default(), Cache::default());
    for (name, text) in [("earlier", "rev-1"), ("another", "rev-2")] {
        let mut earlier = child(name, name, "earlier-run");
        earlier.metadata.labels.get_or_insert_default().insert(label::REUSE.to_owned(), reuse::key(text));
        cache.children_changed(Change::Applied(Arc::new(earlier)));
    }
    for (strategy, found) in [(json!({"reuse": "rev-1"}), vec!["earlier"]), (json!({}), vec![])] {
        let run = Arc::new(run("r", "u", &strategy));
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        let observed = gather(&server, &cache, &Arc::new(Settings::default()), run, now).await.unwrap();
        let reusable = observed.facts.reusable.iter().filter_map(|child| child.metadata.name.as_deref());
        assert_eq!(reusable.collect::<Vec<_>>(), found, "{strategy}");
    }
}
