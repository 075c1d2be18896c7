//! `archfan controller`: the part that runs in the cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::core::settings::Settings;
use crate::obs::access::Guard;
use crate::obs::api_calls::CountCalls;
use crate::obs::health::Health;
use crate::obs::metrics::Metrics;
use crate::obs::tls::Certificate;
use crate::obs::traces::{self, Exporter, Spans};
use crate::obs::{logging, server};
use crate::shell::cache::Cache;
use crate::shell::controller::{self, Observers, Options};
use crate::shell::gate::Gated;
use crate::shell::kube_api::KubeApi;
use crate::shell::leader::{Elector, Leadership, Timing};
use crate::shell::lease::KubeLease;
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
    #[arg(long, env = "ARCHFAN_CONCURRENCY", default_value_t = 128)]
    concurrency: usize,
    /// Threads that do the work
    #[arg(long, env = "ARCHFAN_THREADS", default_value_t = 2)]
    threads: usize,
    /// Address of the probes
    #[arg(long, env = "ARCHFAN_HEALTH_ADDRESS", default_value = "0.0.0.0:8081")]
    health_address: SocketAddr,
    #[command(flatten)]
    metrics: MetricsArguments,
    #[command(flatten)]
    election: ElectionArguments,
    /// Seconds that reconciles under way are given to end when the controller is stopped
    #[arg(long, env = "ARCHFAN_GRACE_SECONDS", default_value_t = 20)]
    grace_seconds: u64,
    /// How log lines are written
    #[arg(long, env = "ARCHFAN_LOG_FORMAT", value_enum, default_value_t)]
    log_format: logging::Format,
    /// Level of the log, or directives such as "debug,archfan::core=trace"
    #[arg(long, env = "ARCHFAN_LOG")]
    log: Option<String>,
    /// File that says the same and is followed while the controller runs
    #[arg(long, env = "ARCHFAN_LOG_FILE")]
    log_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct MetricsArguments {
    /// Address of the metrics
    #[arg(id = "metrics-address", long, env = "ARCHFAN_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    address: SocketAddr,
    /// Folder with tls.crt and tls.key; with it, metrics are served over TLS
    #[arg(id = "metrics-tls", long, env = "ARCHFAN_METRICS_TLS")]
    tls: Option<PathBuf>,
    /// Who may scrape
    #[arg(id = "metrics-access", long, env = "ARCHFAN_METRICS_ACCESS", value_enum, default_value_t)]
    access: Access,
}

/// Who may scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Everybody who reaches the address
    #[default]
    Everybody,
    /// Bearers of a token that the cluster allows to get /metrics
    Token,
}

#[derive(Debug, Args)]
struct ElectionArguments {
    /// Work only while holding a Lease, so that several replicas can run
    #[arg(long, env = "ARCHFAN_LEADER_ELECT")]
    leader_elect: bool,
    /// Name of the Lease
    #[arg(long, env = "ARCHFAN_LEASE_NAME", default_value = "archfan")]
    lease_name: String,
    /// Namespace of the Lease; that of the pod if left out
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Seconds for which others keep away from a Lease that is not renewed
    #[arg(long, env = "ARCHFAN_LEASE_SECONDS", default_value_t = 15)]
    lease_seconds: u64,
    /// Seconds for which the holder goes on without having renewed
    #[arg(long, env = "ARCHFAN_LEASE_RENEW_SECONDS", default_value_t = 10)]
    lease_renew_seconds: u64,
    /// Seconds between two looks at the Lease
    #[arg(long, env = "ARCHFAN_LEASE_RETRY_SECONDS", default_value_t = 1)]
    lease_retry_seconds: u64,
}

/// How long the collector is given for the last spans when the controller stops.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Runs the controller until it is told to stop.
pub(super) fn run(arguments: Arguments, revision: &'static str) -> ExitCode {
    let level = match logging::start(arguments.log_format, arguments.log.as_deref()) {
        Ok(level) => level,
        Err(why) => return super::fail(&why),
    };
    // As many threads as there is work for, and not as many as the node has processors: each has a stack and a heap of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads.max(1))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(why) => return super::fail(&format!("cannot start: {why}")),
    };
    let done = runtime.block_on(controller(arguments, revision, level));
    // Calls that nobody waits for any more do not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!(%why, "cannot go on");
            ExitCode::FAILURE
        }
    }
}

