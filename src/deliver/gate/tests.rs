use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::store::sqlite::{SqliteStore, open};

/// A store in a folder of its own, with a clock that is moved by hand.
struct Bench {
    store: Arc<dyn Store>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual("2026-11-30T14:00:00Z".parse().expect("a time"));
        let db = open(&folder.path().join("dari.db")).expect("opens");
        Self { store: Arc::new(SqliteStore::new(db, clock.clone())), clock, _folder: folder }
    }

    /// The gate of one of the processes that share the store.
    fn gate(&self, process: &str, limits: Limits) -> Arc<Gate> {
        let (store, clock, owner) = (Arc::clone(&self.store), self.clock.clone(), process.to_owned());
        Arc::new(Gate::new("wf", limits, TimeZone::UTC, Shared { store, clock, owner }))
    }

    /// Moves the clock in small steps until the work is done, whenever the gates have nothing to do at its time.
    async fn until<T>(&self, gates: &[&Arc<Gate>], work: impl Future<Output = T>) -> T {
        let rest = |gate: &&Arc<Gate>| {
            let step = gate.inner.state().step(gate.inner.bounds, self.clock.now());
            matches!(step, Step::Rest(_))
        };
        let drive = async {
            loop {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                if gates.iter().all(rest) {
                    self.clock.advance(STEP);
                } else {
                    // The store's thread is at work.
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = drive => unreachable!("it has no end"),
        }
    }
}

/// By how much the clock is moved at once.
const STEP: SignedDuration = SignedDuration::from_millis(10);

fn limits(concurrency: u32, rate: Option<f64>) -> Limits {
    Limits { concurrency: Some(concurrency), rate, monthly: None }
}

/// What calls did, in the order of their beginning.
#[derive(Default)]
struct Seen {
    under_way: u32,
    most: u32,
    began: Vec<Timestamp>,
    by: Vec<usize>,
}

/// Makes calls through gates, each so long, and says what was seen.
async fn calls(bench: &Bench, gates: &[Arc<Gate>], each: &[u64]) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut tasks = JoinSet::new();
    for (n, gate) in gates.iter().enumerate() {
        for ms in each {
            let (gate, seen, clock, ms) = (Arc::clone(gate), Arc::clone(&seen), bench.clock.clone(), *ms);
            tasks.spawn(async move {
                let permit = gate.permit().await.expect("a permit");
                {
                    let mut seen = seen.lock().expect("no panic");
                    seen.under_way += 1;
                    seen.most = seen.most.max(seen.under_way);
                    seen.began.push(clock.now());
                    seen.by.push(n);
                }
                sleep_until(&clock, clock.now() + SignedDuration::from_millis(ms.cast_signed())).await;
                seen.lock().expect("no panic").under_way -= 1;
                drop(permit);
            });
        }
    }
    bench.until(&gates.iter().collect::<Vec<_>>(), async { while tasks.join_next().await.is_some() {} }).await;
    Arc::into_inner(seen).expect("all have ended").into_inner().expect("no panic")
}

#[test]
fn the_month_turns_in_the_accounts_zone() {
    let zone = TimeZone::get("Asia/Seoul").expect("a zone");
    let limits = Limits { monthly: Some(1500), ..Limits::default() };
    let now: Timestamp = "2026-11-30T14:59:59Z".parse().expect("a time");
    assert_eq!(charge("daou", limits, &zone, now).month, "2026-11");
    assert_eq!(month_turns(now, &zone).to_string(), "2026-11-30T15:00:00Z");
    let later: Timestamp = "2026-11-30T15:00:00Z".parse().expect("a time");
    assert_eq!(charge("daou", limits, &zone, later).month, "2026-12");
}

#[tokio::test]
async fn calls_are_spaced_by_the_rate() {
    let bench = Bench::new();
    let gate = bench.gate("p", limits(8, Some(1.0)));
    let seen = calls(&bench, &[gate], &[0; 4]).await;
    for pair in seen.began.windows(2) {
        let gap = pair[1].duration_since(pair[0]);
        assert!(gap >= SignedDuration::from_secs(1) && gap <= SignedDuration::from_millis(1_050), "{gap}");
    }
}

#[tokio::test]
async fn a_restart_makes_no_burst() {
    let bench = Bench::new();
    let mut began = Vec::new();
    for _ in 0..4 {
        let gate = bench.gate("p", limits(8, Some(1.0)));
        began.extend(calls(&bench, &[gate], &[0]).await.began);
    }
    let in_all = began[3].duration_since(began[0]);
    assert!(in_all >= SignedDuration::from_millis(2_900), "{in_all}");
}

