//! What can be done on the pages: each deed is a form that is sent, and leads back with what came of it.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::page::Page;
use super::{Dashboard, Told, dead};
use crate::admin::doors::Visitor;
use crate::admin::replay::ReplayRequest;
use crate::admin::views::Done;
use crate::admin::{Operator, OperatorError, Result};
use crate::outcome::Scope;
use crate::problem::problem;

/// The fields of a form that a page of this visitor's made.
pub(super) struct Deed {
    fields: Vec<(String, String)>,
}

impl FromRequest<Dashboard> for Deed {
    type Rejection = Response;

    async fn from_request(request: Request, board: &Dashboard) -> std::result::Result<Self, Response> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let (mut parts, body) = request.into_parts();
        // Every page can be drawn for every request.
        let Ok(page) = Page::from_request_parts(&mut parts, board).await;
        let request = Request::from_parts(parts, body);
        let body = Bytes::from_request(request, board).await.map_err(IntoResponse::into_response)?;
        let deed = Self { fields: form_urlencoded::parse(&body).into_owned().collect() };
        if visitor.is_some_and(|visitor| board.doors().is_form(&visitor, deed.field("form"))) {
            return Ok(deed);
        }
        let why = page.say("This form is of another session, or of before a restart. Load the page again.");
        Err(problem(StatusCode::FORBIDDEN, why))
    }
}

impl Deed {
    /// A field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    /// The numbers of what was selected.
    pub fn ids(&self) -> Vec<i64> {
        let ids = self.fields.iter().filter(|(name, _)| name == "id");
        ids.filter_map(|(_, value)| value.parse().ok()).collect()
    }

    /// Back to where the form was, with what came of it.
    pub fn end(&self, board: &Dashboard, came: Result<Done>) -> Response {
        let told = match came {
            Ok(Done { done }) => Told { good: true, text: done },
            Err(error) => Told { good: false, text: error.to_string() },
        };
        let back = here(self.field("back"));
        let joint = if back.contains('?') { '&' } else { '?' };
        Redirect::to(&format!("{back}{joint}told={}", board.tell(told))).into_response()
    }
}

/// A path of these pages, or the first page: a form must not lead elsewhere.
pub(super) fn here(path: &str) -> &str {
    let is_ours = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    if is_ours && path.bytes().all(|byte| byte.is_ascii_graphic()) { path } else { "/" }
}

/// `POST /do/{scope}/{name}/{deed}`.
pub(super) async fn act(
    State(board): State<Dashboard>,
    Path((scope, name, what)): Path<(String, String, String)>,
    deed: Deed,
) -> Response {
    let came = acted(&board.operator(), (&scope, &name, &what), &deed).await;
    deed.end(&board, came)
}

async fn acted(op: &Operator, (scope, name, what): (&str, &str, &str), deed: &Deed) -> Result<Done> {
    let scopes = [Scope::Account, Scope::Sink, Scope::Route, Scope::Source];
    let scope = scopes.into_iter().find(|known| known.name() == scope);
    let why = deed.field("why");
    match (scope, what) {
        (Some(scope), "suspend") => op.suspend(scope, name, (!why.is_empty()).then(|| why.to_owned())).await,
        (Some(scope), "resume") => op.resume(scope, name).await,
        (Some(Scope::Source), "poll") => op.poll(name),
        (Some(Scope::Source), "confirm") => op.confirm(name).await,
        (Some(Scope::Account), "used") => {
            let used = deed.field("used").parse();
            op.set_used(name, used.map_err(|_| OperatorError::Refused("expected a number of calls".into()))?).await
        }
        _ => Err(OperatorError::Refused("there is no such deed".into())),
    }
}

/// `POST /do/replay/forget`.
pub(super) async fn forget_replay(State(board): State<Dashboard>, deed: Deed) -> Response {
    let came = board.operator().forget_replay().await;
    deed.end(&board, came.map(|_| Done { done: "the replay is given up".to_owned() }))
}

/// `POST /dead`: something is done with the letters that were selected.
pub(super) async fn dead(State(board): State<Dashboard>, page: Page, deed: Deed) -> Response {
    let (ids, op) = (deed.ids(), board.operator());
    if ids.is_empty() {
        return deed.end(&board, Err(OperatorError::Refused(page.say("Nothing is selected.").to_owned())));
    }
    let remote_id = Some(deed.field("remote_id").to_owned()).filter(|id| !id.is_empty() && ids.len() == 1);
    let mut done = Vec::with_capacity(ids.len());
    for id in &ids {
        let came = match deed.field("do") {
            "preview" => return dead::previews(&page, &op, &ids, deed.field("back")).await,
            "drop" => return dead::really_drop(&page, &op, &ids, deed.field("back")).await,
            "drop-for-good" => op.drop_dead(*id).await,
            "replay" => replayed(&op, *id).await,
            "delivered" => op.mark_delivered(*id, remote_id.clone()).await,
            "again" => op.mark_again(*id).await,
            _ => Err(OperatorError::Refused("there is no such deed".into())),
        };
        match came {
            Ok(came) => done.push(came.done),
            Err(error) => return deed.end(&board, Err(stopped(&page, done.len(), ids.len(), &error))),
        }
    }
    let done = match done.as_slice() {
        [only] => only.clone(),
        all => page.fill("Done with all {0}.", &[&all.len()]),
    };
    deed.end(&board, Ok(Done { done }))
}

async fn replayed(op: &Operator, id: i64) -> Result<Done> {
    op.replay(ReplayRequest { dead: Some(id), ..ReplayRequest::default() }).await?;
    Ok(Done { done: format!("dead letter {id} is sent again") })
}

fn stopped(page: &Page, done: usize, of: usize, error: &OperatorError) -> OperatorError {
    if of == 1 {
        return OperatorError::Refused(error.to_string());
    }
    OperatorError::Refused(page.fill("{0} of {1} are done, then: {2}", &[&done, &of, error]))
}

#[cfg(test)]
mod tests {
    use super::here;

    #[test]
    fn a_form_leads_nowhere_else() {
        for ours in ["/", "/dead?route=a", "/event?id=%2F%2Fx"] {
            assert_eq!(here(ours), ours);
        }
        for strange in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nx: y", "/ㄱ"] {
            assert_eq!(here(strange), "/", "{strange}");
        }
    }
}
