//! Waiting with a deadline, for what a test expects to happen.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often the API server is asked.
const EVERY: Duration = Duration::from_millis(150);

/// Asks again and again until `probe` gives a value, and panics after `limit` with what it waited for and saw last.
pub async fn until<T, S, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, S>>,
    S: Debug,
{
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > limit => {
                panic!("waited {} s for {what}; the last thing seen was:\n{seen:#?}", limit.as_secs())
            }
            Err(_) => tokio::time::sleep(EVERY).await,
        }
    }
}
