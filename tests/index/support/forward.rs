//! A forward proxy with a login, as companies have one: tunnels by CONNECT (RFC 9110, 9.3.6) and requests with the whole address
//! (RFC 9112, 3.2.2). It alone knows where `registry.test` is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A name that no resolver knows (RFC 6761, 6.2).
pub(crate) const NAME: &str = "registry.test";
const LOGIN: &str = "proxy:open sesame";

/// A running proxy. Its threads end with the process.
pub(crate) struct ForwardProxy {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let lines = Arc::clone(&lines);
                std::thread::spawn(move || serve(client, &lines));
            }
        });
        Self { address, seen }
    }

    /// Its address with the login, as `HTTPS_PROXY` has it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}@{}", LOGIN.replace(' ', "%20"), self.address)
    }

    /// Its address without a login.
    pub(crate) fn url_without_login(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The methods and addresses that it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = head(&mut client)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let login = format!("Proxy-Authorization: Basic {}", STANDARD.encode(LOGIN));
    if !head.lines().any(|line| line.eq_ignore_ascii_case(&login)) {
        return client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    seen.lock().unwrap().push(format!("{method} {target}"));
    if method == "CONNECT" {
        let server = connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        return carry(client, server);
    }
    let rest = target.strip_prefix("http://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut server = connect(host)?;
    write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n")?;
    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !["connection", "proxy-authorization", "proxy-connection"].contains(&name.as_str()) {
            write!(server, "{line}\r\n")?;
        }
    }
    server.write_all(b"\r\n")?;
    carry(client, server)
}

/// Reads a request's head and not a byte more.
fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let port = authority.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(':'));
    TcpStream::connect(format!("127.0.0.1:{}", port.unwrap_or_default()))
}

/// Carries bytes both ways until the server ends.
fn carry(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut server, mut client) = (server, client);
    let copied = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    copied.map(|_| ())
}
