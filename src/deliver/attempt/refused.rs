//! Whether a refusal is the record's fault or the sink's.

use super::{Attempt, Outcome, Scope};
use crate::deliver::refusals::SEVERAL;

impl Attempt {
    /// The outcome, with what other deliveries of the sink came to: a permission that several subjects in a row want is
    /// gone for all of them.
    pub(super) fn judged(&self, outcome: Outcome) -> Outcome {
        let to = &self.plan.to;
        let why = match outcome {
            Outcome::Delivered { .. } => {
                to.refusals.end();
                return outcome;
            }
            Outcome::Refused { why } => why,
            _ => return outcome,
        };
        if let Some(halt) = self.services.halts.any(&[(Scope::Sink, &to.name)]) {
            // Under way beside the one that suspended the sink.
            return Outcome::Suspend { what: Scope::Sink, why: halt.why, until: halt.until };
        }
        if to.refusals.add(&self.job.link) < SEVERAL {
            return Outcome::Reject { why };
        }
        // A person has looked at it when it goes on: the count starts anew.
        to.refusals.end();
        let why = format!("{SEVERAL} subjects in a row were refused; the last: {why}");
        Outcome::Suspend { what: Scope::Sink, why, until: None }
    }

    /// True if something can find out without harm whether the account works again: a call, or a poll.
    pub(super) fn can_be_probed(&self) -> bool {
        let account = Some(&self.plan.to.gate.account);
        let sources = &self.plan.config.sources;
        self.plan.to.sink.probe().is_some()
            || sources.iter().any(|s| s.enabled && s.polls() && s.account.as_ref() == account)
    }
}
