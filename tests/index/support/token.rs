//! A token server (distribution, "Token Authentication Specification"): signs what registries of this run believe.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::pki::pki;
use super::registry::{PASSWORD, USER};

/// What a user of [`USER`] has instead of a password.
pub(crate) const IDENTITY: &str = "a-refresh-token";

/// A running token server. Its thread ends with the process.
pub(crate) struct TokenServer {
    pub(crate) realm: String,
}

impl TokenServer {
    pub(crate) fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls { "https" } else { "http" };
        // By name: crane refuses a token server at a loopback address.
        let realm = format!("{scheme}://localhost:{}/token", listener.local_addr().unwrap().port());
        let config = tls.then(server_config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = config.clone();
                std::thread::spawn(move || match config {
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        answer(rustls::StreamOwned::new(connection, stream));
                    }
                    None => answer(stream),
                });
            }
        });
        Self { realm }
    }
}

fn server_config() -> Arc<rustls::ServerConfig> {
    let certificates = CertificateDer::pem_file_iter(pki().path("server.crt")).unwrap().flatten().collect();
    let key = PrivateKeyDer::from_pem_file(pki().path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Arc::new(
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap(),
    )
}

fn answer(mut stream: impl Read + Write) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let query =
        head.split_whitespace().nth(1).and_then(|path| path.split_once('?')).map_or("", |(_, query)| query);
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let form = form(&head, &mut stream);
    let (status, body) =
        if form.contains(&format!("grant_type=refresh_token&client_id=archfan&refresh_token={IDENTITY}&")) {
            ("200 OK", json!({"access_token": token(&form), "expires_in": 60}).to_string())
        } else if form.is_empty() && head.contains(&expected) {
            ("200 OK", json!({"token": token(query), "expires_in": 60}).to_string())
        } else {
            ("401 Unauthorized", json!({"details": "incorrect username or password"}).to_string())
        };
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.flush();
    // Wait for the other side, so that TLS ends in order.
    let _ = stream.read(&mut byte);
}

/// The form of a POST (distribution, "OAuth2 Token Authentication").
fn form(head: &str, stream: &mut impl Read) -> String {
    if !head.starts_with("POST ") {
        return String::new();
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut form = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut form).unwrap();
    String::from_utf8(form).unwrap()
}

/// A token for just the scopes that are asked for; one that is not asked for is not given.
fn token(query: &str) -> String {
    let access: Vec<_> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .map(|scope| percent_encoding::percent_decode_str(scope).decode_utf8().unwrap().into_owned())
        // A form holds several in one, with spaces between.
        .flat_map(|scopes| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .map(|scope| {
            let (rest, actions) = scope.rsplit_once(':').unwrap();
            let (kind, name) = rest.split_once(':').unwrap();
            json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let certificate = STANDARD.encode(std::fs::read(pki().path("token.der")).unwrap());
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
    let claims = json!({
        "iss": "test-issuer", "sub": USER, "aud": "test-service", "exp": now + 60, "nbf": now - 5, "iat": now,
        "jti": now.to_string(), "access": access,
    });
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let random = SystemRandom::new();
    let key = std::fs::read(pki().path("token.p8")).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let signature = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}
