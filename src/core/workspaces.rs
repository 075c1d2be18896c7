//! Which volume can be shared by which children, decided before anything is created.
//!
//! | found | done |
//! |---|---|
//! | a claim that many nodes can mount (`ReadWriteMany`, or `ReadOnlyMany`) | shared by all children, no affinity assistant |
//! | a claim for one node (`ReadWriteOnce`), platforms on more than one architecture | refused: `WorkspaceNotShareable` |
//! | a claim for one pod (`ReadWriteOncePod`) | refused unless one pod at a time is all there is |
//! | two claims on one TaskRun while Tekton's `coschedule` is `workspaces` | refused: `TooManyClaims` |
//! | a claim that is not there, or not bound and made where its first pod runs | waits: the first child decides, the others follow |
//! | a volume that no node of a platform can reach | refused: `VolumeNotReachable` |
//! | an `emptyDir` that one task is to find filled by another | a warning: each child gets its own |
//! | children of one claim with different users or groups | a warning that names both |
//!
//! Access modes: Kubernetes, "Persistent Volumes", "Access Modes". The rule of one claim per TaskRun: Tekton
//! `pkg/workspace/validate.go`, which looks at `claimName` only, so two folders of one claim are one claim.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::children::TaskRunBody;
use super::observed::{Claim, ClaimFacts, NodeFacts, Nodes};
use super::path::Path;
use super::platform::Platform;
use super::problem::{Problem, Reason};
use super::request::{Request, Source};
use crate::api::kubernetes::{LABEL_ARCH, LABEL_OS};
use crate::api::status::Warning;

/// What the planner says about a run's workspaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every child may be created.
    Go(Sharing),
    /// A claim has to be bound before more than the first child is created.
    FirstOnly {
        /// What is known so far.
        sharing: Sharing,
        /// What the others wait for.
        message: String,
    },
    /// A claim is not there: nothing is created yet.
    Wait(String),
    /// The run cannot work.
    Refuse(Vec<Problem>),
}

/// How children share their volumes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sharing {
    /// Whether children keep to the node of the affinity assistant, because they share a volume for one node.
    pub keep_assistant: bool,
    /// What the author ought to know.
    pub warnings: Vec<Warning>,
}

/// What the planner looks at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The run's request.
    pub request: &'a Request,
    /// Claims by name. One that is not in it has not been read.
    pub claims: &'a BTreeMap<String, Claim>,
    /// The nodes, if they may be read.
    pub nodes: Option<&'a Nodes>,
    /// Tekton's `coschedule`, if it may be read.
    pub coschedule: Option<&'a str>,
    /// One child per platform and task, in that order, as they would be created.
    pub children: &'a [Child<'a>],
}

/// What the planner looks at in a child. The child itself need not be kept: those of a large run, with a thousand params each, would
/// take hundreds of megabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    name: String,
    runs_on: &'a Platform,
    claims: BTreeSet<String>,
    identity: Identity,
}

impl<'a> Child<'a> {
    /// Looks at a child that runs on nodes of a platform.
    pub fn new(runs_on: &'a Platform, body: &TaskRunBody) -> Self {
        let claims =
            body.spec.workspaces.iter().filter_map(|binding| binding.persistent_volume_claim.as_ref());
        Self {
            name: body.metadata.name.clone(),
            runs_on,
            claims: claims.map(|claim| claim.claim_name.clone()).collect(),
            identity: Identity::of(body),
        }
    }
}

/// Judges the workspaces of a run.
pub fn judge(input: Input<'_>) -> Verdict {
    let users = users(input.children);
    let mut problems = too_many_claims(&input);
    let mut sharing = Sharing { keep_assistant: false, warnings: warnings(&input) };
    let mut waits = None;
    let mut first_only = None;
    for (claim, platforms) in &users {
        let facts = match input.claims.get(*claim) {
            // Not read: nothing can be said, so Tekton and the scheduler will.
            None => continue,
            Some(Claim::NotFound) => {
                waits.get_or_insert_with(|| {
                    format!(
                        "the claim {claim:?} does not exist yet; make it, or bind the workspace to another"
                    )
                });
                continue;
            }
            Some(Claim::Found(facts)) => facts,
        };
        match shareable(claim, facts, platforms, &input) {
            Ok(keep) => sharing.keep_assistant |= keep,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        }
        if facts.bound {
            problems.extend(unreachable(claim, facts, platforms, &input));
        } else if facts.waits_for_consumer && input.children.len() > 1 {
            first_only.get_or_insert_with(|| {
                format!(
                    "the claim {claim:?} gets its volume where its first pod runs; the others follow once it is bound"
                )
            });
        }
    }
    if !problems.is_empty() {
        Verdict::Refuse(problems)
    } else if let Some(message) = waits {
        Verdict::Wait(message)
    } else if let Some(message) = first_only {
        Verdict::FirstOnly { sharing, message }
    } else {
        Verdict::Go(sharing)
    }
}

