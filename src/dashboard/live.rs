//! Tells an open page that there is news: server-sent events. What the news is the page fetches itself.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;

use super::Dashboard;

/// The least time between two: a page is not fetched more often.
const CALM: Duration = Duration::from_secs(1);
/// The longest: times grow old, and a connection that is gone is noticed.
const STILL: Duration = Duration::from_secs(15);

/// `GET /events`.
pub(super) async fn events(State(board): State<Dashboard>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news = board.operator().metrics.pace.follow();
    let stop = board.0.stop.clone();
    Sse::new(unfold((news, stop, true), |(mut news, stop, first)| async move {
        if first {
            // At once, so that the page knows that it is connected.
            return Some((Ok(Event::default().event("hello").data("1")), (news, stop, false)));
        }
        let awaited = async {
            tokio::time::sleep(CALM).await;
            // Its sender lives as long as the bridge. Quiet is news too.
            _ = tokio::time::timeout(STILL, news.changed()).await;
        };
        stop.run_until_cancelled(awaited).await?;
        news.mark_unchanged();
        Some((Ok(Event::default().event("news").data("1")), (news, stop, false)))
    }))
}
