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

/// Where a span stands in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The trace: 32 lower-case hexadecimal digits.
    pub trace: String,
    /// The span: 16 of them.
    pub span: String,
    /// The span that it belongs to; `None`: the trace begins with it.
    pub parent: Option<String>,
    /// False: whoever began the trace does not record it.
    pub sampled: bool,
}

impl Place {
    /// The span within this one that a `traceparent` names.
    #[must_use]
    pub fn within(self, traceparent: &str) -> Self {
        let span = read(traceparent).map_or_else(|| self.span.clone(), |context| context.parent);
        Self { span, parent: Some(self.span), ..self }
    }
}

impl Event {
    /// The `traceparent` that the event came with; where it came with none that is valid, one made from its key and
    /// its receipt, the same at every look.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.context().to_string()
    }

    /// The id of the trace that the event is in.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.context().trace
    }

    /// The span of the event's receipt: the sender's is its parent, the calls that are made for the event are its
    /// children.
    #[must_use]
    pub fn receipt(&self) -> Place {
        let span = self.receipt_id();
        match self.senders() {
            Some(Context { trace, parent, sampled }) => Place { trace, span, parent: Some(parent), sampled },
            None => Place { trace: self.own_trace(), span, parent: None, sampled: true },
        }
    }

    /// The same trace with another parent, made from `span`: for a call that is made for the event.
    #[must_use]
    pub fn traceparent_of(&self, span: &str) -> String {
        let parent = id(&Sha256::digest(span)[..8]);
        Context { parent, ..self.context() }.to_string()
    }

    fn context(&self) -> Context {
        self.senders().unwrap_or_else(|| Context {
            trace: self.own_trace(),
            parent: self.receipt_id(),
            // It may not be recorded here, but whoever receives it may want to.
            sampled: true,
        })
    }

    fn senders(&self) -> Option<Context> {
        self.headers.get(TRACEPARENT).and_then(|header| read(header))
    }

    fn own_trace(&self) -> String {
        id(&Sha256::digest(self.key())[..16])
    }

    /// Made from what an event keeps on its whole way, over any restart; a repetition of it is another receipt.
    fn receipt_id(&self) -> String {
        let received = format!("{}\n{}\n{}", self.id, self.received.clock, self.received.process);
        id(&Sha256::digest(received)[..8])
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
    fn calls_are_within_the_receipt_and_that_within_the_senders_span() {
        let event = event(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let receipt = event.receipt();
        assert_eq!(receipt.trace, event.trace_id());
        assert_eq!((receipt.parent.as_deref(), receipt.sampled), (Some("b7ad6b7169203331"), true));
        let call = event.traceparent_of("attempt 1");
        let place = receipt.clone().within(&call);
        assert_eq!(place.parent, Some(receipt.span));
        assert_eq!(format!("00-{}-{}-01", place.trace, place.span), call);
    }

    #[test]
    fn without_a_senders_span_the_receipt_is_the_root() {
        let (event, again) = (event(None), event(None));
        let receipt = event.receipt();
        assert_eq!(receipt.parent, None);
        assert_eq!(event.traceparent(), format!("00-{}-{}-01", receipt.trace, receipt.span));
        let again = Event { received: crate::event::Received { process: 2, ..again.received }, ..again }.receipt();
        assert_eq!(again.trace, receipt.trace);
        assert_ne!(again.span, receipt.span, "a repetition is another receipt");
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
