use lapin::types::{FieldTable, LongString};
use serde_json::json;

use super::*;
use crate::settings::{Node, Settings};

/// A message with these headers.
fn message(media: &str, headers: &[(&str, AMQPValue)], body: &[u8]) -> Delivery {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    let properties = BasicProperties::default().with_headers(table);
    let properties = if media.is_empty() { properties } else { properties.with_content_type(media.into()) };
    let mut delivery = Delivery::mock(1, "shop".into(), "order.paid".into(), false, body.to_vec());
    delivery.properties = properties;
    delivery
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn one(delivery: &Delivery) -> NewEvent {
    let mut events = read(delivery, None).expect("an event");
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn refused(delivery: &Delivery) -> String {
    read(delivery, None).expect_err("no event")
}

#[test]
fn a_message_that_says_nothing_is_known_by_its_properties() {
    let mut delivery = message("", &[], br#"{"n": 1.10}"#);
    let event = one(&delivery);
    assert_eq!((event.kind.as_str(), event.id, event.subject, event.time), ("received", None, None, None));
    assert_eq!(event.data.bytes(), br#"{"n": 1.10}"#, "byte for byte");
    assert_eq!(event.headers["routing-key"], "order.paid");
    delivery.properties =
        BasicProperties::default().with_message_id("m1".into()).with_type("order.paid".into()).with_timestamp(5);
    let event = one(&delivery);
    assert_eq!((event.kind.as_str(), event.id.as_deref()), ("order.paid", Some("m1")));
    assert_eq!(event.time.map(jiff::Timestamp::as_second), Some(5));
}

#[test]
fn a_cloud_event_in_binary_mode_has_its_attributes_in_the_headers() {
    for prefix in ["cloudEvents:", "cloudEvents_"] {
        let names =
            ["specversion", "id", "source", "type", "subject", "time", "sequence"].map(|n| format!("{prefix}{n}"));
        let values = ["1.0", "7", "/shop", "order.paid", "A-1", "2026-03-01T09:00:00+09:00", "12"];
        let headers: Vec<_> = names.iter().map(String::as_str).zip(values.map(text)).collect();
        let event = one(&message("application/json", &headers, b"{}"));
        assert_eq!((event.kind.as_str(), event.id.as_deref()), ("order.paid", Some("/shop#7")));
        assert_eq!((event.subject.as_deref(), event.time.unwrap().as_second()), (Some("A-1"), 1_772_323_200));
        assert_eq!(event.headers[&format!("{}sequence", prefix.to_lowercase())], "12");
        let without: Vec<_> = headers.into_iter().filter(|(name, _)| !name.ends_with("source")).collect();
        assert_eq!(refused(&message("application/json", &without, b"{}")), "the CloudEvent has no `source`");
    }
}

#[test]
fn a_cloud_event_in_structured_mode_is_the_body() {
    let body = br#"{"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.paid", "subject": "A-1",
                    "sequence": 12, "data": {"price": 1.10}}"#;
    let event = one(&message("application/cloudevents+json; charset=utf-8", &[], body));
    assert_eq!((event.kind.as_str(), event.id.as_deref()), ("order.paid", Some("/shop#7")));
    assert_eq!((event.subject.as_deref(), event.data.bytes()), (Some("A-1"), &br#"{"price": 1.10}"#[..]));
    assert_eq!(event.headers["cloudevents:sequence"], "12");
    let coded = json!({"specversion": "1.0", "id": "7", "source": "s", "type": "t", "data_base64": "eyJhIjoxfQ=="});
    let event = one(&message("application/cloudevents+json", &[], coded.to_string().as_bytes()));
    assert_eq!(event.data.bytes(), br#"{"a":1}"#);
    let batch = json!([coded, {"specversion": "1.0", "id": "8", "source": "s", "type": "t"}]).to_string();
    let events = read(&message("application/cloudevents-batch+json", &[], batch.as_bytes()), None).expect("events");
    assert_eq!(events.iter().map(|event| event.id.as_deref().unwrap()).collect::<Vec<_>>(), ["s#7", "s#8"]);
    assert_eq!(events[1].data.bytes(), b"null");
}

#[test]
fn two_sources_of_cloud_events_may_count_alike() {
    assert_ne!(id("/a", "1"), id("/b", "1"));
    let long = "x".repeat(300);
    assert_ne!(id(&long, "1"), id(&long, "2"));
    assert!(id(&long, "1").len() <= MAX_ID);
}

#[test]
fn templates_see_headers_properties_and_body() {
    let settings = json!({"event": {
        "id": "{{ headers['x-id'] }}", "type": "order.{{ body.kind }}", "subject": "{{ headers['routing-key'] }}",
        "version": "{{ headers['x-rev'] }}",
    }});
    let node = Node::from(&settings);
    let settings = Settings::new(&node, super::super::FIELDS);
    let attributes = Attributes::build(&settings, &jiff::tz::TimeZone::UTC).expect("compiles").expect("is there");
    let headers = [("X-Id", text("9")), ("X-Rev", AMQPValue::LongInt(3))];
    let delivery = message("application/json", &headers, br#"{"kind": "paid"}"#);
    let event = read(&delivery, Some(&attributes)).expect("an event").remove(0);
    assert_eq!((event.id.as_deref(), event.kind.as_str()), (Some("9"), "order.paid"));
    assert_eq!(
        (event.subject.as_deref(), event.version),
        (Some("order.paid"), Some(crate::event::Version::Integer(3)))
    );
}

#[test]
fn credentials_do_not_travel_with_the_event() {
    let headers = [("Authorization", text("Bearer x")), ("x-api-key", text("x")), ("x-shop", text("1"))];
    let event = one(&message("", &headers, b"{}"));
    assert_eq!(event.headers.keys().collect::<Vec<_>>(), ["exchange", "routing-key", "x-shop"]);
}

#[test]
fn what_is_no_event_is_told_in_words() {
    insta::assert_snapshot!(refused(&message("", &[], b"hello")), @"the body is not JSON: expected value at line 1 column 1");
    insta::assert_snapshot!(refused(&message("image/png", &[], b"x")), @r#"the media type "image/png" is not supported: send application/json or application/x-www-form-urlencoded"#);
    insta::assert_snapshot!(refused(&message("application/cloudevents+avro", &[], b"x")), @r#"CloudEvents as "application/cloudevents+avro" are not supported: publish them as JSON"#);
    insta::assert_snapshot!(refused(&message("application/cloudevents+json", &[], b"{}")), @"the body is no CloudEvent: missing field `specversion` at line 1 column 2");
    let old = [("cloudEvents:specversion", text("0.3"))];
    insta::assert_snapshot!(refused(&message("", &old, b"{}")), @r#"CloudEvents of the version "0.3" are not understood, only 1.0"#);
    let mut coded = message("", &[], b"{}");
    coded.properties = BasicProperties::default().with_content_encoding("gzip".into());
    insta::assert_snapshot!(refused(&coded), @r#"the content encoding "gzip" is not supported: publish the body as it is"#);
    let long = format!("\"{}\"", "x".repeat(MAX_BODY));
    insta::assert_snapshot!(refused(&message("", &[], long.as_bytes())), @"the body has 1048578 bytes, at most 1048576 are allowed");
}
