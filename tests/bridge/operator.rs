//! What people do: replay, and the admin API's doors.

use dari::admin::replay::ReplayRequest;
use dari::outcome::Scope;
use dari::store::journal::EventFilter;
use serde_json::{Value, json};

use crate::bridge::World;
use crate::receiver::{Answer, Receiver};

fn yaml(url: &str, field: &str) -> String {
    format!(
        r#"{}
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true }} }} }}
routes:
  news: {{ from: in, types: [news], to: out, do: create, map: {{ n: "{{{{ data.{field} }}}}" }} }}
  state: {{ from: in, types: [state], to: out, do: upsert, request: {{ path: "/things" }}, map: {{ n: "{{{{ data.n }}}}" }} }}
"#,
        crate::bridge::HEAD
    )
}

fn letter(id: i64) -> ReplayRequest {
    ReplayRequest { dead: Some(id), ..ReplayRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_replayed_once_with_the_config_of_now() {
    let receiver = Receiver::start(|_, before| if before == 0 { Answer::Status(422, "no") } else { Answer::Ok }).await;
    let world = World::whole(&yaml(&receiver.url, "n"));
    let bridge = world.start().await;
    bridge.send(json!({"kind": "news", "id": "e-1", "s": "1", "n": 1, "m": 7})).await;
    assert_eq!(bridge.ended("e-1", "news", "rejected").await, "HTTP 422: no");
    let dead = bridge.dead().await;
    assert_eq!((dead.len(), dead[0].letter.attempts), (1, 1));
    bridge.stop().await;
    world.write(&yaml(&receiver.url, "m"));
    let bridge = world.start().await;
    let dry = ReplayRequest { dry_run: true, ..letter(dead[0].id) };
    assert_eq!(bridge.operator().replay(dry).await.unwrap().deliveries, 1);
    assert_eq!(bridge.dead().await.len(), 1, "a dry run leaves it");
    bridge.operator().replay(letter(dead[0].id)).await.unwrap();
    let calls = receiver.reach(2).await;
    bridge.drained("news").await;
    assert_eq!(calls[1].n(), 7, "with the map of now");
    assert!(calls[0].id != calls[1].id, "a delivery of its own");
    assert!(bridge.dead().await.is_empty());
    let again = bridge.operator().replay(letter(dead[0].id)).await.unwrap_err().to_string();
    assert!(again.contains("there is no dead letter"), "{again}");
    // The event itself, again: the ledger still knows it.
    bridge.send(json!({"kind": "news", "id": "e-1", "s": "1", "n": 1, "m": 7})).await;
    bridge.ended("e-1", "news", "duplicate").await;
    assert_eq!(receiver.count(), 2);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_state_that_is_older_than_what_was_applied_is_stale() {
    let receiver = Receiver::start(|got, _| if got.n() == 1 { Answer::Status(422, "no") } else { Answer::Ok }).await;
    let world = World::whole(&yaml(&receiver.url, "n"));
    let bridge = world.start().await;
    bridge.send(json!({"kind": "state", "id": "e-1", "s": "1", "v": 1, "n": 1})).await;
    bridge.ended("e-1", "state", "rejected").await;
    bridge.send(json!({"kind": "state", "id": "e-2", "s": "1", "v": 2, "n": 2})).await;
    bridge.ended("e-2", "state", "delivered").await;
    bridge.operator().replay(letter(bridge.dead().await[0].id)).await.unwrap();
    bridge.ended("e-1", "state", "stale").await;
    assert_eq!(receiver.numbers(), [1, 2]);
    assert!(bridge.dead().await.is_empty());
    // The newest again, from the journal: it is not stale, but it is what is there already.
    let past = ReplayRequest { event: Some("e-2".into()), ..ReplayRequest::default() };
    assert_eq!(bridge.operator().replay(past).await.unwrap().routes, [("state".to_owned(), 1)]);
    bridge.ended("e-2", "state", "unchanged").await;
    assert_eq!(receiver.count(), 2);
    bridge.drained("state").await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_all_ends_though_each_dies_again() {
    let receiver = Receiver::start(|_, _| Answer::Status(422, "no")).await;
    let world = World::whole(&yaml(&receiver.url, "n"));
    let bridge = world.start().await;
    for n in 0..250 {
        bridge.send(json!({"kind": "news", "id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
    }
    bridge.drained("news").await;
    let all = ReplayRequest { all_dead: true, ..ReplayRequest::default() };
    assert_eq!(bridge.operator().replay(all).await.unwrap().events, 250);
    bridge.drained("news").await;
    assert_eq!(receiver.count(), 500);
    assert_eq!(bridge.operator().routes().await.unwrap()[0].dead, 250);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_nearly_right_is_suggested() {
    let world = World::whole(&yaml("http://127.0.0.1:1", "n"));
    let bridge = world.start().await;
    let op = bridge.operator();
    for (scope, name, words) in [
        (Scope::Sink, "outt", r#"there is no sink "outt"; did you mean "out"?"#),
        (Scope::Route, "newz", r#"there is no route "newz"; did you mean "news"?"#),
        (Scope::Account, "ouut", r#"there is no account "ouut"; did you mean "out"?"#),
        (Scope::Source, "xyz", r#"there is no source "xyz""#),
    ] {
        assert_eq!(op.suspend(scope, name, None).await.unwrap_err().to_string(), words);
        assert_eq!(op.resume(scope, name).await.unwrap_err().to_string(), words);
    }
    let replay = ReplayRequest { all_dead: true, route: Some("stat".into()), ..ReplayRequest::default() };
    let told = op.replay(replay).await.unwrap_err().to_string();
    assert_eq!(told, r#"there is no route "stat"; did you mean "state"?"#);
    let socket = reqwest::Client::builder().unix_socket(world.socket()).build().unwrap();
    let answer = bridge.until("the socket", async |_| {
        let event = json!({"event": {"type": "news", "data": {}}});
        socket.post("http://localhost/api/send/inn").json(&event).send().await.ok()
    });
    let answer = answer.await;
    assert_eq!(answer.status(), 404);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["detail"], r#"there is no source "inn"; did you mean "in"?"#);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_has_doors() {
    let listen = |admin: &str| {
        yaml("http://127.0.0.1:1", "n").replace(
            r#"listen: { hooks: "127.0.0.1:0" }"#,
            &format!(r#"listen: {{ hooks: "127.0.0.1:0", admin: {{ {admin} }} }}"#),
        )
    };
    let world = World::whole(&listen(r#"address: "127.0.0.1:0", token: "${ADMIN}""#));
    let bridge = world.start().await;
    let url = format!("{}/api/sinks", bridge.admin.as_ref().unwrap());
    let get = |url: &str| bridge.http.get(url.to_owned());
    assert_eq!(get(&url).send().await.unwrap().status(), 401);
    assert_eq!(get(&url).bearer_auth("hunter2").send().await.unwrap().status(), 401);
    let answer = get(&url).bearer_auth("hunter2-admin").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()[0]["name"], "out");
    let foreign = get(&url).bearer_auth("hunter2-admin").header("origin", "https://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    // The public listener knows nothing of it.
    assert_eq!(get(&format!("{}/api/sinks", bridge.hooks)).send().await.unwrap().status(), 404);
    bridge.stop().await;
    let world = World::whole(&listen(r#"address: "127.0.0.1:0""#));
    let bridge = world.start().await;
    let url = format!("{}/api/sinks", bridge.admin.as_ref().unwrap());
    let get = |url: &str| bridge.http.get(url.to_owned());
    assert_eq!(get(&url).send().await.unwrap().status(), 200);
    assert_eq!(get(&url).header("host", "evil.example").send().await.unwrap().status(), 403);
    assert_eq!(get(&url).header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_when_a_source_was_renamed_is_delivered_to_the_record_it_belongs_to() {
    let receiver = Receiver::ok().await;
    let before = yaml(&receiver.url, "n");
    let world = World::whole(&before);
    let bridge = world.start().await;
    bridge.send(json!({"kind": "state", "id": "e-1", "s": "1", "v": 1, "n": 1})).await;
    receiver.reach(1).await;
    bridge.drained("state").await;
    bridge.operator().suspend(Scope::Route, "state", None).await.unwrap();
    bridge.operator().suspend(Scope::Sink, "out", None).await.unwrap();
    bridge.operator().suspend(Scope::Source, "in", None).await.unwrap();
    bridge.send(json!({"kind": "state", "id": "e-2", "s": "1", "v": 2, "n": 2})).await;
    bridge.stop().await;

    let renamed =
        before.replace("  in: { webhook: { ", "  desk: { webhook: { was: in, ").replace("from: in", "from: desk");
    world.write(&renamed.replace("{ out: { http: {", "{ shop: { http: { was: out,").replace("to: out", "to: shop"));
    let bridge = world.start().await;
    for (scope, name) in [(Scope::Source, "desk"), (Scope::Sink, "shop"), (Scope::Route, "state")] {
        assert!(bridge.suspended(scope, name).is_some(), "{name}");
        bridge.operator().resume(scope, name).await.unwrap();
    }
    assert_eq!(receiver.reach(2).await[1].n(), 2);
    let (status, text) = bridge.post("desk", &json!({"kind": "state", "id": "e-3", "s": "1", "v": 3, "n": 3})).await;
    assert_eq!(status, 202, "{text}");
    receiver.reach(3).await;
    bridge.drained("state").await;
    assert_eq!(bridge.operator().store.link_count("state").await.unwrap(), 1, "one record all along");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_source_ends_where_it_began_and_leaves_what_is_switched_off() {
    const BEFORE: u64 = 300;
    let world = World::whole(&format!(
        "{}  off: {{ from: in, to: out, do: create, map: {{ n: \"1\" }}, enabled: false }}\n",
        yaml("http://127.0.0.1:1", "n")
    ));
    let bridge = world.start().await;
    let op = bridge.operator();
    op.suspend(Scope::Sink, "out", None).await.unwrap();
    let send = |n: u64| bridge.send(json!({"kind": "news", "id": format!("e{n}"), "n": n}));
    for n in 0..BEFORE {
        send(n).await;
    }
    let last = EventFilter { id: Some(format!("e{}", BEFORE - 1)), ..EventFilter::default() };
    bridge.until("the last in the journal", async |op| op.events(last.clone()).await.unwrap().pop()).await;
    let source = ReplayRequest { source: Some("in".into()), ..ReplayRequest::default() };
    let mut replay = Box::pin(op.replay(source.clone()));
    let mut n = BEFORE;
    let replayed = loop {
        tokio::select! {
            replayed = &mut replay => break replayed.unwrap(),
            _ = send(n) => n += 1,
        }
    };
    drop(replay);
    assert!(n > BEFORE + 2, "some came meanwhile");
    assert_eq!((replayed.events, replayed.routes), (BEFORE, vec![("news".to_owned(), BEFORE)]));
    let off = ReplayRequest { route: Some("off".into()), ..source };
    assert_eq!(op.replay(off).await.unwrap_err().to_string(), "route off is switched off");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_would_do_is_shown_and_nothing_is_sent() {
    let receiver = Receiver::ok().await;
    let dir = crate::binary::folder(&format!(
        r#"{}
redact: [data.mail]
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  news: {{ from: in, types: [news], when: data.n > 1, to: out, do: create, map: {{ n: "{{{{ data.n }}}}", mail: "{{{{ data.mail }}}}" }} }}
  state: {{ from: in, types: [news], to: out, do: upsert, request: {{ path: "/things/{{{{ data.no }}}}" }}, map: {{ n: "{{{{ data.n }}}}" }} }}
  other: {{ from: in, types: [other], to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }}
"#,
        crate::bridge::HEAD,
        receiver.url
    ));
    std::fs::write(dir.path().join("e.json"), r#"{"type":"news","subject":"1","data":{"n":2,"mail":"kim@acme.kr"}}"#)
        .unwrap();
    let (code, text) = crate::binary::done(dir.path(), &["send", "in", "e.json", "--dry-run"]).await;
    assert_eq!(code, 0, "{text}");
    let text = text.replace(&receiver.url, "URL");
    let told: Vec<&str> = text.lines().filter(|line| !line.starts_with('{') || line.len() == 1).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    news  would create at out: POST URL/
        {
          "n": 2,
          "mail": "•••"
        }
    state  rejected: request.path: data.no is missing in `data.no`
    other  skipped: type news is not among other
    "#);
    assert_eq!(receiver.count(), 0);
    let (code, text) = crate::binary::done(dir.path(), &["events"]).await;
    assert!(code == 0 && text.ends_with("no events\n"), "{text}");
}
