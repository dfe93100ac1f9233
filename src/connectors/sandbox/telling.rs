//! What a stand-in tells of by itself, as its vendor calls webhooks: what changed between two looks at it.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use url::Url;

use crate::connectors::client::Client;
use crate::connectors::{Answer, Call};

/// Remembers things by their ids, and tells what became of them since.
#[derive(Debug, Default)]
pub(in crate::connectors) struct Looks(Option<BTreeMap<String, Value>>);

/// What became of a thing.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::connectors) struct Change {
    /// As it was; null if it is new.
    pub before: Value,
    /// As it is; null if it is gone.
    pub after: Value,
}

impl Looks {
    /// What is other than at the last look. The first look learns.
    pub(in crate::connectors) fn changes(&mut self, now: &[Value], id: &str) -> Vec<Change> {
        let now: BTreeMap<String, Value> =
            now.iter().map(|thing| (thing[id].as_str().unwrap_or_default().to_owned(), thing.clone())).collect();
        let Some(mut known) = self.0.replace(now.clone()) else { return Vec::new() };
        let mut changes = Vec::new();
        for (id, after) in now {
            let before = known.remove(&id).unwrap_or_default();
            if before != after {
                changes.push(Change { before, after });
            }
        }
        changes.extend(known.into_values().map(|before| Change { before, after: Value::Null }));
        changes
    }

    /// The next look learns.
    pub(in crate::connectors) fn forget(&mut self) {
        self.0 = None;
    }
}

/// The address at which a webhook's path is reached: `base` takes the place of what the vendor was told. A bridge on this
/// machine has no address that a vendor would take.
pub(in crate::connectors) fn place(told: &str, base: &str) -> Option<Url> {
    let (told, mut place) = (Url::parse(told).ok()?, Url::parse(base).ok()?);
    place.set_path(told.path());
    place.set_query(told.query());
    Some(place)
}

/// Makes calls in turn without being waited for; `heard` is told of each answer, `None` if there was none.
pub(in crate::connectors) fn tell(calls: Vec<Call>, heard: impl Fn(Option<StatusCode>) + Send + 'static) {
    if calls.is_empty() {
        return;
    }
    tokio::spawn(async move {
        for call in calls {
            let answer = ask(&call).await;
            heard(answer.map(|answer| answer.status));
        }
    });
}

/// Makes one call.
pub(in crate::connectors) async fn ask(call: &Call) -> Option<Answer> {
    Client::new().ok()?.send(call).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_look_learns_and_the_next_ones_tell() {
        let mut looks = Looks::default();
        let (a, b, c) = (json!({"id": "a", "n": 1}), json!({"id": "b"}), json!({"id": "a", "n": 2}));
        assert_eq!(looks.changes(&[a.clone(), b.clone()], "id"), []);
        assert_eq!(looks.changes(&[a.clone(), b.clone()], "id"), []);
        let told = looks.changes(std::slice::from_ref(&c), "id");
        let gone = Change { before: b, after: Value::Null };
        assert_eq!(told, [Change { before: a, after: c }, gone]);
        looks.forget();
        assert_eq!(looks.changes(&[], "id"), []);
    }

    #[test]
    fn a_webhooks_path_is_kept_and_its_host_is_not() {
        let place = |told: &str| place(told, "http://127.0.0.1:8080").map(String::from);
        assert_eq!(
            place("https://bridge.acme.kr/hooks/a/b?c=d").as_deref(),
            Some("http://127.0.0.1:8080/hooks/a/b?c=d")
        );
        assert_eq!(place("bridge"), None);
    }
}
