//! A stand-in for Workfront, as strict as its pages.
//!
//! It knows one API key ([`API_KEY`]), one session ([`SESSION`]), one user ([`USERNAME`], [`PASSWORD`]), one OAuth application
//! ([`CLIENT_ID`], whose key is [`PRIVATE_KEY`]) which is one credential of Adobe's too, and gives out tokens. One project
//! ([`PROJECT`]) and one user ([`USER`]) are there. Fields, filters, actions and parameters that it does not know are refused.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /_sandbox/state` | shows everything |
//! | `PUT /_sandbox/state` | sets [`Switches`]: what the pages leave open or contradict; `{ "revoke": true }` ends all tokens, `custom` adds custom fields |
//! | `POST /_sandbox/objects` | makes an object, or changes the one with its `ID`; `objCode` says of which kind |
//! | `DELETE /_sandbox/objects/{id}` | removes one |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::times;
use crate::clock::Clock;
use crate::connectors::sandbox;
use crate::connectors::sandbox::telling::Looks;

mod calls;
mod events;
mod oauth;
mod objects;
mod search;
mod subscriptions;

/// The API key.
pub const API_KEY: &str = "sandboxkey0123456789";
/// The session that never ends.
pub const SESSION: &str = "sandboxsession0123456789";
/// The user's name.
pub const USERNAME: &str = "bridge@acme.kr";
/// The user's password.
pub const PASSWORD: &str = "sandbox-password";
/// The application's Client ID.
pub const CLIENT_ID: &str = "sandbox-client";
/// The application's Client Secret.
pub const CLIENT_SECRET: &str = "sandbox-secret";
/// The Customer ID.
pub const CUSTOMER: &str = "5c7c08b20000002de5ca1ebc19edf000";
/// The user's ID.
pub const USER: &str = "4c76ed7a0000054c172b2c2d9f7f81c3";
/// The application's private key.
pub const PRIVATE_KEY: &str = include_str!("sandbox/jwt.pem");
/// The IMS organisation.
pub const ORG: &str = "1234567890ABCDEF@AdobeOrg";
/// The credential's scopes.
pub const SCOPE: &str = "openid,AdobeID,profile";
/// The project that is there.
pub const PROJECT: &str = "4c7c08b20000002de5ca1ebc19edf2d5";
/// The custom fields that there are at first.
pub const CUSTOM: [&str; 5] = ["DE:CustomText", "DE:CustomNumber", "DE:CustomCheckBoxes", "DE:Deadline", "DE:Dari"];

/// What it knows, by the keys of accounts.
pub const KNOWS: &[(&str, &str)] = &[
    ("auth.api_key", API_KEY),
    ("auth.session", SESSION),
    ("auth.login.username", USERNAME),
    ("auth.login.password", PASSWORD),
    ("auth.jwt.client_id", CLIENT_ID),
    ("auth.jwt.client_secret", CLIENT_SECRET),
    ("auth.jwt.customer_id", CUSTOMER),
    ("auth.jwt.user_id", USER),
    ("auth.jwt.private_key", PRIVATE_KEY),
    ("auth.ims.client_id", CLIENT_ID),
    ("auth.ims.client_secret", CLIENT_SECRET),
    ("auth.ims.org_id", ORG),
    ("auth.ims.scope", SCOPE),
    ("auth.ims.url", "/"),
];

