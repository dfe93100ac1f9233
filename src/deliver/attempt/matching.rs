//! Before a record is created for a state, the vendor is asked whether it is there already: the route's `match`.

use super::ask::Asking;
use super::doubt::told;
use super::settle::waiting;
use super::{Action, Attempt, Early, Flow, Link, LinkState, Standing, Verb, first_retry, in_doubt, route};
use crate::connectors::Ask;
use crate::event::Received;
use crate::route::Looked;

impl Attempt {
    /// What is to be done at the vendor after all: an update, where there is one record that matches. It is linked then.
    pub(super) async fn matched_verb(&self, verb: Verb, looked: &Looked, standing: &mut Standing) -> Early<Verb> {
        let Some(matching) = &self.plan.route().matching else { return Ok(verb) };
        let is_new = verb == Verb::Create && matches!(self.job.action, Action::Upsert | Action::Sync);
        // What is in doubt is cleared up by what it would have made; a dry run changes no link.
        if !is_new || in_doubt(standing).is_some() || self.services.dry_run {
            return Ok(verb);
        }
        let sink = &self.plan.to.sink;
        let values = match route::values("match", matching, &self.context(standing, looked)) {
            Ok(values) => values,
            Err(why) => return self.unmappable(standing, why).await,
        };
        let question = Ask::Match(&values);
        let call = match sink.ask(&question) {
            Some(Ok(call)) => call,
            Some(Err(why)) => return self.unmappable(standing, format!("match: {why}")).await,
            None => {
                let why = format!("match: `{}` cannot be asked which records have some values", self.plan.to.name);
                return self.unmappable(standing, why).await;
            }
        };
        let asking = Asking { what: "match", gate: &self.plan.to.gate, of_sink: true, call: &call };
        let found = match self.ask(&asking, |answer| sink.answered(&question, answer), |ids| told(ids)).await? {
            Ok(found) => found,
            Err(outcome) => return self.unanswered(outcome, &asking, standing, None).await,
        };
        match found.as_slice() {
            [] => Ok(Verb::Create),
            [id] => {
                self.adopt(id, standing).await?;
                Ok(Verb::Update)
            }
            several => {
                let why = format!("match: {} records have these values: {}", several.len(), several.join(", "));
                self.refuse(standing, why, None).await?;
                Err(Flow::Done)
            }
        }
    }

    /// Links a record that somebody else made, before anything is done to it.
    async fn adopt(&self, id: &str, standing: &mut Standing) -> Early<()> {
        let now = self.services.clock.now();
        let link = Link {
            remote_id: Some(id.to_owned()),
            version: None,
            received: Received::BEFORE_ALL,
            state: LinkState::Linked,
            content: None,
        };
        let entry = waiting(self.job.message.attempt, now, first_retry(standing, now));
        let mut settlement = self.settlement(entry.clone());
        settlement.new_link = Some(link.clone());
        self.settle(settlement).await?;
        self.matched(standing);
        standing.link = Some(link);
        standing.entry = Some(entry);
        Ok(())
    }
}
