//! Files with logins: docker's `config.json`, a Secret's `.dockerconfigjson`, podman's `auth.json` and the old `.dockercfg`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::Login;
use crate::index::reference::Repository;

/// The largest file that is read; a Secret holds 1 MiB at most.
const LARGEST: u64 = 4 << 20;

/// A file with logins, read.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    logins: Logins,
}

/// What such a file says.
#[derive(Debug, Default)]
struct Logins {
    /// By registry, or registry and path. The empty key is the helper for whatever has no entry.
    entries: Vec<(String, Entry)>,
}

/// What one entry leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The login itself.
    Login(Login),
    /// The program `docker-credential-NAME`.
    Helper(String),
}

impl AuthFile {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
        if size > LARGEST {
            return Err(format!("{} has {size} bytes; that is no file with logins", path.display()));
        }
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let logins = parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), logins })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The entry for a repository, with its key: the one that matches the most of its path; else the helper for all.
    pub(super) fn find(&self, repository: &Repository) -> Option<(&str, &Entry)> {
        self.logins.find(repository)
    }
}

impl Logins {
    fn find(&self, repository: &Repository) -> Option<(&str, &Entry)> {
        let whole = repository.to_string();
        let mut candidate = whole.as_str();
        loop {
            // A helper for a registry comes before what stands beside it (containers-auth.json(5), "credHelpers").
            let mut found = self.entries.iter().filter(|(key, _)| key == candidate);
            if let Some((key, entry)) = found.next() {
                return Some((key, entry));
            }
            match candidate.rfind('/') {
                Some(slash) => candidate = &candidate[..slash],
                None => break,
            }
        }
        self.entries.iter().find(|(key, _)| key.is_empty()).map(|(_, entry)| ("credsStore", entry))
    }
}

fn parse(bytes: &[u8]) -> Result<Logins, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("no file with logins: {error}"))?;
    let Value::Object(root) = value else { return Err("no file with logins: not a JSON object".to_owned()) };
    let mut logins = Logins::default();
    if let Some(Value::Object(helpers)) = root.get("credHelpers") {
        for (key, helper) in helpers {
            if let Some(name) = helper.as_str().filter(|name| !name.is_empty()) {
                logins.entries.push((normalize(key), Entry::Helper(name.to_owned())));
            }
        }
    }
    // `.dockercfg` is what stands below `auths` of the others.
    let newer = ["auths", "credHelpers", "credsStore"].iter().any(|field| root.contains_key(*field));
    let auths = match root.get("auths") {
        Some(Value::Object(auths)) => Some(auths),
        _ if newer => None,
        _ => Some(&root),
    };
    for (key, entry) in auths.into_iter().flatten() {
        let Value::Object(entry) = entry else { continue };
        if let Some(login) = login(entry).map_err(|error| format!("the entry {key:?}: {error}"))? {
            logins.entries.push((normalize(key), Entry::Login(login)));
        }
    }
    if let Some(store) = root.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        logins.entries.push((String::new(), Entry::Helper(store.to_owned())));
    }
    Ok(logins)
}

fn login(entry: &Map<String, Value>) -> Result<Option<Login>, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Login::Token(token.to_owned())));
    }
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Login::Identity(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        let auth = auth.trim();
        let bytes = STANDARD
            .decode(auth)
            .or_else(|_| STANDARD_NO_PAD.decode(auth))
            .map_err(|_| "auth is not base64".to_owned())?;
        let plain = String::from_utf8(bytes).map_err(|_| "auth is not base64 of a text".to_owned())?;
        // docker pads passwords of old with zero bytes.
        let plain = plain.trim_end_matches('\0');
        let (user, password) =
            plain.split_once(':').ok_or_else(|| "auth is not base64 of name:password".to_owned())?;
        return Ok(Some(Login::Password { user: user.to_owned(), password: password.to_owned() }));
    }
    match (text("username"), text("password")) {
        (Some(user), Some(password)) => {
            Ok(Some(Login::Password { user: user.to_owned(), password: password.to_owned() }))
        }
        // With `credsStore`, docker leaves empty entries behind.
        _ => Ok(None),
    }
}

