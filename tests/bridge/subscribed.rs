//! `dari hooks`: our URL at the vendors, subscribed once, its secret never shown.

use std::sync::Mutex;

use async_trait::async_trait;
use dari::connectors::{
    Build, Built, EventDoc, Hook, HookRequest, Manifest, PollError, Reading, Refusal, Registered, Registrar,
    SourceKind, SourceRole, dooray,
};
use dari::settings::Fault;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use crate::binary::{done, folder};
use crate::bridge::World;
use crate::fetch::vendor;

const SECRET: &str = "0123456789abcdef";

/// What is subscribed at a vendor that can be asked.
static THERE: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

struct Told(SecretString);

impl Hook for Told {
    fn verify(&self, _: &HookRequest<'_>, _: Timestamp) -> Result<(), Refusal> {
        Ok(())
    }

    fn read(&self, _: &HookRequest<'_>) -> Result<Reading, Refusal> {
        Ok(Reading::Events(Vec::new()))
    }

    fn path_secret(&self) -> Option<&SecretString> {
        Some(&self.0)
    }
}

struct Vendor;

#[async_trait]
impl Registrar for Vendor {
    async fn list(&self) -> Result<Vec<Registered>, PollError> {
        Ok(THERE.lock().unwrap().clone())
    }

    async fn register(&self, url: &Url) -> Result<Vec<Registered>, PollError> {
        let mut there = THERE.lock().unwrap();
        let made = Registered { id: there.len().to_string(), url: url.to_string(), about: "all".into(), active: true };
        there.push(made.clone());
        Ok(vec![made])
    }

    async fn remove(&self, id: &str) -> Result<bool, PollError> {
        let mut there = THERE.lock().unwrap();
        let before = there.len();
        there.retain(|hook| hook.id != id);
        Ok(there.len() < before)
    }
}

static TOLD: Manifest = Manifest {
    name: "told",
    title: "Told",
    about: "Tells.",
    account: None,
    sources: &[SourceKind {
        name: "told-hook",
        fields: &[],
        events: &[EventDoc { kind: "told", about: "Told.", sample: "{}" }],
        build: |_: &Build<'_>| -> Result<SourceRole, Vec<Fault>> {
            Ok(SourceRole::Hook(Box::new(Told(SECRET.into()))))
        },
        registrar: Some(|_: &Build<'_>| -> Built<Box<dyn Registrar>> { Ok(Box::new(Vendor)) }),
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[],
};

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_subscribed_once_and_ended() {
    let other = Registered { id: "9".into(), url: "https://other.acme.kr/".into(), about: "all".into(), active: true };
    THERE.lock().unwrap().push(other.clone());
    let world = World::whole(
        "listen: { hooks: \"127.0.0.1:0\", public: \"https://bridge.acme.kr/dari/\" }\nstore: { url: \"sqlite://dari.db\" }\nmin_free: 1KiB\nsources: { tasks: { told-hook: {} } }\n",
    );
    let bridge = world.start_with(&[&TOLD]).await;
    let op = bridge.operator();
    let made = op.subscribe("tasks", false).await.unwrap();
    assert_eq!((made.url.as_str(), made.made), ("https://bridge.acme.kr/dari/hooks/tasks/***", true));
    assert_eq!(THERE.lock().unwrap()[1].url, format!("https://bridge.acme.kr/dari/hooks/tasks/{SECRET}"));
    let again = op.subscribe("tasks", false).await.unwrap();
    assert_eq!((again.made, again.hooks.len(), again.note), (false, 1, None));
    THERE.lock().unwrap()[1].active = false;
    let off = op.subscribe("tasks", false).await.unwrap();
    assert!(!off.made && off.note.unwrap().contains("switched it off"));
    let listed = op.subscriptions("tasks").await.unwrap();
    assert!(listed[0] == other && !format!("{listed:?}").contains(SECRET), "{listed:?}");
    op.unsubscribe("tasks", None).await.unwrap();
    assert_eq!(*THERE.lock().unwrap(), [other]);
    let none = op.unsubscribe("tasks", None).await.unwrap_err().to_string();
    assert_eq!(none, "there is no subscription for \"tasks\"; `dari hooks list` shows what there is");
    assert_eq!(op.unsubscribe("tasks", Some("9")).await.unwrap().done, "no longer subscribed: 9");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_cannot_be_asked_is_not_told_twice_either() {
    let vendor = vendor(&[]).await;
    let yaml = |public: &str| {
        format!(
            r#"
listen: {{ hooks: "127.0.0.1:0"{public} }}
accounts: {{ dooray: {{ dooray: {{ token: {}, url: "{}" }} }} }}
sources:
  tasks: {{ dooray-hook: {{ account: dooray, project: "7", secrets: ["{SECRET}"] }} }}
  git: {{ github-hook: {{ secrets: [hush] }} }}
"#,
            dooray::sandbox::TOKEN,
            vendor.url
        )
    };
    let dir = folder(&yaml(""));
    let (code, text) = done(dir.path(), &["hooks", "register", "tasks"]).await;
    assert!(code == 1 && text.contains("error: the config does not say under which URL"), "{text}");
    std::fs::write(dir.path().join("dari.yaml"), yaml(", public: \"https://bridge.acme.kr\"")).unwrap();
    let (code, text) = done(dir.path(), &["hooks", "register", "tasks"]).await;
    assert!(code == 0 && text.contains("https://bridge.acme.kr/hooks/tasks/***: subscribed\n"), "{text}");
    assert_eq!(vendor.state().await["hooks"][0]["url"], format!("https://bridge.acme.kr/hooks/tasks/{SECRET}"));
    let (code, text) = done(dir.path(), &["hooks", "register", "tasks", "--json"]).await;
    assert!(code == 0 && !text.contains(SECRET), "{text}");
    let json: Value = serde_json::from_str(&text[text.find("\n{").map_or(0, |at| at + 1)..]).unwrap();
    assert_eq!((&json["made"], json["note"].as_str().unwrap().contains("--again")), (&json!(false), true));
    assert_eq!(vendor.state().await["hooks"].as_array().unwrap().len(), 1);
    let (code, _) = done(dir.path(), &["hooks", "register", "tasks", "--again"]).await;
    assert_eq!((code, vendor.state().await["hooks"].as_array().unwrap().len()), (0, 2));
    let (code, text) = done(dir.path(), &["hooks", "list", "tasks"]).await;
    assert!(code == 1 && text.contains("Dooray has no call that lists hooks"), "{text}");
    let (code, text) = done(dir.path(), &["hooks", "register", "git"]).await;
    assert!(code == 1 && text.contains("github-hook cannot be subscribed by a call"), "{text}");
    let (code, text) = done(dir.path(), &["hooks", "list", "tassks"]).await;
    assert!(code == 1 && text.contains("did you mean \"tasks\"?"), "{text}");
}
