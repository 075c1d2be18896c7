//! Trying again: what is worth it, and after how long.

use std::time::Duration;

use backoff::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use http::StatusCode;

/// The longest that a registry's `Retry-After` is followed. Beyond this the step ends, and its user decides.
const LONGEST_ASKED: Duration = Duration::from_mins(2);

/// How often a request is sent at most: in some ten seconds to half a minute, which is longer than a registry's restart and shorter
/// than a user's patience.
const TRIES: u32 = 6;

/// The waits between the tries of one request: jittered, doubling, and few.
pub(in crate::index) struct Waits {
    waits: ExponentialBackoff,
    /// How many tries were made.
    pub(in crate::index) tries: u32,
}

impl Default for Waits {
    fn default() -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(TRIES as usize - 1)
            .with_jitter()
            .build();
        Self { waits, tries: 1 }
    }
}

impl Waits {
    /// Whether the last try was made.
    pub(in crate::index) fn is_over(&self) -> bool {
        self.tries >= TRIES
    }

    /// How long to wait before the next try, or `None` if it is not worth another.
    pub(in crate::index) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let own = self.waits.next()?;
        self.tries += 1;
        match asked {
            Some(asked) if asked > LONGEST_ASKED => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

/// Whether a status is about now, not about the request.
pub(in crate::index) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub(in crate::index) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_are_read() {
        let now: jiff::Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
        assert_eq!(retry_after("3", now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 06:00:07 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 05:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn waits_are_few_and_follow_the_registry() {
        let mut waits = Waits::default();
        let first = waits.next(None).unwrap();
        assert!((250..=500).contains(&first.as_millis()), "{first:?}");
        assert!(waits.next(Some(Duration::from_secs(30))).unwrap() >= Duration::from_secs(30));
        assert_eq!(Waits::default().next(Some(Duration::from_hours(1))), None);
        let mut rest = Waits::default();
        assert_eq!(std::iter::from_fn(|| rest.next(None)).count(), 5);
        assert!(rest.is_over());
    }
}
