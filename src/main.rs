//! The `archfan` command.

use std::process::ExitCode;

/// What the program was made from. This file alone knows it, so that nothing else is compiled again for another revision.
const REVISION: &str = match option_env!("ARCHFAN_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

fn main() -> ExitCode {
    // Before anything else can speak TLS: with two providers in one process, the first to be asked for would win.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    archfan::cli::run(std::env::args_os(), REVISION)
}
