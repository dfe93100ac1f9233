//! Who waits for a permit, what may be given out, and what has to be asked of the store first. Pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::Permit;
use crate::config::Priority;

/// How long a share of the account's concurrency holds without being renewed.
pub const TTL: Duration = Duration::from_secs(30);
/// How often it is renewed: how soon others get what this process no longer needs.
const RENEW: SignedDuration = SignedDuration::from_secs(5);
/// A share is used no longer than this after it was asked for: before others may take it.
const TRUST: SignedDuration = SignedDuration::from_secs(25);
/// How long to wait before a store is asked again for what it did not give.
const AGAIN: SignedDuration = SignedDuration::from_millis(500);
/// How many of high priority go before one that has none.
const FAVOURED: u32 = 4;
/// The time whose turns are reserved at once.
const BLOCK_SECONDS: f64 = 0.2;

/// How the permits of an account stand in this process.
#[derive(Debug)]
pub struct State {
    waiting: Line,
    in_use: u32,
    /// The most that were in use or waited for since the share was asked for.
    peak: u32,
    /// How many calls at once this process may make.
    share: u32,
    /// When the share was asked for last.
    asked: Timestamp,
    /// When the share was got last: it holds for a while from then on.
    got: Timestamp,
    turns: Turns,
    /// The store failed: not to be asked before.
    rest: Option<Timestamp>,
}

/// Turns that are reserved and not used yet.
#[derive(Debug)]
struct Turns {
    /// When they were asked for: a clock that is before it was set back.
    asked: Timestamp,
    /// Not before this time.
    next: Timestamp,
    /// Not at this time or later: turns that were not used by then are gone, and are no burst afterwards.
    end: Timestamp,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A permit can be given out.
    Hand,
    /// The store is to be asked for a share.
    Share {
        /// How many calls at once are wanted.
        wants: u32,
        /// How many are under way.
        busy: u32,
    },
    /// The store is to be asked for so many turns.
    Turns(u32),
    /// Nothing before that time, or before something changes.
    Rest(Option<Timestamp>),
}

/// What an account's limits are, as the state needs them.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Calls at once.
    pub slots: u32,
    /// The time from one call to the next.
    pub gap: Option<Duration>,
}

impl Bounds {
    /// How many turns are reserved at once: few writes where the rate is high, one by one where it is low.
    pub fn block(self) -> u32 {
        let gap = self.gap.unwrap_or_default().as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 20,000")]
        let block = (BLOCK_SECONDS / gap).clamp(1.0, 20_000.0) as u32;
        block
    }
}

impl State {
    /// Nothing asked for yet.
    pub fn new() -> Self {
        let never = Timestamp::MIN;
        let turns = Turns { asked: never, next: never, end: never };
        let waiting = Line::default();
        Self { waiting, in_use: 0, peak: 0, share: 0, asked: never, got: never, turns, rest: None }
    }

    /// A permit at once, where nothing has to be waited or asked for.
    pub fn take_now(&mut self, bounds: Bounds, now: Timestamp) -> bool {
        let free = bounds.gap.is_none() && self.waiting.is_empty() && self.in_use < self.share && self.holds(now);
        if free {
            self.in_use += 1;
            self.peak = self.peak.max(self.in_use);
        }
        free
    }

