//! P7, P10, P11: what can be read afterwards, what is told, and what is never shown.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use dari::outcome::Scope;
use dari::store::journal::{EventFilter, Step};
use serde_json::json;

use crate::bridge::{Running, World};
use crate::receiver::{Answer, Receiver};

fn words(step: &Step) -> String {
    match step {
        Step::Matched { verb } => format!("matched {verb}"),
        Step::Skipped { why } => format!("skipped {why}"),
        Step::Attempt { attempt, status, outcome, .. } => format!("attempt {attempt} {outcome} {status:?}"),
        Step::Waiting { attempt, why, .. } => format!("waiting {attempt} {why}"),
        Step::Ended { ending, .. } => format!("ended {ending}"),
        Step::Asked { what, message, .. } => format!("asked {what}: {message}"),
        Step::Operator { what } => format!("operator {what}"),
    }
}

// === P7 ===

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_trace_tells_the_whole_journey() {
    let receiver =
        Receiver::start(|_, before| if before == 0 { Answer::Status(500, "try later") } else { Answer::Ok }).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  taken: {{ from: in, to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }}, retry: {{ first: 200ms }} }}
  filtered: {{ from: in, when: data.n > 10, to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }}
  typed: {{ from: in, types: [other.thing], to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    let id = bridge.send(json!({"id": "e-1", "s": "subject-1", "n": 3})).await;
    bridge.ended(&id, "taken", "delivered").await;
    let steps: Vec<_> = bridge.steps("subject-1", "taken").await.iter().map(words).collect();
    assert_eq!(
        steps,
        [
            "matched create",
            "attempt 1 retry Some(500)",
            "waiting 2 HTTP 500: try later",
            "attempt 2 delivered Some(200)",
            "ended delivered"
        ]
    );
    let steps: Vec<_> = bridge.steps(&id, "filtered").await.iter().map(words).collect();
    let [skipped] = &steps[..] else { panic!("{steps:?}") };
    assert!(skipped.starts_with("skipped") && skipped.contains("data.n > 10") && skipped.contains('3'), "{skipped}");
    let journeys = bridge.operator().trace(&id).await.unwrap();
    let typed = journeys[0].routes.iter().find(|r| r.route == "typed").unwrap();
    assert_eq!(typed.not_bound.as_deref(), Some("it takes other.thing, not thing.changed"));
    assert_eq!(journeys[0].event.event.id, "e-1");

    let (status, why) = bridge.post("in", &json!({"id": "", "n": 1})).await;
    assert_eq!(status, 400, "{why}");
    let (status, _) = bridge.post("inn", &json!({"n": 1})).await;
    assert_eq!(status, 404);
    bridge.operator().journal.flush().await.unwrap();
    let refused = bridge.operator().journal.refused(None, 10).await.unwrap();
    let told: Vec<_> =
        refused.iter().map(|r| (r.source.as_str(), r.status, r.peer.starts_with("127.0.0.1:"))).collect();
    assert_eq!(told, [("inn", 404, true), ("in", 400, true)]);
    // An event that came again is still told as delivered.
    bridge.send(json!({"id": "e-1", "s": "subject-1", "n": 3})).await;
    bridge.ended(&id, "taken", "duplicate").await;
    let listed = bridge.operator().events(EventFilter { id: Some(id), ..EventFilter::default() }).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].endings, [("taken".to_owned(), "delivered".to_owned())]);
    bridge.stop().await;
}

// === P10 ===

#[tokio::test(flavor = "multi_thread")]
async fn p10_ten_events_that_cannot_be_mapped_suspend_the_route() {
    let receiver = Receiver::ok().await;
    let yaml = |field: &str| {
        format!(
            r#"{}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, map: {{ n: "{{{{ data.{field} }}}}" }} }} }}
"#,
            crate::bridge::HEAD,
            receiver.url
        )
    };
    let world = World::whole(&yaml("nn"));
    let bridge = world.start().await;
    bridge.operator().suspend(Scope::Route, "news", None).await.unwrap();
    for n in 0..40 {
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
    }
    bridge.operator().resume(Scope::Route, "news").await.unwrap();
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Route, "news")).await;
    assert!(halt.why.contains("10 events in a row") && halt.why.contains("data.nn"), "{}", halt.why);
    bridge
        .until("a still queue", async |op| {
            let routes = op.routes().await.unwrap();
            (routes[0].queued == 31).then_some(())
        })
        .await;
    let dead = bridge.dead().await;
    assert_eq!(dead.len(), 9, "the tenth and the rest wait");
    assert!(dead.iter().all(|d| d.letter.reason.contains('n') && d.letter.attempts == 0), "{dead:#?}");
    bridge.stop().await;
    world.write(&yaml("n"));
    let bridge = world.start().await;
    assert!(bridge.suspended(Scope::Route, "news").is_some(), "until a person has looked");
    assert_eq!(receiver.count(), 0);
    bridge.operator().resume(Scope::Route, "news").await.unwrap();
    bridge.drained("news").await;
    assert_eq!(receiver.count(), 31);
    let request = dari::admin::replay::ReplayRequest { all_dead: true, ..Default::default() };
    assert_eq!(bridge.operator().replay(request).await.unwrap().deliveries, 9);
    receiver.reach(40).await;
    bridge.drained("news").await;
    let mut came = receiver.numbers();
    came.sort_unstable();
    assert_eq!(came, (0..40).collect::<Vec<_>>());
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

