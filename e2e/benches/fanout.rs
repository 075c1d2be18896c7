//! How long it takes from one object to all its TaskRuns: archfan, Tekton's own matrix, and the physical limit, which is the same
//! TaskRuns created by parallel requests of a client that already knows them. On one API server, in turns, in one run.
//!
//! The children ask for nodes that do not exist, so that no kubelet takes part. Time ends when a watch delivers the last TaskRun. It
//! begins when the request for the first object is sent; and again, without the cost of creating that object, when a watch delivers
//! the CustomRun or the PipelineRun, which is when its controller learns of it too. The bare requests have no such object.
//!
//! In a burst the API server is busy with the objects that ask for the TaskRuns, too, and no controller can spare it that. So there is a
//! second limit: CustomRuns that are nobody's, each followed by its TaskRuns as soon as it was created.
//!
//! `make bench` runs it; `ROUNDS`, `BURST` and `BURSTS` change how often, how many at once, and how often that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use archfan_e2e::cluster::env;
use archfan_e2e::objects::{custom_runs, embedded, name, script, tekton};
use archfan_e2e::wait::until;
use archfan_e2e::{Cluster, Namespace};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use kube::core::WatchEvent;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// As many platforms as the largest case needs; the names are those of Go and OCI.
const PLATFORMS: [&str; 16] = [
    "linux/amd64",
    "linux/arm64",
    "linux/s390x",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/386",
    "linux/loong64",
    "linux/mips64le",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/amd64/v2",
    "linux/amd64/v3",
    "linux/amd64/v4",
    "linux/mips64",
    "linux/mipsle",
];

/// No node has it.
const NOWHERE: (&str, &str) = ("example.com/bench", "nowhere");

/// Long enough for matrix, whose client Tekton throttles.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Posts,
    AfterRuns,
    Archfan,
    Matrix,
}

impl Way {
    const ALL: [Self; 4] = [Self::Posts, Self::AfterRuns, Self::Archfan, Self::Matrix];

    fn words(self) -> &'static str {
        match self {
            Self::Posts => "bare parallel POSTs",
            Self::AfterRuns => "the same, each after a CustomRun",
            Self::Archfan => "archfan",
            Self::Matrix => "Tekton's matrix",
        }
    }
}

/// How long one measurement took.
#[derive(Clone, Copy)]
struct Took {
    /// From the first request.
    request: Duration,
    /// From the delivery of the object that asks for the TaskRuns.
    object: Duration,
}

/// Something that a watch has delivered, and when.
struct Seen {
    kind: String,
    object: Value,
    at: Instant,
}

struct Bench {
    namespace: Namespace,
    seen: mpsc::UnboundedReceiver<Seen>,
    /// TaskRuns as archfan has created them, by number of platforms: what the bare requests create.
    children: BTreeMap<usize, Vec<Value>>,
    count: usize,
}

#[tokio::main]
async fn main() {
    // Cargo hands every benchmark this argument, and tests none.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let (rounds, burst, bursts) = (number("ROUNDS", 15), number("BURST", 100), number("BURSTS", 5));
    let mut bench = Bench::new().await;
    println!(
        "| who creates the TaskRuns | platforms | ms from the object | of the POSTs | ms from the request | of the POSTs |"
    );
    println!("|---|---|---|---|---|---|");
    for platforms in [2, 4, 16] {
        let mut times: BTreeMap<Way, Vec<Took>> = BTreeMap::new();
        // The first round warms up connections and teaches what the children look like; it does not count.
        for round in 0..=rounds {
            for way in [Way::Archfan, Way::Posts, Way::AfterRuns, Way::Matrix] {
                let took = bench.measure(way, platforms, 1).await;
                if round > 0 {
                    times.entry(way).or_default().push(took);
                }
            }
        }
        print(&platforms.to_string(), &times);
    }
    let mut times: BTreeMap<Way, Vec<Took>> = BTreeMap::new();
    for _ in 0..bursts {
        for way in [Way::Archfan, Way::Posts, Way::AfterRuns] {
            let took = bench.measure(way, 2, burst).await;
            times.entry(way).or_default().push(took);
        }
    }
    // Once: it takes a minute.
    times.insert(Way::Matrix, vec![bench.measure(Way::Matrix, 2, burst).await]);
    print(&format!("2, {burst} at once"), &times);
    bench.namespace.done().await;
}

