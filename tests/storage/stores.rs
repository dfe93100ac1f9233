//! What every store must do, as functions over the trait: a second implementation is run through the same ones.

mod deliveries;
mod intents;
mod keeping;
mod sqlite;

use std::any::Any;
use std::sync::Arc;

use dari::clock::Clock;
use dari::event::{Event, Received};
use dari::outcome::Verb;
use dari::store::{
    Basis, Begun, Charge, DeadClass, DeadLetter, DeliveryKey, Intent, LedgerEntry, Link, LinkKey, LinkState, Progress,
    Question, Settlement, Standing, Store,
};
use jiff::{SignedDuration, Timestamp};

use crate::common::event;

/// An empty store with a clock that stands still.
pub struct Rig {
    pub store: Arc<dyn Store>,
    /// The same store as another process has it.
    pub other: Arc<dyn Store>,
    pub clock: Clock,
    /// What must live as long.
    pub _keep: Box<dyn Any + Send>,
}

/// A delivery as the tests see it: an event on a route, with a link of its own or a shared one.
pub struct Case {
    pub event: Arc<Event>,
    pub route: String,
    pub link: String,
    pub body: Option<String>,
    pub generation: u32,
}

impl Case {
    fn key(&self) -> DeliveryKey {
        DeliveryKey { route: self.route.clone(), event: self.event.key(), generation: self.generation }
    }

    fn link_key(&self) -> LinkKey {
        LinkKey { owner: self.route.clone(), key: self.link.clone() }
    }
}

impl Rig {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn in_days(&self, days: i64) -> Timestamp {
        self.now() + SignedDuration::from_hours(24 * days)
    }

    /// A delivery on `route`; later calls have later receipts.
    fn case(&self, id: &str, link: &str) -> Case {
        let event = event(&self.clock, "s", "t", id);
        Case { event, route: "route".into(), link: link.into(), body: None, generation: 0 }
    }

    async fn standing(&self, case: &Case) -> Standing {
        let question = Question {
            delivery: case.key(),
            body_key: case.body.clone(),
            link: case.link_key(),
            others: Vec::new(),
            instead_of: Vec::new(),
            received: case.event.received,
            now: self.now(),
        };
        self.store.standing(question).await.expect("the store works")
    }

    async fn intent(&self, case: &Case) -> Intent {
        Intent {
            first_retry: None,
            delivery: case.key(),
            body_key: case.body.clone(),
            link: case.link_key(),
            seen: self.standing(case).await.link,
            received: case.event.received,
            version: case.event.version,
            attempt: 1,
            verb: Verb::Create,
            since: self.now(),
            expires: self.in_days(35),
            charge: None,
            instead_of: Vec::new(),
        }
    }

    fn settlement(&self, case: &Case, progress: Progress) -> Settlement {
        Settlement {
            delivery: case.key(),
            body_key: case.body.clone(),
            link: case.link_key(),
            received: case.event.received,
            version: case.event.version,
            entry: LedgerEntry { attempt: 1, progress, first_retry: None, doubt: None },
            expires: self.in_days(35),
            new_link: None,
            refund: None,
            dead: None,
            basis: Basis::Delivery,
        }
    }

    async fn settle(&self, settlement: Settlement) {
        self.store.settle(settlement).await.expect("settled");
    }

    async fn begin(&self, case: &Case) {
        let begun = self.store.begin(self.intent(case).await).await.expect("begun");
        assert_eq!(begun, Begun::Go);
    }

    async fn done(&self, case: &Case) {
        self.settle(self.settlement(case, done())).await;
    }

    fn letter(&self, case: &Case, class: DeadClass) -> DeadLetter {
        DeadLetter {
            delivery: case.key(),
            event: Arc::clone(&case.event),
            sink: "sink".into(),
            class,
            reason: "because".into(),
            attempts: 3,
            call: Some(serde_json::json!({"path": "/x", "n": 1})),
            at: self.now(),
        }
    }

    /// Settles a delivery with a dead letter: its number.
    async fn bury(&self, case: &Case, class: DeadClass) -> i64 {
        let progress = match class {
            DeadClass::Held => Progress::Held { verb: Verb::Create },
            _ => Progress::Done { ending: "rejected".into() },
        };
        let mut settlement = self.settlement(case, progress);
        settlement.dead = Some(self.letter(case, class));
        self.settle(settlement).await;
        let letters = self.store.dead(dari::store::DeadFilter::default()).await.expect("listed");
        letters.iter().find(|d| d.letter.delivery == case.key()).expect("the letter").id
    }
}

fn done() -> Progress {
    Progress::Done { ending: "delivered".into() }
}

fn linked(remote_id: &str, received: Received) -> Link {
    Link { remote_id: Some(remote_id.into()), version: None, received, state: LinkState::Linked, content: None }
}

fn charge(limit: Option<u64>) -> Charge {
    Charge { account: "daou".into(), month: "2026-11".into(), limit }
}
