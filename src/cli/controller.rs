//! `archfan controller`: the part that runs in the cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::core::settings::Settings;
use crate::obs::{logging, server};
use crate::shell::cache::Cache;
use crate::shell::controller::{self, Options};
use crate::shell::kube_api::KubeApi;
use crate::shell::reconcile::Context;
use crate::shell::watches::Readiness;

/// Run the controller
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Namespace to look after; may be repeated. All namespaces if left out
    #[arg(long = "namespace", env = "ARCHFAN_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Namespace in which Tekton Pipelines is installed
    #[arg(long, env = "ARCHFAN_TEKTON_NAMESPACE", default_value = "tekton-pipelines")]
    tekton_namespace: String,
    /// File with settings, as YAML
    #[arg(long, env = "ARCHFAN_CONFIG")]
    config: Option<PathBuf>,
    /// Image of the TaskRun that assembles the index, over the one in the settings
    #[arg(long, env = "ARCHFAN_INDEX_IMAGE")]
    index_image: Option<String>,
    /// How many runs are looked at at once
    #[arg(long, env = "ARCHFAN_CONCURRENCY", default_value_t = 64)]
    concurrency: usize,
    /// Address of the probes
    #[arg(long, env = "ARCHFAN_HEALTH_ADDRESS", default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
    /// Seconds that reconciles under way are given to end when the controller is stopped
    #[arg(long, env = "ARCHFAN_GRACE_SECONDS", default_value_t = 20)]
    grace_seconds: u64,
    /// How log lines are written
    #[arg(long, env = "ARCHFAN_LOG_FORMAT", value_enum, default_value_t)]
    log_format: logging::Format,
    /// Level of the log, or directives such as "debug,archfan::core=trace"
    #[arg(long, env = "ARCHFAN_LOG")]
    log: Option<String>,
}

/// Runs the controller until it is told to stop.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    if let Err(why) = logging::start(arguments.log_format, arguments.log.as_deref()) {
        return super::fail(&why);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return super::fail(&format!("cannot start: {why}")),
    };
    match runtime.block_on(controller(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!(%why, "cannot go on");
            ExitCode::FAILURE
        }
    }
}

async fn controller(arguments: Arguments) -> Result<(), String> {
    let mut settings = match &arguments.config {
        Some(path) => super::settings::read(path)?,
        None => Settings::default(),
    };
    if let Some(image) = arguments.index_image.filter(|image| !image.is_empty()) {
        settings.index.image = image;
    }
    info!(version = env!("CARGO_PKG_VERSION"), index_image = %settings.index.image, "archfan starts");
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| format!("no cluster: {error}; run in a pod, or set KUBECONFIG"))?;
    // What failed goes back into the queue; a retry inside the client would hold up its place there.
    config.default_retry = false;
    let client = kube::Client::try_from(config).map_err(|error| format!("no client: {error}"))?;
    let instance = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let context = Context {
        api: KubeApi::new(client.clone(), instance, arguments.tekton_namespace),
        cache: Cache::default(),
        settings: Arc::new(settings),
    };
    let options = Options {
        namespaces: arguments.namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
        concurrency: arguments.concurrency,
        grace: Duration::from_secs(arguments.grace_seconds),
    };
    let readiness = Readiness::new();
    let probes = server::serve(arguments.health_address, readiness.subscribe());
    let working = controller::run(client, context, options, readiness, stopped());
    tokio::select! {
        served = probes => Err(format!("the probes on {} broke off: {served:?}", arguments.health_address)),
        () = working => {
            info!("archfan has stopped");
            Ok(())
        }
    }
}

/// Resolves when the process is asked to stop: by Kubernetes (SIGTERM) or at a terminal (SIGINT).
async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("signals cannot be listened for; the controller ends only when it is killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
