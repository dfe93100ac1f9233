//! Who does what is done: told by the door that a request came in by, written into the journal with the deed.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;

use super::Operator;
use super::views::Done;
use crate::store::journal::{ACTIONS, Entry, Record, Step};

/// Under which header a client of the API says on whose behalf it acts. It proves nothing: whoever has the token is
/// believed.
pub const BY: &str = "dari-by";

/// The longest name that is written down, in characters.
const LONGEST: usize = 80;

tokio::task_local! {
    /// Of the request that this task serves.
    static WHO: String;
}

/// Does something in somebody's name.
pub async fn acting<T>(who: String, work: impl Future<Output = T>) -> T {
    WHO.scope(who, work).await
}

/// A deed with its doer's name, where that is known.
pub(super) fn signed(what: &str) -> String {
    WHO.try_with(|who| format!("{what}, by {who}")).unwrap_or_else(|_| what.to_owned())
}

/// A name as it may be written down: one line, not long.
#[must_use]
pub fn tidy(name: &str) -> String {
    let line = name.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    line.collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

/// Names whoever uses the API.
pub(super) async fn named(request: Request, next: Next) -> Response {
    acting(of_api(request.headers()), next.run(request)).await
}

fn of_api(headers: &HeaderMap) -> String {
    let told = headers.get(BY).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).map(tidy);
    told.filter(|name| !name.is_empty()).unwrap_or_else(|| "the API".to_owned())
}

impl Operator {
    /// Writes down what somebody did, and gives it back in words.
    pub(super) fn did(&self, done: String) -> Done {
        self.write_down(&done);
        Done { done }
    }

    /// Writes down what somebody did.
    pub(super) fn write_down(&self, what: &str) {
        let what = signed(what);
        tracing::info!("{what}");
        let (at, event) = (self.clock.now(), ACTIONS.to_owned());
        self.journal.record(Record::Entry(Entry { at, event, route: None, step: Step::Operator { what } }));
    }

    /// Writes down what somebody did in the journey of an event: programs put in many.
    pub(super) fn tell_journey(&self, event: String, what: &str) {
        let (at, step) = (self.clock.now(), Step::Operator { what: signed(what) });
        self.journal.record(Record::Entry(Entry { at, event, route: None, step }));
    }

    /// What people did, newest first, at most so many.
    ///
    /// # Errors
    /// The journal.
    pub async fn actions(&self, limit: usize) -> super::Result<Vec<Entry>> {
        let mut all = self.journal.journey(ACTIONS).await?;
        all.reverse();
        all.truncate(limit);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deed_bears_the_name_of_whoever_did_it() {
        assert_eq!(signed("sink crm goes on"), "sink crm goes on");
        let told = acting("Kim (dashboard)".to_owned(), async { signed("sink crm goes on") }).await;
        assert_eq!(told, "sink crm goes on, by Kim (dashboard)");
    }

    #[test]
    fn a_name_is_one_short_line() {
        assert_eq!(tidy(" Kim\r\nX-Evil:  1 "), "Kim X-Evil: 1");
        assert_eq!(tidy(&"가".repeat(200)).chars().count(), LONGEST);
    }
}
