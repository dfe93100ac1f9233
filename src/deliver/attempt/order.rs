//! Whose turn it is: repetitions and leftovers, what waits behind another delivery of its link, what a newer one stands for.

use std::cmp::Ordering;

use super::settle::{add, waiting};
use super::{
    Attempt, DeliveryKey, Duration, Early, Flow, Job, LedgerEntry, LinkKey, LinkState, Progress, Standing, Step,
    Timestamp, Verb, first_retry, in_doubt,
};
use crate::store::LEASE;

/// The shortest and the longest time after which a delivery looks again whether another has ended.
const NAP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// So many of one subject come back to a worker in a second. Came they all at once they would come in no order, and most
/// would have to wait again; there is but one call of a subject at a time.
const PACE: u32 = 16;

/// How long after its turn a delivery comes that has so many others before it.
fn queue(others: u32) -> Duration {
    Duration::from_secs(1) * others / PACE
}

impl Attempt {
    /// The same attempt, standing for older events of its subject: they need no call of their own if it is applied.
    #[must_use]
    pub fn standing_for(self, older: Vec<Job>) -> Self {
        Self { older, ..self }
    }

    pub(super) fn instead_of(&self) -> Vec<DeliveryKey> {
        self.stands_for().iter().map(|job| self.key_of(job)).collect()
    }

    fn stands_for(&self) -> &[Job] {
        if self.alone.get().is_some() { &[] } else { &self.older }
    }

    /// The links that its templates may name.
    pub(super) fn other_links(&self) -> Vec<LinkKey> {
        let reads = self.plan.route().reads.iter();
        reads.map(|other| LinkKey { owner: other.owner.clone(), key: self.job.link.clone() }).collect()
    }

    // === Before a call ===

    /// Steps that end a delivery without a call: repetitions, leftovers, its turn not come yet.
    pub(super) async fn check_ledger(&self, standing: &Standing) -> Early<()> {
        self.check_known(standing).await?;
        if let Some(until) = standing.busy {
            let soon = add(self.services.clock.now(), self.nap());
            return self.wait_until(until.min(soon)).await;
        }
        let before = standing.received.map(|first| first.cmp(&self.event().received));
        if before == Some(Ordering::Less) && !self.stands_for().is_empty() {
            // It repeats a message that was received before them, and goes before them. If it waited instead, they would
            // wait for it, and all come together again.
            let _ = self.alone.set(());
            return Err(Flow::Again);
        }
        match standing.entry.as_ref() {
            // The process ended after the outcome was written and before the wait was.
            // Where a repetition of this message waits, this one has the earlier place and needs not.
            Some(LedgerEntry { progress: Progress::Waiting { due }, .. })
                if *due > self.services.clock.now() && before != Some(Ordering::Greater) =>
            {
                return self.wait_until(*due).await;
            }
            // A call in doubt is cleared up first: waiting would forget that it is.
            _ if in_doubt(standing).is_some() => return Ok(()),
            _ => {}
        }
        let Some(ahead) = &standing.ahead else { return Ok(()) };
        let now = self.services.clock.now();
        let turn = match &ahead.progress {
            Progress::Waiting { due } => add(now, NAP.0).max(*due),
            Progress::Open { .. } | Progress::Held { .. } => add(now, self.nap()),
            Progress::Done { .. } => return Ok(()),
        };
        let due = add(turn, queue(ahead.others));
        self.step_aside(standing, Some(due), format!("{} of the same subject comes first", ahead.event)).await
    }

    /// Ends what is known already: the message is a repetition or a leftover.
    async fn check_known(&self, standing: &Standing) -> Early<()> {
        if let Some(other) = &standing.repeats {
            self.journal(Step::Ended { ending: "duplicate".into(), detail: format!("same body as {other}") });
            return self.ack_and_leave().await;
        }
        match standing.entry.as_ref() {
            Some(LedgerEntry { progress: Progress::Done { ending }, .. }) => {
                self.journal(Step::Ended { ending: "duplicate".into(), detail: format!("was {ending} already") });
                self.ack_and_leave().await
            }
            Some(LedgerEntry { progress: Progress::Held { .. }, .. }) => self.ack_and_leave().await,
            Some(entry) if entry.attempt > self.job.message.attempt => {
                let later = standing.received.is_some_and(|first| first > self.event().received);
                if later && matches!(entry.progress, Progress::Waiting { .. }) {
                    // A repetition of it is ahead, but its place is this one's: those behind it must not overtake it.
                    self.settle(self.settlement(entry.clone())).await?;
                }
                self.ack_and_leave().await
            }
            _ => Ok(()),
        }
    }

    /// Another delivery of the link, or another process, was faster between the look and the intent.
    pub(super) async fn overtaken<T>(&self, standing: &Standing) -> Early<T> {
        if in_doubt(standing).is_some() {
            // In doubt itself, it does not wait by the ledger, which would forget that.
            return self.wait_until(add(self.services.clock.now(), self.nap())).await;
        }
        Err(Flow::Again)
    }

