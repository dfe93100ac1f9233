//! The vendor of a history: it keeps records, does what it is told, and tells or does not tell that it did.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dari::connectors::client::{Client, SendError};
use dari::connectors::{
    AccountKind, Answer, Ask, Build, Built, Call, Limits, Manifest, OnDoubt, Operation, Sink, SinkKind,
};
use dari::outcome::{Outcome, Scope, Verb};
use dari::settings::{Field, Kind, Need};
use dari::template::Escape;
use http::{HeaderMap, Method, StatusCode};
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use url::Url;

use crate::knobs::Nature;
use crate::world::{Delivery, Process, World, lock};

/// The connector, as the config knows it.
pub static MANIFEST: Manifest = Manifest {
    name: "model",
    title: "Model",
    about: "A vendor in memory.",
    account: Some(AccountKind {
        fields: &[],
        check: |_| Vec::new(),
        url: None,
        limits: Limits { rate: None, concurrency: None, monthly: None },
        zone: None,
    }),
    sources: &[],
    sinks: &[KIND],
    lookup: None,
    sandbox: None,
    start: &[],
};

/// Its sink: it can do everything.
pub const KIND: SinkKind = SinkKind {
    name: "model",
    fields: &[Field { name: "account", kind: Kind::Account("model"), need: Need::Required, doc: "The account" }],
    verbs: &[Verb::Create, Verb::Update, Verb::Delete, Verb::Comment],
    escape: Escape::None,
    takes_request: false,
    advice: "",
    build: nobody,
};

/// The sink that the config is checked with; it is never called.
#[expect(clippy::unnecessary_wraps, reason = "a sink kind's signature")]
fn nobody(_: &Build<'_>) -> Built<Box<dyn Sink>> {
    Ok(Box::new(Model { process: None, account: String::new(), nature: Nature::Held }))
}

/// What can go wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection.
    NotSent,
    /// It is lost on the way there.
    LostBefore,
    /// It is done, and the answer is lost on the way back.
    LostAfter,
    /// The vendor fails and does nothing.
    Fails,
    /// 429.
    Busy,
    /// 401: the whole account.
    Refuses,
    /// It is slow.
    Slow,
}

pub const TROUBLES: [Trouble; 7] = [
    Trouble::NotSent,
    Trouble::LostBefore,
    Trouble::LostAfter,
    Trouble::Fails,
    Trouble::Busy,
    Trouble::Refuses,
    Trouble::Slow,
];

/// All that the vendor knows.
#[derive(Default)]
pub struct Vendor(Mutex<Books>);

#[derive(Default)]
pub struct Books {
    pub records: BTreeMap<String, Record>,
    /// What took effect, in order.
    pub acts: Vec<Act>,
    /// What it was told and could not do: a route that knows its records never asks for it.
    pub impossible: Vec<(Delivery, String)>,
    /// The records that a known call made.
    known: HashMap<String, String>,
    /// Calls under way, by account.
    inside: HashMap<String, u32>,
    /// Deliveries' subjects under way, by route.
    busy: HashMap<(String, String), u32>,
    /// Calls that arrived, by account and month.
    pub calls: BTreeMap<(String, String), u64>,
    /// Those of them that came while the month's calls were limited.
    pub limited: BTreeMap<(String, String), u64>,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub route: String,
    pub subject: String,
    /// What is in it.
    pub content: String,
    pub there: bool,
}

#[derive(Clone, Debug)]
pub struct Act {
    pub verb: Verb,
    pub delivery: Delivery,
    pub webhook_id: String,
    pub record: String,
}

impl Vendor {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.0)
    }
}

