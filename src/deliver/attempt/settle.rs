//! What follows from an outcome: the commits after the call, and the ack.

use super::{
    Arc, Attempt, Basis, Call, Charge, DeadClass, DeadLetter, Doubt, Duration, Early, Entry, Flow, Gate, LedgerEntry,
    Link, LinkState, Made, OnDoubt, Outcome, Progress, Record, Scope, Settlement, SignedDuration, Standing, Step,
    StoreError, Suspension, Timestamp, Verb, first_retry, in_doubt, route, schedule,
};
use crate::deliver::halts::next_probe;
use crate::event::Received;

/// A retry that is to come.
pub(super) struct Later<'a> {
    /// The call, if it came so far.
    pub call: Option<&'a Call>,
    /// The vendor's own word on when.
    pub after: Option<Duration>,
    /// In words.
    pub why: String,
    /// What is in doubt meanwhile.
    pub doubt: Option<Doubt>,
    /// A charge to give back.
    pub refund: Option<Charge>,
}

impl Attempt {
    pub(super) async fn conclude(&self, verb: Verb, call: &Call, standing: &Standing, made: Made) -> Early<Flow> {
        match self.judged(made.outcome) {
            Outcome::Delivered { remote_id } => {
                let link = self.applied(verb, remote_id.or_else(|| call.remote_id.clone()), standing);
                let detail = link.remote_id.clone().unwrap_or_default();
                self.end(standing, "delivered", detail, Some(link)).await?;
                Ok(Flow::Applied)
            }
            Outcome::Retry { after, account, why } => {
                if account {
                    self.pause_account(&self.plan.to.gate, after, &why).await;
                }
                // It can be made again as it is, but nothing can be done in its place before it has been answered: what is
                // linked then is not known, and the next would make the record again, or change one that is gone.
                let worked = (call.idempotent && made.worked).then_some(Doubt { verb, since: made.since });
                let doubt = in_doubt(standing).or(worked);
                let refund = made.refund;
                self.retry_later(standing, Later { call: Some(call), after, why, doubt, refund }).await
            }
            Outcome::Reject { why } | Outcome::Refused { why } => {
                self.give_up(standing, DeadClass::Payload, why, Some(call)).await?;
                Ok(Flow::Done)
            }
            Outcome::Suspend { what, why, until } => {
                let name = match what {
                    Scope::Account => self.plan.to.gate.account.clone(),
                    Scope::Sink => self.plan.to.name.clone(),
                    Scope::Route | Scope::Source => self.route_name(),
                };
                self.suspended(standing, (what, &name), why, until, made.refund).await
            }
            Outcome::Unknown { why } => {
                let doubt = Some(Doubt { verb, since: made.since });
                let after = match self.plan.on_doubt(verb) {
                    OnDoubt::Hold => {
                        self.hold(verb, Some(call), standing, why).await?;
                        return Ok(Flow::Done);
                    }
                    OnDoubt::Find => Some(super::doubt::SETTLES),
                    OnDoubt::Retry => None,
                };
                self.retry_later(standing, Later { call: Some(call), after, why, doubt, refund: None }).await
            }
        }
    }

    /// Stops something for the vendor's word. Nothing took effect: the same attempt is made again, by whoever receives
    /// the message then.
    pub(super) async fn suspended<T>(
        &self,
        standing: &Standing,
        what: (Scope, &str),
        why: String,
        until: Option<Timestamp>,
        refund: Option<Charge>,
    ) -> Early<T> {
        let now = self.services.clock.now();
        let entry = waiting(self.job.message.attempt, now, first_retry(standing, now));
        let mut settlement = self.settlement(LedgerEntry { doubt: in_doubt(standing), ..entry });
        settlement.refund = refund;
        self.settle(settlement).await?;
        self.suspend(what.0, what.1, why, until).await;
        Err(Flow::Halted)
    }

