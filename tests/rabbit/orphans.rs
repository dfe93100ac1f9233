//! Routes that have left the config with messages: shown, told at the start, drained or dropped, with either broker.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dari::admin::Operator;
use dari::admin::replay::ReplayRequest;
use dari::admin::retire::Leftover;
use dari::app::{Bridge, Options, open_for_operator};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::outcome::Scope;
use dari::store::{DeadClass, DeadFilter};
use tokio::time::Instant;

use crate::away::{PATIENCE, Running, arrive};
use crate::load::config_at as config;
use crate::node;
use crate::receiver::{Answer, Receiver};

/// A receiver that asks to come back with number 0, once.
async fn receiver() -> Receiver {
    let refuse = AtomicBool::new(true);
    let choose = move |got: &crate::receiver::Got, _| {
        if got.n() == 0 && refuse.swap(false, Ordering::Relaxed) { Answer::Later(503, 3600) } else { Answer::Ok }
    };
    Receiver::start(choose).await
}

/// A route `news` with two messages in its queue and one that waits for long, and then the route `other` in its place.
async fn orphaned(dir: &Path, text: &str, receiver: &Receiver) -> String {
    let bridge = Running::start(dir, text).await;
    assert_eq!(bridge.send("e0", "waits", 0).await, 202);
    receiver.reach(1).await;
    let deadline = Instant::now() + PATIENCE;
    while bridge.operator.routes().await.unwrap()[0].waiting != 1 {
        assert!(Instant::now() < deadline, "it does not wait");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bridge.operator.suspend(Scope::Route, "news", None).await.unwrap();
    for n in 1..3 {
        assert_eq!(bridge.send(&format!("e{n}"), "s", n).await, 202);
    }
    bridge.stop().await;
    text.replace("  news:", "  other:")
}

fn load(dir: &Path, text: &str) -> Arc<dari::config::Config> {
    let file = dir.join("dari.yaml");
    std::fs::write(&file, text).unwrap();
    let config = dari::config::load(&file, &|_| None, &Client::new().unwrap(), &Clock::system(7));
    Arc::new(config.unwrap_or_else(|faults| panic!("{faults}")))
}

async fn refusal(dir: &Path, text: &str) -> String {
    Bridge::build(load(dir, text), Clock::system(7), &Options::default()).await.err().expect("refused").to_string()
}

async fn operator(dir: &Path, text: &str) -> Arc<Operator> {
    open_for_operator(load(dir, text), Clock::system(8)).await.unwrap()
}

async fn close(operator: Arc<Operator>) {
    operator.journal.flush().await.unwrap();
    operator.broker.finish().await;
}

async fn given_away(text: &str, receiver: &Receiver) {
    let dir = tempfile::tempdir().unwrap();
    let text = orphaned(dir.path(), text, receiver).await;
    let why = refusal(dir.path(), &text).await;
    assert!(why.contains("route news is no longer in the config, but 3 messages wait for it"), "{why}");

    let commands = operator(dir.path(), &text).await;
    let routes = commands.routes().await.unwrap();
    let left = routes.iter().find(|route| route.name == "news").expect("it is shown");
    assert_eq!((left.to.as_deref(), left.queued, left.waiting), (None, 3, 1));
    assert!(left.oldest.is_some());
    let why = commands.retire("news", Leftover::None).await.unwrap_err().to_string();
    assert!(why.starts_with("3 messages wait for route news"), "{why}");
    let why = commands.retire("news", Leftover::To("nobody".into())).await.unwrap_err().to_string();
    assert!(why.contains("there is no route \"nobody\""), "{why}");
    let why = commands.retire("news", Leftover::To("other".into())).await.unwrap_err().to_string();
    assert!(why.starts_with("2 messages went to route other; 1 more wait for their next attempt"), "{why}");
    close(commands).await;

    // What only waits is seen as well.
    let why = refusal(dir.path(), &text).await;
    assert!(why.contains("but 1 messages wait for it"), "{why}");
    let commands = operator(dir.path(), &text).await;
    let done = commands.retire("news", Leftover::Drop).await.unwrap().done;
    assert_eq!(done, "route news is forgotten: 0 links, 1 messages are dropped");
    close(commands).await;
    let bridge = Running::start(dir.path(), &text).await;
    arrive(receiver, 0..3).await;
    assert_eq!(bridge.operator.routes().await.unwrap().len(), 1, "nothing is left of it");
    bridge.stop().await;
}

async fn kept(text: &str, receiver: &Receiver) {
    let dir = tempfile::tempdir().unwrap();
    let text = orphaned(dir.path(), text, receiver).await;
    let commands = operator(dir.path(), &text).await;
    let why = commands.retire("news", Leftover::Keep).await.unwrap_err().to_string();
    assert!(why.starts_with("2 messages are dead letters now; 1 more wait"), "{why}");
    commands.retire("news", Leftover::Drop).await.unwrap();
    let dead = commands.dead(DeadFilter::default()).await.unwrap();
    let letters: Vec<_> = dead.iter().map(|dead| (dead.letter.class, dead.letter.event.id.as_str())).collect();
    assert_eq!(letters, [(DeadClass::Retired, "e1"), (DeadClass::Retired, "e2")], "they outlive their route");
    let again = ReplayRequest { all_dead: true, ..ReplayRequest::default() };
    let stay = commands.replay(again.clone()).await.unwrap();
    assert_eq!((stay.deliveries, stay.without_route), (0, 2), "without --to they stay");
    let sent = commands.replay(ReplayRequest { to: Some("other".into()), ..again }).await.unwrap();
    assert_eq!(sent.deliveries, 2);
    close(commands).await;
    let bridge = Running::start(dir.path(), &text).await;
    arrive(receiver, 0..3).await;
    assert!(bridge.operator.dead(DeadFilter::default()).await.unwrap().is_empty());
    bridge.stop().await;
}

/// The same config without a broker.
pub fn embedded(sink: &str) -> String {
    let text = config("127.0.0.1:0", "amqp://nobody", "none", sink);
    text.lines().filter(|line| !line.starts_with("broker:")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_route_that_is_gone_go_to_another() {
    let (server, receiver) = (node::server().await, receiver().await);
    given_away(&config("127.0.0.1:0", &server.url, &node::prefix(), &receiver.url), &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_route_that_is_gone_are_kept_for_a_person() {
    let (server, receiver) = (node::server().await, receiver().await);
    kept(&config("127.0.0.1:0", &server.url, &node::prefix(), &receiver.url), &receiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_embedded_queue_it_is_the_same() {
    let one = receiver().await;
    given_away(&embedded(&one.url), &one).await;
    let two = receiver().await;
    kept(&embedded(&two.url), &two).await;
}