    /// Gets in line.
    pub fn wait(&mut self, priority: Priority) -> oneshot::Receiver<Permit> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.put(priority, sender);
        receiver
    }

    /// What is to be done next.
    pub fn step(&mut self, bounds: Bounds, now: Timestamp) -> Step {
        self.waiting.prune();
        let demand = self.in_use.saturating_add(self.waiting.len());
        self.peak = self.peak.max(demand);
        if let Some(rest) = self.rest.filter(|rest| *rest > now && later(*rest, -AGAIN) <= now) {
            return Step::Rest(Some(rest));
        }
        let ask = Step::Share { wants: self.peak.min(bounds.slots), busy: self.in_use };
        let renew = later(self.asked, RENEW);
        // A clock that was set back makes what was asked lie in the future.
        if self.share > 0 && (now >= renew || now < self.asked) {
            return ask;
        }
        let renew = (self.share > 0).then_some(renew);
        if self.waiting.is_empty() {
            return Step::Rest(renew);
        }
        if self.in_use >= self.share || !self.holds(now) {
            let again = later(self.asked, AGAIN);
            return match self.share < bounds.slots || !self.holds(now) {
                true if now >= again || now < self.asked => ask,
                true => Step::Rest(Some(renew.map_or(again, |renew| renew.min(again)))),
                false => Step::Rest(renew),
            };
        }
        match bounds.gap {
            None => Step::Hand,
            Some(_) => match &self.turns {
                turns if turns.next.max(now) >= turns.end || now < turns.asked => Step::Turns(bounds.block()),
                turns if now < turns.next => Step::Rest(Some(renew.map_or(turns.next, |renew| renew.min(turns.next)))),
                _ => Step::Hand,
            },
        }
    }

    /// Takes the next in line out of it; its permit counts from now on.
    pub fn hand(&mut self, bounds: Bounds, now: Timestamp) -> Option<oneshot::Sender<Permit>> {
        let next = self.waiting.take()?;
        self.in_use += 1;
        if let Some(gap) = bounds.gap {
            self.turns.next = add(now, gap);
        }
        Some(next)
    }

    /// A permit was given back.
    pub fn free(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// The store was asked for a share at `now`, and gave it.
    pub fn shared(&mut self, share: u32, now: Timestamp) {
        self.share = share;
        (self.asked, self.got) = (now, now);
        self.peak = self.in_use.saturating_add(self.waiting.len());
        self.rest = None;
    }

    /// The store was asked for turns at `asked` and gave them, the first of them at `first`.
    pub fn reserved(&mut self, bounds: Bounds, first: Timestamp, asked: Timestamp) {
        let end = add(first, bounds.gap.unwrap_or_default().saturating_mul(bounds.block()));
        // The last one before was late perhaps: the distance is kept.
        let next = if self.turns.next < end { self.turns.next.max(first) } else { first };
        self.turns = Turns { asked, next, end };
        self.rest = None;
    }

    /// The store failed.
    pub fn failed(&mut self, now: Timestamp) {
        self.rest = Some(later(now, AGAIN));
    }

    /// How many permits are in use, how many are waited for, and how many this process may give out.
    pub fn usage(&mut self) -> (u32, u32, u32) {
        self.waiting.prune();
        (self.in_use, self.waiting.len(), self.share)
    }

    fn holds(&self, now: Timestamp) -> bool {
        now >= self.got && now < later(self.got, TRUST)
    }
}

/// Those who wait: of each priority in the order of their coming.
#[derive(Debug, Default)]
struct Line {
    high: VecDeque<oneshot::Sender<Permit>>,
    normal: VecDeque<oneshot::Sender<Permit>>,
    /// How many of high priority went while one without waited.
    favoured: u32,
}

impl Line {
    fn put(&mut self, priority: Priority, sender: oneshot::Sender<Permit>) {
        match priority {
            Priority::High => self.high.push_back(sender),
            Priority::Normal => self.normal.push_back(sender),
        }
    }

    fn take(&mut self) -> Option<oneshot::Sender<Permit>> {
        let others_wait = !self.normal.is_empty();
        if !self.high.is_empty() && (self.favoured < FAVOURED || !others_wait) {
            self.favoured = if others_wait { self.favoured + 1 } else { 0 };
            return self.high.pop_front();
        }
        self.favoured = 0;
        self.normal.pop_front()
    }

    /// Forgets those who wait no more.
    fn prune(&mut self) {
        self.high.retain(|waiting| !waiting.is_closed());
        self.normal.retain(|waiting| !waiting.is_closed());
    }

    fn len(&self) -> u32 {
        u32::try_from(self.high.len() + self.normal.len()).unwrap_or(u32::MAX)
    }

