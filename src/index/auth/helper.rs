//! Credential helpers: programs called `docker-credential-NAME` (docker-credential-helpers, README, "Development").

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Login;
use crate::index::error::{Error, Kind, Result};

/// How long a helper may take; some call a cloud's API.
const PATIENCE: Duration = Duration::from_mins(1);
/// The name under which helpers keep the login of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks a helper for the login of a registry. `None` if it has none.
pub(super) async fn get(name: &str, registry: &str) -> Result<Option<Login>> {
    // The name comes out of a file that a user may not have written: it must not lead out of PATH.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return Err(Error::usage(format!("{name:?} is no name of a credential helper")));
    }
    let program = format!("docker-credential-{name}");
    let failed = |what: String| {
        Error::new(Kind::Denied, format!("{program} gave no login for {registry}: {what}"))
            .advice("is it in PATH, and does it work by hand?")
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        let host = if registry == "docker.io" { HUB } else { registry };
        // A helper that does not read its input is no reason to fail: what it says is.
        let _ = stdin.write_all(host.as_bytes()).await;
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("no answer in {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        // docker-credential-helpers `credentials/error.go`: the text is the only sign.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!(
            "{}: {}",
            output.status,
            said.trim().chars().take(300).collect::<String>()
        )));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("it did not answer with JSON".to_owned()))?;
    Ok(Some(if answer.username == "<token>" {
        Login::Identity(answer.secret)
    } else {
        Login::Password { user: answer.username, password: answer.secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_lead_nowhere_else() {
        for name in ["", "../x", "a/b", "a b", "a;b", "$(x)"] {
            let error = get(name, "quay.io").await.expect_err(name);
            assert_eq!(error.kind(), Kind::Usage, "{name}");
        }
        let error = get("that-is-not-installed", "quay.io").await.expect_err("missing");
        assert!(error.to_string().contains("docker-credential-that-is-not-installed"), "{error}");
    }
}
