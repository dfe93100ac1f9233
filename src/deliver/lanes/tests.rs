//! Lanes, whatever comes in whatever order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::broker::Message;
use crate::config::Action;
use crate::event::{Collapse, Event, Payload, Received, Version};

fn job(number: u64, subject: &str, action: Action, version: Option<i64>) -> Job {
    let event = Event {
        id: number.to_string(),
        source: "s".into(),
        kind: "t".into(),
        subject: Some(subject.into()),
        time: jiff::Timestamp::UNIX_EPOCH,
        version: version.map(Version::Integer),
        received: Received { clock: number, process: 1 },
        collapse: Collapse::Id,
        generation: 0,
        forced: false,
        unfetched: false,
        headers: BTreeMap::new(),
        data: Payload::json(b"{}").unwrap(),
    };
    let message = Message { event: Arc::new(event), attempt: 1, tag: number, rounds: 0 };
    let (link, lane) = (subject.to_owned(), subject.to_owned());
    Job { message, case: usize::from(!action.is_state()), action, link, lane, leaves: None, refused: None }
}

fn state(number: u64, version: Option<i64>) -> Job {
    job(number, "a", Action::Upsert, version)
}

fn number(job: &Job) -> u64 {
    job.message.tag
}

fn numbers(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(number).collect()
}

/// Everything that is started from these, each run applied: the attempted one, and those it stands for.
fn runs(jobs: Vec<Job>) -> Vec<(u64, Vec<u64>)> {
    let mut lanes = Lanes::new(true);
    for job in jobs {
        lanes.put(job);
    }
    let mut found = Vec::new();
    while let Some(run) = lanes.start() {
        found.push((number(&run.job), numbers(&run.older)));
        lanes.ended(&run.job.lane, 1 + run.older.len(), Vec::new(), true);
    }
    assert_eq!((lanes.held(), lanes.by_name.len()), (0, 0));
    found
}

#[test]
fn the_newest_state_stands_for_those_before_it() {
    let versions = [Some(1), Some(4), Some(3), Some(4)];
    let jobs = versions.into_iter().zip(1..).map(|(version, number)| state(number, version)).collect();
    assert_eq!(runs(jobs), [(4, vec![1, 2, 3])], "of equal versions the one received last");
    assert_eq!(runs(vec![state(1, Some(7)), state(2, Some(5))]), [(1, vec![2])]);
    assert_eq!(runs(vec![state(1, None), state(2, None)]), [(2, vec![1])]);
}

#[test]
fn an_event_that_comes_again_is_not_newer_than_what_came_in_between() {
    let mut again = state(3, None);
    let mut event = Event::clone(&again.message.event);
    event.id = "1".into();
    again.message.event = Arc::new(event);
    assert_eq!(runs(vec![state(1, None), state(2, None), again]), [(2, vec![1]), (3, vec![])]);
}

#[test]
fn what_is_no_plain_state_is_a_boundary() {
    let create = |number| job(number, "a", Action::Create, None);
    assert_eq!(
        runs(vec![state(1, None), create(2), state(3, None), state(4, None)]),
        [(1, vec![]), (2, vec![]), (4, vec![3])]
    );
    assert_eq!(runs(vec![create(1), create(2)]), [(1, vec![]), (2, vec![])]);
    let other_case = Job { case: 3, ..state(2, None) };
    assert_eq!(runs(vec![state(1, None), other_case]), [(1, vec![]), (2, vec![])]);
    let refused = Job { refused: Some("no".into()), ..state(2, None) };
    assert_eq!(runs(vec![state(1, None), refused]), [(1, vec![]), (2, vec![])]);
    let leaves = Job { leaves: Some("no".into()), action: Action::Delete, ..state(2, None) };
    assert_eq!(runs(vec![state(1, None), leaves]), [(1, vec![]), (2, vec![])]);
    assert_eq!(
        runs(vec![state(1, Some(1)), state(2, None), state(3, Some(2))]),
        [(1, vec![]), (2, vec![]), (3, vec![])]
    );
    let mut suspect = state(2, None);
    suspect.message.rounds = 1;
    assert_eq!(runs(vec![state(1, None), suspect]), [(1, vec![]), (2, vec![])]);
}

#[test]
fn the_rest_of_a_run_goes_on_with_its_next_newest() {
    let mut lanes = Lanes::new(true);
    for number in 1..=3 {
        lanes.put(state(number, None));
    }
    let run = lanes.start().unwrap();
    assert_eq!(number(&run.job), 3);
    lanes.put(job(4, "a", Action::Create, None));
    lanes.ended("a", 3, run.older, true);
    assert_eq!(lanes.held(), 3);
    let run = lanes.start().unwrap();
    assert_eq!((number(&run.job), numbers(&run.older)), (2, vec![1]));
    assert!(lanes.start().is_none(), "the lane is busy");
}

#[test]
fn a_long_lane_gives_its_end_away_and_waits_for_that() {
    let mut lanes = Lanes::new(true);
    for number in 1..=20 {
        lanes.put(job(number, "a", Action::Create, None));
    }
    assert!(lanes.surplus().is_none(), "what can be started is not given away");
    lanes.start().unwrap();
    let surplus = lanes.surplus().unwrap();
    assert_eq!(numbers(&surplus.jobs), (10..=20).collect::<Vec<_>>());
    assert!(lanes.surplus().is_none());
    lanes.put(job(21, "a", Action::Create, None));
    lanes.ended("a", 1, Vec::new(), true);
    assert!(lanes.start().is_none(), "later ones wait until the ledger knows of those that were given away");
    lanes.given("a", 11, true);
    assert_eq!(lanes.held(), 9);
    assert_eq!(number(&lanes.start().unwrap().job), 2);
}

