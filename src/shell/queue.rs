//! The work queue: which run is to be looked at next.
//!
//! A run is never looked at twice at once; what happens to it meanwhile makes it due again afterwards. A run that could not be dealt
//! with comes back after a delay that grows. Time is passed in, so that a simulator can hold the clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use backoff::{BackoffBuilder as _, ExponentialBuilder};
use jiff::Timestamp;

/// The first delay after a failure.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// The longest delay after failures.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// A queue of keys without repetition.
#[derive(Debug)]
pub struct Queue<K> {
    /// Due now, in order, with the moment since when.
    ready: VecDeque<K>,
    since: HashMap<K, Timestamp>,
    /// Due later.
    later: BTreeSet<(Timestamp, K)>,
    at: HashMap<K, Timestamp>,
    /// Being worked on; `true` if it became due meanwhile.
    active: HashMap<K, bool>,
    /// How often a key has failed in a row.
    failures: HashMap<K, usize>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            since: HashMap::new(),
            later: BTreeSet::new(),
            at: HashMap::new(),
            active: HashMap::new(),
            failures: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Makes a key due now.
    pub fn add(&mut self, key: K, now: Timestamp) {
        if let Some(again) = self.active.get_mut(&key) {
            *again = true;
            return;
        }
        self.unschedule(&key);
        if !self.since.contains_key(&key) {
            self.since.insert(key.clone(), now);
            self.ready.push_back(key);
        }
    }

    /// Makes a key due at a time, unless it is due earlier already.
    pub fn add_at(&mut self, key: K, time: Timestamp) {
        if self.since.contains_key(&key) || self.at.get(&key).is_some_and(|there| *there <= time) {
            return;
        }
        self.unschedule(&key);
        self.at.insert(key.clone(), time);
        self.later.insert((time, key));
    }

    /// Takes the next key that is due. It must be handed back with [`Queue::done`].
    pub fn take(&mut self, now: Timestamp) -> Option<K> {
        while let Some((time, _)) = self.later.first()
            && *time <= now
            && let Some((time, key)) = self.later.pop_first()
        {
            self.at.remove(&key);
            // A timer that runs out while its key is worked on makes it due again afterwards.
            if let Some(again) = self.active.get_mut(&key) {
                *again = true;
            } else if !self.since.contains_key(&key) {
                self.since.insert(key.clone(), time);
                self.ready.push_back(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.since.remove(&key);
        self.active.insert(key.clone(), false);
        Some(key)
    }

    /// Hands a key back that was dealt with, to be due again after a while, or when something happens.
    pub fn done(&mut self, key: K, again: Option<Duration>, now: Timestamp) {
        self.failures.remove(&key);
        if self.active.remove(&key) == Some(true) {
            self.add(key, now);
        } else if let Some(again) = again {
            self.add_at(key, now.checked_add(again).unwrap_or(Timestamp::MAX));
        }
    }

    /// Hands a key back that could not be dealt with. It comes back after a delay that doubles from failure to failure, but not
    /// before `after`, if the server said so.
    pub fn failed(&mut self, key: K, after: Option<Duration>, now: Timestamp) {
        let count = self.failures.entry(key.clone()).or_default();
        *count += 1;
        let delay = delay(*count).max(after.unwrap_or_default());
        self.active.remove(&key);
        self.unschedule(&key);
        let time = now.checked_add(delay).unwrap_or(Timestamp::MAX);
        self.at.insert(key.clone(), time);
        self.later.insert((time, key));
    }

    /// Forgets a key that is gone.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
        self.unschedule(key);
    }

    /// When the next key will be due that is not due yet.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(time, _)| *time)
    }

    /// How many keys are due.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }

    /// How many keys wait after a failure.
    pub fn failing(&self) -> usize {
        self.failures.len()
    }

    /// Since when the key that is due longest has been due.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.since.values().min().copied()
    }

    /// Whether nothing is due, nothing is worked on, and nothing has failed.
    pub fn is_quiet(&self) -> bool {
        self.ready.is_empty() && self.active.is_empty() && self.failures.is_empty()
    }

    fn unschedule(&mut self, key: &K) {
        if let Some(time) = self.at.remove(key) {
            self.later.remove(&(time, key.clone()));
        }
    }
}

/// The delay after the given number of failures in a row.
fn delay(failures: usize) -> Duration {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .without_max_times()
        .build()
        .nth(failures.saturating_sub(1).min(16))
        .unwrap_or(LONGEST_DELAY)
}

/// Keys in order of first mention, each once: what several watches make due in one moment.
pub fn unique<K: Clone + Eq + Hash>(keys: impl IntoIterator<Item = K>) -> Vec<K> {
    let mut seen = HashSet::new();
    keys.into_iter().filter(|key| seen.insert(key.clone())).collect()
}

