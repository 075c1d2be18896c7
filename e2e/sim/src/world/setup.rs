//! How a schedule begins: nodes, PipelineRuns, builds, claims, other people's objects, and a replica that has seen nothing yet.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use archfan::api::kubernetes::{LABEL_ARCH, LABEL_OS, Node, PodCondition};
use archfan::api::names::{API_VERSION, KIND, label};
use archfan::api::tekton::{
    ClaimSource, CustomRef, CustomRun, CustomRunSpec, EmbeddedSpec, TaskRun, TaskRunSpec, WorkspaceBinding,
};
use archfan::core::observed::ClaimFacts;
use archfan::core::settings::Settings;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

use super::{Pipeline, World};
use crate::coverage::Point;
use crate::focus::Focus;
use crate::replica::Replica;
use crate::scenario::{Broken, RunPlan, VolumePlan};
use crate::server::StoredDefinition;
use crate::tape::Channel;

/// The settings of every replica.
pub fn settings() -> Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    SETTINGS.get_or_init(Arc::default).clone()
}

/// The node of an architecture.
pub fn node(arch: &str, usable: bool) -> Node {
    let labels = [(LABEL_OS, "linux"), (LABEL_ARCH, arch)];
    let mut node = Node {
        metadata: ObjectMeta {
            name: Some(format!("node-{arch}")),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    node.spec.unschedulable = !usable;
    node.status.conditions = vec![PodCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        ..PodCondition::default()
    }];
    node
}

/// The architectures of which there are nodes when all are there.
pub const ARCHES: [&str; 3] = ["amd64", "arm64", "s390x"];

/// What a claim is like that a volume of this kind needs.
pub fn claim_facts(volume: VolumePlan) -> ClaimFacts {
    let mode = if volume == VolumePlan::OneNode { "ReadWriteOnce" } else { "ReadWriteMany" };
    let first = volume == VolumePlan::FirstConsumer;
    ClaimFacts {
        access_modes: vec![mode.to_owned()],
        bound: !first,
        waits_for_consumer: first,
        ..ClaimFacts::default()
    }
}

impl World {
    pub(super) fn set_up(&mut self) {
        for arch in ARCHES {
            if arch == "s390x" && self.tape.on(Channel::Setup).permille(500) {
                continue;
            }
            self.server.put_node(node(arch, true));
        }
        let count = match self.focus {
            Focus::Reuse => 2,
            _ => 1 + self.tape.on(Channel::Setup).weighted(&[((), 20), ((), 3), ((), 1)]),
        };
        for number in 0..count {
            let like =
                self.plans.first().filter(|_| self.focus == Focus::Reuse).map(|plan| plan.build.clone());
            let plan = RunPlan::draw(&mut self.tape, self.focus, number, like.as_ref());
            self.plans.push(plan);
            // Later ones are made while the first is under way, or after it.
            if number == 0 {
                self.submit();
            }
        }
        self.strangers();
        self.new_replica();
    }

    /// Whether a run has still to be made.
    pub(super) fn can_submit(&self) -> bool {
        self.submitted < self.plans.len()
    }

    /// Makes the next run that has not been made yet, and what belongs to it.
    pub(super) fn submit(&mut self) {
        let index = self.submitted;
        self.submitted += 1;
        let Some(plan) = self.plans.get(index).cloned() else { return };
        if plan.by_ref && plan.build.broken != Some(Broken::Reference) {
            let uid = self.server.uid();
            let definition = StoredDefinition { uid, generation: 1, spec: plan.build.json() };
            self.server.definitions.insert(definition_of(&plan), definition);
        }
        if let Some(volume @ (VolumePlan::Shared | VolumePlan::FirstConsumer | VolumePlan::OneNode)) =
            plan.build.volume
        {
            let claim = crate::server::StoredClaim { facts: claim_facts(volume), owners: Vec::new() };
            self.server.claims.insert(claim_of(&plan), claim);
        }
        if let Some(name) = &plan.pipeline {
            let uid = self.server.uid();
            self.server.pipeline_runs.insert(name.clone(), uid);
            self.pipelines.push(Pipeline::new(name.clone(), index));
        }
        self.make_run(index);
    }

    /// Makes the CustomRun of a plan.
    pub(super) fn make_run(&mut self, index: usize) {
        let plan = &self.plans[index];
        let run =
            custom_run(plan, plan.pipeline.as_ref().and_then(|name| self.server.pipeline_runs.get(name)));
        let run = self.server.add_run(run);
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let record = self.ledger.run(&uid);
        record.plan = index;
        record.name = run.metadata.name.clone().unwrap_or_default();
        self.say(|| {
            let name = run.metadata.name.as_deref().unwrap_or_default();
            format!("the CustomRun {name} is made as {uid}: {}", json!(run.spec))
        });
    }

    /// Objects that are nobody's business.
    fn strangers(&mut self) {
        if self.tape.on(Channel::Setup).permille(100) {
            self.coverage.meet(Point::ForeignRun);
            let mut run = CustomRun::new("stranger", CustomRunSpec::default());
            run.spec.custom_ref = Some(CustomRef {
                api_version: "example.dev/v1".to_owned(),
                kind: "Wait".to_owned(),
                ..CustomRef::default()
            });
            self.server.add_run(run);
        }
        let rate = if self.focus == Focus::Refusals { 300 } else { 15 };
        if !self.knobs.calm && self.tape.on(Channel::Setup).permille(rate) {
            let plan = &self.plans[0];
            let name = if self.tape.on(Channel::Setup).permille(300) {
                plan.name.clone()
            } else {
                format!("{}-{}", plan.name, plan.build.platforms[0].key)
            };
            // Somebody's own, or what an earlier run of this name has left behind.
            let leftover = self.tape.on(Channel::Setup).permille(500);
            let labels = if leftover {
                BTreeMap::from([
                    (label::ROLE.to_owned(), label::ROLE_BUILD.to_owned()),
                    (label::CUSTOM_RUN.to_owned(), plan.name.clone()),
                ])
            } else {
                BTreeMap::from([("team".to_owned(), "x".to_owned())])
            };
            self.coverage.meet(Point::ForeignChild);
            let mut task_run = TaskRun::new(&name, TaskRunSpec::default());
            task_run.metadata.labels = Some(labels);
            let made = self.server.add_task_run(task_run);
            self.say(|| format!("the TaskRun {name} of somebody else is there (leftover: {leftover})"));
            self.ledger.strangers.insert(made.metadata.uid.clone().unwrap_or_default(), leftover);
        }
    }

    /// A replica that leads from now on.
    pub(super) fn new_replica(&mut self) {
        let replica = Replica::new(self.born, &self.wire, &self.settings, self.fault);
        self.born += 1;
        self.replicas.push(replica);
    }
}

/// Name of the `MultiArchBuild` of a plan.
pub fn definition_of(plan: &RunPlan) -> String {
    format!("{}-build", plan.name)
}

/// Name of the claim of a plan.
pub fn claim_of(plan: &RunPlan) -> String {
    format!("{}-claim", plan.name)
}

fn custom_run(plan: &RunPlan, owner: Option<&String>) -> CustomRun {
    let mut run = CustomRun::new(&plan.name, CustomRunSpec::default());
    if plan.by_ref {
        run.spec.custom_ref = Some(CustomRef {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: definition_of(plan),
            ..CustomRef::default()
        });
    } else {
        run.spec.custom_spec = Some(EmbeddedSpec {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            spec: plan.build.json(),
            ..EmbeddedSpec::default()
        });
    }
    run.spec.retries = (plan.retries > 0).then(|| plan.retries.into());
    if plan.build.broken == Some(Broken::Retries) {
        run.spec.retries = Some(-1);
    }
    run.spec.timeout = plan.timeout.map(|seconds| format!("{seconds}s"));
    run.spec.workspaces = plan.build.volume.iter().map(|volume| binding(plan, *volume)).collect();
    if plan.build.broken == Some(Broken::Undeclared) {
        let mut stray = binding(plan, VolumePlan::EmptyDir);
        "nobody".clone_into(&mut stray.name);
        run.spec.workspaces.push(stray);
    }
    if let (Some(name), Some(uid)) = (&plan.pipeline, owner) {
        run.metadata.labels = Some(
            [("tekton.dev/pipelineRun", name.as_str()), ("tekton.dev/pipelineTask", "image")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        run.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "tekton.dev/v1".to_owned(),
            kind: "PipelineRun".to_owned(),
            name: name.clone(),
            uid: uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]);
    }
    run
}

fn binding(plan: &RunPlan, volume: VolumePlan) -> WorkspaceBinding {
    let mut binding = WorkspaceBinding { name: "source".to_owned(), ..WorkspaceBinding::default() };
    match volume {
        VolumePlan::EmptyDir => {
            binding.other.insert("emptyDir".to_owned(), json!({}));
        }
        VolumePlan::Template => {
            binding.other.insert(
                "volumeClaimTemplate".to_owned(),
                json!({"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}),
            );
        }
        _ => {
            binding.persistent_volume_claim =
                Some(ClaimSource { claim_name: claim_of(plan), read_only: false });
        }
    }
    binding
}
