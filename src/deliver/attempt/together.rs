//! An attempt whose call goes together with others' as one.
//!
//! One of them leads: it has the permit and is charged for the one call. The others write their intents when they are
//! told that it goes, and are charged for nothing; so no call of the month is lost to a batch, and none is made unpaid.

use std::sync::Arc;

use super::{
    Answer, Attempt, Begun, Call, Early, Flow, Made, Outcome, Permit, Scope, SendError, Standing, Verb, excerpt, went,
};
use crate::deliver::batch::{Batcher, Invitation, Party, Sent, Turn};

impl Attempt {
    /// Waits until its call goes, and with how many others.
    pub(super) async fn go_together(
        &self,
        batcher: &Arc<Batcher>,
        verb: Verb,
        call: &Call,
        standing: &Standing,
    ) -> Early<Made> {
        loop {
            match self.turn(batcher, call).await? {
                Turn::Leads(party) => return self.lead(party, verb, call, standing).await,
                Turn::Rides(invitation) => return self.ride(invitation, verb, call, standing).await,
                Turn::Again => {}
            }
        }
    }

    async fn turn(&self, batcher: &Arc<Batcher>, call: &Call) -> Early<Turn> {
        let (scopes, priority) = (self.plan.scopes(), self.plan.route().priority);
        let mut place = batcher.join(call);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Flow::Stopped),
            () = self.services.halts.halted(&scopes) => Err(Flow::Halted),
            turn = place.turn(&self.plan.to.gate, priority, &*self.plan.to.sink) => Ok(turn),
        }
    }

    /// Sends for all who come along.
    async fn lead(&self, mut party: Party, verb: Verb, call: &Call, standing: &Standing) -> Early<Made> {
        self.admit()?;
        let gate = &self.plan.to.gate;
        let charge = gate.charge(self.services.clock.now());
        let since = match self.begin(verb, standing, Some(charge.clone())).await {
            Ok(since) => since,
            Err(flow) => {
                self.admission_ends(None);
                return Err(flow);
            }
        };
        self.matched(standing);
        let started = tokio::time::Instant::now();
        let companions = party.invite().await;
        let calls: Vec<&Call> = std::iter::once(call).chain(companions.iter().map(|(call, _)| &**call)).collect();
        let all = self.kept(self.send_all(&calls, party.permit)).await;
        self.admission_ends(all.iter().map(|sent| went(&sent.outcome)).fold(None, better));
        let mut results = all.into_iter();
        let own = results.next().unwrap_or_else(|| lost(call));
        for ((_, result), sent) in companions.into_iter().zip(results) {
            // One who is gone left its intent open: the call is in doubt there.
            let _ = result.send(sent);
        }
        self.tell(verb, call, &own, started);
        let refund = own.unsent.then_some(charge);
        Ok(Made { worked: own.may_have_worked(), outcome: own.outcome, since, refund })
    }

    /// Comes along with another's call.
    async fn ride(&self, invitation: Invitation, verb: Verb, call: &Call, standing: &Standing) -> Early<Made> {
        let since = self.begin(verb, standing, None).await?;
        self.matched(standing);
        let started = tokio::time::Instant::now();
        let (result, comes) = tokio::sync::oneshot::channel();
        let sent = match invitation.ready.send(result) {
            Ok(()) => self.kept(comes).await.unwrap_or_else(|_| lost(call)),
            // It went without this one.
            Err(_) => again(),
        };
        self.tell(verb, call, &sent, started);
        Ok(Made { worked: sent.may_have_worked(), outcome: sent.outcome, since, refund: None })
    }

    /// What became of each of the calls, in their order. The first is paid for.
    async fn send_all(&self, calls: &[&Call], permit: Permit) -> Vec<Sent> {
        let sink = &self.plan.to.sink;
        if let [only] = calls {
            return vec![self.came(only, sink.send(&self.services.client, only).await)];
        }
        let Some(merged) = sink.merge(calls) else { return self.one_by_one(calls, permit, true).await };
        let sent = sink.send(&self.services.client, &merged).await;
        let outcomes = sent.as_ref().ok().and_then(|answer| sink.split(&merged, calls, answer));
        if let (Some(outcomes), Ok(answer)) = (outcomes.filter(|outcomes| outcomes.len() == calls.len()), &sent) {
            let one = |outcome| Sent {
                outcome,
                status: Some(answer.status.as_u16()),
                message: excerpt(answer.status, &answer.body),
                unsent: false,
            };
            return outcomes.into_iter().map(one).collect();
        }
        let whole = self.came(&merged, sent);
        match whole.outcome {
            // Nothing was done: each may be what was wrong, or not.
            Outcome::Reject { .. } => self.one_by_one(calls, permit, false).await,
            Outcome::Delivered { .. } => {
                let why = "the vendor's answer does not tell the records of one call apart".to_owned();
                let doubt = |call: &Call| {
                    if call.idempotent { Outcome::retry(&*why) } else { Outcome::Unknown { why: why.clone() } }
                };
                calls.iter().map(|call| Sent { outcome: doubt(call), ..whole.clone() }).collect()
            }
            _ => vec![whole; calls.len()],
        }
    }

    /// Sends each alone; `paid`: the first is charged already.
    async fn one_by_one(&self, calls: &[&Call], permit: Permit, paid: bool) -> Vec<Sent> {
        let mut all: Vec<Sent> = Vec::with_capacity(calls.len());
        let mut permit = Some(permit);
        for (at, call) in calls.iter().enumerate() {
            if at > 0 {
                // Back in the row of all who call the account.
                drop(permit.take());
                permit = self.permit(&self.plan.to.gate).await.ok();
            }
            let stopped = all.iter().find(|sent| matches!(sent.outcome, Outcome::Suspend { .. }));
            let mut sent = match (stopped, &permit) {
                (Some(stopped), _) => Sent { unsent: true, ..stopped.clone() },
                (None, None) => again(),
                (None, Some(_)) => self.send_alone(call, at == 0 && paid).await,
            };
            // Those that were paid for here were given back here.
            sent.unsent &= at == 0 && paid;
            all.push(sent);
        }
        all
    }

    async fn send_alone(&self, call: &Call, paid: bool) -> Sent {
        let gate = &self.plan.to.gate;
        let now = self.services.clock.now();
        let charge = (!paid).then(|| gate.charge(now));
        if let Some(charge) = &charge {
            match self.insist("charge", || self.services.store.charge(charge.clone())).await {
                // Nothing is busy for a call that belongs to no delivery.
                Ok(Begun::Go | Begun::Busy) => {}
                Ok(Begun::UsedUp { used }) => {
                    let why = format!("the month's calls are used up ({used} made)");
                    let until = Some(gate.month_turns(now));
                    return Sent { outcome: Outcome::Suspend { what: Scope::Account, why, until }, ..again() };
                }
                Err(_) => return again(),
            }
        }
        let sent = self.came(call, self.plan.to.sink.send(&self.services.client, call).await);
        if let (true, Some(charge)) = (sent.unsent, charge) {
            // Where the process is told to stop first, the month has a call less.
            let _ = self.insist("refund", || self.services.store.refund(charge.clone())).await;
        }
        sent
    }

    /// What a call came to by itself.
    pub(super) fn came(&self, call: &Call, sent: Result<Answer, SendError>) -> Sent {
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
        Sent { outcome, status, message, unsent }
    }
}

/// Of one that never left.
fn again() -> Sent {
    let outcome = Outcome::retry("not sent: those it was to go with went without it");
    Sent { outcome, status: None, message: String::new(), unsent: true }
}

/// Of one whose leader was lost while it was under way.
fn lost(call: &Call) -> Sent {
    let why = "the call that it went with was cut off".to_owned();
    let outcome = if call.idempotent { Outcome::retry(why) } else { Outcome::Unknown { why } };
    Sent { outcome, status: None, message: String::new(), unsent: false }
}

/// The better of two things said of a sink.
fn better(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a || b),
        (one, other) => one.or(other),
    }
}
