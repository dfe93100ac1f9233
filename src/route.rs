//! What a route makes of an event: whether it takes it, which link it belongs to, what is to be done, and the record.
//!
//! Pure functions over the config, the event and what is known of the link; the worker and `dari test` share them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::broker::matches;
use crate::config::{Action, CaseConfig, Leaves, RouteConfig};
use crate::event::Event;
use crate::store::{Link, LinkState};
use crate::template::mapping::FieldError;
use crate::template::{Context, Escape, Expression, RenderError, Rendered, Tables, Verdict};

mod links;
mod lookups;
mod record;

pub use links::{Resolution, is_older, is_stale, is_there, resolve};
pub use lookups::{Looked, chosen, needed, values};
pub use record::{RenderedOperation, render};

pub use crate::template::mapping::NAMES;

/// The longest link key, in bytes.
pub const MAX_KEY: usize = 1024;

/// What a route decided on an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It takes it.
    Take {
        /// Which of its cases, from 0.
        case: usize,
        /// What that case does, before the link is asked.
        action: Action,
    },
    /// It takes it no more: only a filter stands against it, and the record that is linked to it goes.
    Leave {
        /// The case whose record it would be, from 0.
        case: usize,
        /// Why it does not pass, with the operands.
        why: String,
    },
    /// It leaves it.
    Skip {
        /// Why, with the operands.
        why: String,
    },
    /// A filter failed.
    Error(RenderError),
}

/// What the templates of a route see of an event: `id source type subject time version data headers link`. `subject`,
/// `version` and `link` are undefined where there is none; `link` is `{ id, state }`. A source that was renamed since is
/// seen under its present name.
#[must_use]
pub fn context(route: &RouteConfig, event: &Event, tables: Arc<Tables>, link: Option<&Link>) -> Context {
    let mut context = Context::new(tables);
    context.set("id", &json!(event.id));
    context.set("source", &json!(route.source_now(&event.source)));
    context.set("type", &json!(event.kind));
    context.set("time", &time(event.time));
    context.set("headers", &json!(event.headers));
    context.set("data", &event.data.value());
    if let Some(subject) = &event.subject {
        context.set("subject", &json!(subject));
    }
    if let Some(version) = event.version {
        context.set("version", &version_value(version));
    }
    if let Some(link) = link {
        context.set("link", &link_value(link));
    }
    context
}

/// Adds the links of the same key on other routes, by the names that the templates use; `None`: there is none.
pub fn set_links<'a>(context: &mut Context, links: impl Iterator<Item = (&'a str, Option<&'a Link>)>) {
    let there = links.filter_map(|(name, link)| Some((name.to_owned(), link_value(link?))));
    context.set("links", &Value::Object(there.collect()));
}

fn link_value(link: &Link) -> Value {
    json!({ "id": link.remote_id, "state": state_name(link.state) })
}

/// Several fields' errors in one sentence.
#[must_use]
pub fn in_words(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// RFC 3339 in UTC.
fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

fn version_value(version: crate::event::Version) -> Value {
    match version {
        crate::event::Version::Integer(number) => json!(number),
        crate::event::Version::Instant(at) => time(at),
    }
}

fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::InDoubt => "in_doubt",
        LinkState::Linked => "linked",
        LinkState::Deleted => "deleted",
    }
}

/// Decides whether a route takes an event: by source, types and filters, and then by the first case that fits.
///
/// No filter is asked about a `*.deleted` event that deletes: it needs only the link.
#[must_use]
pub fn decide(route: &RouteConfig, event: &Event, context: &Context) -> Decision {
    if !route.takes_from(&event.source) {
        return skip(format!("source {} is not among {}", event.source, route.from.join(", ")));
    }
    if let Err(why) = fits(route.types.as_deref(), event) {
        return skip(why);
    }
    let mut reasons = Vec::new();
    let mut filtered = None;
    for (at, case) in route.cases.iter().enumerate() {
        if let Err(why) = fits(case.types.as_deref(), event) {
            reasons.push(why);
            continue;
        }
        match passes(route, case, event, context) {
            Ok(Verdict::Yes) => return Decision::Take { case: at, action: case.action },
            Ok(Verdict::No(why)) => reasons.push(why),
            Err(error) => return Decision::Error(error),
        }
        filtered = filtered.or(case.action.is_state().then_some(at));
    }
    let why = match reasons.as_slice() {
        [only] => only.clone(),
        all => all.iter().zip(1..).map(|(why, n)| format!("case {n}: {why}")).collect::<Vec<_>>().join("; "),
    };
    match filtered.filter(|_| route.leaves == Leaves::Delete) {
        Some(case) => Decision::Leave { case, why },
        None => skip(why),
    }
}

fn skip(why: String) -> Decision {
    Decision::Skip { why }
}

fn fits(types: Option<&[String]>, event: &Event) -> Result<(), String> {
    match types {
        Some(types) if !types.iter().any(|pattern| matches(pattern, &event.kind)) => {
            Err(format!("type {} is not among {}", event.kind, types.join(", ")))
        }
        _ => Ok(()),
    }
}

fn passes(route: &RouteConfig, case: &CaseConfig, event: &Event, context: &Context) -> Result<Verdict, RenderError> {
    if event.is_deletion() && matches!(case.action, Action::Sync | Action::Delete) {
        return Ok(Verdict::Yes);
    }
    match asked(route.when.as_ref(), context)? {
        Verdict::Yes => asked(case.when.as_ref(), context),
        no @ Verdict::No(_) => Ok(no),
    }
}

fn asked(when: Option<&Expression>, context: &Context) -> Result<Verdict, RenderError> {
    when.map_or(Ok(Verdict::Yes), |when| when.test(context))
}

/// The key of the link of a route without `key`: [`Event::subject_key`] under the present name of its source.
#[must_use]
pub fn subject_key(route: &RouteConfig, event: &Event) -> String {
    event.subject_key_as(route.source_now(&event.source))
}

/// The key of the link that an event belongs to.
///
/// # Errors
/// [`RenderError`] if the route's `key` comes to nothing that can be a key.
pub fn link_key(route: &RouteConfig, event: &Event, context: &Context) -> Result<String, RenderError> {
    let Some(template) = &route.key else { return Ok(subject_key(route, event)) };
    let refuse = |message: String| RenderError { message, expression: template.source().to_owned() };
    let key = match template.render(context, Escape::None)? {
        Rendered::Value(Value::String(text)) => text,
        Rendered::Value(number @ Value::Number(_)) => number.to_string(),
        Rendered::Value(_) => return Err(refuse("a key is text or a number".into())),
        Rendered::Omit => return Err(refuse("a key cannot be omitted".into())),
    };
    match key.len() {
        0 => Err(refuse("the key is empty".into())),
        length if length > MAX_KEY => Err(refuse(format!("the key has {length} bytes, at most {MAX_KEY} are allowed"))),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests;