/// What Workfront's pages leave open or tell in two ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "switches are")]
pub struct Switches {
    /// True if a no comes under 200; else under 401, 403, 404, 422, 429.
    errors_as_200: bool,
    /// True if a single object is not within `data`.
    unwrapped: bool,
    /// How times are spelled: `colon`, `dot` or `z`.
    dates: String,
    /// How many objects a search without `$$LIMIT` brings: 100 or 10.
    default_limit: usize,
    /// True if the organisation is on the Adobe business platform: no login, no API keys.
    platform: bool,
    /// True if JWT's access token is taken as `Authorization: Bearer` only.
    jwt_bearer: bool,
    /// How many calls may be under way at once.
    threads: usize,
    /// How long a call takes, in ms.
    takes_ms: u64,
    /// How long tokens live, in s.
    token_lives: i64,
    /// The longest URI, in bytes; there is none in the vendor's own sandboxes.
    longest_uri: usize,
    /// True if `atomic` is not known: several are made one by one, until one is refused.
    ignores_atomic: bool,
    /// True if `id=a,b` is refused when one of them is not there; else the others come.
    ids_all_or_none: bool,
    /// The most objects that a search brings, those that others refer to and all pages before included.
    most_objects: usize,
    /// Where subscribers are called, in place of the host that they named; nowhere if empty.
    deliver_to: String,
    /// True if each event comes twice, as for five minutes after a subscription's version changed.
    told_twice: bool,
    /// IDs that may not be changed.
    denied: Vec<String>,
    /// IDs that are not shown.
    hidden: Vec<String>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            errors_as_200: false,
            unwrapped: false,
            dates: "colon".to_owned(),
            default_limit: 100,
            platform: false,
            jwt_bearer: false,
            threads: 10,
            takes_ms: 0,
            token_lives: 3_600,
            longest_uri: 8_892,
            ignores_atomic: false,
            ids_all_or_none: false,
            most_objects: 50_000,
            deliver_to: String::new(),
            told_twice: false,
            denied: Vec::new(),
            hidden: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Tenant {
    switches: Switches,
    objects: Vec<Value>,
    /// The custom fields.
    custom: Vec<String>,
    /// Named actions, moves and shares: `{ object, id, action, arguments }`.
    actions: Vec<Value>,
    /// Uploaded files: `{ handle, name, bytes }`.
    files: Vec<Value>,
    subscriptions: Vec<Value>,
    /// How many tokens were given out.
    renewals: u64,
    /// The most calls that were under way at once.
    busiest: usize,
    #[serde(skip)]
    tokens: Vec<Issued>,
    #[serde(skip)]
    running: usize,
    #[serde(skip)]
    made: u64,
    #[serde(skip)]
    searches: u64,
    #[serde(skip)]
    looks: Looks,
    #[serde(skip)]
    clock: Clock,
}

/// A token that was given out.
struct Issued {
    token: String,
    until: Timestamp,
    /// True if it goes into `Authorization: Bearer`.
    bearer: bool,
}

type Shared = Arc<Mutex<Tenant>>;

/// A fresh one.
pub fn router(clock: Clock) -> Router {
    let shared = Arc::new(Mutex::new(Tenant::new(clock)));
    Router::new()
        .route("/attask/api/{version}/{*path}", any(calls::api))
        .nest("/attask/eventsubscription/api/v1/subscriptions", subscriptions::router())
        .route("/integrations/oauth2/api/v1/jwt/exchange", post(oauth::jwt))
        .route("/ims/token/v3", post(oauth::ims))
        .route("/_sandbox/objects", post(play))
        .route("/_sandbox/objects/{id}", delete(remove))
        .route("/_sandbox/state", get(state).put(switch))
        .fallback(async || (StatusCode::NOT_FOUND, "<html>Not Found</html>"))
        .layer(from_fn_with_state(Arc::clone(&shared), events::tell))
        .with_state(shared)
}

/// A no, in the vendor's words.
struct No(StatusCode, &'static str, String);

type Reply = Result<Value, No>;

impl No {
    fn response(self, as_200: bool) -> Response {
        let Self(status, class, message) = self;
        let body = Json(json!({ "error": { "class": class, "message": message } }));
        (if as_200 { StatusCode::OK } else { status }, body).into_response()
    }
}

fn wrong(message: impl Into<String>) -> No {
    No(StatusCode::UNPROCESSABLE_ENTITY, "java.lang.IllegalArgumentException", message.into())
}

fn unknown_credentials(message: &str) -> No {
    No(StatusCode::UNAUTHORIZED, "com.attask.common.AuthenticationException", message.to_owned())
}

fn lock(shared: &Shared) -> MutexGuard<'_, Tenant> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tenant {
    fn new(clock: Clock) -> Self {
        let mut tenant = Self {
            switches: Switches::default(),
            objects: Vec::new(),
            custom: CUSTOM.map(str::to_owned).to_vec(),
            actions: Vec::new(),
            files: Vec::new(),
            subscriptions: Vec::new(),
            renewals: 0,
            busiest: 0,
            tokens: Vec::new(),
            running: 0,
            made: 0,
            searches: 0,
            looks: Looks::default(),
            clock,
        };
        let then = "2020-01-01T00:00:00.000Z";
        let fresh = |code: &str, id: &str, name: &str| json!({ "ID": id, "objCode": code, "name": name, "status": "CUR", "entryDate": then, "lastUpdateDate": then });
        tenant.objects = vec![fresh("PROJ", PROJECT, "새 프로젝트"), fresh("USER", USER, "Bridge")];
        tenant
    }

    /// An ID as the vendor gives it: 32 hexadecimal digits.
    fn id(&mut self) -> String {
        self.made += 1;
        format!("53ff8d3d003b438b57a8a784{:08x}", self.made)
    }

    fn now(&self) -> Value {
        Value::from(times::asked(self.clock.now()))
    }

    fn token(&mut self, bearer: bool) -> (String, i64) {
        self.renewals += 1;
        let (token, lives) = (format!("sandbox-token-{}", self.renewals), self.switches.token_lives);
        let until = self.clock.now().saturating_add(jiff::SignedDuration::from_secs(lives));
        self.tokens.push(Issued { token: token.clone(), until: until.unwrap_or(Timestamp::MAX), bearer });
        (token, lives)
    }

    /// Whether a token was given out, and is still good.
    fn is_good(&self, token: &str, bearer: bool) -> bool {
        let now = self.clock.now();
        self.tokens.iter().any(|known| known.token == token && known.bearer == bearer && known.until > now)
    }
}

// === Playing the others ===

async fn state(State(shared): State<Shared>) -> Json<Value> {
    Json(serde_json::to_value(&*lock(&shared)).unwrap_or_default())
}

/// Sets switches; what is none of them is passed over, for sinks tell of themselves here too.
async fn switch(State(shared): State<Shared>, Json(wanted): Json<Value>) -> Response {
    let mut tenant = lock(&shared);
    if wanted["revoke"] == true {
        tenant.tokens.clear();
    }
    // Of a sink's keys too: its own custom fields are there.
    for name in ["custom", "reference", "dates"].iter().flat_map(|key| texts(&wanted[*key])) {
        if name.starts_with("DE:") && !tenant.custom.contains(&name) {
            tenant.custom.push(name);
        }
    }
    match sandbox::changed(&tenant.switches, &wanted) {
        Ok(switches) => {
            tenant.switches = switches;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

/// Text, or a list of texts.
fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

async fn play(State(shared): State<Shared>, Json(given): Json<Map<String, Value>>) -> Json<Value> {
    let mut tenant = lock(&shared);
    let id = given.get("ID").and_then(Value::as_str).map_or_else(|| tenant.id(), str::to_owned);
    let now = tenant.now();
    let mut given = given;
    given.insert("ID".to_owned(), Value::from(id.clone()));
    given.entry("lastUpdateDate").or_insert_with(|| now.clone());
    if let Some(known) = tenant.objects.iter_mut().find(|object| object["ID"] == id.as_str()) {
        known.as_object_mut().into_iter().for_each(|known| known.extend(given.clone()));
    } else {
        given.entry("entryDate").or_insert(now);
        tenant.objects.push(Value::Object(given));
    }
    Json(json!({ "ID": id }))
}

async fn remove(State(shared): State<Shared>, Path(id): Path<String>) -> StatusCode {
    let mut tenant = lock(&shared);
    let before = tenant.objects.len();
    tenant.objects.retain(|object| object["ID"] != id.as_str());
    if tenant.objects.len() < before { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
