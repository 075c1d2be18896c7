//! A world in which one run lives, and what happens to it there. [`look`] does what is planned, and checks the laws.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{Span, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::specs::Case;
use crate::api::names::label;
use crate::api::status::{ExtraFields, PlatformStatus};
use crate::api::tekton::{CustomRun, CustomRunStatus, TaskRun};
use crate::core::children::TaskRunBody;
use crate::core::observed::{Claim, ClaimFacts, Facts, NodeFacts, Observed, TektonConfig};
use crate::core::plan::{Action, plan};
use crate::core::progress;
use crate::core::request::tests::run_with;
use crate::core::settings::Settings;

mod look;

pub(super) use look::is_name;

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A child reports.
    Report(Index, Report),
    /// A child is deleted; its pod is there a while longer.
    Delete(Index),
    /// A child is being deleted, and something holds it up.
    Deleting(Index),
    /// What deleted children have left goes.
    PodsGo,
    /// The next creations are refused.
    Refuse(Refused),
    /// They no longer are.
    Allow,
    /// The next look ends after so many actions, as if the controller had died.
    Crash(usize),
    /// Somebody asks the run to end.
    Cancel,
    /// Time passes.
    Pass(u32),
    /// The claim is made, and bound.
    Bind,
    /// Somebody edits the run.
    Edit,
}

/// What a child reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    NoNode,
    Pulling,
    Running,
    Foreign,
    Retried,
    Built,
    Silent,
    Failed,
    Raced,
    Stopped,
}

/// How a creation is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    Quota,
    Rejected,
    NotNow,
    Leftover,
    Foreign,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    use Report::{Built, Failed, Foreign, NoNode, Pulling, Raced, Retried, Running, Silent, Stopped};
    let report = prop_oneof![
        4 => prop::sample::select(vec![NoNode, Pulling, Running, Retried]),
        6 => Just(Built),
        3 => prop::sample::select(vec![Silent, Failed, Raced, Stopped, Foreign]),
    ];
    let refused = prop_oneof![
        Just(Refused::Quota),
        Just(Refused::Rejected),
        Just(Refused::NotNow),
        Just(Refused::Leftover),
        Just(Refused::Foreign)
    ];
    prop_oneof![
        20 => (any::<Index>(), report).prop_map(|(child, report)| Step::Report(child, report)),
        2 => any::<Index>().prop_map(Step::Delete),
        1 => any::<Index>().prop_map(Step::Deleting),
        2 => Just(Step::PodsGo),
        2 => refused.prop_map(Step::Refuse),
        2 => Just(Step::Allow),
        2 => (0..4_usize).prop_map(Step::Crash),
        1 => Just(Step::Cancel),
        3 => prop_oneof![4 => 1..40_u32, 1 => 40..2000_u32].prop_map(Step::Pass),
        1 => Just(Step::Bind),
        1 => prop::bool::weighted(0.2).prop_map(|edit| if edit { Step::Edit } else { Step::PodsGo }),
    ]
}

pub(super) struct World {
    pub(super) observed: Observed,
    refused: Option<Refused>,
    left_to_do: Option<usize>,
    count: u32,
    /// Children that were deleted, replaced, tried again or stopped: their phase may go back.
    disturbed: BTreeSet<String>,
    most: Option<usize>,
}

impl World {
    pub(super) fn new(case: &Case) -> Self {
        let mut run = run_with(&case.build, case.spec.clone());
        run.metadata.name = Some(case.name.clone());
        let mut world = Self::around(run);
        let facts = ClaimFacts {
            access_modes: vec![case.mode.to_owned()],
            bound: !case.waits_for_consumer,
            waits_for_consumer: case.waits_for_consumer,
            ..ClaimFacts::default()
        };
        let claim = if case.claim_is_there { Claim::Found(facts) } else { Claim::NotFound };
        world.observed.facts.claims.insert("shared".into(), claim);
        world.most = case
            .build
            .pointer("/strategy/maxParallel")
            .and_then(Value::as_u64)
            .and_then(|most| usize::try_from(most).ok());
        world.most = world.most.filter(|most| *most > 0);
        world.remember_earlier_run();
        world
    }

