//! Spans as OTLP writes them in JSON (`opentelemetry/proto/trace/v1/trace.proto`, and the specification's "JSON Protobuf Encoding":
//! ids in hexadecimal digits, 64-bit numbers as texts, enumerations as numbers).

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::spans::{Attribute, Span};

/// A span of what happens inside archfan and the cluster, and is neither a call nor its answer.
const INTERNAL: u8 = 1;
const OK: u8 = 1;
const ERROR: u8 = 2;
/// Recorded, in the lowest byte of a span's flags as W3C has it.
const SAMPLED: u8 = 1;

/// The document with which spans are handed to a collector.
pub(super) fn document(resource: &[(String, String)], spans: &[Span]) -> Bytes {
    let resource: Vec<Value> =
        resource.iter().map(|(key, value)| pair(key, &Attribute::Text(value.clone()))).collect();
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({"name": "archfan", "version": env!("CARGO_PKG_VERSION")});
    let document = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]});
    document.to_string().into()
}

fn span(span: &Span) -> Value {
    let attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| pair(key, value)).collect();
    let mut written = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(span.begin),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": attributes,
        "status": match &span.error {
            Some(why) => json!({"code": ERROR, "message": why}),
            None => json!({"code": OK}),
        },
        "flags": SAMPLED,
    });
    if let Some(parent) = &span.parent {
        written["parentSpanId"] = hex(parent).into();
    }
    if !span.state.is_empty() {
        written["traceState"] = span.state.clone().into();
    }
    written
}

fn pair(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({"stringValue": text}),
        Attribute::Number(number) => json!({"intValue": number.to_string()}),
        Attribute::Texts(texts) => {
            let values: Vec<Value> = texts.iter().map(|text| json!({"stringValue": text})).collect();
            json!({"arrayValue": {"values": values}})
        }
    };
    json!({"key": key, "value": value})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Nanoseconds since 1970, which OTLP cannot have before that.
fn nanoseconds(time: Timestamp) -> String {
    time.as_nanosecond().max(0).to_string()
}
