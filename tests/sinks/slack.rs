//! Slack against its sandbox.

use std::time::Duration;

use dari::connectors::sandbox::Fault;
use dari::connectors::slack::{MANIFEST, sandbox};
use dari::connectors::{OnDoubt, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::{Value, json};

use crate::world::{Op, Tried, World, in_doubt};

const ACCOUNT: &str = "{ team: { slack: { bot_token: xoxb-sandbox, url: 'URL' } } }";

async fn world() -> (World, Box<dyn Sink>) {
    let world = World::of(&MANIFEST).await;
    let sink = to(&world, sandbox::CHANNEL);
    (world, sink)
}

fn to(world: &World, channel: &str) -> Box<dyn Sink> {
    world.sink(ACCOUNT, &format!("{{ slack: {{ account: team, channel: {channel} }} }}"))
}

fn say(text: &str) -> Op {
    Op::new(Verb::Create, json!({ "text": text }))
}

async fn texts(world: &World) -> Vec<Value> {
    world.served.state().await["messages"].as_array().unwrap().iter().map(|m| m["text"].clone()).collect()
}

#[tokio::test]
async fn a_message_is_posted_answered_changed_and_deleted() {
    let (world, sink) = world().await;
    let id = world.id(&*sink, &say("하나 &amp; 둘")).await;
    assert_eq!(id, "C0123456789:1795230245.000001");

    // The link stays on the message that began the thread, so that a second answer hangs there too.
    for text in ["reply", "another"] {
        let reply = Op::new(Verb::Reply, json!({ "text": text })).linked(id);
        assert_eq!(world.delivered(&*sink, &reply).await.as_deref(), Some(id));
    }
    let thread = world.served.state().await["messages"][2]["thread_ts"].clone();
    assert_eq!(thread, "1795230245.000001");

    let blocks = json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "b" } }]);
    let update = Op::new(Verb::Update, json!({ "text": "changed", "blocks": blocks })).linked(id);
    assert_eq!(world.delivered(&*sink, &update).await.as_deref(), Some(id));
    assert_eq!(texts(&world).await, ["changed", "reply", "another"]);

    let delete = Op::new(Verb::Delete, json!({})).linked(id);
    world.delivered(&*sink, &delete).await;
    // Again, as after a delete whose answer was lost.
    world.delivered(&*sink, &delete).await;
    assert_eq!(texts(&world).await, ["reply", "another"]);
}

#[tokio::test]
async fn refusals_stop_the_account_the_sink_or_the_message() {
    let (world, sink) = world().await;
    let other = world
        .sink(&ACCOUNT.replace("xoxb-sandbox", "xoxb-other"), "{ slack: { account: team, channel: C0123456789 } }");
    let suspended = |outcome: Outcome, scope: Scope, text: &str| {
        let Outcome::Suspend { what, why, until: None } = outcome else { panic!("{outcome:?}") };
        assert_eq!((what, why.as_str()), (scope, text));
    };
    suspended(world.outcome(&*other, &say("x")).await, Scope::Account, "invalid_auth");
    for (channel, error) in
        [(sandbox::ARCHIVED, "is_archived"), (sandbox::CLOSED, "not_in_channel"), ("C0NONE", "channel_not_found")]
    {
        let outcome = world.outcome(&*to(&world, channel), &say("x")).await;
        suspended(outcome, Scope::Sink, &format!("{error} (channel {channel})"));
    }
    let missing = Op::new(Verb::Update, json!({ "text": "x" })).linked("C0123456789:1.000009");
    assert_eq!(world.outcome(&*sink, &missing).await, Outcome::reject("message_not_found"));
    let missing = Op::new(Verb::Reply, json!({ "text": "x" })).linked("C0123456789:1.000009");
    assert_eq!(world.outcome(&*sink, &missing).await.name(), "reject");
}

