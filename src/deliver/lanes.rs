//! The messages that a worker holds, each behind the others of its subject: two of one subject are never under way at
//! once (promise P3), and none takes a slot while it waits for another.

use std::collections::{HashMap, HashSet, VecDeque};

use super::attempt::Job;

/// How many jobs a lane keeps when others need its room.
const KEPT: usize = 8;

/// The lanes of one route, by the name of what their jobs stand in line with.
#[derive(Debug)]
pub struct Lanes {
    by_name: HashMap<String, Lane>,
    /// Lanes that have a job and nothing under way, in order of receipt.
    ready: VecDeque<String>,
    held: usize,
    /// False: every job is started alone.
    coalesce: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Job>,
    /// True while an attempt is made at one of its jobs.
    attempt: bool,
    /// True while what is too much is handed back.
    giving: bool,
    /// True: one did not come to its end, and those behind it must not overtake it.
    stuck: bool,
}

impl Lane {
    fn is_busy(&self) -> bool {
        self.attempt || self.giving || self.stuck
    }
}

/// Jobs that are started together: one is attempted, and if it is applied, so are those that are older.
#[derive(Debug)]
pub struct Run {
    /// The one that is attempted: the newest.
    pub job: Job,
    /// Those that it stands for, in order of receipt.
    pub older: Vec<Job>,
}

/// Jobs at the end of a lane whose room others need, in order of receipt.
#[derive(Debug)]
pub struct Surplus {
    /// The lane.
    pub lane: String,
    /// The jobs, at least one.
    pub jobs: Vec<Job>,
}

impl Lanes {
    /// Empty lanes. With `coalesce`, the newest of several states of a subject is attempted for all of them.
    #[must_use]
    pub fn new(coalesce: bool) -> Self {
        Self { by_name: HashMap::new(), ready: VecDeque::new(), held: 0, coalesce }
    }

    /// Puts a job in its lane, in the order of receipt: those that come back from a wait come in another.
    pub fn put(&mut self, job: Job) {
        self.held += 1;
        let name = job.lane.clone();
        let lane = self.by_name.entry(name.clone()).or_default();
        let received = |job: &Job| job.message.event.received;
        let later = lane.waiting.iter().rev().take_while(|other| received(other) > received(&job)).count();
        lane.waiting.insert(lane.waiting.len() - later, job);
        if !lane.is_busy() && lane.waiting.len() == 1 {
            self.ready.push_back(name);
        }
    }

    /// Takes what may start next; its lane is busy until [`Lanes::ended`].
    pub fn start(&mut self) -> Option<Run> {
        let name = self.ready.pop_front()?;
        let lane = self.by_name.get_mut(&name)?;
        lane.attempt = true;
        let together = if self.coalesce { states(&lane.waiting) } else { 1 };
        let mut jobs: Vec<Job> = lane.waiting.drain(..together.min(lane.waiting.len())).collect();
        let newest = (0..jobs.len()).reduce(|best, at| if is_older(&jobs[at], &jobs[best]) { best } else { at })?;
        let job = jobs.remove(newest);
        Some(Run { job, older: jobs })
    }

    /// Takes from the longest lane what is behind its first few jobs, and does not go on until [`Lanes::given`].
    /// `None` if none is that long.
    pub fn surplus(&mut self) -> Option<Surplus> {
        // What repeats a body is told by the ledger alone, which has to hear of the first before the others.
        let may =
            |lane: &Lane| lane.attempt && !lane.giving && lane.waiting.back().is_some_and(|job| job.lane == job.link);
        let long = self.by_name.iter_mut().filter(|(_, lane)| may(lane) && lane.waiting.len() > KEPT);
        let (name, lane) = long.max_by_key(|(_, lane)| lane.waiting.len())?;
        lane.giving = true;
        Some(Surplus { lane: name.clone(), jobs: lane.waiting.split_off(KEPT).into() })
    }

    /// Ends a run of `taken` jobs. Those of them that are to go on alone come back as `rest`. Where it did not come to its
    /// end (`done` is false), those behind it must not overtake it.
    pub fn ended(&mut self, name: &str, taken: usize, rest: Vec<Job>, done: bool) {
        self.held -= taken - rest.len();
        let Some(lane) = self.by_name.get_mut(name) else { return };
        lane.attempt = false;
        lane.stuck |= !done;
        for job in rest.into_iter().rev() {
            lane.waiting.push_front(job);
        }
        self.go_on(name);
    }

    /// Ends the giving away of so many jobs; as [`Lanes::ended`].
    pub fn given(&mut self, name: &str, taken: usize, done: bool) {
        self.held -= taken;
        if let Some(lane) = self.by_name.get_mut(name) {
            lane.giving = false;
            lane.stuck |= !done;
        }
        self.go_on(name);
    }

    fn go_on(&mut self, name: &str) {
        let Some(lane) = self.by_name.get(name).filter(|lane| !lane.is_busy()) else { return };
        if lane.waiting.is_empty() {
            self.by_name.remove(name);
        } else {
            self.ready.push_back(name.to_owned());
        }
    }

    /// How many jobs are held, those under way included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }
}

/// How many jobs from the first on are states of the subject of which only the newest counts. An event that comes again
/// is not newer than those that came in between.
fn states(waiting: &VecDeque<Job>) -> usize {
    let Some(first) = waiting.front().filter(|job| is_plain_state(job)) else { return 1 };
    let mut seen = HashSet::from([event(first)]);
    let alike = waiting.iter().skip(1).take_while(|job| is_plain_state(job) && are_alike(first, job));
    1 + alike.take_while(|job| seen.insert(event(job))).count()
}

fn event(job: &Job) -> (&str, &str, u32) {
    let event = &job.message.event;
    (&event.source, &event.id, event.generation)
}

/// What may have ended the process is tried alone.
fn is_plain_state(job: &Job) -> bool {
    job.action.is_state() && !job.message.event.forced && job.refused.is_none() && job.message.rounds == 0
}

/// One case, one kind of version: then it is certain which is newer, and the newer says all that the older does.
fn are_alike(first: &Job, job: &Job) -> bool {
    let version = |job: &Job| job.message.event.version;
    let comparable = match (version(first), version(job)) {
        (None, None) => true,
        (Some(one), Some(other)) => one.order(other).is_some(),
        _ => false,
    };
    comparable && first.case == job.case && first.leaves.is_some() == job.leaves.is_some() && first.link == job.link
}

/// By version, and of equal ones by receipt.
fn is_older(job: &Job, than: &Job) -> bool {
    let (mine, other) = (&job.message.event, &than.message.event);
    let by_version = mine.version.zip(other.version).and_then(|(mine, other)| mine.order(other));
    match by_version {
        Some(std::cmp::Ordering::Less) => true,
        Some(std::cmp::Ordering::Greater) => false,
        Some(std::cmp::Ordering::Equal) | None => mine.received < other.received,
    }
}

#[cfg(test)]
mod tests;
