//! A world that does at once what it is told.

use super::*;

/// The objects of one run, and the clock.
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) events: Vec<String>,
    pub(super) created: Vec<String>,
    pub(super) bodies: BTreeMap<String, TaskRunBody>,
    pub(super) cancelled: Vec<String>,
    pub(super) deleted: Vec<String>,
    pub(super) writes: usize,
}

pub(super) const START: &str = "2026-01-01T10:00:00Z";

impl World {
    pub(super) fn new(build: &Value, spec: Value) -> Self {
        Self::with_run(run_with(build, spec))
    }

    pub(super) fn with_run(run: CustomRun) -> Self {
        let nodes = Nodes::from([
            ("node-a".into(), NodeFacts::linux("amd64")),
            ("node-b".into(), NodeFacts::linux("arm64")),
        ]);
        Self {
            observed: Observed {
                nodes: Some(Arc::new(nodes)),
                ..Observed::alone(run, Arc::new(Settings::default()), START.parse().unwrap())
            },
            events: Vec::new(),
            created: Vec::new(),
            bodies: BTreeMap::new(),
            cancelled: Vec::new(),
            deleted: Vec::new(),
            writes: 0,
        }
    }

    /// Plans, does what is planned, and plans again until nothing more is asked for.
    pub(super) fn settle(&mut self) -> Option<Duration> {
        for _ in 0..50 {
            let plan = plan(&self.observed);
            if plan.actions.is_empty() && plan.status.is_none() {
                self.observed.refusals.clear();
                return plan.again;
            }
            let quiet = plan.actions.is_empty();
            for action in plan.actions {
                self.act(action);
            }
            // As the shell does: the status is written from what came of the actions.
            if quiet && let Some(status) = plan.status {
                self.writes += 1;
                let run = Arc::make_mut(&mut self.observed.run);
                let value = serde_json::to_value(status.written()).unwrap();
                run.status = Some(serde_json::from_value(value).unwrap());
                self.events.extend(plan.events.iter().map(|event| {
                    format!(
                        "{} {}: {}",
                        if event.warning { "Warning" } else { "Normal" },
                        event.reason,
                        event.message
                    )
                }));
            }
        }
        panic!("does not settle: {:#?}", plan(&self.observed));
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::CreateClaim(claim) => {
                self.created.push(claim.metadata.name.clone());
                self.observed.facts.claims.insert(
                    claim.metadata.name.clone(),
                    Claim::Found(ClaimFacts {
                        access_modes: vec!["ReadWriteMany".into()],
                        ..ClaimFacts::default()
                    }),
                );
            }
            Action::CreateTaskRun(body) => {
                let name = body.metadata.name.clone();
                let refused = self.observed.refusals.iter().any(|refusal| refusal.name == name);
                assert!(!refused, "{name} is created although it was refused");
                let mut value = serde_json::to_value(&*body).unwrap();
                value["metadata"]["creationTimestamp"] = json!(self.observed.now.to_string());
                value["metadata"]["uid"] = json!(format!("uid-{}", self.created.len()));
                let child: TaskRun = serde_json::from_value(value).unwrap();
                assert!(
                    self.observed.children.insert(name.clone(), Arc::new(child)).is_none(),
                    "{name} is created twice"
                );
                self.bodies.insert(name.clone(), *body);
                self.created.push(name);
            }
            Action::CancelTaskRun { name, message } => {
                let child = Arc::make_mut(self.observed.children.get_mut(&name).unwrap());
                assert_eq!(child.spec.status, None, "{name} is cancelled twice");
                child.spec.status = Some("TaskRunCancelled".into());
                child.spec.status_message = Some(message);
                self.cancelled.push(name);
            }
            Action::DeleteTaskRun { name, uid: _ } => {
                self.observed.children.remove(&name);
                self.deleted.push(name);
            }
        }
    }

    pub(super) fn child(&mut self, name: &str) -> &mut TaskRun {
        let names: Vec<String> = self.observed.children.keys().cloned().collect();
        Arc::make_mut(
            self.observed.children.get_mut(name).unwrap_or_else(|| panic!("no child {name} in {names:?}")),
        )
    }

    pub(super) fn report(&mut self, name: &str, status: &str, reason: &str, message: &str, results: Value) {
        let now = self.observed.now.to_string();
        let end = (status != "Unknown").then(|| now.clone());
        let child = self.child(name);
        child.status = Some(
            serde_json::from_value(json!({
                "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": message}],
                "completionTime": end, "results": results,
            }))
            .unwrap(),
        );
    }

    pub(super) fn run_pod(&mut self, name: &str, node: &str) {
        self.report(name, "Unknown", "Running", "", json!([]));
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": format!("{name}-pod")}, "spec": {"nodeName": node}, "status": {"phase": "Running"}}))
                .unwrap();
        self.observed.pods.insert(name.into(), Arc::new(pod));
    }

    /// The params with which a child was created.
    pub(super) fn params(&self, name: &str) -> Value {
        serde_json::to_value(&self.bodies[name].spec.params).unwrap()
    }

    pub(super) fn succeed(&mut self, name: &str, results: Value) {
        self.report(name, "True", "Succeeded", "", results);
    }

    /// Ends every child that was asked to end, as Tekton would.
    pub(super) fn end_cancelled(&mut self) {
        let asked: Vec<String> = self
            .observed
            .children
            .iter()
            .filter(|(_, child)| cancel::is_asked(child) && !progress::has_ended(child))
            .map(|(name, _)| name.clone())
            .collect();
        for name in asked {
            self.report(&name, "False", "TaskRunCancelled", "cancelled", json!([]));
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.observed.now = self.observed.now.checked_add(span).unwrap();
    }

    pub(super) fn condition(&self) -> Condition {
        self.observed.run.status.as_ref().unwrap().conditions[0].clone()
    }

    pub(super) fn verdict(&self) -> (String, String) {
        let condition = self.condition();
        (condition.status, condition.reason)
    }

    pub(super) fn extra(&self) -> ExtraFields {
        serde_json::from_value(self.observed.run.status.as_ref().unwrap().extra_fields.clone()).unwrap()
    }

    pub(super) fn phases(&self) -> Vec<Phase> {
        self.extra().platforms.iter().map(|platform| platform.phase).collect()
    }

    pub(super) fn result(&self, name: &str) -> Option<String> {
        let status = self.observed.run.status.as_ref().unwrap();
        status.results.iter().find(|result| result.name == name).map(|result| result.value.clone())
    }
}

pub(super) const AMD64: &str = "app-build-linux-amd64";
pub(super) const ARM64: &str = "app-build-linux-arm64";

pub(super) fn two() -> Value {
    json!({"platforms": ["linux/amd64", "linux/arm64"], "taskRef": {"name": "x"}})
}

pub(super) fn with(mut build: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        build[key] = value.clone();
    }
    build
}

pub(super) fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

pub(super) fn image(digit: char) -> Value {
    json!([{"name": "IMAGE_URL", "value": "r/app:v1\n"}, {"name": "IMAGE_DIGEST", "value": digest(digit)}])
}

pub(super) fn outcome(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}