#[tokio::test]
async fn who_leaves_the_line_wastes_no_turn() {
    let bench = Bench::new();
    let gate = bench.gate("p", limits(8, Some(0.1)));
    let start = bench.clock.now();
    drop(bench.until(&[&gate], gate.permit()).await);
    // Eight wait, and are halted.
    let waiting = futures_util::future::join_all((0..8).map(|_| gate.permit()));
    let halted = sleep_until(&bench.clock, start + SignedDuration::from_secs(1));
    bench.until(&[&gate], futures_util::future::select(Box::pin(waiting), Box::pin(halted))).await;
    drop(bench.until(&[&gate], gate.permit()).await);
    let waited = bench.clock.now().duration_since(start);
    assert!(waited < SignedDuration::from_secs(12), "the very next turn, not the ninth: {waited}");
}

#[tokio::test]
async fn a_slot_is_free_again_when_its_permit_is_dropped() {
    let bench = Bench::new();
    let gate = bench.gate("p", limits(1, None));
    let held = bench.until(&[&gate], gate.permit()).await.expect("a permit");
    let a_while = sleep_until(&bench.clock, bench.clock.now() + SignedDuration::from_secs(1));
    let second = futures_util::future::select(Box::pin(gate.permit()), Box::pin(a_while));
    assert!(matches!(bench.until(&[&gate], second).await, futures_util::future::Either::Right(_)));
    assert_eq!(gate.usage(), Usage { in_use: 1, waiting: 0, share: 1 });
    drop(held);
    assert!(bench.until(&[&gate], gate.permit()).await.is_some());
}

#[tokio::test]
async fn what_one_process_gives_up_another_gets() {
    let bench = Bench::new();
    let (one, other) = (bench.gate("p", limits(4, None)), bench.gate("q", limits(4, None)));
    let held = bench.until(&[&one, &other], one.permit()).await.expect("a permit");
    assert_eq!(one.usage().share, 4, "it is alone");
    // The first needs one of its four: the rest is given up at its next renewal.
    let got = bench.until(&[&one, &other], futures_util::future::join_all((0..3).map(|_| other.permit()))).await;
    assert!(got.iter().all(Option::is_some));
    assert_eq!((one.usage().share, other.usage().share), (1, 3));
    drop((held, got));
    other.leave().await.expect("the store works");
    // A process that died keeps its share no longer than it lasts.
    drop((one, other));
    let third = bench.gate("r", limits(4, None));
    let all = bench.until(&[&third], futures_util::future::join_all((0..4).map(|_| third.permit()))).await;
    assert!(all.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_single_slot_is_shared_by_processes_that_both_want_it() {
    let bench = Bench::new();
    let gates = [bench.gate("p", limits(1, None)), bench.gate("q", limits(1, None))];
    let seen = calls(&bench, &gates, &[1_000; 20]).await;
    assert_eq!(seen.most, 1);
    let early = seen.by.iter().take(30).filter(|by| **by == 0).count();
    assert!((8..=22).contains(&early), "neither waits for all of the other's: {:?}", seen.by);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn two_processes_together_keep_to_the_limits(
        concurrency in 1u32..5,
        rate in proptest::option::of(prop_oneof![Just(2.0f64), Just(10.0), Just(50.0)]),
        each in proptest::collection::vec(0u64..400, 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let seen = runtime.expect("a runtime").block_on(async {
            let bench = Bench::new();
            let gates = [bench.gate("p", limits(concurrency, rate)), bench.gate("q", limits(concurrency, rate))];
            calls(&bench, &gates, &each).await
        });
        prop_assert_eq!(seen.began.len(), each.len() * 2);
        prop_assert!(seen.most <= concurrency, "{} of {}", seen.most, concurrency);
        let Some(rate) = rate else { return Ok(()) };
        let mut began = seen.began;
        began.sort();
        for (at, first) in began.iter().enumerate() {
            let within = began[at..].iter().filter(|b| b.duration_since(*first) < SignedDuration::from_secs(1)).count();
            // A second touches one turn more than its number, and a call may be late in its turn.
            let within = u32::try_from(within).unwrap_or(u32::MAX);
            prop_assert!(f64::from(within) <= rate + 2.0, "{} calls in a second, {} allowed", within, rate);
        }
    }
}
