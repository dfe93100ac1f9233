//! Where an account's calls go, and the keys that they show.

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::Url;

use crate::connectors::call::{base, basic, below, secret_header};
use crate::connectors::client::Addresses;
use crate::connectors::{Account, Answer, Call};
use crate::settings::{Fault, Settings};

/// The response API unless the account sets `url`.
const RESPONSE_API: &str = "https://walla-api.data-lab.workers.dev";
/// The Open API v1 unless the account sets `url`: the help centre's host, for the one of the developer docs
/// (`api.walla.my`) is reported not to resolve.
const OPEN_API: &str = "https://app.walla.my/open-api/v1";

/// The keys of an account.
enum Keys<'a> {
    /// Of the response API.
    Basic { client_id: &'a str, api_key: &'a str },
    /// Of the Open API v1.
    Open { api_key: &'a str },
}

impl Keys<'_> {
    /// The header that shows them; `None` if they cannot be in one.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            // Not `base64` of the shell, as in the page's sample: it breaks long lines.
            Self::Basic { client_id, api_key } => (header::AUTHORIZATION, basic(client_id, api_key)),
            Self::Open { api_key } => (HeaderName::from_static("x-walla-api-key"), (*api_key).to_owned()),
        };
        Some((name, secret_header(&value)?))
    }
}

/// One of Walla's two APIs, as an account sees it.
#[derive(Clone)]
pub(super) struct Door {
    base: Url,
    key: (HeaderName, HeaderValue),
    addresses: Addresses,
    /// True for the Open API v1.
    pub(super) open: bool,
}

impl Door {
    /// An account's.
    ///
    /// # Errors
    /// What is wrong with the account, as a sentence.
    pub(super) fn of(account: Account<'_>) -> Result<Self, String> {
        let open_key = account.settings.text("open_api_key");
        let (keys, default) = if let Some(api_key) = open_key {
            (Keys::Open { api_key }, OPEN_API)
        } else {
            let text = |key| account.settings.text(key).unwrap_or_default();
            (Keys::Basic { client_id: text("client_id"), api_key: text("api_key") }, RESPONSE_API)
        };
        let (url, addresses) = match account.url {
            "" => (default, Addresses::Public),
            url => (url, Addresses::Any),
        };
        let key = keys.header().ok_or("the account's keys hold characters that no HTTP header takes")?;
        Ok(Self { base: base(url)?, key, addresses, open: open_key.is_some() })
    }

    /// A question at a path of these segments, each percent-encoded.
    pub(super) fn get<'a>(&self, path: impl IntoIterator<Item = &'a str>, query: &[(&str, &str)]) -> Call {
        let mut url = below(&self.base, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.call(Method::GET, url)
    }

    /// A question with a body.
    pub(super) fn post<'a>(&self, path: impl IntoIterator<Item = &'a str>, body: &Value) -> Call {
        self.call(Method::POST, below(&self.base, path)).json(body)
    }

    fn call(&self, method: Method, url: Url) -> Call {
        let (name, value) = self.key.clone();
        Call::new(method, url)
            .header(name, value)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .idempotent(true)
            .addresses(self.addresses)
    }
}

/// Whose responses are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Of the response API. A workspace that is not named is asked for.
    Project { workspace: Option<String>, project: String },
    /// Of the Open API v1.
    Form { form: String },
}

impl Target {
    /// What `workspace`, `project` and `form` say: they have to fit the account's API. `None` if they say nothing.
    ///
    /// # Errors
    /// Keys of the other API.
    pub(super) fn read(settings: &Settings<'_>, open: bool) -> Result<Option<Self>, Vec<Fault>> {
        let [workspace, project, form] = ["workspace", "project", "form"].map(|key| settings.text(key));
        let message = match (open, workspace, project, form) {
            (_, None, None, None) => return Ok(None),
            (true, None, None, Some(form)) => return Ok(Some(Self::Form { form: form.to_owned() })),
            (false, workspace, Some(project), None) => {
                return Ok(Some(Self::Project {
                    workspace: workspace.map(str::to_owned),
                    project: project.to_owned(),
                }));
            }
            (true, ..) => "the account has an open_api_key: expected `form`, and neither `workspace` nor `project`",
            (false, ..) => {
                "the account has a client_id and an api_key: expected `project`, perhaps with `workspace`, and no `form`"
            }
        };
        Err(vec![Fault::new(settings.node().spot, message)])
    }

    /// What to say where they say nothing.
    pub(super) fn missing(settings: &Settings<'_>, open: bool) -> Vec<Fault> {
        let key = if open { "form" } else { "project" };
        vec![Fault::new(settings.node().spot, format!("which form? expected `{key}`"))]
    }

    /// In words.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Project { workspace: Some(workspace), project } => {
                format!("project {project:?} in a workspace {workspace:?}")
            }
            Self::Project { workspace: None, project } => format!("project {project:?}"),
            Self::Form { form } => format!("form {form:?}"),
        }
    }
}

/// The vendor's own words for an error, shortened: `{"error": …}` of the Open API, `{"message": …}` of the other.
pub(super) fn said(answer: &Answer) -> String {
    const MOST: usize = 200;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match ["error", "message"].iter().find_map(|key| body.get(key)?.as_str()) {
        Some(words) => format!(": {}", words.chars().take(MOST).collect::<String>()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_as_each_api_asks_and_are_never_shown() {
        let (name, value) = Keys::Basic { client_id: "myClientId", api_key: "myApiKey" }.header().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Basic bXlDbGllbnRJZDpteUFwaUtleQ=="));
        assert_eq!(format!("{value:?}"), "Sensitive");
        let (name, value) = Keys::Open { api_key: "k" }.header().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-walla-api-key", "k"));
        assert!(Keys::Open { api_key: "a\nb" }.header().is_none());
    }
}
