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
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::breaker::Admission;
use super::{Plan, Services, excerpt, schedule, webhook_id};
use crate::broker::Message;
use crate::config::{Action, CaseConfig};
use crate::connectors::client::SendError;
use crate::connectors::{Call, OnDoubt, Operation};
use crate::event::{Collapse, Event};
use crate::outcome::{Outcome, Scope, Verb};
use crate::route;
use crate::store::journal::{Entry, Record, Step};
use crate::store::{
    Begun, Charge, Content, DeadClass, DeadLetter, DeliveryKey, Intent, LedgerEntry, Link, LinkKey, LinkState,
    Progress, Question, Settlement, Standing, StoreError, Suspension,
};

mod order;
mod others;
mod settle;

/// How long a repetition of a body that has neither id nor subject is known.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long at the least the ledger knows what has just ended: leftovers of it may still be on their way.
const LEFTOVERS: SignedDuration = SignedDuration::from_hours(1);
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
    /// The hash of what the call writes into the record.
    content: OnceLock<Content>,
    /// Set when the intent is written.
    begun: OnceLock<()>,
    /// How the breaker let it through.
    admitted: OnceLock<Admission>,
    /// Set when the journal was told that the route takes the event.
    told: OnceLock<()>,
}

/// An attempt that was made.
struct Made {
    outcome: Outcome,
    /// The call's charge, if certainly nothing reached the vendor.
    refund: Option<Charge>,
}

/// Leaves the steps early with what became of the message.
type Early<T> = Result<T, Flow>;

