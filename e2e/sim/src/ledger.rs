//! What has really happened, as the invariants remember it: not what anybody believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use archfan::api::names::label;
use archfan::api::tekton::{Condition, CustomRun, CustomRunStatus, TaskRun, TaskRunResult};
use archfan::core::children::TaskRunBody;
use archfan::core::cleanup::is_finished;
use jiff::Timestamp;

use crate::life::labelled;
use crate::server::{Refuse, Server};

/// How a child ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// `True` or `False`.
    pub status: String,
    /// The reason of its condition.
    pub reason: String,
    /// What it wrote.
    pub results: Vec<TaskRunResult>,
}

/// A child that was made for a run.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Uid of its run.
    pub run: String,
    /// Its role.
    pub role: String,
    /// The key of its platform.
    pub platform: String,
    /// Its task.
    pub task: String,
    /// As it was created.
    pub body: Arc<TaskRunBody>,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Whether it is still there.
    pub there: bool,
    /// Whether it was made by a call that nobody waited for any more.
    pub orphan: bool,
}

/// A run under one uid.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// Its name.
    pub name: String,
    /// The place of its plan.
    pub plan: usize,
    /// Whether its spec was edited such that it asks for something else.
    pub edited: bool,
    /// How often its status was written.
    pub status_writes: u32,
    /// How often a write of its status was asked for.
    pub status_asked: u32,
    /// How often a child of it was asked for.
    pub creates_asked: u32,
    /// How often a cancel of a child was asked for.
    pub cancels_asked: u32,
    /// How often something was read for it.
    pub reads: u32,
    /// What was told about it: what it is about, and the reason.
    pub told: Vec<(String, String)>,
    /// The status with which it ended.
    pub ended: Option<Arc<CustomRun>>,
    /// The last phase of each task, by platform and task.
    pub phases: BTreeMap<(String, String), String>,
    /// Names of children whose deletion, or whose cancel, was somebody else's.
    pub meddled: BTreeSet<String>,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Children, oldest first.
    pub children: Vec<Child>,
    /// How creates were refused.
    pub refused: Vec<Refuse>,
    /// Runs by uid.
    pub runs: BTreeMap<String, RunRecord>,
    /// Digest of each child's body, by run, platform and task.
    pub bodies: BTreeMap<(String, String, String), Arc<TaskRunBody>>,
    /// Whether two replicas have been at work at once, or a call took effect that nobody waited for.
    pub overlap: bool,
    /// How many things went wrong: each allows a few more calls.
    pub troubles: u32,
    /// The run that each look is at, by replica and number.
    pub looks: BTreeMap<(usize, u64), String>,
    /// Looks that have asked for a change.
    pub acted: BTreeSet<(usize, u64)>,
    /// TaskRuns of other people, by uid, and whether they look like what an earlier run has left behind.
    pub strangers: BTreeMap<String, bool>,
    /// TaskRuns whose pod was placed on a foreign node, by uid.
    pub misplaced: BTreeSet<String>,
    /// Names of builds that were edited.
    pub edited_definitions: BTreeSet<String>,
    /// When calls were left behind on the wire, by number.
    left_behind: BTreeMap<u64, Timestamp>,
    /// The statuses of finished runs at the end of the second part, by uid.
    frozen: BTreeMap<String, CustomRunStatus>,
}

impl Ledger {
    /// Notes a child.
    pub fn born(&mut self, task_run: &TaskRun, body: &Arc<TaskRunBody>, orphan: bool) {
        let owner = task_run.metadata.owner_references.iter().flatten().next();
        self.children.push(Child {
            uid: task_run.metadata.uid.clone().unwrap_or_default(),
            name: task_run.metadata.name.clone().unwrap_or_default(),
            run: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
            role: labelled(task_run, label::ROLE).to_owned(),
            platform: labelled(task_run, label::PLATFORM).to_owned(),
            task: labelled(task_run, label::TASK).to_owned(),
            body: body.clone(),
            end: None,
            there: true,
            orphan,
        });
    }

    /// Finds a child by uid.
    pub fn child(&mut self, uid: &str) -> Option<&mut Child> {
        self.children.iter_mut().rev().find(|child| child.uid == uid)
    }

    /// The children of a run, oldest first.
    pub fn children_of<'a>(&'a self, run: &'a str) -> impl Iterator<Item = &'a Child> {
        self.children.iter().filter(move |child| child.run == run)
    }

    /// Whether somebody has changed what a run asks for, before or after it was accepted.
    pub fn is_edited(&self, run: &str) -> bool {
        self.runs.get(run).is_some_and(|record| {
            record.edited || self.edited_definitions.contains(&format!("{}-build", record.name))
        })
    }

    /// What is known of a run.
    pub fn run(&mut self, uid: &str) -> &mut RunRecord {
        self.runs.entry(uid.to_owned()).or_default()
    }

    /// Notes that a call was left behind on the wire.
    pub fn leave_behind(&mut self, call: u64, now: Timestamp) {
        self.left_behind.insert(call, now);
    }

    /// Calls that have been left behind for longer than `most`.
    pub fn expired(&self, now: Timestamp, most: Duration) -> BTreeSet<u64> {
        self.left_behind
            .iter()
            .filter(|(_, since)| since.checked_add(most).is_ok_and(|end| now >= end))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Remembers how the finished runs are.
    pub fn freeze(&mut self, server: &Server) {
        self.frozen = server
            .runs
            .iter()
            .filter_map(|(_, run)| {
                let status = run.status.as_ref().filter(|status| is_finished(status))?;
                Some((run.metadata.uid.clone()?, status.clone()))
            })
            .collect();
    }

    /// The status that a finished run had when it was remembered.
    pub fn frozen(&self, uid: &str) -> Option<&CustomRunStatus> {
        self.frozen.get(uid)
    }
}

/// A run in one line.
pub fn tell_run(run: &CustomRun) -> String {
    match succeeded(run) {
        None => "no status".to_owned(),
        Some(condition) => format!("{} {}: {}", condition.status, condition.reason, condition.message),
    }
}

/// The verdict of a run: `Unknown`, `True`, `False`, or nothing yet.
pub fn verdict(run: &CustomRun) -> (&str, &str) {
    succeeded(run).map_or(("", ""), |condition| (condition.status.as_str(), condition.reason.as_str()))
}

/// What a run says to its verdict, or nothing yet.
pub fn message(run: &CustomRun) -> &str {
    succeeded(run).map_or("", |condition| &condition.message)
}

fn succeeded(run: &CustomRun) -> Option<&Condition> {
    run.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions))
}
