//! Tokens (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication").

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Registry, asked_to_wait, basic};
use crate::index::auth::challenge::Bearer;
use crate::index::auth::{Found, Login};
use crate::index::error::{Error, Kind, Result};
use crate::index::http::body::{Activity, Body};
use crate::index::http::retry::{Waits, is_transient};
use crate::index::http::unreachable;

/// "For compatibility with older clients, a token should never be returned with less than 60 seconds to live."
const USUAL_LIFE: u64 = 60;
/// The largest answer of a token server that is read.
const LARGEST: u64 = 1 << 20;
/// What need not be escaped in a query.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A token and until when it is shown.
pub(super) struct Token {
    pub(super) value: String,
    pub(super) until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Registry {
    /// Gets a token for all that this push needs at this registry, in one request.
    pub(super) async fn fetch_token(&self, what: &str, challenge: &Bearer) -> Result<Token> {
        let what = format!("{what}: getting a token from {}", challenge.realm);
        let realm: Uri = challenge
            .realm
            .parse()
            .map_err(|_| Error::new(Kind::Denied, format!("{what}: that is no address")))?;
        let secure = realm.scheme_str() == Some("https");
        if !secure && self.login.is_some() && !self.transport.is_insecure() {
            return Err(Error::new(
                Kind::Denied,
                format!(
                    "{what}: the login would be sent without TLS; have the registry name its token server by https"
                ),
            ));
        }
        let (request, body) = self.token_request(challenge, &realm);
        let mut waits = Waits::default();
        loop {
            let mut again = Request::new(Body::Whole(body.clone()));
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            let (reason, asked) = match self.transport.send(again, &Activity::default()).await {
                Ok(reply) if reply.status().is_success() => {
                    let bytes = reply.bytes(LARGEST).await.map_err(|error| unreachable(&what, &error))?;
                    return read(&bytes)
                        .map_err(|error| Error::new(Kind::Denied, format!("{what}: {error}")));
                }
                Ok(reply) if is_transient(reply.status()) && !waits.is_over() => {
                    (format!("it answered {}", reply.status()), asked_to_wait(&reply))
                }
                Ok(reply) => return Err(self.refused(&what, reply).await),
                Err(error) if error.transient => (error.message, None),
                Err(error) => return Err(unreachable(&what, &error)),
            };
            match waits.next(asked) {
                Some(wait) => self.pause(&format!("the token server: {reason}"), wait, &waits).await,
                None => return Err(Error::new(Kind::Unavailable, format!("{what}: {reason}"))),
            }
        }
    }

    fn token_request(&self, challenge: &Bearer, realm: &Uri) -> (Request<()>, Bytes) {
        let scopes: Vec<&str> = match (&challenge.scope, self.scopes.is_empty()) {
            (Some(scope), true) => vec![scope.as_str()],
            _ => self.scopes.iter().map(String::as_str).collect(),
        };
        let escape = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        let service = challenge.service.as_deref();
        let mut request = Request::new(());
        if let Some(Found { login: Login::Identity(refresh), .. }) = &self.login {
            // Several scopes are one text with spaces here (RFC 6749, 3.3).
            let mut form = format!(
                "grant_type=refresh_token&client_id=archfan&refresh_token={}&scope={}",
                escape(refresh),
                escape(&scopes.join(" "))
            );
            if let Some(service) = service {
                form.push_str("&service=");
                form.push_str(&escape(service));
            }
            *request.method_mut() = Method::POST;
            *request.uri_mut() = realm.clone();
            set(&mut request, header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            return (request, Bytes::from(form));
        }
        let mut query: Vec<String> =
            service.iter().map(|service| format!("service={}", escape(service))).collect();
        query.extend(scopes.iter().map(|scope| format!("scope={}", escape(scope))));
        let joint = if realm.query().is_some() { "&" } else { "?" };
        let uri = format!("{realm}{joint}{}", query.join("&"));
        *request.uri_mut() = uri.parse().unwrap_or_else(|_| realm.clone());
        if let Some(Found { login: Login::Password { user, password }, .. }) = &self.login {
            set(&mut request, header::AUTHORIZATION, &basic(user, password));
        }
        (request, Bytes::new())
    }
}

fn set(request: &mut Request<()>, name: HeaderName, value: &str) {
    if let Some(value) = super::secret(value.to_owned()) {
        request.headers_mut().insert(name, value);
    }
}

pub(super) fn read(bytes: &[u8]) -> std::result::Result<Token, String> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| "the answer is no token".to_owned())?;
    let value = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
        .ok_or("the answer holds no token")?;
    // Shown for three quarters of its life, so that no clock and no long request makes it fail at the other side.
    let life = answer.expires_in.filter(|seconds| *seconds > 0).unwrap_or(USUAL_LIFE).min(24 * 3600);
    Ok(Token { value, until: Instant::now() + Duration::from_secs(life) * 3 / 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_have_two_names_and_a_life() {
        let token = read(br#"{"token":"a","access_token":"b","expires_in":300}"#).unwrap();
        assert_eq!((token.value.as_str(), token.until - Instant::now()), ("a", Duration::from_secs(225)));
        let token = read(br#"{"token":"","access_token":"b","expires_in":0}"#).unwrap();
        assert_eq!((token.value.as_str(), token.until - Instant::now()), ("b", Duration::from_secs(45)));
        for text in ["{}", "[]", "<html>", r#"{"token":""}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