/// Keys are written as `quay.io`, `quay.io/team`, `https://quay.io`, `https://index.docker.io/v1/`. A key with a scheme stands for
/// the host alone, as docker writes it.
fn normalize(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => {
            key.strip_suffix("/v1/").or_else(|| key.strip_suffix("/v2/")).unwrap_or(key).trim_end_matches('/')
        }
    };
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    };
    path.map_or(host.clone(), |path| format!("{host}/{path}"))
}

/// Reads a file and looks for a repository in it, as [`crate::fuzz`] wants it.
#[cfg(any(test, fuzzing))]
pub(super) fn find_in(bytes: &[u8], repository: &Repository) {
    match parse(bytes) {
        Ok(logins) => {
            // What is found bears the name of the repository's registry, or is the store for all.
            if let Some((key, _)) = logins.find(repository) {
                assert!(!key.is_empty(), "{repository}");
            }
        }
        Err(words) => assert!(!words.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::reference::Reference;

    fn found(text: &str, image: &str) -> Option<(String, Entry)> {
        let repository = Reference::parse(image).unwrap().repository;
        let mut logins = parse(text.as_bytes()).unwrap();
        let key = logins.find(&repository)?.0.to_owned();
        let place =
            logins.entries.iter().position(|(k, _)| *k == key || (key == "credsStore" && k.is_empty()))?;
        Some((key, logins.entries.swap_remove(place).1))
    }

    fn password(user: &str, password: &str) -> Entry {
        Entry::Login(Login::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn the_longest_path_wins() {
        let text = r#"{"auths":{
            "quay.io":{"auth":"YTox"},
            "quay.io/team":{"auth":"Yjoy"},
            "quay.io/team/app":{"username":"c","password":"3"},
            "quay.io/tea":{"auth":"!"}
        }}"#
        .replace(r#""quay.io/tea":{"auth":"!"}"#, r#""quay.io/tea":{}"#);
        for (image, key, entry) in [
            ("quay.io/team/app", "quay.io/team/app", password("c", "3")),
            ("quay.io/team/app/deep", "quay.io/team/app", password("c", "3")),
            ("quay.io/team/application", "quay.io/team", password("b", "2")),
            ("quay.io/tea/x", "quay.io", password("a", "1")),
        ] {
            assert_eq!(found(&text, image), Some((key.to_owned(), entry)), "{image}");
        }
        assert_eq!(found(&text, "ghcr.io/team/app"), None);
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"YTox"}}}}}}"#);
            assert_eq!(found(&text, "team/app").map(|(_, entry)| entry), Some(password("a", "1")), "{key}");
        }
    }

    #[test]
    fn helpers_stand_beside_and_behind_entries() {
        let text = r#"{"auths":{"a.example":{},"b.example":{"identitytoken":"t"},"c.example":{"auth":"YTox"}},
            "credHelpers":{"c.example":"ecr-login"},"credsStore":"pass"}"#;
        assert_eq!(
            found(text, "a.example/x"),
            Some(("credsStore".to_owned(), Entry::Helper("pass".to_owned())))
        );
        assert_eq!(
            found(text, "b.example/x").map(|(_, entry)| entry),
            Some(Entry::Login(Login::Identity("t".to_owned())))
        );
        assert_eq!(
            found(text, "c.example/x").map(|(_, entry)| entry),
            Some(Entry::Helper("ecr-login".to_owned()))
        );
    }

    #[test]
    fn the_old_form_is_read() {
        let text = r#"{"https://quay.io":{"auth":"YTox","email":"x"},"quay.example:5000":{"auth":"Yjoy"}}"#;
        assert_eq!(found(text, "quay.io/x/y").map(|(_, entry)| entry), Some(password("a", "1")));
        assert_eq!(found(text, "quay.example:5000/y").map(|(_, entry)| entry), Some(password("b", "2")));
    }

    #[test]
    fn what_is_damaged_is_named() {
        for (text, part) in [
            ("", "no file with logins"),
            ("[]", "not a JSON object"),
            (r#"{"auths":{"quay.io":{"auth":"%"}}}"#, "quay.io"),
            (r#"{"auths":{"quay.io":{"auth":"YQ=="}}}"#, "name:password"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(found("{}", "quay.io/x"), None);
        assert_eq!(found(r#"{"auths":null}"#, "quay.io/x"), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse(text.as_bytes());
            let _ = normalize(&text);
        }
    }
}
