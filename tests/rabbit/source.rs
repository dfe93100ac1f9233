//! The source `amqp`: a queue that other programs publish to (promises P1, P2, P7, P10).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::outcome::Scope;
use dari::store::journal::{EventFilter, Refused};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::json;

use crate::keeping::ready;
use crate::load::{PATIENCE, Running, repeated, until};
use crate::node;
use crate::proxy::Proxy;
use crate::receiver::Receiver;
use crate::whole::spawn;

/// A program that publishes.
struct Program {
    channel: Channel,
    _connection: Connection,
    /// Its queue.
    queue: String,
}

impl Program {
    /// With a queue of its own.
    async fn new(url: &str) -> Self {
        let program = Self::without_queue(url).await;
        program.declare(&[]).await;
        program
    }

    async fn without_queue(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { channel, _connection: connection, queue: format!("{}.orders", node::prefix()) }
    }

    async fn declare(&self, arguments: &[(&str, &str)]) {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let options = QueueDeclareOptions::durable();
        self.channel.queue_declare(self.queue.as_str().into(), options, table).await.unwrap();
    }

    async fn publish(&self, body: &[u8], properties: BasicProperties) {
        self.publish_to("", &self.queue, body, properties).await;
    }

    async fn publish_to(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let properties = properties.with_delivery_mode(2);
        let published = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        published.unwrap().await.unwrap();
    }

    /// An order with a number, under an id.
    async fn order(&self, n: i64) {
        let properties = BasicProperties::default().with_message_id(format!("m{n}").as_str().into());
        self.publish(json!({"n": n, "s": format!("s{}", n % 5)}).to_string().as_bytes(), properties).await;
    }
}

/// Templates that find an order's subject.
const EVENT: &str =
    r#"event: { type: "thing.{{ body.kind | default('changed') }}", subject: "{{ body.s | default(omit) }}" }"#;

