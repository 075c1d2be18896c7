//! The command line. One file a command; this one only tells them apart.

mod controller;
mod crd;
mod documents;
#[cfg(any(test, fuzzing))]
mod fuzz;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "clap prints the comments, so brackets in them are brackets"
)]
mod index;
mod offline;
mod plan;
mod settings;
mod smoke;
mod validate;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds a container image on every architecture and makes one image index of it.
#[derive(Debug, Parser)]
#[command(name = "archfan", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Controller(controller::Arguments),
    Plan(plan::Arguments),
    Validate(validate::Arguments),
    Crd(crd::Arguments),
    Smoke(smoke::Arguments),
    /// Assemble, push and inspect image indexes
    #[command(subcommand)]
    Index(index::Command),
}

/// Reads documents, as [`crate::fuzz`] wants it.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(text: &str) {
    fuzz::plan(text);
}

/// Runs the command that `args` ask for; the first of them is the program's name. `revision` is what the program was made from.
pub fn run(args: impl IntoIterator<Item = OsString>, revision: &'static str) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to the standard output and are no failure; clap knows which is which.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match cli.command {
        Command::Controller(arguments) => controller::run(arguments, revision),
        Command::Crd(arguments) => crd::run(&arguments),
        Command::Smoke(arguments) => smoke::run(&arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Validate(arguments) => validate::run(arguments),
        Command::Index(command) => index::run(command),
    }
}

/// Says why a command failed, on the standard error.
fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "archfan: {why}");
    ExitCode::FAILURE
}

/// Tells everything that is wrong, a line each, on the standard error.
fn fail_all(problems: &[String]) -> ExitCode {
    let mut stderr = std::io::stderr();
    for problem in problems {
        let _ = writeln!(stderr, "{problem}");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
