//! What a schedule is about: which builds are run, and how the user wrote them.
//!
//! A build is drawn as plain data, from which both the JSON that the controller reads and the expectations of the invariants are
//! made. So what is expected does not depend on how the controller reads a spec.

use serde_json::{Value, json};

use crate::focus::Focus;
use crate::tape::Tape;

/// A platform of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformPlan {
    /// In OCI spelling.
    pub name: &'static str,
    /// In the form for names.
    pub key: &'static str,
    /// Architecture of the nodes that it runs on.
    pub arch: &'static str,
    /// How it is written in the build.
    pub written: &'static str,
    /// Whether the run fails if it does.
    pub required: bool,
    /// The platform that its pods are placed as, if it is another.
    pub runs_on: Option<&'static str>,
}

const PLATFORMS: [PlatformPlan; 4] = [
    PlatformPlan {
        name: "linux/amd64",
        key: "linux-amd64",
        arch: "amd64",
        written: "linux/amd64",
        required: true,
        runs_on: None,
    },
    PlatformPlan {
        name: "linux/arm64",
        key: "linux-arm64",
        arch: "arm64",
        written: "aarch64",
        required: true,
        runs_on: None,
    },
    PlatformPlan {
        name: "linux/s390x",
        key: "linux-s390x",
        arch: "s390x",
        written: "linux/s390x",
        required: true,
        runs_on: None,
    },
    PlatformPlan {
        name: "linux/arm/v7",
        key: "linux-arm-v7",
        arch: "arm64",
        written: "linux/arm/v7",
        required: true,
        runs_on: Some("linux/arm64"),
    },
];

/// A task of a build's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// Its name; `build` for the only task.
    pub name: &'static str,
    /// The only platform that it runs on, by architecture, if a `when` expression says so.
    pub only_on: Option<&'static str>,
    /// Whether it takes a result of the task before it.
    pub takes: bool,
}

/// Where the index gets its images from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexPlan {
    /// From the digests that the builds report.
    Results,
    /// From archives on the shared volume.
    Archives,
}

/// What the build's workspace is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumePlan {
    /// A claim that every node can mount.
    Shared,
    /// The same, but somebody has yet to make it.
    Missing,
    /// A claim whose volume is made where its first pod runs.
    FirstConsumer,
    /// A claim for one node.
    OneNode,
    /// A template, of which the controller makes a claim.
    Template,
    /// A folder of each pod's own.
    EmptyDir,
}

/// Something that makes a build impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A field that is misspelt.
    Field,
    /// A platform that is none.
    Platform,
    /// A variable that nothing stands for.
    Variable,
    /// A selector for another architecture.
    Selector,
    /// A platform twice.
    Twice,
    /// A list of no platforms.
    NoPlatforms,
    /// No task.
    NoTask,
    /// One task, and a chain besides.
    TwoTasks,
    /// A param that has no value.
    Param,
    /// A workspace that is not bound.
    Unbound,
    /// A workspace that is bound and not declared.
    Undeclared,
    /// A value that a field cannot have.
    Value,
    /// A negative number of retries.
    Retries,
    /// No spec at all.
    Empty,
    /// A reference to a build that is not there.
    Reference,
}

/// A build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// For which platforms, in order.
    pub platforms: Vec<PlatformPlan>,
    /// The tasks, in order.
    pub tasks: Vec<TaskPlan>,
    /// Whether they are written as a chain.
    pub chained: bool,
    /// Whether one failure ends the others.
    pub fail_fast: bool,
    /// How many children at once; 0 is any number.
    pub max_parallel: usize,
    /// How many seconds a child may wait for a node.
    pub pending_timeout: Option<u32>,
    /// After how many seconds children of a finished run go.
    pub ttl: Option<u32>,
    /// Whether children of earlier runs may be taken over.
    pub reuse: bool,
    /// The index, if one is wanted.
    pub index: Option<IndexPlan>,
    /// The workspace, if there is one.
    pub volume: Option<VolumePlan>,
    /// What is wrong with it.
    pub broken: Option<Broken>,
}

/// A run of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPlan {
    /// Its name.
    pub name: String,
    /// The build.
    pub build: Build,
    /// Whether the build is an object of its own.
    pub by_ref: bool,
    /// Further attempts.
    pub retries: u32,
    /// Its own timeout in seconds; 0 is none.
    pub timeout: Option<u32>,
    /// The PipelineRun that it belongs to.
    pub pipeline: Option<String>,
}