#[tokio::test]
async fn what_slack_would_refuse_is_not_sent() {
    let (world, sink) = world().await;
    let cases = [
        Op::new(Verb::Create, json!({})),
        Op::new(Verb::Create, json!({ "text": "x".repeat(40_001) })),
        Op::new(Verb::Update, json!({ "text": "x".repeat(4_001) })).linked("C0123456789:1.1"),
        Op::new(Verb::Create, json!({ "text": "x", "channel": "C0EVIL" })),
        Op::new(Verb::Reply, json!({ "text": "x" })),
        Op::new(Verb::Reply, json!({ "text": "x" })).linked("7"),
    ];
    let mut told = Vec::new();
    for op in cases {
        let Tried::Refused(why) = world.try_it(&*sink, &op).await else { panic!("sent") };
        told.push(why);
    }
    assert_eq!(world.served.calls.count(), 0);
    insta::assert_snapshot!(told.join("\n"), @r#"
    a message needs `text`, `blocks`, `attachments` or `markdown_text`
    text: 40001 characters, Slack takes 40000
    text: 4001 characters, Slack takes 4000
    channel: it follows from the sink and the link
    there is no linked message to reply
    the link's id "7" is no message: expected channel:ts
    "#);
    // What only Slack can judge comes back with its place.
    let block = json!({ "type": "video", "text": {} });
    let many = json!({ "text": "x", "blocks": vec![block; 50] });
    world.delivered(&*sink, &Op::new(Verb::Create, many)).await;
}

#[tokio::test]
async fn each_fault_has_its_outcome() {
    let (world, sink) = world().await;
    let fault = |fault| world.served.faults.next(fault, 1);
    fault(Fault::TooManyRequests { after: 30 });
    let limited = world.outcome(&*sink, &say("x")).await;
    assert!(matches!(limited, Outcome::Retry { after: Some(after), account: true, .. } if after.as_secs() == 30));
    fault(Fault::ServerError);
    assert_eq!(world.outcome(&*sink, &say("x")).await.name(), "retry");
    fault(Fault::ResetBefore);
    assert!(in_doubt(&world.try_it(&*sink, &say("x")).await));
    assert_eq!(texts(&world).await.len(), 0);
    for (count, doubtful) in [(1, Fault::ResetAfter), (2, Fault::Timeout)] {
        fault(doubtful);
        assert!(in_doubt(&world.try_it(&*sink, &say("x")).await), "{doubtful:?}");
        assert_eq!(texts(&world).await.len(), count);
    }
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &say("x")).await.name(), "unknown");
    assert!(!world.call(&*sink, &say("x")).unwrap().idempotent);
    assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Find);
    let update = Op::new(Verb::Update, json!({ "text": "y" })).linked("C0123456789:1795230245.000001");
    assert!(world.call(&*sink, &update).unwrap().idempotent);
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &update).await.name(), "retry");
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_by_its_metadata() {
    let (world, sink) = world().await;
    let since = world.clock.now();
    let thread = world.id(&*sink, &say("thread").webhook_id("msg_0")).await;
    let reply = Op::new(Verb::Reply, json!({ "text": "reply" })).linked(thread).webhook_id("msg_2");
    let own = json!({ "text": "x", "metadata": { "event_type": "mine", "event_payload": { "n": 1 } } });
    for (op, id) in [(say("x").webhook_id("msg_1"), "2"), (reply, "3")] {
        assert_eq!(world.asked(&*sink, &op, since).await, Ok(vec![]));
        world.served.faults.next(Fault::ResetAfter, 1);
        assert!(in_doubt(&world.try_it(&*sink, &op).await));
        assert_eq!(world.asked(&*sink, &op, since).await, Ok(vec![format!("C0123456789:1795230245.00000{id}")]));
    }
    let with_own = Op::new(Verb::Create, own).webhook_id("msg_3");
    world.delivered(&*sink, &with_own).await;
    assert_eq!(world.asked(&*sink, &with_own, since).await.unwrap().len(), 1);
    let state = world.served.state().await;
    let metadata = &state["messages"][3]["message"]["metadata"];
    assert_eq!(*metadata, json!({ "event_type": "mine", "event_payload": { "n": 1, "dari": "msg_3" } }));
    let gone = Op::new(Verb::Reply, json!({ "text": "x" })).linked("C0123456789:1.000009");
    assert_eq!(world.asked(&*sink, &gone, since).await, Ok(vec![]), "no thread, no answer in it");
}

#[tokio::test]
async fn a_history_that_cannot_be_read_says_nothing_and_stops_nothing() {
    let world = World::of(&MANIFEST).await;
    let since = world.clock.now();
    let told = async |token: &str, fault: Option<Fault>| {
        let account = ACCOUNT.replace("xoxb-sandbox", token);
        let sink = world.sink(&account, "{ slack: { account: team, channel: C0123456789 } }");
        world.served.faults.clear();
        if let Some(fault) = fault {
            world.served.faults.next(fault, 1);
        }
        let outcome = world.asked(&*sink, &say("x"), since).await.unwrap_err();
        format!("{}: {}", outcome.name(), outcome.why().unwrap_or_default())
    };
    insta::assert_snapshot!(told(sandbox::POSTING_TOKEN, None).await, @"reject: the channel's history cannot be read (missing_scope): the bot needs the scope channels:history, or groups:history for a private channel, and must be a member");
    insta::assert_snapshot!(told("xoxb-other", None).await, @"suspend: invalid_auth");
    insta::assert_snapshot!(told(sandbox::BOT_TOKEN, Some(Fault::TooManyRequests { after: 9 })).await, @"retry: HTTP 429: too many requests");
    insta::assert_snapshot!(told(sandbox::BOT_TOKEN, Some(Fault::ServerError)).await, @"retry: HTTP 500: internal server error");
    assert!(told(sandbox::BOT_TOKEN, Some(Fault::Garbage)).await.starts_with("retry: "));
    let hook = world.sink("{}", &format!("{{ slack: {{ webhook_url: 'URL{}' }} }}", sandbox::WEBHOOK));
    assert!(world.question(&*hook, &say("x"), since).is_none());
    assert_eq!(hook.on_doubt(Verb::Create), OnDoubt::Hold);
}

