//! Taking over what an earlier run has built: `strategy.reuse`.
//!
//! A text says what is built, usually a revision. A child of an earlier run in the same namespace is taken over if it bears the digest
//! of the same text, is for the same platform and task, was made from the same spec, has succeeded, and is still there.

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::accept::{self, hex};
use super::children::TaskRunBody;
use super::observed::Facts;
use super::path::Path;
use super::request::{Input, Request};
use crate::api::names::{annotation, label};
use crate::api::status::ExtraFields;
use crate::api::tekton::{Condition, CustomRun, TaskRun};

/// The label value by which children of the same text are found.
pub fn key(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref(), 32)
}

/// Digest of what a child would do. The names of claims are left out of it: a pipeline run with a `volumeClaimTemplate` has a claim of
/// another name each time, and the text already says that what is on it is the same.
pub fn spec_digest(body: &TaskRunBody) -> String {
    let mut spec = serde_json::to_value(&body.spec).unwrap_or_default();
    for binding in spec.get_mut("workspaces").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(name) = binding.pointer_mut("/persistentVolumeClaim/claimName") {
            *name = Value::Null;
        }
    }
    hex(digest(&SHA256, spec.to_string().as_bytes()).as_ref(), 32)
}

/// Marks a child so that later runs can find it.
pub fn mark(body: &mut TaskRunBody, text: &str) {
    let digest = spec_digest(body);
    body.metadata.labels.insert(label::REUSE.to_owned(), key(text));
    body.metadata.annotations.insert(annotation::SPEC_DIGEST.to_owned(), digest);
}

/// Finds the newest earlier child that does what `body` would do. `body` must be marked.
pub fn find<'a, T: AsRef<TaskRun>>(body: &TaskRunBody, candidates: &'a [T]) -> Option<&'a TaskRun> {
    let wanted = |name: &str| body.metadata.labels.get(name);
    candidates
        .iter()
        .map(AsRef::as_ref)
        .filter(|child| {
            let meta = &child.metadata;
            let same = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name)) == wanted(name);
            let spec = meta.annotations.as_ref().and_then(|all| all.get(annotation::SPEC_DIGEST));
            meta.deletion_timestamp.is_none()
                && same(label::REUSE)
                && same(label::PLATFORM)
                && same(label::TASK)
                && same(label::ROLE)
                && spec == body.metadata.annotations.get(annotation::SPEC_DIGEST)
                && child
                    .status
                    .as_ref()
                    .and_then(|status| Condition::succeeded(&status.conditions))
                    .is_some_and(|condition| condition.status == "True")
        })
        .max_by(|a, b| {
            let age = |child: &TaskRun| {
                (child.metadata.creation_timestamp.as_ref().map(|time| time.0), child.metadata.name.clone())
            };
            age(a).cmp(&age(b))
        })
}

/// The text by which a run's children are recognised, before its request has been read as a whole; `None` if it has none, or if
/// nothing can be read.
pub fn text_of(run: &CustomRun, extra: &ExtraFields, facts: &Facts) -> Option<String> {
    let (root, spec, _) = accept::written(run, facts, extra).ok()?;
    spec.pointer("/strategy/reuse")?;
    let root = Path::root(&root);
    let input = Input { run, spec, root: &root, default_timeout: None };
    Request::parse(input).ok()?.strategy.reuse
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::request::tests::run_with;

    #[test]
    fn the_text_is_known_before_a_run_is_accepted() {
        let text =
            |build: Value| text_of(&run_with(&build, json!({})), &ExtraFields::default(), &Facts::default());
        let build = json!({"platforms": ["amd64"], "taskRef": {"name": "x"}, "params": [{"name": "rev", "default": "1"}]});
        assert_eq!(text(build.clone()), None);
        let mut reusing = build;
        reusing["strategy"] = json!({"reuse": "rev-$(params.rev)"});
        assert_eq!(text(reusing.clone()).as_deref(), Some("rev-1"));
        reusing["platforms"] = json!([]);
        assert_eq!(text(reusing), None, "nothing is taken over for a run that cannot be read");
    }
}
