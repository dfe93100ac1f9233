//! The last seven days, from the journal.
//!
//! Counting takes longer than a page may: it is done beside it, at most once a minute, and an open page is told when it is.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::Dashboard;
use super::page::Page;
use super::show::number;
use super::spark::Chart;
use crate::store::journal::Part;

/// The parts of the seven days: three hours each.
const PART: Duration = Duration::from_hours(3);
const PARTS: usize = 56;
const ALL: SignedDuration = SignedDuration::from_hours(7 * 24);
/// When they are counted again.
const RECOUNT: SignedDuration = SignedDuration::from_mins(1);
/// When what was counted is not shown any more.
const OLD: SignedDuration = SignedDuration::from_mins(5);

/// What was counted, and when.
#[derive(Debug, Default)]
pub(super) struct Week {
    counted: Option<(Timestamp, Arc<[Part]>)>,
    is_counting: bool,
}

/// What is known; where that is not of now, it is counted anew beside this.
fn known(page: &Page, board: &Dashboard) -> Option<Arc<[Part]>> {
    let mut week = board.0.week.lock().unwrap_or_else(PoisonError::into_inner);
    let age = week.counted.as_ref().map(|(at, _)| page.now.duration_since(*at).abs());
    if age.is_none_or(|age| age >= RECOUNT) && !week.is_counting {
        week.is_counting = true;
        tokio::spawn(count(board.clone(), page.now));
    }
    week.counted.as_ref().filter(|_| age.is_some_and(|age| age < OLD)).map(|(_, parts)| Arc::clone(parts))
}

async fn count(board: Dashboard, now: Timestamp) {
    let from = now.saturating_sub(ALL).unwrap_or(Timestamp::MIN);
    let counted = board.operator().journal.course(from, PART, PARTS).await;
    let mut week = board.0.week.lock().unwrap_or_else(PoisonError::into_inner);
    week.is_counting = false;
    match counted {
        Ok(parts) => week.counted = Some((now, parts.into())),
        Err(error) => tracing::warn!(%error, "the last seven days cannot be counted"),
    }
    drop(week);
    board.operator().metrics.pace.tell();
}

/// The part of the first page.
pub(super) fn section(page: &Page, board: &Dashboard) -> Markup {
    let known = known(page, board);
    html! {
        @if known.as_ref().is_none_or(|parts| !parts.is_empty()) {
            section aria-labelledby="week-title" {
                h2 #week-title { (page.say("The last seven days")) }
                div #week data-live {
                    @match known {
                        Some(parts) => (charts(page, &parts)),
                        None => p.quiet { (page.say("They are being counted…")) },
                    }
                }
            }
        }
    }
}

fn charts(page: &Page, week: &[Part]) -> Markup {
    let sum = |of: fn(&Part) -> u64| number(week.iter().map(of).sum());
    #[expect(clippy::cast_precision_loss, reason = "a chart")]
    let counts = |of: fn(&Part) -> u64| week.iter().map(|part| of(part) as f64).collect();
    let (since, nothing) = (page.say("7 days ago"), page.say("nothing in seven days"));
    let chart = |title, bars| page.chart(&Chart { title, unit: page.say("in 3 hours"), since, nothing, bars });
    html! {
        p {
            (page.fill("{0} events came, {1} deliveries were made and {2} failed.", &[
                &sum(|part| part.came), &sum(|part| part.delivered), &sum(|part| part.failed),
            ]))
        }
        div.charts {
            (chart(page.say("Events"), vec![("calm", counts(|part| part.came))]))
            (chart(page.say("Deliveries"), vec![
                ("good", counts(|part| part.delivered)), ("bad", counts(|part| part.failed)),
            ]))
        }
    }
}