// === P11 ===

/// All that is logged in this process, by every test.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log(Arc::default());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("dari=trace,warn")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the only one of this process");
        log
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_secrets_and_masked_values_are_shown_nowhere() {
    const PHONE: &str = "010-1234-5678";
    let log = log();
    let receiver = Receiver::start(|got, _| match got.n() {
        1 => Answer::Status(422, "the phone 010-1234-5678 is wrong"),
        2 => Answer::Status(500, "the phone 010-1234-5678 is busy"),
        _ => Answer::Ok,
    })
    .await;
    let world = World::new(&format!(
        r#"
redact: ["data.phone"]
accounts: {{ daou: {{ works: {{ client_id: sandbox, client_secret: "${{WORKS_SECRET}}", url: "http://127.0.0.1:1" }} }} }}
sinks:
  out: {{ http: {{ url: "{}?key=${{QUERY}}", allow_private: true, auth: {{ bearer: "${{TOKEN}}" }}, headers: {{ x-more: "${{MORE}}" }}, secret: whsec_aHVudGVyMi1zaWduaW5nLXNlY3JldA== }} }}
  crm: {{ works: {{ account: daou, token: "${{WORKS_TOKEN}}", key: id, fields: {{ id: text, number: number }} }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ n: "{{{{ data.n }}}}", phone: "{{{{ data.phone }}}}" }}, retry: {{ first: 200ms, factor: 1, max: 200ms, give_up_after: 1s }} }}
  numbers: {{ from: in, to: crm, do: create, map: {{ id: "{{{{ id }}}}", number: "{{{{ data.phone }}}}" }} }}
  filtered: {{ from: in, when: data.phone == 'none', to: out, do: create, map: {{ n: "1" }} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    for n in 0..12 {
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n, "phone": PHONE})).await;
    }
    bridge.ended("e1", "news", "rejected").await;
    bridge.ended("e2", "news", "exhausted").await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Route, "numbers")).await;
    assert!(receiver.calls().iter().any(|c| c.body["phone"] == PHONE), "the sink is given it");
    bridge.operator().journal.flush().await.unwrap();
    let op = bridge.operator();
    let mut shown = overview(&bridge).await;
    for n in 0..12 {
        shown.push(serde_json::to_string(&op.trace(&format!("e{n}")).await.unwrap()).unwrap());
    }
    // With the body goes the knowledge of what was to be masked.
    let later = world.clock.now() + jiff::SignedDuration::from_hours(1);
    assert!(op.journal.forget(jiff::Timestamp::MIN, later, 1000).await.unwrap() >= 12);
    for n in 0..12 {
        let told = op.trace(&format!("e{n}")).await.unwrap();
        assert!(!told[0].event.body && told[0].routes.iter().any(|route| !route.steps.is_empty()));
        shown.push(serde_json::to_string(&told).unwrap());
    }
    shown.push(bridge.http.get(format!("{}/readyz", bridge.hooks)).send().await.unwrap().text().await.unwrap());
    bridge.stop().await;
    shown.push(String::from_utf8(log.bytes()).unwrap());
    assert!(shown.last().unwrap().contains("dead letter"), "the log was captured");
    for text in &shown {
        for secret in [PHONE, "hunter2", "aHVudGVyMi1zaWduaW5nLXNlY3JldA"] {
            let at = text.find(secret).map(|at| text[at.saturating_sub(300)..].chars().take(400).collect::<String>());
            assert_eq!(at, None, "{secret} is shown");
        }
    }
}

/// All that a bridge tells of itself.
async fn overview(bridge: &Running) -> Vec<String> {
    let op = bridge.operator();
    vec![
        serde_json::to_string(&op.events(EventFilter::default()).await.unwrap()).unwrap(),
        serde_json::to_string(&bridge.dead().await).unwrap(),
        serde_json::to_string(&op.routes().await.unwrap()).unwrap(),
        serde_json::to_string(&op.accounts().await.unwrap()).unwrap(),
        serde_json::to_string(&op.sinks().await.unwrap()).unwrap(),
        serde_json::to_string(&op.sources().await.unwrap()).unwrap(),
        format!("{:?}", op.config),
    ]
}
