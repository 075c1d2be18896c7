//! `archfan plan`: the TaskRuns that a run would create, without a cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::documents;
use super::offline::Offline;
use crate::api::tekton::{Param, ParamValue};
use crate::core::children::TaskRunBody;
use crate::core::settings::Settings;

/// Show the TaskRuns that a run would create, without a cluster
///
/// Reads MultiArchBuild, CustomRun, Pipeline, PipelineRun, PersistentVolumeClaim, StorageClass and ConfigMap documents (Tekton's
/// feature-flags and config-defaults), and prints what the controller would create for them, in that order. A value that is known only
/// when a task has run stands as its variable.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 done; 1 the documents are invalid; 2 wrong usage")]
pub(super) struct Arguments {
    /// File or folder with documents, or - for the standard input (may be repeated)
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    values: Values,
}

/// What cannot be read from documents.
#[derive(Debug, Args)]
pub(super) struct Values {
    /// Param for a MultiArchBuild that no run among the documents uses: NAME=VALUE; a value that is a JSON list is an array (may be repeated)
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<Param>,

    /// File with the controller's settings
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// Documents
    #[default]
    Yaml,
    /// A List
    Json,
    /// A table
    Wide,
}

/// Prints the TaskRuns, or everything that is wrong.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let offline = match arguments.values.load(&arguments.files, false) {
        Ok(offline) => offline,
        Err(why) => return super::fail(&why),
    };
    let cases = offline.cases();
    if cases.is_empty() {
        return super::fail(
            "nothing to plan: the documents hold no MultiArchBuild, no CustomRun of one, and no Pipeline that uses one",
        );
    }
    let mut children = Vec::new();
    let mut problems = Vec::new();
    for case in &cases {
        match offline.plan(case) {
            Ok(planned) => children.extend(planned),
            Err(found) => problems.extend(found.iter().map(|problem| offline.tell(case, problem))),
        }
    }
    if !problems.is_empty() {
        return super::fail_all(&problems);
    }
    let printed = match arguments.output {
        Output::Yaml => yaml(&children),
        Output::Json => json(&children),
        Output::Wide => Ok(table(&children)),
    };
    match printed.map(|text| std::io::stdout().write_all(text.as_bytes())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => super::fail(&why.to_string()),
        Err(why) => super::fail(&why),
    }
}

impl Values {
    /// Reads the documents and everything else that is wanted.
    pub(super) fn load(self, files: &[PathBuf], guess: bool) -> Result<Offline, String> {
        let settings = match &self.config {
            Some(path) => super::settings::read(path)?,
            None => Settings::default(),
        };
        Ok(Offline {
            documents: documents::load(files)?,
            params: self.params,
            settings: Arc::new(settings),
            guess,
        })
    }
}

fn param(text: &str) -> Result<Param, String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    // A JSON list or object is one; everything else is text, whatever it looks like.
    let value = match serde_json::from_str::<Value>(value) {
        Ok(json @ (Value::Array(_) | Value::Object(_))) => ParamValue::from(json),
        _ => ParamValue::String(value.to_owned()),
    };
    Ok(Param { name: name.to_owned(), value })
}

fn yaml(children: &[TaskRunBody]) -> Result<String, String> {
    let mut text = String::new();
    for child in children {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(child).map_err(|error| error.to_string())?);
    }
    Ok(text)
}

fn json(children: &[TaskRunBody]) -> Result<String, String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": children});
    serde_json::to_string_pretty(&list).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn table(children: &[TaskRunBody]) -> String {
    let mut rows: Vec<[String; 7]> =
        vec![["NAME", "PLATFORM", "TASK", "RUNS ON", "TIMEOUT", "RETRIES", "WORKSPACES"].map(str::to_owned)];
    for child in children {
        let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        let selector = child.spec.pod_template.as_ref().and_then(|template| template.get("nodeSelector"));
        let runs_on = selector.and_then(Value::as_object).map(|labels| {
            let label = |name: &str| labels.get(name).and_then(Value::as_str).unwrap_or("*");
            format!("{}/{}", label("kubernetes.io/os"), label("kubernetes.io/arch"))
        });
        let task = match &child.spec.task_ref {
            Some(reference) => {
                reference.get("name").or_else(|| reference.get("resolver")).and_then(Value::as_str)
            }
            None => Some("(inline)"),
        };
        let workspaces: Vec<&str> =
            child.spec.workspaces.iter().map(|binding| binding.name.as_str()).collect();
        rows.push([
            child.metadata.name.clone(),
            or_dash(
                child.metadata.annotations.get(crate::api::names::annotation::PLATFORM).map(String::as_str),
            ),
            or_dash(task),
            or_dash(runs_on.as_deref()),
            child.spec.timeout.clone(),
            child.spec.retries.to_string(),
            or_dash(Some(&workspaces.join(","))),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}
