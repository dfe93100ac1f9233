//! What a route reads from vendors before it makes the record.

use super::ask::Asking;
use super::{Attempt, Early, Standing, Step, Verb, route};
use crate::config::LookupConfig;
use crate::connectors::Call;
use crate::deliver::lookups::{Known, LookupPart};
use crate::route::Looked;

impl Attempt {
    /// Reads what this verb needs; or the delivery waits, or ends here because something is not to be found.
    pub(super) async fn look_up(&self, verb: Verb, standing: &Standing) -> Early<Looked> {
        let mut looked = Looked::default();
        let route = self.plan.route();
        for at in route::needed(route, self.case(), verb) {
            let (lookup, part) = (&route.lookups[at], &self.plan.lookups[at]);
            let record = self.read(lookup, part, standing).await?;
            looked.add(&lookup.name, record);
        }
        Ok(looked)
    }

    async fn read(
        &self,
        lookup: &LookupConfig,
        part: &LookupPart,
        standing: &Standing,
    ) -> Early<Option<serde_json::Value>> {
        let what = format!("lookup.{}", lookup.name);
        let context = self.context(standing, &Looked::default());
        let prepared = route::values(&format!("{what}.match"), &lookup.wanted, &context)
            .and_then(|wanted| Ok((part.lookup.prepare(&wanted).map_err(|why| format!("{what}: {why}"))?, wanted)));
        let (call, wanted) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return self.unmappable(standing, why).await,
        };
        let slot = part.cache.slot(&serde_json::Value::Object(wanted.clone()).to_string(), self.services.clock.now());
        // Held while the vendor is asked: others who want the same wait for that one answer.
        let mut known = slot.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.holds(self.services.clock.now())) {
            self.known(what, &call, known);
            return Ok(known.record.clone());
        }
        let asking = Asking { what: &what, gate: &part.gate, of_sink: false, call: &call };
        let records =
            match self.ask(&asking, |answer| part.lookup.pick(&wanted, answer), |found| told(found.len())).await? {
                Ok(records) => records,
                Err(outcome) => return self.unanswered(outcome, &asking, standing, None).await,
            };
        match route::chosen(lookup, records) {
            Ok(record) => {
                *known = Some(part.cache.known(record.clone(), self.services.clock.now()));
                Ok(record)
            }
            Err(why) => {
                self.refuse(standing, why, None).await?;
                Err(super::Flow::Done)
            }
        }
    }

    fn known(&self, what: String, call: &Call, known: &Known) {
        let message = told(usize::from(known.record.is_some()));
        self.journal(Step::Asked { what, call: call.shown.clone(), status: None, message, cached: true, took_ms: 0 });
    }
}

/// What was found, for people; the record itself is for the mapping alone.
fn told(records: usize) -> String {
    match records {
        0 => "nothing found".to_owned(),
        1 => "found".to_owned(),
        several => format!("{several} found"),
    }
}
