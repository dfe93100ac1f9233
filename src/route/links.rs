//! Newer wins (promise P3), and what `upsert` and `sync` come to.

use std::cmp::Ordering;

use crate::config::{Action, WithoutLink};
use crate::event::Event;
use crate::outcome::Verb;
use crate::store::{Link, LinkState};

/// What is to be done at the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This.
    Do(Verb),
    /// Nothing, and why.
    Nothing(String),
}

/// Resolves a route's action against the link.
#[must_use]
pub fn resolve(action: Action, without_link: WithoutLink, event: &Event, link: Option<&Link>) -> Resolution {
    let there = link.is_some_and(is_there);
    let linked = |verb: Verb| {
        if there {
            return Resolution::Do(verb);
        }
        if without_link == WithoutLink::Create && verb != Verb::Delete {
            return Resolution::Do(Verb::Create);
        }
        let was = match link.map(|link| link.state) {
            Some(LinkState::Deleted) => "the linked record was removed before",
            _ => "no record is linked to it",
        };
        Resolution::Nothing(format!("{was}, so there is nothing to {}", verb.name()))
    };
    match action {
        Action::Update => linked(Verb::Update),
        Action::Delete => linked(Verb::Delete),
        Action::Each(verb) => linked(verb),
        Action::Sync if event.is_deletion() => linked(Verb::Delete),
        Action::Upsert | Action::Sync if there => Resolution::Do(Verb::Update),
        Action::Create | Action::Upsert | Action::Sync => Resolution::Do(Verb::Create),
    }
}

/// A call in doubt counts if the record was there before it.
#[must_use]
pub fn is_there(link: &Link) -> bool {
    match link.state {
        LinkState::Linked => true,
        LinkState::InDoubt => link.remote_id.is_some(),
        LinkState::Deleted => false,
    }
}

/// True if something newer was applied already, so that this event is not to be sent.
///
/// Only state can be stale: `create` and `reply` mean every event. Versions decide where both are there and of one
/// kind; absent or equal, the order of receipt does. What a person forces is never stale.
#[must_use]
pub fn is_stale(action: Action, event: &Event, link: Option<&Link>) -> bool {
    action.is_state() && !event.forced && link.is_some_and(|link| is_older(event, link))
}

