//! TaskRuns before words: while TaskRuns are being created, a status that only tells how things stand waits a little.
//!
//! In a burst of runs the API server is what everybody waits for. A build that has begun later is worth more to its users than the line
//! that another one has begun, so the creations go first, and the statuses follow when there is room.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// The longest that a status waits for TaskRuns of other runs.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many TaskRuns are being created.
#[derive(Debug, Default)]
pub(super) struct Pace {
    creating: watch::Sender<usize>,
}

impl Pace {
    /// Counts `creation` for as long as it is under way, also if it is broken off.
    pub(super) async fn creating<T>(&self, creation: impl Future<Output = T>) -> T {
        self.creating.send_modify(|creating| *creating += 1);
        let _counted = Counted(&self.creating);
        creation.await
    }

    /// Returns when nothing is being created, and after [`PATIENCE`] at the latest.
    pub(super) async fn telling(&self) {
        let mut creating = self.creating.subscribe();
        // The sender lives as long as this does, so there is no other end than these two.
        let _ = tokio::time::timeout(PATIENCE, creating.wait_for(|creating| *creating == 0)).await;
    }
}

/// Takes one away when it is dropped.
struct Counted<'a>(&'a watch::Sender<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|creating| *creating -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_status_waits_for_what_is_being_created() {
        let pace = Pace::default();
        let begin = Instant::now();
        pace.telling().await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "nothing is being created");
        let creations = futures::future::join(
            pace.creating(sleep(Duration::from_millis(200))),
            pace.creating(sleep(Duration::from_millis(300))),
        );
        let (_, told) = futures::future::join(creations, async {
            // The creations are polled first.
            pace.telling().await;
            begin.elapsed()
        })
        .await;
        assert_eq!(told, Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn no_longer_than_its_patience() {
        let pace = Pace::default();
        let begin = Instant::now();
        let stuck = pace.creating(std::future::pending::<()>());
        let (_, told) = futures::future::join(timeout(Duration::from_mins(1), stuck), async {
            pace.telling().await;
            begin.elapsed()
        })
        .await;
        assert_eq!(told, PATIENCE);
        // What was broken off is not waited for any more.
        let begin = Instant::now();
        pace.telling().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
