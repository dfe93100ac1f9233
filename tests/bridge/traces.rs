//! P7 for machines: spans at a collector that speaks OTLP over HTTP, strictly read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use dari::app::Options;
use dari::spans::Settings;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use crate::binary::{Process, done, folder};
use crate::bridge::{HEAD, PATIENCE, Running, World, http};
use crate::fetch;
use crate::receiver::{Answer, Receiver};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDERS: &str = "b7ad6b7169203331";

// === The encoding, as its specification has it ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Export {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue {
    StringValue(String),
    IntValue(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the specification's name")]
struct Span {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: Option<String>,
    flags: u32,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(deserialize_with = "facts")]
    attributes: HashMap<String, String>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    code: u8,
    message: String,
}

/// Attributes by their key, a number with a sign before it.
fn facts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HashMap<String, String>, D::Error> {
    let all = Vec::<KeyValue>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|KeyValue { key, value }| (key, value.shown())).collect())
}

impl AnyValue {
    fn shown(self) -> String {
        match self {
            Self::StringValue(text) => text,
            Self::IntValue(number) => format!("#{}", number.parse::<i64>().unwrap()),
        }
    }
}

impl Span {
    fn fact(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    fn times(&self) -> (i128, i128) {
        (self.start_time_unix_nano.parse().unwrap(), self.end_time_unix_nano.parse().unwrap())
    }
}

// === A collector ===

/// A collector on a port of its own, which takes spans from those who know its key.
#[derive(Clone)]
struct Collector {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    spans: Mutex<Vec<Span>>,
    resource: Mutex<HashMap<String, String>>,
    count: watch::Sender<usize>,
    asked: watch::Sender<usize>,
    status: AtomicU16,
}

impl Collector {
    async fn start() -> Self {
        let shared = Arc::new(Shared {
            spans: Mutex::default(),
            resource: Mutex::default(),
            count: watch::Sender::new(0),
            asked: watch::Sender::new(0),
            status: AtomicU16::new(200),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Answers with this status from now on.
    fn now(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Waits until so many spans came; by their name.
    async fn reach(&self, count: usize) -> Vec<Span> {
        let mut came = self.shared.count.subscribe();
        let reached = tokio::time::timeout(PATIENCE, came.wait_for(|n| *n >= count)).await;
        let mut spans = self.shared.spans.lock().unwrap().clone();
        assert!(reached.is_ok(), "{count} spans were awaited, these came: {spans:#?}");
        spans.sort_by_key(|span| (span.name.clone(), span.fact("dari.attempt").to_owned()));
        spans
    }

    /// Waits until so many requests came.
    async fn asked(&self, count: usize) {
        let mut asked = self.shared.asked.subscribe();
        tokio::time::timeout(PATIENCE, asked.wait_for(|n| *n >= count)).await.expect("asked in time").unwrap();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = judge(&shared, &headers, &body);
    shared.asked.send_modify(|asked| *asked += 1);
    answer
}

fn judge(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Response {
    let status = StatusCode::from_u16(shared.status.load(Ordering::SeqCst)).unwrap();
    if !status.is_success() {
        return (status, "not now").into_response();
    }
    if headers.get("x-key").is_none_or(|key| key != "hunter2") {
        return (StatusCode::UNAUTHORIZED, "who are you").into_response();
    }
    if headers[header::CONTENT_TYPE] != "application/json" {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let export: Export = match serde_json::from_slice(body) {
        Ok(export) => export,
        Err(why) => return (StatusCode::BAD_REQUEST, why.to_string()).into_response(),
    };
    for of_resource in export.resource_spans {
        let resource = of_resource.resource.attributes.into_iter().map(|fact| (fact.key, fact.value.shown()));
        *shared.resource.lock().unwrap() = resource.collect();
        for of_scope in of_resource.scope_spans {
            assert_eq!((of_scope.scope.name.as_str(), of_scope.scope.version.is_empty()), ("dari", false));
            shared.spans.lock().unwrap().extend(of_scope.spans);
        }
    }
    shared.count.send_replace(shared.spans.lock().unwrap().len());
    axum::Json(json!({ "partialSuccess": {} })).into_response()
}

// === A bridge ===

/// With a collector there, and more variables.
fn options(address: &str, more: &[(&str, &str)]) -> Options {
    let base = format!("http://{address}");
    let env = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(base.clone()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=hunter2".to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("50".to_owned()),
        _ => more.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
    };
    Options { traces: Settings::from_env(&env).unwrap(), ..Options::default() }
}

fn yaml(url: &str) -> String {
    format!(
        r#"{}
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}, retry: {{ first: 200ms }} }} }}
"#,
        HEAD.replace("}\nstore:", ", admin: { address: \"127.0.0.1:0\" } }\nstore:")
    )
}

/// Sends an event within a trace of the sender's.
async fn send_within(bridge: &Running, id: &str, flags: &str) {
    let traceparent = format!("00-{TRACE}-{SENDERS}-{flags}");
    let request = bridge.http.post(format!("{}/hooks/in", bridge.hooks)).header("traceparent", traceparent);
    let answer = request.json(&json!({"id": id, "s": "Kim", "n": 1})).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

async fn fails_once() -> Receiver {
    Receiver::start(|_, before| if before == 0 { Answer::Status(503, "try later") } else { Answer::Ok }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_collector_gets_the_receipt_and_each_attempt_in_the_senders_trace() {
    let (collector, receiver) = (Collector::start().await, fails_once().await);
    let world = World::whole(&yaml(&receiver.url));
    let bridge = world.start_as(&options(&collector.address, &[("OTEL_SERVICE_NAME", "bridge-7")])).await;
    send_within(&bridge, "e-1", "01").await;
    let spans = collector.reach(3).await;
    let [first, second, receipt] = &spans[..] else { panic!("{spans:#?}") };
    assert!(spans.iter().all(|span| span.trace_id == TRACE && span.flags == 1), "{spans:#?}");
    assert_eq!(
        (receipt.name.as_str(), receipt.kind, receipt.parent_span_id.as_deref(), &receipt.status),
        ("receive in", 2, Some(SENDERS), &None)
    );
    let said: HashMap<_, _> = [("dari.event.id", "e-1"), ("dari.event.type", "thing.changed"), ("dari.source", "in")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    assert_eq!(receipt.attributes, said, "and nothing of what it is about");
    let calls = receiver.reach(2).await;
    for (attempt, call) in [first, second].into_iter().zip(&calls) {
        assert_eq!((attempt.name.as_str(), attempt.kind), ("deliver news", 3));
        assert_eq!(attempt.parent_span_id.as_ref(), Some(&receipt.span_id));
        assert_eq!(call.trace, format!("00-{TRACE}-{}-01", attempt.span_id), "the sink sees the span that calls it");
        let facts = ["dari.event.id", "dari.route", "dari.sink", "dari.verb", "http.request.method", "server.address"];
        assert_eq!(facts.map(|key| attempt.fact(key)), ["e-1", "news", "out", "create", "POST", "127.0.0.1"]);
    }
    let told = |span: &Span| {
        let keys = ["dari.attempt", "dari.outcome", "http.response.status_code", "error.type"];
        (keys.map(|key| span.fact(key).to_owned()), span.status.clone())
    };
    let failed = Status { code: 2, message: "HTTP 503: try later".to_owned() };
    assert_eq!(told(first), (["#1", "retry", "#503", "503"].map(str::to_owned), Some(failed)));
    assert_eq!(told(second), (["#2", "delivered", "#200", ""].map(str::to_owned), None));
    let (received, one, two) = (receipt.times(), first.times(), second.times());
    assert!(received.0 <= received.1 && one.0 < one.1 && two.0 < two.1, "{spans:#?}");
    assert!(received.0 <= one.0 && one.1 < two.0, "{spans:#?}");
    let resource = collector.shared.resource.lock().unwrap().clone();
    assert_eq!(resource["service.name"], "bridge-7");
    // People find the trace by its id.
    assert_eq!(bridge.operator().trace("e-1").await.unwrap()[0].trace, TRACE);
    let page = format!("{}/event?source=in&id=e-1", bridge.admin.as_ref().unwrap());
    let page = bridge.http.get(page).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("<code>{TRACE}</code>")), "{page}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_the_sender_does_not_record_is_not_exported_and_a_trace_of_its_own_is() {
    let (collector, receiver) = (Collector::start().await, Receiver::ok().await);
    let world = World::whole(&yaml(&receiver.url));
    let bridge = world.start_as(&options(&collector.address, &[])).await;
    send_within(&bridge, "e-1", "00").await;
    bridge.ended("e-1", "news", "delivered").await;
    bridge.send(json!({"id": "e-2", "s": "Lee", "n": 2})).await;
    let spans = collector.reach(2).await;
    let [attempt, receipt] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!([attempt, receipt].map(|span| span.fact("dari.event.id")), ["e-2"; 2]);
    assert_eq!((receipt.parent_span_id.as_ref(), attempt.parent_span_id.as_ref()), (None, Some(&receipt.span_id)));
    let calls = receiver.reach(2).await;
    assert!(calls[0].trace.starts_with(&format!("00-{TRACE}-")) && calls[0].trace.ends_with("-00"), "{calls:#?}");
    assert_eq!(calls[1].trace, format!("00-{}-{}-01", attempt.trace_id, attempt.span_id));
    bridge.ended("e-2", "news", "delivered").await;
    assert_eq!(bridge.operator().trace("e-2").await.unwrap()[0].trace, receipt.trace_id);
    bridge.stop().await;
    assert_eq!(collector.reach(2).await.len(), 2, "nothing came at the end either");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_is_read_anew_or_polled_is_received_once() {
    let (vendor, receiver) = (fetch::vendor(&["42"]).await, Receiver::ok().await);
    let hinted = fetch::yaml(&vendor.url, &receiver, "sandbox-token", true);
    let list = Receiver::start(|_, _| Answer::Status(200, r#"[{"id": "1"}]"#)).await;
    let polled = format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
sources: {{ feed: {{ http-poll: {{ url: "{}", allow_private: true, type: order, start: all, every: 1h }} }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: feed, to: out, do: create, map: {{ s: "{{{{ subject }}}}" }} }} }}
"#,
        list.url, receiver.url
    );
    for (yaml, name, kind) in [(hinted, "receive tasks", 2), (polled, "receive feed", 5)] {
        let (collector, world) = (Collector::start().await, World::whole(&yaml));
        let bridge = world.start_as(&options(&collector.address, &[])).await;
        if kind == 2 {
            fetch::hint(&bridge, "postCreated", "42").await;
        }
        collector.reach(2).await;
        bridge.stop().await;
        let spans = collector.reach(2).await;
        let [attempt, receipt] = &spans[..] else { panic!("{spans:#?}") };
        assert_eq!((receipt.name.as_str(), receipt.kind, &receipt.parent_span_id), (name, kind, &None));
        assert_eq!(attempt.parent_span_id.as_ref(), Some(&receipt.span_id));
    }
}

/// How often the log tells something of a collector.
fn told(collector: &Collector, what: &str) -> usize {
    let log = String::from_utf8(crate::traced::log().bytes()).unwrap();
    log.lines().filter(|line| line.contains(what) && line.contains(&collector.address)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_collector_that_is_away_delays_nothing_and_what_does_not_fit_is_counted() {
    crate::traced::log();
    let (collector, receiver) = (Collector::start().await, Receiver::ok().await);
    let world = World::whole(&yaml(&receiver.url));
    let small = [("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")];
    let bridge = world.start_as(&options(&collector.address, &small)).await;
    collector.now(503);
    for n in 0..6 {
        let id = bridge.send(json!({"id": format!("e-{n}"), "s": n.to_string(), "n": n})).await;
        bridge.ended(&id, "news", "delivered").await;
    }
    // Twelve spans; one is being sent, two wait.
    assert_eq!(bridge.operator().metrics.spans_dropped.get(), 9);
    let metrics = format!("{}/metrics", bridge.admin.as_ref().unwrap());
    let metrics = bridge.http.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "dari_spans_dropped_total 9"), "{metrics}");
    collector.asked(3).await;
    collector.now(200);
    collector.reach(3).await;
    assert_eq!([told(&collector, "takes no spans now"), told(&collector, "takes spans again")], [1, 1]);
    // What it refuses is not sent again.
    collector.now(401);
    let id = bridge.send(json!({"id": "e-7", "s": "7", "n": 7})).await;
    bridge.ended(&id, "news", "delivered").await;
    bridge.until("the refused", async |op| (op.metrics.spans_dropped.get() == 11).then_some(())).await;
    assert_eq!(told(&collector, "refuses spans"), 1);
    bridge.stop().await;
    assert_eq!(collector.reach(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_collector_that_is_not_there_does_not_hold_the_end() {
    let receiver = Receiver::ok().await;
    // Nobody accepts there, and nobody refuses.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::whole(&yaml(&receiver.url));
    let bridge = world.start_as(&options(&silent.local_addr().unwrap().to_string(), &[])).await;
    let metrics = Arc::clone(&bridge.operator().metrics);
    let id = bridge.send(json!({"id": "e-1", "s": "1", "n": 1})).await;
    bridge.ended(&id, "news", "delivered").await;
    let begun = tokio::time::Instant::now();
    bridge.stop().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(metrics.spans_dropped.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_program_goes_by_the_variables_and_sends_the_last_spans_at_the_end() {
    let (collector, receiver) = (Collector::start().await, Receiver::ok().await);
    let dir = folder(&yaml(&receiver.url));
    let endpoint = format!("http://{}", collector.address);
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let mut process = Process::start_with(dir.path(), &env).await;
    let http = http(PATIENCE);
    let request = http.post(format!("{}/hooks/in", process.hooks));
    let request = request.header("traceparent", format!("00-{TRACE}-{SENDERS}-01"));
    assert_eq!(request.json(&json!({"id": "e-1", "s": "1", "n": 1})).send().await.unwrap().status(), 202);
    receiver.reach(1).await;
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    let spans = collector.reach(2).await;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["deliver news", "receive in"]);
    assert_eq!(collector.shared.resource.lock().unwrap()["service.name"], "dari");
    let (code, text) = done(dir.path(), &["trace", "e-1"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().any(|line| line == format!("  trace {TRACE}")), "{text}");
}
