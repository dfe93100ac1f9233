//! Every answer of the hooks endpoint.

use std::time::Duration;

use dari::intake::Limits;
use serde_json::json;

use super::logs::Logs;
use super::support::{Bridge, Mood, Reply, base64_of, head, hook, open, until};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

#[tokio::test]
async fn an_event_is_durable_before_it_is_answered() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let body = br#"{ "price": 1.10, "big": 12345678901234567890123 }"#;
    let reply = bridge.post("/hooks/any", &[("X-Delivery", "7"), ("Authorization", "Bearer x")], body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let events = bridge.fake.events();
    assert_eq!(reply.json(), json!({"id": events[0].id}));
    assert_eq!(events[0].data.bytes(), body, "byte for byte");
    assert_eq!((events[0].source.as_str(), events[0].kind.as_str()), ("any", "received"));
    assert_eq!(events[0].headers.get("x-delivery").map(String::as_str), Some("7"));
    assert!(!events[0].headers.contains_key("authorization"));
    assert!(bridge.fake.refused.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_form_is_carried_as_it_is() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(bridge.post("/hooks/any", &form, b"a=1+2&b=%26").await.status, 202);
    let event = &bridge.fake.events()[0];
    assert_eq!((event.data.bytes(), event.data.value()), (&b"a=1+2&b=%26"[..], json!({"a": "1 2", "b": "&"})));
}

#[tokio::test]
async fn an_array_is_made_durable_as_a_whole_or_not_at_all() {
    let ids = json!({"verify": "none", "event": {"id": "{{ headers['x-batch'] }}"}});
    let bridge = Bridge::start(vec![("any", hook("webhook", &ids))]).await;
    let reply = bridge.post("/hooks/any", &[("X-Batch", "b1")], b"[ 1.0, {\"a\" : 2},3 ]").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"ids": ["b1/0", "b1/1", "b1/2"]})));
    let published = bridge.fake.published.lock().unwrap().clone();
    assert_eq!(published.len(), 1, "one publish");
    let texts: Vec<&[u8]> = published[0].iter().map(|event| event.data.bytes()).collect();
    assert_eq!(texts, [&b"1.0"[..], b"{\"a\" : 2}", b"3"]);
    assert!(published[0].is_sorted_by(|a, b| a.received < b.received), "in the order of the array");

    let wrong = bridge.post("/hooks/any", &[("X-Batch", &"b".repeat(300))], b"[1,2]").await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (400, "the id has 302 bytes, at most 255 are allowed"));
    bridge.fake.mood(Mood::Fails);
    assert_eq!(bridge.post("/hooks/any", &[("X-Batch", "b2")], b"[1,2]").await.status, 503);
    assert_eq!(bridge.fake.events().len(), 3);
    let none = bridge.post("/hooks/any", &[("X-Batch", "b3")], b"[]").await;
    assert_eq!((none.status, none.json()), (202, json!({"ids": []})));
}

#[tokio::test]
async fn our_own_trouble_is_a_503_that_says_when_to_come_back() {
    let limits = Limits { publish: Duration::from_millis(100), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let check = |reply: Reply, detail| {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
        assert_eq!(reply.problem(), detail);
    };
    bridge.fake.mood(Mood::Fails);
    check(bridge.post("/hooks/any", JSON, b"{}").await, "the event could not be made durable");
    bridge.fake.mood(Mood::Hangs);
    check(bridge.post("/hooks/any", JSON, b"{}").await, "the event could not be made durable in time");
    bridge.fake.mood(Mood::Takes);
    bridge.intake.set_full(true);
    check(bridge.post("/hooks/any", JSON, b"{}").await, "this server's disk is nearly full");
    bridge.intake.set_full(false);
    bridge.intake.stop();
    check(bridge.post("/hooks/any", JSON, b"{}").await, "this server is about to stop");
    assert!(bridge.fake.events().is_empty());
    let refused = bridge.fake.refused.lock().unwrap();
    assert_eq!(refused.iter().map(|r| r.status).collect::<Vec<_>>(), [503, 503, 503, 503]);
}

#[tokio::test]
async fn a_bug_is_a_500_and_ends_nothing() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    bridge.fake.mood(Mood::Panics);
    let reply = bridge.post("/hooks/any", JSON, b"{}").await;
    assert_eq!((reply.status, reply.problem().as_str()), (500, "this is our fault and was logged; send it again"));
    bridge.fake.mood(Mood::Takes);
    assert_eq!(bridge.post("/hooks/any", JSON, b"{}").await.status, 202);
}

