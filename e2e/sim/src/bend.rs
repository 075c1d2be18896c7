//! What a planted bug does to what passes a seam.

use std::sync::Arc;

use archfan::api::names::label;
use archfan::api::tekton::{CustomRun, CustomRunStatus};
use archfan::core::children::TaskRunBody;
use serde_json::{Value, json};

use crate::faults::Fault;

/// What is asked to be created.
pub fn body(body: &mut TaskRunBody, fault: Fault) {
    let is_index = body.metadata.labels.get(label::ROLE).is_some_and(|role| role == label::ROLE_INDEX);
    match fault {
        Fault::SelectorForgotten => {
            if let Some(template) = &mut body.spec.pod_template
                && let Value::Object(template) = Arc::make_mut(template)
            {
                template.remove("nodeSelector");
            }
        }
        Fault::OwnersSwapped => body.metadata.owner_references.reverse(),
        Fault::RetriesForgotten => body.spec.retries = 0,
        Fault::LabelsForgotten => {
            body.metadata.labels.remove(label::ROLE);
        }
        Fault::IndexMemberLost if is_index => {
            let args = body.spec.task_spec.as_mut().and_then(|spec| spec.pointer_mut("/steps/0/args"));
            if let Some(Value::Array(args)) = args {
                args.pop();
            }
        }
        _ => {}
    }
}

/// What the controller sees of a run.
pub fn run(run: &mut CustomRun, fault: Fault) {
    if fault == Fault::CancelUnread {
        run.spec.status = None;
    }
    if fault == Fault::TimeoutUnread {
        run.spec.timeout = None;
    }
    if let Some(embedded) = &mut run.spec.custom_spec {
        spec(&mut embedded.spec, fault);
    }
}

/// What the controller sees of a build.
pub fn spec(spec: &mut Value, fault: Fault) {
    let forget = |spec: &mut Value, field: &str| {
        if let Some(Value::Object(strategy)) = spec.get_mut("strategy") {
            strategy.remove(field);
        }
    };
    match fault {
        Fault::LimitUnread => forget(spec, "maxParallel"),
        Fault::LifetimeUnread => forget(spec, "ttlSecondsAfterFinished"),
        Fault::FailFastUnread => forget(spec, "failFast"),
        Fault::WhenUnread => each(spec, "tasks", |task| {
            task.as_object_mut().map(|task| task.remove("when"));
        }),
        Fault::OptionalUnread => each(spec, "platforms", |platform| {
            platform.as_object_mut().map(|platform| platform.remove("required"));
        }),
        Fault::ChainTurnedRound => {
            if let Some(Value::Array(tasks)) = spec.get_mut("tasks") {
                tasks.reverse();
            }
        }
        _ => {}
    }
}

fn each(spec: &mut Value, list: &str, change: impl Fn(&mut Value)) {
    if let Some(Value::Array(entries)) = spec.get_mut(list) {
        entries.iter_mut().for_each(change);
    }
}

/// What is written as the status of `run`.
pub fn status(run: &CustomRun, status: &mut CustomRunStatus, fault: Fault) {
    match fault {
        Fault::FieldsStay => {
            let before = serde_json::to_value(&run.status).unwrap_or_default();
            let after = serde_json::to_value(&*status).unwrap_or_default();
            if let Ok(both) = serde_json::from_value(overlay(before, after)) {
                *status = both;
            }
        }
        Fault::ResultCutShort => {
            status.results.pop();
        }
        Fault::ResultNotTrimmed => {
            let digests = status.results.iter_mut().filter(|result| result.name.ends_with("-IMAGE_DIGEST"));
            digests.for_each(|result| result.value.push('\n'));
        }
        Fault::ResultsMixedUp => {
            let places: Vec<usize> = (0..status.results.len())
                .filter(|i| status.results[*i].name.ends_with("-IMAGE_DIGEST"))
                .collect();
            if let [first, .., last] = places.as_slice() {
                let value = std::mem::take(&mut status.results[*first].value);
                status.results[*first].value = std::mem::replace(&mut status.results[*last].value, value);
            }
        }
        Fault::PhaseGoesBack => {
            let was = |place: usize, task: usize| {
                let found = run
                    .status
                    .as_ref()?
                    .extra_fields
                    .pointer(&format!("/platforms/{place}/tasks/{task}/phase"))?;
                Some(found == "Succeeded")
            };
            tasks(status, |place, number, task| {
                if was(place, number) == Some(true) {
                    task["phase"] = "Running".into();
                }
            });
        }
        Fault::VerdictTooEarly => {
            let mut failed = false;
            tasks(status, |_, _, task| failed |= task["phase"] == "Failed");
            if failed {
                over(status, "BuildFailed");
            }
        }
        Fault::TooLargeIsOver => {
            let ending = status.extra_fields.pointer("/ending/reason");
            if ending.is_some_and(|reason| reason == "ResultsTooLarge") {
                over(status, "ResultsTooLarge");
            }
        }
        Fault::MessageForgotten => tasks(status, |_, _, task| {
            if task["phase"] == "Pending" {
                task["message"] = json!("");
            }
        }),
        _ => {}
    }
}

/// A run under way is reported to have failed.
fn over(status: &mut CustomRunStatus, reason: &str) {
    if let Some(condition) = status.conditions.first_mut().filter(|condition| condition.status == "Unknown") {
        "False".clone_into(&mut condition.status);
        reason.clone_into(&mut condition.reason);
        status.completion_time = condition.last_transition_time.clone();
    }
}

fn tasks(status: &mut CustomRunStatus, mut change: impl FnMut(usize, usize, &mut Value)) {
    let platforms = status.extra_fields.get_mut("platforms").and_then(Value::as_array_mut);
    for (place, platform) in platforms.into_iter().flatten().enumerate() {
        let tasks = platform.get_mut("tasks").and_then(Value::as_array_mut);
        for (number, task) in tasks.into_iter().flatten().enumerate() {
            change(place, number, task);
        }
    }
}

/// A merge patch by somebody who leaves out what is to go.
fn overlay(before: Value, after: Value) -> Value {
    match (before, after) {
        (Value::Object(mut before), Value::Object(after)) => {
            for (name, value) in after {
                let old = before.remove(&name).unwrap_or_default();
                before.insert(name, overlay(old, value));
            }
            Value::Object(before)
        }
        (_, after) => after,
    }
}
