//! The door of the API: URI, threads, parameters, who one is, and where a call goes.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{API_KEY, No, ORG, PASSWORD, Reply, SESSION, Shared, Tenant, USER, USERNAME, lock, objects, search};
use super::{unknown_credentials, wrong};

/// Parameters of a call, from its query and its form.
pub(super) type Parameters = Vec<(String, String)>;

/// Parameters that are about the call itself.
pub(super) const CONTROLS: [&str; 9] =
    ["method", "apiKey", "sessionID", "updates", "fields", "action", "id", "force", "atomic"];

pub(super) fn get<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A call under way.
struct Thread(Shared);

impl Thread {
    /// `None` if there are too many.
    fn begin(shared: &Shared) -> Option<Self> {
        let mut tenant = lock(shared);
        if tenant.running >= tenant.switches.threads {
            return None;
        }
        tenant.running += 1;
        tenant.busiest = tenant.busiest.max(tenant.running);
        Some(Self(shared.clone()))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        lock(&self.0).running -= 1;
    }
}

pub(super) async fn api(
    State(shared): State<Shared>,
    Path((version, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (as_200, takes, longest) = {
        let tenant = lock(&shared);
        (tenant.switches.errors_as_200, tenant.switches.takes_ms, tenant.switches.longest_uri)
    };
    let host = request.headers().get(header::HOST).map_or(0, http::HeaderValue::len);
    if request.uri().to_string().len() + host + "https://".len() > longest {
        return (StatusCode::URI_TOO_LONG, "<html><h1>Request-URI Too Long</h1></html>").into_response();
    }
    // Source: the page: `v15.0`; a version that there is not is no place.
    let number = version.strip_prefix('v').and_then(|version| version.strip_suffix(".0"));
    if !number.is_some_and(|number| number.parse::<u8>().is_ok_and(|number| (1..=30).contains(&number))) {
        return (StatusCode::NOT_FOUND, "<html>Not Found</html>").into_response();
    }
    let Some(_thread) = Thread::begin(&shared) else {
        let why = "Too many concurrent API threads".to_owned();
        return No(StatusCode::TOO_MANY_REQUESTS, "com.attask.common.TooManyRequestsException", why).response(as_200);
    };
    if takes > 0 {
        tokio::time::sleep(Duration::from_millis(takes)).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return (StatusCode::BAD_REQUEST, "cut").into_response();
    };
    let query = head.uri.query().unwrap_or_default();
    let (parameters, file) = read(query, &head.headers, &body);
    // What is in no form is not read; a call that says so much is a mistake.
    if !body.is_empty() && !is_form(&head.headers) {
        let why = "Content-Type is none of a form".to_owned();
        return No(StatusCode::UNSUPPORTED_MEDIA_TYPE, "java.lang.IllegalArgumentException", why).response(as_200);
    }
    let method = get(&parameters, "method").map_or_else(|| head.method.to_string(), str::to_uppercase);
    let path: Vec<&str> = path.split('/').collect();
    let mut tenant = lock(&shared);
    let reply = match path[..] {
        ["login"] => tenant.login(&parameters),
        _ => tenant.enter(&head.headers, &parameters).and_then(|()| tenant.go(&method, &path, &parameters, file)),
    };
    match reply {
        Ok(body) => Json(body).into_response(),
        Err(no) => no.response(as_200),
    }
}

/// A file: its name and content.
type File = (String, Vec<u8>);

fn media(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_form(headers: &HeaderMap) -> bool {
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary="]
        .iter()
        .any(|form| media(headers).starts_with(form))
}

fn read(query: &str, headers: &HeaderMap, body: &Bytes) -> (Parameters, Option<File>) {
    let mut parameters: Parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let media = media(headers);
    if media.starts_with("application/x-www-form-urlencoded") {
        parameters.extend(form_urlencoded::parse(body).into_owned());
    }
    let boundary = media.strip_prefix("multipart/form-data; boundary=");
    let file = boundary.and_then(|boundary| parts(boundary, body, &mut parameters));
    (parameters, file)
}

/// The parts of a form with files.
fn parts(boundary: &str, body: &[u8], parameters: &mut Parameters) -> Option<File> {
    let mark = format!("--{boundary}");
    let find =
        |from: usize, what: &[u8]| body[from..].windows(what.len()).position(|at| at == what).map(|at| from + at);
    let (mut at, mut file) = (find(0, mark.as_bytes())?, None);
    loop {
        let begin = at + mark.len() + 2;
        let end = find(begin, format!("\r\n{mark}").as_bytes())?;
        let content = find(begin, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&body[begin..content]);
        let quoted = |key: &str| head.split_once(&format!("{key}=\"")).and_then(|(_, rest)| rest.split('"').next());
        let (name, content) = (quoted("; name")?.to_owned(), &body[content..end]);
        match quoted("filename") {
            Some(named) if name == "uploadedFile" => file = Some((named.to_owned(), content.to_vec())),
            Some(_) => return None,
            None => parameters.push((name, String::from_utf8_lossy(content).into_owned())),
        }
        at = end + 2;
        if body[at + mark.len()..].starts_with(b"--") {
            return file;
        }
    }
}

impl Tenant {
    fn login(&mut self, parameters: &Parameters) -> Reply {
        if self.switches.platform {
            return Err(unknown_credentials(
                "Login is not available: this organization uses the Adobe business platform",
            ));
        }
        if get(parameters, "username") != Some(USERNAME) || get(parameters, "password") != Some(PASSWORD) {
            return Err(unknown_credentials("The username or password is incorrect"));
        }
        let (token, _) = self.token(false);
        Ok(json!({ "data": { "userID": USER, "sessionID": token } }))
    }

    /// Who one is. Source: a header `SessionID`, a parameter `sessionID` or `apiKey`; of Adobe's a bearer token.
    fn enter(&self, headers: &HeaderMap, parameters: &Parameters) -> Result<(), No> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(key) = get(parameters, "apiKey") {
            let good = key == API_KEY && !self.switches.platform;
            return if good { Ok(()) } else { Err(unknown_credentials("Invalid API Key")) };
        }
        if let Some(token) = header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            let organised = self.switches.jwt_bearer || header("x-gw-ims-org-id") == Some(ORG);
            let good = organised && self.is_good(token, true);
            return if good { Ok(()) } else { Err(unknown_credentials("Invalid token")) };
        }
        let session = header("sessionid").or(get(parameters, "sessionID"));
        match session {
            Some(session) if session == SESSION || self.is_good(session, false) => Ok(()),
            Some(_) => Err(unknown_credentials("Invalid session ID.")),
            None => Err(unknown_credentials("You are not currently logged in")),
        }
    }

    fn go(&mut self, method: &str, path: &[&str], parameters: &Parameters, file: Option<File>) -> Reply {
        if path == ["logout"] {
            return Ok(json!({ "data": { "success": true } }));
        }
        if path == ["upload"] {
            let (name, content) = file.filter(|_| method == "POST").ok_or_else(|| wrong("uploadedFile is missing"))?;
            let handle = self.id();
            self.files.push(json!({ "handle": handle, "name": name, "bytes": content.len() }));
            return Ok(json!({ "data": { "handle": handle } }));
        }
        let kind = objects::kind(path[0]).ok_or_else(|| {
            let why = format!("invalid objCode: {}", path[0]);
            No(StatusCode::NOT_FOUND, "com.attask.common.InvalidParameterException", why)
        })?;
        match (method, &path[1..]) {
            ("GET", ["search" | "myWork"]) => search::search(self, kind, parameters),
            ("GET", ["count"]) => search::count(self, kind, parameters),
            ("GET", ["report"]) => Ok(json!({ "data": search::report(self, kind, parameters)? })),
            ("GET", []) => objects::several(self, kind, parameters),
            ("GET", [id]) => objects::one(self, kind, id, parameters),
            ("POST", []) => objects::create(self, kind, parameters),
            ("PUT", []) => objects::change(self, kind, get(parameters, "id"), parameters),
            ("PUT", [id]) => match get(parameters, "action") {
                Some(action) => objects::act(self, kind, (id, action), parameters),
                None => objects::change(self, kind, Some(id), parameters),
            },
            ("PUT", [id, action]) => objects::act(self, kind, (id, action), parameters),
            ("DELETE", []) => objects::delete(self, kind, get(parameters, "id").unwrap_or_default(), parameters),
            ("DELETE", [id]) => objects::delete(self, kind, id, parameters),
            _ => Err(wrong(format!("unable to {method} {}", path.join("/")))),
        }
    }
}

/// The fields that a call writes: `updates`, or what is no parameter of the call itself. Source: seen in public code: not both.
pub(super) fn written(parameters: &Parameters) -> Result<Value, No> {
    let plain: Map<String, Value> = parameters
        .iter()
        .filter(|(name, _)| !CONTROLS.contains(&name.as_str()) && !name.starts_with("$$"))
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect();
    match get(parameters, "updates") {
        None => Ok(Value::Object(plain)),
        Some(text) => match (serde_json::from_str(text), plain.keys().next()) {
            (Ok(value), None) => Ok(value),
            (Ok(_), Some(name)) => {
                Err(wrong(format!("Cannot mix 'updates' JSON parameter with non-JSON update parameter '{name}'")))
            }
            (Err(_), _) => Err(wrong("updates is not valid JSON")),
        },
    }
}