/// Which claims a run's workspaces name: what has to be read.
pub fn claims_of(run: &crate::api::tekton::CustomRun) -> BTreeSet<String> {
    run.spec
        .workspaces
        .iter()
        .filter_map(|binding| Some(binding.persistent_volume_claim.as_ref()?.claim_name.clone()))
        .collect()
}

/// The platforms on whose nodes each claim is mounted by builds.
fn users<'a>(children: &'a [Child<'a>]) -> BTreeMap<&'a str, Vec<&'a Platform>> {
    let mut users: BTreeMap<&str, Vec<&Platform>> = BTreeMap::new();
    for child in children {
        for claim in &child.claims {
            let platforms = users.entry(claim).or_default();
            if !platforms.contains(&child.runs_on) {
                platforms.push(child.runs_on);
            }
        }
    }
    users
}

/// Whether a claim can serve all its users. `Ok(true)`: if they all stay on one node.
fn shareable(
    claim: &str,
    facts: &ClaimFacts,
    platforms: &[&Platform],
    input: &Input<'_>,
) -> Result<bool, Problem> {
    let refuse = |what: String| {
        Err(Problem::new(
            Reason::WorkspaceNotShareable,
            &Path::root("spec").field("workspaces").named(&workspace_of(claim, input)),
            what,
        ))
    };
    let has = |mode: &str| facts.access_modes.iter().any(|there| there == mode);
    let modes = facts.access_modes.join(", ");
    if facts.lost {
        return refuse(format!(
            "the claim {claim:?} is lost or being deleted; bind the workspace to another"
        ));
    }
    if facts.block {
        return refuse(format!("the claim {claim:?} is a raw block device; a workspace needs a filesystem"));
    }
    if has("ReadWriteMany") || has("ReadOnlyMany") {
        return Ok(false);
    }
    let wanted = platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let foreign = platforms.iter().any(|platform| !platform.shares_nodes_with(platforms[0]));
    if foreign {
        return refuse(format!(
            "the claim {claim:?} ({modes}) can be mounted by one node at a time, but {wanted} run on different nodes; use a claim with accessModes [ReadWriteMany], or have each platform fetch its own sources into an emptyDir"
        ));
    }
    // Several platforms, or an index that reads archives beside none: pods at the same time.
    if has("ReadWriteOncePod") && !has("ReadWriteOnce") && input.request.targets.len() > 1 {
        return refuse(format!(
            "the claim {claim:?} ({modes}) can be mounted by one pod at a time, but {wanted} run side by side; use a claim with accessModes [ReadWriteMany], or maxParallel with one platform per run"
        ));
    }
    Ok(true)
}

/// Tekton refuses a TaskRun that binds two claims while its `coschedule` is `workspaces`, whether or not it has anything to do with
/// an affinity assistant.
fn too_many_claims(input: &Input<'_>) -> Vec<Problem> {
    if input.coschedule.is_none_or(|mode| mode != "workspaces") {
        return Vec::new();
    }
    let many = input.children.iter().map(|child| &child.claims).find(|claims| claims.len() > 1);
    let Some(many) = many else { return Vec::new() };
    let named: Vec<String> =
        many.iter().map(|claim| format!("{claim:?} (workspace {})", workspace_of(claim, input))).collect();
    vec![Problem::new(
        Reason::TooManyClaims,
        &Path::root("spec").field("workspaces"),
        format!(
            "a TaskRun would bind the claims {}, and Tekton allows one claim per TaskRun (coschedule: workspaces); bind both workspaces to one claim with a subPath each",
            named.join(" and ")
        ),
    )]
}

/// Platforms of which there are nodes, but none that can mount the volume.
fn unreachable(claim: &str, facts: &ClaimFacts, platforms: &[&Platform], input: &Input<'_>) -> Vec<Problem> {
    let (Some(nodes), false) = (input.nodes, facts.node_terms.is_empty()) else { return Vec::new() };
    platforms
        .iter()
        .filter_map(|platform| {
            let mut ours = nodes.iter().filter(|(_, node)| is_of(node, platform)).peekable();
            // No node yet is not a fault: the cluster may grow one, in the right place.
            ours.peek()?;
            if ours.any(|(name, node)| facts.node_terms.iter().any(|term| fits(term, name, node))) {
                return None;
            }
            Some(Problem::new(
                Reason::VolumeNotReachable,
                &Path::root("spec").field("workspaces").named(&workspace_of(claim, input)),
                format!(
                    "no node of {platform} can mount the volume of the claim {claim:?}, which is bound to {}; use a volume that every architecture's nodes can reach",
                    describe(&facts.node_terms)
                ),
            ))
        })
        .collect()
}

/// Whether a node belongs to a platform.
pub fn is_of(node: &NodeFacts, platform: &Platform) -> bool {
    node.labels.get(LABEL_OS).map(String::as_str) == Some(platform.os())
        && node.labels.get(LABEL_ARCH).map(String::as_str) == Some(platform.arch())
}

