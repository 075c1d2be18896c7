//! A blob on its way to a registry: where its bytes come from, and whether they are the right ones.

use std::sync::{Arc, Mutex, PoisonError};

use crate::index::digest::{Digest, Hasher};
use crate::index::error::{Error, Result};
use crate::index::http::body::Pieces;

/// Where a blob's bytes come from.
pub(in crate::index) trait Payload: Send + Sync {
    /// Starts to give the bytes from the place `from` on. Whoever gives them shows each to `check`, and tells it what fails.
    fn open(&self, from: u64, check: &Arc<Check>) -> Pieces;

    /// Whether it can be opened more than once, and at any place.
    fn again(&self) -> bool {
        true
    }
}

/// Watches the bytes of a blob on their way.
pub(in crate::index) struct Check {
    expected: Digest,
    size: u64,
    what: String,
    state: Mutex<State>,
}

struct State {
    hasher: Hasher,
    place: u64,
    failure: Option<Error>,
}

impl Check {
    /// A check of one blob; `what` names its source.
    pub(in crate::index) fn new(expected: &Digest, size: u64, what: impl Into<String>) -> Arc<Self> {
        let state = State { hasher: expected.hasher(), place: 0, failure: None };
        Arc::new(Self { expected: expected.clone(), size, what: what.into(), state: Mutex::new(state) })
    }

    /// The digest that the blob should have.
    pub(in crate::index) fn digest(&self) -> &Digest {
        &self.expected
    }

    /// How many bytes it should have.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes bytes that stand at `at`. What was seen before, in an upload that broke, is not counted twice.
    pub(in crate::index) fn pass(&self, at: u64, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(seen) = usize::try_from(state.place.saturating_sub(at)) else { return };
        if let Some(fresh) = bytes.get(seen..).filter(|fresh| !fresh.is_empty()) {
            state.hasher.update(fresh);
            state.place = at + bytes.len() as u64;
        }
    }

    /// Notes why there will be no more bytes.
    pub(in crate::index) fn fail(&self, error: Error) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.get_or_insert(error);
    }

    /// Why there are no more bytes, if so.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    /// Whether all bytes were seen and are the right ones.
    pub(in crate::index) fn verdict(&self) -> Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if state.place != self.size {
            return Err(Error::source(format!(
                "{}: the blob {} has {} bytes where {} were announced; it is damaged or incomplete",
                self.what, self.expected, state.place, self.size
            )));
        }
        let found = state.hasher.clone().finish();
        if found != self.expected {
            return Err(Error::source(format!(
                "{}: the blob {} is damaged: the digest of what is there is {found}",
                self.what, self.expected
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::error::Kind;

    #[test]
    fn a_blob_is_checked_though_it_is_read_in_parts_and_again() {
        let bytes = b"hello, registry";
        let check = Check::new(&Digest::of(bytes), 15, "a source");
        check.pass(0, &bytes[..7]);
        check.pass(3, &bytes[3..7]);
        check.pass(3, &bytes[3..10]);
        assert!(check.verdict().unwrap_err().to_string().contains("10 bytes where 15"));
        check.pass(10, &bytes[10..]);
        check.verdict().unwrap();
        let check = Check::new(&Digest::of(b"other"), 15, "a source");
        check.pass(0, bytes);
        let error = check.verdict().unwrap_err();
        assert_eq!(error.kind(), Kind::Source);
        assert!(error.to_string().contains("damaged"), "{error}");
        check.fail(Error::source("the disk is gone"));
        assert_eq!(check.verdict().unwrap_err().to_string(), "the disk is gone");
    }

    proptest::proptest! {
        #[test]
        fn any_order_of_attempts_gives_the_digest(cuts in proptest::collection::vec((0usize..64, 1usize..64), 0..20)) {
            let bytes: Vec<u8> = (0..64).collect();
            let check = Check::new(&Digest::of(&bytes), 64, "x");
            let mut seen = 0;
            for (start, length) in cuts {
                let (start, end) = (start.min(seen), (start.min(seen) + length).min(64));
                check.pass(start as u64, &bytes[start..end]);
                seen = seen.max(end);
            }
            check.pass(seen as u64, &bytes[seen..]);
            proptest::prop_assert!(check.verdict().is_ok());
        }
    }
}
