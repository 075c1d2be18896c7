//! Real registries, one process each.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pki::pki;
use super::token::TokenServer;
use super::{run, tool};

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Debian's docker-registry.
    V2,
    /// CNCF distribution.
    V3,
}

/// How it lets one in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    Basic,
    Token,
}

pub(crate) const USER: &str = "robot";
pub(crate) const PASSWORD: &str = "correct horse";

/// A running registry. It ends with this value.
pub(crate) struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) tls: bool,
    pub(crate) auth: Auth,
    _tokens: Option<TokenServer>,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
pub(crate) fn await_port(address: &str, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{what} does not listen on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Registry {
    /// Starts one.
    pub(crate) fn start(version: Version, tls: bool, auth: Auth) -> Self {
        Self::with_certificate(version, tls, auth, "server")
    }

    /// Starts one with another certificate.
    pub(crate) fn with_certificate(version: Version, tls: bool, auth: Auth, certificate: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
             http:\n  addr: {address}\n  secret: test\n",
            path("data")
        );
        if tls {
            let file = |kind: &str| pki().path(&format!("{certificate}.{kind}"));
            let (certificate, key) = (file("crt"), file("key"));
            let _ =
                writeln!(config, "  tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        }
        let mut tokens = None;
        match auth {
            Auth::None => {}
            Auth::Basic => {
                // The lowest cost: it is paid at every request.
                let line = run("htpasswd", &["-Bbn", "-C", "4", USER, PASSWORD]);
                std::fs::write(path("htpasswd"), line).unwrap();
                let _ = writeln!(config, "auth: {{htpasswd: {{realm: test, path: {}}}}}", path("htpasswd"));
            }
            Auth::Token => {
                let server = TokenServer::start(tls);
                let _ = writeln!(
                    config,
                    "auth: {{token: {{realm: \"{}\", service: test-service, issuer: test-issuer, rootcertbundle: {}}}}}",
                    server.realm,
                    pki().path("token.crt").display()
                );
                tokens = Some(server);
            }
        }
        std::fs::write(path("config.yml"), config).unwrap();
        let program = match version {
            Version::V2 => PathBuf::from("docker-registry"),
            Version::V3 => tool("registry"),
        };
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new(&program)
            .args(["serve", &path("config.yml")])
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap_or_else(|error| panic!("{} is needed by this test: {error}", program.display()));
        await_port(&address, "the registry");
        Self { child, dir, address, tls, auth, _tokens: tokens }
    }

    /// A registry without TLS or login, for tests of something else.
    pub(crate) fn plain(version: Version) -> Self {
        Self::start(version, false, Auth::None)
    }

    /// A name in it.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// A file with logins for it.
    pub(crate) fn login(&self, user: &str, password: &str) -> String {
        let path = self.dir.path().join(format!("config-{user}.json"));
        let auth = STANDARD.encode(format!("{user}:{password}"));
        std::fs::write(&path, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.address)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The arguments by which archfan gets in.
    pub(crate) fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.tls {
            args.extend(["--ca".to_owned(), pki().authority()]);
        } else {
            args.push("--insecure".to_owned());
        }
        if self.auth != Auth::None {
            args.extend(["--authfile".to_owned(), self.login(USER, PASSWORD)]);
        }
        args
    }

    /// A manifest as it is, read by skopeo.
    #[track_caller]
    pub(crate) fn raw(&self, name: &str) -> String {
        let mut args = vec!["inspect".to_owned(), "--raw".to_owned()];
        args.extend(self.skopeo_args(""));
        args.push(format!("docker://{}", self.name(name)));
        run("skopeo", &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Copies all of an index to a folder by skopeo, which checks every digest.
    #[track_caller]
    pub(crate) fn pull_all(&self, name: &str) {
        let target = tempfile::tempdir().unwrap();
        let mut args = vec!["copy".to_owned(), "--all".to_owned(), "-q".to_owned()];
        args.extend(self.skopeo_args("src-"));
        args.push(format!("docker://{}", self.name(name)));
        args.push(format!("dir:{}", target.path().display()));
        run("skopeo", &args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn skopeo_args(&self, prefix: &str) -> Vec<String> {
        let mut args = if self.tls {
            vec![format!("--{prefix}cert-dir={}", super::pki::folder().display())]
        } else {
            vec![format!("--{prefix}tls-verify=false")]
        };
        if self.auth != Auth::None {
            args.push(format!("--{prefix}creds={USER}:{PASSWORD}"));
        }
        args
    }

    /// What crane says of an image: every layer is read, and its digests are computed.
    #[track_caller]
    pub(crate) fn crane(&self, args: &[&str]) -> String {
        let config = tempfile::tempdir().unwrap();
        if self.auth != Auth::None {
            std::fs::copy(self.login(USER, PASSWORD), config.path().join("config.json")).unwrap();
        }
        let output = Command::new(tool("crane"))
            .args(args)
            .args((!self.tls).then_some("--insecure"))
            .env("DOCKER_CONFIG", config.path())
            .env("SSL_CERT_FILE", pki().authority())
            .output()
            .unwrap();
        assert!(output.status.success(), "crane {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of a push: how to get in, then the rest.
pub(crate) fn push(registry: &Registry, rest: &[&str]) -> super::Said {
    let mut args = vec!["push".to_owned()];
    args.extend(registry.args());
    args.extend(rest.iter().map(|&text| text.to_owned()));
    super::index(&args.iter().map(String::as_str).collect::<Vec<_>>())
}