impl Attempt {
    /// An attempt at a job.
    #[must_use]
    pub fn new(plan: Arc<Plan>, services: Arc<Services>, stop: CancellationToken, job: Job) -> Self {
        let (older, content) = (Vec::new(), OnceLock::new());
        let (begun, admitted, told) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { plan, services, stop, job, older, content, begun, admitted, told }
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
            let admitted = self.admitted.get().copied().unwrap_or(Admission::Yes);
            self.plan.to.breaker.record(admitted, None, self.services.clock.now());
            let standing = self.standing().await?;
            let why = "the worker crashed on this event; please report it".to_owned();
            self.give_up(&standing, DeadClass::Poison, why, None).await
        };
        end.await.err().unwrap_or(Flow::Done)
    }

    async fn steps(&self) -> Early<Flow> {
        let standing = self.standing().await?;
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
        let call = self.call(verb, &standing).await?;
        if self.services.dry_run {
            return self.show(verb, &call).await;
        }
        if self.is_unchanged(verb, &standing) {
            let link = self.applied(verb, None, &standing);
            self.end(&standing, "unchanged", "the record holds this already".into(), Some(link)).await?;
            return Ok(Flow::Applied);
        }
        if in_doubt(&standing, &call) && self.plan.on_doubt(verb) == OnDoubt::Hold {
            let why = format!("it is unknown whether an earlier {} took effect", verb.name());
            self.hold(verb, &call, &standing, why).await?;
            return Ok(Flow::Done);
        }
        let made = self.perform(verb, &call, &standing).await?;
        self.conclude(verb, &call, &standing, made).await
    }

    /// What is to be done at the vendor, by the link; or the delivery ends here because nothing is.
    async fn verb(&self, standing: &Standing) -> Early<Verb> {
        let event = self.event();
        if let Some(Progress::Open { verb }) = standing.entry.as_ref().map(|e| &e.progress) {
            return Ok(*verb);
        }
        let link = standing.link.as_ref();
        if let Some(why) = self.job.leaves.as_ref().filter(|_| !link.is_some_and(route::is_there)) {
            return self.leave(standing, why.clone()).await;
        }
        if route::is_stale(self.job.action, event, link) {
            let than = link.map(|l| l.version.map_or_else(|| l.received.at().to_string(), |v| v.to_string()));
            let detail = format!("older than what was applied ({})", than.unwrap_or_default());
            self.end(standing, "stale", detail, None).await?;
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
                self.end(standing, "nothing-to-do", why, gone).await?;
                Err(Flow::Done)
            }
        }
    }

    /// Renders and checks the call; or the delivery ends here as one that can never succeed.
    async fn call(&self, verb: Verb, standing: &Standing) -> Early<Call> {
        match self.prepare(verb, standing) {
            Ok(call) => {
                self.plan.mapping_errors.store(0, Ordering::Relaxed);
                Ok(call)
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
        self.give_up(standing, DeadClass::Payload, why, None).await?;
        Err(Flow::Done)
    }

    fn prepare(&self, verb: Verb, standing: &Standing) -> Result<Call, String> {
        let event = self.event();
        let route = self.plan.route();
        let mut context = route::context(route, event, Arc::clone(&self.plan.config.tables), standing.link.as_ref());
        let others = standing.others.iter().map(Option::as_ref);
        route::set_links(&mut context, route.reads.iter().map(|other| other.name.as_str()).zip(others));
        let rendered = route::render(self.case(), verb, &context, self.plan.to.kind.escape)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        // Set again by the next look, if there is one, to the same.
        let _ = self.content.set(rendered.content());
        self.plan.to.sink.prepare(&Operation {
            verb,
            fields: &rendered.fields,
            remote_id: standing.link.as_ref().and_then(|l| l.remote_id.as_deref()),
            request: rendered.request.as_ref(),
            webhook_id: &webhook_id(&self.plan.route().name, event),
            now: self.services.clock.now(),
        })
    }

    /// Permit, intent, call: the outcome of an attempt that was made.
    async fn perform(&self, verb: Verb, call: &Call, standing: &Standing) -> Early<Made> {
        let _permit = self.permit().await?;
        let admitted = self.plan.to.breaker.admit(self.services.clock.now());
        if !matches!(admitted, Admission::Yes | Admission::Probe) {
            return Err(Flow::Halted);
        }
        // Set once: an attempt makes one call.
        let _ = self.admitted.set(admitted);
        let charge = match self.begin(verb, standing).await {
            Ok(charge) => charge,
            Err(flow) => {
                self.plan.to.breaker.record(admitted, None, self.services.clock.now());
                return Err(flow);
            }
        };
        self.matched(standing);
        let started = tokio::time::Instant::now();
        let sent = self.kept(self.plan.to.sink.send(&self.services.client, call)).await;
        let status = sent.as_ref().ok().map(|answer| answer.status.as_u16());
        let unsent = matches!(sent, Err(SendError::NotSent(_) | SendError::Refused(_)));
        let (outcome, message) = match sent {
            Ok(answer) => (self.plan.to.sink.classify(call, &answer), excerpt(answer.status, &answer.body)),
            Err(SendError::NoAnswer(why)) if !call.idempotent => {
                (Outcome::Unknown { why: format!("no answer: {why}") }, String::new())
            }
            Err(SendError::Refused(why)) => {
                (Outcome::Suspend { what: Scope::Account, why, until: None }, String::new())
            }
            Err(error) => (Outcome::retry(error.to_string()), String::new()),
        };
        self.record_with_breaker(admitted, &outcome);
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let said = self.masked(&outcome.why().map_or(message, str::to_owned));
        tracing::info!(attempt = self.job.message.attempt, outcome = outcome.name(), status, took_ms, "{said}");
        self.journal(Step::Attempt {
            attempt: self.job.message.attempt,
            call: call.shown.clone(),
            status,
            outcome: outcome.name().into(),
            message: said,
            took_ms,
        });
        Ok(Made { outcome, refund: unsent.then_some(charge) })
    }

    fn record_with_breaker(&self, admitted: Admission, outcome: &Outcome) {
        let went = match outcome {
            Outcome::Delivered { .. } | Outcome::Reject { .. } | Outcome::Suspend { .. } => Some(true),
            // A 429 is the account's pause, not the sink's failure.
            Outcome::Retry { account: true, .. } => None,
            Outcome::Retry { .. } | Outcome::Unknown { .. } => Some(false),
        };
        if self.plan.to.breaker.record(admitted, went, self.services.clock.now()) {
            tracing::warn!(sink = %self.plan.to.name, "the breaker opened: the sink failed several times in a row");
        }
    }

    async fn permit(&self) -> Early<tokio::sync::OwnedSemaphorePermit> {
        let scopes = self.plan.scopes();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Flow::Stopped),
            () = self.services.halts.halted(&scopes) => Err(Flow::Halted),
            permit = self.plan.to.gate.permit() => permit.ok_or(Flow::Stopped),
        }
    }

    async fn begin(&self, verb: Verb, standing: &Standing) -> Early<Charge> {
        let gate = &self.plan.to.gate;
        let now = self.services.clock.now();
        let event = self.event();
        let charge = gate.charge(now);
        let intent = Intent {
            delivery: self.key(),
            body_key: event.body_key(),
            link: self.link_key(),
            received: event.received,
            version: event.version,
            attempt: self.job.message.attempt,
            first_retry: first_retry(standing, now),
            verb,
            expires: self.expires(now),
            charge: Some(charge.clone()),
            instead_of: self.instead_of(),
        };
        match self.insist("intent", || self.services.store.begin(intent.clone())).await? {
            Begun::Go => {
                let _ = self.begun.set(());
                Ok(charge)
            }
            Begun::Busy => self.overtaken(standing).await,
            Begun::UsedUp { used } => {
                let why = format!("the month's calls are used up ({used} made)");
                let until = gate.month_turns(now);
                self.suspend(Scope::Account, &gate.account, why, Some(until)).await;
                Err(Flow::Halted)
            }
        }
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
        let dedupe = SignedDuration::try_from(self.plan.config.dedupe).unwrap_or(SignedDuration::MAX);
        let known_until = match self.event().collapse {
            Collapse::Id | Collapse::IdOrBody => now.saturating_add(dedupe),
            Collapse::BodyForADay => self.event().received.at().saturating_add(A_DAY),
        };
        let at_least = now.saturating_add(LEFTOVERS).unwrap_or(Timestamp::MAX);
        known_until.unwrap_or(Timestamp::MAX).max(at_least)
    }
}

/// True if an earlier attempt may have taken effect and doing it twice would do it twice.
fn in_doubt(standing: &Standing, call: &Call) -> bool {
    let open = matches!(standing.entry.as_ref().map(|e| &e.progress), Some(Progress::Open { .. }));
    open && !call.idempotent
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
