//! Where a Walla source stands: which window of submission times is next, and what of the last one is known.
//!
//! A pass goes from `from` to now in one window or several. The next pass starts `overlap` before the end of this one,
//! so that a response that shows up late is found, and one that was edited is seen to have changed. Everything seen
//! within the overlap is remembered by id and content; what is older is not looked at again.
//!
//! One thing cannot be seen: a change that was published, not committed because of a crash, and taken back before the
//! next poll.

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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

    fn response(id: &str, at: Timestamp, content: usize) -> Response {
        let item = json!({"id": id, "submittedAt": at.to_string(), "content": content});
        Response::read(item, &TimeZone::UTC).unwrap()
    }

    /// A vendor, a poller that may crash, and a receiver that knows repetitions by their ids.
    struct Model {
        now: Timestamp,
        cursor: Cursor,
        vendor: Vec<(String, Timestamp, usize)>,
        applied: BTreeMap<String, String>,
        ids: BTreeSet<(String, String, u32)>,
        created: usize,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Submit { late: i64 },
        Edit { which: prop::sample::Index, content: usize },
        Advance { seconds: i64 },
        Poll { crash: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..3_600_i64).prop_map(|late| Step::Submit { late }),
            2 => Just(Step::Submit { late: 0 }),
            4 => (any::<prop::sample::Index>(), 0..2_usize).prop_map(|(which, content)| Step::Edit { which, content }),
            3 => (0..2_000_i64).prop_map(|seconds| Step::Advance { seconds }),
            4 => any::<bool>().prop_map(|crash| Step::Poll { crash }),
        ];
        prop::collection::vec(step, 0..60)
    }

    impl Model {
        fn new() -> Self {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let cursor = Cursor::from_start(before(now, SignedDuration::from_hours(48)));
            let (vendor, applied, ids) = Default::default();
            Self { now, cursor, vendor, applied, ids, created: 0 }
        }

        fn step(&mut self, step: &Step, crashes: bool) {
            match step {
                Step::Submit { late } => {
                    let at = before(self.now, SignedDuration::from_secs(*late));
                    self.vendor.push((format!("r{}", self.vendor.len()), at, 0));
                }
                Step::Edit { which, content } => {
                    let fresh = self.vendor.iter().map(|(.., content)| content + 1).max().unwrap_or_default();
                    let oldest = before(self.now, OVERLAP);
                    let mut young: Vec<_> = self.vendor.iter_mut().filter(|(_, at, _)| *at >= oldest).collect();
                    if !young.is_empty() {
                        let index = which.index(young.len());
                        // A change that is taken back during a crash cannot be seen: then every content is new.
                        young[index].2 = if crashes { fresh } else { *content };
                    }
                }
                Step::Advance { seconds } => self.now = after(self.now, SignedDuration::from_secs(*seconds)),
                Step::Poll { crash } => self.poll(crashes && *crash),
            }
        }

        /// A whole pass. At most three responses can be read at once, and as many are around the window.
        fn poll(&mut self, crash: bool) {
            let mut cursor = self.cursor.clone();
            loop {
                let (window, last) = cursor.window(self.now);
                let within = self.vendor.iter().filter(|(_, at, _)| window.holds(*at)).count();
                if within > 3 && window.span() > SignedDuration::from_secs(1) {
                    cursor.narrow(window);
                    continue;
                }
                let all = self.vendor.iter().map(|(id, at, content)| response(id, *at, *content)).collect();
                for news in cursor.take(window, all, last, OVERLAP) {
                    let id = (news.response.id.clone(), news.hash.clone(), news.edits);
                    if self.ids.insert(id) {
                        self.created += usize::from(news.edits == 0);
                        self.applied.insert(news.response.id, news.hash);
                    } else {
                        assert!(crash || self.applied.contains_key(&news.response.id));
                    }
                }
                let stored = serde_json::to_value(&cursor).unwrap();
                cursor = serde_json::from_value(stored).unwrap();
                if last {
                    break;
                }
            }
            if !crash {
                self.cursor = cursor;
            }
        }

        fn check(&self) {
            for (id, at, content) in &self.vendor {
                let hash = response(id, *at, *content).hash();
                assert_eq!(self.applied.get(id), Some(&hash), "{id}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_interleaving_brings_every_responses_final_content(steps in steps(), crashes: bool) {
            let mut model = Model::new();
            for step in &steps {
                model.step(step, crashes);
            }
            model.now = after(model.now, SignedDuration::from_secs(1));
            model.poll(false);
            model.check();
            if !crashes {
                prop_assert_eq!(model.created, model.vendor.len());
            }
        }
    }

    #[test]
    fn too_many_to_remember_shorten_the_overlap_and_none_comes_twice() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut cursor = Cursor::from_start(before(now, OVERLAP));
        // Two at each time; the oldest remembered time is cut away whole.
        let all: Vec<_> = (0_i64..)
            .take(MOST_SEEN + 3)
            .map(|n| response(&n.to_string(), before(now, SignedDuration::from_millis(1 + 250 * (n / 2))), 0))
            .collect();
        let (window, last) = cursor.window(now);
        assert_eq!(cursor.take(window, all.clone(), last, OVERLAP).len(), MOST_SEEN + 3);
        assert!(cursor.seen.len() <= MOST_SEEN && cursor.seen.len() > MOST_SEEN - 3, "{}", cursor.seen.len());
        let told = cursor.shortened().unwrap();
        assert!(told.starts_with("over 10000 responses within the overlap"), "{told}");
        let (window, last) = cursor.window(after(now, SignedDuration::from_secs(1)));
        assert_eq!(cursor.take(window, all, last, OVERLAP).len(), 0);
    }

    #[test]
    fn a_row_that_comes_twice_is_one_response() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut cursor = Cursor::from_start(before(now, OVERLAP));
        let at = before(now, SignedDuration::from_secs(9));
        for expected in [1, 0] {
            let (window, last) = cursor.window(now);
            let twice = vec![response("r", at, 1), response("r", at, 2)];
            assert_eq!(cursor.take(window, twice, last, OVERLAP).len(), expected);
        }
    }
}
