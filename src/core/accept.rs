//! Taking a run on: everything that can be wrong with it is found here, before anything is created.
//!
//! What the run was accepted as is kept in its status ([`AcceptedPlan`]). From then on neither an edit of the `MultiArchBuild` nor of
//! the PipelineRun changes what it does, as Tekton keeps `status.taskSpec` and `status.pipelineSpec` for the same purpose.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use super::children::{BodyMetadata, Checked, Family, Owner, TaskRunBody};
use super::names::child_name;
use super::observed::{Claim, DEFAULT_TIMEOUT, Definition, Facts, Observed};
use super::path::Path;
use super::problem::{Problem, Reason};
use super::request::{Input, Request};
use super::templates::Templates;
use super::workspaces::{self, Verdict};
use super::{duration, inherit};
use crate::api::names::CUSTOM_RUN_API_VERSION;
use crate::api::status::{AcceptedPlan, DefinitionRef, ExtraFields, Warning};
use crate::api::tekton::CustomRun;

/// What has to be read before a run can be decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Name of a `MultiArchBuild`.
    pub definition: Option<String>,
    /// Name of a PipelineRun.
    pub pipeline_run: Option<String>,
    /// Names of claims.
    pub claims: BTreeSet<String>,
    /// Tekton's configuration.
    pub tekton: bool,
}

/// Says what has to be read for a run: everything before it is accepted, claims while it waits for one, and then nothing more.
pub fn needs(run: &CustomRun, extra: &ExtraFields) -> Needs {
    let claims = || {
        let made = extra.plan.iter().flat_map(|plan| plan.claims.values().cloned());
        workspaces::claims_of(run).into_iter().chain(made).collect()
    };
    match &extra.plan {
        Some(plan) if plan.claims_settled => Needs::default(),
        Some(_) => Needs { claims: claims(), tekton: true, ..Needs::default() },
        None => Needs {
            definition: run
                .spec
                .custom_ref
                .as_ref()
                .map(|reference| reference.name.clone())
                .filter(|name| !name.is_empty()),
            pipeline_run: run
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.kind == "PipelineRun")
                .map(|owner| owner.name.clone()),
            claims: claims(),
            tekton: true,
        },
    }
}

/// A run that can be worked on.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What it asks for.
    pub request: Request,
    /// What is kept of its acceptance.
    pub plan: Arc<AcceptedPlan>,
    /// Where its spec stands, for complaints.
    pub root: String,
    /// Claims to be made for `volumeClaimTemplate`s.
    pub claims: Vec<ClaimBody>,
    /// What keeps children from being created.
    pub hold: Hold,
    /// What the author ought to know.
    pub warnings: Vec<Warning>,
    /// Pod templates of its children, as far as they have been needed.
    pub templates: Templates,
    /// The first child of each platform, where it was made to be judged.
    pub first: Vec<TaskRunBody>,
}

/// What keeps children from being created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    None,
    /// Only the first may be created; the others wait, and why.
    FirstOnly(String),
    /// None may be created, and why.
    All(String),
}

/// A PersistentVolumeClaim, as it is created for a `volumeClaimTemplate` of a run that no PipelineRun made one for.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimBody {
    /// `v1`.
    pub api_version: &'static str,
    /// `PersistentVolumeClaim`.
    pub kind: &'static str,
    /// Name, labels, owner.
    pub metadata: BodyMetadata,
    /// As the template says.
    pub spec: Value,
}