#[tokio::test]
async fn what_makes_no_sense_is_a_400() {
    let typed = hook("webhook", &json!({"verify": "none", "event": {"type": "{{ body.kind }}"}}));
    let bridge = Bridge::start(vec![("any", typed)]).await;
    let detail = async |body: &[u8]| {
        let reply = bridge.post("/hooks/any", JSON, body).await;
        assert_eq!(reply.status, 400);
        reply.problem()
    };
    insta::assert_snapshot!(detail(b"{").await, @"the body is not JSON: EOF while parsing an object at line 1 column 1");
    insta::assert_snapshot!(detail(b"").await, @"the body is not JSON: EOF while parsing a value at line 1 column 0");
    insta::assert_snapshot!(detail(b"{}").await, @"event.type: body.kind is missing in `body.kind`");
    insta::assert_snapshot!(detail(br#"{"kind":"a b"}"#).await, @r#"the type "a b" does not fit [A-Za-z0-9._-]{1,128}"#);
    assert_eq!(bridge.fake.refused.lock().unwrap()[3].bytes, 14);
}

#[tokio::test]
async fn what_is_neither_json_nor_a_form_is_a_415() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let xml = bridge.post("/hooks/any", &[("Content-Type", "text/xml")], b"<a/>").await;
    assert_eq!(xml.status, 415);
    insta::assert_snapshot!(xml.problem(), @r#"the media type "text/xml" is not supported: send application/json or application/x-www-form-urlencoded"#);
    let packed = bridge.post("/hooks/any", &[("Content-Encoding", "gzip")], b"{}").await;
    assert_eq!(packed.status, 415);
    insta::assert_snapshot!(packed.problem(), @"a content encoding is not supported: send the body as it is");
    assert_eq!(bridge.post("/hooks/any", &[("Content-Encoding", "identity")], b"{}").await.status, 202);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    for path in ["/hooks/other", "/hooks/other/secret", "/hooks/%ff"] {
        let reply = bridge.post(path, JSON, b"{}").await;
        assert_eq!(reply.status, 404, "{path}");
        reply.problem();
    }
    for path in ["/", "/hooks", "/hooks/any/a/b"] {
        assert_eq!(bridge.post(path, JSON, b"{}").await.problem(), "there is nothing at this path");
    }
    let reply = bridge.send("GET", "/hooks/any", &[], b"").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("post")), "{reply:?}");
    assert_eq!(reply.problem(), "this source does not take this method");
    let health = bridge.send("GET", "/healthz", &[], b"").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!(bridge.send("DELETE", "/healthz", &[], b"").await.status, 405);
    let refused = bridge.fake.refused.lock().unwrap();
    assert_eq!(refused[0].source, "other");
}

