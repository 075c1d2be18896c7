//! The Lease of [`super::leader`] on a real API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};

use super::api::ApiError;
use super::kube_api::FIELD_MANAGER;
use super::kube_errors::{classify, timed_out};
use super::leader::{Store, Version};

/// A Lease by name.
#[derive(Clone)]
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
    timeout: Duration,
}

impl KubeLease {
    /// The Lease `name` in `namespace`. A call takes no longer than `timeout`.
    pub fn new(client: Client, namespace: &str, name: String, timeout: Duration) -> Self {
        Self { api: Api::namespaced(client, namespace), name, timeout }
    }

    fn object(&self, version: Option<String>, spec: LeaseSpec) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        }
    }

    async fn call<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|error| classify(&error)),
            Err(_) => Err(timed_out(what, self.timeout)),
        }
    }
}

fn version(lease: Lease) -> Version {
    Version {
        version: lease.metadata.resource_version.unwrap_or_default(),
        spec: lease.spec.unwrap_or_default(),
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

impl Store for KubeLease {
    async fn read(&self) -> Result<Option<Version>, ApiError> {
        Ok(self.call("read the Lease", self.api.get_opt(&self.name)).await?.map(version))
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Version, ApiError> {
        let object = self.object(None, spec);
        self.call("create the Lease", self.api.create(&params(), &object)).await.map(version)
    }

    async fn replace(&self, there: &str, spec: LeaseSpec) -> Result<Version, ApiError> {
        let object = self.object(Some(there.to_owned()), spec);
        self.call("renew the Lease", self.api.replace(&self.name, &params(), &object)).await.map(version)
    }
}

impl std::fmt::Debug for KubeLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeLease").field("name", &self.name).finish_non_exhaustive()
    }
}