/// Takes a run on, or takes up one that was accepted before.
///
/// # Errors
/// Everything that is wrong with it.
pub fn accept(observed: &Observed, extra: &ExtraFields) -> Result<Accepted, Vec<Problem>> {
    let run = &*observed.run;
    let facts = &observed.facts;
    if let Some(plan) = &extra.plan
        && !was_read(run, extra)
        && plan.spec_digest != spec_digest(run)
    {
        return Err(vec![Problem::new(
            Reason::SpecChanged,
            &Path::root("spec"),
            "the spec was changed after the run had started, so what has been built may not be what it asks for now; make another run",
        )]);
    }
    let (root, spec, definition) = written(run, facts, extra)?;
    let default_timeout = match &extra.plan {
        // Decided at the start, whatever Tekton's default has become since.
        Some(plan) => duration::parse(&plan.timeout).ok(),
        None => Some(facts.tekton.default_timeout.unwrap_or(DEFAULT_TIMEOUT)),
    };
    let path = Path::root(&root);
    let templates = Templates::default();
    let request = Request::parse(Input { run, spec, root: &path, default_timeout })?;
    let mut plan = match &extra.plan {
        Some(plan) => Arc::clone(plan),
        None => Arc::new(fresh_plan(run, facts, &request, definition, spec)),
    };
    if plan.claims_settled {
        let warnings = extra.warnings.clone();
        return Ok(Accepted {
            request,
            plan,
            root,
            claims: Vec::new(),
            hold: Hold::None,
            warnings,
            templates,
            first: Vec::new(),
        });
    }
    let unsettled = Arc::make_mut(&mut plan);
    let claims = claims_to_make(run, facts, &request, unsettled);
    let family = Family {
        run,
        request: &request,
        plan: unsettled,
        settings: &observed.settings,
        root: path,
        keep_assistant: false,
        templates: &templates,
    };
    let Checked { children, first } = family.check()?;
    let verdict = workspaces::judge(workspaces::Input {
        request: &request,
        claims: &with_claims_to_make(facts, &claims),
        nodes: observed.nodes.as_deref(),
        coschedule: facts.tekton.coschedule.as_deref(),
        children: &children,
    });
    let (hold, sharing) = match verdict {
        Verdict::Refuse(problems) => return Err(problems),
        Verdict::Go(sharing) => (Hold::None, sharing),
        Verdict::FirstOnly { sharing, message } => (Hold::FirstOnly(message), sharing),
        Verdict::Wait(message) => (Hold::All(message), workspaces::Sharing::default()),
    };
    unsettled.claims_settled = hold == Hold::None;
    unsettled.keep_assistant = sharing.keep_assistant;
    // Those that keep to the affinity assistant bear one annotation more.
    let first = if sharing.keep_assistant { Vec::new() } else { first };
    Ok(Accepted { request, plan, root, claims, hold, warnings: sharing.warnings, templates, first })
}

/// The build's spec and where it stands: as frozen at the start, or as it is now.
///
/// # Errors
/// That it cannot be found.
pub fn written<'a>(
    run: &'a CustomRun,
    facts: &'a Facts,
    extra: &'a ExtraFields,
) -> Result<(String, &'a Value, Option<DefinitionRef>), Vec<Problem>> {
    if let Some(embedded) = &run.spec.custom_spec {
        return Ok(("spec.customSpec.spec".to_owned(), &embedded.spec, None));
    }
    let reference = run.spec.custom_ref.clone().unwrap_or_default();
    let place = Path::root("spec");
    let place = place.field("customRef");
    let refuse = |reason, path: &Path<'_>, message: String| Err(vec![Problem::new(reason, path, message)]);
    let name = reference.name;
    let root = format!("MultiArchBuild {name:?} spec");
    if let Some(plan) = &extra.plan
        && let Some(spec) = &plan.spec
    {
        return Ok((root, spec, plan.definition.clone()));
    }
    if !reference.resolver.is_empty() {
        return refuse(
            Reason::DefinitionNotFound,
            &place.field("resolver"),
            format!(
                "a MultiArchBuild cannot be fetched by the resolver {:?}; name one in this namespace, or embed it as taskSpec.spec",
                reference.resolver
            ),
        );
    }
    if name.is_empty() {
        return refuse(
            Reason::DefinitionNotFound,
            &place.field("name"),
            "no name is given; name a MultiArchBuild in this namespace, or embed it as taskSpec.spec"
                .to_owned(),
        );
    }
    match &facts.definition {
        Definition::Found { uid, generation, spec } => {
            let definition = DefinitionRef { name, uid: uid.clone(), generation: *generation };
            Ok((root, spec, Some(definition)))
        }
        Definition::NoKind => refuse(
            Reason::DefinitionNotFound,
            &place.field("name"),
            format!(
                "the MultiArchBuild {name:?} cannot be looked up, because the cluster has no such kind; install archfan's CRDs, or embed the build as taskSpec.spec"
            ),
        ),
        Definition::None | Definition::NotFound => refuse(
            Reason::DefinitionNotFound,
            &place.field("name"),
            format!(
                "there is no MultiArchBuild {name:?} in the namespace {:?}; create it there, or correct the name",
                run.metadata.namespace.as_deref().unwrap_or_default()
            ),
        ),
    }
}

