//! The `archfan` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else can speak TLS: with two providers in one process, the first to be asked for would win.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    archfan::cli::run(std::env::args_os())
}
