//! The promises, proved on histories: the real worker over a store and a broker in memory, in simulated time, with
//! crashes at every await, lost answers, duplicates, reorderings, pauses, quotas. A history follows from its seed alone.
//!
//! `DARI_HISTORIES=20000` lives so many of each kind, `DARI_SEED=n` begins at another seed. A failure is searched for a
//! smaller one that fails too; it prints the line that lives it again: `DARI_HISTORY='seed=… events=…'`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod broker;
mod checks;
mod history;
mod knobs;
mod replica;
mod vendor;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use history::Failure;
use knobs::{Knobs, Nature};

const NATURES: &[Nature] = &[Nature::Asked, Nature::Asked, Nature::Idempotent, Nature::Held, Nature::Twice];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// How long the search for a smaller failure may take.
const SEARCH: Duration = Duration::from_secs(40);

fn histories(replicas: u32, natures: &'static [Nature], count: u64) {
    if let Ok(line) = std::env::var("DARI_HISTORY") {
        let seed = line.split_whitespace().find_map(|word| word.strip_prefix("seed=")).expect("seed=number");
        let knobs = Knobs::of(seed.parse().expect("a number"), natures, replicas).turned(&line);
        if let Err(failure) = history::live(&knobs) {
            tell(&knobs, &failure);
        }
        return;
    }
    let start = number("DARI_SEED", 0);
    let next = AtomicU64::new(start);
    let end = start + number("DARI_HISTORIES", count);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let knobs = Knobs::of(seed, natures, replicas);
                    if let Err(failure) = history::live(&knobs) {
                        next.store(end, Ordering::Relaxed);
                        *world::lock(&found) = Some((knobs, failure));
                    }
                }
            });
        }
    });
    if let Some((knobs, failure)) = found.into_inner().expect("no thread panicked") {
        let (knobs, failure) = search(knobs, failure);
        tell(&knobs, &failure);
    }
}

/// Looks for a smaller history that fails.
fn search(mut knobs: Knobs, mut failure: Failure) -> (Knobs, Failure) {
    let end = Instant::now() + SEARCH;
    'smaller: loop {
        for dice in 0..20 {
            for mut smaller in knobs.smaller() {
                if dice > 0 {
                    smaller.dice = dice;
                }
                if Instant::now() > end {
                    return (knobs, failure);
                }
                if let Err(found) = history::live(&smaller) {
                    (knobs, failure) = (smaller, found);
                    continue 'smaller;
                }
            }
        }
        return (knobs, failure);
    }
}

fn tell(knobs: &Knobs, failure: &Failure) -> ! {
    panic!("{}\n\n{}\n\nDARI_HISTORY='{knobs}'\n{knobs:?}", failure.log.join("\n"), failure.wrongs.join("\n"));
}

#[test]
fn one_process_keeps_every_promise() {
    histories(1, NATURES, 1_000);
}

#[test]
fn several_processes_keep_every_promise() {
    histories(2, NATURES, 1_000);
}

#[test]
fn a_seed_tells_the_same_history_again() {
    for seed in 0..30_u64 {
        let knobs = Knobs::of(seed, NATURES, 1 + u32::from(seed % 3 == 0));
        let lines = || history::live(&knobs).unwrap_or_else(|failure| failure.log);
        let (first, second) = (lines(), lines());
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!("seed {seed}:\n{}\nor\n{}", first[at.saturating_sub(8)..=at].join("\n"), second[at]);
        }
    }
}
