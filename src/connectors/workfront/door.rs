//! Where an account's calls go, and what they show.
//!
//! All parameters are in a POST's body, with `method` in place of the HTTP method (the vendor's "method override"): through
//! the vendor's CDN a URI may have 8,892 bytes at most, and what is in a URI ends up in logs.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::account::{AUTH, IMS, JWT, LOGIN};
use super::auth::{How, Renewal, SESSION};
use super::jwt::Key;
use crate::connectors::call::{base, below, secret_header};
use crate::connectors::client::Addresses;
use crate::connectors::tokens::Tokens;
use crate::connectors::{Build, Call};
use crate::outcome::Verb;
use crate::settings::{Fault, Settings};

/// Parameters of a call, in order.
pub(super) type Parameters = Vec<(String, String)>;

/// Where tokens of Adobe's come from.
const IMS_URL: &str = "https://ims-na1.adobelogin.com";

/// Where an account's calls go.
#[derive(Clone)]
pub(super) struct Door {
    base: Url,
    version: String,
    auth: Auth,
    addresses: Addresses,
}

/// How a call proves who it is from.
#[derive(Clone)]
enum Auth {
    /// In the body.
    Key(SecretString),
    /// In a header that stays.
    Session(HeaderValue),
    /// In a header that is renewed; and others beside it.
    Tokens(Arc<Tokens>, Vec<(HeaderName, HeaderValue)>),
}

impl Door {
    /// The account's of a build.
    ///
    /// # Errors
    /// What is wrong with the account.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, Vec<Fault>> {
        Self::read(build).map_err(|why| vec![Fault::new(build.settings.spot("account"), why)])
    }

    fn read(build: &Build<'_>) -> Result<Self, String> {
        let account = build.account.ok_or("needs an account")?;
        let (url, addresses) = match account.url {
            "" => (format!("https://{}", account.settings.text("host").unwrap_or_default()), Addresses::Public),
            url => (url.to_owned(), Addresses::Any),
        };
        let base = base(&url)?;
        let version = account.settings.text("version").unwrap_or("v15.0").to_owned();
        let auth = account.settings.object("auth", AUTH).ok_or("the account has no `auth`")?;
        let auth = if let Some(key) = auth.secret("api_key") {
            Auth::Key(key)
        } else if let Some(session) = auth.text("session") {
            Auth::Session(secret_header(session).ok_or("the account's session holds characters that no header takes")?)
        } else {
            let place = Place { own: !account.url.is_empty(), base: &base, version: &version };
            let (how, url, headers) = renewal(&auth, place)?;
            let renewal = || {
                let (client, clock) = (build.client.bare(), build.clock.clone());
                Box::new(Renewal { client, clock, url, addresses, how }) as _
            };
            Auth::Tokens(build.client.tokens().of(account.name, &build.clock, renewal), headers)
        };
        Ok(Self { base, version, auth, addresses })
    }

    /// A call of the API with its parameters in the body.
    pub(super) fn call(&self, method: &Method, path: &[&str], mut parameters: Parameters) -> Call {
        let mut call = self.bare(path);
        let shown = parameters.iter().map(|(name, value)| (name.clone(), shown(name, value)));
        let body = Value::Object(shown.collect());
        call.shown["method"] = Value::from(method.as_str());
        call = call.shown_body(body);
        if method != Method::POST {
            parameters.push(("method".to_owned(), method.to_string()));
        }
        if let Auth::Key(key) = &self.auth {
            parameters.push(("apiKey".to_owned(), key.expose_secret().to_owned()));
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        call.body = Bytes::from(form.finish());
        call.header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8"))
            .idempotent(method == Method::GET)
    }

    /// The call that uploads a file. It makes no document, only a handle of one to be.
    pub(super) fn upload(&self, name: &str, content: &[u8]) -> Call {
        let mut call = self.bare(&["upload"]).shown_body(Value::from(format!("{name}, {} bytes", content.len())));
        // A boundary that is a hash of the content is not in the content.
        let boundary = format!("dari-{}", hex::encode(&Sha256::digest(content)[..16]));
        let mut body = Vec::with_capacity(content.len() + 512);
        if let Auth::Key(key) = &self.auth {
            let part = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"apiKey\"\r\n\r\n{}\r\n",
                key.expose_secret()
            );
            body.extend_from_slice(part.as_bytes());
        }
        let name = name.replace(['"', '\r', '\n', '\\'], "_");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"uploadedFile\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        call.body = Bytes::from(body);
        let media = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
        call.header(CONTENT_TYPE, media.unwrap_or(HeaderValue::from_static("multipart/form-data"))).idempotent(true)
    }

    /// A call of the event subscriptions, which take JSON and no parameters for who one is.
    pub(super) fn subscriptions(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Call {
        let mut url =
            below(&self.base, [&["attask", "eventsubscription", "api", "v1", "subscriptions"], path].concat());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let call = self.proven(Call::new(method, url));
        match &self.auth {
            // Source: the page's older form, "Authorization: <apiKey>".
            Auth::Key(key) => match secret_header(key.expose_secret()) {
                Some(key) => call.header(AUTHORIZATION, key),
                None => call,
            },
            _ => call,
        }
    }

    fn bare(&self, path: &[&str]) -> Call {
        let url = below(&self.base, [&["attask", "api", self.version.as_str()], path].concat());
        self.proven(Call::new(Method::POST, url))
    }

    fn proven(&self, call: Call) -> Call {
        let call = call.header(ACCEPT, HeaderValue::from_static("application/json")).addresses(self.addresses);
        match &self.auth {
            Auth::Key(_) => call,
            Auth::Session(session) => call.header(SESSION, session.clone()),
            Auth::Tokens(tokens, headers) => {
                let call = headers.iter().fold(call, |call, (name, value)| call.header(name.clone(), value.clone()));
                call.tokens(Arc::clone(tokens))
            }
        }
    }
}

