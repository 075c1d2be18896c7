//! The scrape over TLS, with a certificate from a mounted Secret that whoever issues it (cert-manager, OpenShift's service CA) renews.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

/// How often the files are looked at. The kubelet itself takes a minute to bring a change of a Secret.
const RELOAD: Duration = Duration::from_secs(30);
/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many may shake hands at once.
const HANDSHAKES: usize = 32;

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    dir: PathBuf,
    current: RwLock<(Vec<u8>, Arc<CertifiedKey>)>,
}

impl Certificate {
    /// Reads `tls.crt` and `tls.key` in a folder, as a Secret of type `kubernetes.io/tls` is mounted.
    ///
    /// # Errors
    /// Files that cannot be read, or do not belong together.
    pub fn read(dir: &Path) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self { dir: dir.to_owned(), current: RwLock::new(load(dir)?) }))
    }

    /// Looks at the files again; says whether they have changed.
    ///
    /// # Errors
    /// As [`Certificate::read`]; the certificate that was there stays in use.
    pub fn reload(&self) -> Result<bool, String> {
        let (bytes, key) = load(&self.dir)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.0 != bytes;
        if changed {
            *current = (bytes, key);
        }
        Ok(changed)
    }

    /// Keeps up with the files, for ever.
    pub async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RELOAD).await;
            match self.reload() {
                Ok(true) => info!(dir = %self.dir.display(), "the certificate for scrapes was renewed"),
                Ok(false) => {}
                Err(why) => {
                    warn!(%why, "the certificate for scrapes cannot be read; the old one stays in use");
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

fn load(dir: &Path) -> Result<(Vec<u8>, Arc<CertifiedKey>), String> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (certificate, key) = (read("tls.crt")?, read("tls.key")?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|error| format!("{}/tls.crt: {error}", dir.display()))?;
    let private =
        PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("{}/tls.key: {error}", dir.display()))?;
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(([certificate, key].concat(), Arc::new(certified)))
}

/// A listener whose connections have shaken hands.
#[derive(Debug)]
pub struct Secured {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Secured {
    /// Listens on `listener` with `certificate`. Clients shake hands side by side: a slow one holds up nobody.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(listener: TcpListener, certificate: Arc<Certificate>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (sender, connections) = mpsc::channel(HANDSHAKES);
        tokio::spawn(shake_hands(listener, TlsAcceptor::from(Arc::new(config)), sender));
        Ok(Self { address, connections })
    }
}

async fn shake_hands(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    while !sender.is_closed() {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = Listener::accept(&mut listener).await;
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(sender.send((stream, address)).await),
                Ok(Err(error)) => debug!(%address, %error, "a scrape's TLS handshake failed"),
                Err(_) => debug!(%address, "a scrape's TLS handshake took too long"),
            }
        });
    }
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The task above lives as long as this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
