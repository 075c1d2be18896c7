//! Which registries a push talks to, and with which login each.

use std::sync::Arc;

use super::auth::{Found, Keychain};
use super::error::Result;
use super::http::Transport;
use super::progress::Progress;
use super::reference::Repository;
use super::registry::{Access, Registry};

/// Every registry of one push. One lives as long as the push, so that no login is ever used for anybody else's.
pub(super) struct Registries {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    login: Option<Found>,
    repositories: Vec<(Repository, bool)>,
    reads: usize,
    registry: Option<Arc<Registry>>,
}

impl Registries {
    /// Finds the logins for all repositories that are read, or written where the flag says so. Repositories of one registry with
    /// one login share connections and a token, whose scopes name them all: that is what a mount from one to another needs.
    pub(super) async fn open(
        transport: &Arc<Transport>,
        progress: &Progress,
        keychain: &Keychain,
        uses: &[(Repository, bool)],
    ) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for (repository, write) in uses {
            let login = keychain.find(repository).await?;
            let same = |entry: &Entry| {
                entry.name == repository.registry()
                    && entry.login.as_ref().map(|found| &found.login)
                        == login.as_ref().map(|found| &found.login)
            };
            let place = entries.iter().position(same).unwrap_or(entries.len());
            if place == entries.len() {
                let name = repository.registry().to_owned();
                entries.push(Entry { name, login, repositories: Vec::new(), reads: 0, registry: None });
            }
            entries[place].reads += usize::from(!write);
            let repositories = &mut entries[place].repositories;
            match repositories.iter_mut().find(|(known, _)| known == repository) {
                Some((_, writes)) => *writes |= write,
                None => repositories.push((repository.clone(), *write)),
            }
        }
        for entry in &mut entries {
            let api = entry.repositories.first().map_or(entry.name.as_str(), |(first, _)| first.api_host());
            entry.registry = Some(Registry::new(
                Arc::clone(transport),
                progress.clone(),
                Access {
                    name: entry.name.clone(),
                    api: api.to_owned(),
                    login: entry.login.clone(),
                    searched: keychain.describe(),
                    first: entry.reads,
                    scopes: entry
                        .repositories
                        .iter()
                        .map(|(repository, write)| scope(repository, *write))
                        .collect(),
                },
            ));
        }
        Ok(Self { entries })
    }

    /// The registry of a repository that was named at the start.
    pub(super) fn of(&self, repository: &Repository) -> Option<Arc<Registry>> {
        let holds = |entry: &&Entry| entry.repositories.iter().any(|(known, _)| known == repository);
        self.entries.iter().find(holds)?.registry.clone()
    }
}

/// distribution, "Token Scope Documentation".
fn scope(repository: &Repository, write: bool) -> String {
    let actions = if write { "pull,push" } else { "pull" };
    format!("repository:{}:{actions}", repository.path())
}
