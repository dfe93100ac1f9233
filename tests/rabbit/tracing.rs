//! One trace from the sender to what a route calls, with either broker (promise P7).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use serde_json::json;

use crate::away::Running;
use crate::common::DEADLINE;
use crate::load::config_at as config;
use crate::node;
use crate::receiver::{Answer, Receiver};

const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Sends two events, one with a trace of its own, whose first call is refused.
async fn travel(dir: &Path, text: &str, receiver: &Receiver) {
    let bridge = Running::start(dir, text).await;
    let request = bridge.http.post(format!("{}/hooks/in", bridge.url)).header("traceparent", SENT);
    let answer = request.json(&json!({"id": "e0", "s": "a", "n": 0})).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(bridge.send("e1", "b", 1).await, 202);
    let calls = receiver.reach(3).await;
    bridge.stop().await;
    let traces = |n: i64| calls.iter().filter(|got| got.n() == n).map(|got| got.trace.clone()).collect::<Vec<_>>();
    let of_sender = traces(0);
    assert_eq!(of_sender.len(), 2);
    assert!(of_sender.iter().all(|trace| trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-")), "{of_sender:?}");
    assert!(of_sender[0] != of_sender[1] && !of_sender.contains(&SENT.to_owned()), "each call is a parent of its own");
    let own = &traces(1)[0];
    assert_eq!((own.len(), own.ends_with("-01")), (SENT.len(), true), "{own}");
}

async fn receiver() -> Receiver {
    let refuse = AtomicBool::new(true);
    let choose = move |got: &crate::receiver::Got, _| {
        if got.n() == 0 && refuse.swap(false, Ordering::Relaxed) { Answer::Status(503, "later") } else { Answer::Ok }
    };
    Receiver::start(choose).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_trace_goes_through_rabbitmq() {
    let (server, receiver) = (node::server().await, receiver().await);
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let text = config("127.0.0.1:0", &server.url, &prefix, &receiver.url);
    // Makes the exchange; then another program listens in.
    Running::start(dir.path(), &text).await.stop().await;
    let other = Connection::connect(&server.url, ConnectionProperties::default()).await.unwrap();
    let channel = other.create_channel().await.unwrap();
    let alone = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), alone, FieldTable::default()).await.unwrap().name().clone();
    let exchange = format!("{prefix}.events");
    let bound = channel.queue_bind(
        queue.clone(),
        exchange.as_str().into(),
        "in.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut heard = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    travel(dir.path(), &text, &receiver).await;
    let first = tokio::time::timeout(DEADLINE, heard.next()).await.unwrap().unwrap().unwrap();
    let headers = first.properties.headers().clone().unwrap();
    assert_eq!(headers.inner().get("traceparent"), Some(&AMQPValue::LongString(SENT.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_trace_goes_through_the_embedded_queue() {
    let receiver = receiver().await;
    let dir = tempfile::tempdir().unwrap();
    travel(dir.path(), &crate::orphans::embedded(&receiver.url), &receiver).await;
}
