//! What operators are told through a sink, as the record that the sink takes.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Call, Operation, Sink, SinkKind};
use crate::outcome::Verb;
use crate::template::escape;

/// Something that operators should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about, the same for its beginning and its end: `account/crm`.
    pub about: String,
    /// True: it is over.
    pub over: bool,
    /// Since when it is so.
    pub since: Timestamp,
    /// All of it, in words.
    pub text: String,
}

impl Notice {
    /// A notice as any other, to see whether a sink takes it.
    #[must_use]
    pub fn sample() -> Self {
        let (about, text) = ("sink/sample".to_owned(), "a sample".to_owned());
        Self { about, over: false, since: Timestamp::UNIX_EPOCH, text }
    }

    /// The call that tells it: `text`, and where the sink takes them `about`, `state` (`began` or `over`) and `since`.
    ///
    /// # Errors
    /// Why the sink cannot tell it.
    pub fn call(&self, kind: &SinkKind, sink: &dyn Sink, now: Timestamp) -> Result<Call, String> {
        if !kind.verbs.contains(&Verb::Create) {
            return Err("it creates nothing".to_owned());
        }
        let state = if self.over { "over" } else { "began" };
        let all = [
            ("text", escape(&self.text, kind.escape).into_owned()),
            ("about", self.about.clone()),
            ("state", state.to_owned()),
            ("since", self.since.to_string()),
        ];
        let taken = all.into_iter().filter(|(name, _)| *name == "text" || sink.takes(name).is_ok());
        let fields: Map<String, Value> = taken.map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        let hash = self.hash(state);
        sink.takes("text").map_err(|why| format!("`text`: {why}"))?;
        sink.prepare(&Operation {
            verb: Verb::Create,
            fields: &fields,
            remote_id: None,
            request: None,
            webhook_id: &format!("alert_{}", &hash[..32]),
            // A trace of its own: it belongs to no event.
            traceparent: &format!("00-{}-{}-00", &hash[..32], &hash[32..48]),
            now,
        })
    }

    /// The same whenever this is told again, because nobody knows whether it was heard: 64 hexadecimal digits.
    fn hash(&self, state: &str) -> String {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(format!("{}\n{state}\n{}", self.about, self.since)))
    }
}
