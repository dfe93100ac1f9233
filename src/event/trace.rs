//! The trace that an event belongs to, as W3C Trace Context has it (<https://www.w3.org/TR/trace-context/>): one id for
//! the whole journey, from the sender to whatever a route calls.

use sha2::{Digest, Sha256};

use super::Event;

/// The name of the header, of HTTP and AMQP alike.
pub const TRACEPARENT: &str = "traceparent";

/// A `traceparent` that was read or made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Context {
    /// 32 lower-case hexadecimal digits, not all zero.
    trace: String,
    /// 16 of them, not all zero.
    parent: String,
    /// Whether the sender records the trace.
    sampled: bool,
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.parent, u8::from(self.sampled))
    }
}

impl Event {
    /// The `traceparent` that the event came with; where it came with none that is valid, one made from its key, the
    /// same at every look.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.context().to_string()
    }

    /// The same trace with another parent, made from `span`: for a call that is made for the event.
    #[must_use]
    pub fn traceparent_of(&self, span: &str) -> String {
        let parent = id(&Sha256::digest(span)[..8]);
        Context { parent, ..self.context() }.to_string()
    }

    fn context(&self) -> Context {
        self.headers.get(TRACEPARENT).and_then(|header| read(header)).unwrap_or_else(|| {
            let digest = Sha256::digest(self.key());
            // Not recorded here, but whoever receives it may want to.
            Context { trace: id(&digest[..16]), parent: id(&digest[16..24]), sampled: true }
        })
    }
}

/// All zero is no id.
fn id(bytes: &[u8]) -> String {
    let zero = bytes.iter().all(|byte| *byte == 0);
    if zero { format!("{:0>width$}", 1, width = bytes.len() * 2) } else { hex::encode(bytes) }
}

/// Reads a header. Of a later version the parts that are known are read.
fn read(header: &str) -> Option<Context> {
    let mut parts = header.split('-');
    let mut part = |length: usize| {
        let hexadecimal = |part: &&str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        parts.next().filter(|part| part.len() == length).filter(hexadecimal)
    };
    let is_id = |id: &&str| id.bytes().any(|b| b != b'0');
    let version = part(2).filter(|version| *version != "ff")?;
    let (trace, parent) = (part(32).filter(is_id)?, part(16).filter(is_id)?);
    let flags = u8::from_str_radix(part(2)?, 16).ok()?;
    if version == "00" && parts.next().is_some() {
        return None;
    }
    Some(Context { trace: trace.to_owned(), parent: parent.to_owned(), sampled: flags & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::event::{NewEvent, Payload};

    fn event(traceparent: Option<&str>) -> Event {
        let mut new = NewEvent::new("t", Payload::Form(String::new()));
        new.id = Some("1".into());
        new.headers.extend(traceparent.map(|value| (TRACEPARENT.to_owned(), value.to_owned())));
        new.stamp("s", &Clock::manual("2026-03-01T00:00:00Z".parse().expect("a time"))).expect("an event")
    }

    #[test]
    fn a_senders_trace_goes_on_with_another_parent() {
        let event = event(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
        assert_eq!(event.traceparent(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let (one, two) = (event.traceparent_of("attempt 1"), event.traceparent_of("attempt 2"));
        assert!(one.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && one.ends_with("-00"), "{one}");
        assert_ne!(one, two);
        assert_eq!(read(&one).expect("valid").trace, "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like";
        assert_eq!(event(Some(later)).traceparent(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    }

    #[test]
    fn what_is_not_valid_is_as_if_it_were_not_there() {
        let own = event(None).traceparent();
        assert_eq!(read(&own).expect("valid").to_string(), own);
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        ] {
            assert_eq!(event(Some(wrong)).traceparent(), own, "{wrong}");
        }
    }

    #[test]
    fn no_id_is_all_zero() {
        assert_eq!(id(&[0, 0]), "0001");
        assert_eq!(id(&[1, 0]), "0100");
    }
}
