//! Questions to a vendor on a delivery's behalf: within the limits of the account that is asked, each a step of its own
//! in the journal, none with an effect there.

use super::settle::Later;
use super::{
    Attempt, Begun, Call, Charge, Early, Flow, Gate, Outcome, Scope, SendError, Standing, Step, excerpt, in_doubt, went,
};
use crate::connectors::Answer;

/// A question and whom it goes to.
pub(super) struct Asking<'a> {
    /// What it is called in the journal.
    pub what: &'a str,
    /// The account that is asked.
    pub gate: &'a Gate,
    /// True if it is the route's sink that is asked: then its breaker has a say.
    pub of_sink: bool,
    /// The call.
    pub call: &'a Call,
}

impl Attempt {
    /// Asks. `read` reads the answer, `tell` says what was found for people.
    ///
    /// The inner error is the outcome if the vendor did not say: [`Attempt::unanswered`].
    pub(super) async fn ask<T>(
        &self,
        asking: &Asking<'_>,
        read: impl FnOnce(&Answer) -> Result<T, Outcome>,
        tell: impl FnOnce(&T) -> String,
    ) -> Early<Result<T, Outcome>> {
        let Asking { what, gate, of_sink, call } = *asking;
        let _permit = self.permit(gate).await?;
        if of_sink {
            self.admit()?;
        }
        let charge = match self.charge(gate).await {
            Ok(charge) => charge,
            Err(flow) => {
                self.admission_ends(None);
                return Err(flow);
            }
        };
        let started = tokio::time::Instant::now();
        let client = &self.services.client;
        let sent = if of_sink { self.plan.to.sink.put(client, call).await } else { client.send(call).await };
        let status = sent.as_ref().ok().map(|answer| answer.status.as_u16());
        let unsent = matches!(sent, Err(SendError::NotSent(_) | SendError::Refused(_)));
        let mut said = String::new();
        let found = match sent {
            Ok(answer) => {
                said = excerpt(answer.status, &answer.body);
                read(&answer)
            }
            Err(SendError::Refused(why)) => Err(Outcome::Suspend { what: Scope::Account, why, until: None }),
            Err(error) => Err(Outcome::retry(error.to_string())),
        };
        let message = match &found {
            Ok(found) => tell(found),
            Err(outcome) => outcome.why().map_or(said, str::to_owned),
        };
        self.admission_ends(found.as_ref().map_or_else(went, |_| Some(true)));
        tracing::info!(what, status, "asked: {}", self.masked(&message));
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (what, call) = (what.to_owned(), call.shown.clone());
        self.journal(Step::Asked { what, call, status, message, cached: false, took_ms });
        if unsent {
            self.insist("refund", || self.services.store.refund(charge.clone())).await?;
        }
        Ok(found)
    }

    /// Charges one call that belongs to no intent.
    async fn charge(&self, gate: &Gate) -> Early<Charge> {
        let charge = gate.charge(self.services.clock.now());
        match self.insist("charge", || self.services.store.charge(charge.clone())).await? {
            // Nothing is busy for a call that belongs to no delivery.
            Begun::Go | Begun::Busy => Ok(charge),
            Begun::UsedUp { used } => self.used_up(gate, used).await,
        }
    }

    /// What follows if a vendor did not say: the question is put again later, and what is in doubt stays so.
    pub(super) async fn unanswered<T>(
        &self,
        outcome: Outcome,
        asking: &Asking<'_>,
        standing: &Standing,
        call: Option<&Call>,
    ) -> Early<T> {
        let doubt = in_doubt(standing);
        match outcome {
            Outcome::Retry { after, account, why } => {
                if account {
                    self.pause_account(asking.gate, after, &why).await;
                }
                return Err(self.retry_later(standing, Later { call, after, why, doubt, refund: None }).await?);
            }
            Outcome::Suspend { what, why, until } => {
                let scope = match what {
                    Scope::Sink if asking.of_sink => (Scope::Sink, self.plan.to.name.as_str()),
                    Scope::Account | Scope::Sink => (Scope::Account, asking.gate.account.as_str()),
                    Scope::Route | Scope::Source => (Scope::Route, self.plan.route().name.as_str()),
                };
                return self.suspended(standing, scope, why, until, None).await;
            }
            Outcome::Reject { why } | Outcome::Refused { why } | Outcome::Unknown { why } => {
                self.refuse(standing, why, call).await?;
            }
            Outcome::Delivered { .. } => {
                let why = "the answer does not say".to_owned();
                return Err(self.retry_later(standing, Later { call, after: None, why, doubt, refund: None }).await?);
            }
        }
        Err(Flow::Done)
    }
}
