//! Registries and networks that fail, and registries that cannot all that others can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::image::archive;
use super::support::index;
use super::support::proxy::{Action, Head, Proxy};
use super::support::registry::{Registry, Version, push};

/// Does something for the first few requests that are like this, and hands all others on.
fn first(
    times: usize,
    like: impl Fn(&Head) -> bool + Send + 'static,
    mut action: impl FnMut() -> Action + Send + 'static,
) -> impl FnMut(&Head) -> Action + Send + 'static {
    let mut left = times;
    move |head| {
        if left > 0 && like(head) {
            left -= 1;
            action()
        } else {
            Action::Pass
        }
    }
}

fn error(status: &'static str, code: &str) -> Action {
    Action::Reply(status, String::new(), format!(r#"{{"errors":[{{"code":"{code}","message":"test"}}]}}"#))
}

#[test]
fn what_a_registry_asks_to_wait_is_waited() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 1, &[300_000]);
    let proxy = Proxy::start(
        &registry.address,
        first(
            1,
            |head| head.method == "HEAD",
            || Action::Reply("429 Too Many Requests", "Retry-After: 2\r\n".to_owned(), String::new()),
        ),
    );
    let started = Instant::now();
    let said = index(&["push", "--insecure", &proxy.name("app:v1"), &source]);
    said.digest();
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(said.stderr.contains("429 Too Many Requests; trying again in 2.0 s"), "{}", said.stderr);
    // More than anybody wants to wait.
    let proxy = Proxy::start(&registry.address, |head| match head.method.as_str() {
        "PUT" => Action::Reply("429 Too Many Requests", "Retry-After: 9999\r\n".to_owned(), String::new()),
        _ => Action::Pass,
    });
    index(&["push", "--insecure", &proxy.name("app:v1"), &source]).refused(5, &["429", "9999 s", "pushing"]);
}

#[test]
fn every_request_may_fail_once() {
    let registry = Registry::plain(Version::V3);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 2, &[300_000, 900_000]);
    for (n, status) in
        ["500 Internal Server Error", "503 Service Unavailable", "502 Bad Gateway"].iter().enumerate()
    {
        let mut seen = std::collections::HashSet::new();
        let proxy = Proxy::start(&registry.address, move |head| {
            // Once for each method and kind of path.
            let kind = head.path.split('/').filter(|part| part.len() < 20).collect::<String>();
            if head.path != "/v2/" && seen.insert((head.method.clone(), kind)) {
                error(status, "UNKNOWN")
            } else {
                Action::Pass
            }
        });
        let name = format!("app{n}:v1");
        let said = index(&["push", "--insecure", &proxy.name(&name), &source]);
        said.digest();
        assert!(said.stderr.contains(status), "{}", said.stderr);
        registry.pull_all(&name);
    }
}

#[test]
fn connections_may_break_in_the_middle() {
    for version in [Version::V2, Version::V3] {
        let registry = Registry::plain(version);
        let dir = tempfile::tempdir().unwrap();
        let (image, source) = archive(dir.path(), "linux/amd64", 3, &[3_000_000]);
        let proxy = Proxy::start(&registry.address, first(2, Head::is_upload, || Action::Cut(1_000_000)));
        let said = index(&["push", "--insecure", &proxy.name("app:v1"), &source]);
        said.digest();
        assert!(said.stderr.contains("trying again"), "{}", said.stderr);
        // Some more if the registry is slow to notice that the ones before broke off.
        let uploads = proxy.count(Head::is_upload);
        assert!((3..=5).contains(&uploads), "two were broken off, {uploads} were begun:\n{}", said.stderr);
        registry.pull_all("app:v1");
        // A compressed archive cannot be read again from its middle: it is read again from its start.
        let path = source.split_once("oci-archive:").unwrap().1;
        let packed = format!("{path}.gz");
        std::fs::write(&packed, super::support::image::compress(&std::fs::read(path).unwrap())).unwrap();
        let proxy = Proxy::start(&registry.address, first(1, Head::is_upload, || Action::Cut(1_000_000)));
        let said =
            index(&["push", "--insecure", &proxy.name("packed:v1"), &format!("amd64=oci-archive:{packed}")]);
        said.digest();
        assert!(said.stderr.contains("reading the archive again"), "{}", said.stderr);
        registry.pull_all("packed:v1");
        // Reading from a registry is taken up where it broke, by a range.
        let proxy = Proxy::start(
            &registry.address,
            first(
                usize::MAX,
                |head| {
                    head.method == "GET"
                        && head.path.contains("/blobs/sha256:")
                        && head.header("range").is_none()
                },
                || Action::CutAnswer(1_200_000),
            ),
        );
        let remote = format!("amd64=docker://{}@{}", proxy.name("app"), image.digest());
        let other = Registry::plain(version);
        let said = index(&["push", "--insecure", &other.name("copy:v1"), &remote]);
        said.digest();
        other.pull_all("copy:v1");
        let ranges = proxy.count(|head| head.header("range").is_some());
        assert!(ranges >= 1, "{}", said.stderr);
    }
}

