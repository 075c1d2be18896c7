//! `archfan smoke`: one small custom task, run for real, to see whether an installation works. `helm test` runs it.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use crate::api::names::{API_VERSION, KIND};
use crate::api::status::ExtraFields;
use crate::api::tekton::{Condition, CustomRun, CustomRunSpec, CustomRunStatus, EmbeddedSpec};

/// Run a small custom task on several platforms and see whether it works
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Platform to run on; may be repeated
    #[arg(long = "platform", default_values_t = ["linux/amd64".to_owned(), "linux/arm64".to_owned()])]
    platforms: Vec<String>,
    /// Image that is there for every platform
    #[arg(long, env = "ARCHFAN_SMOKE_IMAGE")]
    image: String,
    /// What is run in it, with arguments after it
    #[arg(long, num_args = 1.., allow_hyphen_values = true, default_values_t = ["/archfan".to_owned(), "--version".to_owned()])]
    command: Vec<String>,
    /// Namespace to run in; the current one if left out
    #[arg(long, short)]
    namespace: Option<String>,
    /// Service account of the pods
    #[arg(long)]
    service_account: Option<String>,
    /// Seconds after which it has failed
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Leave the run there, to look at it
    #[arg(long)]
    keep: bool,
}

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After how long a run that nobody has taken up is a sign that no controller is there.
const TAKEN_UP: Duration = Duration::from_secs(30);

/// Runs it and says how it went.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return super::fail(&format!("cannot start: {why}")),
    };
    match runtime.block_on(smoke(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::fail(&why),
    }
}

async fn smoke(arguments: &Arguments) -> Result<(), String> {
    let client = Client::try_default()
        .await
        .map_err(|error| format!("no cluster: {error}; run in a pod, or set KUBECONFIG"))?;
    let namespace = arguments.namespace.as_deref().unwrap_or_else(|| client.default_namespace()).to_owned();
    let api: Api<CustomRun> = Api::namespaced(client, &namespace);
    let made = api
        .create(&PostParams::default(), &run_for(arguments))
        .await
        .map_err(|error| format!("a CustomRun cannot be made in {namespace}: {error}"))?;
    let name = made.name_any();
    say(&format!("CustomRun {namespace}/{name} for {}", arguments.platforms.join(", ")));
    let followed = follow(&api, &name, Duration::from_secs(arguments.timeout)).await;
    if !arguments.keep {
        // Its TaskRuns and pods go with it.
        api.delete(&name, &DeleteParams::background())
            .await
            .map_err(|error| format!("the CustomRun {namespace}/{name} cannot be removed: {error}"))?;
    }
    followed
}

/// The run: one step on each platform.
fn run_for(arguments: &Arguments) -> CustomRun {
    let mut run = CustomRun::new(
        "",
        CustomRunSpec {
            custom_spec: Some(EmbeddedSpec {
                api_version: API_VERSION.to_owned(),
                kind: KIND.to_owned(),
                metadata: None,
                spec: json!({
                    "platforms": arguments.platforms,
                    "taskSpec": {"steps": [{
                        "name": "smoke",
                        "image": arguments.image,
                        "command": arguments.command,
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                    }]},
                }),
            }),
            service_account_name: arguments.service_account.clone().unwrap_or_default(),
            timeout: Some(format!("{}s", arguments.timeout)),
            ..CustomRunSpec::default()
        },
    );
    run.metadata.name = None;
    run.metadata.generate_name = Some("archfan-smoke-".to_owned());
    run
}

/// Looks at the run until it has ended, and says what has changed.
async fn follow(api: &Api<CustomRun>, name: &str, limit: Duration) -> Result<(), String> {
    let begin = Instant::now();
    let mut said = String::new();
    loop {
        let run = api.get(name).await.map_err(|error| format!("the CustomRun cannot be read: {error}"))?;
        let status = run.status.unwrap_or_default();
        let line = line(&status);
        if line != said && !line.is_empty() {
            say(&line);
        }
        said = line;
        match Condition::succeeded(&status.conditions) {
            Some(condition) if condition.status == "True" => {
                say(&format!("succeeded after {} s", begin.elapsed().as_secs()));
                return Ok(());
            }
            Some(condition) if condition.status == "False" => {
                return Err(format!("the run failed: {}: {}", condition.reason, condition.message));
            }
            None if begin.elapsed() > TAKEN_UP => {
                return Err(format!(
                    "nobody has taken up the run within {} s: see whether archfan runs, whether it looks after this namespace, and whether \
                     a replica leads (its log, and the metric archfan_leader)",
                    TAKEN_UP.as_secs()
                ));
            }
            _ => {}
        }
        if begin.elapsed() > limit {
            return Err(format!("the run has not ended within {} s: {said}", limit.as_secs()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What each platform does, in a line.
fn line(status: &CustomRunStatus) -> String {
    let extra: ExtraFields = serde_json::from_value(status.extra_fields.clone()).unwrap_or_default();
    let platforms = extra.platforms.iter().map(|platform| {
        let mut text = format!("{} {}", platform.platform, platform.phase.as_str());
        if !platform.node.is_empty() {
            text.push_str(" on ");
            text.push_str(&platform.node);
        }
        if !platform.message.is_empty() {
            text.push_str(": ");
            text.push_str(&platform.message);
        }
        text
    });
    platforms.collect::<Vec<_>>().join(", ")
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn the_run_is_one_that_the_core_accepts() {
        let cli = Cli::parse_from([
            "smoke",
            "--image",
            "registry/shell",
            "--platform",
            "arm64",
            "--command",
            "sh",
            "-c",
            "true",
        ]);
        let mut run = run_for(&cli.arguments);
        assert!(run.is_ours());
        assert_eq!(
            run.spec.custom_spec.as_ref().unwrap().spec["taskSpec"]["steps"][0]["command"],
            json!(["sh", "-c", "true"])
        );
        run.metadata.name = Some("archfan-smoke-x".to_owned());
        run.metadata.namespace = Some("n".to_owned());
        let observed = crate::core::observed::Observed::alone(
            run,
            std::sync::Arc::default(),
            jiff::Timestamp::UNIX_EPOCH,
        );
        let plan = crate::core::plan::plan(&observed);
        assert_eq!(plan.actions.len(), 1, "{plan:?}");
    }
}
