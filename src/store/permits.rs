//! What processes that share an account agree on in the store: how many calls at once each may make, and whose turn it
//! is by the rate (promise P5).

use std::time::Duration;

/// How long a remainder that cannot be divided stays with the same processes, in seconds.
pub const ROTATION: i64 = 10;

/// How far ahead turns are believed to be reserved, in blocks: what is further away was written before a clock was set
/// back.
pub const FURTHEST: u32 = 64;

/// A process's wish for a part of an account's concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareAsk {
    /// The account.
    pub account: String,
    /// The process.
    pub owner: String,
    /// How many calls at once it would make; 0 and not busy: its share is given back.
    pub wants: u32,
    /// How many it makes now: these cannot be taken from it.
    pub busy: u32,
    /// How many the account takes in all.
    pub limit: u32,
    /// How long the share holds without being asked for again.
    pub ttl: Duration,
}

/// A process's wish for turns by an account's rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnAsk {
    /// The account.
    pub account: String,
    /// How many, one after the other.
    pub count: u32,
    /// The time from one to the next.
    pub gap: Duration,
}

/// What another process has, as long as its share holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub owner: String,
    /// How many calls at once it would make.
    pub wants: u32,
    /// How many it may.
    pub has: u32,
}

/// How many calls at once the asking process may make, where these others have shares. What all have together is never
/// more than the limit, unless the limit was lowered or somebody's calls outlast a share.
#[must_use]
pub fn grant(ask: &ShareAsk, others: &[Holder], seconds: i64) -> u32 {
    if ask.wants == 0 {
        return ask.busy;
    }
    if others.is_empty() {
        // Nobody to leave anything to: it need not come back for each call.
        return ask.limit.max(ask.busy);
    }
    let mut all: Vec<(&str, u32)> = others.iter().map(|other| (other.owner.as_str(), other.wants)).collect();
    all.push((&ask.owner, ask.wants.max(ask.busy)));
    all.sort_unstable();
    let turn = usize::try_from(seconds / ROTATION).unwrap_or_default();
    let fair = divide(ask.limit, &all.iter().map(|(_, wants)| *wants).collect::<Vec<_>>(), turn);
    let mine = all.iter().zip(fair).find(|((owner, _), _)| *owner == ask.owner).map_or(0, |(_, fair)| fair);
    let taken: u32 = others.iter().map(|other| other.has).sum();
    mine.min(ask.limit.saturating_sub(taken)).max(ask.busy)
}

/// Divides a limit so that nobody gets more than another who wants more; who begins changes with `turn`.
fn divide(limit: u32, wants: &[u32], turn: usize) -> Vec<u32> {
    let mut shares = vec![0; wants.len()];
    let mut left = limit;
    while left > 0 {
        let before = left;
        for at in 0..wants.len() {
            let at = (at + turn) % wants.len();
            if left > 0 && shares[at] < wants[at] {
                shares[at] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(owner: &str, wants: u32, busy: u32, limit: u32) -> ShareAsk {
        ShareAsk { account: "a".into(), owner: owner.into(), wants, busy, limit, ttl: Duration::from_secs(30) }
    }

    #[test]
    fn who_is_alone_has_all() {
        assert_eq!(grant(&ask("p", 1, 0, 8), &[], 0), 8);
        assert_eq!(grant(&ask("p", 0, 0, 8), &[], 0), 0);
        assert_eq!(grant(&ask("p", 0, 3, 8), &[], 0), 3, "what is under way stays its own");
    }

    #[test]
    fn two_who_want_all_have_half_once_the_first_gave_it_up() {
        let first = |has| Holder { owner: "p".into(), wants: 8, has };
        assert_eq!(grant(&ask("q", 8, 0, 8), &[first(8)], 0), 0, "nothing is left");
        let second = Holder { owner: "q".into(), wants: 8, has: 0 };
        assert_eq!(grant(&ask("p", 8, 8, 8), std::slice::from_ref(&second), 0), 8, "not while all are under way");
        assert_eq!(grant(&ask("p", 8, 2, 8), &[second], 0), 4);
        assert_eq!(grant(&ask("q", 8, 0, 8), &[first(4)], 0), 4);
        assert_eq!(grant(&ask("q", 2, 0, 8), &[first(4)], 0), 2);
    }

    #[test]
    fn a_single_slot_goes_round() {
        let other = Holder { owner: "p".into(), wants: 1, has: 0 };
        let turns: Vec<u32> =
            (0..4).map(|n| grant(&ask("q", 1, 0, 1), std::slice::from_ref(&other), n * ROTATION)).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }

    proptest! {
        #[test]
        fn a_division_is_fair_and_leaves_nothing_that_is_wanted(
            limit in 0u32..40,
            wants in proptest::collection::vec(0u32..20, 1..6),
            turn in 0usize..7,
        ) {
            let shares = divide(limit, &wants, turn);
            prop_assert_eq!(shares.iter().sum::<u32>(), limit.min(wants.iter().sum()));
            for (at, share) in shares.iter().enumerate() {
                prop_assert!(*share <= wants[at]);
                for other in &shares {
                    prop_assert!(*share == wants[at] || share + 1 >= *other, "{:?} of {:?}", shares, wants);
                }
            }
        }

        /// Processes that come, grow, shrink and go in any order.
        #[test]
        fn all_together_never_have_more_than_the_limit(
            limit in 1u32..12,
            steps in proptest::collection::vec((0usize..4, 0u32..10, 0i64..60), 1..80),
        ) {
            let mut all: Vec<Holder> = (0..4).map(|n| Holder { owner: format!("p{n}"), wants: 0, has: 0 }).collect();
            for (who, wants, seconds) in steps {
                let others: Vec<Holder> =
                    all.iter().enumerate().filter(|(n, h)| *n != who && h.wants + h.has > 0).map(|(_, h)| h.clone()).collect();
                // As many of its calls are under way as it may make, or half of them.
                let busy = if seconds % 2 == 0 { all[who].has } else { all[who].has / 2 };
                let has = grant(&ask(&all[who].owner.clone(), wants, busy, limit), &others, seconds);
                all[who] = Holder { wants, has, ..all[who].clone() };
                prop_assert!(all.iter().map(|h| h.has).sum::<u32>() <= limit, "{all:?}");
            }
        }
    }
}
