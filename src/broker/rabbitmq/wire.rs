//! An event as an AMQP message, and back: `docs/amqp.md` is the description for others.

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use serde_json::Value;

use crate::event::trace::TRACEPARENT;
use crate::event::{Event, Payload};

/// The version of what the `dari-` headers mean.
const FORM: u32 = 1;
const ATTEMPT: &str = "dari-attempt";
const DUE: &str = "dari-due";
const HEAD: &str = "dari-event";
const ROUNDS: &str = "dari-rounds";
const VERSION: &str = "dari-v";

/// Persistent: it survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// What a message says besides its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// From 1.
    pub attempt: u32,
    /// It is not to be worked on before.
    pub due: Option<Timestamp>,
    /// How often it was put aside.
    pub rounds: u32,
}

/// What a message says.
#[derive(Debug)]
pub struct Letter {
    pub event: Event,
    pub stamp: Stamp,
}

/// Text that fits AMQP's short strings, of 255 bytes.
pub fn short(text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text)
        .map_err(|_| format!("`{}…` is longer than 255 bytes", text.chars().take(40).collect::<String>()))
}

/// Whole seconds until a time, rounded up: nothing comes before it.
pub fn seconds_until(now: Timestamp, due: Timestamp) -> u64 {
    let left = due.duration_since(now);
    if left.is_negative() {
        return 0;
    }
    u64::try_from(left.as_secs()).unwrap_or(0) + u64::from(left.subsec_nanos() > 0)
}

/// The properties of a message. They are made anew for every publish, so nothing that a broker added (`x-death`) stays:
/// with it chained waiting queues drop the message without a word.
pub fn properties(event: &Event, stamp: Stamp) -> Result<BasicProperties, String> {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value: AMQPValue| _ = headers.insert(name.into(), value);
    put("cloudEvents:specversion", text("1.0"));
    put("cloudEvents:id", text(&event.id));
    put("cloudEvents:source", text(&event.source));
    put("cloudEvents:type", text(&event.kind));
    put("cloudEvents:time", text(&event.time.to_string()));
    if let Some(subject) = &event.subject {
        put("cloudEvents:subject", text(subject));
    }
    put(TRACEPARENT, text(&event.traceparent()));
    let head = Event { data: Payload::from_value(&Value::Null), ..event.clone() };
    let head = serde_json::to_string(&head).map_err(|e| format!("an event cannot be written: {e}"))?;
    put(HEAD, text(&head));
    put(ATTEMPT, AMQPValue::LongUInt(stamp.attempt));
    put(VERSION, AMQPValue::LongUInt(FORM));
    if stamp.rounds > 0 {
        put(ROUNDS, AMQPValue::LongUInt(stamp.rounds));
    }
    if let Some(due) = stamp.due {
        // Rounded up: nothing is due before its time.
        let ms = due.as_millisecond() + i64::from(due.subsec_nanosecond() % 1_000_000 > 0);
        put(DUE, AMQPValue::LongLongInt(ms));
    }
    Ok(BasicProperties::default()
        .with_message_id(short(&event.id)?)
        .with_content_type(event.data.content_type().into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// Reads a message that [`properties`] were made for.
pub fn read(properties: &BasicProperties, body: &[u8]) -> Result<Letter, String> {
    let headers = properties.headers().as_ref().ok_or("it has no headers")?;
    let head = match headers.inner().get(HEAD) {
        Some(AMQPValue::LongString(head)) => head.as_bytes(),
        _ => return Err(format!("it has no header `{HEAD}`")),
    };
    let mut event: Event = serde_json::from_slice(head).map_err(|e| format!("its header `{HEAD}`: {e}"))?;
    let is_form = properties.content_type().as_ref().is_some_and(|kind| kind.as_str().contains("form"));
    event.data = if is_form {
        Payload::Form(String::from_utf8(body.to_vec()).map_err(|_| "its form is not UTF-8")?)
    } else {
        Payload::json(body).map_err(|e| format!("its body: {e}"))?
    };
    let number = |name: &str| headers.inner().get(name).and_then(number);
    let attempt = number(ATTEMPT).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let due = number(DUE).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let rounds = number(ROUNDS).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Ok(Letter { event, stamp: Stamp { attempt, due, rounds } })
}

/// A whole number: other clients and shovels write it in another width.
fn number(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongInt(n) => Some(i64::from(*n)),
        AMQPValue::LongUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::event::{Collapse, NewEvent, Version};

    fn event(data: Payload) -> Event {
        let mut new = NewEvent::new("order.created", data);
        new.id = Some("1".into());
        new.subject = Some("주문 1".into());
        let clock = Clock::manual("2026-03-01T00:00:00Z".parse().expect("a time"));
        let mut event = new.stamp("shop", &clock).expect("an event");
        event.collapse = Collapse::IdOrBody;
        event.version = Some(Version::Integer(3));
        event.generation = 2;
        event.headers.insert("x-topic".into(), "orders".into());
        event
    }

    #[test]
    fn an_event_comes_back_whole() {
        for data in [Payload::json(b"{\"a\": 1.10}").expect("JSON"), Payload::Form("a=1&a=2".into())] {
            let event = event(data);
            let due = "2026-03-01T00:00:05.0005Z".parse().expect("a time");
            let stamp = Stamp { attempt: 7, due: Some(due), rounds: 2 };
            let letter = read(&properties(&event, stamp).expect("fits"), event.data.bytes()).expect("read");
            let text = |event: &Event| serde_json::to_string(event).expect("JSON");
            assert_eq!(text(&letter.event), text(&event));
            let rounded = "2026-03-01T00:00:05.001Z".parse().expect("a time");
            assert_eq!(letter.stamp, Stamp { due: Some(rounded), ..stamp }, "never before its time");
        }
    }

    #[test]
    fn what_is_no_event_is_told() {
        let none = read(&BasicProperties::default(), b"{}").expect_err("no headers");
        assert_eq!(none, "it has no headers");
        let good = properties(&event(Payload::json(b"1").expect("JSON")), Stamp { attempt: 1, due: None, rounds: 0 })
            .expect("fits");
        let torn = read(&good, b"{").expect_err("torn");
        assert!(torn.starts_with("its body: "), "{torn}");
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-01T00:00:00.5Z");
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:00.5Z")), 0);
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:00.501Z")), 1);
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:02.5Z")), 2);
        assert_eq!(seconds_until(now, at("2026-02-01T00:00:00Z")), 0);
    }
}