    fn is_empty(&self) -> bool {
        self.high.is_empty() && self.normal.is_empty()
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

fn add(at: Timestamp, by: Duration) -> Timestamp {
    later(at, SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).expect("a time")
    }

    fn bounds(slots: u32, rate: Option<f64>) -> Bounds {
        Bounds { slots, gap: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)) }
    }

    #[test]
    fn a_share_is_asked_for_once_and_renewed_while_it_is_used() {
        let (limits, mut state) = (bounds(8, None), State::new());
        assert!(!state.take_now(limits, at(0)));
        let _first = state.wait(Priority::Normal);
        assert_eq!(state.step(limits, at(0)), Step::Share { wants: 1, busy: 0 });
        state.shared(8, at(0));
        assert_eq!(state.step(limits, at(0)), Step::Hand);
        assert!(state.hand(limits, at(0)).is_some());
        assert!(state.take_now(limits, at(1)), "the next costs nothing");
        assert_eq!(state.step(limits, at(1)), Step::Rest(Some(at(5_000))));
        state.free();
        state.free();
        assert_eq!(state.step(limits, at(5_000)), Step::Share { wants: 2, busy: 0 }, "it was used a moment ago");
        state.shared(8, at(5_000));
        assert_eq!(state.step(limits, at(10_000)), Step::Share { wants: 0, busy: 0 }, "others may have it");
        state.shared(0, at(10_000));
        assert_eq!(state.step(limits, at(10_000)), Step::Rest(None));
    }

    #[test]
    fn a_share_that_was_not_renewed_is_not_used() {
        let (limits, mut state) = (bounds(8, None), State::new());
        state.shared(8, at(0));
        assert!(state.take_now(limits, at(24_999)));
        assert!(!state.take_now(limits, at(25_000)));
        assert!(!state.take_now(limits, at(-1)), "nor when the clock was set back");
    }

    #[test]
    fn what_others_have_is_asked_for_again_with_pauses() {
        let (limits, mut state) = (bounds(8, None), State::new());
        state.shared(0, at(0));
        let _waits = state.wait(Priority::Normal);
        assert_eq!(state.step(limits, at(1)), Step::Rest(Some(at(500))));
        assert_eq!(state.step(limits, at(500)), Step::Share { wants: 1, busy: 0 });
        state.failed(at(500));
        assert_eq!(state.step(limits, at(501)), Step::Rest(Some(at(1_000))));
    }

    #[test]
    fn turns_that_nobody_took_are_neither_lost_nor_saved_up() {
        let (limits, mut state) = (bounds(8, Some(1.0)), State::new());
        state.shared(8, at(0));
        let waits = state.wait(Priority::Normal);
        assert_eq!(state.step(limits, at(0)), Step::Turns(1));
        state.reserved(limits, at(400), at(0));
        assert_eq!(state.step(limits, at(0)), Step::Rest(Some(at(400))));
        // Whoever waited was halted: the next one gets the same turn.
        drop(waits);
        assert_eq!(state.step(limits, at(600)), Step::Rest(Some(at(5_000))));
        let _next = state.wait(Priority::Normal);
        assert_eq!(state.step(limits, at(600)), Step::Hand);
        assert!(state.hand(limits, at(600)).is_some());
        let _later = state.wait(Priority::Normal);
        assert_eq!(state.step(limits, at(601)), Step::Turns(1));
        state.reserved(limits, at(1_400), at(601));
        assert_eq!(state.step(limits, at(1_400)), Step::Rest(Some(at(1_600))), "a second after the late one");
        assert_eq!(state.step(limits, at(2_400)), Step::Turns(1), "its time is over");
    }

    #[test]
    fn a_high_rate_reserves_in_blocks() {
        assert_eq!(bounds(8, Some(1.0)).block(), 1);
        assert_eq!(bounds(8, Some(100.0)).block(), 20);
        assert_eq!(bounds(8, Some(100_000.0)).block(), 20_000);
    }

    /// What comes, and `None` where one is taken.
    type Come = Option<Priority>;

    fn comes() -> impl Strategy<Value = Vec<Come>> {
        let one = prop_oneof![Just(None), Just(Some(Priority::High)), Just(Some(Priority::Normal))];
        proptest::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn high_priority_goes_first_and_starves_nobody(comes in comes()) {
            let mut line = Line::default();
            let (mut high, mut normal) = (VecDeque::new(), VecDeque::new());
            let mut passed_over = 0;
            for come in comes.into_iter().chain(std::iter::repeat_n(None, 200)) {
                if let Some(priority) = come {
                    let (sender, receiver) = oneshot::channel();
                    line.put(priority, sender);
                    if priority == Priority::High { &mut high } else { &mut normal }.push_back(receiver);
                    continue;
                }
                let Some(taken) = line.take() else {
                    prop_assert!(high.is_empty() && normal.is_empty());
                    continue;
                };
                drop(taken);
                // Its receiver is the one whose sender is gone: the first of its line.
                let is_high = high.front_mut().is_some_and(oneshot_is_over);
                if is_high {
                    high.pop_front();
                    passed_over = if normal.is_empty() { 0 } else { passed_over + 1 };
                } else {
                    let first = normal.pop_front();
                    prop_assert!(first.is_some_and(|mut first| oneshot_is_over(&mut first)), "in order of coming");
                    prop_assert!(high.is_empty() || passed_over == FAVOURED, "{passed_over} before it");
                    passed_over = 0;
                }
                prop_assert!(passed_over <= FAVOURED);
            }
        }
    }

    fn oneshot_is_over(receiver: &mut oneshot::Receiver<Permit>) -> bool {
        matches!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }
}
