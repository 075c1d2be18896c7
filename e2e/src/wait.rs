//! Waiting with a deadline, for what a test expects to happen.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often the API server is asked.
const EVERY: Duration = Duration::from_millis(150);

/// `limit`, or what `ARCHFAN_TEST_PATIENCE` says (in seconds) if that is less: who expects a test to fail need not wait as long as it
/// would take on a busy machine to pass.
fn patience(limit: Duration) -> Duration {
    match std::env::var("ARCHFAN_TEST_PATIENCE") {
        Err(_) => limit,
        Ok(text) => {
            let most = text.parse().expect("ARCHFAN_TEST_PATIENCE is a number of seconds");
            limit.min(Duration::from_secs(most))
        }
    }
}

/// Asks again and again until `probe` gives a value, and panics after `limit` with what it waited for and saw last.
pub async fn until<T, S, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, S>>,
    S: Debug,
{
    let start = Instant::now();
    let limit = patience(limit);
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
