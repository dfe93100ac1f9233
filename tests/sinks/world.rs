//! A vendor's sandbox, a clock that stands still, and sinks built from YAML as a user writes it.

use std::time::Duration;

use dari::clock::Clock;
use dari::connectors::client::{Client, SendError};
use dari::connectors::sandbox::{self, Served};
use dari::connectors::{Answer, Ask, Call, Manifest, Operation, Request, Sink};
use dari::outcome::{Outcome, Verb};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

pub struct World {
    pub clock: Clock,
    pub client: Client,
    pub served: Served,
}

/// What became of a try at a delivery.
#[derive(Debug, PartialEq)]
pub enum Tried {
    /// `prepare` refused the record.
    Refused(String),
    /// The client got no answer.
    Unanswered(SendError),
    /// The vendor answered.
    Came(Outcome),
}

/// What is to be done.
pub struct Op {
    pub verb: Verb,
    pub fields: Value,
    pub remote_id: Option<&'static str>,
    pub request: Option<(::http::Method, String)>,
    pub webhook_id: &'static str,
}

impl Op {
    pub fn new(verb: Verb, fields: Value) -> Self {
        Self { verb, fields, remote_id: None, request: None, webhook_id: "dlv_1" }
    }

    pub fn operation<'a>(
        &'a self,
        fields: &'a Map<String, Value>,
        request: Option<&'a Request>,
        now: Timestamp,
    ) -> Operation<'a> {
        Operation {
            verb: self.verb,
            fields,
            remote_id: self.remote_id,
            request,
            webhook_id: self.webhook_id,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            now,
        }
    }

    pub fn linked(mut self, id: &'static str) -> Self {
        self.remote_id = Some(id);
        self
    }

    pub fn request(mut self, method: ::http::Method, path: &str) -> Self {
        self.request = Some((method, path.to_owned()));
        self
    }

    pub fn webhook_id(mut self, id: &'static str) -> Self {
        self.webhook_id = id;
        self
    }
}

impl World {
    pub async fn of(manifest: &Manifest) -> Self {
        let clock = Clock::manual("2026-11-21T03:04:05Z".parse().unwrap());
        let router = (manifest.sandbox.expect("a sandbox").router)(clock.clone());
        Self::serving(router, clock).await
    }

    pub async fn serving(router: axum::Router, clock: Clock) -> Self {
        let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
        Self { client: Client::new().unwrap(), clock, served }
    }

    /// A vendor's sandbox, and a sink at it.
    pub async fn with(manifest: &Manifest, accounts: &str, sink: &str) -> (Self, Box<dyn Sink>) {
        let world = Self::of(manifest).await;
        let sink = world.sink(accounts, sink);
        (world, sink)
    }

    /// Part of the vendor's own state.
    pub async fn state(&self, what: &str) -> Value {
        self.served.state().await[what].clone()
    }

    pub async fn switch(&self, switches: Value) {
        self.served.play(::http::Method::PUT, "/_sandbox/state", &switches).await;
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(SignedDuration::try_from(by).unwrap());
    }

    /// A sink named `s`, from the YAML of its `accounts` and its own. `URL` stands for the sandbox's.
    pub fn sink(&self, accounts: &str, sink: &str) -> Box<dyn Sink> {
        self.try_sink(accounts, sink).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// As [`World::sink`], or the config's faults.
    pub fn try_sink(&self, accounts: &str, sink: &str) -> Result<Box<dyn Sink>, String> {
        let yaml = format!("accounts: {accounts}\nsinks:\n  s: {sink}\n");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, yaml.replace("URL", &self.served.url)).unwrap();
        let config = dari::config::load(&file, &|_| None, &self.client, &self.clock).map_err(|e| {
            e.to_string().replace(&format!("{}/", dir.path().display()), "").replace(&self.served.url, "URL")
        })?;
        let sink = &config.sinks[0];
        Ok(config.build_sink(sink, &self.client, &self.clock).unwrap())
    }

    pub fn call(&self, sink: &dyn Sink, op: &Op) -> Result<Call, String> {
        let empty = Map::new();
        let request = op.request.as_ref().map(|(method, path)| Request { method: method.clone(), path: path.clone() });
        let fields = op.fields.as_object().unwrap_or(&empty);
        let mut call = sink.prepare(&op.operation(fields, request.as_ref(), self.clock.now()))?;
        // Faults that never answer are waited for.
        call.timeout = Duration::from_secs(3);
        Ok(call)
    }

    /// The call that asks whether an operation took effect.
    pub fn question(&self, sink: &dyn Sink, op: &Op, since: Timestamp) -> Option<Result<Call, String>> {
        let fields = op.fields.as_object().cloned().unwrap_or_default();
        sink.ask(&Ask::Doubt { operation: &op.operation(&fields, None, self.clock.now()), since })
    }

    /// What the vendor says to it.
    pub async fn asked(&self, sink: &dyn Sink, op: &Op, since: Timestamp) -> Result<Vec<String>, Outcome> {
        let call = self.question(sink, op, since).expect("it can be asked").expect("it can be asked for");
        let answer = self.client.send(&call).await.unwrap();
        let fields = op.fields.as_object().cloned().unwrap_or_default();
        let operation = op.operation(&fields, None, self.clock.now());
        sink.answered(&Ask::Doubt { operation: &operation, since }, &answer)
    }

    pub async fn send(&self, call: &Call) -> Result<Answer, SendError> {
        self.client.send(call).await
    }

    /// As the worker does: through the sink's own way of sending.
    pub async fn try_it(&self, sink: &dyn Sink, op: &Op) -> Tried {
        match self.call(sink, op) {
            Err(why) => Tried::Refused(why),
            Ok(call) => match sink.send(&self.client, &call).await {
                Err(error) => Tried::Unanswered(error),
                Ok(answer) => Tried::Came(sink.classify(&call, &answer)),
            },
        }
    }

    pub async fn outcome(&self, sink: &dyn Sink, op: &Op) -> Outcome {
        match self.try_it(sink, op).await {
            Tried::Came(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// The id that a delivery gave.
    pub async fn delivered(&self, sink: &dyn Sink, op: &Op) -> Option<String> {
        match self.outcome(sink, op).await {
            Outcome::Delivered { remote_id } => remote_id,
            other => panic!("{other:?}"),
        }
    }

    /// The same, for the operations that come after it.
    pub async fn id(&self, sink: &dyn Sink, op: &Op) -> &'static str {
        leaked(self.delivered(sink, op).await.expect("an id"))
    }
}

/// Text for as long as the tests run: so an [`Op`] needs no lifetime.
pub fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// True if the client says that the call may have taken effect.
pub fn in_doubt(tried: &Tried) -> bool {
    matches!(tried, Tried::Unanswered(SendError::NoAnswer(_)))
}