#[tokio::test]
async fn a_channel_takes_a_burst_and_then_one_a_second() {
    let (world, sink) = world().await;
    for _ in 0..sandbox::BURST {
        world.delivered(&*sink, &say("x")).await;
    }
    let limited = world.outcome(&*sink, &say("x")).await;
    assert!(matches!(limited, Outcome::Retry { after: Some(after), account: true, .. } if after.as_secs() == 1));
    world.advance(Duration::from_secs(1));
    world.delivered(&*sink, &say("x")).await;
    assert_eq!(world.outcome(&*sink, &say("x")).await.name(), "retry");
}

#[tokio::test]
async fn an_incoming_webhook_can_only_post() {
    let world = World::of(&MANIFEST).await;
    let hook = |path: &str| world.sink("{}", &format!("{{ slack: {{ webhook_url: 'URL{path}' }} }}"));
    let sink = hook(sandbox::WEBHOOK);
    assert_eq!(world.delivered(&*sink, &say("hello")).await, None);
    assert_eq!(texts(&world).await, ["hello"]);
    let update = Op::new(Verb::Update, json!({ "text": "x" })).linked("C0123456789:1.1");
    let Tried::Refused(why) = world.try_it(&*sink, &update).await else { panic!("sent") };
    insta::assert_snapshot!(why, @"an incoming webhook cannot update: use a bot's `account` and `channel`");
    for (path, error) in
        [("/services/T0SANDBOX/B0SANDBOX/other", "HTTP 403: invalid_token"), ("/services/T9/B9/x", "HTTP 404: no_team")]
    {
        let outcome = world.outcome(&*hook(path), &say("x")).await;
        assert_eq!(outcome, Outcome::Suspend { what: Scope::Sink, why: error.to_owned(), until: None });
    }
    world.served.faults.next(Fault::Garbage, 1);
    assert_eq!(world.outcome(&*sink, &say("x")).await.name(), "unknown");
}

#[tokio::test]
async fn secrets_are_not_to_be_seen() {
    let (world, sink) = world().await;
    let call = world.call(&*sink, &say("hello")).unwrap();
    assert!(call.headers["authorization"].is_sensitive());
    let hook = world.sink("{}", "{ slack: { webhook_url: 'https://hooks.slack.com/services/T1/B1/hunter2' } }");
    let hidden = world.call(&*hook, &say("hello")).unwrap();
    assert_eq!(hidden.url.as_str(), "https://hooks.slack.com/services/T1/B1/hunter2");
    let seen = format!("{call:?} {hidden:?}");
    assert!(!seen.contains("xoxb-sandbox") && !seen.contains("hunter2"), "{seen}");
    insta::assert_snapshot!(
        hidden.shown,
        @r#"{"method":"POST","url":"https://hooks.slack.com/services/***","body":{"text":"hello"}}"#
    );
}

#[tokio::test]
async fn half_a_sink_is_a_fault_of_the_config() {
    let world = World::of(&MANIFEST).await;
    let told: Vec<String> = [
        (ACCOUNT, "{ slack: { account: team } }"),
        (ACCOUNT, "{ slack: { account: team, channel: C1, webhook_url: 'https://x' } }"),
        (ACCOUNT, "{ slack: { webhook_url: 'hunter2' } }"),
        (ACCOUNT, "{ slack: { channel: C1 } }"),
        ("{ team: { slack: { signing_secrets: [s] } } }", "{ slack: { account: team, channel: C1 } }"),
        ("{ team: { slack: {} } }", "{ slack: { webhook_url: 'https://x' } }"),
    ]
    .into_iter()
    .map(|(account, sink)| world.try_sink(account, sink).err().expect("a fault"))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    dari.yaml:3:15: needs the `channel` to post to
    dari.yaml:3:58: an incoming webhook has its own channel: without `account` and `channel`
    dari.yaml:3:30: expected the https URL of an incoming webhook
    dari.yaml:3:15: needs `account` and `channel`, or `webhook_url`
    dari.yaml:3:26: the account has no usable `bot_token`
    dari.yaml:1:28: expected `bot_token` (for sinks) or `signing_secrets` (for slack-hook), or both
    ");
}
