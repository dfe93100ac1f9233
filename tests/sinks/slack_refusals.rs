//! What Slack's stand-in refuses of what Dari would not send: the sandbox is as strict as Slack, and each no has its
//! outcome.

use ::http::Method;
use ::http::header::{AUTHORIZATION, HeaderValue};
use dari::connectors::slack::{MANIFEST, sandbox};
use dari::connectors::{Call, Sink};
use dari::outcome::{Outcome, Verb};
use serde_json::{Value, json};

use crate::world::{Op, World};

const ACCOUNT: &str = "{ team: { slack: { bot_token: xoxb-sandbox, url: 'URL' } } }";

fn bot(world: &World) -> Box<dyn Sink> {
    world.sink(ACCOUNT, &format!("{{ slack: {{ account: team, channel: {} }} }}", sandbox::CHANNEL))
}

/// What the Web API says to a body that no check of ours has seen.
async fn said(world: &World, method: &str, mut body: Value) -> Value {
    body["channel"] = json!(sandbox::CHANNEL);
    let url = format!("{}/api/{method}", world.served.url).parse().unwrap();
    let bearer = HeaderValue::from_static("Bearer xoxb-sandbox");
    let call = Call::new(Method::POST, url).header(AUTHORIZATION, bearer).json(&body);
    world.send(&call).await.unwrap().json().unwrap()
}

#[tokio::test]
async fn the_stand_in_takes_no_message_that_slack_would_refuse() {
    let world = World::of(&MANIFEST).await;
    let section = |field: Value| json!({ "text": "x", "blocks": [{ "type": "section", "fields": field }] });
    let cases = [
        ("chat.postMessage", json!({}), "no_text"),
        ("chat.postMessage", json!({ "text": "" }), "no_text"),
        ("chat.postMessage", json!({ "text": "x", "blocks": "b" }), "invalid_blocks_format"),
        ("chat.postMessage", json!({ "blocks": vec![json!({ "type": "divider" }); 51] }), "invalid_blocks"),
        ("chat.postMessage", json!({ "blocks": [{}] }), "invalid_blocks"),
        ("chat.postMessage", section(json!(vec![json!({ "text": "f" }); 11])), "invalid_blocks"),
        ("chat.postMessage", section(json!([{ "text": "f".repeat(2_001) }])), "invalid_blocks"),
        ("chat.postMessage", json!({ "attachments": vec![json!({ "text": "a" }); 101] }), "too_many_attachments"),
        ("chat.postMessage", json!({ "markdown_text": "m".repeat(12_001) }), "msg_too_long"),
        ("chat.postMessage", json!({ "text": "x", "metadata": { "event_type": 7 } }), "invalid_metadata_format"),
        ("chat.postMessage", json!({ "text": "x", "thread_ts": "1.000009" }), "thread_not_found"),
        ("chat.update", json!({ "text": "x", "ts": "1.000009" }), "message_not_found"),
        ("chat.update", json!({ "text": "x".repeat(4_001), "ts": "1.000009" }), "msg_too_long"),
        ("chat.delete", json!({ "ts": "1.000009" }), "message_not_found"),
        ("chat.never", json!({ "text": "x" }), "unknown_method"),
    ];
    for (method, body, error) in cases {
        assert_eq!(said(&world, method, body).await["error"], error, "{method}");
    }
    assert_eq!(world.served.state().await["messages"], json!([]));
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_and_slack_warns() {
    let world = World::of(&MANIFEST).await;
    let answer = said(&world, "chat.postMessage", json!({ "text": "가".repeat(40_001) })).await;
    assert_eq!(answer["response_metadata"]["warnings"], json!(["message_truncated"]));
    let kept = world.served.state().await["messages"][0]["text"].as_str().unwrap().chars().count();
    assert_eq!(kept, 40_000);
}

#[tokio::test]
async fn somebody_elses_message_can_be_answered_and_not_touched() {
    let world = World::of(&MANIFEST).await;
    let sink = bot(&world);
    let theirs = world.served.play(Method::POST, "/_sandbox/messages", &json!({ "text": "theirs" })).await;
    let id: &'static str =
        Box::leak(format!("{}:{}", sandbox::CHANNEL, theirs["ts"].as_str().unwrap()).into_boxed_str());
    world.delivered(&*sink, &Op::new(Verb::Reply, json!({ "text": "ours" })).linked(id)).await;
    let update = world.outcome(&*sink, &Op::new(Verb::Update, json!({ "text": "x" })).linked(id)).await;
    assert_eq!(update, Outcome::refused("cant_update_message"));
    let delete = world.outcome(&*sink, &Op::new(Verb::Delete, json!({})).linked(id)).await;
    assert_eq!(delete, Outcome::refused("cant_delete_message"));
    assert_eq!(world.served.state().await["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_incoming_webhook_refuses_in_plain_text() {
    let world = World::of(&MANIFEST).await;
    let sink = world.sink("{}", &format!("{{ slack: {{ webhook_url: 'URL{}' }} }}", sandbox::WEBHOOK));
    let cases = [
        ("[]", "invalid_payload"),
        ("{}", "no_text"),
        (r#"{"blocks":[{}]}"#, "invalid_blocks"),
        (&json!({ "attachments": vec![json!({ "text": "a" }); 101] }).to_string(), "too_many_attachments"),
    ];
    for (body, error) in cases {
        let mut call = world.call(&*sink, &Op::new(Verb::Create, json!({ "text": "x" }))).unwrap();
        call.body = body.to_owned().into();
        let answer = world.send(&call).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (400, error));
        assert_eq!(sink.classify(&call, &answer), Outcome::reject(format!("HTTP 400: {error}")));
    }
    for _ in 0..sandbox::BURST {
        world.delivered(&*sink, &Op::new(Verb::Create, json!({ "text": "x" }))).await;
    }
    let limited = world.outcome(&*sink, &Op::new(Verb::Create, json!({ "text": "x" }))).await;
    assert!(matches!(&limited, Outcome::Retry { account: true, .. }), "{limited:?}");
}
