//! Counts calls to the API server, at the one place that all of them pass: beneath the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::metrics::{Metrics, observe};

/// Resources that archfan calls; everything else is counted as `other`, so that no path becomes a label.
const RESOURCES: &[&str] = &[
    "configmaps",
    "customruns",
    "customruns/status",
    "events",
    "leases",
    "multiarchbuilds",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pipelineruns",
    "pods",
    "storageclasses",
    "subjectaccessreviews",
    "taskruns",
    "tokenreviews",
];

/// Verb and resource of a call, as the API server names them (`kube-apiserver`, request info).
pub fn verb_and_resource(method: &Method, path: &str, query: Option<&str>) -> (&'static str, &'static str) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.next().and_then(|_| parts.next()),
        _ => return ("other", "other"),
    };
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let (resource, named) = match rest.as_slice() {
        [resource] => ((*resource).to_owned(), false),
        [resource, _name] => ((*resource).to_owned(), true),
        [resource, _name, sub] => (format!("{resource}/{sub}"), true),
        _ => (String::new(), false),
    };
    let watched =
        query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    let verb = match (method, named) {
        (&Method::GET, _) if watched => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => "other",
    };
    let resource = RESOURCES.iter().find(|known| **known == resource).copied().unwrap_or("other");
    (verb, resource)
}

/// Puts the count beneath a client.
#[derive(Clone, Debug)]
pub struct CountCalls(pub Arc<Metrics>);

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// A client's connection with a count.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send,
    R: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) =
            verb_and_resource(request.method(), request.uri().path(), request.uri().query());
        let call = Call { metrics: self.metrics.clone(), verb, resource, begin: Instant::now(), code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            // All of it, so that it goes when this future does.
            let mut call = call;
            let answer = answer.await;
            call.code = Some(match &answer {
                Ok(response) => response.status().as_u16().to_string(),
                Err(_) => "error".to_owned(),
            });
            answer
        })
    }
}

/// Counts when it goes, so that a call that nobody waits for any more is counted too.
struct Call {
    metrics: Arc<Metrics>,
    verb: &'static str,
    resource: &'static str,
    begin: Instant,
    code: Option<String>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.as_deref().unwrap_or("dropped");
        self.metrics.api_requests.with_label_values(&[self.verb, self.resource, code]).inc();
        observe(&self.metrics.api_duration, &[self.verb, self.resource], self.begin.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_as_the_server_names_them() {
        let cases = [
            ("GET", "/api/v1/pods?watch=true&resourceVersion=1", "watch", "pods"),
            ("GET", "/api/v1/pods?limit=250", "list", "pods"),
            ("GET", "/api/v1/namespaces/a/configmaps/feature-flags", "get", "configmaps"),
            ("GET", "/api/v1/nodes", "list", "nodes"),
            ("GET", "/apis/tekton.dev/v1beta1/customruns", "list", "customruns"),
            (
                "PATCH",
                "/apis/tekton.dev/v1beta1/namespaces/a/customruns/b/status",
                "patch",
                "customruns/status",
            ),
            ("POST", "/apis/tekton.dev/v1/namespaces/a/taskruns?fieldManager=archfan", "create", "taskruns"),
            ("DELETE", "/apis/tekton.dev/v1/namespaces/a/taskruns/b", "delete", "taskruns"),
            ("DELETE", "/apis/tekton.dev/v1/namespaces/a/taskruns", "deletecollection", "taskruns"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "update", "leases"),
            // A namespace by the name of a resource, and an object by that of another.
            ("GET", "/api/v1/namespaces/pods/persistentvolumeclaims/nodes", "get", "persistentvolumeclaims"),
            ("GET", "/api/v1/namespaces/pods", "get", "other"),
            ("GET", "/version", "other", "other"),
            ("GET", "/apis/example.com/v1/secrets/x", "get", "other"),
        ];
        for (method, uri, verb, resource) in cases {
            let uri: http::Uri = uri.parse().unwrap();
            let method: Method = method.parse().unwrap();
            assert_eq!(
                verb_and_resource(&method, uri.path(), uri.query()),
                (verb, resource),
                "{method} {uri}"
            );
        }
    }

    #[tokio::test]
    async fn answers_errors_and_what_nobody_waits_for_are_counted() {
        let metrics = Metrics::new().unwrap();
        let service = tower::service_fn(|request: Request<()>| async move {
            match request.uri().path() {
                "/api/v1/nodes" => Ok(Response::builder().status(429).body(()).unwrap()),
                "/api/v1/pods" => Err("broken"),
                _ => std::future::pending().await,
            }
        });
        let mut counted = CountCalls(metrics.clone()).layer(service);
        let get = |path: &str| Request::get(path).body(()).unwrap();
        counted.call(get("/api/v1/nodes")).await.unwrap();
        counted.call(get("/api/v1/pods")).await.unwrap_err();
        let pending = counted.call(get("/api/v1/persistentvolumes/x"));
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1), pending).await;
        let text = metrics.text().unwrap();
        for line in [
            r#"archfan_api_requests_total{code="429",resource="nodes",verb="list"} 1"#,
            r#"archfan_api_requests_total{code="error",resource="pods",verb="list"} 1"#,
            r#"archfan_api_requests_total{code="dropped",resource="persistentvolumes",verb="get"} 1"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
    }
}
