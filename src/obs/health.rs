//! `/healthz`: whether the loops make progress. Each loop says that it does; one that has not said so for too long is stuck, and the
//! kubelet restarts the controller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loops and when each was last alive.
#[derive(Clone, Debug, Default)]
pub struct Health {
    loops: Arc<Mutex<Vec<Loop>>>,
}

#[derive(Debug)]
struct Loop {
    name: &'static str,
    limit: Duration,
    last: Instant,
}

/// A loop's way to say that it is alive. A loop that ends drops it, and is not asked after any more.
#[derive(Debug)]
pub struct Beat {
    health: Health,
    name: &'static str,
}

impl Health {
    /// A loop that must be alive at least once in `limit`.
    pub fn watch(&self, name: &'static str, limit: Duration) -> Beat {
        self.with(|loops| loops.push(Loop { name, limit, last: Instant::now() }));
        Beat { health: self.clone(), name }
    }

    /// What is stuck at the moment `now`, in words; nothing if all is well.
    pub fn stuck(&self, now: Instant) -> Vec<String> {
        self.with(|loops| {
            let late = |one: &&mut Loop| now.saturating_duration_since(one.last) > one.limit;
            loops
                .iter_mut()
                .filter(late)
                .map(|one| {
                    let silent = now.saturating_duration_since(one.last).as_secs();
                    format!(
                        "the loop {} has made no progress for {silent} s (limit {} s)",
                        one.name,
                        one.limit.as_secs()
                    )
                })
                .collect()
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<Loop>) -> T) -> T {
        f(&mut self.loops.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Beat {
    /// The loop is alive.
    pub fn alive(&self) {
        let now = Instant::now();
        self.health.with(|loops| {
            for one in loops.iter_mut().filter(|one| one.name == self.name) {
                one.last = now;
            }
        });
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.health.with(|loops| loops.retain(|one| one.name != self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_loop_is_named_and_an_ended_one_is_not() {
        let health = Health::default();
        let work = health.watch("work", Duration::from_secs(30));
        let lease = health.watch("lease", Duration::from_mins(1));
        let later = Instant::now() + Duration::from_secs(31);
        assert!(health.stuck(Instant::now()).is_empty());
        assert_eq!(health.stuck(later), ["the loop work has made no progress for 31 s (limit 30 s)"]);
        let much_later = Instant::now() + Duration::from_secs(61);
        assert_eq!(health.stuck(much_later).len(), 2);
        work.alive();
        drop(lease);
        assert!(health.stuck(Instant::now() + Duration::from_secs(29)).is_empty());
        assert_eq!(health.stuck(much_later).len(), 1);
    }
}
