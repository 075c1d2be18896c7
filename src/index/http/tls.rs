//! TLS: whom to believe, and what a failed connection means.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::pinned::Pinned;
use super::{SendError, Settings, dial};
use crate::index::error::{Error, Result};

/// The client's side of TLS. Authorities are the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` (several folders, with
/// colons between) name instead, and always those of `--ca`.
pub(super) fn config(settings: &Settings) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::failed(format!("TLS cannot be set up: {error}")))?;
    if settings.insecure {
        let verifier = Arc::new(Unverified(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut given = Vec::new();
    for path in &settings.authorities {
        let found = read(path)?;
        if found.is_empty() {
            return Err(Error::usage(format!("--ca {}: no certificate is there", path.display())));
        }
        given.extend(found);
    }
    let system = rustls_native_certs::load_native_certs();
    given.extend(system.certs);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(given.iter().cloned());
    if roots.is_empty() {
        let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(Error::failed(format!(
            "no certificate authority is known here, so no registry can be trusted ({}); give the authority with --ca, or set \
             SSL_CERT_FILE or SSL_CERT_DIR",
            if why.is_empty() { "the system has none".to_owned() } else { why.join(", ") }
        )));
    }
    let verifier =
        Pinned::new(roots, given).map_err(|error| Error::failed(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Reads the certificates of a PEM file, or of all files in a folder, such as a mounted ConfigMap or Secret.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let broken = |error: &dyn std::fmt::Display| Error::usage(format!("--ca {}: {error}", path.display()));
    if !path.is_dir() {
        let pem = std::fs::read(path).map_err(|error| broken(&error))?;
        return CertificateDer::pem_slice_iter(&pem)
            .map(|certificate| certificate.map_err(|error| broken(&format!("no PEM file: {error:?}"))))
            .collect();
    }
    let mut entries: Vec<_> = std::fs::read_dir(path)
        .map_err(|error| broken(&error))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    // What a Secret holds besides certificates (a key, a login) is no reason to fail.
    let mut certificates = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_file()) {
        let Ok(pem) = std::fs::read(entry) else { continue };
        certificates.extend(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    Ok(certificates)
}

/// Takes every certificate: `--insecure`. Signatures of the handshake are still checked, as they cost nothing to get right.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Says why a request got no answer, and what to do where the reason is known.
pub(super) fn explain(error: &legacy::Error, proxies: &Matcher, uri: &Uri) -> SendError {
    let mut chain: Vec<String> = Vec::new();
    let mut tls = None;
    let mut refused = false;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // Wrappers repeat what they wrap.
        if !chain.iter().any(|known| known.contains(&text)) {
            chain.push(text);
        }
        // An io::Error gives the source of what it holds as its own, and so would hide it.
        let mut held: Option<&(dyn std::error::Error + 'static)> = Some(cause);
        while let Some(inner) = held {
            tls = tls.or_else(|| inner.downcast_ref::<rustls::Error>());
            let io = inner.downcast_ref::<std::io::Error>();
            refused |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
            held = io.and_then(|io| io.get_ref()).map(|inner| inner as &(dyn std::error::Error + 'static));
        }
        next = cause.source();
    }
    if chain.len() > 1 {
        // "client error (Connect)" says nothing that the rest does not.
        chain.remove(0);
    }
    let mut message = chain.join(": ");
    let mut transient = true;
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            transient = false;
            message.push_str(
                "; if the registry has an authority of its own, give it with --ca FILE (or SSL_CERT_FILE, SSL_CERT_DIR)",
            );
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            transient = false;
            message.push_str(
                "; the server does not speak TLS; if plain HTTP is what it should speak, give --insecure",
            );
        }
        _ if refused => message.push_str("; is the address right, and is the registry up?"),
        _ => {}
    }
    if let Some(proxy) = dial::proxy_for(proxies, uri).filter(|_| error.is_connect()) {
        message = format!("through the proxy {}: {message}", proxy.uri());
    }
    SendError { message, transient }
}