    pub(super) fn around(run: CustomRun) -> Self {
        let nodes = [
            ("a".to_owned(), NodeFacts::linux("amd64")),
            ("b".to_owned(), NodeFacts::linux("arm64")),
            ("z".to_owned(), NodeFacts::linux("s390x")),
        ];
        Self {
            observed: Observed {
                nodes: Some(Arc::new(nodes.into())),
                facts: Facts {
                    tekton: TektonConfig { coschedule: Some("workspaces".into()), ..TektonConfig::default() },
                    ..Facts::default()
                },
                ..Observed::alone(run, Arc::new(Settings::default()), "2026-01-01T10:00:00Z".parse().unwrap())
            },
            refused: None,
            left_to_do: None,
            count: 0,
            disturbed: BTreeSet::new(),
            most: None,
        }
    }

    /// An earlier run has built the first platform, for runs that reuse.
    fn remember_earlier_run(&mut self) {
        let first = plan(&self.observed).actions.into_iter().find_map(|action| match action {
            Action::CreateTaskRun(body) if body.metadata.labels.contains_key(label::REUSE) => Some(body),
            _ => None,
        });
        if let Some(mut body) = first {
            body.metadata.name = "earlier".into();
            let mut child = self.made(&body);
            child.status = serde_json::from_value(ended("True", "Succeeded", "")).unwrap();
            self.observed.facts.reusable.push(Arc::new(child));
        }
    }

    pub(super) fn status(&self) -> CustomRunStatus {
        self.observed.run.status.clone().unwrap_or_default()
    }

    pub(super) fn set_status(&mut self, status: Value) {
        Arc::make_mut(&mut self.observed.run).status = serde_json::from_value(status).ok();
    }

    fn extra(&self) -> ExtraFields {
        serde_json::from_value(self.status().extra_fields).unwrap_or_default()
    }

    pub(super) fn platforms(&self) -> Vec<PlatformStatus> {
        self.extra().platforms
    }

    pub(super) fn is_over(&self) -> bool {
        self.status().completion_time.is_some()
    }

    /// Nothing bad happens any more.
    pub(super) fn calm(&mut self) {
        self.refused = None;
        self.left_to_do = None;
        self.take(&Step::Bind);
    }

