//! What a registry's refusal means, and what to do about it.

use http::StatusCode;
use serde::Deserialize;

use super::Registry;
use crate::index::error::{Answer, Error, Kind};
use crate::index::http::Reply;

/// distribution-spec, "Error Codes".
#[derive(Deserialize)]
struct Document {
    errors: Option<Vec<Entry>>,
    /// Token servers and others that are no registry.
    message: Option<serde_json::Value>,
    details: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: Option<serde_json::Value>,
}

/// How much of a refusal is read and how much of it is told.
const READ: u64 = 64 << 10;
const TOLD: usize = 300;

impl Registry {
    /// Makes a failure out of an answer that is not the one wanted. `what` was tried, and names the repository.
    pub(super) async fn refused(&self, what: &str, reply: Reply) -> Error {
        let status = reply.status();
        let body = reply.bytes(READ).await.unwrap_or_default();
        let (codes, said) = understand(&body);
        let mut message = format!("{what}: the registry answered {status}");
        if !said.is_empty() {
            message.push_str(": ");
            message.push_str(&said);
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
            s if s == StatusCode::TOO_MANY_REQUESTS || s.is_server_error() => Kind::Unavailable,
            _ => Kind::Failed,
        };
        let error = Error::new(kind, message).answered(Answer { status: status.as_u16(), codes });
        match (kind, &self.login) {
            (Kind::Denied, Some(found)) => {
                error.advice(format!("the login of {} is not let in to this", found.origin))
            }
            (Kind::Denied, None) => error.advice(format!("no login was shown: {}", self.searched)),
            _ => error,
        }
    }
}

/// The codes, and a sentence.
pub(super) fn understand(body: &[u8]) -> (Vec<String>, String) {
    let Ok(document) = serde_json::from_slice::<Document>(body) else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        // A page of a proxy says nothing in its first line.
        let plain = if text.starts_with('<') { "" } else { text };
        return (Vec::new(), shorten(plain));
    };
    let mut codes = Vec::new();
    let mut said = Vec::new();
    for entry in document.errors.unwrap_or_default() {
        let mut text = [entry.code.as_str(), entry.message.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        match entry.detail {
            None | Some(serde_json::Value::Null) => {}
            Some(serde_json::Value::String(detail)) => text = format!("{text} ({detail})"),
            Some(detail) => text = format!("{text} ({detail})"),
        }
        codes.push(entry.code);
        said.push(shorten(&text));
    }
    if said.is_empty() {
        said.extend(document.details.or(document.message).map(|value| match value {
            serde_json::Value::String(text) => shorten(&text),
            value => shorten(&value.to_string()),
        }));
    }
    (codes, said.join("; "))
}

fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_registrys_words() {
        let (codes, said) = understand(
            br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied","detail":null},
                {"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:1"}}]}"#,
        );
        assert_eq!(codes, ["DENIED", "MANIFEST_BLOB_UNKNOWN"]);
        assert_eq!(
            said,
            r#"DENIED: requested access to the resource is denied; MANIFEST_BLOB_UNKNOWN: blob unknown ({"digest":"sha256:1"})"#
        );
        assert_eq!(
            understand(br#"{"details":"incorrect username or password"}"#).1,
            "incorrect username or password"
        );
        assert_eq!(understand(b"<html><body>x").1, "");
        assert_eq!(understand(b"no\n  such host").1, "no such host");
        assert_eq!(understand(b"").1, "");
        assert_eq!(understand("ä".repeat(1000).as_bytes()).1.chars().count(), TOLD + 1);
    }
}
