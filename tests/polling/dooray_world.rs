//! What happens in Dooray.

use std::ops::Deref;

use dari::connectors::Poller;
use dari::connectors::dooray::MANIFEST;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::vendor::Vendor;

const ACCOUNT: &str = "{ dooray: { dooray: { token: sandbox-token, url: 'URL' } } }";

pub struct Dooray(Vendor);

impl Deref for Dooray {
    type Target = Vendor;

    fn deref(&self) -> &Vendor {
        &self.0
    }
}

impl Dooray {
    pub async fn new() -> Self {
        Self(Vendor::of(&MANIFEST).await)
    }

    pub fn poller(&self, source: &str) -> Box<dyn Poller> {
        self.0.poller(ACCOUNT, source)
    }

    /// Makes an event, or changes the one with that id.
    pub async fn event(&self, event: Value) -> String {
        self.make("events", event).await
    }

    /// An event of an hour.
    pub async fn meeting(&self, id: &str, start: &str) -> String {
        let at: jiff::Timestamp = start.parse().unwrap();
        let end = (at + SignedDuration::from_hours(1)).to_string();
        self.event(json!({"id": id, "subject": format!("회의 {id}"), "startedAt": start, "endedAt": end})).await
    }

    pub async fn task(&self, task: Value) -> String {
        self.make("tasks", task).await
    }

    pub async fn comment(&self, comment: Value) -> String {
        self.make("comments", comment).await
    }

    /// The paths that were asked for since the last time, without their queries.
    pub fn asked(&self, since: usize) -> Vec<String> {
        self.0.asked(since).iter().map(|path| path.split('?').next().unwrap().to_owned()).collect()
    }

    pub fn calls(&self) -> usize {
        self.served.calls.all().len()
    }
}
