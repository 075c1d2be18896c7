//! The world of one schedule: the server, Tekton, nodes, users and the replicas of the controller, and the loop that moves them one
//! step at a time.
//!
//! A schedule has three parts. First anything may happen, faults too. Then faults stop and everything goes on until nothing moves: every
//! run must have come to its end by then, within a bounded number of steps. At last users do to the finished runs what they please,
//! and nothing may change any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use archfan::core::cleanup::is_finished;
use archfan::core::settings::Settings;
use archfan::shell::reconcile::Outcome;
use jiff::Timestamp;

use crate::coverage::{Coverage, Point};
use crate::faults::Fault;
use crate::focus::Focus;
use crate::invariants::Violation;
use crate::knobs::Knobs;
use crate::ledger::Ledger;
use crate::life::Life;
use crate::replica::{Duty, Kind, Replica};
use crate::scenario::RunPlan;
use crate::server::Server;
use crate::tape::{Channel, Tape};
use crate::wire::{Progress, SharedWire};

mod children;
mod disturb;
mod pipelines;
mod serve;
mod setup;
mod users;

pub use pipelines::Pipeline;
pub use serve::Caller;
pub use setup::node;
pub use users::TOUCHED;

/// When every schedule begins.
pub const START: i64 = 1_767_261_600;
/// The most steps that may pass from the moment when faults stop until nothing moves.
const MOST_STEPS_TO_REST: u32 = 6000;
/// How long a call of a replica that is gone may stay on the wire: the API server's own bound on a request.
const MOST_ON_WIRE: Duration = Duration::from_mins(1);

/// The parts of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Anything may happen.
    Anything,
    /// Faults have stopped.
    Calm,
    /// Everything has ended, and users do what they please.
    After,
}

/// A step that can be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// An answer arrives.
    Answer(u64),
    /// The server takes a call.
    Serve(u64),
    /// A replica begins to look at a run.
    Start(usize),
    /// A watch brings something.
    Watch(usize, Kind),
    /// The garbage collector comes.
    Collect,
    /// A TaskRun's life goes on; by its place among all.
    Live(usize),
    /// Tekton looks at a PipelineRun; by its place among all.
    Pipeline(usize),
    /// A missing claim is made.
    Claim,
    /// The next run is made.
    Submit,
    /// A replica finds out that another leads.
    Notice(usize),
    /// Time passes.
    Time,
}

/// Everything there is.
pub struct World {
    /// Every choice.
    pub tape: Tape,
    /// What the schedule has an eye on.
    pub focus: Focus,
    /// Rates and bounds.
    pub knobs: Knobs,
    /// The bug that is planted in every replica.
    pub fault: Option<Fault>,
    /// The API server.
    pub server: Server,
    /// The calls under way.
    pub wire: SharedWire,
    /// The replicas, dead ones left out.
    pub replicas: Vec<Replica>,
    /// What is behind each TaskRun, by name.
    pub lives: BTreeMap<String, Life>,
    /// What the runs are.
    pub plans: Vec<RunPlan>,
    /// The PipelineRuns.
    pub pipelines: Vec<Pipeline>,
    /// What has really happened, as the invariants remember it.
    pub ledger: Ledger,
    /// What was met.
    pub coverage: Coverage,
    /// The part of the schedule.
    pub part: Part,
    /// Steps made.
    pub steps: u32,
    /// The invariant that was broken.
    pub violation: Option<Violation>,
    /// What happened, if anybody wants to know.
    pub trace: Option<Vec<String>>,
    /// A digest of what happened, to compare two plays of one schedule.
    pub digest: u64,
    settings: Arc<Settings>,
    born: usize,
    /// How many of the plans have been made runs of.
    submitted: usize,
    candidates: Vec<(Step, u32)>,
}

impl World {
    /// The world of a schedule.
    pub fn new(tape: Tape, focus: Focus, fault: Option<Fault>, trace: bool) -> Self {
        let mut tape = tape;
        let knobs = Knobs::draw(&mut tape, focus);
        let mut world = Self::empty(tape, focus, knobs, fault, trace);
        world.set_up();
        world
    }

