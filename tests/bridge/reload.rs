//! Another config in the place of the one that runs: nothing lost, nothing twice, and what is the same is not disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use dari::admin::retire::Leftover;
use dari::connectors::http::sandbox as http_sandbox;
use dari::connectors::sandbox;
use dari::outcome::Scope;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::binary::{Process, done, folder};
use crate::bridge::{HEAD, PATIENCE, Running, World};
use crate::receiver::{Answer, Got, Receiver};

const MAP: &str = r#"map: { s: "{{ subject | default('') }}", n: "{{ data.n | default(0) }}" }"#;

/// A config: routes by name, each to a sink of its own, with more keys.
fn config(routes: &[(&str, &Receiver, &str)]) -> String {
    let sink = |(name, to, _): &(&str, &Receiver, &str)| {
        format!("  to-{name}: {{ http: {{ url: \"{}\", allow_private: true }} }}\n", to.url)
    };
    let route = |(name, _, more): &(&str, &Receiver, &str)| {
        format!("  {name}: {{ from: in, to: to-{name}, do: create, {MAP}{more} }}\n")
    };
    let (sinks, routes): (String, String) = (routes.iter().map(sink).collect(), routes.iter().map(route).collect());
    format!("{HEAD}sinks:\n{sinks}routes:\n{routes}")
}

/// Sends events, each of a subject of its own, one after the other from several places, until it is told to end.
struct Load {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicI64>,
    senders: JoinSet<Vec<i64>>,
}

impl Load {
    fn start(bridge: &Running) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(1)));
        let mut senders = JoinSet::new();
        for _ in 0..4 {
            let (http, url) = (bridge.http.clone(), format!("{}/hooks/in", bridge.hooks));
            let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
            senders.spawn(async move {
                let mut taken = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    let body = json!({"id": format!("e{n}"), "s": format!("s{n}"), "n": n});
                    let answer = http.post(&url).json(&body).send().await.unwrap();
                    assert_eq!(answer.status(), 202, "{n}: {}", answer.text().await.unwrap());
                    taken.push(n);
                }
                taken
            });
        }
        Self { over, sent, senders }
    }

    /// Waits until so many more are sent.
    async fn more(&self, count: i64) {
        let until = self.sent.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + PATIENCE;
        while self.sent.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// What was taken.
    async fn end(self) -> Vec<i64> {
        self.over.store(true, Ordering::Relaxed);
        let mut all: Vec<i64> = self.senders.join_all().await.into_iter().flatten().collect();
        all.sort_unstable();
        all
    }
}

/// How often each number came.
fn times(receiver: &Receiver) -> BTreeMap<i64, usize> {
    let mut times = BTreeMap::new();
    for n in receiver.numbers().into_iter().filter(|n| *n > 0) {
        *times.entry(n).or_default() += 1;
    }
    times
}

