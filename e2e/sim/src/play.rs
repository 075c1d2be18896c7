//! Playing schedules: one, many, and one that failed until it is as small as it gets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::coverage::Coverage;
use crate::faults::Fault;
use crate::focus::Focus;
use crate::invariants::Violation;
use crate::tape::{Channel, Choices, Tape};
use crate::world::World;

/// What came of a schedule.
#[derive(Debug)]
pub struct Played {
    /// The invariant that was broken.
    pub violation: Option<Violation>,
    /// Every choice that was made.
    pub choices: Choices,
    /// What was met.
    pub coverage: Coverage,
    /// What happened, if anybody wanted to know.
    pub trace: Vec<String>,
    /// A digest of what happened.
    pub digest: u64,
    /// Steps that were made.
    pub steps: u32,
}

/// Plays a schedule from its tape.
pub fn play(tape: Tape, focus: Focus, fault: Option<Fault>, trace: bool) -> Played {
    let mut world = World::new(tape, focus, fault, trace);
    let ended = catch_unwind(AssertUnwindSafe(|| world.play()));
    if let Err(panic) = ended {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
            .unwrap_or_default();
        world.violate("no_panic", || words);
    }
    Played {
        violation: world.violation.take(),
        choices: world.tape.made().clone(),
        coverage: std::mem::take(&mut world.coverage),
        trace: world.trace.take().unwrap_or_default(),
        digest: world.digest,
        steps: world.steps,
    }
}

/// Plays the schedule of a seed.
pub fn play_seed(seed: u64, fault: Option<Fault>, trace: bool) -> Played {
    play(Tape::seeded(seed), Focus::of(seed), fault, trace)
}

/// A schedule that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
}

/// What came of many schedules.
#[derive(Debug, Default)]
pub struct Campaign {
    /// What they met.
    pub coverage: Coverage,
    /// The failures that were found, by seed.
    pub failures: Vec<Failure>,
}

/// How many schedules are played.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub count: u64,
    /// On how many threads.
    pub jobs: usize,
    /// After how many failures to stop.
    pub most_failures: usize,
    /// The bug that is planted.
    pub fault: Option<Fault>,
}

/// Plays many schedules.
pub fn campaign(plan: Plan) -> Campaign {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Campaign::default());
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                let mut coverage = Coverage::default();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.count {
                        break;
                    }
                    let seed = plan.first + number;
                    let played = play_seed(seed, plan.fault, false);
                    coverage.add(&played.coverage);
                    if let Some(violation) = played.violation
                        && let Ok(mut found) = found.lock()
                    {
                        found.failures.push(Failure { seed, violation });
                        if found.failures.len() >= plan.most_failures {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
                if let Ok(mut found) = found.lock() {
                    found.coverage.add(&coverage);
                }
            });
        }
    });
    let mut campaign = found.into_inner().unwrap_or_default();
    campaign.failures.sort_by_key(|failure| failure.seed);
    campaign
}

/// Makes a failing schedule simpler as long as it breaks the same invariant: fewer choices, smaller numbers (delta debugging: Zeller
/// and Hildebrandt, IEEE TSE 28, 2002, on the tape as Hypothesis does it).
pub fn shrink(seed: u64, fault: Option<Fault>, violation: &Violation, tries: u32) -> Choices {
    let mut shrinker = Shrinker {
        focus: Focus::of(seed),
        fault,
        invariant: violation.invariant,
        best: play_seed(seed, fault, false).choices,
        left: tries,
    };
    loop {
        let before = shrinker.best.clone();
        // What comes from outside first: without it most of the rest is not needed.
        for channel in [Channel::Disturb, Channel::Fault, Channel::Setup, Channel::Life, Channel::Pick] {
            for change in [shorten, zero, remove] {
                shrinker.apply(channel as usize, change);
            }
        }
        if before == shrinker.best || shrinker.left == 0 {
            return shrinker.best;
        }
    }
}

struct Shrinker {
    focus: Focus,
    fault: Option<Fault>,
    invariant: &'static str,
    best: Choices,
    left: u32,
}

impl Shrinker {
    fn apply(&mut self, channel: usize, change: fn(&[u32], usize, usize) -> Option<Vec<u32>>) {
        let mut size = self.best[channel].len();
        while size > 0 && self.left > 0 {
            let mut at = 0;
            while at < self.best[channel].len() && self.left > 0 {
                let changed = change(&self.best[channel], at, size);
                let changed = changed.filter(|changed| simpler(changed, &self.best[channel]));
                if !changed.is_some_and(|changed| self.fails_with(channel, changed)) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// Tries a schedule with another tape on one channel, and keeps it if it fails as it shall.
    fn fails_with(&mut self, channel: usize, changed: Vec<u32>) -> bool {
        self.left -= 1;
        let mut choices = self.best.clone();
        choices[channel] = changed;
        let played = play(Tape::given(choices.clone()), self.focus, self.fault, false);
        let fails = played.violation.is_some_and(|found| found.invariant == self.invariant);
        if fails {
            self.best = choices;
        }
        fails
    }
}

fn simpler(one: &[u32], other: &[u32]) -> bool {
    let weight = |choices: &[u32]| choices.iter().map(|choice| u64::from(*choice)).sum::<u64>();
    (one.len(), weight(one)) < (other.len(), weight(other))
}

fn trim(mut choices: Vec<u32>) -> Vec<u32> {
    while choices.last() == Some(&0) {
        choices.pop();
    }
    choices
}

/// Nothing but natural choices from some place on.
fn shorten(choices: &[u32], at: usize, size: usize) -> Option<Vec<u32>> {
    let keep = choices.len().checked_sub(at + size)?;
    Some(choices[..keep].to_vec())
}

/// Natural choices for a stretch.
#[expect(clippy::unnecessary_wraps, reason = "one of three that are called alike")]
fn zero(choices: &[u32], at: usize, size: usize) -> Option<Vec<u32>> {
    let mut changed = choices.to_vec();
    let end = (at + size).min(changed.len());
    changed[at..end].fill(0);
    Some(trim(changed))
}

/// A stretch less.
#[expect(clippy::unnecessary_wraps, reason = "one of three that are called alike")]
fn remove(choices: &[u32], at: usize, size: usize) -> Option<Vec<u32>> {
    let mut changed = choices.to_vec();
    let end = (at + size).min(changed.len());
    changed.drain(at..end);
    Some(changed)
}
