//! What the client says about calls that got no answer, and which addresses it refuses.

use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use dari::clock::Clock;
use dari::connectors::Call;
use dari::connectors::client::{Addresses, Client, MAX_ANSWER, SendError};
use dari::connectors::sandbox::Fault;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use crate::world::World;

async fn world() -> World {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/away", get(|| async { Redirect::temporary("/hello") }))
        .route("/long", get(|| async { "x".repeat(3 * MAX_ANSWER) }));
    World::serving(router, Clock::manual("2026-11-21T03:04:05Z".parse().unwrap())).await
}

fn get_call(url: &str) -> Call {
    Call::new(Method::GET, Url::parse(url).unwrap()).timeout(Duration::from_secs(3))
}

fn not_sent(result: Result<dari::connectors::Answer, SendError>) -> String {
    match result {
        Err(SendError::NotSent(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_the_limit() {
    let world = world().await;
    let answer = world.send(&get_call(&format!("{}/hello", world.served.url))).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "hello"));
    let answer = world.send(&get_call(&format!("{}/long", world.served.url)).timeout(Duration::from_secs(10))).await;
    assert_eq!(answer.unwrap().body.len(), MAX_ANSWER);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = world().await;
    let answer = world.send(&get_call(&format!("{}/away", world.served.url))).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.location().as_deref()), (307, Some("/hello")));
    assert_eq!(world.served.calls.count(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_in_every_spelling() {
    let world = world().await;
    let port = Url::parse(&world.served.url).unwrap().port().unwrap();
    for host in
        ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"]
    {
        let call = get_call(&format!("http://{host}:{port}/hello")).addresses(Addresses::Public);
        let why = not_sent(world.send(&call).await);
        assert!(why.contains("is not a public address; if it is meant, set `allow_private: true`"), "{host}: {why}");
    }
    // Nor over a connection that was opened when it was allowed.
    let url = format!("http://localhost:{port}/hello");
    assert!(world.send(&get_call(&url)).await.is_ok());
    not_sent(world.send(&get_call(&url).addresses(Addresses::Public)).await);
    assert_eq!(world.served.calls.count(), 1);
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let client = Client::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let why = not_sent(client.send(&get_call(&format!("http://{free}/secret-path?token=hunter2"))).await);
    assert!(why.starts_with("127.0.0.1: ") && why.contains("refused") && !why.contains("secret"), "{why}");
}

#[tokio::test]
async fn without_tls_nothing_was_sent() {
    let world = world().await;
    let plain = world.served.url.replace("http://", "https://");
    not_sent(world.send(&get_call(&format!("{plain}/hello")).timeout(Duration::from_secs(10))).await);
    assert_eq!(world.served.calls.count(), 0);
}

/// What a machine without CA certificates does, in a process of its own: `SSL_CERT_FILE` leads nowhere there.
#[test]
fn without_ca_certificates_only_https_fails() {
    const MARK: &str = "DARI_TEST_WITHOUT_CERTIFICATES";
    if std::env::var_os(MARK).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(async {
            let world = world().await;
            assert!(world.send(&get_call(&format!("{}/hello", world.served.url))).await.is_ok());
            let why = not_sent(world.send(&get_call("https://localhost/")).await);
            assert!(why.ends_with("on Debian: apt-get install ca-certificates"), "{why}");
        });
    }
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "client::without_ca_certificates_only_https_fails", "--nocapture"])
        .env(MARK, "1")
        .env("SSL_CERT_FILE", "/nonexistent/file")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn a_reset_or_silence_leaves_doubt() {
    let world = world().await;
    for fault in [Fault::ResetBefore, Fault::ResetAfter, Fault::Timeout] {
        world.served.faults.next(fault, 1);
        let result = world.send(&get_call(&format!("{}/hello?token=hunter2", world.served.url))).await;
        let Err(SendError::NoAnswer(why)) = result else { panic!("{fault:?}: {result:?}") };
        assert!(!why.contains("hunter2"), "{why}");
    }
    // Three calls and not more: none was silently repeated.
    assert_eq!(world.served.calls.count(), 3);
    // A connection that was used before is no different.
    let url = format!("{}/hello", world.served.url);
    assert!(world.send(&get_call(&url)).await.is_ok());
    world.served.faults.next(Fault::ResetBefore, 1);
    assert!(matches!(world.send(&get_call(&url)).await, Err(SendError::NoAnswer(_))));
    assert_eq!(world.served.calls.count(), 5);
}

#[tokio::test]
async fn a_cut_body_leaves_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await.unwrap();
    });
    let result = Client::new().unwrap().send(&get_call(&url)).await;
    assert!(matches!(result, Err(SendError::NoAnswer(_))), "{result:?}");
}

#[tokio::test]
async fn a_sandbox_stops_though_calls_hang() {
    let world = world().await;
    world.served.faults.next(Fault::Timeout, 1);
    let call = get_call(&format!("{}/hello", world.served.url)).timeout(Duration::from_mins(1));
    let client = world.client.clone();
    let hanging = tokio::spawn(async move { client.send(&call).await });
    while world.served.calls.count() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(10), world.served.stop()).await.expect("stops");
    assert!(matches!(hanging.await.unwrap(), Err(SendError::NoAnswer(_))));
}

#[tokio::test]
async fn faults_and_calls_are_reached_over_http_too() {
    let world = world().await;
    let order = Call::new(Method::POST, Url::parse(&format!("{}/_sandbox/faults", world.served.url)).unwrap());
    let order = order.json(&serde_json::json!({ "fault": "too-many-requests", "after": 9, "times": 1, "path": "/he" }));
    assert_eq!(world.send(&order).await.unwrap().status.as_u16(), 201);
    let answer = world.send(&get_call(&format!("{}/hello", world.served.url))).await.unwrap();
    assert_eq!(answer.status.as_u16(), 429);
    assert_eq!(answer.retry_after(world.clock.now()), Some(Duration::from_secs(9)));
    let wrong = order.json(&serde_json::json!({ "fault": "earthquake" }));
    assert_eq!(world.send(&wrong).await.unwrap().status.as_u16(), 400);
    let calls = world.send(&get_call(&format!("{}/_sandbox/calls", world.served.url))).await.unwrap().json().unwrap();
    assert_eq!(calls.as_array().unwrap().len(), 1);
    assert_eq!((&calls[0]["path"], &calls[0]["fault"]), (&"/hello".into(), &"too-many-requests".into()));
}
