//! Disturbances while runs are under way: the controller dies, the API server restarts, somebody else writes the same object.
//!
//! Nothing else may be tested on the cluster meanwhile. Cargo runs this file by itself, and the lock keeps its tests apart.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use archfan_e2e::Namespace;
use archfan_e2e::cluster::{self, env};
use archfan_e2e::objects::{core, embedded, name, platform, result, script, succeeded};
use archfan_e2e::wait::until;
use futures::future::join4;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Held by the test that disturbs.
static CLUSTER: Mutex<()> = Mutex::const_new(());

/// Where `e2e/install` installs archfan.
const INSTALLED_IN: &str = "archfan";

/// Two tasks one after the other on each of three platforms, long enough to be disturbed, and results that tell which is which.
fn chain() -> Value {
    let image = env("ARCHFAN_IMAGE_SHELL");
    let platforms: Vec<Value> = ["linux/amd64", "linux/s390x", "linux/ppc64le"]
        .iter()
        .map(|platform| json!({"platform": platform, "runsOn": "linux/amd64"}))
        .collect();
    json!({
        "platforms": platforms,
        "tasks": [
            {"name": "first", "params": [{"name": "key", "value": "$(platform.key)"}],
             "taskSpec": script(&image, &["made"], "sleep 4; echo first of $(params.key) > $(results.made.path)")},
            {"name": "second", "params": [{"name": "made", "value": "$(tasks.first.results.made)"}],
             "taskSpec": script(&image, &["whole"], "sleep 4; echo second after $(params.made) > $(results.whole.path)")},
        ],
    })
}

/// A run of [`chain`] ended as if nothing had happened: one TaskRun for each platform and task, and their results.
async fn ended_undisturbed(namespace: &Namespace, run: &str, first_seen: &BTreeSet<String>) {
    let ended = namespace.ended_within(run, Duration::from_mins(4)).await;
    assert_eq!(succeeded(&ended).0, "True", "{:#}", ended["status"]);
    for key in ["linux-amd64", "linux-s390x", "linux-ppc64le"] {
        let expected = format!("second after first of {key}");
        assert_eq!(result(&ended, &format!("{key}-whole")).as_ref(), Some(&expected));
        assert_eq!(platform(&ended, &key.replace('-', "/"))["phase"], "Succeeded");
    }
    let children = namespace.children(run).await;
    assert_eq!(children.len(), 6, "{:?}", children.iter().map(name).collect::<Vec<_>>());
    let uids: BTreeSet<String> = children.iter().map(uid).collect();
    assert!(uids.is_superset(first_seen), "a child was made twice");
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

async fn uids_of_children(namespace: &Namespace, runs: &[String]) -> BTreeSet<String> {
    let mut uids = BTreeSet::new();
    for run in runs {
        uids.extend(namespace.children(run).await.iter().map(uid));
    }
    uids
}

/// Ends the controller's pods at once, without giving them time to shut down.
async fn kill_controller(namespace: &Namespace) {
    let pods = core(INSTALLED_IN, "pods");
    let of_controller = format!("{pods}?labelSelector=app.kubernetes.io/name=archfan");
    for pod in namespace.cluster.list(&of_controller).await {
        namespace.cluster.kill(&format!("{pods}/{}", name(&pod))).await;
    }
}

#[tokio::test]
async fn the_controller_dies_again_and_again() {
    let _held = CLUSTER.lock().await;
    let namespace = Namespace::new("dies").await;
    let runs: Vec<String> = (0..3).map(|n| format!("run{n}")).collect();
    // One death before the first child of a run is there, one with the first tasks at work, one with the second ones.
    kill_controller(&namespace).await;
    for run in &runs {
        namespace.create(&embedded(run, &chain())).await;
    }
    for run in &runs {
        namespace.children_until(run, 3).await;
    }
    kill_controller(&namespace).await;
    until("the second task of some platform", Duration::from_mins(2), || async {
        let children = namespace.children(&runs[0]).await.len();
        if children > 3 { Ok(()) } else { Err(children) }
    })
    .await;
    let seen = uids_of_children(&namespace, &runs[..1]).await;
    kill_controller(&namespace).await;
    ended_undisturbed(&namespace, &runs[0], &seen).await;
    for run in &runs[1..] {
        ended_undisturbed(&namespace, run, &BTreeSet::new()).await;
    }
    namespace.done().await;
}

#[tokio::test]
async fn the_api_server_dies() {
    let _held = CLUSTER.lock().await;
    if !cluster::is_our_own() {
        return;
    }
    let namespace = Namespace::new("apiserver").await;
    namespace.create(&embedded("run", &chain())).await;
    let seen: BTreeSet<String> = namespace.children_until("run", 3).await.iter().map(uid).collect();
    for _ in 0..2 {
        // It is killed: when it is asked to end, it first waits a minute for the watches to.
        cluster::run("e2e/cluster/service", &["kill", "kube-apiserver", "control"]).await;
        namespace.cluster.answers().await;
    }
    ended_undisturbed(&namespace, "run", &seen).await;
    // The watches are back too: what is new is seen.
    namespace.create(&embedded("later", &chain())).await;
    ended_undisturbed(&namespace, "later", &BTreeSet::new()).await;
    namespace.done().await;
}

#[tokio::test]
async fn somebody_else_writes_the_run_all_the_time() {
    let _held = CLUSTER.lock().await;
    let namespace = Namespace::new("conflicts").await;
    namespace.create(&embedded("run", &chain())).await;
    let path = namespace.run_path("run");
    // Several, each with an annotation of its own: on a busy machine one alone would be no disturbance.
    let written = [const { Cell::new(0_u64) }; 4];
    let key = |writer: usize| format!("example.com/written-{writer}");
    let meddle = async |writer: usize| {
        loop {
            let count = written[writer].get() + 1;
            written[writer].set(count);
            let change = json!({"metadata": {"annotations": {key(writer): count.to_string()}}});
            namespace.cluster.patch(&path, &change).await;
        }
    };
    let none = BTreeSet::new();
    tokio::select! {
        ((), (), (), ()) = join4(meddle(0), meddle(1), meddle(2), meddle(3)) => unreachable!("they do not end by themselves"),
        () = ended_undisturbed(&namespace, "run", &none) => {}
    }
    let run = namespace.run("run").await;
    let all: u64 = written.iter().map(Cell::get).sum();
    assert!(all > 100, "{all} writes are no disturbance");
    for (writer, count) in written.iter().map(Cell::get).enumerate() {
        let there = run["metadata"]["annotations"][key(writer)].as_str().unwrap_or_default();
        assert!(
            there == count.to_string() || there == (count - 1).to_string(),
            "archfan has undone {count}: {there}"
        );
    }
    namespace.done().await;
}
