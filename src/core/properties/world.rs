//! A world in which one run lives: it does what is planned, and things happen to it. After every step the laws are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{Span, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::specs::Case;
use crate::api::names::label;
use crate::api::status::{AcceptedPlan, ExtraFields, PlatformStatus};
use crate::api::tekton::{Condition, CustomRun, CustomRunStatus, TaskRun};
use crate::core::children::TaskRunBody;
use crate::core::observed::{
    Claim, ClaimFacts, Facts, NodeFacts, Observed, Refusal, RefusalReason, TektonConfig,
};
use crate::core::plan::{Action, Plan, plan};
use crate::core::progress;
use crate::core::request::tests::run_with;
use crate::core::settings::Settings;

type Law = Result<(), TestCaseError>;

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

    /// Looks at the run as the controller does, until there is nothing more to do, and checks the laws all along.
    pub(super) fn look(&mut self) -> Law {
        for _ in 0..60 {
            let planned = plan(&self.observed);
            let again = plan(&self.observed);
            prop_assert_eq!(&planned.actions, &again.actions);
            prop_assert_eq!(&planned.status, &again.status);
            prop_assert!(
                self.is_over() || planned.again.is_some() || planned.status.is_some(),
                "nobody would look again"
            );
            if planned.actions.is_empty() {
                let Some(status) = planned.status else {
                    self.observed.refusals.clear();
                    return Ok(());
                };
                let status = status.written();
                self.check(&status)?;
                // As it comes back from the API server.
                let status = serde_json::to_value(status).unwrap();
                Arc::make_mut(&mut self.observed.run).status = Some(serde_json::from_value(status).unwrap());
                continue;
            }
            if self.act(planned)? {
                self.observed.refusals.clear();
                return Ok(());
            }
        }
        Err(TestCaseError::fail(format!("it does not settle: {:#?}", plan(&self.observed))))
    }

    /// Does what is planned; true if the controller died over it.
    fn act(&mut self, planned: Plan) -> Result<bool, TestCaseError> {
        for action in planned.actions {
            if let Some(left) = &mut self.left_to_do {
                if *left == 0 {
                    self.left_to_do = None;
                    return Ok(true);
                }
                *left -= 1;
            }
            match action {
                Action::CreateClaim(claim) => {
                    let name = claim.metadata.name;
                    prop_assert!(is_name(&name), "{name}");
                    let facts = ClaimFacts {
                        access_modes: vec!["ReadWriteMany".into()],
                        bound: true,
                        ..ClaimFacts::default()
                    };
                    self.observed.facts.claims.insert(name, Claim::Found(facts));
                }
                Action::CreateTaskRun(body) => self.create(&body)?,
                Action::CancelTaskRun { name, message } => {
                    let child = Arc::make_mut(self.observed.children.get_mut(&name).unwrap());
                    prop_assert!(child.spec.status.is_none(), "{name} is cancelled twice");
                    child.spec.status = Some("TaskRunCancelled".into());
                    child.spec.status_message = Some(message);
                    self.disturbed.insert(name);
                }
                Action::DeleteTaskRun { name, uid } => {
                    if self
                        .observed
                        .children
                        .get(&name)
                        .is_some_and(|child| child.metadata.uid.as_deref() == Some(&uid))
                    {
                        self.observed.children.remove(&name);
                        self.observed.pods.remove(&name);
                    } else {
                        // What an earlier run of this name has left.
                        self.refused = None;
                        self.observed.refusals.retain(|refusal| refusal.name != name);
                    }
                    self.disturbed.insert(name);
                }
            }
        }
        Ok(false)
    }

    fn create(&mut self, body: &TaskRunBody) -> Law {
        let name = &body.metadata.name;
        prop_assert!(!self.is_over(), "{name} is created although the run is over");
        prop_assert!(is_name(name), "{name:?} is no name");
        for (key, value) in &body.metadata.labels {
            let good =
                value.len() <= 63 && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            prop_assert!(good, "{key}={value:?} is no label");
        }
        prop_assert!(
            !self.observed.pods.contains_key(name),
            "{name} would take over the pod of the one before it"
        );
        prop_assert!(
            !self.observed.refusals.iter().any(|refusal| refusal.name == *name),
            "{name} was refused just now"
        );
        let of = |labels: Option<&BTreeMap<String, String>>| {
            let get = |key: &str| labels.and_then(|labels| labels.get(key)).cloned();
            (get(label::ROLE), get(label::PLATFORM), get(label::TASK))
        };
        let ours = of(Some(&body.metadata.labels));
        for (other, child) in &self.observed.children {
            prop_assert_ne!(other, name);
            prop_assert_ne!(of(child.metadata.labels.as_ref()), ours.clone(), "{} and {}", other, name);
        }
        if let Some(refused) = self.refused {
            let words = "no".to_owned();
            let why = match refused {
                Refused::Quota => RefusalReason::Quota(words),
                Refused::Rejected => RefusalReason::Rejected(words),
                Refused::NotNow => RefusalReason::NotNow(words),
                Refused::Leftover => {
                    let mut other = self.made(body);
                    other.metadata.uid = Some("uid-leftover".into());
                    RefusalReason::Taken(Box::new(other))
                }
                Refused::Foreign => RefusalReason::Taken(Box::default()),
            };
            self.observed.refusals.push(Refusal { name: name.clone(), why });
            return Ok(());
        }
        let child = self.made(body);
        self.observed.children.insert(name.clone(), Arc::new(child));
        let active = self.observed.children.values().filter(|child| {
            !progress::has_ended(child)
                && of(child.metadata.labels.as_ref()).0.as_deref() == Some(label::ROLE_BUILD)
        });
        let active = active.count();
        prop_assert!(self.most.is_none_or(|most| active <= most), "{active} run at once");
        Ok(())
    }

    fn made(&mut self, body: &TaskRunBody) -> TaskRun {
        self.count += 1;
        let mut value = serde_json::to_value(body).unwrap();
        value["metadata"]["uid"] = json!(format!("uid-{}", self.count));
        value["metadata"]["creationTimestamp"] = json!(self.observed.now.to_string());
        serde_json::from_value(value).unwrap()
    }

    /// The laws of what is written.
    fn check(&self, new: &CustomRunStatus) -> Law {
        let old = self.status();
        let verdict = Condition::succeeded(&new.conditions)
            .map(|condition| condition.status.clone())
            .unwrap_or_default();
        prop_assert!(old.completion_time.is_none(), "a finished run is changed");
        prop_assert_eq!(new.conditions.len(), 1);
        prop_assert!(new.start_time.is_some());
        prop_assert_eq!(new.completion_time.is_some(), verdict != "Unknown");
        prop_assert!(!new.conditions[0].reason.is_empty());
        let was = self.extra();
        let is: ExtraFields = serde_json::from_value(new.extra_fields.clone()).unwrap();
        prop_assert!(frozen(was.plan.as_ref(), is.plan.as_ref()), "what was accepted has changed");
        for before in &was.platforms {
            let Some(after) = is.platforms.iter().find(|after| after.platform == before.platform) else {
                continue;
            };
            prop_assert!(
                !before.phase.is_final() || before.phase == after.phase,
                "{} was {:?} and is {:?}",
                before.platform,
                before.phase,
                after.phase
            );
            for task in &before.tasks {
                let Some(now) = after.tasks.iter().find(|now| now.name == task.name) else { continue };
                let forward = now.phase >= task.phase || self.disturbed.contains(&task.task_run);
                prop_assert!(
                    if task.phase.is_final() { now.phase == task.phase } else { forward },
                    "{} of {} was {:?} and is {:?}",
                    task.name,
                    before.platform,
                    task.phase,
                    now.phase
                );
            }
        }
        if verdict == "Unknown" {
            prop_assert!(new.results.is_empty(), "results before the end");
        } else {
            for (name, child) in &self.observed.children {
                prop_assert!(progress::has_ended(child), "{name} still runs");
            }
        }
        if verdict == "True" {
            for platform in is.platforms.iter().filter(|platform| platform.required) {
                prop_assert!(platform.phase.lets_go_on(), "{} is {:?}", platform.platform, platform.phase);
            }
            prop_assert!(new.results.iter().any(|result| result.name == "PLATFORMS"));
        }
        Ok(())
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

/// Whether a run is still what it was accepted as. Only what its claims say may come later.
fn frozen(was: Option<&AcceptedPlan>, is: Option<&AcceptedPlan>) -> bool {
    let Some(was) = was else { return true };
    let Some(is) = is else { return false };
    (&was.spec, &was.spec_digest, &was.timeout, &was.inherited, &was.definition)
        == (&is.spec, &is.spec_digest, &is.timeout, &is.inherited, &is.definition)
        && was.claims_settled <= is.claims_settled
}

/// Whether a text can be the name of a TaskRun: RFC 1123 subdomain, at most 63 characters.
pub(super) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.split('.').all(|label| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(label.chars().next())
                && edge(label.chars().last())
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}
