use serde_json::json;

use super::*;

fn run(name: &str, version: u64) -> CustomRun {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "managedFields": [{"manager": "x"}]},
        "spec": {"customRef": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "name": "b"}},
    }))
    .unwrap()
}

fn child(name: &str, run: &str, version: u64) -> TaskRun {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "labels": {"archfan.dev/reuse": "d1"},
            "ownerReferences": [
                {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "name": run, "uid": format!("uid-{run}"), "controller": false},
                {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "p", "uid": "uid-p", "controller": true},
            ]},
        "spec": {},
    }))
    .unwrap()
}

/// A pod of a TaskRun `RUN-…`.
fn pod(name: &str, task_run: &str, created: &str) -> Pod {
    let run = task_run.split('-').next();
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": created,
            "labels": {"tekton.dev/taskRun": task_run, "tekton.dev/customRun": run},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": task_run, "uid": format!("uid-{task_run}")}]},
    }))
    .unwrap()
}

fn node(name: &str, ready: bool, heartbeat: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": "arm64"}},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": heartbeat}]},
    }))
    .unwrap()
}

fn listed<T>(scope: Option<String>, objects: Vec<T>) -> Change<T> {
    Change::Listed(scope, objects.into_iter().map(Arc::new).collect())
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

#[test]
fn runs_of_other_controllers_are_passed_over() {
    let cache = Cache::default();
    let mut other = run("other", 1);
    other.spec.custom_ref.as_mut().unwrap().kind = "Wait".into();
    assert_eq!(cache.runs_changed(Change::Applied(Arc::new(other.clone()))), []);
    assert_eq!(cache.runs_changed(listed(None, vec![other, run("a", 1)])), [key("a")]);
    assert!(cache.run(&key("other")).is_none());
    let known: Vec<Option<String>> = cache.all_runs().iter().map(|run| run.metadata.name.clone()).collect();
    assert_eq!(known, [Some("a".to_owned())]);
    assert_eq!(cache.run(&key("a")).unwrap().metadata.managed_fields, None);
}

#[test]
fn an_older_version_is_passed_over() {
    let cache = Cache::default();
    cache.runs_changed(Change::Applied(Arc::new(run("a", 5))));
    assert_eq!(cache.runs_changed(Change::Applied(Arc::new(run("a", 4)))), []);
    assert_eq!(cache.run(&key("a")).unwrap().metadata.resource_version.as_deref(), Some("5"));
    let another = |version| {
        let mut another = run("a", version);
        another.metadata.uid = Some("another".into());
        Change::Applied(Arc::new(another))
    };
    assert_eq!(cache.runs_changed(another(3)), [], "it had the name before");
    assert_eq!(cache.runs_changed(another(6)), [key("a")], "another object of that name is news");
}

#[test]
fn what_had_the_name_of_a_new_child_before_does_not_come_back() {
    let cache = Cache::default();
    cache.child_written(Arc::new(child("a-1", "a", 7)));
    let mut earlier = child("a-1", "earlier", 5);
    earlier.metadata.uid = Some("uid-of-the-earlier".into());
    assert_eq!(cache.children_changed(Change::Applied(Arc::new(earlier.clone()))), []);
    // Its end, which the watch brings late, is not the end of the new one.
    earlier.metadata.resource_version = Some("6".into());
    cache.children_changed(Change::Deleted(Arc::new(earlier)));
    assert_eq!(cache.children_of("uid-a").len(), 1);
    assert!(cache.children_of("uid-earlier").is_empty());
}

#[test]
fn children_are_known_by_their_first_owner() {
    let cache = Cache::default();
    assert_eq!(cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 1)))), [key("a")]);
    assert_eq!(cache.children_of("uid-a").keys().collect::<Vec<_>>(), ["a-1"]);
    let reusable = cache.reusable("ns", "d1");
    assert_eq!(
        reusable.iter().map(|child| child.metadata.name.as_deref()).collect::<Vec<_>>(),
        [Some("a-1")]
    );
    assert!(cache.reusable("ns", "d2").is_empty() && cache.reusable("other", "d1").is_empty());
    assert_eq!(cache.children_changed(Change::Deleted(Arc::new(child("a-1", "a", 2)))), [key("a")]);
    assert!(cache.children_of("uid-a").is_empty());
    assert!(cache.reusable("ns", "d1").is_empty());
    assert!(cache.read().families.is_empty() && cache.read().reusable.is_empty(), "nothing is left behind");
}

