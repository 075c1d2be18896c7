//! The command line of this checkout.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::cluster::root;

/// The program `archfan`, built from this checkout.
pub async fn archfan() -> &'static PathBuf {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM
        .get_or_init(|| async {
            let mut cargo = Command::new(env!("CARGO"));
            // What cargo tells a test of its package would look like another environment to build scripts, and half of the dependencies
            // would be built anew, now and the next time.
            let told = std::env::vars_os().map(|(name, _)| name);
            for name in told.filter(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of))
            }) {
                cargo.env_remove(name);
            }
            let built = cargo
                // As the tests of `archfan index` have it built, so that nothing is compiled with other features of what all use.
                .args(["test", "--locked", "--workspace", "--test", "index", "--no-run"])
                .args(["--message-format", "json"])
                .current_dir(root())
                .stderr(Stdio::inherit())
                .output()
                .await
                .expect("cargo");
            assert!(built.status.success(), "archfan does not build");
            let text = String::from_utf8_lossy(&built.stdout).into_owned();
            let found = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|message| message["target"]["kind"][0] == "bin")
                .find_map(|message| message["executable"].as_str().map(PathBuf::from));
            found.expect("cargo says where it is")
        })
        .await
}