/// True if what was applied last is newer than this event, whatever is to be done with it.
#[must_use]
pub fn is_older(event: &Event, link: &Link) -> bool {
    let by_version = event.version.zip(link.version).and_then(|(mine, applied)| mine.order(applied));
    match by_version {
        Some(Ordering::Less) => true,
        Some(Ordering::Greater) => false,
        Some(Ordering::Equal) | None => event.received < link.received,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Collapse, Payload, Received, Version};

    fn event(kind: &str, version: Option<i64>, received: u64) -> Event {
        Event {
            id: format!("e{received}"),
            source: "s".into(),
            kind: kind.into(),
            subject: Some("1".into()),
            time: jiff::Timestamp::UNIX_EPOCH,
            version: version.map(Version::Integer),
            received: Received { clock: received, process: 1 },
            collapse: Collapse::Id,
            generation: 0,
            forced: false,
            unfetched: false,
            headers: std::collections::BTreeMap::new(),
            data: Payload::json(b"{}").unwrap(),
        }
    }

    fn link(state: LinkState, remote_id: Option<&str>, version: Option<i64>, received: u64) -> Link {
        Link {
            remote_id: remote_id.map(str::to_owned),
            version: version.map(Version::Integer),
            received: Received { clock: received, process: 1 },
            state,
            content: None,
        }
    }

    /// The link after an operation succeeded.
    fn applied(verb: Verb, event: &Event, before: Option<&Link>) -> Link {
        let state = if verb == Verb::Delete { LinkState::Deleted } else { LinkState::Linked };
        let remote_id = before.and_then(|link| link.remote_id.clone()).or_else(|| Some(event.id.clone()));
        Link { remote_id, version: event.version, received: event.received, state, content: None }
    }

    #[test]
    fn what_needs_a_link_says_so_without_one() {
        let task = event("task.deleted", None, 1);
        let nothing = |action, link: Option<&Link>| match resolve(action, WithoutLink::Skip, &task, link) {
            Resolution::Nothing(why) => why,
            Resolution::Do(verb) => verb.name().to_owned(),
        };
        insta::assert_snapshot!(nothing(Action::Delete, None), @"no record is linked to it, so there is nothing to delete");
        insta::assert_snapshot!(nothing(Action::Sync, Some(&link(LinkState::Deleted, Some("7"), None, 0))), @"the linked record was removed before, so there is nothing to delete");
        insta::assert_snapshot!(nothing(Action::Each(Verb::Reply), Some(&link(LinkState::InDoubt, None, None, 0))), @"no record is linked to it, so there is nothing to reply");
    }

    #[test]
    fn after_a_deletion_an_upsert_makes_a_new_record() {
        let gone = link(LinkState::Deleted, Some("7"), None, 1);
        let again = event("task.updated", None, 2);
        assert_eq!(resolve(Action::Upsert, WithoutLink::Skip, &again, Some(&gone)), Resolution::Do(Verb::Create));
    }

    #[test]
    fn what_needs_a_record_can_make_it() {
        let told = event("task.closed", None, 2);
        let reply = |link: Option<&Link>| resolve(Action::Each(Verb::Reply), WithoutLink::Create, &told, link);
        assert_eq!(reply(None), Resolution::Do(Verb::Create));
        assert_eq!(reply(Some(&link(LinkState::Deleted, Some("7"), None, 1))), Resolution::Do(Verb::Create));
        assert_eq!(reply(Some(&link(LinkState::Linked, Some("7"), None, 1))), Resolution::Do(Verb::Reply));
        let gone = resolve(Action::Delete, WithoutLink::Create, &told, None);
        assert!(matches!(gone, Resolution::Nothing(_)), "nothing is made to be deleted");
    }

    #[test]
    fn what_a_person_forces_is_never_stale() {
        let known = link(LinkState::Linked, Some("7"), Some(5), 10);
        let forced = Event { forced: true, ..event("t", Some(4), 9) };
        assert!(!is_stale(Action::Upsert, &forced, Some(&known)));
    }

    #[test]
    fn a_revision_beats_the_order_of_receipt_and_an_equal_one_does_not() {
        let known = link(LinkState::Linked, Some("7"), Some(5), 10);
        assert!(is_stale(Action::Upsert, &event("t", Some(4), 11), Some(&known)));
        assert!(!is_stale(Action::Upsert, &event("t", Some(6), 9), Some(&known)));
        assert!(is_stale(Action::Upsert, &event("t", Some(5), 9), Some(&known)));
        assert!(!is_stale(Action::Upsert, &event("t", Some(5), 10), Some(&known)));
        assert!(is_stale(Action::Upsert, &event("t", None, 9), Some(&known)));
        assert!(!is_stale(Action::Create, &event("t", Some(4), 9), Some(&known)));
        assert!(!is_stale(Action::Each(Verb::Reply), &event("t", Some(4), 9), Some(&known)));
    }

    fn arrivals() -> impl Strategy<Value = Vec<(bool, i64)>> {
        prop::collection::vec((any::<bool>(), 0_i64..6), 1..12)
    }

    proptest! {
        /// Whatever the order of arrival, the record ends as the newest version says, and no verb is ever impossible.
        #[test]
        fn a_synced_record_ends_as_its_newest_version_says(arrivals in arrivals()) {
            let mut known: Option<Link> = None;
            let mut record_there = false;
            let events: Vec<Event> = arrivals
                .iter()
                .zip(1..)
                .map(|((gone, version), at)| event(if *gone { "t.deleted" } else { "t.updated" }, Some(*version), at))
                .collect();
            for event in &events {
                if is_stale(Action::Sync, event, known.as_ref()) {
                    continue;
                }
                if let Resolution::Do(verb) = resolve(Action::Sync, WithoutLink::Skip, event, known.as_ref()) {
                    prop_assert_eq!(record_there, verb != Verb::Create, "{:?} with the record there: {}", verb, record_there);
                    record_there = verb != Verb::Delete;
                    known = Some(applied(verb, event, known.as_ref()));
                } else {
                    prop_assert!(!record_there);
                    let version = event.version;
                    known = Some(Link { version, received: event.received, ..applied(Verb::Delete, event, known.as_ref()) });
                }
            }
            // Of equal versions the last received counts.
            let newest = events.iter().max_by(|a, b| {
                let by_version = a.version.zip(b.version).and_then(|(a, b)| a.order(b)).unwrap_or(Ordering::Equal);
                by_version.then(a.received.cmp(&b.received))
            });
            prop_assert_eq!(record_there, !newest.unwrap().is_deletion());
        }

        #[test]
        fn every_event_of_a_create_route_creates(arrivals in arrivals()) {
            let mut known: Option<Link> = None;
            for ((_, version), at) in arrivals.iter().zip((0..100).rev()) {
                let event = event("t.created", Some(*version), at);
                prop_assert!(!is_stale(Action::Create, &event, known.as_ref()));
                let resolved = resolve(Action::Create, WithoutLink::Skip, &event, known.as_ref());
                prop_assert_eq!(resolved, Resolution::Do(Verb::Create));
                known = Some(applied(Verb::Create, &event, known.as_ref()));
            }
        }
    }
}
