//! From the client's errors to ours.

use std::time::Duration;

use kube::core::Status;

use super::api::ApiError;

/// Says what an error of the Kubernetes client means for a reconcile.
pub fn classify(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => of_status(status),
        // Everything else happened on the way, so that the call may have taken effect.
        other => ApiError::Unavailable(other.to_string()),
    }
}

fn of_status(status: &Status) -> ApiError {
    let message = status.message.clone();
    match (status.code, status.reason.as_str()) {
        (404, _) => ApiError::NotFound(message),
        (409, "AlreadyExists") => ApiError::AlreadyExists(message),
        (409, _) => ApiError::Conflict(message),
        (403, _) => ApiError::Forbidden(message),
        (413, _) => ApiError::TooLarge(message),
        (429, _) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            ApiError::Throttled {
                message,
                after: (seconds > 0).then(|| Duration::from_secs(u64::from(seconds))),
            }
        }
        // What etcd does not take, above 1.5 MiB, or the API server does not send it, above 2 MiB, comes as an internal error
        // (etcd `server/etcdserver/errors/errors.go`; grpc-go `stream.go`, etcd `client/v3/options.go`).
        (500.., _)
            if ["request is too large", "message larger than max"]
                .iter()
                .any(|words| message.contains(words)) =>
        {
            ApiError::TooLarge(message)
        }
        (400 | 422, _) => ApiError::Invalid(message),
        _ => ApiError::Unavailable(message),
    }
}

/// A call that was not answered in time.
pub fn timed_out(what: &str, after: Duration) -> ApiError {
    ApiError::Unavailable(format!("{what}: no answer within {} s", after.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> ApiError {
        of_status(&Status { code, reason: reason.into(), message: message.into(), ..Status::default() })
    }

    #[test]
    fn each_kind_of_answer_is_told_from_the_others() {
        assert_eq!(status(404, "NotFound", "m").class(), "not_found");
        assert_eq!(status(409, "AlreadyExists", "m").class(), "already_exists");
        assert_eq!(status(409, "Conflict", "m").class(), "conflict");
        assert_eq!(status(403, "Forbidden", "m").class(), "forbidden");
        assert_eq!(status(422, "Invalid", "m").class(), "invalid");
        assert_eq!(status(400, "BadRequest", "m").class(), "invalid");
        assert_eq!(status(413, "RequestEntityTooLarge", "m").class(), "too_large");
        assert_eq!(status(500, "InternalError", "etcdserver: request is too large").class(), "too_large");
        let unsent = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2500000 vs. 2097152)";
        assert_eq!(status(500, "InternalError", unsent).class(), "too_large");
        assert_eq!(status(404, "NotFound", "request is too large").class(), "not_found");
        assert_eq!(status(429, "TooManyRequests", "m").class(), "throttled");
        for code in [500, 502, 503, 504] {
            assert_eq!(status(code, "x", "m").class(), "unavailable");
        }
    }

    #[test]
    fn a_throttled_call_waits_as_long_as_the_server_says() {
        for (seconds, wait) in
            [(0, None), (1, Some(Duration::from_secs(1))), (30, Some(Duration::from_secs(30)))]
        {
            let details = serde_json::from_value(serde_json::json!({"retryAfterSeconds": seconds})).unwrap();
            let status = Status { code: 429, details: Some(details), ..Status::default() };
            let ApiError::Throttled { after, .. } = of_status(&status) else { panic!("{seconds}") };
            assert_eq!(after, wait);
        }
    }
}
