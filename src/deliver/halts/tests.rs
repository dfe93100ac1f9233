//! Two processes that share a store, and what each knows of what is stopped.

use jiff::SignedDuration;

use super::*;
use crate::store::sqlite::{SqliteStore, open};

/// The images that two processes have of one store.
struct Bench {
    one: Halts,
    other: Halts,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual("2026-11-30T14:00:00Z".parse().expect("a time"));
        let db = open(&folder.path().join("dari.db")).expect("opens");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(db, clock.clone()));
        let halts = || Halts::new(Arc::clone(&store), clock.clone(), Vec::new());
        Self { one: halts(), other: halts(), clock, _folder: folder }
    }

    /// An account, suspended until so many minutes from now, or until a probe so many from now.
    fn account(&self, until: Option<i64>, probe: Option<i64>) -> Suspension {
        let at = |minutes: Option<i64>| minutes.map(|m| self.clock.now() + SignedDuration::from_mins(m));
        let (scope, name, why) = (Scope::Account, "crm".to_owned(), "401".to_owned());
        Suspension { scope, name, why, since: self.clock.now(), until: at(until), probe: at(probe) }
    }

    fn pass(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }
}

const CRM: [(Scope, &str); 1] = [(Scope::Account, "crm")];

#[tokio::test]
async fn what_one_process_stops_and_resumes_the_other_sees() {
    let bench = Bench::new();
    bench.one.suspend(bench.account(None, None)).await.expect("stored");
    assert!(bench.other.any(&CRM).is_none());
    bench.other.refresh().await.expect("read");
    assert_eq!(bench.other.any(&CRM), bench.one.any(&CRM));
    bench.other.resume(Scope::Account, "crm").await.expect("stored");
    bench.one.refresh().await.expect("read");
    assert!(bench.one.any(&CRM).is_none());
}

#[tokio::test]
async fn the_end_of_a_pause_leaves_alone_what_was_suspended_since() {
    let bench = Bench::new();
    bench.one.suspend(bench.account(Some(1), None)).await.expect("stored");
    bench.other.refresh().await.expect("read");
    bench.pass(2);
    // The other process hears of refused credentials before this one sees that the pause is over.
    bench.other.suspend(bench.account(None, None)).await.expect("stored");
    bench.one.clear(&CRM).await;
    bench.one.refresh().await.expect("read");
    assert!(bench.one.any(&CRM).is_some_and(|halt| halt.until.is_none()));
}

#[tokio::test]
async fn one_of_all_probes_when_it_is_time() {
    let bench = Bench::new();
    bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
    bench.other.refresh().await.expect("read");
    assert!(!bench.one.claim_probe(Scope::Account, "crm").await, "not yet");
    bench.pass(1);
    assert!(bench.one.claim_probe(Scope::Account, "crm").await);
    assert!(!bench.one.claim_probe(Scope::Account, "crm").await, "it is under way");
    assert!(!bench.other.claim_probe(Scope::Account, "crm").await, "in the other process");
    bench.one.probed(Scope::Account, "crm", false).await;
    assert!(bench.one.any(&CRM).is_some());
    bench.pass(1);
    bench.other.refresh().await.expect("read");
    assert!(bench.other.claim_probe(Scope::Account, "crm").await);
    bench.other.probed(Scope::Account, "crm", true).await;
    bench.one.refresh().await.expect("read");
    assert!(bench.one.any(&CRM).is_none());
}

#[tokio::test]
async fn a_probe_resumes_nothing_that_a_person_stopped_meanwhile() {
    let bench = Bench::new();
    bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
    bench.pass(1);
    assert!(bench.one.claim_probe(Scope::Account, "crm").await);
    bench.one.resume(Scope::Account, "crm").await.expect("stored");
    bench.one.suspend(bench.account(None, None)).await.expect("stored");
    bench.one.probed(Scope::Account, "crm", true).await;
    bench.one.refresh().await.expect("read");
    assert!(bench.one.any(&CRM).is_some());
}

#[tokio::test]
async fn what_a_person_stops_is_not_probed() {
    let bench = Bench::new();
    bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
    bench.one.stop(Scope::Account, "crm", "maintenance".to_owned()).await.expect("stored");
    bench.pass(1);
    assert!(!bench.one.claim_probe(Scope::Account, "crm").await);
    bench.other.refresh().await.expect("read");
    assert_eq!(bench.other.any(&CRM).map(|halt| halt.why).as_deref(), Some("maintenance"));
}

#[test]
fn probes_become_seldom() {
    let since: Timestamp = "2026-11-30T14:00:00Z".parse().expect("a time");
    let mut at = since;
    let mut minutes = Vec::new();
    for _ in 0..8 {
        at = next_probe(since, at);
        minutes.push(at.duration_since(since).as_mins());
    }
    assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 124]);
}