#[test]
fn a_deletion_that_the_watch_missed_is_found_by_the_next_list() {
    let cache = Cache::default();
    for name in ["a-1", "a-2"] {
        cache.children_changed(Change::Applied(Arc::new(child(name, "a", 1))));
    }
    cache.children_changed(Change::Applied(Arc::new(child("b-1", "b", 1))));
    let due = cache.children_changed(listed(None, vec![child("a-1", "a", 1), child("b-1", "b", 1)]));
    assert!(due.contains(&key("a")), "{due:?}");
    assert_eq!(cache.children_of("uid-a").len(), 1);
    // A list of another namespace says nothing about this one.
    cache.children_changed(Change::Listed(Some("other".into()), vec![]));
    assert_eq!(cache.children_of("uid-a").len(), 1);
}

#[test]
fn what_was_just_written_is_there_at_once_and_does_not_come_back() {
    let cache = Cache::default();
    cache.child_written(Arc::new(child("a-1", "a", 7)));
    assert_eq!(cache.children_of("uid-a").len(), 1);
    assert_eq!(cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 6)))), [], "an older event");
    // Created and deleted before the answer to the create arrives.
    cache.children_changed(Change::Deleted(Arc::new(child("a-2", "a", 9))));
    cache.child_written(Arc::new(child("a-2", "a", 8)));
    assert_eq!(cache.children_of("uid-a").len(), 1);
}

#[test]
fn a_run_that_is_gone_is_not_put_back() {
    let cache = Cache::default();
    cache.runs_changed(Change::Applied(Arc::new(run("a", 1))));
    cache.runs_changed(Change::Deleted(Arc::new(run("a", 2))));
    cache.run_written(Arc::new(run("a", 2)));
    assert!(cache.run(&key("a")).is_none());
}

#[test]
fn a_late_answer_does_not_take_the_place_of_another_run_of_that_name() {
    let cache = Cache::default();
    cache.runs_changed(Change::Applied(Arc::new(run("a", 1))));
    cache.runs_changed(Change::Deleted(Arc::new(run("a", 2))));
    let mut next = run("a", 3);
    next.metadata.uid = Some("uid-next".into());
    cache.runs_changed(Change::Applied(Arc::new(next)));
    cache.run_written(Arc::new(run("a", 2)));
    assert_eq!(cache.run(&key("a")).unwrap().metadata.uid.as_deref(), Some("uid-next"));
}

#[test]
fn a_late_deletion_does_not_take_away_another_child_of_that_name() {
    let cache = Cache::default();
    cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 1))));
    let mut next = child("a-1", "a", 3);
    next.metadata.uid = Some("uid-next".into());
    cache.child_written(Arc::new(next));
    assert_eq!(cache.children_changed(Change::Deleted(Arc::new(child("a-1", "a", 2)))), [key("a")]);
    assert_eq!(cache.children_of("uid-a")["a-1"].metadata.uid.as_deref(), Some("uid-next"));
}