    pub(super) async fn retry_later(&self, standing: &Standing, later: Later<'_>) -> Early<Flow> {
        let Later { call, after, why, doubt, refund } = later;
        let now = self.services.clock.now();
        let retry = &self.plan.route().retry;
        let first = first_retry(standing, now).unwrap_or(now);
        let patience = SignedDuration::try_from(retry.give_up_after).unwrap_or(SignedDuration::MAX);
        if now.duration_since(first) >= patience {
            let repeats = call.is_some_and(|call| call.idempotent);
            match doubt.filter(|doubt| !repeats && self.plan.on_doubt(doubt.verb) != OnDoubt::Retry) {
                Some(doubt) => self.hold(doubt.verb, call, standing, why).await?,
                None => self.give_up(standing, DeadClass::Exhausted, why, call).await?,
            }
            return Ok(Flow::Done);
        }
        let attempt = self.job.message.attempt;
        let due = add(now, schedule::delay(retry, attempt, after));
        let mut settlement = self.settlement(LedgerEntry { doubt, ..waiting(attempt, due, Some(first)) });
        settlement.refund = refund;
        self.settle(settlement).await?;
        self.insist("wait", || {
            self.services.broker.wait(self.queue(), &self.job.message, attempt.saturating_add(1), due)
        })
        .await?;
        self.insist("attempt", || self.services.store.advance(self.key(), attempt.saturating_add(1))).await?;
        self.journal(Step::Waiting { attempt: attempt.saturating_add(1), until: due, why });
        self.ack().await?;
        Ok(Flow::Later(due))
    }

    /// Keeps a delivery for a person, because nobody knows whether it took effect.
    pub(super) async fn hold(&self, verb: Verb, call: Option<&Call>, standing: &Standing, why: String) -> Early<()> {
        let before = standing.link.as_ref();
        // A second record in doubt leaves the link with the first, which is there for certain.
        let keeps = verb == Verb::Create && before.is_some_and(|link| link.state == LinkState::Linked);
        let link = Link {
            remote_id: call
                .and_then(|call| call.remote_id.clone())
                .or_else(|| before.and_then(|l| l.remote_id.clone())),
            version: before.and_then(|l| l.version),
            received: before.map_or(Received::BEFORE_ALL, |l| l.received),
            state: LinkState::InDoubt,
            content: None,
        };
        let entry = LedgerEntry {
            attempt: self.job.message.attempt,
            progress: Progress::Held { verb },
            first_retry: standing.entry.as_ref().and_then(|e| e.first_retry),
            doubt: None,
        };
        let mut settlement = self.settlement(entry);
        settlement.new_link = (!keeps).then_some(link);
        settlement.dead = Some(self.letter(DeadClass::Held, why.clone(), call));
        self.settle(settlement).await?;
        tracing::warn!("held for a person: {}", self.masked(&why));
        self.journal(Step::Ended { ending: "held".into(), detail: why });
        self.ack().await
    }

    /// Ends a delivery that can never succeed; but while an earlier call is in doubt a person decides.
    pub(super) async fn refuse(&self, standing: &Standing, why: String, call: Option<&Call>) -> Early<()> {
        match in_doubt(standing).filter(|_| !call.is_some_and(|call| call.idempotent)) {
            Some(doubt) => self.hold(doubt.verb, call, standing, why).await,
            None => self.give_up(standing, DeadClass::Payload, why, call).await,
        }
    }

    /// Ends a delivery as a dead letter.
    pub(super) async fn give_up(
        &self,
        standing: &Standing,
        class: DeadClass,
        why: String,
        call: Option<&Call>,
    ) -> Early<()> {
        let ending = match class {
            DeadClass::Exhausted => "exhausted",
            DeadClass::Poison => "poison",
            DeadClass::Payload | DeadClass::Held | DeadClass::Retired => "rejected",
        };
        let mut settlement = self.settlement(self.done(ending, standing));
        settlement.dead = Some(self.letter(class, why.clone(), call));
        self.settle(settlement).await?;
        self.matched(standing);
        tracing::warn!(ending, "dead letter: {}", self.masked(&why));
        self.journal(Step::Ended { ending: ending.into(), detail: why });
        self.ack().await
    }

