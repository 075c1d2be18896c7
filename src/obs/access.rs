//! Who may scrape: whoever the cluster says may `get` the path `/metrics`. The bearer token is shown to the API server (TokenReview),
//! and its owner is asked about (SubjectAccessReview), as kubebuilder's controllers and OpenShift's kube-rbac-proxy do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::warn;

/// How long a yes is believed: a Prometheus asks with the same token every half minute.
const YES: Duration = Duration::from_mins(1);
/// How long a no is believed: short, for a role may just be on its way; not nothing, so that a stranger costs the API server little.
const NO: Duration = Duration::from_secs(10);
/// How many tokens are remembered.
const REMEMBERED: usize = 64;
/// How long the API server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a question for access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Allowed,
    /// Nobody that the cluster knows.
    Unknown,
    /// Known, and not allowed.
    Denied,
}

/// Asks the cluster who may scrape.
pub struct Guard {
    client: Client,
    known: Mutex<HashMap<Vec<u8>, (Instant, Verdict)>>,
}

impl Guard {
    /// Asks through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Whether the bearer of a header `Authorization` may scrape.
    pub async fn judge(&self, header: Option<&str>) -> Verdict {
        let Some(token) = header.and_then(bearer) else { return Verdict::Unknown };
        // Tokens are not kept, only what tells them apart.
        let key = ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref().to_vec();
        if let Some(verdict) = self.remembered(&key) {
            return verdict;
        }
        match tokio::time::timeout(TIMEOUT, self.ask(token)).await {
            Ok(Ok(verdict)) => {
                self.remember(key, verdict);
                verdict
            }
            Ok(Err(error)) => {
                warn!(%error, "the API server cannot be asked who may scrape");
                Verdict::Denied
            }
            Err(_) => {
                warn!("the API server did not say in time who may scrape");
                Verdict::Denied
            }
        }
    }

    async fn ask(&self, token: &str) -> kube::Result<Verdict> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let Some(user) = answer.user.filter(|_| answer.authenticated == Some(true)) else {
            return Ok(Verdict::Unknown);
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some("/metrics".to_owned()),
                    verb: Some("get".to_owned()),
                }),
                resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        Ok(if answer.allowed { Verdict::Allowed } else { Verdict::Denied })
    }

    fn remembered(&self, key: &[u8]) -> Option<Verdict> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, verdict) = known.get(key)?;
        (when.elapsed() < span(*verdict)).then_some(*verdict)
    }

    fn remember(&self, key: Vec<u8>, verdict: Verdict) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (when, verdict)| when.elapsed() < span(*verdict));
        if known.len() < REMEMBERED {
            known.insert(key, (Instant::now(), verdict));
        }
    }
}

fn span(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Allowed => YES,
        Verdict::Unknown | Verdict::Denied => NO,
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows two tokens, of which one may scrape.
    fn server(calls: Arc<AtomicUsize>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let calls = calls.clone();
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                let path = request.uri().path().to_owned();
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                let mut body: Value = serde_json::from_slice(&bytes).unwrap();
                if path.ends_with("/tokenreviews") {
                    let token = body["spec"]["token"].as_str().unwrap_or_default().to_owned();
                    let known = token == "scraper" || token == "stranger";
                    body["status"] =
                        json!({"authenticated": known, "user": {"username": token, "groups": ["g"]}});
                } else {
                    assert_eq!(
                        body["spec"]["nonResourceAttributes"],
                        json!({"path": "/metrics", "verb": "get"})
                    );
                    assert_eq!(body["spec"]["groups"], json!(["g"]));
                    body["status"] = json!({"allowed": body["spec"]["user"] == "scraper"});
                }
                Ok::<_, Infallible>(Response::new(Body::from(serde_json::to_vec(&body).unwrap())))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn the_cluster_decides_and_is_not_asked_twice() {
        let calls = Arc::new(AtomicUsize::new(0));
        let guard = Guard::new(server(calls.clone()));
        for (header, verdict) in [
            (None, Verdict::Unknown),
            (Some("Basic scraper"), Verdict::Unknown),
            (Some("Bearer "), Verdict::Unknown),
        ] {
            assert_eq!(guard.judge(header).await, verdict);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0, "what is no token is nothing to ask about");
        for _ in 0..3 {
            assert_eq!(guard.judge(Some("Bearer scraper")).await, Verdict::Allowed);
            assert_eq!(guard.judge(Some("bearer stranger")).await, Verdict::Denied);
            assert_eq!(guard.judge(Some("Bearer forged")).await, Verdict::Unknown);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn an_api_server_in_trouble_lets_nobody_in() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::builder().status(503).body(Body::empty()).unwrap())
        });
        let guard = Guard::new(Client::new(service, "default"));
        assert_eq!(guard.judge(Some("Bearer scraper")).await, Verdict::Denied);
    }
}
