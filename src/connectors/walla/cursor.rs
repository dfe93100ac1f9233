//! Where a Walla source stands: which window of submission times is next, and what of the last one is known.
//!
//! A pass goes from `from` to now in one window or several. The next pass starts `overlap` before the end of this one,
//! so that a response that shows up late is found, and one that was edited is seen to have changed. Everything seen
//! within the overlap is remembered by id and content; what is older is not looked at again.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::response::Response;

/// How many responses are remembered at most. More within the overlap shorten it.
const MOST_SEEN: usize = 10_000;

/// The stored cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The end of the last window.
    pub(super) until: Timestamp,
    /// Where the next window starts.
    pub(super) from: Timestamp,
    /// Nothing submitted before is ever looked at.
    floor: Timestamp,
    /// What was there before this instant is learnt and not sent, until a pass has reached it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) learn: Option<Timestamp>,
    /// How many seconds a window may span, where the whole would be too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<i64>,
    /// True if there were too many responses within the overlap to remember them all.
    #[serde(skip)]
    shortened: bool,
    /// What is known of the responses within the overlap, by id.
    seen: BTreeMap<String, Seen>,
}

/// What is known of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// When it was submitted.
    at: Timestamp,
    /// Its content.
    hash: String,
    /// How often it was seen to change.
    #[serde(default, skip_serializing_if = "is_zero")]
    edits: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The submission times that are asked for: from the first, before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Window {
    pub(super) fn span(self) -> SignedDuration {
        self.to.duration_since(self.from)
    }

    fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// A response that is news.
#[derive(Debug)]
pub(super) struct News {
    /// The response.
    pub(super) response: Response,
    /// How often it was changed before this: 0 if it is new.
    pub(super) edits: u32,
    /// [`Response::hash`].
    pub(super) hash: String,
}

impl Cursor {
    /// A source that starts with what is submitted from `start`.
    pub(super) fn from_start(start: Timestamp) -> Self {
        Self {
            until: start,
            from: start,
            floor: start,
            learn: None,
            width: None,
            shortened: false,
            seen: BTreeMap::new(),
        }
    }

    /// A source that starts now: what lies within the overlap is learnt, so that a response that shows up late, or is
    /// changed later, is told apart from it.
    pub(super) fn from_now(now: Timestamp, overlap: SignedDuration) -> Self {
        let from = before(now, overlap);
        Self { learn: Some(now), ..Self::from_start(from) }
    }

    /// The next window, and whether it is the last one of this pass.
    pub(super) fn window(&self, now: Timestamp) -> (Window, bool) {
        let end = self.learn.unwrap_or(now).max(self.from);
        let to = match self.width {
            Some(seconds) => after(self.from, SignedDuration::from_secs(seconds)).min(end),
            None => end,
        };
        (Window { from: self.from, to }, to == end && self.learn.is_none())
    }

    /// The window was too much: a narrower one is next.
    pub(super) fn narrow(&mut self, window: Window) {
        self.width = Some((window.span().as_secs() / 2).max(1));
    }

    /// Takes in what a window holds and goes on to the next. The news come oldest first.
    pub(super) fn take(
        &mut self,
        window: Window,
        responses: Vec<Response>,
        last: bool,
        overlap: SignedDuration,
    ) -> Vec<News> {
        let mut latest = BTreeMap::<String, Response>::new();
        for response in responses.into_iter().filter(|r| window.holds(r.submitted)) {
            let newer = latest.get(&response.id).is_none_or(|known| known.updated <= response.updated);
            if newer {
                latest.insert(response.id.clone(), response);
            }
        }
        let mut news: Vec<_> = latest.into_values().filter_map(|response| self.learn(response)).collect();
        news.sort_by(|a, b| (a.response.submitted, &a.response.id).cmp(&(b.response.submitted, &b.response.id)));
        if self.learn.is_some() {
            news.clear();
        }
        self.advance(window, last, overlap);
        news
    }

    /// A word for people if the overlap is shorter than asked for: responses before it are not looked at again.
    pub(super) fn shortened(&self) -> Option<String> {
        (self.shortened).then(|| format!("over {MOST_SEEN} responses within the overlap: it starts at {}", self.floor))
    }

    /// Remembers a response; what is news about it.
    fn learn(&mut self, response: Response) -> Option<News> {
        let hash = response.hash();
        let edits = match self.seen.get(&response.id) {
            Some(seen) if seen.hash == hash => return None,
            Some(seen) => seen.edits + 1,
            None => 0,
        };
        self.seen.insert(response.id.clone(), Seen { at: response.submitted, hash: hash.clone(), edits });
        Some(News { response, edits, hash })
    }

    fn advance(&mut self, window: Window, last: bool, overlap: SignedDuration) {
        let oldest = before(window.to, overlap);
        self.until = window.to;
        self.from = window.to;
        self.seen.retain(|_, seen| seen.at >= oldest);
        self.width = self.width.map(|_| window.span().as_secs().max(1) * 2);
        if last {
            self.from = oldest.max(self.floor);
            self.width = self.width.filter(|&width| width < overlap.as_secs());
        }
        if self.learn.is_some_and(|learn| window.to >= learn) {
            self.learn = None;
        }
        self.bound();
    }

    /// Forgets the oldest of too many, and everything as old as they: what is no longer remembered must not be looked
    /// at again, or it would be taken for new.
    fn bound(&mut self) {
        self.shortened = false;
        let Some(excess) = self.seen.len().checked_sub(MOST_SEEN + 1) else { return };
        let mut times: Vec<_> = self.seen.values().map(|seen| seen.at).collect();
        times.sort_unstable();
        let cut = times[excess];
        self.seen.retain(|_, seen| seen.at > cut);
        self.floor = self.floor.max(after(cut, SignedDuration::from_nanos(1)));
        self.from = self.from.max(self.floor);
        self.shortened = true;
    }
}

fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