#[tokio::test]
async fn a_secret_in_the_path_is_never_written_down() {
    let by_path = hook("webhook", &json!({"verify": {"path": {"secrets": ["s3same"]}}}));
    let logs = Logs::of_this_thread();
    let bridge = Bridge::start(vec![("any", by_path)]).await;
    assert_eq!(bridge.post("/hooks/any/s3same", &[("X-Event", "e")], br#"{"name":"Kim"}"#).await.status, 202);
    let wrong = bridge.post("/hooks/any/s3sama", JSON, b"{}").await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (401, "the secret in the path is wrong"));
    let missing = bridge.post("/hooks/any", JSON, b"{}").await;
    assert_eq!((missing.status, missing.problem().as_str()), (401, "the secret is missing from the path"));
    assert!(!format!("{:?}", bridge.fake.refused.lock().unwrap()).contains("s3sam"));
    let event = bridge.fake.events()[0].clone();
    assert!(!serde_json::to_string(&event).unwrap().contains("s3sam"));
    let text = logs.text();
    assert!(text.contains(&event.id) && text.contains("received") && text.contains("no event"), "{text}");
    assert!(!text.contains("s3sam") && !text.contains("Kim"), "{text}");
}

#[tokio::test]
async fn every_scheme_of_the_generic_webhook_is_checked() {
    let hooks = vec![
        ("bearer", hook("webhook", &json!({"verify": {"bearer": {"tokens": ["new", "old"]}}}))),
        ("basic", hook("webhook", &json!({"verify": {"basic": {"users": {"dari": "secret"}}}}))),
        ("header", hook("webhook", &json!({"verify": {"header": {"name": "X-Own", "values": "k"}}}))),
    ];
    let bridge = Bridge::start(hooks).await;
    let good = [
        ("bearer", ("Authorization", "Bearer old")),
        ("basic", ("Authorization", "Basic ZGFyaTpzZWNyZXQ=")),
        ("header", ("X-Own", "k")),
    ];
    for (source, header) in good {
        let path = format!("/hooks/{source}");
        assert_eq!(bridge.post(&path, &[header], b"{}").await.status, 202, "{source}");
        assert_eq!(bridge.post(&path, &[(header.0, "x")], b"{}").await.status, 401, "{source}");
        assert_eq!(bridge.post(&path, &[], b"{}").await.status, 401, "{source}");
    }
    assert!(bridge.fake.events().iter().all(|event| !event.headers.contains_key("x-own")));
}

#[tokio::test]
async fn a_generic_signature_covers_time_and_body() {
    let keys = json!({"verify": {"hmac": {
        "header": "X-Sig", "encoding": "base64", "prefix": "v1=", "timestamp": {"header": "X-Time", "tolerance": "1m"},
        "signed": "{{ timestamp }}.{{ body }}", "secrets": ["new", "old"],
    }}});
    let bridge = Bridge::start(vec![("any", hook("webhook", &keys))]).await;
    let send = async |sent: i64, body: &[u8]| {
        let time = sent.to_string();
        let mac = super::support::hmac("old", &[time.as_bytes(), b".", b"{}"]);
        let signature = format!("v1={}", super::support::base64_of(mac));
        bridge.post("/hooks/any", &[("X-Time", &time), ("X-Sig", &signature)], body).await
    };
    let now = super::support::NOW;
    assert_eq!(send(now, b"{}").await.status, 202);
    assert_eq!(send(now, b"[]").await.problem(), "the signature does not match");
    assert_eq!(send(now - 61, b"{}").await.problem(), "the timestamp is 61 s old, at most 60 s are allowed");
}

#[tokio::test]
async fn a_sender_that_sends_too_much_is_told_when_to_come_back() {
    let limits = Limits { rate: std::num::NonZeroU32::new(1), ..Limits::default() };
    let bearer = || hook("webhook", &json!({"verify": {"bearer": {"tokens": ["t"]}}}));
    let bridge = Bridge::with(vec![("a", bearer()), ("b", bearer())], limits).await;
    let good = [("Authorization", "Bearer t")];
    for _ in 0..3 {
        let stranger = bridge.post("/hooks/a", JSON, b"{}").await;
        assert_eq!(stranger.status, 401, "a stranger uses up nothing");
    }
    assert_eq!(bridge.post("/hooks/a", &good, b"{}").await.status, 202);
    let more = bridge.post("/hooks/a", &good, b"{}").await;
    assert_eq!((more.status, more.header("retry-after")), (429, Some("1")), "{more:?}");
    assert_eq!(more.problem(), "too many requests for this source");
    assert_eq!(bridge.post("/hooks/b", &good, b"{}").await.status, 202, "another source");
}

#[tokio::test]
async fn probes_that_prove_nothing_use_up_nothing() {
    let limits = Limits { rate: std::num::NonZeroU32::new(1), ..Limits::default() };
    let users = json!({"users": {"dari": "hunter2"}});
    let bridge = Bridge::with(vec![("tasks", hook("worksection-hook", &users))], limits).await;
    for _ in 0..3 {
        assert_eq!(bridge.post("/hooks/tasks", &[], b"").await.status, 200);
    }
    let basic = format!("Basic {}", base64_of("dari:hunter2"));
    let task = br#"{"action":"post","object":{"type":"task","id":"1"}}"#;
    let reply = bridge.post("/hooks/tasks", &[("Authorization", &basic)], task).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn requests_under_way_finish_when_the_server_stops() {
    let mut bridge = Bridge::start(vec![("any", open())]).await;
    bridge.fake.mood(Mood::Gathers(2));
    let mut client = bridge.connect().await;
    let request = [head("POST", "/hooks/any", &[("content-length", "2".to_owned())]), b"{}".to_vec()].concat();
    tokio::io::AsyncWriteExt::write_all(&mut client, &request).await.unwrap();
    until(|| bridge.fake.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    bridge.shutdown.cancel();
    until(|| std::net::TcpStream::connect(bridge.address).is_err()).await;
    dari::broker::Broker::publish(&*bridge.fake, Vec::new()).await.unwrap();
    assert_eq!(super::support::answer(client).await.status, 202);
    let server = bridge.server.take().unwrap();
    tokio::time::timeout(super::support::PATIENCE, server).await.expect("it ended").unwrap();
}