/// Whether a node fits a node selector term (Kubernetes `NodeSelectorTerm`: all its requirements).
fn fits(term: &Value, name: &str, node: &NodeFacts) -> bool {
    let list = |field: &str| term.get(field).and_then(Value::as_array).into_iter().flatten();
    list("matchExpressions").all(|requirement| {
        holds(
            requirement,
            requirement.get("key").and_then(Value::as_str).and_then(|key| node.labels.get(key)),
        )
    }) && list("matchFields").all(|requirement| holds(requirement, Some(&name.to_owned())))
}

fn holds(requirement: &Value, value: Option<&String>) -> bool {
    let listed = |value: &String| {
        requirement
            .get("values")
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|one| one.as_str() == Some(value)))
    };
    match requirement.get("operator").and_then(Value::as_str) {
        Some("In") => value.is_some_and(listed),
        Some("NotIn") => !value.is_some_and(listed),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        // Gt and Lt compare numbers, which no volume's labels are.
        _ => true,
    }
}

/// Says in a few words where a volume is.
fn describe(terms: &[Value]) -> String {
    let words: BTreeSet<String> = terms
        .iter()
        .flat_map(|term| ["matchExpressions", "matchFields"].map(|field| term.get(field)))
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .map(|requirement| {
            let key = requirement.get("key").and_then(Value::as_str).unwrap_or("?");
            let operator = requirement.get("operator").and_then(Value::as_str).unwrap_or("?");
            let values: Vec<&str> = requirement
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match operator {
                "In" => format!("{key}={}", values.join("|")),
                operator => format!("{key} {operator} {}", values.join("|")).trim_end().to_owned(),
            }
        })
        .collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

fn warnings(input: &Input<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for workspace in &input.request.workspaces {
        let empty = workspace.binding.as_ref().is_some_and(|binding| binding.other.contains_key("emptyDir"));
        let archives = input.request.index.as_ref().is_some_and(
            |index| matches!(&index.source, Source::Archives { workspace: name, .. } if *name == workspace.name),
        );
        // For one task it is a scratch folder, which is what an emptyDir is for.
        let handed_on = input.request.tasks.iter().filter(|task| task.takes(workspace)).count() > 1;
        if empty && (archives || handed_on) {
            warnings.push(Warning {
                reason: Reason::EmptyDirNotShared.as_str().to_owned(),
                message: format!(
                    "the workspace {:?} is an emptyDir, of which every TaskRun gets its own: nothing in it is shared{}",
                    workspace.name,
                    if archives { ", so the index will find no archives there" } else { "" }
                ),
            });
        }
    }
    warnings.extend(mixed_owners(input.children));
    warnings
}

/// Children of one claim that run as different users or groups. On NFS and EFS the second cannot write what the first made.
fn mixed_owners(children: &[Child<'_>]) -> Vec<Warning> {
    let mut first: BTreeMap<&str, &Child<'_>> = BTreeMap::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut warnings = Vec::new();
    for child in children {
        for claim in &child.claims {
            let other = first.entry(claim).or_insert(child);
            if other.identity != child.identity && told.insert(claim) {
                warnings.push(Warning {
                    reason: Reason::MixedOwners.as_str().to_owned(),
                    message: format!(
                        "{} ({}) and {} ({}) write to the claim {claim:?} as different users or groups: on a network filesystem one may not be able to change what the other made",
                        other.name, other.identity, child.name, child.identity
                    ),
                });
            }
        }
    }
    warnings
}

/// As whom the pod of a child writes, as far as its pod template says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    user: Option<Value>,
    group: Option<Value>,
    fs_group: Option<Value>,
}

impl Identity {
    fn of(child: &TaskRunBody) -> Self {
        let context = child.spec.pod_template.as_ref().and_then(|template| template.get("securityContext"));
        let field = |name: &str| context.and_then(|context| context.get(name)).cloned();
        Self { user: field("runAsUser"), group: field("runAsGroup"), fs_group: field("fsGroup") }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |field: &Option<Value>| {
            field.as_ref().map_or_else(|| "the image's".to_owned(), ToString::to_string)
        };
        let (user, group, fs_group) = (said(&self.user), said(&self.group), said(&self.fs_group));
        write!(f, "user {user}, group {group}, fsGroup {fs_group}")
    }
}

/// The workspace that binds a claim, for complaints.
fn workspace_of(claim: &str, input: &Input<'_>) -> String {
    input
        .request
        .workspaces
        .iter()
        .find(|workspace| {
            workspace
                .binding
                .as_ref()
                .and_then(|binding| binding.persistent_volume_claim.as_ref())
                .is_some_and(|source| source.claim_name == claim)
        })
        .map_or_else(|| claim.to_owned(), |workspace| workspace.name.clone())
}

#[cfg(test)]
mod tests;
