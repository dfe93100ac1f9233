//! `dari backup`: a copy that a bridge starts from.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dari::outcome::Scope;
use dari::store::journal::EventFilter;
use serde_json::{Value, json};

use crate::binary::done;
use crate::bridge::World;
use crate::receiver::Receiver;

fn yaml(url: &str) -> String {
    format!(
        r#"{}
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true }} }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }}
"#,
        crate::bridge::HEAD
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_bridge_at_work_has_what_was_taken_before_and_sends_nothing_by_itself() {
    let receiver = Receiver::ok().await;
    let world = World::whole(&yaml(&receiver.url));
    let bridge = world.start().await;
    // What waits in the copy is known: none of this is sent.
    bridge.operator().suspend(Scope::Sink, "out", Some("closed".into())).await.unwrap();
    for n in 0..50 {
        bridge.send(json!({"kind": "news", "id": format!("before-{n}"), "n": n})).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let (http, hooks, stop) = (bridge.http.clone(), bridge.hooks.clone(), Arc::clone(&over));
    let sender = tokio::spawn(async move {
        let mut n = 1_000;
        while !stop.load(Ordering::Relaxed) {
            let body = json!({"kind": "news", "id": format!("meanwhile-{n}"), "n": n});
            let answer = http.post(format!("{hooks}/hooks/in")).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 202, "a backup holds nothing up");
            n += 1;
        }
        n - 1_000
    });
    let (code, text) = done(world.dir.path(), &["backup", "copy/../kept.db", "--json"]).await;
    assert_ne!(code, 0, "there is no such folder: {text}");
    let (code, text) = done(world.dir.path(), &["backup", "kept.db", "--json"]).await;
    over.store(true, Ordering::Relaxed);
    assert!(sender.await.unwrap() > 0);
    assert_eq!(code, 0, "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(made["files"].as_array().unwrap().len(), 2, "{text}");
    assert!(made["files"][0]["holds"]["waiting"].as_u64().unwrap() >= 50, "{text}");
    assert!(made["files"][0]["bytes"].as_u64().unwrap() > 0, "{text}");
    assert_eq!(made["suspended"], json!(["out"]));
    let (code, text) = done(world.dir.path(), &["backup", "kept.db"]).await;
    assert_eq!((code, text.as_str()), (1, "error: kept.db is there already: a backup never overwrites\n"));
    bridge.operator().resume(Scope::Sink, "out").await.unwrap();
    bridge.drained("news").await;
    bridge.stop().await;

    let before = receiver.count();
    let other = World::whole(&yaml(&receiver.url));
    for (copy, file) in [("kept.db", "dari.db"), ("kept.journal.db", "dari.journal.db")] {
        std::fs::copy(world.dir.path().join(copy), other.dir.path().join(file)).unwrap();
    }
    let bridge = other.start().await;
    let why = bridge.suspended(Scope::Sink, "out").expect("it starts suspended").why;
    assert!(why == "closed" || why.starts_with("restored from the backup of "), "{why}");
    let known = bridge
        .until("the journal", async |op| {
            let found = op.events(EventFilter { limit: 10_000, ..EventFilter::default() }).await.unwrap();
            let ids: HashSet<String> = found.into_iter().map(|one| one.event.id.clone()).collect();
            (0..50).all(|n| ids.contains(&format!("before-{n}"))).then_some(ids)
        })
        .await;
    assert_eq!(receiver.count(), before, "nothing is sent before a person says so");
    bridge.operator().resume(Scope::Sink, "out").await.unwrap();
    bridge.drained("news").await;
    let again = receiver.count() - before;
    assert!((50..=known.len()).contains(&again), "{again} of {}", known.len());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_bridge_is_backed_up_and_what_it_holds_is_told() {
    let receiver = Receiver::ok().await;
    let world = World::whole(&yaml(&receiver.url));
    let (code, text) = done(world.dir.path(), &["backup", "kept.db"]).await;
    assert!(code == 1 && text.contains("no bridge has run here yet"), "{text}");
    let bridge = world.start().await;
    bridge.send(json!({"kind": "news", "id": "e-1", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    bridge.drained("news").await;
    bridge.ended("e-1", "news", "delivered").await;
    bridge.stop().await;
    let (code, text) = done(world.dir.path(), &["backup", "kept.db", "--admin", "http://127.0.0.1:1"]).await;
    assert!(code == 2 && text.contains("leave `--admin` out"), "{text}");
    let (code, text) = done(world.dir.path(), &["backup", "kept.db"]).await;
    assert_eq!(code, 0, "{text}");
    let folder = world.dir.path().canonicalize().unwrap().display().to_string();
    let text = text.replace(&format!("{folder}/"), "").replace(&format!("{}/", world.dir.path().display()), "");
    let text: Vec<String> = text.lines().map(sizeless).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    kept.db: SIZE of ./dari.db, waiting 0, links 1, dead 0, cursors 0
    kept.journal.db: SIZE of ./dari.journal.db, events 1, steps 3
    each copy was read through and is whole
    not in it: the config, and the secrets that it names. In it: what events carried, and tokens that vendors gave the bridge: keep it as private as the store
    a bridge that starts from it sends nothing until `dari sinks resume NAME`: out
    ");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.dir.path().join("kept.db")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// The line without its size, which is the machine's.
fn sizeless(line: &str) -> String {
    match (line.split_once(": "), line.split_once(" of ")) {
        (Some((file, _)), Some((_, rest))) if line.contains("iB of") => format!("{file}: SIZE of {rest}"),
        _ => line.to_owned(),
    }
}
