//! A proxy before a registry that speaks plain HTTP, which can fail in every way that registries and networks do.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request's head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `PATCH /v2/…/blobs/uploads/…`
    pub(crate) fn is_upload(&self) -> bool {
        self.method == "PATCH"
    }
}

/// What to do with a request.
pub(crate) enum Action {
    /// Hand it on.
    Pass,
    /// Answer it oneself: the status line's end, headers, body.
    Reply(&'static str, String, String),
    /// Hand on so many bytes of its body, and cut both connections.
    Cut(usize),
    /// Hand it on, and cut the answer after so many bytes.
    CutAnswer(usize),
    /// Hand it on under another path.
    Rewrite(String),
}

type Rule = Box<dyn FnMut(&Head) -> Action + Send>;

/// A running proxy. Its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Head>>>,
}

impl Proxy {
    pub(crate) fn start(upstream: &str, rule: impl FnMut(&Head) -> Action + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Head>>> = Arc::default();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let (upstream, heads) = (upstream.to_owned(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, rule, heads) = (upstream.clone(), Arc::clone(&rule), Arc::clone(&heads));
                std::thread::spawn(move || {
                    let _ = serve(client, &upstream, &rule, &heads);
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// How many requests were like this.
    pub(crate) fn count(&self, like: impl Fn(&Head) -> bool) -> usize {
        self.seen.lock().unwrap().iter().filter(|head| like(head)).count()
    }
}

/// One request a connection: simple, and clients must live with it.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    rule: &Mutex<Rule>,
    heads: &Mutex<Vec<Head>>,
) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        text.push(byte[0]);
        if text[0] == 0x16 {
            // The start of TLS, which this does not speak.
            return Ok(());
        }
    }
    let Ok(text) = String::from_utf8(text) else { return Ok(()) };
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let head = Head {
        method: first.next().unwrap_or_default().to_owned(),
        path: first.next().unwrap_or_default().to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    };
    heads.lock().unwrap().push(head.clone());
    let action = (rule.lock().unwrap())(&head);
    let length: usize = head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let (path, body, answer) = match action {
        Action::Reply(status, headers, body) => {
            // What is left of the request is read, so that the answer is not lost by a reset.
            copy(&mut client, &mut std::io::sink(), length)?;
            return write!(
                client,
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{}",
                body.len(),
                if head.method == "HEAD" { "" } else { &body }
            );
        }
        Action::Pass => (head.path.clone(), length, usize::MAX),
        Action::Rewrite(path) => (path, length, usize::MAX),
        Action::Cut(bytes) => (head.path.clone(), bytes, 0),
        Action::CutAnswer(bytes) => (head.path.clone(), length, bytes),
    };
    let mut server = TcpStream::connect(upstream)?;
    let mut request = format!("{} {path} HTTP/1.1\r\n", head.method);
    for (key, value) in head.headers.iter().filter(|(key, _)| !key.eq_ignore_ascii_case("connection")) {
        let _ = write!(request, "{key}: {value}\r\n");
    }
    request.push_str("Connection: close\r\n\r\n");
    server.write_all(request.as_bytes())?;
    copy(&mut client, &mut server, body)?;
    if answer == 0 {
        server.shutdown(Shutdown::Both)?;
        return client.shutdown(Shutdown::Both);
    }
    copy(&mut server, &mut client, answer)?;
    client.shutdown(Shutdown::Both)
}

fn copy(from: &mut impl Read, to: &mut impl Write, limit: usize) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut left = limit;
    while left > 0 {
        let wanted = buffer.len().min(left);
        let length = from.read(&mut buffer[..wanted])?;
        if length == 0 {
            break;
        }
        to.write_all(&buffer[..length])?;
        left -= length;
    }
    to.flush()
}