async fn controller(
    arguments: Arguments,
    revision: &'static str,
    level: logging::Level,
) -> Result<(), String> {
    let mut settings = match &arguments.config {
        Some(path) => read_settings(path)?,
        None => Settings::default(),
    };
    if let Some(image) = arguments.index_image.clone().filter(|image| !image.is_empty()) {
        settings.index.image = image;
    }
    info!(version = env!("CARGO_PKG_VERSION"), revision, index_image = %settings.index.image, "archfan starts");
    let metrics = Metrics::new().map_err(|error| format!("no metrics: {error}"))?;
    let client = client(&metrics).await?;
    let instance = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let elector = elector(&arguments.election, &client, instance.as_deref())?;
    let leadership = elector.as_ref().map_or_else(Leadership::always, Elector::leadership);
    let api = KubeApi::new(client.clone(), instance, arguments.tekton_namespace, metrics.clone());
    let context = Context {
        api: Gated::new(api, leadership.clone()),
        cache: Cache::default(),
        settings: Arc::new(settings),
    };
    let options = Options {
        namespaces: arguments.namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
        concurrency: arguments.concurrency,
        grace: Duration::from_secs(arguments.grace_seconds),
    };
    let (spans, exporter) = traces(&metrics);
    let (health, readiness) = (Health::default(), Readiness::new());
    let observers = Observers { metrics, health, readiness, leadership, spans, revision };
    let probes = server::probes(observers.health.clone(), observers.readiness.subscribe());
    let probes = server::serve(arguments.health_address, probes, None);
    let scrapes = scrapes(&arguments.metrics, &client, observers.metrics.clone())?;
    let log = async {
        match arguments.log_file {
            Some(path) => logging::follow(path, level).await,
            None => std::future::pending().await,
        }
    };
    let working = controller::run(client, context, options, observers, elector, stopped());
    let done = tokio::select! {
        served = probes => served.and(Err("the probes are served no more".to_owned())),
        served = scrapes => served.and(Err("the metrics are served no more".to_owned())),
        () = log => Ok(()),
        done = working => {
            if done.is_ok() {
                info!("archfan has stopped");
            }
            done
        }
    };
    if let Some(exporter) = exporter {
        exporter.flush(LAST_SPANS).await;
    }
    done
}

/// Where traces go: nowhere unless the environment says so. What it says wrongly is told, and keeps nobody from building.
fn traces(metrics: &Arc<Metrics>) -> (Spans, Option<Exporter>) {
    match traces::Settings::from_environment(|name| std::env::var(name).ok()) {
        Ok(None) => (Spans::default(), None),
        Ok(Some(settings)) => {
            let (spans, exporter) = Spans::start(settings, metrics);
            (spans, Some(exporter))
        }
        Err(why) => {
            warn!(%why, "traces are not exported");
            (Spans::default(), None)
        }
    }
}

/// A client whose calls are counted.
async fn client(metrics: &Arc<Metrics>) -> Result<kube::Client, String> {
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| format!("no cluster: {error}; run in a pod, or set KUBECONFIG"))?;
    // What failed goes back into the queue; a retry inside the client would hold up its place there.
    config.default_retry = false;
    let builder =
        kube::client::ClientBuilder::try_from(config).map_err(|error| format!("no client: {error}"))?;
    Ok(builder.with_layer(&CountCalls(metrics.clone())).build())
}

fn elector(
    arguments: &ElectionArguments,
    client: &kube::Client,
    instance: Option<&str>,
) -> Result<Option<Elector<KubeLease>>, String> {
    if !arguments.leader_elect {
        return Ok(None);
    }
    let timing = Timing {
        lease: Duration::from_secs(arguments.lease_seconds),
        renew_deadline: Duration::from_secs(arguments.lease_renew_seconds),
        retry: Duration::from_secs(arguments.lease_retry_seconds),
    };
    timing.check()?;
    // A pod has its name for itself, and a container that is started anew in it may go on where the last one was killed.
    let me = match instance {
        Some(name) => name.to_owned(),
        None => format!("process-{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond()),
    };
    let namespace = arguments.lease_namespace.as_deref().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let lease =
        KubeLease::new(client.clone(), namespace, arguments.lease_name.clone(), timing.renew_deadline / 2);
    Ok(Some(Elector::new(lease, me, timing)))
}

fn scrapes(
    arguments: &MetricsArguments,
    client: &kube::Client,
    metrics: Arc<Metrics>,
) -> Result<impl Future<Output = Result<(), String>> + use<>, String> {
    let guard = match arguments.access {
        Access::Everybody => None,
        Access::Token => Some(Arc::new(Guard::new(client.clone()))),
    };
    let certificate = arguments.tls.as_deref().map(Certificate::read).transpose();
    let certificate = certificate.map_err(|why| format!("no certificate for scrapes: {why}"))?;
    Ok(server::serve(arguments.address, server::metrics(metrics, guard), certificate))
}

fn read_settings(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the settings {} cannot be read: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("the settings {}: {error}", path.display()))
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
