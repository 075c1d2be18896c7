//! `archfan crd`: the CustomResourceDefinition, as generated from the types.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kube::CustomResourceExt as _;

use crate::api::multiarchbuild::MultiArchBuild;

/// Print the CustomResourceDefinition of MultiArchBuild
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// YAML
    #[default]
    Yaml,
    /// JSON, in one line
    Json,
}

/// Prints the CRD on the standard output.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let text = match arguments.output {
        Output::Yaml => yaml(),
        Output::Json => json(),
    };
    let written = text.map(|text| std::io::stdout().write_all(text.as_bytes()));
    if let Ok(Ok(())) = written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The CRD as YAML.
fn yaml() -> Result<String, String> {
    let crd = serde_json::to_value(MultiArchBuild::crd()).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&crd).map_err(|error| error.to_string())
}

/// The CRD as JSON.
fn json() -> Result<String, String> {
    let crd = serde_json::to_string(&MultiArchBuild::crd()).map_err(|error| error.to_string())?;
    Ok(format!("{crd}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both charts and the kustomization install what the types say.
    #[test]
    fn the_installed_definition_is_the_generated_one() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (path, wanted) in [
            ("charts/archfan-crds/files/multiarchbuilds.yaml", yaml().unwrap()),
            ("charts/archfan/files/multiarchbuilds.json", json().unwrap()),
            ("config/crd/multiarchbuilds.yaml", yaml().unwrap()),
        ] {
            let path = root.join(path);
            if std::env::var_os("ARCHFAN_UPDATE").is_some() {
                std::fs::write(&path, &wanted).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(there == wanted, "{} is not what the types say: run make generate", path.display());
        }
    }
}
