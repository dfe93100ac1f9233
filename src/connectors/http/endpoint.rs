//! Where an `http` sink is, how it is addressed, and how its answers are read: what its calls, questions and lookups
//! share.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use url::Url;

use super::target::Target;
use crate::connectors::call::{TIMEOUT, basic, secret_header};
use crate::connectors::client::Addresses;
use crate::connectors::{Answer, Call};
use crate::settings::{Fault, Node, Settings, Spot};
use crate::template::{CompileError, Context, Tables, Template};

/// A sink's address, with what every request to it bears.
pub struct Endpoint {
    /// Where requests may go.
    pub target: Target,
    headers: HeaderMap,
    addresses: Addresses,
    timeout: Duration,
}

impl Endpoint {
    /// Reads it from a sink's settings; `None` if the URL is none, which is among the faults then.
    pub fn new(settings: Settings<'_>, faults: &mut Vec<Fault>) -> Option<Self> {
        let target = Target::new(settings.text("url").unwrap_or_default())
            .map_err(|why| faults.push(Fault::new(settings.spot("url"), why)))
            .ok();
        let headers = headers(settings, faults);
        Some(Self {
            target: target?,
            headers,
            addresses: if settings.flag("allow_private") { Addresses::Any } else { Addresses::Public },
            timeout: settings.duration("timeout").unwrap_or(TIMEOUT),
        })
    }

    /// A request to a URL below the target, with the sink's own headers.
    pub fn call(&self, method: Method, url: Url) -> Call {
        let shown = self.target.shown(&url);
        let call = Call::new(method, url).shown_url(shown).timeout(self.timeout).addresses(self.addresses);
        let mut call = call;
        self.put_headers(&mut call);
        call
    }

    /// Sets the sink's own headers, in place of others of their names.
    pub fn put_headers(&self, call: &mut Call) {
        for (name, value) in &self.headers {
            call.headers.insert(name, value.clone());
        }
    }
}

/// What is compiled, with the tables that it looks values up in: there are none for an answer.
pub fn compiled<T>(
    settings: Settings<'_>,
    key: &str,
    compile: impl Fn(&str) -> Result<(Vec<(String, usize)>, T), CompileError>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let source = settings.text(key)?;
    let compiled = compile(source).map_err(|error| error.message).and_then(|(tables, compiled)| {
        let none = |(name, _): &(String, usize)| {
            Err(format!("table `{name}`: tables serve routes, not the reading of answers"))
        };
        tables.first().map_or(Ok(compiled), none)
    });
    compiled.map_err(|why| faults.push(Fault::new(settings.spot(key), why))).ok()
}

/// A template over these names, as [`compiled`].
pub fn template(settings: Settings<'_>, key: &str, names: &[&str], faults: &mut Vec<Fault>) -> Option<Template> {
    let compile = |source: &str| {
        let template = Template::compile(source)?;
        template.check_names(names).map(|()| (template.tables(), template))
    };
    compiled(settings, key, compile, faults)
}

fn headers(settings: Settings<'_>, faults: &mut Vec<Fault>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, node) in settings.get("headers").map(Node::entries).unwrap_or_default() {
        add_header(&mut headers, (&key.name, key.spot), (node.text().unwrap_or_default(), node.spot), faults);
    }
    let Some((kind, auth)) = settings.get("auth").and_then(|node| node.entries().first()) else { return headers };
    let text = |key| auth.get(key).and_then(Node::text).unwrap_or_default();
    let spot = |key| auth.get(key).unwrap_or(auth).spot;
    let (name, value) = match kind.name.as_str() {
        "bearer" => (AUTHORIZATION.as_str(), format!("Bearer {}", auth.text().unwrap_or_default())),
        "basic" => (AUTHORIZATION.as_str(), basic(text("user"), text("password"))),
        _ => (text("name"), text("value").to_owned()),
    };
    add_header(&mut headers, (name, spot("name")), (&value, spot("value")), faults);
    headers
}

fn add_header(headers: &mut HeaderMap, name: (&str, Spot), value: (&str, Spot), faults: &mut Vec<Fault>) {
    let Ok(header) = name.0.parse::<HeaderName>() else {
        faults.push(Fault::new(name.1, format!("{:?} is no name of a header", name.0)));
        return;
    };
    if header.as_str().starts_with("webhook-") || [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&header) {
        faults.push(Fault::new(name.1, format!("the header `{header}` is set by Dari")));
        return;
    }
    if let Some(secret) = secret_header(value.0) {
        headers.insert(header, secret);
    } else {
        let message = format!("the value of `{header}` has a character that no header may have");
        faults.push(Fault::new(value.1, message));
    }
}

/// The names in [`context`].
pub const SEEN: &[&str] = &["status", "headers", "body"];

/// `status`, `headers` by lower-case name, and `body`: JSON, or else text.
pub fn context(answer: &Answer) -> Context {
    let mut headers = Map::new();
    for name in answer.headers.keys() {
        let values: Vec<_> =
            answer.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    let mut context = Context::new(Arc::new(Tables::default()));
    context.set("status", &Value::from(answer.status.as_u16()));
    context.set("headers", &Value::Object(headers));
    context.set("body", &answer.json().unwrap_or_else(|| Value::String(answer.text())));
    context
}