impl Books {
    /// Does what a call says: the id of its record, or why it cannot be done.
    fn act(&mut self, verb: Verb, part: &Part, whose: Delivery, nature: Nature) -> Result<String, String> {
        if nature == Nature::Idempotent
            && let Some(known) = self.known.get(&part.id)
        {
            return Ok(known.clone());
        }
        let id = match (verb, part.record.as_deref()) {
            (Verb::Create, _) => {
                let id = format!("r{}", self.records.len());
                let (route, subject) = (whose.route.clone(), whose.subject.clone());
                self.records.insert(id.clone(), Record { route, subject, content: part.content.clone(), there: true });
                id
            }
            (_, None) => return Err(format!("{} of nothing", verb.name())),
            (verb, Some(id)) => {
                let record = self.records.get_mut(id).ok_or_else(|| format!("{id} was never there"))?;
                match verb {
                    Verb::Delete => record.there = false,
                    _ if !record.there => return Err(format!("{id} was deleted")),
                    Verb::Update => record.content.clone_from(&part.content),
                    _ => {}
                }
                id.to_owned()
            }
        };
        self.known.insert(part.id.clone(), id.clone());
        self.acts.push(Act { verb, delivery: whose, webhook_id: part.id.clone(), record: id.clone() });
        Ok(id)
    }

    /// The record of a delivery that took effect.
    pub fn effect_of(&self, webhook_id: &str) -> Option<String> {
        self.acts.iter().find(|act| act.webhook_id == webhook_id).map(|act| act.record.clone())
    }
}

/// The vendor as a process's sink calls it.
pub struct Model {
    pub process: Option<Arc<Process>>,
    pub account: String,
    pub nature: Nature,
}

/// A call on its way: while it lives it takes a place at the vendor.
struct Visit<'a> {
    world: &'a World,
    account: &'a str,
    whose: Vec<(String, String)>,
}

impl<'a> Visit<'a> {
    fn enter(world: &'a World, account: &'a str, whose: &[Delivery]) -> Self {
        let month = world.clock.now().strftime("%Y-%m").to_string();
        let mut books = world.vendor.books();
        if !world.is_calm() {
            *books.limited.entry((account.to_owned(), month.clone())).or_default() += 1;
        }
        *books.calls.entry((account.to_owned(), month)).or_default() += 1;
        let inside = books.inside.entry(account.to_owned()).or_default();
        *inside += 1;
        if *inside > world.knobs.concurrency {
            let why = format!("{inside} calls at once at {account}, {} allowed", world.knobs.concurrency);
            world.wrong(why);
        }
        let whose: Vec<_> = whose.iter().map(|d| (d.route.clone(), d.subject.clone())).collect();
        for whose in &whose {
            let busy = books.busy.entry(whose.clone()).or_default();
            *busy += 1;
            if *busy > 1 {
                world.wrong(format!("two calls of one subject at once: {whose:?}"));
            }
        }
        Self { world, account, whose }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut books = self.world.vendor.books();
        *books.inside.entry(self.account.to_owned()).or_default() -= 1;
        for whose in self.whose.drain(..) {
            *books.busy.entry(whose).or_default() -= 1;
        }
    }
}

impl Model {
    fn process(&self) -> &Arc<Process> {
        self.process.as_ref().expect("only a sink of a process is called")
    }

    fn trouble(&self) -> Option<Trouble> {
        let world = &self.process().world;
        if world.is_calm() || !world.happens(world.knobs.trouble, 1_000) {
            return None;
        }
        let kinds: Vec<_> = TROUBLES
            .iter()
            .enumerate()
            .filter(|(n, _)| world.knobs.troubles & (1 << n) != 0)
            .map(|(_, t)| *t)
            .collect();
        world.random(|dice| kinds.choose(dice).copied())
    }

