//! `archfan crd`: the CustomResourceDefinition, as generated from the types.

use std::io::Write as _;
use std::process::ExitCode;

use kube::CustomResourceExt as _;

use crate::api::multiarchbuild::MultiArchBuild;

/// Prints the CRD as YAML on the standard output.
pub(super) fn run() -> ExitCode {
    let Ok(yaml) = yaml() else { return ExitCode::FAILURE };
    match std::io::stdout().write_all(yaml.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The CRD as YAML.
fn yaml() -> Result<String, String> {
    let crd = serde_json::to_value(MultiArchBuild::crd()).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&crd).map_err(|error| error.to_string())
}