#[test]
fn the_pod_of_the_current_attempt_is_chosen() {
    let cache = Cache::default();
    cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 1))));
    assert_eq!(
        cache.pods_changed(Change::Applied(Arc::new(pod("old", "a-1", "2026-01-01T00:00:00Z")))),
        [key("a")]
    );
    cache.pods_changed(Change::Applied(Arc::new(pod("new", "a-1", "2026-01-01T00:01:00Z"))));
    let mut child = child("a-1", "a", 2);
    let name = |child: &TaskRun| cache.pod_of(child).unwrap().metadata.name.clone().unwrap();
    assert_eq!(name(&child), "new");
    child.status = Some(serde_json::from_value(json!({"podName": "old"})).unwrap());
    assert_eq!(name(&child), "old");
    // What an earlier TaskRun of this name has left is not its pod, whatever its name, but is known.
    child.metadata.uid = Some("another".into());
    assert!(cache.pod_of(&child).is_none());
    child.status = None;
    assert!(cache.pod_of(&child).is_none());
    assert!(cache.stray_pods_of_run(&key("a")).is_empty(), "they go with the TaskRun that is there");
    cache.child_gone(&key("a-1"), None);
    assert_eq!(cache.stray_pods_of_run(&key("a")).len(), 2);
    assert_eq!(cache.pods_changed(Change::Listed(None, vec![])), [key("a")]);
    assert!(cache.pod_of(&child).is_none());
}

#[test]
fn a_pod_is_kept_without_its_annotations() {
    let cache = Cache::default();
    cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 1))));
    let mut pod = pod("p", "a-1", "2026-01-01T00:00:00Z");
    pod.metadata.annotations = Some([("note".to_owned(), "long".to_owned())].into());
    cache.pods_changed(Change::Applied(Arc::new(pod)));
    assert_eq!(cache.pod_of(&child("a-1", "a", 1)).unwrap().metadata.annotations, None);
}

#[test]
fn notes_are_kept_for_our_pods_only() {
    let cache = Cache::default();
    let note = |message: &str| PodNote { reason: "FailedMount".into(), message: message.into() };
    assert_eq!(cache.noted(key("p"), note("x")), []);
    cache.children_changed(Change::Applied(Arc::new(child("a-1", "a", 1))));
    cache.pods_changed(Change::Applied(Arc::new(pod("p", "a-1", "2026-01-01T00:00:00Z"))));
    for number in 0..6 {
        assert_eq!(cache.noted(key("p"), note(&number.to_string())), [key("a")]);
    }
    assert_eq!(cache.noted(key("p"), note("5")), [], "it has been said");
    assert_eq!(cache.notes_of(&key("p")).len(), NOTES);
    cache.pods_changed(Change::Deleted(Arc::new(pod("p", "a-1", "2026-01-01T00:00:00Z"))));
    assert!(cache.notes_of(&key("p")).is_empty());
}

#[test]
fn a_node_s_heartbeat_concerns_nobody() {
    let cache = Cache::default();
    cache.runs_changed(Change::Applied(Arc::new(run("a", 1))));
    let mut done = run("done", 1);
    done.status = Some(serde_json::from_value(json!({"completionTime": "2026-01-01T00:00:00Z"})).unwrap());
    cache.runs_changed(Change::Applied(Arc::new(done)));
    assert!(cache.nodes().is_none());
    let first = node("n", true, "2026-01-01T00:00:00Z");
    assert_eq!(cache.nodes_changed(listed(None, vec![first])), [key("a")]);
    assert_eq!(cache.nodes_changed(Change::Applied(Arc::new(node("n", true, "2026-01-01T00:05:00Z")))), []);
    assert_eq!(
        cache.nodes_changed(Change::Applied(Arc::new(node("n", false, "2026-01-01T00:06:00Z")))),
        [key("a")]
    );
    assert_eq!(
        cache.nodes_changed(Change::Deleted(Arc::new(node("n", false, "2026-01-01T00:06:00Z")))),
        [key("a")]
    );
    assert!(cache.nodes().unwrap().is_empty());
}