    /// A world in which there is nothing.
    pub fn empty(tape: Tape, focus: Focus, knobs: Knobs, fault: Option<Fault>, trace: bool) -> Self {
        let now = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            tape,
            focus,
            knobs,
            fault,
            server: Server::new(now),
            wire: SharedWire::default(),
            replicas: Vec::new(),
            lives: BTreeMap::new(),
            plans: Vec::new(),
            pipelines: Vec::new(),
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            part: Part::Anything,
            steps: 0,
            violation: None,
            trace: trace.then(Vec::new),
            digest: 0xCBF2_9CE4_8422_2325,
            settings: setup::settings(),
            born: 0,
            submitted: 0,
            candidates: Vec::with_capacity(32),
        }
    }

    /// Plays the schedule to its end, or to the first invariant that is broken.
    pub fn play(&mut self) {
        for _ in 0..self.knobs.steps {
            if self.violation.is_some() || !self.step() {
                break;
            }
        }
        self.come_to_rest(Part::Calm);
        if self.violation.is_none() {
            self.at_rest();
        }
        if self.violation.is_none() && self.knobs.afterwards > 0 {
            self.ledger.freeze(&self.server);
            self.part = Part::After;
            for _ in 0..self.knobs.afterwards {
                self.disturb_afterwards();
            }
            self.come_to_rest(Part::After);
            if self.violation.is_none() {
                self.at_rest();
            }
        }
        self.coverage.schedules += 1;
        self.coverage.steps += u64::from(self.steps);
    }

    /// One step of the first part. Nothing left to do, or nothing but to wait for ever, ends it.
    fn step(&mut self) -> bool {
        if self.knobs.disturbances > 0 && self.tape.on(Channel::Disturb).permille(self.knobs.disturb) {
            self.knobs.disturbances -= 1;
            self.disturb();
            self.after_step();
            return true;
        }
        self.find_candidates();
        let candidates = std::mem::take(&mut self.candidates);
        let chosen = match candidates.as_slice() {
            [] => None,
            some => Some(some[self.tape.on(Channel::Pick).weighted(some)].0),
        };
        self.candidates = candidates;
        match chosen {
            Some(step) => {
                self.make(step);
                true
            }
            None => false,
        }
    }

    /// Lets everything go on without faults until nothing moves.
    fn come_to_rest(&mut self, part: Part) {
        if self.violation.is_some() {
            return;
        }
        self.part = part;
        self.say(|| "— faults stop —".to_owned());
        self.heal();
        let bound = self.steps + MOST_STEPS_TO_REST;
        while self.violation.is_none() {
            self.find_candidates();
            let Some((step, _)) = self.candidates.first().copied() else { return };
            if self.steps >= bound {
                let waiting = self.why_not_at_rest();
                self.violate("a_run_ends_once_its_children_have", || {
                    format!(
                        "after {MOST_STEPS_TO_REST} steps without faults something still moves: {waiting}"
                    )
                });
                return;
            }
            self.make(step);
        }
    }

    /// Whether every run that was made has ended.
    fn all_over(&self) -> bool {
        self.server.runs.iter().all(|(_, run)| run.status.as_ref().is_some_and(is_finished))
    }

    fn why_not_at_rest(&self) -> String {
        let runs: Vec<String> = self
            .server
            .runs
            .iter()
            .map(|(name, run)| format!("{name}: {}", crate::ledger::tell_run(run)))
            .collect();
        runs.join("; ")
    }

    /// Finds every step that can be made now, natural ones first.
    fn find_candidates(&mut self) {
        let mut found = std::mem::take(&mut self.candidates);
        found.clear();
        let weights = self.knobs.weights;
        {
            let wire = self.wire.lock();
            for call in &wire.calls {
                match call.progress {
                    Progress::Answered(_) if !call.abandoned => {
                        found.push((Step::Answer(call.id), weights.answer));
                    }
                    _ => {}
                }
            }
            for call in &wire.calls {
                if matches!(call.progress, Progress::Asked) {
                    found.push((Step::Serve(call.id), weights.serve));
                }
            }
        }
        let now = self.server.now;
        for (index, replica) in self.replicas.iter().enumerate() {
            if replica.may_start(self.knobs.concurrency, now) {
                found.push((Step::Start(index), weights.start));
            }
            for kind in Kind::ALL {
                if replica.is_due(kind, &self.server) {
                    found.push((Step::Watch(index, kind), weights.watch));
                }
            }
        }
        for (index, (name, life)) in self.lives.iter().enumerate() {
            if self.can_live(name, life) {
                found.push((Step::Live(index), weights.live));
            }
        }
        for (index, pipeline) in self.pipelines.iter().enumerate() {
            if self.can_act(pipeline) {
                found.push((Step::Pipeline(index), weights.pipeline));
            }
        }
        if self.part == Part::Anything {
            if self.missing_claim().is_some() {
                found.push((Step::Claim, 1));
            }
            if self.can_submit() && (self.focus != Focus::Reuse || self.all_over()) {
                found.push((Step::Submit, 2));
            }
            for (index, replica) in self.replicas.iter().enumerate() {
                if replica.duty == Duty::Unaware {
                    found.push((Step::Notice(index), 1));
                }
            }
        }
        // What waits for a finalizer is looked at again and again: it must not keep others from their turn.
        if self.server.garbage.is_due() {
            found.push((Step::Collect, weights.collect));
        }
        if self.next_time().is_some() {
            found.push((Step::Time, weights.time));
        }
        self.candidates = found;
    }

    fn make(&mut self, step: Step) {
        self.steps += 1;
        self.note(step);
        match step {
            Step::Answer(id) => self.answer(id),
            Step::Serve(id) => {
                self.serve(id);
                if self.part == Part::Anything && self.tape.on(Channel::Fault).permille(self.knobs.sync) {
                    self.answer(id);
                }
            }
            Step::Start(index) => self.start(index),
            Step::Watch(index, kind) => self.bring(index, kind),
            Step::Collect => {
                self.say(|| "the garbage collector comes".to_owned());
                self.collect();
            }
            Step::Live(index) => self.live(index),
            Step::Pipeline(index) => self.look_at_pipeline(index),
            Step::Claim => self.make_missing_claim(),
            Step::Submit => self.submit(),
            Step::Notice(index) => self.notice(index),
            Step::Time => self.pass_time(),
        }
        self.after_step();
    }

    /// A replica begins to look at a run.
    fn start(&mut self, index: usize) {
        let now = self.server.now;
        let lagging = Kind::ALL.iter().any(|kind| self.replicas[index].is_due(*kind, &self.server));
        let replica = &mut self.replicas[index];
        let Some(id) = replica.start(now) else { return };
        let number = replica.number;
        let look = replica.reconcile(id);
        let key = look.map(|look| look.key.name.clone());
        let uid = look.map(|look| look.run_uid.clone()).unwrap_or_default();
        self.ledger.looks.insert((number, id), uid);
        let side_by_side = replica.reconciles.len() > 1;
        self.coverage.reconciles += 1;
        if lagging {
            self.coverage.meet(Point::Lagging);
        }
        if side_by_side {
            self.coverage.meet(Point::SideBySide);
        }
        if self.replicas.iter().filter(|replica| !replica.reconciles.is_empty()).count() > 1 {
            self.coverage.meet(Point::BothActive);
        }
        self.say(|| format!("replica {number} looks at {}", key.unwrap_or_default()));
        self.poll(index, id);
    }

    /// Lets a reconcile go on.
    fn poll(&mut self, index: usize, id: u64) {
        let now = self.server.now;
        let replica = &mut self.replicas[index];
        let number = replica.number;
        let key = replica.reconcile(id).map(|reconcile| reconcile.key.name.clone()).unwrap_or_default();
        let before = self.wire.lock().calls.len();
        let outcome = replica.poll(id, &self.wire, now);
        self.check_new_calls(index, id, before);
        let Some(outcome) = outcome else { return };
        self.wire.lock().tidy();
        match &outcome {
            Outcome::Retry { .. } => self.coverage.meet(Point::Retried),
            Outcome::Done(_) | Outcome::Gone => {}
        }
        self.say(|| format!("replica {number} is done with {key}: {outcome:?}"));
    }

    /// An answer arrives.
    fn answer(&mut self, id: u64) {
        let (number, reconcile, verb, name) = {
            let mut wire = self.wire.lock();
            let Some(call) = wire.calls.iter().find(|call| call.id == id) else { return };
            if !matches!(call.progress, Progress::Answered(_)) || call.abandoned {
                return;
            }
            let found = (call.replica, call.reconcile, call.ask.verb(), call.ask.name().to_owned());
            wire.deliver(id);
            found
        };
        let Some(index) = self.replicas.iter().position(|replica| replica.number == number) else { return };
        self.say(|| format!("replica {number} hears of: {verb} {name}"));
        self.note_answer(index, id);
        self.poll(index, reconcile);
    }

    /// A watch brings something.
    fn bring(&mut self, index: usize, kind: Kind) {
        let wanted = self.trace.is_some();
        let across = kind == Kind::Children
            && self.replicas[index].children.listing.as_ref().is_some_and(|listed| {
                let mut there = self.server.task_runs.iter();
                there.any(|(_, task_run)| !listed.iter().any(|old| old.metadata.uid == task_run.metadata.uid))
            });
        if across {
            self.coverage.meet(Point::ListedAcrossWrites);
        }
        let replica = &mut self.replicas[index];
        let number = replica.number;
        let told = replica.bring(kind, &self.server, self.steps, wanted);
        self.say(|| format!("replica {number} {told} ({kind:?})"));
    }

    /// The next moment at which something is due that time brings.
    fn next_time(&self) -> Option<Timestamp> {
        let timers = self
            .replicas
            .iter()
            .filter(|replica| replica.is_ready())
            .filter_map(|replica| replica.queue.next_due());
        let deadlines = self.lives.values().filter_map(Life::deadline);
        timers.chain(deadlines).filter(|time| *time > self.server.now).min()
    }

    fn pass_time(&mut self) {
        let Some(next) = self.next_time() else { return };
        // Steps that time does not bring come first, once faults have stopped: there is none left.
        self.check(crate::invariants::before_time);
        let now = self.server.now;
        let add = |span: u64| now.checked_add(Duration::from_secs(span)).unwrap_or(next);
        self.server.now = match self.part {
            Part::Anything => {
                match self.tape.on(Channel::Pick).weighted(&[((), 6), ((), 3), ((), 2), ((), 1), ((), 1)]) {
                    0 => next,
                    1 => add(1),
                    2 => add(10),
                    3 => add(60),
                    _ => add(900),
                }
            }
            Part::Calm | Part::After => next,
        };
        let now = self.server.now;
        self.say(|| format!("it is {now}"));
        self.expire_calls();
    }

    /// What has been on the wire for too long never arrives.
    fn expire_calls(&mut self) {
        let now = self.server.now;
        let expired = self.ledger.expired(now, MOST_ON_WIRE);
        if !expired.is_empty() {
            self.wire.lock().calls.retain(|call| !(call.abandoned && expired.contains(&call.id)));
        }
    }

    /// Writes a line of the trace.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>5}  {}", self.steps, line()));
        }
    }

    /// Notes that an invariant is broken. The first counts.
    pub fn violate(&mut self, invariant: &'static str, detail: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let detail = detail();
            self.say(|| format!("BROKEN {invariant}: {detail}"));
            self.violation = Some(Violation { invariant, detail, step: self.steps });
        }
    }

    fn note(&mut self, step: Step) {
        // FNV-1a over what identifies the step.
        let (kind, number) = match step {
            Step::Answer(id) => (1, id),
            Step::Serve(id) => (2, id),
            Step::Start(index) => (3, index as u64),
            Step::Watch(index, kind) => (4, index as u64 * 4 + kind as u64),
            Step::Collect => (5, 0),
            Step::Live(index) => (6, index as u64),
            Step::Pipeline(index) => (7, index as u64),
            Step::Claim => (8, 0),
            Step::Notice(index) => (9, index as u64),
            Step::Time => (10, 0),
            Step::Submit => (11, 0),
        };
        for value in [kind, number] {
            self.digest = (self.digest ^ value).wrapping_mul(0x0100_0000_01B3);
        }
    }
}
