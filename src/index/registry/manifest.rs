//! Manifests at a registry (distribution-spec, "Pulling manifests" and "Pushing Manifests").

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::{Call, Registry};
use crate::index::digest::Digest;
use crate::index::document::LARGEST_MANIFEST;
use crate::index::error::{Error, Kind, Result};
use crate::index::http::unreachable;
use crate::index::media;
use crate::index::reference::Repository;

/// A manifest as it came.
#[derive(Clone, Debug)]
pub(in crate::index) struct Fetched {
    /// Its bytes.
    pub(in crate::index) bytes: Bytes,
    /// Their digest, computed here.
    pub(in crate::index) digest: Digest,
    /// What the registry says it is.
    pub(in crate::index) content_type: Option<String>,
}

impl Registry {
    /// Reads a manifest by tag or by digest. By digest, what came is checked against it.
    pub(in crate::index) async fn manifest(&self, repository: &Repository, wanted: &str) -> Result<Fetched> {
        let what = format!("{repository}: reading the manifest {wanted}");
        let uri = self.uri(&format!("{}/manifests/{wanted}", repository.path())).await?;
        let call = Call::new(Method::GET, uri);
        let reply = self.call(&what, &call.headers(&[(header::ACCEPT, media::ACCEPT)])).await?;
        match reply.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                let error = self.refused(&what, reply).await;
                let message = error.to_string();
                return Err(Error::source(message).advice("was it pushed there, and is the name right?"));
            }
            _ => return Err(self.refused(&what, reply).await),
        }
        let content_type = reply.header(header::CONTENT_TYPE).map(str::to_owned);
        let bytes = reply.bytes(LARGEST_MANIFEST).await.map_err(|error| unreachable(&what, &error))?;
        let digest = match Digest::parse(wanted) {
            Ok(digest) if digest.fits(&bytes) => digest,
            Ok(_) => {
                return Err(Error::source(format!(
                    "{what}: the registry gave other bytes, whose digest is {}",
                    Digest::of(&bytes)
                )));
            }
            Err(_) => Digest::of(&bytes),
        };
        Ok(Fetched { bytes, digest, content_type })
    }

    /// Whether a manifest is there.
    pub(in crate::index) async fn has_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool> {
        let what = format!("{repository}: looking for the manifest {digest}");
        let uri = self.uri(&format!("{}/manifests/{digest}", repository.path())).await?;
        let call = Call::new(Method::HEAD, uri);
        let reply = self.call(&what, &call.headers(&[(header::ACCEPT, media::ACCEPT)])).await?;
        match reply.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(&what, reply).await),
        }
    }

    /// Pushes a manifest under a tag or under its digest.
    pub(in crate::index) async fn put_manifest(
        &self,
        repository: &Repository,
        name: &str,
        media_type: &str,
        bytes: &Bytes,
        digest: &Digest,
    ) -> Result<()> {
        let index = matches!(media_type, media::OCI_INDEX | media::DOCKER_LIST);
        let what = if index {
            format!("{repository}: pushing the index as {name}")
        } else {
            format!("{repository}: pushing the manifest {name}")
        };
        let uri = self.uri(&format!("{}/manifests/{name}", repository.path())).await?;
        let headers = [(header::CONTENT_TYPE, media_type)];
        let call = Call::new(Method::PUT, uri).headers(&headers).body(bytes.clone());
        let reply = self.call(&what, &call).await?;
        if !matches!(reply.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
            let error = self.refused(&what, reply).await;
            return Err(if index { unsupported(error, media_type) } else { error });
        }
        let theirs = reply.header("docker-content-digest").filter(|theirs| theirs.starts_with("sha256:"));
        if let Some(theirs) = theirs.filter(|theirs| *theirs != digest.as_str()) {
            return Err(Error::failed(format!(
                "{what}: the registry stored something else: its digest is {theirs}, not {digest}"
            )));
        }
        reply.drain().await;
        Ok(())
    }
}

/// Registries that do not know an index refuse it in different words; that this is what is meant can only be guessed.
fn unsupported(error: Error, media_type: &str) -> Error {
    if error.kind() == Kind::Denied || error.kind() == Kind::Unavailable {
        return error;
    }
    if error.has_code("MANIFEST_BLOB_UNKNOWN") {
        return error.advice("a manifest of the index is gone from the registry; was it deleted meanwhile?");
    }
    let doubtful = ["MANIFEST_INVALID", "MANIFEST_UNKNOWN", "UNSUPPORTED", "TAG_INVALID"];
    let plain = matches!(error.status(), Some(400 | 404 | 405 | 406 | 415 | 422));
    if !plain && !doubtful.iter().any(|code| error.has_code(code)) {
        return error;
    }
    if media_type == media::OCI_INDEX {
        error.advice(
            "this registry seems not to take OCI image indexes; if it takes Docker manifest lists, build the images in Docker's \
             format and give --format docker",
        )
    } else {
        error.advice("this registry seems not to take Docker manifest lists; try --format oci")
    }
}
