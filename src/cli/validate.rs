//! `archfan validate`: everything that is wrong with some documents, at once, without a cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::plan::Values;
use crate::api::names::KIND;

/// Check documents, without a cluster
///
/// Checks every MultiArchBuild, CustomRun, Pipeline and PipelineRun as the controller would, and tells every problem with file, line and
/// field. Values that only a run knows are taken to be right.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well; 1 the documents are invalid; 2 wrong usage")]
pub(super) struct Arguments {
    /// File or folder with documents, or - for the standard input (may be repeated)
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    values: Values,
}

/// Tells every problem.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let offline = match arguments.values.load(&arguments.files, true) {
        Ok(offline) => offline,
        Err(why) => return super::fail(&why),
    };
    let cases = offline.cases();
    let mut problems: Vec<String> = Vec::new();
    for case in &cases {
        let Err(found) = offline.plan(case) else { continue };
        for problem in found.iter().filter(|problem| !offline.may_be_none(case, problem)) {
            let told = offline.tell(case, problem);
            // A build that several runs use has its fault once.
            if !problems.contains(&told) {
                problems.push(told);
            }
        }
    }
    if !problems.is_empty() {
        return super::fail_all(&problems);
    }
    let said = match cases.len() {
        0 => format!("nothing to check: no {KIND} is among the documents or used by them\n"),
        1 => format!("valid: 1 {KIND}\n"),
        several => format!("valid: {several} {KIND}s\n"),
    };
    match std::io::stdout().write_all(said.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::fail(&why.to_string()),
    }
}