/// What is due at which time, for tests and for the simulator.
impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// All timers, by key.
    pub fn timers(&self) -> BTreeMap<K, Timestamp> {
        self.at.iter().map(|(key, time)| (key.clone(), *time)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn keys_are_due_once_and_in_order() {
        let mut queue = Queue::default();
        for key in ["a", "b", "a"] {
            queue.add(key, at(0));
        }
        assert_eq!(queue.depth(), 2);
        assert_eq!(queue.take(at(1)), Some("a"));
        assert_eq!(queue.take(at(1)), Some("b"));
        assert_eq!(queue.take(at(1)), None);
    }

    #[test]
    fn what_happens_meanwhile_is_not_lost() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        assert_eq!(queue.take(at(0)), Some("a"));
        queue.add("a", at(1));
        assert_eq!(queue.take(at(1)), None, "never twice at once");
        queue.done("a", None, at(2));
        assert_eq!(queue.take(at(2)), Some("a"));
        queue.done("a", None, at(3));
        assert!(queue.is_quiet());
    }

    #[test]
    fn timers_run_out_and_the_earlier_one_holds() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        queue.take(at(0));
        queue.done("a", Some(Duration::from_secs(10)), at(0));
        queue.add_at("a", at(20));
        assert_eq!(queue.next_due(), Some(at(10)));
        assert_eq!(queue.timers(), BTreeMap::from([("a", at(10))]));
        queue.add_at("a", at(5));
        assert_eq!(queue.take(at(4)), None);
        assert_eq!(queue.take(at(5)), Some("a"));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn an_event_comes_before_a_timer() {
        let mut queue = Queue::default();
        queue.add_at("a", at(100));
        queue.add("a", at(1));
        assert_eq!(queue.take(at(1)), Some("a"));
        assert_eq!(queue.next_due(), None, "the timer has been overtaken");
    }

    #[test]
    fn a_timer_that_runs_out_under_way_makes_due_again() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        queue.take(at(0));
        queue.add_at("a", at(1));
        assert_eq!(queue.take(at(2)), None);
        queue.done("a", None, at(3));
        assert_eq!(queue.take(at(3)), Some("a"));
    }

    #[test]
    fn delays_double_up_to_a_bound() {
        let delays: Vec<u128> = (1..=14).map(|count| delay(count).as_millis()).collect();
        assert_eq!(&delays[..5], [50, 100, 200, 400, 800]);
        assert_eq!(delays[13], 60_000);
        let mut queue = Queue::default();
        queue.add("a", at(0));
        queue.take(at(0));
        queue.failed("a", None, at(0));
        assert_eq!(queue.failing(), 1);
        assert_eq!(queue.take(at(0)), None);
        assert_eq!(queue.take(at(1)), Some("a"));
        queue.failed("a", Some(Duration::from_secs(30)), at(1));
        assert_eq!(queue.next_due(), Some(at(31)), "Retry-After is obeyed");
        queue.add("a", at(2));
        assert_eq!(queue.take(at(2)), Some("a"), "news come before a delay");
        queue.done("a", None, at(2));
        assert!(queue.is_quiet());
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_delay() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        for millis in [50, 100, 200, 50] {
            let now = queue.next_due().unwrap_or_else(|| at(0));
            assert_eq!(queue.take(now), Some("a"));
            queue.failed("a", None, now);
            let due = queue.next_due().unwrap();
            assert_eq!(due.duration_since(now).as_millis(), millis);
            if millis == 200 {
                // It goes well once, and then not.
                queue.take(due);
                queue.done("a", Some(Duration::ZERO), due);
            }
        }
    }

    #[test]
    fn it_is_quiet_when_nothing_is_due_worked_on_or_failed() {
        let mut queue = Queue::default();
        assert!(queue.is_quiet());
        queue.add("a", at(0));
        assert!(!queue.is_quiet(), "due");
        queue.take(at(0));
        assert!(!queue.is_quiet(), "worked on");
        queue.failed("a", None, at(0));
        assert!(!queue.is_quiet(), "failed");
        queue.take(at(1));
        queue.done("a", Some(Duration::from_mins(1)), at(1));
        assert!(queue.is_quiet(), "a look later is none");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        queue.take(at(0));
        queue.failed("a", None, at(0));
        queue.forget(&"a");
        assert_eq!((queue.failing(), queue.next_due()), (0, None));
        assert!(queue.is_quiet());
        assert_eq!(queue.take(at(100)), None);
    }

    #[test]
    fn the_longest_waiting_is_known() {
        let mut queue = Queue::default();
        assert_eq!(queue.oldest(), None);
        queue.add("a", at(3));
        queue.add("b", at(4));
        assert_eq!(queue.oldest(), Some(at(3)));
        queue.take(at(5));
        assert_eq!(queue.oldest(), Some(at(4)));
    }
}
