//! One delivery, from its standing in the ledger to the broker's ack.
//!
//! # Order of commits
//! 1. [`Store::begin`]: the intent, and one call charged to the account;
//! 2. the call;
//! 3. [`Store::settle`]: outcome, link and ledger, or the dead letter;
//! 4. for a retry: the next attempt's message is durable, then the ledger's attempt is raised;
//! 5. the ack.
//!
//! A process that dies between 1 and 3 leaves an open intent: the next to receive the message is in doubt (promise P6).
//!
//! [`Store::begin`]: crate::store::Store::begin
//! [`Store::settle`]: crate::store::Store::settle

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::breaker::Admission;
use super::gate::{Gate, Permit};
use super::{Plan, Services, excerpt, schedule, webhook_id};
use crate::broker::Message;
use crate::config::{Action, CaseConfig};
use crate::connectors::client::SendError;
use crate::connectors::{Answer, Call, OnDoubt, Operation};
use crate::deliver::batch::Sent;
use crate::event::Event;
use crate::outcome::{Outcome, Scope, Verb};
use crate::route::{self, Looked, RenderedOperation};
use crate::spans::Tried;
use crate::store::journal::{Entry, Record, Step};
use crate::store::{
    Basis, Begun, Charge, Content, DeadClass, DeadLetter, DeliveryKey, Doubt, Intent, LedgerEntry, Link, LinkKey,
    LinkState, Progress, Question, Settlement, Standing, StoreError, Suspension,
};
use crate::template::Context;

mod ask;
mod doubt;
mod lookup;
mod matching;
mod order;
mod others;
mod refused;
mod settle;
mod together;

/// How often the broker may put a message aside before it is a dead letter.
pub(super) const ROUNDS: u32 = 3;
/// Mapping errors in a row that suspend a route.
pub(super) const MAPPING_ERRORS: u32 = 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It was acked: ended, or it waits as another message.
    Done,
    /// It was acked, and the record is now as its event says.
    Applied,
    /// It was acked: its next attempt is due then.
    Later(Timestamp),
    /// It was overtaken by another delivery of its link between being looked at and its intent: look again.
    Again,
    /// It is still the queue's: route, sink or account stopped before its turn.
    Halted,
    /// It is still the queue's: store or broker failed until the process was told to stop.
    Stopped,
}

/// A message that its route takes, with what is known before the ledger is asked.
#[derive(Clone, Debug)]
pub struct Job {
    /// The message.
    pub message: Message,
    /// Which of the route's cases.
    pub case: usize,
    /// What that case does.
    pub action: Action,
    /// Its link's key.
    pub link: String,
    /// What it stands in line with: its link, or its body where that alone tells a repetition.
    pub lane: String,
    /// Why its filter lets it pass no more: then only a linked record is to be deleted.
    pub leaves: Option<String>,
    /// Why the route's own filter or key failed on it: then it can only become a dead letter.
    pub refused: Option<String>,
}

/// One attempt at a delivery.
pub struct Attempt {
    plan: Arc<Plan>,
    services: Arc<Services>,
    stop: CancellationToken,
    job: Job,
    /// Older events of the subject that need no call of their own if this one is applied.
    older: Vec<Job>,
    /// Set when it turns out that it is older than they are.
    alone: OnceLock<()>,
    /// The hash of what the call writes into the record.
    content: OnceLock<Content>,
    /// Set when the intent is written.
    begun: OnceLock<()>,
    /// Stable across the attempts of this delivery.
    webhook_id: String,
    /// Of the trace that its event is in.
    traceparent: String,
    /// How the breaker let through what is under way.
    admitted: Mutex<Option<Admission>>,
    /// Set when the journal was told that the route takes the event.
    told: OnceLock<()>,
}

/// What is to be sent.
struct Prepared {
    rendered: RenderedOperation,
    call: Call,
}

/// An attempt that was made.
struct Made {
    outcome: Outcome,
    /// Since when it is unknown whether a call took effect, if it is now.
    since: Timestamp,
    /// [`Sent::may_have_worked`].
    ///
    /// [`Sent::may_have_worked`]: super::batch::Sent::may_have_worked
    worked: bool,
    /// The call's charge, if certainly nothing reached the vendor.
    refund: Option<Charge>,
}

/// Leaves the steps early with what became of the message.
type Early<T> = Result<T, Flow>;

