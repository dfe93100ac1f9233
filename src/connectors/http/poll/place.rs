//! How far a source is in its API's list.

use serde::{Deserialize, Serialize};
use url::Url;

use super::records::{Mark, Reader, Record};
use crate::connectors::http::target::Target;
use crate::connectors::pollers::keys::Start;

/// What the next request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// A path with its query, at the same origin, without what the config adds.
    Link(String),
    /// The number of a page, or of a record.
    Number(u64),
    /// What the API calls it.
    Token(String),
}

impl Next {
    /// Without the parameters that the config has anyway: they may be secrets, and a cursor is shown.
    pub fn without(self, target: &Target, query: &[(String, String)]) -> Self {
        let Self::Link(link) = &self else { return self };
        let mut url = at_link(target.url(), link);
        let own: Vec<_> = own_pairs(target.url(), query);
        let left: Vec<_> = url.query_pairs().into_owned().filter(|pair| !own.contains(pair)).collect();
        url.set_query(None);
        if !left.is_empty() {
            url.query_pairs_mut().extend_pairs(left);
        }
        Self::Link(url[url::Position::BeforePath..].to_owned())
    }
}

/// A path with its query at the origin of `base`. Joined to it a path that begins with two slashes would be a host.
pub fn at_link(base: &Url, link: &str) -> Url {
    let mut url = base.clone();
    let (path, query) = link.split_once('?').map_or((link, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    url
}

/// The parameters of the config.
pub fn own_pairs(url: &Url, query: &[(String, String)]) -> Vec<(String, String)> {
    url.query_pairs().into_owned().chain(query.iter().cloned()).collect()
}

/// Where a pass is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How many passes before this one told something.
    pub pass: u64,
    /// There in the first pass: what it brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Start>,
    /// The cursor that this pass asks with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The greatest that it has seen, as the API wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// The next page; `None`: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// How many pages it has read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pages: u32,
    /// True if it told something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Place {
    /// The first pass.
    pub fn begin(start: Start) -> Self {
        let since = match start {
            Start::From(from) => Some(from.to_string()),
            Start::Now | Start::All => None,
        };
        Self { pass: 0, first: Some(start), since, newest: None, next: None, pages: 0, told: false }
    }

    /// True if a record is only to be remembered.
    pub fn is_silent(&self, record: &Record) -> bool {
        match self.first {
            None | Some(Start::All) => false,
            Some(Start::Now) => true,
            Some(Start::From(from)) => record.at().is_some_and(|at| at < from),
        }
    }

    /// Notes the cursor of a record, if it is the greatest.
    pub fn note(&mut self, record: &Record) {
        let Some(mark) = &record.mark else { return };
        let newer = self.newest.as_deref().and_then(|newest| Mark::read(newest, &mark.zone));
        if newer.is_none_or(|newest| mark.is_after(&newest)) {
            self.newest = Some(mark.text.clone());
        }
    }

    /// At the next page.
    pub fn on(self, next: Next) -> Self {
        Self { next: Some(next), pages: self.pages + 1, ..self }
    }

    /// At the next pass.
    pub fn over(self, reader: &Reader) -> Self {
        // What has told nothing need not be told apart.
        let pass = self.pass + u64::from(self.told);
        let since = self.newest.map(|newest| reader.from(newest)).or(self.since);
        Self { pass, first: None, since, newest: None, next: None, pages: 0, told: false }
    }
}
