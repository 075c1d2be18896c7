//! What one whole plan costs: a run is read, judged and decided on, as at every event about it.
//!
//! Four moments of a run's life, for the smallest run that there is a use for and for one that is near the bounds:
//!
//! - `first`: it has just been created, and every child that may be created is;
//! - `created`: they are there, and the first status is written (the controller plans twice in its first look: this is the second time);
//! - `running`: its children are at work and nothing has changed, which is what most looks find;
//! - `ended`: the last child has reported, and the run is summed up.
//!
//! And `written`: what it costs beside that to make the status of the end JSON, as is done with a status that is written.
//!
//! `docs/benchmarks.md` has the figures and the bounds.

#![allow(missing_docs, reason = "the macros make public functions")]
#![allow(clippy::unwrap_used, reason = "what cannot be measured need not go on")]

use std::hint::black_box;
use std::sync::Arc;

use archfan::api::tekton::{CustomRun, TaskRun};
use archfan::core::observed::{Claim, ClaimFacts, Facts, NodeFacts, Observed, TektonConfig};
use archfan::core::plan::{Action, plan};
use archfan::core::settings::Settings;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};

/// A build as people write them: params, a shared workspace, a tag per platform, an index, and a chain if there is more than one task.
fn build(platforms: usize, tasks: usize) -> Value {
    let names: Vec<Value> = (0..platforms)
        .map(|number| match number {
            0 => "linux/amd64".into(),
            1 => "linux/arm64".into(),
            number => {
                json!({"platform": format!("linux/arm64/v8.{number}"), "required": number % 2 == 0})
            }
        })
        .collect();
    let mut build = json!({
        "params": [{"name": "IMAGE"}, {"name": "CONTEXT", "default": "."}],
        "platforms": names,
        "workspaces": [{"name": "source", "perPlatform": tasks > 1}],
        "taskRunTemplate": {"podTemplate": {"nodeSelector": {"pool": "builds"}, "tolerations": [{"key": "ci", "operator": "Exists"}]}},
        "taskRunSpecs": [{"params": [{"name": "IMAGE", "value": "$(params.IMAGE)-$(platform.arch)"}]}],
        "index": {"image": "$(params.IMAGE)"},
    });
    if tasks == 1 {
        build["taskRef"] = json!({"name": "buildah"});
    } else {
        build["tasks"] = (0..tasks)
            .map(|number| {
                let params = match number {
                    0 => json!([]),
                    number => json!([{"name": "before", "value": format!("$(tasks.t{}.results.made)", number - 1)}]),
                };
                json!({"name": format!("t{number}"), "taskRef": {"name": "step"}, "params": params, "retries": 1})
            })
            .collect();
    }
    build
}

fn observed(platforms: usize, tasks: usize) -> Observed {
    let run: CustomRun = serde_json::from_value(json!({
        "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun",
        "metadata": {
            "name": "app-build", "namespace": "ci", "uid": "5d1f7d1e-2f8e-4c0b-9d0e-0d5b1c1a7f3e", "generation": 1,
            "labels": {"tekton.dev/pipelineRun": "app", "tekton.dev/pipelineTask": "build", "tekton.dev/memberOf": "tasks"},
            "annotations": {"pipeline.tekton.dev/affinity-assistant": "affinity-assistant-0123456789"},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "app", "uid": "u", "controller": true}],
        },
        "spec": {
            "serviceAccountName": "builder",
            "customSpec": {"apiVersion": "archfan.dev/v1alpha1", "kind": "MultiArchBuild", "spec": build(platforms, tasks)},
            "params": [{"name": "IMAGE", "value": "registry.example.com/team/app:v1"}],
            "workspaces": [{"name": "source", "subPath": "src", "persistentVolumeClaim": {"claimName": "shared"}}],
        },
    }))
    .unwrap();
    let node = |arch: &str| NodeFacts {
        labels: [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", arch)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        taints: Vec::new(),
        usable: true,
    };
    let claim =
        ClaimFacts { access_modes: vec!["ReadWriteMany".into()], bound: true, ..ClaimFacts::default() };
    Observed {
        nodes: Some(Arc::new([("a".to_owned(), node("amd64")), ("b".to_owned(), node("arm64"))].into())),
        facts: Facts {
            claims: [("shared".to_owned(), Claim::Found(claim))].into(),
            tekton: TektonConfig { coschedule: Some("workspaces".into()), ..TektonConfig::default() },
            ..Facts::default()
        },
        ..Observed::alone(run, Arc::new(Settings::default()), "2026-01-01T10:00:00Z".parse().unwrap())
    }
}