#[test]
fn what_stands_in_line_by_its_body_is_not_given_away() {
    let mut lanes = Lanes::new(true);
    for number in 1..=20 {
        lanes.put(Job { link: number.to_string(), ..job(number, "body", Action::Create, None) });
    }
    lanes.start().unwrap();
    assert!(lanes.surplus().is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        subject: u8,
        action: Action,
        version: Option<i64>,
    },
    Start,
    /// Ends one that is under way.
    End {
        which: prop::sample::Index,
        how: u8,
    },
    GiveAway,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let action = prop::sample::select(vec![Action::Upsert, Action::Upsert, Action::Create]);
    let put = (0_u8..3, action, prop::option::of(0_i64..4)).prop_map(|(subject, action, version)| Step::Put {
        subject,
        action,
        version,
    });
    let end = (any::<prop::sample::Index>(), 0_u8..8).prop_map(|(which, how)| Step::End { which, how });
    prop::collection::vec(prop_oneof![6 => put, 3 => Just(Step::Start), 3 => end, 1 => Just(Step::GiveAway)], 0..120)
}

/// Lanes, and what is known of all that was put into them.
struct Known {
    lanes: Lanes,
    put: BTreeMap<u64, Job>,
    over: HashSet<u64>,
    /// By lane: attempts, and what is being given away.
    under_way: BTreeMap<String, Run>,
    given: BTreeMap<String, Vec<u64>>,
    /// Lanes of which an attempt did not come to its end.
    stuck: BTreeSet<String>,
}

impl Known {
    fn new() -> Self {
        let (put, over, under_way) = (BTreeMap::new(), HashSet::new(), BTreeMap::new());
        Self { lanes: Lanes::new(true), put, over, under_way, given: BTreeMap::new(), stuck: BTreeSet::new() }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Put { subject, action, version } => {
                let next = self.put.len() as u64 + 1;
                let job = job(next, &subject.to_string(), *action, *version);
                self.put.insert(next, job.clone());
                self.lanes.put(job);
            }
            Step::Start => self.start()?,
            Step::End { which, how } if *how < 6 && !self.under_way.is_empty() => {
                let lane = which.get(&self.under_way.keys().cloned().collect::<Vec<_>>()).clone();
                self.end(&lane, *how);
            }
            Step::End { .. } => {
                if let Some((lane, jobs)) = self.given.pop_first() {
                    self.over.extend(&jobs);
                    self.lanes.given(&lane, jobs.len(), true);
                }
            }
            Step::GiveAway => {
                if let Some(Surplus { lane, jobs }) = self.lanes.surplus() {
                    prop_assert!(self.under_way.contains_key(&lane), "only behind one that is under way");
                    self.given.insert(lane, numbers(&jobs));
                }
            }
        }
        prop_assert_eq!(self.lanes.held(), self.put.len() - self.over.len());
        Ok(())
    }

    fn start(&mut self) -> Result<(), TestCaseError> {
        let Some(run) = self.lanes.start() else { return Ok(()) };
        let lane = run.job.lane.clone();
        prop_assert!(!self.stuck.contains(&lane) && !self.given.contains_key(&lane));
        // Nothing of the subject that came before is left out, except what is over.
        let mut together = numbers(&run.older);
        together.push(number(&run.job));
        together.sort_unstable();
        let last = *together.last().unwrap();
        let of_lane = self.put.values().filter(|job| job.lane == lane).map(number);
        let due: Vec<u64> = of_lane.filter(|n| *n <= last && !self.over.contains(n)).collect();
        prop_assert_eq!(&due, &together);
        prop_assert!(run.older.iter().all(|job| job.action.is_state() && is_older(job, &run.job)));
        prop_assert!(run.older.is_empty() || run.job.action.is_state());
        prop_assert!(self.under_way.insert(lane, run).is_none(), "two of one subject at once");
        Ok(())
    }

    /// Ends an attempt: applied, left for the rest to go on, or not come to its end.
    fn end(&mut self, lane: &str, how: u8) {
        let Some(run) = self.under_way.remove(lane) else { return };
        let taken = 1 + run.older.len();
        let (rest, done) = match how {
            0..=2 => (Vec::new(), true),
            3 | 4 => (run.older.clone(), true),
            _ => (Vec::new(), false),
        };
        self.over.insert(number(&run.job));
        if rest.is_empty() {
            self.over.extend(numbers(&run.older));
        }
        if !done {
            self.stuck.insert(lane.to_owned());
        }
        self.lanes.ended(lane, taken, rest, done);
    }

    /// Ends all that is under way, and all that this lets begin; what is left then.
    fn end_all(&mut self) -> Vec<u64> {
        for (lane, jobs) in std::mem::take(&mut self.given) {
            self.over.extend(&jobs);
            self.lanes.given(&lane, jobs.len(), true);
        }
        let mut runs: Vec<Run> = std::mem::take(&mut self.under_way).into_values().collect();
        while let Some(run) = runs.pop().or_else(|| self.lanes.start()) {
            self.over.insert(number(&run.job));
            self.over.extend(numbers(&run.older));
            self.lanes.ended(&run.job.lane, 1 + run.older.len(), Vec::new(), true);
        }
        self.put.keys().filter(|n| !self.over.contains(n)).copied().collect()
    }
}

proptest! {
    /// One attempt a subject at a time, events in their order, states by their newest; nothing is forgotten and nothing
    /// started twice.
    #[test]
    fn lanes_keep_order_and_lose_nothing(steps in steps()) {
        let mut known = Known::new();
        for step in steps {
            known.step(&step)?;
        }
        let left = known.end_all();
        prop_assert!(left.iter().all(|n| known.stuck.contains(&known.put[n].lane)), "forgotten: {:?}", left);
    }
}
