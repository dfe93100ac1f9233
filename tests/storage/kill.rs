//! kill -9 at any moment: a child works on the queue and says what was confirmed, and the parent kills it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dari::broker::embedded::Embedded;
use dari::broker::{Binding, Broker};
use dari::clock::Clock;
use rand::RngExt;

use crate::common::{event, is_quiet, next};

const FOLDER: &str = "DARI_TEST_KILL";
const QUEUE: &str = "r";

fn open(folder: &Path) -> Embedded {
    Embedded::open(&folder.join("dari.db"), Clock::system(1)).expect("opens")
}

/// Says what happened to a message; the parent reads it.
fn say(what: &str, id: &str, attempt: u32) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone.
    _ = writeln!(out, "@{what} {id} {attempt}");
    _ = out.flush();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other process of the test below"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let parts = open(Path::new(&folder));
    let all = Binding { queue: QUEUE.into(), sources: None, types: None };
    parts.broker.declare(vec![all]).await.expect("declared");
    let clock = Clock::system(1);
    for side in 0..4 {
        let (broker, clock) = (Arc::clone(&parts.broker), clock.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let id = format!("{}-{side}-{n}", std::process::id());
                broker.publish(vec![event(&clock, "s", "t", &id)]).await.expect("published");
                say("there", &id, 1);
            }
        });
    }
    let mut consumer = parts.broker.consume(QUEUE, 8).await.expect("a consumer");
    loop {
        let message = next(consumer.as_mut()).await;
        let id = message.event.id.clone();
        if rand::rng().random_bool(0.3) {
            let due = clock.now() + jiff::SignedDuration::from_millis(1);
            // A kill before the ack leads to a second wait: it is to be another message for the ledger.
            let attempt = rand::rng().random_range(2..u32::MAX);
            parts.broker.wait(QUEUE, &message, attempt, due).await.expect("waiting");
            say("there", &id, attempt);
        }
        say("ending", &id, message.attempt);
        parts.broker.ack(QUEUE, &message).await.expect("acked");
        say("ended", &id, message.attempt);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    There,
    Ending,
    Ended,
}

type Ledger = BTreeMap<(String, u32), Known>;

/// Runs a child until it has said `lines` lines, kills it, and writes down all it said.
fn run_and_kill(folder: &Path, lines: usize, ledger: &mut Ledger) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let mut said = 0;
    for line in out.lines() {
        let line = line.expect("text");
        let Some((_, line)) = line.split_once('@') else { continue };
        let words: Vec<_> = line.split(' ').collect();
        let [what, id, attempt] = words[..] else { continue };
        let known = match what {
            "there" => Known::There,
            "ending" => Known::Ending,
            _ => Known::Ended,
        };
        ledger.insert((id.to_owned(), attempt.parse().expect("a number")), known);
        said += 1;
        if said == lines {
            child.kill().expect("killed");
        }
    }
    assert!(!child.wait().expect("it ended").success(), "it was killed");
    assert!(said >= lines, "it said {said} lines");
}

/// Everything in the queue, which is left as it is.
async fn contents(folder: &Path) -> BTreeSet<(String, u32)> {
    let parts = open(folder);
    let depths = parts.broker.depths().await.expect("depths");
    let count = depths.iter().find(|depth| depth.queue == QUEUE).expect("the queue").messages;
    let mut consumer = parts.broker.consume(QUEUE, usize::MAX).await.expect("a consumer");
    let mut found = BTreeSet::new();
    for _ in 0..count {
        let message = next(consumer.as_mut()).await;
        assert!(found.insert((message.event.id.clone(), message.attempt)), "{} is there twice", message.event.id);
    }
    assert!(is_quiet(consumer.as_mut()).await, "there is more than the depth says");
    drop(consumer);
    parts.close().await;
    found
}

#[tokio::test]
async fn p1_p4_nothing_confirmed_is_lost_or_undone_by_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::new();
    for round in 0..6 {
        let lines = rand::rng().random_range(1..600);
        let path = folder.path().to_owned();
        let mut known = std::mem::take(&mut ledger);
        known = tokio::task::spawn_blocking(move || {
            run_and_kill(&path, lines, &mut known);
            known
        })
        .await
        .expect("it ends");
        let found = contents(folder.path()).await;
        for (message, known) in &known {
            match known {
                Known::There => assert!(found.contains(message), "round {round}: {message:?} was lost"),
                Known::Ended => assert!(!found.contains(message), "round {round}: {message:?} came back"),
                Known::Ending => {}
            }
        }
        // What the child did not live to say is known from now on.
        ledger = known.into_iter().filter(|(_, known)| *known == Known::Ended).collect();
        ledger.extend(found.into_iter().map(|message| (message, Known::There)));
    }
}
