//! The worker of one route: receives, decides, keeps the events of one subject behind each other, runs attempts.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attempt::{Attempt, Flow, Job, MAPPING_ERRORS, ROUNDS};
use super::halts::sleep_until;
use super::{Plan, Services};
use crate::broker::{BrokerError, Consumer, Message};
use crate::config::Action;
use crate::route::{self, Decision};
use crate::store::journal::{Entry, Record, Step};
use crate::store::{DeliveryKey, Progress};

/// How many messages are held for each that is under way: enough to find other subjects behind a busy one.
const PREFETCH_FACTOR: usize = 8;

/// How many deliveries are under way for each call that the account takes at once. The permit is held for the intent and
/// the call alone, so others make theirs while one's outcome is written and its message acked.
const UNDER_WAY_FACTOR: usize = 3;

/// The least time between two turns.
const BREATH: Duration = Duration::from_millis(50);

/// Works off a route's queue until told to stop; then finishes what is under way.
pub async fn run(plan: Arc<Plan>, services: Arc<Services>, stop: CancellationToken) {
    let mut pauses = super::patience();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = may_go_on(&plan, &services) => {}
        }
        match Turn::new(&plan, &services, &stop).run().await {
            Ok(Pause::Stopped) => return,
            Ok(Pause::Halted) => {
                pauses = super::patience();
                // What halted it may be no suspension but another route's probe of the sink, or an ack that failed.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(BREATH) => {}
                }
            }
            Err(error) => {
                let pause = pauses.next().unwrap_or(Duration::from_secs(5));
                tracing::error!(route = %plan.route().name, %error, ?pause, "the queue cannot be read");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Waits until neither a suspension nor the breaker forbids to consume.
async fn may_go_on(plan: &Plan, services: &Services) {
    loop {
        services.halts.clear(&plan.scopes()).await;
        match plan.to.breaker.closed_until(services.clock.now()) {
            Some(until) => sleep_until(&services.clock, until).await,
            None => return,
        }
    }
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Stopped,
    Halted,
}

/// The time from one start of consuming to the next stop.
struct Turn<'a> {
    plan: &'a Arc<Plan>,
    services: &'a Arc<Services>,
    stop: &'a CancellationToken,
    lanes: Lanes,
    tasks: JoinSet<Ended>,
    under_way: usize,
}

/// What a task says when it ends.
struct Ended {
    /// The lane that is free again; `None` for a message that the route left.
    lane: Option<String>,
    flow: Flow,
}

impl<'a> Turn<'a> {
    fn new(plan: &'a Arc<Plan>, services: &'a Arc<Services>, stop: &'a CancellationToken) -> Self {
        // A person has looked at the mapping and let the route go on.
        let errors = &plan.mapping_errors;
        if errors.load(Ordering::Relaxed) >= MAPPING_ERRORS {
            errors.store(0, Ordering::Relaxed);
        }
        Self { plan, services, stop, lanes: Lanes::default(), tasks: JoinSet::new(), under_way: 0 }
    }