    /// Ends a delivery for what its link is: nothing is to be done, and from now on the link is this.
    pub(super) async fn end_by_link(
        &self,
        standing: &Standing,
        ending: &str,
        detail: String,
        link: Option<Link>,
    ) -> Early<()> {
        let mut settlement = self.settlement(self.done(ending, standing));
        settlement.new_link = link;
        settlement.basis = Basis::Link { seen: standing.link.clone(), instead_of: self.instead_of() };
        self.settle(settlement).await?;
        self.ended(standing, ending, detail).await
    }

    /// Ends a delivery.
    pub(super) async fn end(&self, standing: &Standing, ending: &str, detail: String, link: Option<Link>) -> Early<()> {
        let mut settlement = self.settlement(self.done(ending, standing));
        settlement.new_link = link;
        self.settle(settlement).await?;
        self.ended(standing, ending, detail).await
    }

    async fn ended(&self, standing: &Standing, ending: &str, detail: String) -> Early<()> {
        self.matched(standing);
        let why = self.masked(&detail);
        tracing::info!(ending, "{ending}{}{why}", if why.is_empty() { "" } else { ": " });
        if ending == "delivered" {
            let now = self.services.clock.now();
            let since = now.duration_since(self.event().received.at());
            self.services.metrics.delivered(&self.plan.route().name, now, since.as_secs_f64().max(0.0));
        }
        self.journal(Step::Ended { ending: ending.into(), detail });
        self.ack().await
    }

    /// Tells, once for a delivery, that the route takes the event: with the first commit that tells the ledger.
    pub(super) fn matched(&self, standing: &Standing) {
        if standing.entry.is_none() && self.told.set(()).is_ok() {
            self.journal(Step::Matched { verb: self.job.action.name().into() });
        }
    }

    pub(super) fn applied(&self, verb: Verb, remote_id: Option<String>, standing: &Standing) -> Link {
        let before = standing.link.as_ref();
        let event = self.event();
        // `create` and `reply` mean every event, older ones too: the link still knows the newest.
        let newer = before.filter(|link| route::is_older(event, link));
        Link {
            // An answer in a thread has an id of its own; the link stays with the record it answers.
            remote_id: match (verb, before.and_then(|l| l.remote_id.clone())) {
                (Verb::Create | Verb::Update | Verb::Delete, old) => remote_id.or(old),
                (_, old) => old.or(remote_id),
            },
            version: newer.map_or_else(|| event.version.or(before.and_then(|l| l.version)), |link| link.version),
            received: newer.map_or(event.received, |link| link.received),
            state: if verb == Verb::Delete { LinkState::Deleted } else { LinkState::Linked },
            // What an action leaves in the record is not known; nor what an older event's record holds.
            content: match verb {
                Verb::Create | Verb::Update if self.job.action.is_state() && newer.is_none() => {
                    self.content.get().copied()
                }
                _ => None,
            },
        }
    }

    fn done(&self, ending: &str, standing: &Standing) -> LedgerEntry {
        LedgerEntry {
            attempt: self.job.message.attempt,
            progress: Progress::Done { ending: ending.to_owned() },
            first_retry: standing.entry.as_ref().and_then(|e| e.first_retry),
            doubt: None,
        }
    }

    pub(super) fn settlement(&self, entry: LedgerEntry) -> Settlement {
        let event = self.event();
        Settlement {
            delivery: self.key(),
            body_key: event.body_key(),
            link: self.link_key(),
            received: event.received,
            version: event.version,
            entry,
            expires: self.expires(self.services.clock.now()),
            new_link: None,
            refund: None,
            dead: None,
            basis: if self.begun.get().is_some() { Basis::Intent } else { Basis::Delivery },
        }
    }