/// A config whose source is a queue.
fn config(broker: &str, source: &str, hooks: &str, sink: &str) -> String {
    format!(
        r#"
listen: {{ hooks: "{hooks}" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
{broker}
sources:
  in: {{ amqp: {{ {source} }} }}
sinks:
  out: {{ http: {{ url: "{sink}", allow_private: true }} }}
routes:
  news:
    from: in
    to: out
    do: create
    on_doubt: retry
    map: {{ s: "{{{{ subject | default('') }}}}", n: "{{{{ data.n | default(0) }}}}" }}
    retry: {{ first: 1s, factor: 1, max: 1s }}
"#
    )
}

/// The keys of a source on a queue.
fn from(url: &str, queue: &str, more: &str) -> String {
    format!(r#"url: "{url}", queue: "{queue}"{more}"#)
}

/// A bridge with a source, on its embedded queue.
async fn embedded(source: &str) -> Running {
    let receiver = Receiver::ok().await;
    Running::with(&config("", source, "127.0.0.1:0", &receiver.url), receiver).await
}

/// A bridge with a source, on RabbitMQ.
async fn over(url: &str, source: &str) -> Running {
    let receiver = Receiver::ok().await;
    let broker = format!("broker: {{ url: \"{url}\", prefix: {} }}", node::prefix());
    Running::with(&config(&broker, source, "127.0.0.1:0", &receiver.url), receiver).await
}

/// Waits until the refused messages are so many.
async fn refused(bridge: &Running, count: usize) -> Vec<Refused> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = bridge.operator.journal.refused(Some("in"), 1000).await.unwrap();
        if found.len() >= count {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "only {} were refused", found.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the source says this.
async fn says(bridge: &Running, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let source = bridge.operator.sources().await.unwrap().remove(0);
        let said = [source.last_poll.and_then(|poll| poll.note), source.suspension.map(|halt| halt.why)];
        if said.iter().flatten().any(|said| said.contains(words)) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said:?} is not {words}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until so many messages are ready in the program's queue.
async fn left(url: &str, queue: &str, count: u32) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while ready(url, queue).await != count {
        assert!(tokio::time::Instant::now() < deadline, "{} are in {queue}", ready(url, queue).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn what_is_published_comes_out_once(bridge: Running, program: Program, url: &str) {
    for n in 0..50 {
        program.order(n).await;
    }
    // The same again: known by their ids.
    for n in 0..10 {
        program.order(n).await;
    }
    bridge.receiver.reach(50).await;
    left(url, &program.queue, 0).await;
    bridge.drained().await;
    let numbers = bridge.receiver.numbers();
    assert!(repeated(&numbers).is_empty() && numbers.len() == 50, "{numbers:?}");
    let mut last = std::collections::BTreeMap::new();
    for got in bridge.receiver.calls() {
        let before = last.insert(got.subject(), got.n()).unwrap_or(-1);
        assert!(before < got.n(), "{before} came before {} of {}", got.n(), got.subject());
    }
    bridge.end().await;
    assert_eq!(ready(url, &program.queue).await, 0, "everything is acked");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_a_program_publishes_comes_out_once_and_in_order() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let bridge = embedded(&from(&server.url, &program.queue, &format!(", {EVENT}"))).await;
    what_is_published_comes_out_once(bridge, program, &server.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_same_with_rabbitmq_as_the_broker() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let bridge = over(&server.url, &from(&server.url, &program.queue, &format!(", {EVENT}"))).await;
    what_is_published_comes_out_once(bridge, program, &server.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_need_no_templates() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let bridge = embedded(&from(&server.url, &program.queue, "")).await;
    let mut headers = FieldTable::default();
    for (name, value) in
        [("specversion", "1.0"), ("id", "1"), ("source", "/shop"), ("type", "order.paid"), ("subject", "A-1")]
    {
        headers.insert(format!("cloudEvents:{name}").as_str().into(), AMQPValue::LongString(value.into()));
    }
    let binary = BasicProperties::default().with_headers(headers).with_content_type("application/json".into());
    program.publish(br#"{"n": 1}"#, binary).await;
    let structured = json!({"specversion": "1.0", "id": "2", "source": "/shop", "type": "order.sent", "subject": "A-1",
                            "time": "2026-03-01T00:00:00Z", "data": {"n": 2}});
    let media = BasicProperties::default().with_content_type("application/cloudevents+json".into());
    program.publish(structured.to_string().as_bytes(), media).await;
    let calls = bridge.receiver.reach(2).await;
    assert_eq!(
        calls.iter().map(|got| (got.n(), got.subject())).collect::<Vec<_>>(),
        [(1, "A-1".to_owned()), (2, "A-1".to_owned())]
    );
    bridge.drained().await;
    let listed =
        bridge.operator.journal.events(EventFilter { oldest_first: true, ..EventFilter::default() }).await.unwrap();
    let known: Vec<_> = listed.iter().map(|l| (l.event.id.as_str(), l.event.kind.as_str())).collect();
    assert_eq!(known, [("/shop#1", "order.paid"), ("/shop#2", "order.sent")]);
    assert_eq!(listed[1].event.time.to_string(), "2026-03-01T00:00:00Z");
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_is_no_event_is_kept_in_the_journal_and_stops_nothing() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let bridge = embedded(&from(&server.url, &program.queue, "")).await;
    program.order(1).await;
    program.publish(b"hello", BasicProperties::default()).await;
    program.publish(&[0xff, 0xfe], BasicProperties::default()).await;
    let odd = BasicProperties::default().with_type("an order".into());
    program.publish(b"{}", odd).await;
    program.order(2).await;
    bridge.receiver.reach(2).await;
    let mut found = refused(&bridge, 3).await;
    found.reverse();
    assert_eq!(found[0].body.as_deref(), Some("hello"));
    assert!(found[0].why.starts_with("the body is not JSON"), "{}", found[0].why);
    assert_eq!((found[1].body.as_deref(), found[1].bytes), (Some("base64://4="), 2));
    assert_eq!(found[2].why, "the type \"an order\" does not fit [A-Za-z0-9._-]{1,128}");
    assert!(found[2].peer.contains(&program.queue), "{}", found[2].peer);
    left(&server.url, &program.queue, 0).await;
    bridge.end().await;
    assert_eq!(ready(&server.url, &program.queue).await, 0, "everything is acked");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_is_no_event_goes_to_the_dead_letter_exchange_of_its_queue() {
    let server = node::server().await;
    let program = Program::without_queue(&server.url).await;
    let dead = format!("{}.dead", program.queue);
    let options = QueueDeclareOptions::durable();
    program.channel.queue_declare(dead.as_str().into(), options, FieldTable::default()).await.unwrap();
    program.declare(&[("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", &dead)]).await;
    let bridge = embedded(&from(&server.url, &program.queue, ", refused: dead-letter")).await;
    // At the start, in the midst and at the end of what is taken together.
    for body in ["no", "{\"n\": 1}", "no", "{\"n\": 2}", "no"] {
        program.publish(body.as_bytes(), BasicProperties::default()).await;
    }
    bridge.receiver.reach(2).await;
    left(&server.url, &dead, 3).await;
    let found = refused(&bridge, 3).await;
    assert!(found.iter().all(|refused| refused.body.is_none()), "RabbitMQ keeps them");
    program.order(3).await;
    bridge.receiver.reach(3).await;
    bridge.end().await;
    assert_eq!(ready(&server.url, &program.queue).await, 0, "everything is acked");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_ten_refusals_in_a_row_ask_a_person() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    for _ in 0..10 {
        program.publish(b"hello", BasicProperties::default()).await;
    }
    let bridge = embedded(&from(&server.url, &program.queue, "")).await;
    says(&bridge, "messages in a row were no events").await;
    program.order(1).await;
    left(&server.url, &program.queue, 1).await;
    bridge.operator.resume(Scope::Source, "in").await.unwrap();
    bridge.receiver.reach(1).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_source_leaves_its_queue_alone_and_goes_on_when_resumed() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let bridge = embedded(&from(&server.url, &program.queue, "")).await;
    program.order(1).await;
    bridge.receiver.reach(1).await;
    for n in 2..5 {
        bridge.operator.suspend(Scope::Source, "in", None).await.unwrap();
        // Its consumer goes: what is published then stays.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while consumers(&server.url, &program.queue).await > 0 {
            assert!(tokio::time::Instant::now() < deadline, "it still consumes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        program.order(n).await;
        assert_eq!(ready(&server.url, &program.queue).await, 1);
        bridge.operator.resume(Scope::Source, "in").await.unwrap();
        bridge.receiver.reach(usize::try_from(n).unwrap()).await;
    }
    bridge.end().await;
}

async fn consumers(url: &str, queue: &str) -> u32 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
    connection.close(200, "".into()).await.unwrap();
    found.consumer_count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_told_and_awaited() {
    let server = node::server().await;
    let program = Program::without_queue(&server.url).await;
    let bridge = embedded(&from(&server.url, &program.queue, "")).await;
    says(&bridge, &format!("there is no queue `{}` in the virtual host", program.queue)).await;
    program.declare(&[]).await;
    program.order(1).await;
    bridge.receiver.reach(1).await;
    // The same when it goes and comes back.
    program.channel.queue_delete(program.queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    says(&bridge, "there is no queue").await;
    program.declare(&[]).await;
    program.order(2).await;
    bridge.receiver.reach(2).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_declared_and_bound_where_that_is_asked_for() {
    let server = node::server().await;
    let program = Program::without_queue(&server.url).await;
    let exchange = format!("{}.exchange", program.queue);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared =
        program.channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, FieldTable::default());
    declared.await.unwrap();
    let declare = format!(", declare: {{ exchange: \"{exchange}\", keys: [order.paid] }}");
    let bridge = embedded(&from(&server.url, &program.queue, &declare)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while bridge.receiver.count() == 0 {
        program.publish_to(&exchange, "order.sent", br#"{"n": 2}"#, BasicProperties::default()).await;
        program.publish_to(&exchange, "order.paid", br#"{"n": 1}"#, BasicProperties::default()).await;
        assert!(tokio::time::Instant::now() < deadline, "nothing came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bridge.drained().await;
    assert_eq!(bridge.receiver.numbers(), [1], "another key is not bound, and one body is one event");
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_suspend_the_source() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let (_, rest) = server.url.rsplit_once('@').unwrap();
    let wrong = format!("amqp://nobody:wrong-password@{rest}");
    let bridge = embedded(&from(&wrong, &program.queue, "")).await;
    says(&bridge, "ACCESS_REFUSED").await;
    let source = bridge.operator.sources().await.unwrap().remove(0);
    let why = source.suspension.expect("it is suspended").why;
    assert!(!why.contains("wrong-password"), "{why}");
    assert_eq!(source.path, None, "it is no webhook");
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_cannot_be_made_durable_stays_in_its_queue() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    let proxy = Proxy::before(&server.url).await;
    let receiver = Receiver::ok().await;
    // A spool without room, before a broker that goes away.
    let broker =
        format!("broker: {{ url: \"{}\", prefix: {} }}\nspool: {{ max: 1B }}", proxy.url(&server.url), node::prefix());
    let text = config(&broker, &from(&server.url, &program.queue, ""), "127.0.0.1:0", &receiver.url);
    let bridge = Running::with(&text, receiver).await;
    program.order(1).await;
    bridge.receiver.reach(1).await;
    proxy.silence();
    for n in 2..12 {
        program.order(n).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !bridge.operator.broker.spooled().is_some_and(|spool| spool.refusing) {
        assert!(tokio::time::Instant::now() < deadline, "it was not tried");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bridge.end().await;
    left(&server.url, &program.queue, 10).await;
}

#[test]
fn what_is_wrong_with_its_keys_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (client, clock) = (Client::new().unwrap(), Clock::system(1));
    let check = |source: &str| {
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, config("", source, "127.0.0.1:0", "http://127.0.0.1:1")).unwrap();
        let faults =
            dari::config::load(&file, &|_| None, &client, &clock).map(drop).map_err(|faults| faults.to_string());
        faults.map_err(|faults| faults.replace(&dir.path().display().to_string(), "DIR"))
    };
    let faults = check(r#"url: "http://x", queue: "", client_cert: c.pem, ca_file: ca.pem"#).unwrap_err();
    insta::assert_snapshot!(faults, @r"
    DIR/dari.yaml:7:15: `client_cert` and `client_key` go together
    DIR/dari.yaml:7:22: expected an AMQP URL, as `amqp://user:${PASSWORD}@host:5672/vhost`
    DIR/dari.yaml:7:41: `queue`: expected 1 to 255 bytes
    DIR/dari.yaml:7:58: `client_cert`: cannot read DIR/c.pem: No such file or directory (os error 2)
    DIR/dari.yaml:7:74: `ca_file`: cannot read DIR/ca.pem: No such file or directory (os error 2)
    ");
    std::fs::write(dir.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----").unwrap();
    assert_eq!(check(r#"url: ["amqps://a", "amqps://b"], queue: q, ca_file: ca.pem, declare: {}"#), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_takes_nothing() {
    let server = node::server().await;
    let program = Program::new(&server.url).await;
    for n in 0..5 {
        program.order(n).await;
    }
    let receiver = Receiver::ok().await;
    let text = config("", &from(&server.url, &program.queue, ""), "127.0.0.1:0", &receiver.url);
    let bridge = Running::dry(&text, receiver).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while bridge.operator.journal.events(EventFilter::default()).await.unwrap().len() < 5 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let count = bridge.receiver.count();
    bridge.end().await;
    assert_eq!(count, 0, "nothing is sent");
    left(&server.url, &program.queue, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_bridge_that_is_killed_between_publish_and_ack_loses_nothing() {
    let server = node::server().await;
    let program = Arc::new(Program::new(&server.url).await);
    let receiver = Receiver::ok().await;
    let dir = tempfile::tempdir().unwrap();
    let hooks = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let broker = format!("broker: {{ url: \"{}\", prefix: {} }}", server.url, node::prefix());
    let source = from(&server.url, &program.queue, ", prefetch: 20, event: { subject: \"{{ body.s }}\" }");
    std::fs::write(dir.path().join("dari.yaml"), config(&broker, &source, &hooks, &receiver.url)).unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
    let mut child = spawn(dir.path());
    let publisher = Arc::clone(&program);
    let publishing = tokio::spawn(async move {
        for n in 0..600 {
            publisher.order(n).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    for kill in 0..5 {
        let goal = receiver.count() + rand::RngExt::random_range(&mut random, 1..60);
        until(&format!("events come before kill {kill}"), || receiver.count() >= goal).await;
        child.kill().unwrap();
        child.wait().unwrap();
        child = spawn(dir.path());
    }
    publishing.await.unwrap();
    let all: std::collections::BTreeSet<i64> = (0..600).collect();
    until("everything arrives", || receiver.numbers().into_iter().collect::<std::collections::BTreeSet<_>>() == all)
        .await;
    left(&server.url, &program.queue, 0).await;
    // Only what was being sent at a kill comes twice, under its first id.
    let mut ids = std::collections::BTreeMap::<i64, std::collections::BTreeSet<String>>::new();
    for got in receiver.calls() {
        ids.entry(got.n()).or_default().insert(got.id);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "what comes again has the same webhook-id");
    let twice = repeated(&receiver.numbers());
    assert!(twice.len() <= 5 * 5, "five subjects are under way at a kill: {twice:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
