//! What happens in Worksection.

use std::ops::Deref;

use dari::connectors::worksection::MANIFEST;
use dari::connectors::{Page, Poller};
use serde_json::{Value, json};

use crate::vendor::{Vendor, told};

const ACCOUNT: &str =
    "{ ws: { worksection: { admin_key: 7776461cd931e7b1c8e9632ff8e979ce, url: 'URL', time_zone: Europe/Kyiv } } }";

pub struct Worksection(Vendor);

impl Deref for Worksection {
    type Target = Vendor;

    fn deref(&self) -> &Vendor {
        &self.0
    }
}

impl Worksection {
    /// Two o'clock in Kyiv. One request a second is for the account's permits to keep, which are not here.
    pub async fn new() -> Self {
        let world = Self::strict().await;
        world.switch(json!({ "rate": 1e12 })).await;
        world
    }

    /// As the vendor is.
    pub async fn strict() -> Self {
        Self(Vendor::of(&MANIFEST).await)
    }

    /// A source of the account `ws` with these keys besides.
    pub fn poller(&self, keys: &str) -> Box<dyn Poller> {
        self.0.poller(ACCOUNT, &format!("{{ worksection: {{ account: ws, {keys} }} }}"))
    }

    pub fn try_poller(&self, source: &str) -> Result<Box<dyn Poller>, String> {
        self.0.try_poller(ACCOUNT, source)
    }

    pub async fn task(&self, task: Value) {
        self.make("tasks", task).await;
    }

    /// The actions that were asked for since the last time.
    pub fn asked(&self, since: usize) -> Vec<String> {
        let action = |path: &String| path.split_once("action=").unwrap().1.split('&').next().unwrap().to_owned();
        self.0.asked(since).iter().map(action).collect()
    }

    pub async fn told(&self, poller: &dyn Poller) -> Vec<String> {
        told(&self.turn(poller).await.events)
    }
}

pub fn ids(page: &Page) -> Vec<String> {
    page.events.iter().map(|event| event.id.clone().unwrap()).collect()
}