    fn letter(&self, class: DeadClass, reason: String, call: Option<&Call>) -> DeadLetter {
        DeadLetter {
            delivery: self.key(),
            event: Arc::clone(&self.job.message.event),
            sink: self.plan.to.name.clone(),
            class,
            reason,
            attempts: if call.is_some() { self.job.message.attempt } else { self.job.message.attempt - 1 },
            call: call.map(|c| c.shown.clone()),
            at: self.services.clock.now(),
        }
    }

    pub(super) async fn pause_account(&self, gate: &Gate, after: Option<Duration>, why: &str) {
        let pause = after.unwrap_or(self.plan.route().retry.first);
        let until = add(self.services.clock.now(), pause);
        self.suspend(Scope::Account, &gate.account, format!("asked to slow down: {why}"), Some(until)).await;
    }

    pub(super) async fn suspend(&self, scope: Scope, name: &str, why: String, until: Option<Timestamp>) {
        let since = self.services.clock.now();
        let probe =
            (scope == Scope::Account && until.is_none() && self.can_be_probed()).then(|| next_probe(since, since));
        // Shown without the event that it came from, so masked here.
        let why = self.masked(&why);
        let suspension = Suspension { scope, name: name.to_owned(), why, since, until, probe };
        if let Err(error) = self.services.halts.suspend(suspension).await {
            // It holds in this process; after a restart the vendor's next answer brings it back.
            tracing::error!(%error, "a suspension could not be stored");
        }
    }

    // === Commits ===

    pub(super) async fn settle(&self, settlement: Settlement) -> Early<()> {
        let settle = || async {
            match self.services.store.settle(settlement.clone()).await {
                Err(StoreError::Fenced(_)) => Ok(Err(Flow::Halted)),
                Err(StoreError::Overtaken(_)) => Ok(Err(Flow::Again)),
                other => other.map(Ok),
            }
        };
        let settled = self.insist("outcome", settle).await?;
        if settled != Err(Flow::Halted) {
            return settled;
        }
        // What it came to is the other's to find out: the message stays, and is looked at again.
        tracing::warn!("another process has taken this delivery up meanwhile");
        Err(Flow::Halted)
    }

    pub(super) async fn ack_and_leave<T>(&self) -> Early<T> {
        self.ack().await?;
        Err(Flow::Done)
    }

    pub(super) async fn ack(&self) -> Early<()> {
        self.insist("ack", || self.services.broker.ack(self.queue(), &self.job.message)).await
    }

    pub(super) fn queue(&self) -> &str {
        &self.plan.route().name
    }

    /// Does a commit again until it succeeds: what follows it must not happen before. The message stays unacked
    /// meanwhile, so nothing is lost if the process ends first.
    pub(super) async fn insist<T, E, F>(&self, what: &'static str, mut commit: impl FnMut() -> F) -> Early<T>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let mut pauses = super::super::patience();
        loop {
            let error = match commit().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let pause = pauses.next().unwrap_or(Duration::from_secs(5));
            tracing::error!(%error, commit = what, ?pause, "a commit failed and is tried again");
            tokio::select! {
                () = self.stop.cancelled() => return Err(Flow::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    pub(super) fn journal(&self, mut step: Step) {
        self.services.redactor.step(self.event(), &mut step);
        self.record(step);
    }

    /// Writes a step as it is into the journal.
    pub(super) fn record(&self, step: Step) {
        self.services.journal.record(Record::Entry(Entry {
            at: self.services.clock.now(),
            event: self.event().key(),
            route: Some(self.route_name()),
            step,
        }));
    }
}

pub(super) fn waiting(attempt: u32, due: Timestamp, first_retry: Option<Timestamp>) -> LedgerEntry {
    LedgerEntry { attempt, progress: Progress::Waiting { due }, first_retry, doubt: None }
}

pub(super) fn add(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
