//! What the tests of this binary share.

use std::sync::Arc;
use std::time::Duration;

use dari::broker::{Consumer, Message};
use dari::clock::Clock;
use dari::event::{Event, NewEvent, Payload};
use jiff::Timestamp;

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// An event whose body says its id.
pub fn event(clock: &Clock, source: &str, kind: &str, id: &str) -> Arc<Event> {
    let body = format!(r#"{{"id": "{id}", "price": 1.10}}"#);
    let mut new = NewEvent::new(kind, Payload::json(body.as_bytes()).expect("JSON"));
    new.id = Some(id.to_owned());
    new.subject = Some(format!("subject-{id}"));
    Arc::new(new.stamp(source, clock).expect("an event"))
}

/// The next message, which must come.
pub async fn next(consumer: &mut dyn Consumer) -> Message {
    let message = tokio::time::timeout(DEADLINE, consumer.next()).await.expect("a message in time");
    message.expect("the broker works").expect("the broker is open")
}

/// True if nothing comes for a moment.
pub async fn is_quiet(consumer: &mut dyn Consumer) -> bool {
    tokio::time::timeout(Duration::from_millis(60), consumer.next()).await.is_err()
}
