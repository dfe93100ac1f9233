//! The JSON of OTLP: names in lowerCamelCase, ids in hexadecimal, integers of 64 bits as decimal text
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Fact, Span};

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// The sampled flag of a W3C trace.
const SAMPLED: u8 = 1;

/// The body of a request that carries these spans of one resource.
pub(super) fn encode(resource: &[(String, String)], spans: &[Span]) -> Bytes {
    let resource: Vec<Value> = resource.iter().map(|(key, value)| attribute(key, &Fact::Text(value.clone()))).collect();
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] });
    Bytes::from(body.to_string())
}

fn span(span: &Span) -> Value {
    let mut json = json!({
        "traceId": span.place.trace,
        "spanId": span.place.span,
        "flags": SAMPLED,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.as_nanosecond().to_string(),
        "endTimeUnixNano": span.end.as_nanosecond().to_string(),
        "attributes": span.facts.iter().map(|(key, fact)| attribute(key, fact)).collect::<Vec<_>>(),
    });
    if let Some(parent) = &span.place.parent {
        json["parentSpanId"] = json!(parent);
    }
    if let Some(why) = &span.error {
        json["status"] = json!({ "code": ERROR, "message": why });
    }
    json
}

fn attribute(key: &str, fact: &Fact) -> Value {
    let value = match fact {
        Fact::Text(text) => json!({ "stringValue": text }),
        Fact::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::trace::Place;
    use crate::spans::Kind;

    #[test]
    fn a_span_in_the_encoding_of_the_specification() {
        let spans = [Span {
            place: Place {
                trace: "5b8efff798038103d269b633813fc60c".into(),
                span: "eee19b7ec3c1b174".into(),
                parent: Some("eee19b7ec3c1b173".into()),
                sampled: true,
            },
            name: "deliver news".into(),
            kind: Kind::Client,
            start: "2018-12-13T14:51:00.000000001Z".parse().expect("a time"),
            end: "2018-12-13T14:51:01Z".parse().expect("a time"),
            facts: vec![("dari.route", "news".into()), ("dari.attempt", Fact::Number(2))],
            error: Some("HTTP 503: later".into()),
        }];
        let body = encode(&[("service.name".into(), "dari".into())], &spans);
        let text = String::from_utf8_lossy(&body).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(text, @r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"dari"}}]},"scopeSpans":[{"scope":{"name":"dari","version":"VERSION"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1,"name":"deliver news","kind":3,"startTimeUnixNano":"1544712660000000001","endTimeUnixNano":"1544712661000000000","attributes":[{"key":"dari.route","value":{"stringValue":"news"}},{"key":"dari.attempt","value":{"intValue":"2"}}],"parentSpanId":"eee19b7ec3c1b173","status":{"code":2,"message":"HTTP 503: later"}}]}]}]}"#);
    }
}
