//! Entry points for [`crate::fuzz`].

use std::time::Duration;

use http::Uri;

use super::{answer, token, upload};
use crate::index::http::{resolve, retry};

/// Whatever a registry may say beside manifests and blobs.
pub(in crate::index) fn answers(bytes: &[u8]) {
    let (codes, said) = answer::understand(bytes);
    // It becomes a line of a log.
    assert!(!said.contains('\n') || codes.len() > 1, "{said:?}");
    if let Ok(token) = token::read(bytes) {
        assert!(
            token.until.saturating_duration_since(tokio::time::Instant::now()) <= Duration::from_hours(24)
        );
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(length) = upload::reached(text) {
        assert_eq!(upload::reached(&format!("0-{}", length - 1)), Some(length));
    }
    if let Ok(now) = "2026-11-21T06:00:00Z".parse() {
        let _ = retry::retry_after(text, now);
    }
    let base = Uri::from_static("https://registry.example:5000/v2/a/blobs/uploads/1?x=y");
    if let Some(next) = resolve(&base, text) {
        assert!(next.scheme().is_some() && next.authority().is_some(), "{text:?}: {next}");
    }
}