fn hold_slow(got: &Got, _: usize) -> Answer {
    if got.subject() == "slow" { Answer::Hold } else { Answer::Ok }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_routes_come_change_and_go_under_load_and_nothing_is_lost_or_twice() {
    let (same, other) = (Receiver::start(hold_slow).await, Receiver::start(hold_slow).await);
    // What is refused leaves no link, so that the route may go.
    let (former, next) = (Receiver::start(|_, _| Answer::Status(400, "no")).await, Receiver::ok().await);
    let world = World::whole(&config(&[("same", &same, ""), ("other", &other, ""), ("former", &former, "")]));
    let mut bridge = world.start().await;
    bridge.send(json!({"id": "slow", "s": "slow", "n": 0})).await;
    same.reach(1).await;
    other.reach(1).await;
    let load = Load::start(&bridge);
    load.more(40).await;

    let changed = [("same", &same, ""), ("other", &other, ", priority: high"), ("next", &next, "")];
    world.write(&config(&changed));
    let reloaded = bridge.reload().await.unwrap();
    assert_eq!(reloaded.started, ["sink to-next", "route next"]);
    assert_eq!(reloaded.changed, ["route other"]);
    assert_eq!(reloaded.stopped, ["sink to-former", "route former"]);
    load.more(40).await;
    // Once more without any change, and back again.
    assert_eq!(bridge.reload().await.unwrap().done, "the config is loaded anew; no source, sink or route differs");
    let back = [("same", &same, ""), ("other", &other, ""), ("next", &next, ", when: \"data.n != -1\"")];
    world.write(&config(&back));
    assert_eq!(bridge.reload().await.unwrap().changed, ["route other", "route next"]);
    load.more(40).await;
    let taken = load.end().await;
    assert!(same.calls().iter().filter(|got| got.subject() == "slow").count() == 1, "it is under way, undisturbed");
    other.release();
    for route in ["next", "other"] {
        bridge.drained(route).await;
    }
    same.release();
    bridge.ended("slow", "same", "delivered").await;
    bridge.ended("slow", "other", "delivered").await;
    bridge.drained("same").await;
    bridge.stop().await;

    let once: BTreeMap<i64, usize> = taken.iter().map(|n| (*n, 1)).collect();
    assert_eq!(times(&same), once);
    assert_eq!(times(&other), once);
    // By the old config or by the new one, never by neither, never by both.
    let mut either = times(&former);
    for (n, count) in times(&next) {
        *either.entry(n).or_default() += count;
    }
    assert_eq!(either, once);
    assert!(former.count() > 20 && next.count() > 40, "{} and {}", former.count(), next.count());
    assert_eq!([&same, &other].map(|r| r.calls().iter().filter(|got| got.subject() == "slow").count()), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_faults_is_refused_with_all_of_them_and_the_old_one_goes_on() {
    let receiver = Receiver::ok().await;
    let world = World::whole(&config(&[("news", &receiver, "")]));
    let mut bridge = world.start().await;
    let wrong = config(&[("news", &receiver, ", whenn: x")]).replace("min_free: 1KiB", "min_free: much");
    world.write(&wrong);
    let why = bridge.reload().await.unwrap_err();
    assert!(why.contains("`whenn`") && why.contains("min_free"), "{why}");
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    // It is told wherever one looks.
    let ready = bridge.operator().readiness().await;
    assert!(ready.ready && ready.notes.iter().any(|note| note.contains("not loaded anew") && note.contains("whenn")));
    let metrics = bridge.operator().scrape().await.unwrap();
    assert!(metrics.contains("dari_config_reloads_total{result=\"refused\"} 1"), "{metrics}");
    assert!(metrics.contains("dari_config_loaded_timestamp_seconds"), "{metrics}");

    // What only a restart can change is named.
    let other = config(&[("news", &receiver, "")]).replace("127.0.0.1:0\"", "127.0.0.1:1\"");
    world.write(&other.replace("sqlite://dari.db", "sqlite://other.db"));
    insta::assert_snapshot!(bridge.reload().await.unwrap_err(), @r"
    `store` cannot be changed while the bridge runs: restart it for that
    `listen.hooks` cannot be changed while the bridge runs: restart it for that
    ");
    let renamed = config(&[("fresh", &receiver, ", was: news")]).replace("to-fresh", "to-news");
    world.write(&renamed);
    insta::assert_snapshot!(bridge.reload().await.unwrap_err(), @"route news cannot become fresh while the bridge runs: restart it for that");
    world.write(&config(&[("news", &receiver, "")]));
    bridge.reload().await.unwrap();
    assert!(bridge.operator().readiness().await.notes.is_empty());
    bridge.send(json!({"id": "b", "s": "1", "n": 2})).await;
    receiver.reach(2).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_messages_wait_is_not_forgotten() {
    let (receiver, other) = (Receiver::start(|_, _| Answer::Status(503, "later")).await, Receiver::ok().await);
    let world = World::whole(&config(&[("news", &receiver, ""), ("other", &other, "")]));
    let mut bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge
        .until("a wait", async |op| {
            let routes = op.routes().await.unwrap();
            routes.iter().any(|route| route.name == "news" && route.waiting == 1).then_some(())
        })
        .await;
    world.write(&config(&[("other", &other, "")]));
    let why = bridge.reload().await.unwrap_err();
    assert!(why.contains("route news is no longer in the config, but 1 messages wait for it"), "{why}");
    bridge.send(json!({"id": "b", "s": "2", "n": 2})).await;
    other.reach(2).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_with_links_goes_in_two_steps() {
    let (receiver, other) = (Receiver::ok().await, Receiver::ok().await);
    let world = World::whole(&config(&[("news", &receiver, ""), ("other", &other, "")]));
    let mut bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    world.write(&config(&[("other", &other, "")]));
    let why = bridge.reload().await.unwrap_err();
    assert!(why.contains("1 links belong to it") && why.contains("loaded with `enabled: false` it stops"), "{why}");
    assert!(bridge.operator().retire("news", Leftover::None).await.is_err(), "it is at work");

    world.write(&config(&[("news", &receiver, ", enabled: false"), ("other", &other, "")]));
    assert_eq!(bridge.reload().await.unwrap().changed, ["route news"]);
    bridge.send(json!({"id": "b", "s": "2", "n": 2})).await;
    other.reach(2).await;
    let done = bridge.operator().retire("news", Leftover::None).await.unwrap().done;
    assert_eq!(done, "route news is forgotten: 1 links, no messages");
    world.write(&config(&[("other", &other, "")]));
    assert_eq!(bridge.reload().await.unwrap().stopped, ["sink to-news", "route news"]);
    // What has gone can come again, and begins anew.
    world.write(&config(&[("news", &receiver, ""), ("other", &other, "")]));
    bridge.reload().await.unwrap();
    bridge.send(json!({"id": "c", "s": "3", "n": 3})).await;
    receiver.reach(2).await;
    assert_eq!(receiver.numbers(), [1, 3]);
    bridge.stop().await;
}

/// A webhook that shows a token.
fn guarded(name: &str) -> String {
    format!(
        "  {name}: {{ webhook: {{ verify: {{ bearer: {{ tokens: [\"${{file:token}}\"] }} }}, event: {{ type: x }} }} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_hooks_change_at_once() {
    let receiver = Receiver::ok().await;
    let yaml = |sources: &[&str], from: &str| {
        let sources: String = sources.iter().map(|name| guarded(name)).collect();
        format!(
            r#"{HEAD}{sources}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true, auth: {{ bearer: "${{file:token}}" }} }} }} }}
routes: {{ news: {{ from: [{from}], to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }} }}
"#,
            receiver.url
        )
    };
    let world = World::whole("");
    let token = |token: &str| std::fs::write(world.dir.path().join("token"), token).unwrap();
    token("first");
    world.write(&yaml(&["one"], "one"));
    let mut bridge = world.start().await;
    let sent = AtomicI64::new(0);
    let post = async |bridge: &Running, source: &str, token: &str| {
        let request = bridge.http.post(format!("{}/hooks/{source}", bridge.hooks)).bearer_auth(token);
        let body = json!({"n": sent.fetch_add(1, Ordering::Relaxed)});
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(&bridge, "one", "first").await, 202);
    assert_eq!(post(&bridge, "two", "first").await, 404);
    assert_eq!(receiver.reach(1).await[0].auth, "Bearer first");

    token("second");
    world.write(&yaml(&["one", "two"], "one, two"));
    let reloaded = bridge.reload().await.unwrap();
    assert_eq!(reloaded.changed, ["source one", "sink out", "route news"]);
    assert_eq!(post(&bridge, "one", "first").await, 401);
    assert_eq!(post(&bridge, "one", "second").await, 202);
    assert_eq!(post(&bridge, "two", "second").await, 202);
    assert_eq!(receiver.reach(3).await[2].auth, "Bearer second");

    world.write(&yaml(&["two"], "two"));
    bridge.reload().await.unwrap();
    assert_eq!(post(&bridge, "one", "second").await, 404);
    assert_eq!(post(&bridge, "two", "second").await, 202);
    receiver.reach(4).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_stays_so_and_a_poll_that_is_the_same_keeps_its_pace() {
    let receiver = Receiver::ok().await;
    let world = World::new("");
    let router = http_sandbox::router(world.clock.clone());
    let erp = sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
    erp.play(Method::PUT, "/_sandbox/orders/1", &json!({"total": 1})).await;
    let yaml = |every: &str, more: &str| {
        let source = |name: &str, every: &str| {
            format!(
                r#"  {name}: {{ http-poll: {{ url: "{}/api/by-page", auth: {{ bearer: sandbox-key }}, allow_private: true, id: "{{{{ item.no }}}}", type: order, paging: {{ page: {{ size: 2 }} }}, every: {every}, start: all }} }}
"#,
                erp.url
            )
        };
        format!(
            r#"{HEAD}{}{}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  all: {{ from: [calm, other], types: [order.created], to: out, do: create, map: {{ s: "{{{{ source }}}}", n: "{{{{ data.total }}}}" }} }}
{more}"#,
            source("calm", "1h"),
            source("other", every),
            receiver.url
        )
    };
    world.write(&yaml("1h", ""));
    let mut bridge = world.start().await;
    receiver.reach(2).await;
    let polls = async |bridge: &Running, source: &str| {
        bridge.operator().journal.flush().await.unwrap();
        bridge.operator().journal.polled(source, 10).await.unwrap().len()
    };
    bridge.until("two polls", async |_| (polls(&bridge, "calm").await == 1).then_some(())).await;
    bridge.operator().suspend(Scope::Sink, "out", None).await.unwrap();
    world.write(&yaml("30m", "  more: { from: in, to: out, do: create, map: { n: \"{{ data.n }}\" } }\n"));
    let reloaded = bridge.reload().await.unwrap();
    assert_eq!((reloaded.started, reloaded.changed), (vec!["route more".into()], vec!["source other".into()]));
    // The changed one polls anew, from its cursor.
    let told = bridge.until("a poll of the other", async |_| (polls(&bridge, "other").await == 2).then_some(()));
    told.await;
    assert_eq!(polls(&bridge, "calm").await, 1);
    assert!(bridge.suspended(Scope::Sink, "out").is_some());
    bridge.send(json!({"id": "a", "n": 7})).await;
    bridge.operator().resume(Scope::Sink, "out").await.unwrap();
    assert_eq!(receiver.reach(3).await[2].n(), 7);
    // The unchanged one is asked by the wake-up that it always had.
    bridge.operator().poll("calm").unwrap();
    bridge.until("its next poll", async |_| (polls(&bridge, "calm").await == 2).then_some(())).await;
    assert_eq!(receiver.count(), 3, "neither told anything twice");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_change_are_kept_while_old_calls_end() {
    let receiver = Receiver::start(|_, _| Answer::Hold).await;
    let yaml = |limit: u32| {
        config(&[("news", &receiver, "")])
            .replace("allow_private: true", &format!("allow_private: true, limits: {{ concurrency: {limit} }}"))
    };
    let world = World::whole(&yaml(2));
    let mut bridge = world.start().await;
    for n in 1..=4 {
        bridge.send(json!({"id": n.to_string(), "s": n.to_string(), "n": n})).await;
    }
    receiver.reach(2).await;
    world.write(&yaml(1));
    bridge.reload().await.unwrap();
    // A moment in which a third could come.
    bridge.send(json!({"id": "5", "s": "5", "n": 5})).await;
    assert_eq!(receiver.count(), 2);
    receiver.release();
    receiver.reach(5).await;
    bridge.drained("news").await;
    assert_eq!(times(&receiver), (1..=5).map(|n| (n, 1)).collect());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reloads_for_whoever_has_the_token_and_the_journal_knows_who() {
    let receiver = Receiver::ok().await;
    let listen = r#"listen: { hooks: "127.0.0.1:0", admin: { address: "127.0.0.1:0", token: "sesame" } }"#;
    let yaml = |more: &str| config(&[("news", &receiver, more)]).replace(r#"listen: { hooks: "127.0.0.1:0" }"#, listen);
    let world = World::whole(&yaml(""));
    let bridge = world.start().await;
    let url = format!("{}/api/reload", bridge.admin.as_ref().unwrap());
    let post = async |token: &str| {
        let request = bridge.http.post(&url).bearer_auth(token).header("dari-by", "Mina");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(post("open").await.0, 401);
    let forged = bridge.http.post(&url).bearer_auth("sesame").header("origin", "https://evil.example");
    assert_eq!(forged.send().await.unwrap().status(), 403);
    world.write(&yaml(", when: \"data.n > 1\""));
    let (status, answer) = post("sesame").await;
    assert_eq!((status, &answer["changed"]), (200, &json!(["route news"])), "{answer}");
    world.write("nonsense");
    let (status, answer) = post("sesame").await;
    assert_eq!(status, 409, "{answer}");
    bridge.operator().journal.flush().await.unwrap();
    let deeds = serde_json::to_string(&bridge.operator().actions(5).await.unwrap()).unwrap();
    assert!(deeds.contains("the config is loaded anew; changed: route news, by Mina"), "{deeds}");
    assert!(deeds.contains("was not loaded anew") && deeds.contains("by Mina"), "{deeds}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_reloads_at_a_hangup_and_by_a_command() {
    let (one, two) = (Receiver::ok().await, Receiver::ok().await);
    let dir = folder(&config(&[("one", &one, "")]));
    let write = |text: &str| std::fs::write(dir.path().join("dari.yaml"), text).unwrap();
    let process = Process::start(dir.path()).await;
    let http = crate::bridge::http(PATIENCE);
    let send = async |n: i64| {
        let body = json!({"id": n.to_string(), "s": n.to_string(), "n": n});
        let answer = http.post(format!("{}/hooks/in", process.hooks)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    };
    let actions = async |said: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !process.log().contains(said) {
            assert!(Instant::now() < deadline, "{said} is not in {}", process.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    write("routes: 7");
    process.signal("HUP");
    actions("the one that runs stays").await;
    send(1).await;
    one.reach(1).await;
    write(&config(&[("one", &one, ""), ("two", &two, "")]));
    process.signal("HUP");
    actions("the config is loaded anew; new: sink to-two, route two, by SIGHUP").await;
    send(2).await;
    one.reach(2).await;
    two.reach(1).await;
    assert_eq!((one.count(), two.numbers()), (2, vec![2]));
    let (code, text) = done(dir.path(), &["reload"]).await;
    assert_eq!((code, text.as_str()), (0, "the config is loaded anew; no source, sink or route differs\n"));
    write(&config(&[("one", &one, ", wenn: x")]));
    let (code, text) = done(dir.path(), &["--admin", "http://127.0.0.1:1", "reload"]).await;
    assert_eq!(code, 1, "{text}");
    let (code, text) = done(dir.path(), &["reload"]).await;
    assert!(code == 1 && text.contains("`wenn`"), "{text}");
}