/// Where an account is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// True if the account says so itself, and is not at the vendor's.
    own: bool,
    base: &'a Url,
    version: &'a str,
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// How tokens are asked for, where, and what goes beside them.
fn renewal(auth: &Settings<'_>, place: Place<'_>) -> Result<(How, Url, Headers), String> {
    let text = |settings: &Settings<'_>, key| settings.text(key).unwrap_or_default().to_owned();
    if let Some(login) = auth.object("login", LOGIN) {
        let how =
            How::Login { username: text(&login, "username"), password: login.secret("password").unwrap_or_default() };
        return Ok((how, below(place.base, ["attask", "api", place.version, "login"]), Vec::new()));
    }
    if let Some(jwt) = auth.object("jwt", JWT) {
        let how = How::Jwt {
            client_id: text(&jwt, "client_id"),
            secret: jwt.secret("client_secret").unwrap_or_default(),
            customer: text(&jwt, "customer_id"),
            user: text(&jwt, "user_id"),
            key: Box::new(Key::read(jwt.text("private_key").unwrap_or_default())?),
            bearer: jwt.text("header") == Some("bearer"),
        };
        let path = ["integrations", "oauth2", "api", "v1", "jwt", "exchange"];
        return Ok((how, below(place.base, path), Vec::new()));
    }
    let ims = auth.object("ims", IMS).ok_or("the account has no `auth`")?;
    let header = |name, key| {
        let value = HeaderValue::from_str(ims.text(key).unwrap_or_default());
        value.map(|value| (HeaderName::from_static(name), value)).map_err(|_| format!("`{key}` fits no header"))
    };
    let headers = vec![header("x-gw-ims-org-id", "org_id")?, header("x-api-key", "client_id")?];
    let base = match ims.text("url") {
        Some(url) => Url::parse(url).map_err(|why| format!("`url`: {why}"))?,
        // Where the account leads elsewhere (a sandbox, a proxy), its secret must not go to Adobe all the same.
        None if place.own => place.base.clone(),
        None => Url::parse(IMS_URL).map_err(|why| why.to_string())?,
    };
    let how = How::Ims {
        client_id: text(&ims, "client_id"),
        secret: ims.secret("client_secret").unwrap_or_default(),
        scope: text(&ims, "scope"),
    };
    Ok((how, below(&base, ["ims", "token", "v3"]), headers))
}

/// What people see of a parameter: JSON as JSON.
fn shown(name: &str, value: &str) -> Value {
    match name {
        "updates" | "filters" => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        _ => Value::from(value),
    }
}

/// JSON as a parameter. Source: the vendor's page on escaped characters: `/` is `\/` and `<` is `\u003c` there.
pub(super) fn json(value: &Value) -> String {
    // Both are within texts only: JSON has neither outside of them.
    value.to_string().replace('/', "\\/").replace('<', "\\u003c")
}

/// A parameter's value: text as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => json(other),
    }
}

/// Parameters of names and values.
pub(super) fn parameters<const N: usize>(pairs: [(&str, String); N]) -> Parameters {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a call does, for the reading of its answer.
pub(super) fn part(verb: Verb) -> Value {
    Value::Object(Map::from_iter([("verb".to_owned(), Value::from(verb.name()))]))
}
