//! The scenarios: each state of an object with each call that can meet it there, each life of a TaskRun, and each way of deletion.

use crate::step::Step::{
    Cancel, CancelRun, Collected, Create, Delete, DeleteRun, EditRun, Ended, Get, GetRun, Hold, Homeless,
    LabelRun, MakeRun, ReadRun, Release, Runs, Write,
};
use crate::step::{Deletion, Fortune, Make, Scenario, Step, Uid};

const HOMELESS: Make = Make { fortune: Fortune::Hangs, owned: false, homeless: true, retries: 0, timeout: 0 };
const GOOD: Make = Make { fortune: Fortune::Succeeds, homeless: false, ..HOMELESS };
const INVALID: Make = Make { fortune: Fortune::Invalid, homeless: false, ..HOMELESS };
const LONG: Make = Make { fortune: Fortune::Hangs, homeless: false, ..HOMELESS };

const WHY: &str = "linux/arm64 has failed";

/// Every scenario.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    cross(&mut all, &task_run_states(), &task_run_calls());
    cross(&mut all, &run_states(), &run_calls());
    all.extend(deletions());
    all.extend(lives());
    all
}

type Named = (&'static str, Vec<Step>);

fn cross(all: &mut Vec<Scenario>, states: &[Named], calls: &[Named]) {
    for (state, first) in states {
        for (call, then) in calls {
            all.push(Scenario {
                name: format!("{state}: {call}"),
                steps: [first.clone(), then.clone()].concat(),
            });
        }
    }
}

fn task_run_states() -> Vec<Named> {
    vec![
        ("no TaskRun", vec![]),
        ("at work", vec![Create(HOMELESS), Homeless]),
        ("failed", vec![Create(INVALID), Ended]),
        ("succeeded", vec![Create(GOOD), Ended]),
        ("cancelled", vec![Create(HOMELESS), Homeless, Cancel(Uid::First, WHY), Ended]),
        ("at work and being deleted", vec![Create(HOMELESS), Homeless, Hold, Delete(Uid::First)]),
        ("failed and being deleted", vec![Create(INVALID), Ended, Hold, Delete(Uid::First)]),
        ("another of that name", vec![Create(INVALID), Ended, Delete(Uid::First), Create(INVALID), Ended]),
    ]
}

fn task_run_calls() -> Vec<Named> {
    vec![
        ("create", vec![Create(INVALID), Ended]),
        ("read", vec![Get]),
        ("cancel", vec![Cancel(Uid::First, WHY), Ended]),
        ("cancel twice", vec![Cancel(Uid::First, WHY), Ended, Cancel(Uid::First, WHY)]),
        (
            "cancel for another reason",
            vec![Cancel(Uid::First, WHY), Ended, Cancel(Uid::First, "the run was cancelled")],
        ),
        ("cancel another", vec![Cancel(Uid::Foreign, WHY)]),
        ("delete", vec![Delete(Uid::First)]),
        ("delete another", vec![Delete(Uid::Foreign)]),
    ]
}

fn run_states() -> Vec<Named> {
    vec![
        ("no run", vec![]),
        ("new run", vec![MakeRun, ReadRun]),
        ("running run", vec![MakeRun, ReadRun, Write("Unknown", Uid::First), ReadRun]),
        ("finished run", vec![MakeRun, ReadRun, Write("True", Uid::First), ReadRun]),
        ("failed run", vec![MakeRun, ReadRun, Write("False", Uid::First), ReadRun]),
        ("cancelled run", vec![MakeRun, CancelRun("the PipelineRun was cancelled"), ReadRun]),
        (
            "run that was cancelled meanwhile",
            vec![MakeRun, ReadRun, CancelRun("the PipelineRun was cancelled")],
        ),
        ("run that was labelled meanwhile", vec![MakeRun, ReadRun, LabelRun]),
        ("run that was edited meanwhile", vec![MakeRun, ReadRun, EditRun]),
        ("run that is gone", vec![MakeRun, ReadRun, DeleteRun(Deletion::Background)]),
        ("another run of that name", vec![MakeRun, ReadRun, DeleteRun(Deletion::Background), MakeRun]),
    ]
}

fn run_calls() -> Vec<Named> {
    vec![
        ("read", vec![GetRun]),
        ("write that it runs", vec![Write("Unknown+", Uid::First), GetRun]),
        ("write its end", vec![Write("True+", Uid::First), GetRun]),
        (
            "write twice over one version",
            vec![Write("Unknown+", Uid::First), Write("False", Uid::First), GetRun],
        ),
        ("write the status of another", vec![Write("True", Uid::Foreign), GetRun]),
    ]
}

/// A run with a child is deleted.
fn deletions() -> Vec<Scenario> {
    let owned = Make { owned: true, ..HOMELESS };
    let ended = Make { owned: true, ..INVALID };
    let children: [(&str, Vec<Step>); 4] = [
        ("a child at work", vec![Create(owned), Homeless]),
        ("a child that has ended", vec![Create(ended), Ended]),
        ("a child that is held", vec![Create(ended), Ended, Hold]),
        ("a child of nobody", vec![Create(INVALID), Ended]),
    ];
    let ways = [
        ("in the background", Deletion::Background),
        ("in the foreground", Deletion::Foreground),
        ("leaving its children", Deletion::Orphan),
    ];
    let mut all = Vec::new();
    for (child, steps) in children {
        for (way, how) in ways {
            let mut steps: Vec<Step> =
                [vec![MakeRun], steps.clone(), vec![DeleteRun(how), Collected, GetRun, Get]].concat();
            if child.ends_with("held") {
                steps.extend([Release, Collected, GetRun, Get]);
            }
            all.push(Scenario { name: format!("a run with {child} is deleted {way}"), steps });
        }
    }
    all.push(Scenario {
        name: "a child is made for a run that is gone".to_owned(),
        steps: vec![MakeRun, DeleteRun(Deletion::Background), Create(owned), Collected, Get],
    });
    all
}

/// What Tekton makes of TaskRuns.
fn lives() -> Vec<Scenario> {
    let with = |fortune, retries, timeout| Make { fortune, retries, timeout, ..GOOD };
    let lives: Vec<Named> = vec![
        ("succeeds", vec![Create(with(Fortune::Succeeds, 0, 0)), Ended]),
        ("fails", vec![Create(with(Fortune::Fails(9), 0, 0)), Ended]),
        ("fails and is tried again in vain", vec![Create(with(Fortune::Fails(9), 1, 0)), Ended]),
        ("succeeds with retries left", vec![Create(with(Fortune::Succeeds, 2, 0)), Ended]),
        ("takes too long", vec![Create(with(Fortune::Hangs, 0, 4)), Ended]),
        ("takes too long twice", vec![Create(with(Fortune::Hangs, 1, 4)), Ended]),
        ("finds no node in time", vec![Create(Make { timeout: 3, ..HOMELESS }), Ended]),
        ("is cancelled as it runs", vec![Create(LONG), Runs, Cancel(Uid::First, WHY), Ended]),
        (
            "is cancelled with retries left",
            vec![Create(Make { retries: 2, ..LONG }), Runs, Cancel(Uid::First, WHY), Ended],
        ),
        ("is cancelled at once", vec![Create(HOMELESS), Cancel(Uid::First, WHY), Ended]),
        ("is deleted as it runs", vec![Create(LONG), Runs, Delete(Uid::First), Get]),
        ("finds no image", vec![Create(with(Fortune::NoImage, 0, 0)), Ended]),
        ("is refused", vec![Create(with(Fortune::Invalid, 0, 0)), Ended]),
        ("is refused with retries left", vec![Create(with(Fortune::Invalid, 1, 0)), Ended]),
        ("is held, ends and goes", vec![Create(INVALID), Ended, Hold, Delete(Uid::First), Get, Release, Get]),
    ];
    lives.into_iter().map(|(name, steps)| Scenario { name: format!("a TaskRun {name}"), steps }).collect()
}
