//! A bridge's public listener over a broker and a journal in memory, and a client that sends bytes as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use dari::broker::{self, Binding, Broker, BrokerError, Consumer, Depth, Message};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::{self, Build, Hook, SourceRole};
use dari::event::Event;
use dari::intake::{Intake, Limits, router, serve};
use dari::metrics::Metrics;
use dari::settings::{Node, Settings};
use dari::store::journal::{Entry, EventFilter, Journal, Listed, Polled, Record, Refused};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the broker does with events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Takes,
    Fails,
    Hangs,
    Panics,
    /// Takes them once so many requests are there at the same time.
    Gathers(usize),
}

/// A broker in memory.
#[derive(Debug, Default)]
pub struct Fake {
    pub mood: Mutex<Mood>,
    /// What each publish held.
    pub published: Mutex<Vec<Vec<Arc<Event>>>>,
    pub refused: Mutex<Vec<Refused>>,
    pub waiting: AtomicUsize,
    gathered: tokio::sync::Notify,
}

impl Fake {
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.published.lock().unwrap().iter().flatten().cloned().collect()
    }

    pub fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The only refused request so far.
    pub fn the_refused(&self) -> Refused {
        let refused = self.refused.lock().unwrap();
        assert_eq!(refused.len(), 1, "{refused:?}");
        refused[0].clone()
    }
}

#[async_trait]
impl Broker for Fake {
    async fn declare(&self, _: Vec<Binding>) -> broker::Result<()> {
        Ok(())
    }

    async fn publish(&self, events: Vec<Arc<Event>>) -> broker::Result<()> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Takes => {}
            Mood::Fails => return Err(BrokerError::Unavailable("the disk is full".into())),
            Mood::Hangs => std::future::pending::<()>().await,
            Mood::Panics => panic!("a bug"),
            Mood::Gathers(wanted) => {
                let all_here = self.gathered.notified();
                if self.waiting.fetch_add(1, Ordering::SeqCst) + 1 == wanted {
                    self.gathered.notify_waiters();
                } else {
                    all_here.await;
                }
            }
        }
        self.published.lock().unwrap().push(events);
        Ok(())
    }

    async fn publish_to(&self, _: &str, _: Arc<Event>) -> broker::Result<()> {
        Err(BrokerError::Closed)
    }

    async fn consume(&self, _: &str, _: usize) -> broker::Result<Box<dyn Consumer>> {
        Err(BrokerError::Closed)
    }

    async fn wait(&self, _: &str, _: &Message, _: u32, _: Timestamp) -> broker::Result<()> {
        Err(BrokerError::Closed)
    }

    async fn ack(&self, _: &str, _: &Message) -> broker::Result<()> {
        Err(BrokerError::Closed)
    }

    async fn depths(&self) -> broker::Result<Vec<Depth>> {
        Ok(Vec::new())
    }

    async fn rename(&self, _from: &str, _to: &str) -> broker::Result<()> {
        Ok(())
    }

    async fn remove(&self, _: &str) -> broker::Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl Journal for Fake {
    async fn received(&self, _: Vec<Arc<Event>>) -> dari::store::Result<()> {
        Ok(())
    }

    fn record(&self, record: Record) {
        if let Record::Refused(refused) = record {
            self.refused.lock().unwrap().push(refused);
        }
    }

    async fn flush(&self) -> dari::store::Result<()> {
        Ok(())
    }

    async fn events(&self, _: EventFilter) -> dari::store::Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    async fn journey(&self, _: &str) -> dari::store::Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    async fn refused(&self, _: Option<&str>, _: usize) -> dari::store::Result<Vec<Refused>> {
        Ok(self.refused.lock().unwrap().clone())
    }

    async fn polled(&self, _: &str, _: usize) -> dari::store::Result<Vec<Polled>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: Timestamp, _: Timestamp, _: usize) -> dari::store::Result<usize> {
        Ok(0)
    }

    fn store_bodies(&self, _: bool) {}
}

/// A running listener. Stops when dropped.
pub struct Bridge {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    pub intake: Arc<Intake>,
    pub shutdown: CancellationToken,
    pub server: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The time at which every test starts.
pub const NOW: i64 = 1_800_000_000;

impl Bridge {
    pub async fn start(hooks: Vec<(&str, Box<dyn Hook>)>) -> Self {
        Self::with(hooks, Limits::default()).await
    }

    pub async fn with(hooks: Vec<(&str, Box<dyn Hook>)>, limits: Limits) -> Self {
        super::logs::listen();
        let fake = Arc::new(Fake::default());
        let clock = Clock::manual(Timestamp::from_second(NOW).unwrap());
        let hooks = hooks.into_iter().map(|(name, hook)| (name.to_owned(), hook)).collect();
        let intake = Arc::new(Intake::new(
            hooks,
            fake.clone(),
            fake.clone(),
            clock,
            limits.clone(),
            Arc::new(Metrics::new(Vec::new())),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().cancelled_owned();
        let server = tokio::spawn(serve(listener, router(intake.clone()), limits, stop));
        Self { address, fake, intake, shutdown, server: Some(server) }
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send("POST", path, headers, body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut all = vec![("content-length", body.len().to_string())];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            all.push(("content-type", "application/json".to_owned()));
        }
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut client = self.connect().await;
        client.write_all(&head(method, path, &all)).await.unwrap();
        client.write_all(body).await.unwrap();
        answer(client).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

pub fn head(method: &str, path: &str, headers: &[(&str, String)]) -> Vec<u8> {
    use std::fmt::Write;
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Reads until the server closes.
pub async fn answer(mut client: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, client.read_to_end(&mut bytes)).await;
    let read = read.expect("an answer in time");
    assert!(read.is_ok() || !bytes.is_empty(), "{read:?}");
    Reply::parse(&bytes)
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The detail of the problem document, which must be sound.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], "about:blank");
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// A hook built as the config would.
pub fn hook(kind: &str, settings: &Value) -> Box<dyn Hook> {
    let node = Node::from(settings);
    let source = connectors::ALL.iter().flat_map(|m| m.sources).find(|s| s.name == kind).expect("a known kind");
    let build = Build {
        name: "test",
        settings: Settings::new(&node, source.fields),
        account: None,
        zone: TimeZone::get("Asia/Seoul").unwrap(),
        client: Client::new().unwrap(),
        clock: Clock::manual(Timestamp::UNIX_EPOCH),
    };
    match (source.build)(&build) {
        Ok(SourceRole::Hook(hook)) => hook,
        Ok(_) => panic!("{kind} is no webhook"),
        Err(faults) => panic!("{faults:?}"),
    }
}

/// Waits for something that must become true.
pub async fn until(what: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let waited = async {
        while !what() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it became true in time");
}

pub fn open() -> Box<dyn Hook> {
    hook("webhook", &serde_json::json!({"verify": "none"}))
}

pub fn hmac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

pub fn hex_hmac(secret: &str, parts: &[&[u8]]) -> String {
    hex::encode(hmac(secret, parts))
}

pub fn base64_of(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