/// Does what is planned, until nothing more is.
fn settle(observed: &mut Observed) {
    loop {
        let planned = plan(observed);
        if planned.actions.is_empty() {
            let Some(status) = planned.status else { return };
            Arc::make_mut(&mut observed.run).status = Some(status.written());
            continue;
        }
        create(observed, planned.actions);
    }
}

/// Makes the children that are planned.
fn create(observed: &mut Observed, actions: Vec<Action>) {
    for action in actions {
        if let Action::CreateTaskRun(body) = action {
            let mut child = serde_json::to_value(&*body).unwrap();
            child["metadata"]["uid"] = json!(format!("uid-{}", body.metadata.name));
            child["metadata"]["creationTimestamp"] = "2026-01-01T10:00:00Z".into();
            let child: TaskRun = serde_json::from_value(child).unwrap();
            observed.children.insert(body.metadata.name.clone(), Arc::new(child));
        }
    }
}

/// Sets what every child that has not ended reports.
fn report(observed: &mut Observed, status: &str, reason: &str) {
    let digest = format!("sha256:{}", "0a".repeat(32));
    for child in observed.children.values_mut() {
        let over = child.status.as_ref().is_some_and(|status| status.conditions[0].status == "True");
        if over {
            continue;
        }
        let mut report = json!({
            "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "Not all Steps have completed"}],
            "startTime": "2026-01-01T10:00:00Z",
            "podName": format!("{}-pod", child.metadata.name.as_deref().unwrap_or_default()),
        });
        if status == "True" {
            report["completionTime"] = "2026-01-01T10:01:00Z".into();
            report["results"] = json!([
                {"name": "IMAGE_URL", "type": "string", "value": "registry.example.com/team/app:v1-arm64"},
                {"name": "IMAGE_DIGEST", "type": "string", "value": digest},
                {"name": "made", "type": "string", "value": "x"},
            ]);
        }
        Arc::make_mut(child).status = Some(serde_json::from_value(report).unwrap());
    }
}

fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for (platforms, tasks) in [(2, 1), (64, 8)] {
        let size = format!("{platforms}x{tasks}");
        let mut world = observed(platforms, tasks);
        let first = plan(&world);
        assert_eq!(first.actions.len(), platforms, "the first task of every platform: {:?}", first.status);
        group.bench_with_input(BenchmarkId::new("first", &size), &world, |bencher, world| {
            bencher.iter(|| plan(black_box(world)));
        });
        create(&mut world, first.actions);
        group.bench_with_input(BenchmarkId::new("created", &size), &world, |bencher, world| {
            bencher.iter(|| plan(black_box(world)));
        });
        settle(&mut world);
        for _ in 1..tasks {
            report(&mut world, "True", "Succeeded");
            settle(&mut world);
        }
        assert_eq!(world.children.len(), platforms * tasks);
        report(&mut world, "Unknown", "Running");
        settle(&mut world);
        let idle = plan(&world);
        assert!(idle.actions.is_empty() && idle.status.is_none(), "nothing has changed");
        group.bench_with_input(BenchmarkId::new("running", &size), &world, |bencher, world| {
            bencher.iter(|| plan(black_box(world)));
        });
        report(&mut world, "True", "Succeeded");
        settle(&mut world);
        report(&mut world, "True", "Succeeded");
        assert_eq!(world.children.len(), platforms * tasks + 1, "the index comes last");
        let end = plan(&world).status.unwrap();
        assert_eq!(end.clone().written().conditions[0].status, "True");
        group.bench_with_input(BenchmarkId::new("ended", &size), &world, |bencher, world| {
            bencher.iter(|| plan(black_box(world)));
        });
        group.bench_with_input(BenchmarkId::new("written", &size), &end, |bencher, end| {
            bencher.iter_batched(|| end.clone(), |end| end.written(), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