    /// How long to wait before looking again: a quarter of the event's age. So the first looks are soon, and a subject
    /// that a person has to look after costs little.
    fn nap(&self) -> Duration {
        let age = self.services.clock.now().duration_since(self.event().received.at());
        (Duration::try_from(age).unwrap_or_default() / 4).clamp(NAP.0, NAP.1)
    }

    /// Puts it in wait until `due`, or for a while, and the ledger knows of it first: later ones stay behind it.
    pub(super) async fn step_aside<T>(&self, standing: &Standing, due: Option<Timestamp>, why: String) -> Early<T> {
        let attempt = self.job.message.attempt;
        let now = self.services.clock.now();
        let due = due.unwrap_or_else(|| add(now, self.nap()));
        self.settle(self.settlement(waiting(attempt, due, first_retry(standing, now)))).await?;
        self.matched(standing);
        if standing.entry.is_none() {
            self.journal(Step::Waiting { attempt, until: due, why });
        }
        self.wait_until(due).await
    }

    /// Puts the same attempt in wait.
    pub(super) async fn wait_until<T>(&self, due: Timestamp) -> Early<T> {
        let attempt = self.job.message.attempt;
        self.insist("wait", || self.services.broker.wait(self.queue(), &self.job.message, attempt, due)).await?;
        self.ack_and_leave().await
    }

    /// Its filter lets it pass no more, and no record is linked to it: it is left as any other.
    pub(super) async fn leave<T>(&self, standing: &Standing, why: String) -> Early<T> {
        if standing.entry.is_some() {
            self.insist("leave", || self.services.store.leave(self.key())).await?;
        }
        self.journal(Step::Skipped { why });
        self.ack_and_leave().await
    }

    // === Without a call ===

    /// True if the record holds already what would be written.
    pub(super) fn is_unchanged(&self, verb: Verb, standing: &Standing) -> bool {
        let there = standing.link.as_ref().filter(|link| link.state == LinkState::Linked);
        let holds = there.and_then(|link| link.content);
        verb == Verb::Update
            && self.job.action.is_state()
            && !self.event().forced
            && in_doubt(standing).is_none()
            && holds.is_some_and(|content| self.content.get() == Some(&content))
    }

    /// Hands it back, to come again at `due`, or soon.
    pub async fn set_aside(&self, due: Option<Timestamp>) -> Flow {
        let aside = async {
            let standing = self.standing().await?;
            self.check_known(&standing).await?;
            let now = self.services.clock.now();
            let others = standing.ahead.as_ref().map_or(0, |ahead| ahead.others);
            let due = due.unwrap_or_else(|| add(now, NAP.0 + queue(others)));
            match standing.entry.as_ref().map(|entry| &entry.progress) {
                Some(Progress::Waiting { due }) if *due > now => self.wait_until(*due).await,
                _ if in_doubt(&standing).is_some() => self.wait_until(due).await,
                _ => self.step_aside(&standing, Some(due), "others go first meanwhile".to_owned()).await,
            }
        };
        let flow: Early<Flow> = aside.await;
        flow.unwrap_or_else(|flow| flow)
    }

    /// What becomes of the older events that this attempt stood for, by what became of it: the flow of all of them
    /// together, and those that go on alone.
    pub async fn conclude_older(&self, flow: Flow) -> (Flow, Vec<Job>) {
        let mut rest = Vec::new();
        match flow {
            Flow::Applied | Flow::Later(_) if self.alone.get().is_some() => return (flow, self.older.clone()),
            Flow::Done => return (flow, self.older.clone()),
            Flow::Halted | Flow::Stopped | Flow::Again => return (flow, rest),
            Flow::Applied | Flow::Later(_) => {}
        }
        for job in &self.older {
            let older = Self::new(self.plan.clone(), self.services.clone(), self.stop.clone(), job.clone());
            let ended = match flow {
                Flow::Later(due) => older.set_aside(Some(due)).await,
                _ => older.superseded(&self.event().key()).await,
            };
            match ended {
                Flow::Again => rest.push(job.clone()),
                Flow::Halted | Flow::Stopped => return (ended, Vec::new()),
                Flow::Done | Flow::Applied | Flow::Later(_) => {}
            }
        }
        (flow, rest)
    }

    /// Ends an older event: a newer one of its subject is applied. [`Flow::Again`] if a call of its own may have taken
    /// effect.
    async fn superseded(&self, by: &str) -> Flow {
        let end = async {
            let standing = self.standing().await?;
            self.check_known(&standing).await?;
            if in_doubt(&standing).is_some() {
                return Err(Flow::Again);
            }
            self.end(&standing, "superseded", format!("by {by}"), None).await
        };
        end.await.err().unwrap_or(Flow::Done)
    }

    // === While a call is on its way ===

    /// Keeps the intent this process's own for as long as the call takes.
    pub(super) async fn kept<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            if let Ok(done) = tokio::time::timeout(LEASE / 3, &mut call).await {
                return done;
            }
            if let Err(error) = self.services.store.renew(self.key()).await {
                // If another takes it up for that, the outcome is refused, and the other finds out.
                tracing::warn!(%error, "an intent could not be kept");
            }
        }
    }
}
