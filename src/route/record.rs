//! Renders what a sink is to be given.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::{CaseConfig, RequestConfig};
use crate::connectors::Request;
use crate::outcome::Verb;
use crate::store::Content;
use crate::template::mapping::FieldError;
use crate::template::{Context, Escape, Rendered};

/// What a sink is given of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedOperation {
    /// The rendered `map`.
    pub fields: Map<String, Value>,
    /// The rendered `request`, for a sink that takes one.
    pub request: Option<Request>,
}

impl RenderedOperation {
    /// The hash of what is written: the same whether the record is made or changed, where a sink makes its own calls.
    #[must_use]
    pub fn content(&self) -> Content {
        let request = self.request.as_ref().map(|request| (request.method.as_str(), request.path.as_str()));
        let digest = Sha256::digest(serde_json::json!([self.fields, request]).to_string());
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        short
    }
}

/// Renders a case for a verb.
///
/// A deletion needs only the link: fields of its `map` that cannot be rendered are left out.
///
/// # Errors
/// Every field that failed, the request's path as `request.path`.
pub fn render(
    case: &CaseConfig,
    verb: Verb,
    context: &Context,
    escape: Escape,
) -> Result<RenderedOperation, Vec<FieldError>> {
    let (fields, mut errors) = case.map.render_what_can_be(context, escape);
    if verb == Verb::Delete {
        errors.clear();
    }
    let request = match case.request.get(verb.name()).map(|request| render_request(request, context)) {
        None => None,
        Some(Ok(request)) => Some(request),
        Some(Err(error)) => {
            errors.push(error);
            None
        }
    };
    if errors.is_empty() { Ok(RenderedOperation { fields, request }) } else { Err(errors) }
}

fn render_request(config: &RequestConfig, context: &Context) -> Result<Request, FieldError> {
    let source = config.path.source();
    let fail =
        |message: &str| FieldError { field: "request.path".into(), message: message.into(), expression: source.into() };
    let rendered = config.path.render(context, Escape::Url).map_err(|e| FieldError::new("request.path", e))?;
    let Rendered::Value(Value::String(path)) = rendered else { return Err(fail("a path cannot be omitted")) };
    if let Some(message) = refused(&path, source) {
        return Err(fail(message));
    }
    Ok(Request { method: config.method.clone(), path: encoded(&path) })
}

/// Why a rendered path leads elsewhere than its template meant.
fn refused(path: &str, source: &str) -> Option<&'static str> {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let (source, _) = source.split_once('?').unwrap_or((source, ""));
    let Some(segments) = path.strip_prefix('/') else { return Some("a path starts with `/`") };
    if path.contains(['#', '\\']) {
        return Some("a path has no `#` and no backslash");
    }
    let dots = |segment: &str| matches!(&*percent_decode_str(segment).decode_utf8_lossy(), "." | "..");
    if segments.split('/').any(dots) {
        return Some("a segment of the path is `.` or `..`");
    }
    // Its own slash at the end is the template's business; one that an empty value left is not.
    let segments = if source.ends_with('/') { segments.strip_suffix('/').unwrap_or(segments) } else { segments };
    if source != "/" && segments.split('/').any(str::is_empty) {
        return Some("a segment of the path is empty");
    }
    None
}

/// What the template's own text may hold that a URL may not; data is encoded already.
fn encoded(path: &str) -> String {
    const NOT_IN_URLS: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');
    utf8_percent_encode(path, NOT_IN_URLS).to_string()
}
