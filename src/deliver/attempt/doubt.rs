//! A call in doubt is cleared up before anything else is done for its delivery (promise P6).

use super::ask::Asking;
use super::settle::add;
use super::{Attempt, Duration, Early, Flow, OnDoubt, Prepared, Standing, Verb, in_doubt};
use crate::connectors::Ask;

/// How long after a call its effect is looked for at the earliest: what vendors find lags behind what they do.
pub(super) const SETTLES: Duration = Duration::from_secs(1);

impl Attempt {
    /// Comes back if an earlier call had no effect for certain, if it may be made once more, or if there was none.
    pub(super) async fn clear_up(&self, verb: Verb, prepared: &Prepared, standing: &mut Standing) -> Early<()> {
        let Some(doubt) = in_doubt(standing).filter(|_| !prepared.call.idempotent) else { return Ok(()) };
        let unknown = format!("it is unknown whether an earlier {} took effect", verb.name());
        match self.plan.on_doubt(verb) {
            OnDoubt::Retry => return Ok(()),
            OnDoubt::Hold => return self.ends_held(verb, prepared, standing, unknown).await,
            OnDoubt::Find => {}
        }
        let earliest = add(doubt.since, SETTLES);
        if self.services.clock.now() < earliest {
            self.wait_until(earliest).await?;
        }
        let sink = &self.plan.to.sink;
        let operation = self.operation(verb, &prepared.rendered, standing.link.as_ref());
        let question = Ask::Doubt { operation: &operation, since: doubt.since };
        let call = match sink.ask(&question) {
            Some(Ok(call)) => call,
            Some(Err(why)) => {
                let why = format!("{unknown}, and it cannot be asked for: {why}");
                return self.ends_held(verb, prepared, standing, why).await;
            }
            None => {
                let why = format!("{unknown}, and `{}` cannot be asked", self.plan.to.name);
                return self.ends_held(verb, prepared, standing, why).await;
            }
        };
        let asking = Asking { what: "doubt", gate: &self.plan.to.gate, of_sink: true, call: &call };
        let found = match self.ask(&asking, |answer| sink.answered(&question, answer), |ids| told(ids)).await? {
            Ok(found) => found,
            Err(outcome) => return self.unanswered(outcome, &asking, standing, Some(&prepared.call)).await,
        };
        match found.as_slice() {
            [] => {
                if let Some(entry) = &mut standing.entry {
                    entry.doubt = None;
                }
                Ok(())
            }
            [id] => {
                let link = self.applied(verb, Some(id.clone()), standing);
                self.end(standing, "delivered", id.clone(), Some(link)).await?;
                Err(Flow::Applied)
            }
            several => {
                let why = format!("{unknown}: {} records could be its own: {}", several.len(), several.join(", "));
                self.ends_held(verb, prepared, standing, why).await
            }
        }
    }

    async fn ends_held<T>(&self, verb: Verb, prepared: &Prepared, standing: &Standing, why: String) -> Early<T> {
        self.hold(verb, Some(&prepared.call), standing, why).await?;
        Err(Flow::Done)
    }
}

/// What was found, for people.
pub(super) fn told(ids: &[String]) -> String {
    match ids {
        [] => "nothing found".to_owned(),
        [id] => format!("found {id}"),
        several => format!("found {}: {}", several.len(), several.join(", ")),
    }
}
