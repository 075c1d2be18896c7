//! The rates and bounds of one schedule, drawn anew for each: a world where watches starve is another than one where the server is slow,
//! and an even mixture of everything would be neither ("swarm testing", Groce and others, ISSTA 2012).

use crate::focus::Focus;
use crate::server::Refuse;
use crate::tape::Tape;

/// How often a step of each kind is made, beside the others.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// An answer arrives.
    pub answer: u32,
    /// The server takes a call.
    pub serve: u32,
    /// A reconcile begins.
    pub start: u32,
    /// A watch brings something.
    pub watch: u32,
    /// The garbage collector comes.
    pub collect: u32,
    /// A TaskRun goes on.
    pub live: u32,
    /// Tekton looks at a PipelineRun.
    pub pipeline: u32,
    /// Time passes.
    pub time: u32,
}

/// Rates and bounds. Rates are in permille.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    /// Whether nothing goes wrong at all.
    pub calm: bool,
    /// The most steps of the first part.
    pub steps: u32,
    /// Calls that are answered as soon as they are served.
    pub sync: u32,
    /// Calls that fail before they take effect.
    pub error: u32,
    /// Writes that take effect and whose answer is lost.
    pub lost: u32,
    /// Writes that time out and take effect later.
    pub late: u32,
    /// Calls that are answered with 429.
    pub throttled: u32,
    /// Creates that are refused, and how.
    pub refuse: (u32, Refuse),
    /// Status writes that are too large.
    pub too_large: u32,
    /// Whether TaskRuns show their pods.
    pub pods: bool,
    /// Cancels and removals of a TaskRun in the moment of which a user puts another of that name in its place.
    pub swapped: u32,
    /// TaskRuns that hold on to a finalizer.
    pub finalizers: u32,
    /// Attempts that fail, that are evicted, that seem to be, that say nothing, that find no image, that Tekton refuses, that
    /// race for a folder.
    pub fails: [u32; 7],
    /// TaskRuns that go on until somebody ends them.
    pub hangs: u32,
    /// Whether those are let end once faults have stopped.
    pub end_hangs: bool,
    /// How many runs a replica looks at at once.
    pub concurrency: usize,
    /// How many disturbances there are at most.
    pub disturbances: u32,
    /// How often a step is a disturbance, as long as there are some left.
    pub disturb: u32,
    /// How often each kind of disturbance is chosen: crashes, take-overs, watches, users, PipelineRuns, nodes and pods.
    pub kinds: [u32; 6],
    /// How many things users do to finished runs.
    pub afterwards: u32,
    /// How often the steps are made.
    pub weights: Weights,
}

impl Knobs {
    /// Draws the knobs of a schedule.
    pub fn draw(tape: &mut Tape, focus: Focus) -> Self {
        let calm = focus == Focus::Calm;
        let on = |rate: u32| if calm { 0 } else { rate };
        let answers = focus == Focus::Answers;
        let rate = |tape: &mut Tape, usual: u32, focused: u32| {
            let rates = if answers { [focused, focused / 4, 0] } else { [0, usual, usual / 4] };
            on(tape.one(&rates))
        };
        let (error, lost, late, throttled) =
            (rate(tape, 20, 200), rate(tape, 20, 150), rate(tape, 10, 100), rate(tape, 10, 100));
        let refuse =
            on(if focus == Focus::Refusals { tape.one(&[300, 900]) } else { tape.one(&[0, 0, 0, 60]) });
        let how = match refuse {
            0 => Refuse::Quota,
            _ => tape.one(&[Refuse::Quota, Refuse::Webhook, Refuse::Invalid, Refuse::Forbidden]),
        };
        let fail = if tape.permille(400) { tape.one(&[0, 100, 400]) } else { 0 };
        let retries = focus == Focus::Retries;
        // Odd failures go with ordinary ones.
        let odd = |rate: u32| if retries || fail > 100 { rate } else { rate / 8 };
        let fails = if focus == Focus::Calm {
            [fail, 0, 0, fail / 10, 0, 0, 0]
        } else {
            let step = fail.max(if retries { 400 } else { 0 });
            let race = if focus == Focus::Claims { 150 } else { odd(60) };
            [step, odd(80), odd(80), odd(60), odd(40), odd(30), race]
        };
        let kinds = match focus {
            Focus::Calm => [0; 6],
            Focus::Crashes => [12, 1, 1, 1, 1, 1],
            Focus::TakeOver => [1, 12, 1, 1, 1, 1],
            Focus::Watches => [1, 1, 12, 1, 1, 1],
            Focus::Users | Focus::Cleanup | Focus::ByRef => [1, 1, 1, 12, 1, 1],
            Focus::Pipelines => [1, 1, 1, 2, 12, 1],
            Focus::Nodes | Focus::Claims => [1, 1, 1, 1, 1, 12],
            _ => [1, 1, 2, 2, 1, 1],
        };
        Self {
            calm,
            steps: tape.one(&[160, 60, 400]),
            sync: tape.one(&[900, 1000, 500, 0]),
            error,
            lost,
            late,
            throttled,
            refuse: (refuse, how),
            too_large: on(if answers { tape.one(&[0, 0, 40]) } else { 0 }),
            pods: tape.permille(500) || focus == Focus::Nodes || focus == Focus::Claims,
            swapped: match focus {
                Focus::Users | Focus::Cleanup => 40,
                _ => on(4),
            },
            finalizers: if tape.permille(250) { 500 } else { 0 },
            fails,
            hangs: if focus == Focus::Time { 400 } else { on(tape.one(&[0, 0, 0, 50])) },
            end_hangs: true,
            concurrency: tape.one(&[1, 2, 4]),
            disturbances: if calm { 0 } else { tape.one(&[1, 2, 4, 0, 8]) },
            disturb: tape.one(&[20, 60]),
            kinds,
            afterwards: if tape.permille(300) { 1 + tape.below(2) } else { 0 },
            weights: weights(tape),
        }
    }
}

fn weights(tape: &mut Tape) -> Weights {
    // Mostly everything goes at one pace; else each at its own.
    let uneven = tape.permille(400);
    let mut weight = |usual: u32| if uneven { usual * tape.one(&[4, 1, 16]) } else { usual * 4 };
    Weights {
        answer: weight(6),
        serve: weight(6),
        start: weight(4),
        watch: weight(4),
        collect: weight(2),
        live: weight(3),
        pipeline: weight(1),
        time: weight(1).div_ceil(4),
    }
}
