//! What is planned is done, as the controller and the API server would, and what the controller may never do is checked on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{Refused, World};
use crate::api::names::label;
use crate::api::status::{AcceptedPlan, ExtraFields};
use crate::api::tekton::{Condition, CustomRunStatus};
use crate::core::children::TaskRunBody;
use crate::core::observed::{Claim, ClaimFacts, Refusal, RefusalReason};
use crate::core::plan::{Action, Plan, plan};
use crate::core::progress;

type Law = Result<(), TestCaseError>;

impl World {
    /// Looks at the run as the controller does, until there is nothing more to do, and checks the laws all along.
    pub(in crate::core::properties) fn look(&mut self) -> Law {
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
                    RefusalReason::Taken(Arc::new(other))
                }
                Refused::Foreign => RefusalReason::Taken(Arc::default()),
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
        prop_assert!(frozen(was.plan.as_deref(), is.plan.as_deref()), "what was accepted has changed");
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

/// Whether a run is still what it was accepted as. Only what its claims say may come later.
fn frozen(was: Option<&AcceptedPlan>, is: Option<&AcceptedPlan>) -> bool {
    let Some(was) = was else { return true };
    let Some(is) = is else { return false };
    (&was.spec, &was.spec_digest, &was.timeout, &was.inherited, &was.definition)
        == (&is.spec, &is.spec_digest, &is.timeout, &is.inherited, &is.definition)
        && was.claims_settled <= is.claims_settled
}

/// Whether a text can be the name of a TaskRun: RFC 1123 subdomain, at most 63 characters.
pub(in crate::core::properties) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.split('.').all(|label| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(label.chars().next())
                && edge(label.chars().last())
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}
