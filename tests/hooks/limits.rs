//! What no client can do: hold a connection, fill the memory, fill the journal.

use std::time::Duration;

use dari::intake::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Bridge, Mood, PATIENCE, answer, head, open, until};

/// Sends a byte at a time until the server closes; what it had said by then.
async fn drip(mut client: TcpStream, bytes: &[u8]) -> String {
    let (mut reading, mut writing) = client.split();
    let mut said = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let dripping = async {
        for byte in bytes {
            ticks.tick().await;
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = dripping => {}
        closed = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut said)) => {
            let _ = closed.expect("the server closed the connection");
        }
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let limits = Limits { head_time: Duration::from_millis(200), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let request = head("POST", "/hooks/any", &[("x-long", "a".repeat(1_000))]);
    assert!(!drip(bridge.connect().await, &request).await.contains("202"));
    assert!(bridge.fake.events().is_empty());
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let limits = Limits { body_time: Duration::from_millis(200), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let mut client = bridge.connect().await;
    client.write_all(&head("POST", "/hooks/any", &[("content-length", "1000".to_owned())])).await.unwrap();
    let said = drip(client, &[b' '; 1_000]).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("the body took too long"), "{said}");
    assert!(bridge.fake.events().is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits { head_time: Duration::from_millis(200), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let mut client = bridge.connect().await;
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(client).await.status, 200, "and the server closed");
    assert_eq!(drip(bridge.connect().await, b"").await, "", "so is one that never says a word");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let limits =
        Limits { connection_time: Duration::from_millis(200), drain: Duration::from_millis(200), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let mut client = bridge.connect().await;
    let many = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let sending = async { while client.write_all(&many).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, sending).await.expect("the server closed the connection");
}

#[tokio::test]
async fn further_connections_wait_for_their_turn() {
    let limits = Limits { connections: 1, head_time: Duration::from_millis(200), ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let _holder = bridge.connect().await;
    let reply = bridge.send("GET", "/healthz", &[], b"").await;
    assert_eq!(reply.status, 200, "the holder was closed");
}

#[tokio::test]
async fn a_head_may_not_grow_without_end() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let long = "a".repeat(64 << 10);
    assert_eq!(bridge.post("/hooks/any", &[("X-Long", &long)], b"{}").await.status, 431);
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(bridge.post("/hooks/any", &many, b"{}").await.status, 431);
    assert!(bridge.fake.events().is_empty());
}

#[tokio::test]
async fn a_body_too_long_is_refused_before_it_is_sent() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let mut client = bridge.connect().await;
    client.write_all(&head("POST", "/hooks/any", &[("content-length", "1048577".to_owned())])).await.unwrap();
    let reply = answer(client).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "the body is longer than 1048576 bytes"));
    assert_eq!(bridge.fake.the_refused().status, 413);
}

#[tokio::test]
async fn a_chunked_body_too_long_is_not_read_on() {
    let limits = Limits { body: 1_000, ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    let exact = format!("\"{}\"", "a".repeat(998));
    assert_eq!(bridge.post("/hooks/any", &[], exact.as_bytes()).await.status, 202, "the limit itself fits");
    let mut client = bridge.connect().await;
    client.write_all(&head("POST", "/hooks/any", &[("transfer-encoding", "chunked".to_owned())])).await.unwrap();
    // The chunk says it has a gigabyte; a server that waited for it would not answer.
    client.write_all(b"40000000\r\n").await.unwrap();
    client.write_all(&[b' '; 1_001]).await.unwrap();
    let reply = answer(client).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "the body is longer than 1000 bytes"));
    assert_eq!(bridge.fake.events().len(), 1);
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_event() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let mut client = bridge.connect().await;
    client.write_all(&head("POST", "/hooks/any", &[("content-length", "100".to_owned())])).await.unwrap();
    client.write_all(b"{}").await.unwrap();
    drop(client);
    assert_eq!(bridge.post("/hooks/any", &[], b"{}").await.status, 202);
    assert_eq!(bridge.fake.events().len(), 1);
}

#[tokio::test]
async fn sixty_four_at_once_are_all_published_side_by_side() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    // No publish returns before all 64 have begun.
    bridge.fake.mood(Mood::Gathers(64));
    let posts = (0..64).map(|n| {
        let bridge = &bridge;
        async move { bridge.post("/hooks/any", &[], json!({ "n": n }).to_string().as_bytes()).await }
    });
    let replies = futures_util::future::join_all(posts).await;
    assert!(replies.iter().all(|reply| reply.status == 202), "{replies:?}");
    let mut ids: Vec<String> = bridge.fake.events().iter().map(|event| event.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 64);
}

#[tokio::test]
async fn more_requests_than_can_be_held_are_asked_to_come_back() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let bridge = Bridge::with(vec![("any", open())], limits).await;
    bridge.fake.mood(Mood::Gathers(2));
    let first = async { bridge.post("/hooks/any", &[], b"{}").await };
    let second = async {
        until(|| bridge.fake.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
        let reply = bridge.post("/hooks/any", &[], b"{}").await;
        dari::broker::Broker::publish(&*bridge.fake, Vec::new()).await.unwrap();
        reply
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.status), (202, 503));
    assert_eq!(second.header("retry-after"), Some("5"));
    assert_eq!(second.problem(), "too many requests are under way");
}

#[tokio::test]
async fn knocking_does_not_fill_the_journal() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    for _ in 0..300 {
        assert_eq!(bridge.post(&format!("/hooks/{}", "x".repeat(200)), &[], b"").await.status, 404);
    }
    let refused = bridge.fake.refused.lock().unwrap();
    assert!((100..250).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|r| r.source.len() == 63));
}
