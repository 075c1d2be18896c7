//! Logins: finding them as docker, podman, skopeo and Tekton do, and showing them to registries.

pub(super) mod challenge;
mod file;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod helper;

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use self::file::{AuthFile, Entry};
use super::error::{Error, Result};
use super::reference::Repository;

/// How to prove who one is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// Name and password: for the registry itself or for its token server.
    Password {
        /// Whose.
        user: String,
        /// The secret.
        password: String,
    },
    /// A refresh token for the token server (`identitytoken`).
    Identity(String),
    /// A token for the registry itself (`registrytoken`).
    Token(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(..)",
            Self::Identity(_) => "Identity(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

/// A login and where it was found, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The login.
    pub(super) login: Login,
    /// `the entry quay.io/team of /tekton/creds/.docker/config.json`
    pub(super) origin: String,
}

/// A helper and a registry.
type Question = (String, String);

/// The places where logins are kept.
pub(super) struct Keychain {
    files: Vec<AuthFile>,
    /// Credential helpers may be slow: each is asked once per registry.
    asked: Mutex<Vec<(Question, Option<Login>)>>,
}

/// Where the environment says that logins are. Read once, so that tests can give their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// `REGISTRY_AUTH_FILE`
    pub(super) registry_auth_file: Option<PathBuf>,
    /// `DOCKER_CONFIG`
    pub(super) docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`
    pub(super) runtime_dir: Option<PathBuf>,
    /// `HOME`
    pub(super) home: Option<PathBuf>,
}

impl Places {
    /// The process' own environment.
    pub(super) fn from_env() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            docker_config: path("DOCKER_CONFIG"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            home: path("HOME"),
        }
    }

    /// Files that are read if they are there, first come first asked: podman's, docker's, and Tekton's (`creds-init` writes one,
    /// and the entrypoint copies it to the home folder unless the step's user may not).
    fn usual(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        files.extend(self.runtime_dir.iter().map(|dir| dir.join("containers/auth.json")));
        files.extend(self.home.iter().map(|dir| dir.join(".config/containers/auth.json")));
        files.extend(self.home.iter().map(|dir| dir.join(".docker/config.json")));
        files.extend(self.home.iter().map(|dir| dir.join(".dockercfg")));
        files.push(PathBuf::from("/tekton/home/.docker/config.json"));
        files.push(PathBuf::from("/tekton/creds/.docker/config.json"));
        files.push(PathBuf::from("/tekton/creds/.dockercfg"));
        files
    }
}

/// Names under which a folder, such as a workspace with a Secret in it, holds logins.
const NAMES: &[&str] = &["config.json", ".dockerconfigjson", "auth.json", ".dockercfg"];

impl Keychain {
    /// Opens the places. `explicit` is `--authfile`: a file, or a folder that holds one under a usual name.
    ///
    /// Exactly one source that was named explicitly counts (`--authfile`, then `REGISTRY_AUTH_FILE`, then `DOCKER_CONFIG`), and it
    /// must be readable; without any, all the usual files that are there.
    pub(super) fn open(explicit: Option<&Path>, places: &Places) -> Result<Self> {
        let named = explicit
            .map(|path| (path.to_owned(), "--authfile"))
            .or_else(|| places.registry_auth_file.clone().map(|path| (path, "REGISTRY_AUTH_FILE")));
        let mut files = Vec::new();
        if let Some((path, by)) = named {
            let path = if path.is_dir() { inside(&path, by)? } else { path };
            files.push(AuthFile::read(&path).map_err(|error| Error::usage(format!("{by}: {error}")))?);
        } else if let Some(dir) = &places.docker_config {
            // docker itself starts with an empty folder, too.
            if let Some(path) = NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
                files.push(AuthFile::read(&path).map_err(Error::usage)?);
            }
        } else {
            for path in places.usual() {
                match std::fs::metadata(&path) {
                    Ok(found) if found.is_file() => {}
                    _ => continue,
                }
                match AuthFile::read(&path) {
                    Ok(file) => files.push(file),
                    // Tekton's copies belong to the first step's user, mode 0600: another user's step goes on without.
                    Err(error) => tracing::warn!("logins left out: {error}"),
                }
            }
        }
        Ok(Self { files, asked: Mutex::new(Vec::new()) })
    }

    /// The login for a repository: the entry with the longest matching path, as containers-auth.json(5) has it, in the first file
    /// that has any.
    pub(super) async fn find(&self, repository: &Repository) -> Result<Option<Found>> {
        for file in &self.files {
            let Some((key, entry)) = file.find(repository) else { continue };
            let origin = format!("the entry {key} of {}", file.path().display());
            match entry {
                Entry::Login(login) => return Ok(Some(Found { login: login.clone(), origin })),
                Entry::Helper(name) => {
                    let login = self.ask(name, repository).await.map_err(|e| e.before(&origin))?;
                    if let Some(login) = login {
                        let origin = format!("docker-credential-{name}, as {} says", file.path().display());
                        return Ok(Some(Found { login, origin }));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn ask(&self, helper: &str, repository: &Repository) -> Result<Option<Login>> {
        let key = (helper.to_owned(), repository.registry().to_owned());
        let mut asked = self.asked.lock().await;
        if let Some((_, login)) = asked.iter().find(|(known, _)| *known == key) {
            return Ok(login.clone());
        }
        let login = helper::get(helper, repository.registry()).await?;
        asked.push((key, login.clone()));
        Ok(login)
    }

    /// The files that are read, for messages.
    pub(super) fn describe(&self) -> String {
        if self.files.is_empty() {
            return "no file with logins was found (--authfile, REGISTRY_AUTH_FILE, DOCKER_CONFIG or \
                    ~/.docker/config.json)"
                .to_owned();
        }
        let paths: Vec<String> = self.files.iter().map(|file| file.path().display().to_string()).collect();
        format!("{} has no login for it", paths.join(", "))
    }
}

fn inside(dir: &Path, by: &str) -> Result<PathBuf> {
    NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists()).ok_or_else(|| {
        Error::usage(format!("{by}: the folder {} has none of {}", dir.display(), NAMES.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::reference::Reference;

    fn repository(text: &str) -> Repository {
        Reference::parse(text).unwrap().repository
    }

    fn password(found: Option<Found>) -> Option<String> {
        match found?.login {
            Login::Password { password, .. } => Some(password),
            _ => None,
        }
    }

    fn config(password: &str) -> String {
        format!(r#"{{"auths":{{"quay.io":{{"username":"u","password":"{password}"}}}}}}"#)
    }

    #[tokio::test]
    async fn explicit_places_come_first_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let flag = write("flag/.dockerconfigjson", &config("flag"));
        let env = write("env.json", &config("env"));
        write("docker/config.json", &config("docker"));
        write("home/.docker/config.json", &config("home"));
        let mut places = Places {
            registry_auth_file: Some(env),
            docker_config: Some(dir.path().join("docker")),
            home: Some(dir.path().join("home")),
            runtime_dir: None,
        };
        let quay = repository("quay.io/a/b");
        for expected in ["flag", "env", "docker", "home"] {
            let explicit = (expected == "flag").then(|| flag.parent().unwrap());
            let keychain = Keychain::open(explicit, &places).unwrap();
            assert_eq!(password(keychain.find(&quay).await.unwrap()).as_deref(), Some(expected));
            assert_eq!(keychain.find(&repository("ghcr.io/a/b")).await.unwrap(), None);
            match expected {
                "env" => places.registry_auth_file = None,
                "docker" => places.docker_config = None,
                _ => {}
            }
        }
        let error = Keychain::open(Some(&dir.path().join("home")), &places).err().unwrap();
        assert!(error.to_string().contains(".dockerconfigjson"), "{error}");
        let error = Keychain::open(Some(&dir.path().join("missing")), &places).err().unwrap();
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let login = Login::Password { user: "u".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