impl Attempt {
    /// An attempt at a job.
    #[must_use]
    pub fn new(plan: Arc<Plan>, services: Arc<Services>, stop: CancellationToken, job: Job) -> Self {
        let webhook_id = webhook_id(&plan.route().name, &job.message.event);
        // An attempt that is made again, as after a suspension, is another span.
        let (attempt, now) = (job.message.attempt, services.clock.now());
        let traceparent = job.message.event.traceparent_of(&format!("{webhook_id}\n{attempt}\n{now}"));
        let (older, admitted) = (Vec::new(), Mutex::default());
        let (alone, content, begun, told) = (OnceLock::new(), OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { plan, services, stop, job, older, alone, content, begun, webhook_id, traceparent, admitted, told }
    }

    /// Takes the delivery as far as it gets.
    pub async fn run(&self) -> Flow {
        loop {
            match self.steps().await {
                Err(Flow::Again) => {}
                Ok(flow) | Err(flow) => return flow,
            }
        }
    }

    /// Ends a delivery on which the worker itself crashed: it would crash on it again.
    pub async fn crashed(&self) -> Flow {
        let end = async {
            // If it was the breaker's probe, another may follow.
            self.admission_ends(None);
            let standing = self.standing().await?;
            let why = "the worker crashed on this event; please report it".to_owned();
            self.give_up(&standing, DeadClass::Poison, why, None).await
        };
        end.await.err().unwrap_or(Flow::Done)
    }

    async fn steps(&self) -> Early<Flow> {
        let mut standing = self.standing().await?;
        self.check_ledger(&standing).await?;
        if self.job.message.rounds >= ROUNDS {
            let why = "the bridge ended again and again while it had this event; it may be what ends it".to_owned();
            self.give_up(&standing, DeadClass::Poison, why, None).await?;
            return Ok(Flow::Done);
        }
        if let Some(why) = &self.job.refused {
            return self.unmappable(&standing, why.clone()).await;
        }
        let verb = self.verb(&standing).await?;
        self.await_others(&standing).await?;
        let looked = self.look_up(verb, &standing).await?;
        let verb = self.matched_verb(verb, &looked, &mut standing).await?;
        let prepared = self.prepared(verb, &standing, &looked).await?;
        if self.services.dry_run {
            return self.show(verb, &prepared.call).await;
        }
        if self.is_unchanged(verb, &standing) {
            let link = self.applied(verb, None, &standing);
            self.end_by_link(&standing, "unchanged", "the record holds this already".into(), Some(link)).await?;
            return Ok(Flow::Applied);
        }
        self.clear_up(verb, &prepared, &mut standing).await?;
        let made = self.perform(verb, &prepared.call, &standing).await?;
        self.conclude(verb, &prepared.call, &standing, made).await
    }

    /// What is to be done at the vendor, by the link; or the delivery ends here because nothing is.
    async fn verb(&self, standing: &Standing) -> Early<Verb> {
        let event = self.event();
        if let Some(doubt) = in_doubt(standing) {
            return Ok(doubt.verb);
        }
        let link = standing.link.as_ref();
        if let Some(why) = self.job.leaves.as_ref().filter(|_| !link.is_some_and(route::is_there)) {
            return self.leave(standing, why.clone()).await;
        }
        if route::is_stale(self.job.action, event, link) {
            let than = link.map(|l| l.version.map_or_else(|| l.received.at().to_string(), |v| v.to_string()));
            let detail = format!("older than what was applied ({})", than.unwrap_or_default());
            self.end_by_link(standing, "stale", detail, None).await?;
            return Err(Flow::Done);
        }
        match route::resolve(self.job.action, self.case().without_link, event, link) {
            route::Resolution::Do(verb) => Ok(verb),
            route::Resolution::Nothing(why) => {
                // What is gone is remembered as gone: an older event that comes later must not bring it back.
                let deletes = match self.job.action {
                    Action::Delete => true,
                    Action::Sync => event.is_deletion(),
                    _ => false,
                };
                let gone = deletes.then(|| self.applied(Verb::Delete, None, standing));
                self.end_by_link(standing, "nothing-to-do", why, gone).await?;
                Err(Flow::Done)
            }
        }
    }

    /// Renders and checks the call; or the delivery ends here as one that can never succeed.
    async fn prepared(&self, verb: Verb, standing: &Standing, looked: &Looked) -> Early<Prepared> {
        match self.prepare(verb, standing, looked) {
            Ok(prepared) => {
                self.plan.mapping_errors.store(0, Ordering::Relaxed);
                Ok(prepared)
            }
            Err(why) => self.unmappable(standing, why).await,
        }
    }

    /// A dead letter; but where event after event fails, the mapping is wrong and the route stops for a person.
    async fn unmappable<T>(&self, standing: &Standing, why: String) -> Early<T> {
        let in_a_row = self.plan.mapping_errors.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row > MAPPING_ERRORS {
            // Under way beside the one that suspended the route: it waits like those behind it.
            return Err(Flow::Halted);
        }
        if in_a_row == MAPPING_ERRORS {
            let why = format!("{in_a_row} events in a row could not be mapped; the last: {why}");
            self.suspend(Scope::Route, &self.route_name(), why, None).await;
            return Err(Flow::Halted);
        }
        self.refuse(standing, why, None).await?;
        Err(Flow::Done)
    }

    fn context(&self, standing: &Standing, looked: &Looked) -> Context {
        let (tables, link) = (Arc::clone(&self.plan.config.tables), standing.link.as_ref());
        let route = self.plan.route();
        let mut context = route::context(route, self.event(), tables, link);
        let others = standing.others.iter().map(Option::as_ref);
        route::set_links(&mut context, route.reads.iter().map(|other| other.name.as_str()).zip(others));
        looked.put(&mut context);
        context
    }

    fn prepare(&self, verb: Verb, standing: &Standing, looked: &Looked) -> Result<Prepared, String> {
        let context = self.context(standing, looked);
        let rendered = route::render(self.case(), verb, &context, self.plan.to.kind.escape)
            .map_err(|errors| route::in_words(&errors))?;
        // Set again by the next look, if there is one, to the same.
        let _ = self.content.set(rendered.content());
        let call = self.plan.to.sink.prepare(&self.operation(verb, &rendered, standing.link.as_ref()))?;
        Ok(Prepared { rendered, call })
    }

    fn operation<'a>(&'a self, verb: Verb, rendered: &'a RenderedOperation, link: Option<&'a Link>) -> Operation<'a> {
        Operation {
            verb,
            fields: &rendered.fields,
            remote_id: link.and_then(|link| link.remote_id.as_deref()),
            request: rendered.request.as_ref(),
            traceparent: &self.traceparent,
            webhook_id: &self.webhook_id,
            now: self.services.clock.now(),
        }
    }

    /// Permit, intent, call: the outcome of an attempt that was made.
    async fn perform(&self, verb: Verb, call: &Call, standing: &Standing) -> Early<Made> {
        if let Some(batcher) = &self.plan.to.batcher {
            return self.go_together(batcher, verb, call, standing).await;
        }
        let _permit = self.permit(&self.plan.to.gate).await?;
        self.admit()?;
        let charge = self.plan.to.gate.charge(self.services.clock.now());
        let since = match self.begin(verb, standing, Some(charge.clone())).await {
            Ok(since) => since,
            Err(flow) => {
                self.admission_ends(None);
                return Err(flow);
            }
        };
        self.matched(standing);
        let started = tokio::time::Instant::now();
        let sent = self.came(call, self.kept(self.plan.to.sink.send(&self.services.client, call)).await);
        self.admission_ends(went(&sent.outcome));
        self.tell(verb, call, &sent, started);
        let refund = sent.unsent.then_some(charge);
        Ok(Made { worked: sent.may_have_worked(), outcome: sent.outcome, since, refund })
    }

    /// Tells the log, the journal and the collector of spans what a call came to.
    fn tell(&self, verb: Verb, call: &Call, sent: &Sent, started: tokio::time::Instant) {
        let (attempt, status, outcome) = (self.job.message.attempt, sent.status, sent.outcome.name());
        let took = started.elapsed();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let message = self.masked(sent.outcome.why().unwrap_or(&sent.message));
        tracing::info!(attempt, outcome, status, took_ms, "{message}");
        let tried = Tried {
            traceparent: &self.traceparent,
            route: &self.plan.route().name,
            sink: &self.plan.to.name,
            verb,
            attempt,
            call,
            outcome: &sent.outcome,
            status,
            message: &message,
            took,
        };
        self.services.spans.tried(self.event(), &tried);
        let (call, outcome) = (call.shown.clone(), outcome.to_owned());
        self.journal(Step::Attempt { attempt, call, status, outcome, message, took_ms });
    }

    /// Asks the sink's breaker; [`Attempt::admission_ends`] must follow.
    fn admit(&self) -> Early<()> {
        let admitted = self.plan.to.breaker.admit(self.services.clock.now());
        if !matches!(admitted, Admission::Yes | Admission::Probe) {
            return Err(Flow::Halted);
        }
        *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(admitted);
        Ok(())
    }

    /// Tells the breaker what came of what it let through.
    fn admission_ends(&self, went: Option<bool>) {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(admitted) = admitted else { return };
        if self.plan.to.breaker.record(admitted, went, self.services.clock.now()) {
            tracing::warn!(sink = %self.plan.to.name, "the breaker opened: the sink failed several times in a row");
        }
    }

    async fn permit(&self, gate: &Gate) -> Early<Permit> {
        let scopes = self.plan.scopes();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Flow::Stopped),
            () = self.services.halts.halted(&scopes) => Err(Flow::Halted),
            permit = gate.permit_for(self.plan.route().priority) => permit.ok_or(Flow::Stopped),
        }
    }

    /// Writes the intent and charges the call: since when a call is in doubt from now on.
    async fn begin(&self, verb: Verb, standing: &Standing, charge: Option<Charge>) -> Early<Timestamp> {
        let gate = &self.plan.to.gate;
        let now = self.services.clock.now();
        let event = self.event();
        let since = in_doubt(standing).map_or(now, |doubt| doubt.since);
        let intent = Intent {
            delivery: self.key(),
            body_key: event.body_key(),
            link: self.link_key(),
            seen: standing.link.clone(),
            received: event.received,
            version: event.version,
            attempt: self.job.message.attempt,
            first_retry: first_retry(standing, now),
            verb,
            since,
            expires: self.expires(now),
            charge,
            instead_of: self.instead_of(),
        };
        match self.insist("intent", || self.services.store.begin(intent.clone())).await? {
            Begun::Go => {
                let _ = self.begun.set(());
                Ok(since)
            }
            Begun::Busy => self.overtaken(standing).await,
            Begun::UsedUp { used } => self.used_up(gate, used).await,
        }
    }

    /// Stops an account until its month turns.
    async fn used_up<T>(&self, gate: &Gate, used: u64) -> Early<T> {
        let why = format!("the month's calls are used up ({used} made)");
        let until = gate.month_turns(self.services.clock.now());
        self.suspend(Scope::Account, &gate.account, why, Some(until)).await;
        Err(Flow::Halted)
    }

    async fn standing(&self) -> Early<Standing> {
        let question = Question {
            delivery: self.key(),
            body_key: self.event().body_key(),
            link: self.link_key(),
            others: self.other_links(),
            instead_of: self.instead_of(),
            received: self.event().received,
            now: self.services.clock.now(),
        };
        self.insist("standing", || self.services.store.standing(question.clone())).await
    }

    async fn show(&self, verb: Verb, call: &Call) -> Early<Flow> {
        let mut shown = serde_json::json!({ "verb": verb.name(), "sink": self.plan.to.name, "call": call.shown });
        self.services.redactor.values(&self.event().data.value()).value(&mut shown);
        self.journal(Step::Matched { verb: self.job.action.name().into() });
        // Masked value by value: as text its JSON could be torn.
        self.record(Step::Ended { ending: "dry-run".into(), detail: shown.to_string() });
        self.ack_and_leave().await
    }

    // === What is asked often ===

    fn event(&self) -> &Event {
        &self.job.message.event
    }

    fn masked(&self, text: &str) -> String {
        let redactor = &self.services.redactor;
        if redactor.is_empty() { text.to_owned() } else { redactor.values(&self.event().data.value()).text(text) }
    }

    fn case(&self) -> &CaseConfig {
        &self.plan.route().cases[self.job.case]
    }

    fn route_name(&self) -> String {
        self.plan.route().name.clone()
    }

    fn key(&self) -> DeliveryKey {
        self.key_of(&self.job)
    }

    fn key_of(&self, job: &Job) -> DeliveryKey {
        let event = &job.message.event;
        DeliveryKey { route: self.route_name(), event: event.key(), generation: event.generation }
    }

    fn link_key(&self) -> LinkKey {
        LinkKey { owner: self.plan.route().link.clone(), key: self.job.link.clone() }
    }

    fn expires(&self, now: Timestamp) -> Timestamp {
        super::expires(&self.plan.config, self.event(), now)
    }
}

/// The call of an earlier attempt that may have taken effect.
fn in_doubt(standing: &Standing) -> Option<Doubt> {
    standing.entry.as_ref().and_then(|entry| entry.doubt)
}

/// What an outcome says of the sink; `None`: nothing.
fn went(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Delivered { .. } | Outcome::Reject { .. } | Outcome::Refused { .. } | Outcome::Suspend { .. } => {
            Some(true)
        }
        // A 429 is the account's pause, not the sink's failure.
        Outcome::Retry { account: true, .. } => None,
        Outcome::Retry { .. } | Outcome::Unknown { .. } => Some(false),
    }
}

/// Where `give_up_after` starts, moved by the time that the delivery stood still although it was due: that was a pause,
/// a suspension, or our own absence, and is not held against it.
fn first_retry(standing: &Standing, now: Timestamp) -> Option<Timestamp> {
    let entry = standing.entry.as_ref()?;
    let first = entry.first_retry?;
    match entry.progress {
        Progress::Waiting { due } if now > due => first.saturating_add(now.duration_since(due)).ok(),
        _ => Some(first),
    }
}
