//! The database thread: what is shared and what is not.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use dari::broker::embedded::Embedded;
use dari::broker::{Binding, Broker, BrokerError};
use dari::clock::Clock;
use dari::store::StoreError;
use dari::store::sqlite::{Database, open};

use crate::common::{event, next};

/// Keeps the writer busy, so that what is written meanwhile shares one commit.
async fn hold(db: &Arc<Database>) -> std::sync::mpsc::SyncSender<()> {
    let (release, held) = sync_channel::<()>(0);
    let (busy, started) = tokio::sync::oneshot::channel();
    let mut busy = Some(busy);
    let its = Arc::clone(db);
    tokio::spawn(async move {
        let work = move |_: &_| {
            busy.take().map(|busy| busy.send(()));
            _ = held.recv();
            Ok(())
        };
        its.write("holding", work).await
    });
    started.await.expect("the writer is held");
    release
}

#[tokio::test]
async fn a_bad_command_does_not_fail_its_neighbours() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder.path().join("dari.db")).expect("opens");
    let insert = "INSERT INTO fact (name, value) VALUES (?1, '0')";
    let release = hold(&db).await;
    let writes = (0..30).map(|n| {
        let db = Arc::clone(&db);
        let work = move |db: &rusqlite::Connection| {
            db.execute(insert, [n])?;
            // Every third fails after it has written something.
            if n % 3 == 0 { db.execute("INSERT INTO fact VALUES (NULL, NULL, NULL)", []).map(drop) } else { Ok(()) }
        };
        tokio::spawn(async move { db.write("writing", work).await })
    });
    let writes: Vec<_> = writes.collect();
    tokio::task::yield_now().await;
    release.send(()).expect("the writer waits");
    for (n, write) in writes.into_iter().enumerate() {
        assert_eq!(write.await.expect("it ends").is_err(), n % 3 == 0, "{n}");
    }
    let count = |db: &rusqlite::Connection| db.query_row("SELECT count(*) FROM fact", [], |row| row.get::<_, i64>(0));
    assert_eq!(db.read("counting", count).await.expect("read"), 20);
}

#[tokio::test]
async fn a_file_is_held_by_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dari.db");
    let first = open(&path).expect("opens");
    let refused = open(&path).expect_err("it is held");
    let own = std::process::id().to_string();
    assert!(matches!(&refused, StoreError::Held { holder, .. } if *holder == own), "{refused}");
    drop(first);
    open(&path).expect("it was given back");
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dari.db");
    drop(open(&path).expect("opens"));
    let db = rusqlite::Connection::open(&path).expect("opens");
    db.pragma_update(None, "user_version", 99).expect("set");
    drop(db);
    let refused = open(&path).expect_err("it is newer").to_string().replace(&path.display().to_string(), "dari.db");
    insta::assert_snapshot!(refused, @"dari.db was written by a newer version of dari (schema 99, this one knows 7)");
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dari.db");
    let text = "a letter, and a long one, so that it could be a page of something. ".repeat(100);
    std::fs::write(&path, &text).expect("written");
    let refused = open(&path).expect_err("no database").to_string().replace(&path.display().to_string(), "letter");
    insta::assert_snapshot!(refused, @"opening: letter: file is not a database");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}

#[cfg(unix)]
#[tokio::test]
async fn p11_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let parts = Embedded::open(&folder.path().join("new/dari.db"), Clock::system(1)).expect("opens");
    parts.broker.declare(Vec::new()).await.expect("declared");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder.path().join("new")).expect("the folder was made") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("its mode").permissions().mode() & 0o777;
        names.push(format!("{} {mode:o}", file.file_name().display()));
    }
    names.sort();
    insta::assert_snapshot!(names.join("\n"), @r"
    dari.db 600
    dari.db-shm 600
    dari.db-wal 600
    dari.db.lock 600
    dari.journal.db 600
    dari.journal.db-shm 600
    dari.journal.db-wal 600
    dari.journal.db.lock 600
    ");
}

#[tokio::test]
async fn p1_a_full_disk_is_an_error_and_not_a_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::system(1);
    let parts = Embedded::open(&folder.path().join("dari.db"), clock.clone()).expect("opens");
    let broker = &parts.broker;
    let all = Binding { queue: "r".into(), sources: None, types: None };
    broker.declare(vec![all]).await.expect("declared");
    let pages = |most: &'static str| {
        let work = move |db: &rusqlite::Connection| db.query_row(most, [], |_| Ok(()));
        parts.store.database().write("limiting", work)
    };
    pages("PRAGMA max_page_count = 60").await.expect("limited");
    let mut confirmed = Vec::new();
    let refused = loop {
        let id = confirmed.len().to_string();
        match broker.publish(vec![event(&clock, "s", "t", &id)]).await {
            Ok(()) => confirmed.push(id),
            Err(e) => break e,
        }
    };
    assert!(matches!(&refused, BrokerError::Unavailable(why) if why.contains("full")), "{refused}");
    // There is no room to write, but what is there can be read and, with room again, acked.
    let mut consumer = broker.consume("r", confirmed.len() + 1).await.expect("a consumer");
    let mut messages = Vec::new();
    for id in &confirmed {
        let message = next(consumer.as_mut()).await;
        assert_eq!(&message.event.id, id);
        messages.push(message);
    }
    pages("PRAGMA max_page_count = 1000000").await.expect("freed");
    broker.publish(vec![event(&clock, "s", "t", "after")]).await.expect("published");
    assert_eq!(next(consumer.as_mut()).await.event.id, "after");
    for message in messages {
        broker.ack("r", &message).await.expect("acked");
    }
}

#[tokio::test]
async fn the_log_stays_short_and_is_gone_after_a_close() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dari.db");
    let db = open(&path).expect("opens");
    let log = folder.path().join("dari.db-wal");
    let length = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let mut longest = 0;
    for n in 0..160 {
        // A row change a KiB, as events are.
        let work = move |db: &rusqlite::Connection| {
            let mut add = db.prepare_cached("INSERT INTO body (id, event) VALUES (?1, zeroblob(1024))")?;
            (0..1_000).try_for_each(|m| add.execute([n * 1_000 + m]).map(drop))
        };
        db.write("filling", work).await.expect("written");
        longest = longest.max(length());
    }
    // Twice the length at which it is emptied: a busy machine may make the writer put that off.
    assert!(longest < 128 << 20, "the log grew to {longest} bytes");
    db.close().await;
    assert_eq!(length(), 0);
    assert!(matches!(db.write("writing", |_| Ok(())).await, Err(StoreError::Closed)));
    assert!(matches!(db.read("reading", |_| Ok(())).await, Err(StoreError::Closed)));
}