    async fn answer(&self, call: &Call) -> Result<Answer, SendError> {
        let world = &self.process().world;
        let parts = parts(call);
        let whose: Vec<_> = parts.iter().filter(|part| part.verb.is_some()).map(|p| world.delivery(&p.id)).collect();
        let trouble = self.trouble();
        if trouble == Some(Trouble::NotSent) {
            return Err(SendError::NotSent("no connection".into()));
        }
        // A question does not stand in line with what is done.
        let _visit = Visit::enter(world, &self.account, &whose);
        world.sleep(1, 50).await;
        if trouble == Some(Trouble::Slow) {
            world.sleep(1_000, 40_000).await;
        }
        let said = match trouble {
            Some(Trouble::LostBefore) => Err(SendError::NoAnswer("lost on the way".into())),
            Some(Trouble::Fails) => answer(500, &json!({})),
            Some(Trouble::Busy) => answer(429, &json!({})),
            Some(Trouble::Refuses) => answer(401, &json!({})),
            // It looks at all before it does any.
            _ if parts.len() > 1 && world.happens(1, 3) && whose.iter().any(|d| is_bad(&d.event)) => {
                answer(400, &json!({}))
            }
            trouble => {
                let said = match parts.as_slice() {
                    [part] => self.act(part),
                    parts => {
                        let each = parts.iter().map(|part| self.act(part)).map(|said| {
                            let said = said.expect("it answers");
                            json!([said.status.as_u16(), said.json().unwrap_or_default()])
                        });
                        answer(200, &Value::Array(each.collect()))
                    }
                };
                if trouble == Some(Trouble::LostAfter) {
                    Err(SendError::NoAnswer("lost on the way back".into()))
                } else {
                    said
                }
            }
        };
        world.sleep(1, 50).await;
        let came = match &said {
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        let what: Vec<_> = parts.iter().map(|part| part.said(world)).collect();
        world.log(format!("{}: {} → {trouble:?} {came}", self.process().name, what.join(" and ")));
        said
    }

    fn act(&self, part: &Part) -> Result<Answer, SendError> {
        let world = &self.process().world;
        if part.id == PROBE {
            return answer(200, &json!({}));
        }
        let whose = world.delivery(&part.id);
        if part.verb.is_some() && is_bad(&whose.event) {
            return answer(422, &json!({}));
        }
        let mut books = world.vendor.books();
        let Some(verb) = part.verb else { return answer(200, &json!({ "found": books.effect_of(&part.id) })) };
        match books.act(verb, part, whose.clone(), self.nature) {
            Ok(id) => {
                world.log(format!("the vendor did: {} {id} for {}/{}", verb.name(), whose.route, whose.event));
                answer(200, &json!({ "id": id }))
            }
            Err(why) => {
                world.log(format!("the vendor cannot do {}/{}: {why}", whose.route, whose.event));
                books.impossible.push((whose.clone(), why));
                answer(404, &json!({}))
            }
        }
    }
}

/// True if the vendor will never take an event's record.
pub fn is_bad(event: &str) -> bool {
    event.ends_with('!')
}

#[expect(clippy::unnecessary_wraps, reason = "what a client returns")]
fn answer(status: u16, body: &Value) -> Result<Answer, SendError> {
    let status = StatusCode::from_u16(status).expect("a status");
    Ok(Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) })
}

/// What stands for a delivery where none is meant.
const PROBE: &str = "probe";

/// One thing that a call is to do.
struct Part {
    /// `None`: it is a question.
    verb: Option<Verb>,
    /// The delivery's `webhook-id`.
    id: String,
    record: Option<String>,
    content: String,
}

impl Part {
    fn said(&self, world: &World) -> String {
        if self.id == PROBE {
            return "probe".to_owned();
        }
        let Delivery { route, event, .. } = world.delivery(&self.id);
        format!("{} {route}/{event}", self.verb.map_or("ask for", Verb::name))
    }
}

/// What a call is to do: one thing, or those of a batch.
fn parts(call: &Call) -> Vec<Part> {
    let read = |part: &Value| {
        let text = |name: &str| part[name].as_str().map(str::to_owned);
        let verb = serde_json::from_value(part["verb"].clone()).ok();
        let content = text("content").unwrap_or_default();
        Part { verb, id: text("id").expect("each call says its id"), record: text("record"), content }
    };
    call.part.as_array().map_or_else(|| vec![read(&call.part)], |parts| parts.iter().map(read).collect())
}

