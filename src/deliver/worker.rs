//! The worker of one route: receives, decides, keeps the events of one subject behind each other, runs attempts.

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
use super::lanes::{Lanes, Run, Surplus};
use super::{Plan, Services};
use crate::broker::{BrokerError, Consumer, Message};
use crate::config::Action;
use crate::route::{self, Decision};
use crate::store::journal::{Entry, Record, Step};
use crate::store::{DeliveryKey, Progress};

/// How many messages are held for each that is under way: enough to find other subjects behind a busy one.
const PREFETCH_FACTOR: usize = 8;

/// The same for an account with a monthly quota: the more states of a subject are seen at once, the fewer calls they cost.
const FRUGAL_FACTOR: usize = 64;

/// How long nothing may have moved in a full window before the longest lane has to make room for other subjects.
const STALL: Duration = Duration::from_millis(500);
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
    /// What it had; `None` for a message that the route left.
    work: Option<Work>,
    flow: Flow,
}

/// What a task had of a lane.
struct Work {
    lane: String,
    taken: usize,
    /// True if it made an attempt, for which it had a slot; false if it gave them away.
    slot: bool,
    /// Jobs of it that go on alone.
    rest: Vec<Job>,
}

impl<'a> Turn<'a> {
    fn new(plan: &'a Arc<Plan>, services: &'a Arc<Services>, stop: &'a CancellationToken) -> Self {
        // A person has looked at the mapping and let the route go on.
        let errors = &plan.mapping_errors;
        if errors.load(Ordering::Relaxed) >= MAPPING_ERRORS {
            errors.store(0, Ordering::Relaxed);
        }
        // A dry run shows each event.
        let lanes = Lanes::new(!services.dry_run);
        Self { plan, services, stop, lanes, tasks: JoinSet::new(), under_way: 0 }
    }

    async fn run(mut self) -> Result<Pause, BrokerError> {
        let calls = self.plan.to.gate.concurrency();
        let slots = match self.plan.to.sink.batch() {
            0 | 1 => calls,
            // As many as all calls together carry at once, and those that gather meanwhile.
            most => (calls + 1) * most,
        };
        let frugal = self.plan.to.gate.limits.monthly.is_some();
        let most = slots * UNDER_WAY_FACTOR;
        let prefetch = slots.max(calls * if frugal { FRUGAL_FACTOR } else { PREFETCH_FACTOR });
        let mut consumer = self.services.broker.consume(&self.plan.route().name, prefetch).await?;
        let scopes = self.plan.scopes();
        let mut pause = None;
        let mut failed = None;
        loop {
            while pause.is_none() && self.under_way < most {
                let Some(run) = self.lanes.start() else { break };
                self.start(run);
            }
            let open = pause.is_none();
            // Slots are idle, and the window is full of events that wait for others of their subject.
            let stalled = open && self.under_way < most && self.lanes.held() >= prefetch;
            if !open && self.tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if open => pause = Some(Pause::Stopped),
                () = self.services.halts.halted(&scopes), if open => pause = Some(Pause::Halted),
                Some(ended) = self.tasks.join_next() => match self.ended(ended) {
                    Flow::Done | Flow::Applied | Flow::Later(_) => {}
                    Flow::Halted => pause = pause.or(Some(Pause::Halted)),
                    Flow::Stopped | Flow::Again => pause = Some(Pause::Stopped),
                },
                received = next(&mut *consumer), if open && self.lanes.held() < prefetch => match received {
                    Ok(Some(message)) => self.receive(message),
                    Ok(None) => pause = Some(Pause::Stopped),
                    Err(error) => {
                        failed = Some(error);
                        pause = Some(Pause::Halted);
                    }
                },
                () = tokio::time::sleep(STALL), if stalled => {
                    if let Some(surplus) = self.lanes.surplus() {
                        self.set_aside(surplus);
                    }
                }
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
        let (case, action, leaves) = match decision {
            Decision::Take { case, action } => (case, action, None),
            Decision::Leave { case, why } => (case, Action::Delete, Some(why)),
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
        self.lanes.put(Job { message, case, action, link, lane, leaves, refused: None });
    }

    fn refuse(&mut self, message: Message, why: String) {
        let link = route::subject_key(self.plan.route(), &message.event);
        let lane = link.clone();
        let (action, refused) = (Action::Create, Some(why));
        self.lanes.put(Job { message, case: 0, action, link, lane, leaves: None, refused });
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
            Ended { work: None, flow }
        });
    }

    fn start(&mut self, Run { job, older }: Run) {
        let event = &job.message.event;
        let span = tracing::info_span!(
            "delivery",
            event.id = %event.id,
            source = %event.source,
            route = %self.plan.route().name,
            sink = %self.plan.to.name,
            attempt = job.message.attempt,
        );
        let (lane, taken) = (job.lane.clone(), 1 + older.len());
        let attempt = self.attempt(job, older);
        self.under_way += 1;
        self.tasks.spawn(
            async move {
                let flow = match AssertUnwindSafe(attempt.run()).catch_unwind().await {
                    Ok(flow) => flow,
                    Err(_) => attempt.crashed().await,
                };
                let (flow, rest) = attempt.conclude_older(flow).await;
                Ended { work: Some(Work { lane, taken, slot: true, rest }), flow }
            }
            .instrument(span),
        );
    }

    fn attempt(&self, job: Job, older: Vec<Job>) -> Attempt {
        Attempt::new(Arc::clone(self.plan), Arc::clone(self.services), self.stop.clone(), job).standing_for(older)
    }

    /// Hands jobs back to the broker, one after the other: the ledger keeps their order.
    fn set_aside(&mut self, Surplus { lane, jobs }: Surplus) {
        let taken = jobs.len();
        let attempts: Vec<Attempt> = jobs.into_iter().map(|job| self.attempt(job, Vec::new())).collect();
        self.tasks.spawn(async move {
            let mut flow = Flow::Done;
            for attempt in attempts {
                flow = attempt.set_aside(None).await;
                if flow != Flow::Done {
                    break;
                }
            }
            Ended { work: Some(Work { lane, taken, slot: false, rest: Vec::new() }), flow }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Flow {
        // Panics are caught within the task, and nobody aborts it while this set lives.
        let Ok(ended) = ended else { return Flow::Halted };
        if let Some(Work { lane, taken, slot, rest }) = ended.work {
            self.under_way -= usize::from(slot);
            let done = matches!(ended.flow, Flow::Done | Flow::Applied | Flow::Later(_));
            if slot {
                self.lanes.ended(&lane, taken, rest, done);
            } else {
                self.lanes.given(&lane, taken, done);
            }
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