/// A registry that keeps what came of a broken upload, and says how much: distribution does not, so the proxy plays it, holding
/// what it got and sending all of it on at the end.
#[test]
fn a_broken_upload_goes_on_where_it_broke() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 4, &[2_000_000]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let proxy = Proxy::start(&registry.address, move |head| {
        let range = head.header("content-range").map(str::to_owned);
        match (head.method.as_str(), range) {
            // Nothing reaches the registry, and yet half is said to be there.
            ("PATCH", None) => Action::Reply("503 Service Unavailable", String::new(), String::new()),
            ("GET", _) if head.path.contains("/blobs/uploads/") => {
                counter.fetch_add(1, Ordering::Relaxed);
                let location = format!("Location: {}\r\nRange: 0-999999\r\n", head.path);
                Action::Reply("204 No Content", location, String::new())
            }
            ("PATCH", Some(range)) => {
                assert!(range.starts_with("1000000-"), "{range}");
                Action::Reply("400 Bad Request", String::new(), "the second half came".to_owned())
            }
            _ => Action::Pass,
        }
    });
    index(&["push", "--insecure", &proxy.name("app:v1"), &source])
        .refused(1, &["the second half came", "uploading the blob"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn registries_without_mounts_get_copies() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (image, source) = archive(dir.path(), "linux/amd64", 5, &[400_000]);
    let first = push(&registry, &[&registry.name("app:v1"), &source]).digest();
    let answers: [fn(&Head) -> Action; 2] = [
        // It begins an upload instead, as the specification has it.
        |head| Action::Rewrite(head.path.split('?').next().unwrap().to_owned()),
        // It does not know the parameters.
        |_| error("405 Method Not Allowed", "UNSUPPORTED"),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let proxy = Proxy::start(&registry.address, move |head| {
            if head.path.contains("mount=") { answer(head) } else { Action::Pass }
        });
        let name = format!("other{n}:v1");
        let remote = format!("amd64=docker://{}@{}", proxy.name("app"), image.digest());
        let said = index(&["push", "--insecure", &proxy.name(&name), &remote]);
        assert_eq!(said.digest(), first);
        assert_eq!(said.stderr.matches("sent in").count(), 2, "{}", said.stderr);
        registry.pull_all(&name);
    }
}

#[test]
fn registries_without_indexes_are_told_apart_from_mistakes() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = archive(dir.path(), "linux/amd64", 6, &[10]);
    for (status, code) in
        [("404 Not Found", "MANIFEST_UNKNOWN"), ("415 Unsupported Media Type", "MANIFEST_INVALID")]
    {
        let proxy = Proxy::start(&registry.address, move |head| {
            let is_index = head.header("content-type").is_some_and(|kind| kind.contains("image.index"));
            if head.method == "PUT" && is_index { error(status, code) } else { Action::Pass }
        });
        index(&["push", "--insecure", &proxy.name("app:v1"), &source]).refused(
            1,
            &["pushing the index as v1", code, "seems not to take OCI image indexes", "--format docker"],
        );
    }
}

#[test]
fn logins_are_not_shown_where_a_blob_is_led_to() {
    let registry = Registry::start(Version::V2, false, super::support::registry::Auth::Basic);
    let dir = tempfile::tempdir().unwrap();
    let (image, source) = archive(dir.path(), "linux/amd64", 7, &[400_000]);
    push(&registry, &[&registry.name("app:v1"), &source]).digest();
    // An object store that knows no login, and fails if it is shown one.
    let blobs: Vec<Vec<u8>> = vec![image.layers[0].clone(), image.config.clone()];
    let store = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = store.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut client in store.incoming().flatten() {
            let mut head = [0; 4096];
            let length = client.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            let blob = blobs.iter().find(|blob| head.contains(&super::support::image::digest(blob)));
            let answer = match blob {
                Some(blob) if !head.contains("authorization") => blob.clone(),
                _ => Vec::new(),
            };
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = client.write_all(&answer);
        }
    });
    let proxy = Proxy::start(&registry.address, move |head| {
        if head.method == "GET" && head.path.contains("/blobs/sha256:") {
            let digest = head.path.rsplit('/').next().unwrap();
            let location = format!("Location: http://{address}/{digest}\r\n");
            return Action::Reply("307 Temporary Redirect", location, String::new());
        }
        Action::Pass
    });
    let login = dir.path().join("auth.json");
    let text = std::fs::read_to_string(registry.login("robot", super::support::registry::PASSWORD)).unwrap();
    std::fs::write(&login, text.replace(&registry.address, &proxy.address)).unwrap();
    let other = Registry::plain(Version::V3);
    let remote = format!("amd64=docker://{}@{}", proxy.name("app"), image.digest());
    index(&["push", "--insecure", "--authfile", login.to_str().unwrap(), &other.name("copy:v1"), &remote])
        .digest();
    other.pull_all("copy:v1");
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let registry = Registry::plain(Version::V2);
    let dir = tempfile::tempdir().unwrap();
    let (image, source) = archive(dir.path(), "linux/amd64", 8, &[10]);
    push(&registry, &[&registry.name("app:v1"), &source]).digest();
    let proxy = Proxy::start(&registry.address, |head| match head.method.as_str() {
        "GET" if head.path.contains("/manifests/") => {
            Action::Reply("200 OK", String::new(), r#"{"schemaVersion":2}"#.to_owned())
        }
        _ => Action::Pass,
    });
    let remote = format!("amd64=docker://{}@{}", proxy.name("app"), image.digest());
    index(&["push", "--insecure", &proxy.name("app:v2"), &remote])
        .refused(4, &["the registry gave other bytes", &image.digest()]);
}