fn call(part: Value, idempotent: bool) -> Call {
    static WHERE: LazyLock<Url> = LazyLock::new(|| Url::parse("http://model/").expect("a URL"));
    let mut call = Call::new(Method::POST, WHERE.clone()).idempotent(idempotent);
    call.part = part;
    call
}

#[async_trait]
impl Sink for Model {
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let verb = operation.verb;
        let idempotent = self.nature == Nature::Idempotent || matches!(verb, Verb::Update | Verb::Delete);
        let content = operation.fields.get("c").and_then(Value::as_str).unwrap_or_default();
        let (id, record) = (operation.webhook_id, operation.remote_id);
        let part = json!({ "verb": verb, "id": id, "record": record, "content": content });
        Ok(call(part, idempotent))
    }

    fn classify(&self, _call: &Call, answer: &Answer) -> Outcome {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status.as_u16() {
            200 => Outcome::Delivered { remote_id: said["id"].as_str().map(str::to_owned) },
            429 => Outcome::Retry { after: Some(Duration::from_secs(7)), account: true, why: "busy".into() },
            401 => Outcome::Suspend { what: Scope::Account, why: "refused".into(), until: None },
            404 | 422 => Outcome::reject("cannot be"),
            _ => Outcome::retry("failed"),
        }
    }

    async fn send(&self, _client: &Client, call: &Call) -> Result<Answer, SendError> {
        self.process().point("before a call").await;
        let answer = self.answer(call).await;
        self.process().point("after a call").await;
        answer
    }

    fn probe(&self) -> Option<Call> {
        // Half of them are resumed by people alone.
        self.process().world.knobs.seed.is_multiple_of(2).then(|| call(json!({ "id": PROBE }), true))
    }

    fn batch(&self) -> usize {
        self.process().world.knobs.batch as usize
    }

    fn merge(&self, calls: &[&Call]) -> Option<Call> {
        let parts = calls.iter().map(|call| call.part.clone()).collect();
        // A deletion goes alone.
        let verbs = |verb| calls.iter().any(|call| call.part["verb"] == verb);
        (!verbs("delete")).then(|| call(Value::Array(parts), calls.iter().all(|call| call.idempotent)))
    }

    fn split(&self, _merged: &Call, calls: &[&Call], answer: &Answer) -> Option<Vec<Outcome>> {
        match answer.status.as_u16() {
            400 => None,
            200 => {
                let said: Vec<(u16, Value)> = serde_json::from_slice(&answer.body).ok()?;
                let each = said.iter().zip(calls).map(|((status, body), call)| {
                    let status = StatusCode::from_u16(*status).expect("a status");
                    let body = Bytes::from(body.to_string());
                    self.classify(call, &Answer { status, headers: HeaderMap::new(), body })
                });
                Some(each.collect())
            }
            _ => Some(calls.iter().map(|call| self.classify(call, answer)).collect()),
        }
    }

    async fn put(&self, client: &Client, question: &Call) -> Result<Answer, SendError> {
        self.send(client, question).await
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        match question {
            Ask::Doubt { operation, .. } if self.nature == Nature::Asked => {
                Some(Ok(call(json!({ "id": operation.webhook_id }), true)))
            }
            _ => None,
        }
    }

    fn answered(&self, _question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        if answer.status != StatusCode::OK {
            return Err(self.classify(&call(Value::Null, true), answer));
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(said["found"].as_str().map(str::to_owned).into_iter().collect())
    }

    fn on_doubt(&self, _verb: Verb) -> OnDoubt {
        match self.nature {
            Nature::Asked => OnDoubt::Find,
            Nature::Held => OnDoubt::Hold,
            Nature::Idempotent | Nature::Twice => OnDoubt::Retry,
        }
    }
}