    async fn run(mut self) -> Result<Pause, BrokerError> {
        let calls = self.plan.to.gate.concurrency();
        let slots = match self.plan.to.sink.batch() {
            0 | 1 => calls,
            // As many as all calls together carry at once, and those that gather meanwhile.
            most => (calls + 1) * most,
        };
        let prefetch = slots.max(calls * PREFETCH_FACTOR);
        let mut consumer = self.services.broker.consume(&self.plan.route().name, prefetch).await?;
        let scopes = self.plan.scopes();
        let mut pause = None;
        let mut failed = None;
        loop {
            while pause.is_none() && self.under_way < slots * UNDER_WAY_FACTOR {
                let Some(job) = self.lanes.start() else { break };
                self.start(job);
            }
            let open = pause.is_none();
            if !open && self.tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if open => pause = Some(Pause::Stopped),
                () = self.services.halts.halted(&scopes), if open => pause = Some(Pause::Halted),
                Some(ended) = self.tasks.join_next() => match self.ended(ended) {
                    Flow::Done => {}
                    Flow::Halted => pause = pause.or(Some(Pause::Halted)),
                    Flow::Stopped => pause = Some(Pause::Stopped),
                },
                received = next(&mut *consumer), if open && self.lanes.held() < prefetch => match received {
                    Ok(Some(message)) => self.receive(message),
                    Ok(None) => pause = Some(Pause::Stopped),
                    Err(error) => {
                        failed = Some(error);
                        pause = Some(Pause::Halted);
                    }
                },
            }
        }
        // Only now: what is under way has been acked, what has not begun goes back in its place.
        drop(consumer);
        failed.map_or(Ok(pause.unwrap_or(Pause::Halted)), Err)
    }

    /// Decides on a message, and puts it in its subject's lane or lets it go.
    fn receive(&mut self, message: Message) {
        if message.rounds >= ROUNDS {
            // Not even the filter is run: it may be what ends the process.
            return self.refuse(message, String::new());
        }
        let route = self.plan.route();
        let event = &message.event;
        let context = route::context(route, event, Arc::clone(&self.plan.config.tables), None);
        let decision = route::decide(route, event, &context);
        let (case, action) = match decision {
            Decision::Take { case, action } => (case, action),
            Decision::Skip { why } => return self.let_go(message, why),
            // Where the filter itself fails, the attempt fails on it again and makes a dead letter with its words.
            Decision::Error(error) => return self.refuse(message, error.to_string()),
        };
        let link = match route::link_key(route, event, &context) {
            Ok(link) => link,
            Err(error) => return self.refuse(message, format!("key: {error}")),
        };
        // Without a subject nothing but the body keeps two copies of one event behind each other.
        let body = if route.key.is_none() && event.subject.is_none() { event.body_key() } else { None };
        let lane = body.unwrap_or_else(|| link.clone());
        self.lanes.put(Job { message, case, action, link, lane, refused: None });
    }

    fn refuse(&mut self, message: Message, why: String) {
        let link = route::subject_key(self.plan.route(), &message.event);
        let lane = link.clone();
        self.lanes.put(Job { message, case: 0, action: Action::Create, link, lane, refused: Some(why) });
    }

    fn let_go(&mut self, message: Message, why: String) {
        self.journal(&message, Step::Skipped { why });
        let services = Arc::clone(self.services);
        let queue = self.plan.route().name.clone();
        self.tasks.spawn(async move {
            // Left unacked it comes again and is left again: nothing is lost by it.
            let flow = match leave(&services, &queue, &message).await {
                Ok(()) => Flow::Done,
                Err(error) => {
                    tracing::warn!(%error, "a message that the route leaves could not be acked");
                    Flow::Halted
                }
            };
            Ended { lane: None, flow }
        });
    }

    fn start(&mut self, job: Job) {
        let event = &job.message.event;
        let span = tracing::info_span!(
            "delivery",
            event.id = %event.id,
            source = %event.source,
            route = %self.plan.route().name,
            sink = %self.plan.to.name,
            attempt = job.message.attempt,
        );
        let lane = job.lane.clone();
        let attempt = Attempt::new(Arc::clone(self.plan), Arc::clone(self.services), self.stop.clone(), job);
        self.under_way += 1;
        self.tasks.spawn(
            async move {
                let attempt = Arc::new(attempt);
                let flow = match AssertUnwindSafe(attempt.run()).catch_unwind().await {
                    Ok(flow) => flow,
                    Err(_) => attempt.crashed().await,
                };
                Ended { lane: Some(lane), flow }
            }
            .instrument(span),
        );
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Flow {
        // Panics are caught within the task, and nobody aborts it while this set lives.
        let Ok(ended) = ended else { return Flow::Halted };
        if let Some(lane) = ended.lane {
            self.under_way -= 1;
            self.lanes.free(&lane, ended.flow == Flow::Done);
        }
        ended.flow
    }

    fn journal(&self, message: &Message, mut step: Step) {
        self.services.redactor.step(&message.event, &mut step);
        self.services.journal.record(Record::Entry(Entry {
            at: self.services.clock.now(),
            event: message.event.key(),
            route: Some(self.plan.route().name.clone()),
            step,
        }));
    }
}

/// Acks a message that its route does not take. Where it took it once, and the config has changed since, the ledger
/// is told: else the later events of its subject would wait for its end for ever.
async fn leave(services: &Services, route: &str, message: &Message) -> Result<(), String> {
    let event = &message.event;
    let delivery = DeliveryKey { route: route.to_owned(), event: event.key(), generation: event.generation };
    let entry = services.store.entry(delivery.clone()).await.map_err(|e| e.to_string())?;
    if matches!(entry.map(|e| e.progress), Some(Progress::Waiting { .. } | Progress::Open { .. })) {
        services.store.leave(delivery).await.map_err(|e| e.to_string())?;
    }
    services.broker.ack(route, message).await.map_err(|e| e.to_string())
}

async fn next(consumer: &mut dyn Consumer) -> Result<Option<Message>, BrokerError> {
    consumer.next().await
}

/// The messages that are held, each behind the others of its subject: two of one subject are never under way at once
/// (promise P3), and none takes a slot while it waits for another.
#[derive(Default)]
struct Lanes {
    by_name: HashMap<String, VecDeque<Job>>,
    /// Lanes whose first job may start, in order of receipt.
    ready: VecDeque<String>,
    held: usize,
}

impl Lanes {
    fn put(&mut self, job: Job) {
        self.held += 1;
        if let Some(lane) = self.by_name.get_mut(&job.lane) {
            lane.push_back(job);
        } else {
            self.ready.push_back(job.lane.clone());
            self.by_name.insert(job.lane.clone(), VecDeque::from([job]));
        }
    }

    /// Takes the next job; its lane is busy until [`Lanes::free`].
    fn start(&mut self) -> Option<Job> {
        let lane = self.ready.pop_front()?;
        self.by_name.get_mut(&lane).and_then(VecDeque::pop_front)
    }

    /// Ends the job under way in a lane. Where it did not come to its end, those behind it must not overtake it.
    fn free(&mut self, lane: &str, done: bool) {
        self.held -= 1;
        match self.by_name.get(lane) {
            Some(waiting) if waiting.is_empty() => {
                self.by_name.remove(lane);
            }
            Some(_) if done => self.ready.push_back(lane.to_owned()),
            _ => {}
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}