fn print(what: &str, times: &BTreeMap<Way, Vec<Took>>) {
    let sorted = |way: Way, which: fn(&Took) -> Duration| {
        let mut ms: Vec<f64> = times[&way].iter().map(|took| which(took).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        ms
    };
    let median = |ms: &[f64]| ms[ms.len() / 2];
    let limit = median(&sorted(Way::Posts, |took| took.request));
    for way in Way::ALL {
        let mut line = format!("| {} | {what} |", way.words());
        for which in [|took: &Took| took.object, |took: &Took| took.request] {
            let ms = sorted(way, which);
            let (least, middle, most) = (ms[0], median(&ms), ms[ms.len() - 1]);
            let _ = write!(line, " {least:.1} / {middle:.1} / {most:.1} | {:.2} |", middle / limit);
        }
        println!("{line}");
    }
}

impl Bench {
    async fn new() -> Self {
        let namespace = Namespace::new("fanout").await;
        let (sender, seen) = mpsc::unbounded_channel();
        let plural = |kind: &str| tekton(&namespace.name, kind);
        for path in [plural("taskruns"), plural("pipelineruns"), custom_runs(&namespace.name)] {
            watch(namespace.cluster.clone(), path, sender.clone()).await;
        }
        Self { namespace, seen, children: BTreeMap::new(), count: 0 }
    }

    /// Creates what this way needs for `runs` builds of so many platforms, and gives back how long the last TaskRun took.
    async fn measure(&mut self, way: Way, platforms: usize, runs: usize) -> Took {
        // For each run what is created first, and what after that.
        let mut builds = vec![];
        for _ in 0..runs {
            self.count += 1;
            let run = format!("bench-{}", self.count);
            builds.push(match way {
                Way::Archfan => (vec![custom_run(&run, platforms)], vec![]),
                Way::Matrix => (vec![matrix(&run, platforms)], vec![]),
                Way::Posts => (self.again(&run, platforms), vec![]),
                Way::AfterRuns => (vec![nobodys(custom_run(&run, platforms))], self.again(&run, platforms)),
            });
        }
        let expected = platforms * runs;
        let namespace = &self.namespace;
        let begin = Instant::now();
        let (_, (first, last, children)) = tokio::join!(
            join_all(builds.iter().map(|(first, then)| async move {
                join_all(first.iter().map(|body| namespace.create(body))).await;
                join_all(then.iter().map(|body| namespace.create(body))).await;
            })),
            collect(&mut self.seen, way, expected)
        );
        if way == Way::Archfan {
            self.children.entry(platforms).or_insert(children);
        }
        self.clear(way).await;
        let first = if way == Way::Posts { begin } else { first };
        Took { request: last - begin, object: last.saturating_duration_since(first) }
    }

    /// The TaskRuns of an earlier build, for another name and without an owner.
    fn again(&self, run: &str, platforms: usize) -> Vec<Value> {
        let children = self.children[&platforms].iter().take(platforms).enumerate();
        children
            .map(|(number, child)| {
                json!({
                    "apiVersion": child["apiVersion"], "kind": child["kind"], "spec": child["spec"],
                    "metadata": {
                        "name": format!("{run}-{number}"),
                        "labels": child["metadata"]["labels"], "annotations": child["metadata"]["annotations"],
                    },
                })
            })
            .collect()
    }

    /// Takes away what a measurement has made, and waits until nothing of it is left that could load the next one.
    async fn clear(&mut self, way: Way) {
        let space = &self.namespace.name;
        let owners = match way {
            Way::Archfan | Way::AfterRuns => custom_runs(space),
            Way::Matrix => tekton(space, "pipelineruns"),
            Way::Posts => tekton(space, "taskruns"),
        };
        let cluster = &self.namespace.cluster;
        cluster.delete(&owners).await;
        for path in [owners, tekton(space, "taskruns"), format!("/api/v1/namespaces/{space}/pods")] {
            until(&format!("{path} to be empty"), PATIENCE, || async {
                match cluster.list(&path).await.len() {
                    0 => Ok(()),
                    left => {
                        cluster.delete(&path).await;
                        Err(left)
                    }
                }
            })
            .await;
        }
        while self.seen.try_recv().is_ok() {}
    }
}

/// Waits for so many TaskRuns: when the first owner came, when the last TaskRun, and the TaskRuns.
async fn collect(
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    way: Way,
    expected: usize,
) -> (Instant, Instant, Vec<Value>) {
    let owner = match way {
        Way::Posts => "TaskRun",
        Way::Archfan | Way::AfterRuns => "CustomRun",
        Way::Matrix => "PipelineRun",
    };
    let (mut first, mut last, mut names, mut children) = (None, Instant::now(), BTreeSet::new(), vec![]);
    loop {
        let next = tokio::time::timeout(PATIENCE, seen.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {expected} TaskRuns came", names.len()));
        let next = next.expect("the watches go on");
        if next.kind == owner {
            first.get_or_insert(next.at);
        }
        if next.kind == "TaskRun" && names.insert(name(&next.object)) {
            last = next.at;
            children.push(next.object);
        }
        // The watches are connections of their own: a child may be delivered ahead of its owner.
        if let Some(first) = first.filter(|_| names.len() == expected) {
            return (first, last, children);
        }
    }
}

/// Delivers what is created from now on. A watch that the server ends is begun again where it ended.
async fn watch(cluster: Cluster, path: String, sender: mpsc::UnboundedSender<Seen>) {
    let list = cluster.get(&path).await.unwrap_or_else(|| panic!("{path} is not there"));
    let version_of =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut version = version_of(&list);
    tokio::spawn(async move {
        loop {
            let address = format!("{path}?watch=1&resourceVersion={version}");
            let request = http::Request::get(address).body(Vec::new()).expect("a request");
            let events = cluster.client.request_events::<Value>(request).await;
            let mut events =
                events.unwrap_or_else(|error| panic!("{path} cannot be watched: {error}")).boxed();
            let end = loop {
                match events.try_next().await {
                    Ok(Some(WatchEvent::Added(object))) => {
                        version = version_of(&object);
                        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                        let _ = sender.send(Seen { kind, object, at: Instant::now() });
                    }
                    Ok(Some(WatchEvent::Modified(object) | WatchEvent::Deleted(object))) => {
                        version = version_of(&object);
                    }
                    Ok(Some(WatchEvent::Error(error))) => break format!("{error:?}"),
                    Ok(Some(WatchEvent::Bookmark(_))) => {}
                    Ok(None) => break "the server ended it".to_owned(),
                    Err(error) => break error.to_string(),
                }
            };
            eprintln!("the watch of {path} is begun again: {end}");
        }
    });
}

fn task() -> Value {
    let mut task = script(&env("ARCHFAN_IMAGE_SHELL"), &["digest"], "true");
    task["params"] = json!([{"name": "platform", "default": ""}]);
    task
}

fn custom_run(run: &str, platforms: usize) -> Value {
    let build = json!({
        "platforms": PLATFORMS[..platforms],
        "taskSpec": task(),
        "taskRunSpecs": [{
            "params": [{"name": "platform", "value": "$(platform)"}],
            "podTemplate": {"nodeSelector": {NOWHERE.0: NOWHERE.1}},
        }],
    });
    embedded(run, &build)
}

/// A CustomRun as large as it is, that no controller looks after.
fn nobodys(mut run: Value) -> Value {
    run["spec"]["customSpec"]["apiVersion"] = "example.com/v1".into();
    run
}

fn matrix(run: &str, platforms: usize) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": run},
        "spec": {
            "taskRunTemplate": {"serviceAccountName": "builder", "podTemplate": {"nodeSelector": {NOWHERE.0: NOWHERE.1}}},
            "pipelineSpec": {"tasks": [{
                "name": "build", "taskSpec": task(),
                "matrix": {"params": [{"name": "platform", "value": PLATFORMS[..platforms]}]},
            }]},
        },
    })
}