impl Build {
    /// Draws a build.
    pub fn draw(tape: &mut Tape, focus: Focus) -> Self {
        let broken = tape.permille(focus.rate(Focus::Broken, 25, 900)).then(|| {
            tape.one(&[
                Broken::Field,
                Broken::Platform,
                Broken::Variable,
                Broken::Selector,
                Broken::Retries,
                Broken::Twice,
                Broken::NoPlatforms,
                Broken::NoTask,
                Broken::TwoTasks,
                Broken::Param,
                Broken::Unbound,
                Broken::Undeclared,
                Broken::Value,
                Broken::Empty,
                Broken::Reference,
            ])
        });
        let chained = tape.permille(focus.rate(Focus::Chain, 150, 900));
        let volume = tape.permille(focus.rate(Focus::Claims, 120, 950)).then(|| {
            tape.one(&[
                VolumePlan::Shared,
                VolumePlan::Missing,
                VolumePlan::FirstConsumer,
                VolumePlan::Template,
                VolumePlan::EmptyDir,
                VolumePlan::OneNode,
            ])
        });
        let index = tape.permille(focus.rate(Focus::Index, 350, 900)).then(|| {
            let archives = volume.is_some_and(|volume| volume != VolumePlan::EmptyDir) && tape.permille(300);
            if archives { IndexPlan::Archives } else { IndexPlan::Results }
        });
        Self {
            platforms: platforms(tape, focus),
            tasks: if chained {
                chain(tape)
            } else {
                vec![TaskPlan { name: "build", only_on: None, takes: false }]
            },
            chained,
            fail_fast: !tape.permille(300),
            max_parallel: if tape.permille(focus.rate(Focus::Parallel, 150, 900)) {
                1 + tape.index(2)
            } else {
                0
            },
            pending_timeout: tape.permille(focus.rate(Focus::Nodes, 100, 600)).then(|| tape.one(&[120, 15])),
            ttl: tape.permille(focus.rate(Focus::Cleanup, 80, 900)).then(|| tape.one(&[60, 0, 3600])),
            reuse: tape.permille(focus.rate(Focus::Reuse, 20, 950)),
            index,
            volume,
            broken,
        }
    }

    /// The spec as a user would write it.
    pub fn json(&self) -> Value {
        if self.broken == Some(Broken::Empty) {
            return json!({});
        }
        let mut platforms: Vec<Value> = self.platforms.iter().map(PlatformPlan::json).collect();
        if self.broken == Some(Broken::Platform) {
            platforms.push("linux/amd65".into());
        }
        let mut spec = json!({
            "platforms": platforms,
            "params": [{"name": "image", "default": "registry.example/app:v1"}],
        });
        if self.chained {
            spec["tasks"] =
                self.tasks.iter().enumerate().map(|(index, task)| self.task(index, task)).collect();
        } else {
            spec["taskRef"] = json!({"name": "buildah"});
        }
        let mut strategy = json!({});
        if !self.fail_fast {
            strategy["failFast"] = false.into();
        }
        if self.max_parallel > 0 {
            strategy["maxParallel"] = self.max_parallel.into();
        }
        if let Some(seconds) = self.pending_timeout {
            strategy["pendingTimeout"] = format!("{seconds}s").into();
        }
        if let Some(seconds) = self.ttl {
            strategy["ttlSecondsAfterFinished"] = seconds.into();
        }
        if self.reuse {
            strategy["reuse"] = "rev-1".into();
        }
        if strategy != json!({}) {
            spec["strategy"] = strategy;
        }
        match self.index {
            Some(IndexPlan::Results) => spec["index"] = json!({"image": "$(params.image)"}),
            Some(IndexPlan::Archives) => {
                spec["index"] = json!({
                    "image": "$(params.image)",
                    "source": "archives",
                    "archives": {"workspace": "source", "path": "$(platform.machine).tar"},
                });
            }
            None => {}
        }
        if self.volume.is_some() {
            spec["workspaces"] = json!([{"name": "source"}]);
        }
        match self.broken {
            Some(Broken::Twice) => {
                if let Some(list) = spec["platforms"].as_array_mut() {
                    list.extend(list.first().cloned());
                }
            }
            Some(Broken::NoPlatforms) => spec["platforms"] = json!([]),
            Some(Broken::NoTask) => {
                if let Some(fields) = spec.as_object_mut() {
                    fields.retain(|name, _| !matches!(name.as_str(), "taskRef" | "tasks"));
                }
            }
            Some(Broken::TwoTasks) => {
                spec["taskRef"] = json!({"name": "buildah"});
                spec["tasks"] = json!([{"name": "a", "taskRef": {"name": "a"}}]);
            }
            Some(Broken::Param) => {
                spec["params"] = json!([{"name": "image", "default": "x"}, {"name": "nowhere"}]);
            }
            Some(Broken::Unbound) => spec["workspaces"] = json!([{"name": "source"}, {"name": "nowhere"}]),
            Some(Broken::Value) => spec["strategy"] = json!({"maxParallel": -1}),
            Some(Broken::Field) => spec["platfrom"] = "x".into(),
            Some(Broken::Variable) => {
                spec["taskRunTemplate"] = json!({"serviceAccountName": "$(params.nobody)"});
            }
            Some(Broken::Selector) => {
                spec["taskRunTemplate"] =
                    json!({"podTemplate": {"nodeSelector": {"kubernetes.io/arch": "riscv64"}}});
            }
            _ => {}
        }
        spec
    }

