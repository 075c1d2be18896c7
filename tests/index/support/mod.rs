//! What the tests stand on: registries, logins, images, and archfan itself.

pub(crate) mod forward;
pub(crate) mod image;
pub(crate) mod pki;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod token;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What archfan said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The digest that was printed last, alone on its line.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        assert_eq!(self.code, 0, "archfan failed:\n{}", self.stderr);
        let last = self.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("sha256:") && last.len() == 71, "no digest: {:?}", self.stdout);
        last.to_owned()
    }

    /// That it failed with this code and said all these words.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(self.stdout.is_empty(), "{}", self.stdout);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
    }
}

/// The command, with nothing of the environment that could matter.
pub(crate) fn archfan() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_archfan"));
    for name in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent");
    command
}

/// Runs `archfan index ARGS`.
pub(crate) fn index(args: &[&str]) -> Said {
    said(archfan().arg("index").args(args).output().expect("archfan starts"))
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a program that must succeed, and gives what it printed.
#[track_caller]
pub(crate) fn run(program: impl AsRef<Path>, args: &[&str]) -> String {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{} is needed by this test: {error}", program.display()));
    assert!(
        output.status.success(),
        "{} {args:?}: {}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A program that is built from a pinned Go module.
pub(crate) fn tool(name: &'static str) -> PathBuf {
    static TOOLS: OnceLock<std::sync::Mutex<std::collections::HashMap<&'static str, PathBuf>>> =
        OnceLock::new();
    let mut tools = TOOLS.get_or_init(Default::default).lock().unwrap();
    tools
        .entry(name)
        .or_insert_with(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/tool");
            PathBuf::from(run(script, &[name]).trim())
        })
        .clone()
}
