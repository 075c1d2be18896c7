//! Bodies of requests: nothing, a few bytes, or a stream that somebody fills while it is sent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces of a blob, from whoever reads it.
pub(in crate::index) type Pieces = mpsc::Receiver<Result<Bytes, Broken>>;

/// The source of a body failed. What happened is told elsewhere: this only ends the request.
#[derive(Debug)]
pub(in crate::index) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the source of the upload failed")
    }
}

impl std::error::Error for Broken {}

/// A request's body.
pub(in crate::index) enum Body {
    /// All at once.
    Whole(Bytes),
    /// Piece by piece, `left` bytes in all.
    Stream {
        /// Where the pieces come from.
        pieces: Pieces,
        /// How many bytes are still to come: the `Content-Length`.
        left: u64,
        /// Told of every piece.
        activity: Activity,
    },
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream { left: 0, .. } => Poll::Ready(None),
            Self::Stream { pieces, left, activity } => match pieces.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                // Fewer bytes than were announced: the request must not look complete.
                Poll::Ready(None) => Poll::Ready(Some(Err(Broken))),
                Poll::Ready(Some(Err(broken))) => Poll::Ready(Some(Err(broken))),
                Poll::Ready(Some(Ok(piece))) => {
                    let length = piece.len() as u64;
                    if length > *left {
                        return Poll::Ready(Some(Err(Broken)));
                    }
                    *left -= length;
                    activity.note();
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stream { left, .. } => *left,
        })
    }
}

/// When something last moved.
#[derive(Clone)]
pub(in crate::index) struct Activity {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::new(AtomicU64::new(0)) }
    }
}

impl Activity {
    /// Something moved.
    fn note(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    fn quiet(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Waits for `work`, unless nothing moves for as long as `bound`: then `None`.
    pub(super) async fn watch<T>(&self, bound: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.note();
        tokio::pin!(work);
        loop {
            let wait = bound.saturating_sub(self.quiet()).max(Duration::from_millis(10));
            match tokio::time::timeout(wait, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if self.quiet() >= bound => return None,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_stream_gives_what_it_announced_or_fails() {
        for (sent, announced, fine) in [(6u64, 6u64, true), (6, 7, false), (6, 5, false)] {
            let (sender, pieces) = mpsc::channel(8);
            for _ in 0..sent / 3 {
                sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
            }
            drop(sender);
            let body = Body::Stream { pieces, left: announced, activity: Activity::default() };
            let read = body.collect().await.map(|all| all.to_bytes().len() as u64);
            assert_eq!(read.ok(), fine.then_some(sent), "{sent} of {announced}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_wait() {
        let activity = Activity::default();
        assert_eq!(activity.watch(Duration::from_millis(50), async { 1 }).await, Some(1));
        let never = std::future::pending::<()>();
        assert_eq!(activity.watch(Duration::from_millis(30), never).await, None);
    }
}