fn fresh_plan(
    run: &CustomRun,
    facts: &Facts,
    request: &Request,
    definition: Option<DefinitionRef>,
    spec: &Value,
) -> AcceptedPlan {
    let owner = facts.pipeline_run.as_deref();
    AcceptedPlan {
        spec: definition.is_some().then(|| spec.clone()),
        definition,
        spec_digest: spec_digest(run),
        inherited: inherit::from_owner(run, owner, &facts.tekton),
        timeout: duration::format(request.timeout.unwrap_or_default()),
        claims: BTreeMap::new(),
        claims_settled: false,
        keep_assistant: false,
        ttl_seconds: request.strategy.ttl.map(|ttl| ttl.as_secs()),
        span_context: inherit::span_context(run, owner),
    }
}

/// The claims for `volumeClaimTemplate`s. Tekton makes them for its own runs only; handed on to TaskRuns, a template would give
/// each child an empty volume of its own.
fn claims_to_make(
    run: &CustomRun,
    facts: &Facts,
    request: &Request,
    plan: &mut AcceptedPlan,
) -> Vec<ClaimBody> {
    let mut bodies = Vec::new();
    for workspace in &request.workspaces {
        let Some(binding) = &workspace.binding else { continue };
        let Some(template) = binding.other.get("volumeClaimTemplate") else { continue };
        let name = child_name(&request.context.custom_run, &format!("-{}", workspace.name));
        plan.claims.insert(workspace.name.clone(), name.clone());
        if matches!(facts.claims.get(&name), Some(Claim::Found(_))) {
            continue;
        }
        let strings = |field: &str| {
            template
                .pointer(&format!("/metadata/{field}"))
                .and_then(|value| serde_json::from_value(value.clone()).ok())
                .unwrap_or_default()
        };
        bodies.push(ClaimBody {
            api_version: "v1",
            kind: "PersistentVolumeClaim",
            metadata: BodyMetadata {
                name,
                namespace: request.context.namespace.clone(),
                labels: strings("labels"),
                annotations: strings("annotations"),
                owner_references: vec![Owner {
                    api_version: CUSTOM_RUN_API_VERSION.to_owned(),
                    kind: "CustomRun".to_owned(),
                    name: request.context.custom_run.clone(),
                    uid: run.metadata.uid.clone().unwrap_or_default(),
                    controller: true,
                    block_owner_deletion: Some(true),
                }],
            },
            spec: template.get("spec").cloned().unwrap_or_else(|| json!({})),
        });
    }
    bodies
}

/// The claims as they are, and those that are about to be made as not there yet: they are judged once they are.
fn with_claims_to_make<'a>(facts: &'a Facts, claims: &[ClaimBody]) -> Cow<'a, BTreeMap<String, Claim>> {
    if claims.is_empty() {
        return Cow::Borrowed(&facts.claims);
    }
    let mut all = facts.claims.clone();
    all.extend(claims.iter().map(|claim| (claim.metadata.name.clone(), Claim::NotFound)));
    Cow::Owned(all)
}

/// Whether this very spec was found to be the accepted one before: the API server gives each change of a spec a generation of its own.
/// (While a run comes to its end the generation that was read last may be the one that was refused.)
fn was_read(run: &CustomRun, extra: &ExtraFields) -> bool {
    let read = run.status.as_ref().and_then(|status| status.observed_generation);
    extra.ending.is_none() && read.is_some() && read == run.metadata.generation
}

/// Digest of the parts of a CustomRun's spec that say what is built. `status`, `timeout`, `retries` and the service account are not
/// among them: Tekton writes the first, and its webhook may fill in the last.
fn spec_digest(run: &CustomRun) -> String {
    let spec = &run.spec;
    let mut parts = BufWriter::with_capacity(512, Hashed(Context::new(&SHA256)));
    // What was read from JSON can be written as JSON, and hashing it cannot fail.
    let _ = serde_json::to_writer(
        &mut parts,
        &(&spec.custom_ref, &spec.custom_spec, &spec.params, &spec.workspaces),
    );
    parts.into_inner().map(|Hashed(parts)| hex(parts.finish().as_ref(), 16)).unwrap_or_default()
}

/// What is written here is hashed.
struct Hashed(Context);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first `length` hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8], length: usize) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .take(length)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests;