#[test]
fn a_node_is_usable_when_it_is_ready_and_not_cordoned() {
    let cache = Cache::default();
    let mut pressed = node("pressed", true, "2026-01-01T00:00:00Z");
    pressed.status.conditions[0].type_ = "MemoryPressure".into();
    let mut cordoned = node("cordoned", true, "2026-01-01T00:00:00Z");
    cordoned.spec.unschedulable = true;
    let (ready, lost) =
        (node("ready", true, "2026-01-01T00:00:00Z"), node("lost", false, "2026-01-01T00:00:00Z"));
    cache.nodes_changed(listed(None, vec![pressed, cordoned, ready, lost]));
    let nodes = cache.nodes().unwrap();
    let usable: Vec<&str> =
        nodes.iter().filter(|(_, node)| node.usable).map(|(name, _)| name.as_str()).collect();
    assert_eq!(usable, ["ready"]);
}

/// As many as a burst of deletions may bring late answers for; not all that there have ever been.
#[test]
fn what_is_gone_is_remembered_for_a_while() {
    let cache = Cache::default();
    let of = |number: usize| {
        let mut child = child("a-1", "a", 1);
        child.metadata.uid = Some(format!("uid-{number}"));
        child
    };
    let comes_back = |number: usize| {
        cache.child_written(Arc::new(of(number)));
        let is_back = !cache.children_of("uid-a").is_empty();
        cache.child_gone(&key("a-1"), None);
        is_back
    };
    for number in 0..TOMBSTONES {
        cache.child_gone(&key("a-1"), Some(&format!("uid-{number}")));
    }
    assert!(!comes_back(0) && !comes_back(TOMBSTONES - 1));
    cache.child_gone(&key("a-1"), Some("one more"));
    assert!(comes_back(0), "the oldest is forgotten");
    assert!(!comes_back(1));
}

#[test]
fn what_was_at_work_for_an_earlier_run_of_a_name_is_known_although_it_is_gone() {
    let cache = Cache::default();
    let ended = |name: &str, version: u64| {
        let mut child = child(name, "a", version);
        let condition =
            json!({"conditions": [{"type": "Succeeded", "status": "False", "reason": "r", "message": "m"}]});
        child.status = serde_json::from_value(condition).unwrap();
        child
    };
    let names =
        |of: &str, uid: &str| -> Vec<String> { cache.predecessors(&key(of), uid).into_iter().collect() };
    for name in ["a-there", "a-gone", "a-missed", "a-lost", "a-done"] {
        cache.children_changed(Change::Applied(Arc::new(child(name, "a", 1))));
    }
    cache.children_changed(Change::Applied(Arc::new(ended("a-over", 1))));
    cache.children_changed(Change::Applied(Arc::new(ended("a-done", 2))));
    cache.children_changed(Change::Deleted(Arc::new(child("a-gone", "a", 2))));
    cache.children_changed(Change::Deleted(Arc::new(ended("a-over", 2))));
    cache.child_gone(&key("a-lost"), None);
    cache.children_changed(listed(None, vec![child("a-there", "a", 1), ended("a-done", 2)]));
    assert_eq!(names("a", "another"), ["a-gone", "a-lost", "a-missed", "a-there"]);
    assert_eq!(names("a", "uid-a"), Vec::<String>::new(), "they are its own");
    assert_eq!(names("b", "another"), Vec::<String>::new());
    // The successor's own take their names.
    let mut own = child("a-gone", "a", 3);
    own.metadata.owner_references.as_mut().unwrap()[0].uid = "another".to_owned();
    cache.children_changed(Change::Applied(Arc::new(own)));
    assert_eq!(names("a", "another"), ["a-lost", "a-missed", "a-there"]);
    // What is gone is remembered for a while.
    for number in 0..TOMBSTONES {
        let name = format!("b-{number}");
        cache.children_changed(Change::Applied(Arc::new(child(&name, "b", 1))));
        cache.child_gone(&key(&name), None);
    }
    assert_eq!(names("a", "another"), ["a-there"]);
    assert_eq!(names("b", "another").len(), TOMBSTONES);
    assert_eq!(names("a", "a third"), ["a-gone", "a-there"], "what is there is not forgotten");
}
