use super::*;
use proptest::prelude::*;

fn clock() -> Clock {
    Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"))
}

#[test]
fn a_body_travels_byte_for_byte() {
    let body = r#"{ "price": 1.10, "big": 12345678901234567890123 , "t":"\u00e9"}"#;
    let event = NewEvent::new("t", Payload::json(body.as_bytes()).expect("json")).stamp("s", &clock()).expect("event");
    let stored = serde_json::to_vec(&event).expect("serialises");
    let back: Event = serde_json::from_slice(&stored).expect("parses");
    assert_eq!(back.data.bytes(), body.as_bytes());
    assert_eq!(back.data.value()["big"].to_string(), "12345678901234567890123");
}

#[test]
fn without_an_id_the_content_names_the_event() {
    let make = |subject: Option<&str>, body: &str| {
        let mut new = NewEvent::new("order", Payload::json(body.as_bytes()).expect("json"));
        new.subject = subject.map(str::to_owned);
        new.stamp("shop", &clock()).expect("event")
    };
    assert_eq!(make(Some("7"), "{}").id, make(Some("7"), "{}").id);
    assert_ne!(make(Some("7"), "{}").id, make(Some("8"), "{}").id);
    assert_ne!(make(Some("7"), "{}").id, make(Some("7"), "[]").id);
    assert_eq!(make(Some("7"), "{}").collapse, Collapse::Id);
    assert_eq!(make(None, "{}").collapse, Collapse::BodyForADay);
}

#[test]
fn a_request_sent_again_without_its_id_or_as_another_type_has_the_same_body_key() {
    let make = |id: Option<&str>, kind: &str, subject: Option<&str>| {
        let mut new = NewEvent::new(kind, Payload::json(b"{}").expect("json"));
        (new.id, new.subject) = (id.map(str::to_owned), subject.map(str::to_owned));
        new.body_repeats = true;
        new.stamp("shop", &clock()).expect("event")
    };
    let first = make(Some("d-1"), "issues.opened", Some("7"));
    for again in [
        make(None, "issues.opened", Some("7")),
        make(None, "push", Some("7")),
        make(Some("d-2"), "push", None),
        make(None, "push", None),
    ] {
        assert!(again.body_key().is_some());
        assert_eq!(again.body_key(), first.body_key(), "{} {:?}", again.id, again.subject);
    }
}

#[test]
fn attributes_out_of_bounds_are_named() {
    let mut new = NewEvent::new("t", Payload::Form(String::new()));
    new.subject = Some("x".repeat(513));
    let refused = new.stamp("s", &clock()).expect_err("too long");
    assert_eq!(refused.to_string(), "the subject has 513 bytes, at most 512 are allowed");
    let refused = NewEvent::new("a b", Payload::Form(String::new())).stamp("s", &clock()).expect_err("a space");
    assert_eq!(refused, Malformed::Type("a b".into()));
}

#[test]
fn a_stored_event_reads_back_as_a_fixture() {
    let mut new = NewEvent::new("t", Payload::json(br#"{"a": 1.10}"#).expect("json"));
    new.version = Some(Version::Integer(3));
    new.subject = Some("s".into());
    let event = new.stamp("src", &clock()).expect("event");
    let stored = serde_json::to_value(&event).expect("serialises");
    let back = NewEvent::from_fixture(&stored).expect("a fixture");
    assert_eq!((back.version, back.subject), (event.version, event.subject));
    assert_eq!(back.data.value().to_string(), r#"{"a":1.10}"#);
    let wrong = NewEvent::from_fixture(&serde_json::json!({"type": "t", "dat": 1})).expect_err("a typo");
    assert!(wrong.contains("\"dat\""), "{wrong}");
}

#[test]
fn a_form_is_an_object_and_repeated_names_are_lists() {
    let payload = Payload::Form("a=1&b=x+y&a=2&a=3".into());
    assert_eq!(payload.value(), serde_json::json!({"a": ["1", "2", "3"], "b": "x y"}));
}

proptest! {
    #[test]
    fn integer_versions_order_as_integers(a: i64, b: i64) {
        let parse = |n: i64| Version::parse(&n.to_string()).expect("a version");
        prop_assert_eq!(parse(a).order(parse(b)), Some(a.cmp(&b)));
    }
}