    fn task(&self, index: usize, task: &TaskPlan) -> Value {
        let mut written = json!({"name": task.name, "taskRef": {"name": task.name}});
        if let Some(arch) = task.only_on {
            written["when"] = json!([{"input": "$(platform.arch)", "operator": "in", "values": [arch]}]);
        }
        if task.takes
            && let Some(before) = index.checked_sub(1).map(|before| self.tasks[before].name)
        {
            written["params"] =
                json!([{"name": "from", "value": format!("$(tasks.{before}.results.IMAGE_DIGEST)")}]);
        }
        written
    }

    /// How many build children it has at most.
    pub fn children(&self) -> usize {
        self.platforms.len() * self.tasks.len()
    }
}

impl PlatformPlan {
    fn json(&self) -> Value {
        if self.required && self.runs_on.is_none() {
            return self.written.into();
        }
        let mut entry = json!({"platform": self.written});
        if !self.required {
            entry["required"] = false.into();
        }
        if let Some(other) = self.runs_on {
            entry["runsOn"] = other.into();
        }
        entry
    }
}

fn platforms(tape: &mut Tape, focus: Focus) -> Vec<PlatformPlan> {
    let count = match focus {
        Focus::Parallel => 2 + tape.index(3),
        _ => 1 + tape.weighted(&[((), 1), ((), 12), ((), 2), ((), 1)]),
    };
    let mut left: Vec<PlatformPlan> = PLATFORMS.to_vec();
    let optional = tape.permille(focus.rate(Focus::Optional, 150, 900));
    (0..count)
        .map(|_| {
            // The first two are the usual ones.
            let index = tape.weighted(&[((), 6), ((), 3), ((), 1), ((), 1)][..left.len()]);
            let mut platform = left.remove(index);
            platform.required = !(optional && tape.permille(600));
            platform
        })
        .collect()
}

fn chain(tape: &mut Tape) -> Vec<TaskPlan> {
    let count = 1 + tape.index(3);
    (0..count)
        .map(|index| TaskPlan {
            name: ["clone", "test", "build"][index],
            only_on: (index > 0 && tape.permille(250)).then(|| tape.one(&["amd64", "arm64"])),
            takes: index > 0 && tape.permille(400),
        })
        .collect()
}

impl RunPlan {
    /// Draws a run.
    pub fn draw(tape: &mut Tape, focus: Focus, number: usize, like: Option<&Build>) -> Self {
        let build = match like {
            Some(like) => like.clone(),
            None => Build::draw(tape, focus),
        };
        let by_ref =
            build.broken == Some(Broken::Reference) || tape.permille(focus.rate(Focus::ByRef, 120, 950));
        let pipeline = !tape.permille(250);
        Self {
            name: format!("run{number}-image"),
            by_ref,
            retries: if tape.permille(focus.rate(Focus::Retries, 120, 900)) { 1 + tape.below(2) } else { 0 },
            timeout: if tape.permille(focus.rate(Focus::Time, 150, 900)) {
                Some(tape.one(&[600, 20, 3, 0]))
            } else {
                None
            },
            pipeline: pipeline.then(|| format!("run{number}")),
            build,
        }
    }
}
