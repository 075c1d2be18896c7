//! `archfan index`: image indexes, without a cluster.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::index::inspect;
use crate::index::media::Format;
use crate::index::progress::Progress;
use crate::index::push::{self, Connection, Request};
use crate::index::reference::{self, Reference};
use crate::index::results::USUAL_LIMIT;
use crate::index::source::Wanted;
use crate::index::{Error, Kind};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Push one image index that names an image of each platform
    ///
    /// Each image is read at its SOURCE and must be for its PLATFORM. What the target lacks is brought there, blob by blob; the tags
    /// move last. The digest of the index is printed alone on the last line of the standard output.
    ///
    /// SOURCE is docker://REF[@DIGEST], oci-archive:PATH, oci:PATH, docker-archive:PATH, or archive:PATH for any of the last three.
    /// Archives may be plain, gzip or zstd; they are told by content.
    #[command(after_help = EXIT_CODES)]
    Push(PushArgs),
    /// Show what an index names
    #[command(after_help = EXIT_CODES)]
    Inspect(InspectArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 a registry refused the login or wants one; \
4 a source is not what was asked for (another platform, damaged, missing); 5 a registry cannot be reached or kept failing, \
trying again may help";

#[derive(Debug, Args)]
pub(super) struct ConnectionArgs {
    /// File or folder with logins (config.json, .dockerconfigjson, auth.json). Default: REGISTRY_AUTH_FILE, DOCKER_CONFIG, then the
    /// usual files of podman, docker and Tekton
    #[arg(long, value_name = "PATH")]
    authfile: Option<PathBuf>,

    /// PEM file, or folder of such files, with certificate authorities to trust besides the system's (may be repeated).
    /// SSL_CERT_FILE and SSL_CERT_DIR replace the system's
    #[arg(long, value_name = "PATH")]
    ca: Vec<PathBuf>,

    /// Take any certificate, and speak plain HTTP with registries that have no TLS
    #[arg(long)]
    insecure: bool,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// The index: registry/repository:tag or registry/repository@digest
    #[arg(value_name = "REF")]
    target: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// Further tag for the index (may be repeated)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Annotation of the index (may be repeated)
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,

    /// OCI image index, or Docker manifest list. Default: oci, unless all images are Docker's
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// How many blobs move at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,

    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Write IMAGE_URL, IMAGE_DIGEST, IMAGE_REF, IMAGES, BYTES_PUSHED and BYTES_SKIPPED as files into this folder, as Tekton's results
    #[arg(long, value_name = "DIR")]
    results_dir: Option<PathBuf>,

    /// How many bytes of a TaskRun's results these may take together; IMAGES is shortened from its end
    #[arg(long, value_name = "BYTES", default_value_t = USUAL_LIMIT)]
    results_limit: usize,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Where the index goes: registry/repository:tag
    #[arg(value_name = "REF")]
    target: String,

    /// An image and its platform: linux/arm64=docker://REF@DIGEST
    #[arg(value_name = "PLATFORM=SOURCE", required = true)]
    sources: Vec<String>,
}

impl ConnectionArgs {
    fn connection(self) -> Connection {
        Connection { authfile: self.authfile, authorities: self.ca, insecure: self.insecure }
    }
}

impl PushArgs {
    /// Checks what can be checked without a registry.
    fn request(self) -> Result<Request, String> {
        let target = Reference::parse(&self.target)?;
        if target.digest.is_some() {
            return Err(format!(
                "{target} names a digest; an index is pushed to a tag, and its digest is what comes of it"
            ));
        }
        // With tags of its own kind, an image without a tag does not mean `latest`: nobody said so.
        let mut tags: Vec<String> = target.tag.clone().into_iter().collect();
        for tag in self.tags {
            reference::check_tag(&tag)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        if tags.is_empty() {
            tags.push("latest".to_owned());
        }
        let mut annotations = BTreeMap::new();
        for annotation in self.annotations {
            match annotation.split_once('=') {
                Some((key, value)) if !key.is_empty() => annotations.insert(key.to_owned(), value.to_owned()),
                _ => return Err(format!("--annotation {annotation:?} is not KEY=VALUE")),
            };
        }
        let wanted = self.sources.iter().map(|text| Wanted::parse(text)).collect::<Result<Vec<_>, _>>()?;
        for (place, one) in wanted.iter().enumerate() {
            if wanted[..place].iter().any(|other| other.platform == one.platform) {
                return Err(format!(
                    "{} is given twice; an index has one image of each platform",
                    one.platform
                ));
            }
        }
        Ok(Request {
            target,
            tags,
            annotations,
            format: self.format,
            wanted,
            connection: self.connection.connection(),
            jobs: usize::from(self.jobs),
            dry_run: self.dry_run,
            results: self.results_dir.map(|dir| (dir, self.results_limit)),
        })
    }
}

/// Runs one of the commands.
pub(super) fn run(command: Command) -> ExitCode {
    let progress = Progress::to_stderr();
    let outcome = with_runtime(command, &progress).and_then(|output| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{output}")
            .and_then(|()| stdout.flush())
            .map_err(|error| Error::new(Kind::Failed, format!("the standard output: {error}")))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.say(&format!("archfan: {error}"));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn with_runtime(command: Command, progress: &Progress) -> Result<String, Error> {
    log_to_stderr();
    // Two threads are enough to encrypt and to send; reading and hashing have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Failed, format!("no threads to work with: {error}")))?;
    let output = match command {
        Command::Push(args) => {
            let request = args.request().map_err(|error| Error::new(Kind::Usage, error))?;
            runtime.block_on(push::push(&request, progress))
        }
        Command::Inspect(args) => {
            let target = Reference::parse(&args.target).map_err(|error| Error::new(Kind::Usage, error))?;
            let connection = args.connection.connection();
            let report = runtime.block_on(inspect::inspect(&target, &connection, progress));
            report.and_then(|report| match args.output {
                Output::Table => Ok(report.table()),
                Output::Json => report.json(),
            })
        }
    };
    // A reader that hangs on a dead network file system must not keep a failed push from ending.
    runtime.shutdown_background();
    output
}

/// `RUST_LOG=archfan=debug` shows every request.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(subcommand)]
        command: Command,
    }

    fn request(args: &str) -> Result<Request, String> {
        let args = ["index", "push"].into_iter().chain(args.split_whitespace());
        match Whole::try_parse_from(args).map_err(|error| error.to_string())?.command {
            Command::Push(args) => args.request(),
            Command::Inspect(_) => Err("inspect".to_owned()),
        }
    }

    #[test]
    fn tags_come_from_the_reference_and_the_flags() {
        for (args, tags) in [
            ("quay.io/a/b:v1 amd64=docker://quay.io/a/b@X", &["v1"][..]),
            ("--tag v2 --tag v1 quay.io/a/b:v1 amd64=docker://quay.io/a/b@X", &["v1", "v2"]),
            ("--tag v2 quay.io/a/b amd64=docker://quay.io/a/b@X", &["v2"]),
            ("quay.io/a/b amd64=docker://quay.io/a/b@X", &["latest"]),
        ] {
            let digest = format!("sha256:{}", "0".repeat(64));
            assert_eq!(request(&args.replace('X', &digest)).unwrap().tags, tags, "{args}");
        }
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_asked() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (args, part) in [
            ("quay.io/a/b:v1", "PLATFORM=SOURCE"),
            ("quay.io/a/b@D amd64=oci:x", "names a digest"),
            ("quay.io/a/b amd64=oci:x x86_64=oci:y", "linux/amd64 is given twice"),
            ("--annotation x quay.io/a/b amd64=oci:x", "is not KEY=VALUE"),
            ("--tag a/b quay.io/a/b amd64=oci:x", "is no tag"),
            ("--format tar quay.io/a/b amd64=oci:x", "possible values: oci, docker"),
            ("--jobs 0 quay.io/a/b amd64=oci:x", "--jobs"),
            ("quay.io/A/b amd64=oci:x", "small letters"),
        ] {
            let error = request(&args.replace('D', &digest)).err().unwrap_or_default();
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
