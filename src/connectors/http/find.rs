//! Asking the receiver what it has: the sink's `find`, and a route's `lookup`.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, SEEN, compiled, context, template};
use crate::clock::Clock;
use crate::connectors::{Answer, Ask, Build, Built, Call, Lookup};
use crate::outcome::{Outcome, Scope};
use crate::settings::{Fault, Settings};
use crate::template::{Context, Escape, Rendered, Tables, Template};

/// A GET and how the records in its answer are found.
struct Query {
    path: Template,
    /// The list of records; without it the answer is the record, or the list.
    items: Option<Template>,
}

impl Query {
    fn new(settings: Settings<'_>, names: &[&str], faults: &mut Vec<Fault>) -> Option<Self> {
        let path = |source: &str| {
            let path = Template::compile_path(source)?;
            path.check_names(names).map(|()| (path.tables(), path))
        };
        let path = compiled(settings, "path", path, faults);
        let items = template(settings, "items", SEEN, faults);
        Some(Self { path: path?, items })
    }

    fn call(&self, endpoint: &Endpoint, context: &Context) -> Result<Call, String> {
        let source = self.path.source();
        let rendered = self.path.render(context, Escape::Url).map_err(|error| format!("path: {error}"))?;
        let Rendered::Value(Value::String(path)) = rendered else {
            return Err(format!("path: it cannot be omitted in `{source}`"));
        };
        // Asked without a value, many a receiver answers with all that it has.
        let is_cut = |path: &str| path.ends_with(['/', '=']) || path.contains("=&");
        if is_cut(&path) && !is_cut(source) {
            return Err(format!("path: a value in it is empty in `{source}`"));
        }
        Ok(endpoint.call(Method::GET, endpoint.target.join(&path)?))
    }

    fn records(&self, answer: &Answer, now: Timestamp) -> Result<Vec<Value>, Outcome> {
        let (status, why) = (answer.status, answer.summary());
        let later = |account| Outcome::Retry { after: answer.retry_after(now), account, why: why.clone() };
        match status {
            _ if status.is_success() => self.read(answer).map_err(Outcome::retry),
            // The path of one record leads nowhere: it is not there. That of a list is wrong.
            StatusCode::NOT_FOUND | StatusCode::GONE if self.items.is_none() => Ok(Vec::new()),
            StatusCode::TOO_MANY_REQUESTS => Err(later(true)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Err(later(false)),
            _ if status.is_server_error() => Err(later(false)),
            StatusCode::UNAUTHORIZED => Err(Outcome::Suspend { what: Scope::Account, why, until: None }),
            _ => Err(Outcome::reject(why)),
        }
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Value>, String> {
        let found = match &self.items {
            Some(items) => match items.render(&context(answer), Escape::None) {
                Ok(Rendered::Value(found)) => found,
                Ok(Rendered::Omit) => Value::Null,
                Err(error) => return Err(format!("`items`: {error}: {}", answer.summary())),
            },
            None if answer.body.is_empty() => Value::Null,
            None => answer.json().unwrap_or_else(|| Value::String(answer.text())),
        };
        match found {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items),
            record @ Value::Object(_) => Ok(vec![record]),
            _ => Err(format!("the answer is neither a record nor a list of them: {}", answer.summary())),
        }
    }
}

fn over(names: &[(&str, &Value)]) -> Context {
    let mut context = Context::new(Arc::new(Tables::default()));
    for (name, value) in names {
        context.set(name, value);
    }
    context
}

/// The sink's `find`.
pub struct Find {
    query: Query,
    id: Template,
}

impl Find {
    /// Reads it; `None` if something is wrong, which is among the faults then.
    pub fn new(settings: Settings<'_>, faults: &mut Vec<Fault>) -> Option<Self> {
        let query = Query::new(settings, &["webhook_id", "fields"], faults);
        let id = template(settings, "id", &["item"], faults);
        Some(Self { query: query?, id: id? })
    }

    /// True if it goes by the record's own values: then it finds what others made too.
    pub fn matches(&self) -> bool {
        self.query.path.check_names(&["fields"]).is_ok()
    }

    /// True if it is an answer to this question.
    pub fn can_be_asked(&self, question: &Ask<'_>) -> bool {
        matches!(question, Ask::Doubt { .. }) || self.matches()
    }

    /// The request that puts the question.
    ///
    /// # Errors
    /// What of its path cannot be rendered.
    pub fn ask(&self, endpoint: &Endpoint, question: &Ask<'_>) -> Result<Call, String> {
        let context = match question {
            Ask::Doubt { operation, .. } => {
                let fields = Value::Object(operation.fields.clone());
                over(&[("webhook_id", &json!(operation.webhook_id)), ("fields", &fields)])
            }
            Ask::Match(values) => over(&[("fields", &Value::Object((*values).clone()))]),
        };
        self.query.call(endpoint, &context)
    }

    /// The ids of the records in an answer.
    ///
    /// # Errors
    /// What the answer came to if it does not say.
    pub fn answered(&self, answer: &Answer, now: Timestamp) -> Result<Vec<String>, Outcome> {
        let id = |record: &Value| match self.id.render(&over(&[("item", record)]), Escape::None) {
            Ok(Rendered::Value(Value::String(id))) if !id.is_empty() => Ok(id),
            Ok(Rendered::Value(Value::Number(id))) => Ok(id.to_string()),
            Ok(_) => Err(Outcome::reject(format!("`find.id` came out empty: {}", answer.summary()))),
            Err(error) => Err(Outcome::reject(format!("`find.id`: {error}: {}", answer.summary()))),
        };
        self.query.records(answer, now)?.iter().map(id).collect()
    }
}

struct HttpLookup {
    endpoint: Endpoint,
    query: Query,
    clock: Clock,
}

/// Builds a lookup at a sink, which is the account.
///
/// # Errors
/// What is wrong with its path and `items`.
pub fn lookup(build: &Build<'_>) -> Built<Box<dyn Lookup>> {
    let mut faults = Vec::new();
    let query = Query::new(build.settings, &["match"], &mut faults);
    let endpoint = build.account.and_then(|sink| Endpoint::new(sink.settings, &mut faults));
    match (query, endpoint) {
        (Some(query), Some(endpoint)) => Ok(Box::new(HttpLookup { endpoint, query, clock: build.clock.clone() })),
        _ => Err(faults),
    }
}

impl Lookup for HttpLookup {
    fn prepare(&self, wanted: &Map<String, Value>) -> Result<Call, String> {
        self.query.call(&self.endpoint, &over(&[("match", &Value::Object(wanted.clone()))]))
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        self.query.records(answer, self.clock.now())
    }
}
