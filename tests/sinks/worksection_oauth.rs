//! Worksection with a user's token: got by a code, renewed with a token that is replaced each time.

use std::sync::Arc;
use std::time::Duration;

use dari::connectors::client::{Client, SendError};
use dari::connectors::sandbox::Fault;
use dari::connectors::worksection::MANIFEST;
use dari::outcome::{Outcome, Verb};
use dari::store::Store;
use dari::store::sqlite::{self, SqliteStore};
use serde_json::{Value, json};

use crate::world::{Op, Tried, World};

const SINK: &str = "{ worksection: { account: ws, project: '26' } }";
const KEYS: &str = "client_id: sandbox-client, client_secret: sandbox-secret, url: 'URL'";

fn account(more: &str) -> String {
    format!("{{ ws: {{ worksection: {{ {KEYS}, {more} }} }} }}")
}

struct Kept {
    world: World,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Kept {
    async fn new() -> Self {
        let world = World::of(&MANIFEST).await;
        let dir = tempfile::tempdir().unwrap();
        let db = sqlite::open(&dir.path().join("dari.db")).unwrap();
        let mut kept = Self { store: Arc::new(SqliteStore::new(db, world.clock.clone())), world, _dir: dir };
        kept.restart();
        kept
    }

    /// A process that knows what the store has.
    fn restart(&mut self) {
        self.world.client = Client::new().unwrap().keeping_tokens(Arc::clone(&self.store));
    }

    async fn tried(&self, account: &str) -> Tried {
        let sink = self.world.sink(account, SINK);
        self.world.advance(Duration::from_secs(1));
        self.world.try_it(&*sink, &Op::new(Verb::Create, json!({ "title": "x" }))).await
    }

    async fn works(&self, account: &str) {
        let tried = self.tried(account).await;
        assert!(matches!(tried, Tried::Came(Outcome::Delivered { .. })), "{tried:?}");
    }

    /// The paths of OAuth 2.0 that were asked.
    fn renewals(&self) -> Vec<String> {
        let all = self.world.served.calls.all();
        all.iter().filter(|call| call.path.starts_with("/oauth2/")).map(|call| call.path.clone()).collect()
    }

    async fn fact(&self) -> Value {
        self.store.fact("tokens:ws").await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_token_is_got_once_kept_over_a_restart_and_renewed_when_it_ends() {
    let mut kept = Kept::new().await;
    let account = account("refresh_token: sandbox-refresh");
    kept.works(&account).await;
    kept.works(&account).await;
    assert_eq!(kept.renewals(), ["/oauth2/refresh"]);
    let call = kept.world.served.calls.all().pop().unwrap();
    assert!(call.path.starts_with("/api/oauth2?action=post_task&") && !call.path.contains("hash"), "{}", call.path);

    kept.restart();
    kept.works(&account).await;
    assert_eq!(kept.renewals().len(), 1, "the one that was kept is good for a day");
    assert_eq!(kept.fact().await["refresh_token"], "refresh-1");

    kept.world.advance(Duration::from_hours(24));
    kept.works(&account).await;
    let now = kept.fact().await;
    assert_eq!((&now["refresh_token"], &now["before"]), (&json!("refresh-2"), &json!("refresh-1")));

    // Ended before its time: it is renewed when it is refused, and the call made again.
    kept.world.served.play(::http::Method::POST, "/_sandbox/tokens/expire", &Value::Null).await;
    kept.world.switch(json!({ "rate": 1e12 })).await;
    kept.works(&account).await;
    assert_eq!(kept.renewals().len(), 3);
}

#[tokio::test]
async fn a_code_is_good_once() {
    let mut kept = Kept::new().await;
    let account = account("code: sandbox-code, redirect_uri: https://bridge.acme.kr/oauth");
    kept.works(&account).await;
    kept.world.advance(Duration::from_hours(25));
    kept.restart();
    kept.works(&account).await;
    assert_eq!(kept.renewals(), ["/oauth2/token", "/oauth2/refresh"]);
}

#[tokio::test]
async fn a_pair_that_was_renewed_is_in_the_store_before_it_is_used() {
    let kept = Kept::new().await;
    let account = account("refresh_token: sandbox-refresh");
    // The renewal works, and the call after it does not.
    let sink = kept.world.sink(&account, SINK);
    kept.world.served.faults.order(dari::connectors::sandbox::Order {
        fault: Fault::ResetBefore,
        times: 1,
        path: "/api/".to_owned(),
    });
    kept.world.advance(Duration::from_secs(1));
    let tried = kept.world.try_it(&*sink, &Op::new(Verb::Create, json!({ "title": "x" }))).await;
    assert!(matches!(tried, Tried::Unanswered(SendError::NoAnswer(_))), "{tried:?}");
    assert_eq!(kept.fact().await["refresh_token"], "refresh-1");
}

#[tokio::test]
async fn two_processes_renew_one_after_the_other() {
    let mut kept = Kept::new().await;
    let account = account("refresh_token: sandbox-refresh");
    kept.works(&account).await;
    let first = kept.world.client.clone();
    kept.restart();
    kept.works(&account).await;
    kept.world.advance(Duration::from_hours(24));
    kept.works(&account).await;
    // The first one's token is no good now: it finds the second one's in the store.
    kept.world.client = first;
    kept.world.switch(json!({ "rate": 1e12 })).await;
    kept.works(&account).await;
    assert_eq!(kept.renewals().len(), 2);
}

#[tokio::test]
async fn whoever_is_refused_is_told_what_to_do_and_nothing_was_sent() {
    let kept = Kept::new().await;
    let Tried::Unanswered(SendError::Refused(why)) = kept.tried(&account("refresh_token: old")).await else {
        panic!("refused")
    };
    insta::assert_snapshot!(why, @"no access token: worksection refused to renew it (200: invalid_request: The refresh token is invalid): make a new `code` or `refresh_token` for the account, as docs/vendors/worksection.md says");
    // A new one in the config is taken at once.
    kept.world.served.faults.next(Fault::ServerError, 1);
    let mut kept = kept;
    kept.restart();
    let passing = kept.tried(&account("refresh_token: sandbox-refresh")).await;
    assert!(matches!(passing, Tried::Unanswered(SendError::NotSent(_))), "{passing:?}");
    kept.works(&account("refresh_token: sandbox-refresh")).await;
    assert_eq!(kept.world.served.state().await["tasks"].as_array().unwrap().len(), 1);
}
