//! Where spans go, from the environment that every program with OpenTelemetry reads (OpenTelemetry specification, "Environment
//! Variable Specification" and "OpenTelemetry Protocol Exporter").

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// How long the collector may take, if nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go, and as whose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address that spans are posted to.
    pub endpoint: Uri,
    /// Headers of each request: mostly a login, so that none of them is ever logged.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// A file with the collector's certificate authority, besides the system's.
    pub authority: Option<PathBuf>,
    /// What says who sent the spans: `service.name` and others.
    pub resource: Vec<(String, String)>,
}

impl Settings {
    /// Reads them; nothing if no endpoint is named, or traces are switched off.
    ///
    /// # Errors
    /// What makes no sense, with the variable's name.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        // An empty variable is as none (specification, "Parsing empty value").
        let variable = |name: &str| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let ours = |name: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            let common = format!("OTEL_EXPORTER_OTLP_{name}");
            variable(&own).map(|value| (own, value)).or_else(|| Some((common.clone(), variable(&common)?)))
        };
        let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let Some((name, address)) = ours("ENDPOINT").filter(|_| !off) else { return Ok(None) };
        if let Some((name, protocol)) = ours("PROTOCOL")
            && !protocol.starts_with("http/")
        {
            return Err(format!(
                "{name} is {protocol:?}, and archfan speaks OTLP/HTTP only: name the collector's HTTP port (mostly 4318) as the endpoint, and http/json here"
            ));
        }
        // What is said for traces is taken as it stands; what is said for all signals is the base of their paths.
        let whole = if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" {
            address.clone()
        } else {
            format!("{}/v1/traces", address.trim_end_matches('/'))
        };
        let endpoint = whole.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        let endpoint = endpoint.ok_or_else(|| {
            format!("{name} is {address:?}, which is no address like http://collector:4318")
        })?;
        let timeout = match ours("TIMEOUT") {
            None => TIMEOUT,
            Some((name, value)) => Duration::from_millis(
                value
                    .parse()
                    .map_err(|_| format!("{name} is {value:?}, which is no number of milliseconds"))?,
            ),
        };
        let headers = match ours("HEADERS") {
            None => Vec::new(),
            // What it says is a secret: the error does not repeat it.
            Some((name, value)) => headers(&value).ok_or_else(|| {
                format!("{name} cannot be read: it should be name=value, with commas between and values percent-encoded")
            })?,
        };
        let authority = ours("CERTIFICATE").map(|(_, path)| PathBuf::from(path));
        Ok(Some(Self { endpoint, headers, timeout, authority, resource: resource(&variable)? }))
    }
}

/// `name=value,name=value`, with values percent-encoded, as in W3C Baggage.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            Some((name.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

fn headers(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    pairs(text)?
        .into_iter()
        .map(|(name, value)| {
            let mut value: HeaderValue = value.parse().ok()?;
            value.set_sensitive(true);
            Some((name.to_ascii_lowercase().parse().ok()?, value))
        })
        .collect()
}

/// Who sends (OpenTelemetry semantic conventions, "Resource").
fn resource(variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let mut all = match variable(name) {
        None => Vec::new(),
        Some(text) => pairs(&text)
            .ok_or_else(|| format!("{name} is {text:?}, and should be name=value, with commas between"))?,
    };
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        all.retain(|(key, _)| key != "service.name");
        all.push(("service.name".to_owned(), name));
    }
    let ours = [
        ("service.name", Some("archfan".to_owned())),
        ("service.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("service.instance.id", variable("POD_NAME")),
        ("k8s.pod.name", variable("POD_NAME")),
        ("k8s.namespace.name", variable("POD_NAMESPACE")),
    ];
    for (key, value) in ours {
        if let Some(value) = value
            && all.iter().all(|(there, _)| there != key)
        {
            all.push((key.to_owned(), value));
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::from_environment(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn endpoint(variables: &[(&str, &str)]) -> Option<String> {
        read(variables).unwrap().map(|settings| settings.endpoint.to_string())
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where_to() {
        let there = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
        assert_eq!(endpoint(&[there, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[there, ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(endpoint(&[there]).as_deref(), Some("http://collector:4318/v1/traces"));
    }

    #[test]
    fn the_endpoint_of_traces_is_taken_as_it_stands_and_goes_before_that_of_all_signals() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/base/");
        assert_eq!(endpoint(&[base]).as_deref(), Some("https://collector/base/v1/traces"));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/here");
        assert_eq!(endpoint(&[base, own]).as_deref(), Some("http://other:4318/here"));
    }

    #[test]
    fn headers_and_resource_are_read_as_the_specification_writes_them() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20dTpw, x-tenant=a"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other"),
            ("OTEL_SERVICE_NAME", "builds"),
            ("POD_NAME", "archfan-0"),
        ])
        .unwrap()
        .unwrap();
        let headers: Vec<(&str, &str)> =
            settings.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Basic dTpw"), ("x-tenant", "a")]);
        assert!(!format!("{settings:?}").contains("dTpw"), "a login must not be told");
        assert_eq!(settings.timeout, Duration::from_millis(1500));
        let resource: Vec<(&str, &str)> =
            settings.resource.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            resource,
            [
                ("deployment.environment.name", "test"),
                ("k8s.pod.name", "archfan-0"),
                ("service.instance.id", "archfan-0"),
                ("service.name", "builds"),
                ("service.version", env!("CARGO_PKG_VERSION")),
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_with_the_name_of_the_variable() {
        let there = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, words) in [
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
                "OTEL_EXPORTER_OTLP_ENDPOINT is \"collector:4318\"",
            ),
            (vec![there, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\""),
            (
                vec![there, ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s")],
                "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is \"10s\"",
            ),
            (
                vec![there, ("OTEL_EXPORTER_OTLP_HEADERS", "secret")],
                "OTEL_EXPORTER_OTLP_HEADERS cannot be read",
            ),
            (vec![there, ("OTEL_RESOURCE_ATTRIBUTES", "x")], "OTEL_RESOURCE_ATTRIBUTES is \"x\""),
        ] {
            let why = read(&variables).unwrap_err();
            assert!(why.starts_with(words), "{why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