    /// Every child that runs does what it should, and what deleted ones have left is gone.
    pub(super) fn let_everybody_succeed(&mut self) {
        let held: Vec<String> = self
            .observed
            .children
            .iter()
            .filter(|(_, child)| child.metadata.deletion_timestamp.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in held {
            self.observed.children.remove(&name);
        }
        let names: Vec<String> = self.observed.children.keys().cloned().collect();
        for name in names {
            let asked = self.observed.children[&name].spec.status.is_some();
            self.report(&name, if asked { Report::Stopped } else { Report::Built });
        }
        self.take(&Step::PodsGo);
        self.take(&Step::Pass(6));
    }

    pub(super) fn take(&mut self, step: &Step) {
        let names: Vec<String> = self.observed.children.keys().cloned().collect();
        let pick = |index: &Index| (!names.is_empty()).then(|| index.get(&names).clone());
        match step {
            Step::Report(index, report) => {
                if let Some(name) = pick(index) {
                    self.report(&name, *report);
                }
            }
            Step::Delete(index) => {
                if let Some(name) = pick(index) {
                    self.observed.children.remove(&name);
                    self.disturbed.insert(name);
                }
            }
            Step::Deleting(index) => {
                if let Some(name) = pick(index) {
                    self.disturbed.insert(name.clone());
                    let now = self.observed.now;
                    let child = Arc::make_mut(self.observed.children.get_mut(&name).unwrap());
                    child.metadata.deletion_timestamp =
                        serde_json::from_value(json!(now.to_string())).unwrap();
                }
            }
            Step::PodsGo => {
                let children = &self.observed.children;
                self.observed.pods.retain(|name, _| children.contains_key(name));
            }
            Step::Refuse(refused) => self.refused = Some(*refused),
            Step::Allow => self.refused = None,
            Step::Crash(actions) => self.left_to_do = Some(*actions),
            Step::Cancel => Arc::make_mut(&mut self.observed.run).spec.status = Some("RunCancelled".into()),
            Step::Pass(seconds) => {
                self.observed.now =
                    self.observed.now.checked_add(Span::new().seconds(i64::from(*seconds))).unwrap();
            }
            Step::Bind => {
                for claim in self.observed.facts.claims.values_mut() {
                    let mode = match claim {
                        Claim::Found(facts) => facts.access_modes.clone(),
                        Claim::NotFound => vec!["ReadWriteMany".to_owned()],
                    };
                    *claim =
                        Claim::Found(ClaimFacts { access_modes: mode, bound: true, ..ClaimFacts::default() });
                }
            }
            Step::Edit => {
                let run = Arc::make_mut(&mut self.observed.run);
                run.spec
                    .params
                    .push(serde_json::from_value(json!({"name": "EDITED", "value": "x"})).unwrap());
                run.metadata.generation = run.metadata.generation.map(|generation| generation + 1);
            }
        }
    }

    fn report(&mut self, name: &str, report: Report) {
        let now = self.observed.now.to_string();
        let child = Arc::make_mut(self.observed.children.get_mut(name).unwrap());
        if progress::has_ended(child) {
            return;
        }
        let runs = self.observed.pods.get(name).is_some_and(|pod| pod.status.phase == "Running");
        let arch = match child.metadata.labels.as_ref().and_then(|labels| labels.get(label::PLATFORM)) {
            Some(key) if key.contains("arm64") => "b",
            Some(key) if key.contains("s390x") => "z",
            _ => "a",
        };
        let mut pod = json!({"metadata": {"name": format!("{name}-pod"), "creationTimestamp": now}, "spec": {"nodeName": arch}});
        let unknown = |reason: &str| json!({"conditions": [{"type": "Succeeded", "status": "Unknown", "reason": reason, "message": ""}]});
        let (status, pod_status) = match report {
            Report::NoNode | Report::Pulling if runs => return,
            Report::NoNode => {
                pod["spec"] = json!({});
                let words = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector.";
                let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words, "lastTransitionTime": now});
                (unknown("Pending"), json!({"phase": "Pending", "conditions": [scheduled]}))
            }
            Report::Pulling => {
                let waiting = json!({"name": "step-x", "image": "i", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}});
                (unknown("Pending"), json!({"phase": "Pending", "containerStatuses": [waiting]}))
            }
            Report::Running => (unknown("Running"), json!({"phase": "Running"})),
            Report::Foreign => {
                pod["spec"]["nodeName"] = "z".into();
                (unknown("Running"), json!({"phase": "Running"}))
            }
            Report::Retried => {
                self.disturbed.insert(name.to_owned());
                let mut status = unknown("ToBeRetried");
                status["retriesStatus"] = json!([{}]);
                (status, json!({"phase": "Failed"}))
            }
            Report::Built => (ended("True", "Succeeded", &now), json!({"phase": "Succeeded"})),
            Report::Silent => {
                let mut status = ended("True", "Succeeded", &now);
                status["results"] = json!([]);
                (status, json!({"phase": "Succeeded"}))
            }
            Report::Failed => (ended("False", "Failed", &now), json!({"phase": "Failed"})),
            Report::Raced => {
                self.disturbed.insert(name.to_owned());
                let mut status = ended("False", "CreateContainerConfigError", &now);
                status["conditions"][0]["message"] =
                    "failed to create subPath directory for volumeMount".into();
                (status, json!({"phase": "Pending"}))
            }
            Report::Stopped => (ended("False", "TaskRunCancelled", &now), json!({"phase": "Failed"})),
        };
        pod["status"] = pod_status;
        child.status = Some(serde_json::from_value(status).unwrap());
        self.observed.pods.insert(name.to_owned(), Arc::new(serde_json::from_value(pod).unwrap()));
    }

    fn made(&mut self, body: &TaskRunBody) -> TaskRun {
        self.count += 1;
        let mut value = serde_json::to_value(body).unwrap();
        value["metadata"]["uid"] = json!(format!("uid-{}", self.count));
        value["metadata"]["creationTimestamp"] = json!(self.observed.now.to_string());
        serde_json::from_value(value).unwrap()
    }
}

fn ended(status: &str, reason: &str, now: &str) -> Value {
    let end = if now.is_empty() { Timestamp::UNIX_EPOCH.to_string() } else { now.to_owned() };
    json!({
        "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "words"}],
        "completionTime": end,
        "results": [
            {"name": "IMAGE_URL", "value": "r.example.com/a/b:x\n"},
            {"name": "IMAGE_DIGEST", "value": format!("sha256:{}", "0a".repeat(32))},
        ],
    })
}
