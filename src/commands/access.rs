//! How a command reaches the bridge: over the socket of a running one, over its admin listener, or on its files when
//! nobody holds them. The answers are the same.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

use super::{CommandError, Result};
use crate::admin::serve::socket_path;
use crate::admin::who::BY;
use crate::admin::{Desk, Operator, api};
use crate::app;
use crate::clock::Clock;

/// Where to find the bridge.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// The config file
    #[arg(long, env = "DARI_CONFIG", default_value = "dari.yaml", value_name = "FILE", global = true)]
    pub config: PathBuf,
    /// Ask the bridge whose admin listener is at this URL (with `DARI_ADMIN_TOKEN`)
    #[arg(long, value_name = "URL", global = true)]
    pub admin: Option<String>,
}

/// A way to ask.
pub enum Access {
    /// A running bridge.
    Live {
        /// Talks to it.
        client: reqwest::Client,
        /// Its base URL.
        base: String,
        /// Its token.
        token: Option<String>,
    },
    /// The files, held by this process.
    Files {
        /// The same API, in-process.
        api: Router,
        /// Keeps the files.
        operator: Arc<Operator>,
    },
}

/// True for a URL whose host is this machine itself.
fn is_loopback(url: &str) -> bool {
    match url::Url::parse(url).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Access {
    /// Finds the bridge.
    ///
    /// # Errors
    /// The config, or the files cannot be opened.
    pub async fn open(place: &Where) -> Result<Self> {
        Self::find(place, false).await
    }

    /// The same; where no bridge has run yet, on files that are made for it.
    ///
    /// # Errors
    /// As [`Access::open`].
    pub async fn open_or_make(place: &Where) -> Result<Self> {
        Self::find(place, true).await
    }

    /// The bridge that runs; `None` if none does here and no `--admin` names one.
    ///
    /// # Errors
    /// The config does not say where its store is.
    pub async fn running(place: &Where) -> Result<Option<Self>> {
        // For the process's TLS provider, which every HTTP client needs.
        crate::connectors::client::Client::new().map_err(CommandError::failed)?;
        if let Some(admin) = &place.admin {
            let client = reqwest::Client::builder();
            // No proxy of the environment can reach this machine's own loopback, and the token is not for it.
            let client = if is_loopback(admin) { client.no_proxy() } else { client };
            let client = client.build().map_err(CommandError::failed)?;
            let base = admin.trim_end_matches('/').to_owned();
            return Ok(Some(Self::Live { client, base, token: std::env::var("DARI_ADMIN_TOKEN").ok() }));
        }
        let socket = socket_path(&store(place)?);
        if tokio::net::UnixStream::connect(&socket).await.is_err() {
            return Ok(None);
        }
        let client = reqwest::Client::builder().unix_socket(socket).build().map_err(CommandError::failed)?;
        Ok(Some(Self::Live { client, base: "http://localhost".into(), token: None }))
    }

    async fn find(place: &Where, make: bool) -> Result<Self> {
        if let Some(running) = Self::running(place).await? {
            return Ok(running);
        }
        let store = store(place)?;
        if !make && !store.exists() {
            let why = format!("{} does not exist: no bridge has run here yet (`dari run`)", store.display());
            return Err(CommandError::Failed(why));
        }
        let config = load(&place.config)?;
        let operator = app::open_for_operator(Arc::new(config), Clock::system(app::process_number()))
            .await
            .map_err(CommandError::failed)?;
        Ok(Self::Files { api: api::router(Desk::new(Arc::clone(&operator))), operator })
    }

    /// Asks.
    ///
    /// # Errors
    /// The answer's problem in words, or no answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T> {
        let query = serde_json::to_value(query).map_err(CommandError::failed)?;
        let pairs = query.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs {
            encoded.append_pair(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str());
        }
        let encoded = encoded.finish();
        let path = if encoded.is_empty() { path.to_owned() } else { format!("{path}?{encoded}") };
        self.ask(Method::GET, &path, None).await
    }

    /// Tells.
    ///
    /// # Errors
    /// The answer's problem in words, or no answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(CommandError::failed)?;
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<T> {
        let (ok, answer) = match self {
            Self::Live { client, base, token } => {
                let mut request = client.request(method, format!("{base}{path}")).header(BY, by());
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                if let Some(body) = body {
                    request = request.header(header::CONTENT_TYPE, "application/json").body(body);
                }
                let answer = request.send().await.map_err(no_answer)?;
                (answer.status().is_success(), answer.bytes().await.map_err(no_answer)?)
            }
            Self::Files { api, .. } => {
                let request = Request::builder().method(method).uri(path);
                let request = request.header(header::CONTENT_TYPE, "application/json").header(BY, by());
                let request = request.body(Body::from(body.unwrap_or_default())).map_err(CommandError::failed)?;
                let Ok(answer) = api.clone().oneshot(request).await;
                let ok = answer.status().is_success();
                (ok, answer.into_body().collect().await.map_err(CommandError::failed)?.to_bytes())
            }
        };
        if ok {
            return serde_json::from_slice(&answer).map_err(CommandError::failed);
        }
        let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let said = String::from_utf8_lossy(&answer);
        Err(CommandError::Failed(problem["detail"].as_str().map_or_else(|| said.into_owned(), str::to_owned)))
    }

    /// Writes what is still buffered, where this process holds the files.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn close(self) -> Result {
        if let Self::Files { operator, .. } = self {
            operator.journal.flush().await.map_err(CommandError::failed)?;
            operator.broker.finish().await;
        }
        Ok(())
    }
}

/// The file of the store.
fn store(place: &Where) -> Result<PathBuf> {
    crate::config::store_path(&place.config, &environment).map_err(|faults| CommandError::Config(faults.to_string()))
}

/// Who gives this command, for the journal.
fn by() -> HeaderValue {
    let user = ["USER", "LOGNAME"].into_iter().find_map(environment).filter(|name| !name.is_empty());
    let by = user.map_or_else(|| "the command line".to_owned(), |user| format!("{user} (command line)"));
    HeaderValue::from_bytes(by.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static("the command line"))
}

fn no_answer(error: reqwest::Error) -> CommandError {
    CommandError::Failed(format!("the bridge does not answer: {}", error.without_url()))
}

/// Loads and checks a config for a command.
///
/// # Errors
/// Every fault, a line each.
pub fn load(file: &std::path::Path) -> Result<crate::config::Config> {
    if matches!(file.try_exists(), Ok(false)) {
        let why = "there is no such file; `dari init` writes one to start from, `--config FILE` names another";
        return Err(CommandError::Config(format!("{}: {why}", file.display())));
    }
    let client = crate::connectors::client::Client::new().map_err(CommandError::failed)?;
    let clock = Clock::system(0);
    crate::config::load(file, &environment, &client, &clock).map_err(|faults| CommandError::Config(faults.to_string()))
}

/// A variable of this process's environment.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A name as one segment of a path.
#[must_use]
pub fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for own in ["http://127.0.0.1:8081", "http://127.1.2.3", "http://localhost:1/", "http://[::1]:8081"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["http://10.0.0.1", "https://bridge.acme.kr", "http://127.0.0.1.acme.kr", "127.0.0.1", ""] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
