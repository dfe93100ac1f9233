//! Files for `upload`: from hosts that the operator named, and from nowhere else.
//!
//! An event says which file, so what it says must not lead the bridge anywhere: only to a named host by the named scheme, not by a
//! redirect to another, not to a private address, and not to more than `fetch_limit`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::Objects;
use crate::connectors::client::{Addresses, Client, SendError};
use crate::connectors::workfront::answer::{self, Said, Trouble};
use crate::connectors::{Answer, Call};
use crate::settings::Settings;

/// How many redirects within one host are followed.
const REDIRECTS: usize = 3;

/// How long a file may be under way, each way.
const FILE: Duration = Duration::from_mins(2);

/// From where files may come.
#[derive(Debug)]
pub(super) struct Files {
    /// As `https://files.acme.kr`.
    origins: Vec<String>,
    most: usize,
    addresses: Addresses,
}

/// A file to upload.
pub(super) struct File {
    url: Url,
    name: String,
    document: Map<String, Value>,
}

impl Files {
    pub(super) fn of(settings: &Settings<'_>) -> Result<Self, String> {
        let origin = |host: &str| {
            let text = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
            let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            let url = url.filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
            url.map(|url| url.origin().ascii_serialization())
                .ok_or_else(|| format!("{host:?} is no host; expected files.acme.kr, or http://files.acme.kr"))
        };
        let origins = settings.texts("fetch_hosts").into_iter().map(origin).collect::<Result<_, _>>()?;
        let most = settings.size("fetch_limit").and_then(|most| usize::try_from(most).ok()).unwrap_or_default();
        let addresses = if settings.flag("allow_private") { Addresses::Any } else { Addresses::Public };
        Ok(Self { origins, most, addresses })
    }

    /// A URL that may be fetched.
    pub(super) fn allowed(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|why| format!("this is no URL: {why}"))?;
        let origin = url.origin().ascii_serialization();
        if self.origins.contains(&origin) && url.username().is_empty() && url.password().is_none() {
            return Ok(url);
        }
        Err(match self.origins.as_slice() {
            [] => "the sink has no `fetch_hosts` to take files from".to_owned(),
            known => format!("{origin} is none of the sink's `fetch_hosts`: {}", known.join(", ")),
        })
    }
}

/// The file that a call is to upload first.
pub(super) fn wanted(call: &Call) -> Option<File> {
    let file = call.part.get("file")?;
    let url = Url::parse(file["url"].as_str()?).ok()?;
    Some(File { url, name: file["name"].as_str()?.to_owned(), document: file["document"].as_object()?.clone() })
}

impl Objects {
    /// Fetches the file, uploads it, makes a document of it. Only the last has an effect.
    pub(super) async fn upload(&self, client: &Client, call: &Call, file: &File) -> Result<Answer, SendError> {
        let content = match self.fetch(client, file.url.clone()).await? {
            Ok(content) => content,
            Err(why) => return Ok(refusal(&why)),
        };
        let uploaded =
            client.send(&self.door.upload(&file.name, &content).timeout(FILE)).await.map_err(without_effect)?;
        let handle = match answer::read(&uploaded) {
            Said::Yes(said) => said["handle"].as_str().map(str::to_owned),
            Said::No(Trouble::Unclear, why) => return Err(SendError::NotSent(format!("the upload: {why}"))),
            Said::No(..) => return Ok(uploaded),
        };
        let why = || SendError::NotSent(format!("the upload gave no handle: {}", answer::summary(&uploaded)));
        let document = self.with_handle(&file.document, &handle.ok_or_else(why)?);
        client.send(&Call { timeout: call.timeout, ..document }).await
    }

    /// The file's content, or why there is none to be had.
    async fn fetch(&self, client: &Client, mut url: Url) -> Result<Result<Bytes, String>, SendError> {
        for _ in 0..=REDIRECTS {
            let host = url.host_str().unwrap_or_default().to_owned();
            let call = Call::new(Method::GET, url.clone()).addresses(self.files.addresses).timeout(FILE);
            // No call on the account: its file is elsewhere.
            let answer = client.bare().send(&call.longest(self.files.most + 1)).await.map_err(without_effect)?;
            let status = answer.status;
            if answer.body.len() > self.files.most {
                return Ok(Err(format!(
                    "the file at {host} is longer than the {} bytes of `fetch_limit`",
                    self.files.most
                )));
            }
            if status.is_success() {
                return Ok(Ok(answer.body));
            }
            if !status.is_redirection() {
                let why = format!("the file's host {host} answered HTTP {}", status.as_u16());
                let passing = status.is_server_error()
                    || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                return if passing { Err(SendError::NotSent(why)) } else { Ok(Err(why)) };
            }
            let to = answer.headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok());
            match to.and_then(|to| url.join(to).ok()) {
                Some(next) if next.origin() == url.origin() => url = next,
                _ => return Ok(Err(format!("the file's host {host} leads to another, which is not followed"))),
            }
        }
        Ok(Err(format!("the file has more than {REDIRECTS} redirects")))
    }
}

/// What fails before the document is made has done nothing.
fn without_effect(error: SendError) -> SendError {
    match error {
        SendError::NoAnswer(why) => SendError::NotSent(why),
        other => other,
    }
}

/// An answer in the vendor's shape that says why there was no call to it.
fn refusal(why: &str) -> Answer {
    let body = json!({ "error": { "message": why } });
    Answer { status: StatusCode::UNPROCESSABLE_ENTITY, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
}
