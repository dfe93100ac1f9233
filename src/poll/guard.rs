//! Asks a person before a poll deletes much (promise P9).
//!
//! A vendor that shows an empty list, a calendar that is no longer shared, a filter that was changed: all look as if
//! everything had been deleted. A poll that would delete more than a fifth of what its source remembers, and more than
//! ten, emits nothing and stops the source. A person's word (`dari sources confirm NAME`) lets the next such poll pass,
//! once: the word is bound to that poll's cursor before it is published, so that a crash neither wastes nor doubles it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connectors::Page;
use crate::store::{self, Store};

/// Up to so many deletions are never asked about.
const FEW: u64 = 10;
/// Nor are those up to this part of what is known: a fifth.
const PART: u64 = 5;

/// What is kept about a source's deletions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// What was asked.
    asked: Option<Asked>,
    /// True if a person has said yes.
    confirmed: bool,
    /// The cursor of the page that passes by it.
    passes: Option<Value>,
}

/// What a person is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// How many subjects the poll would delete.
    pub deleted: u64,
    /// Of how many.
    pub known: u64,
}

/// Whether a page may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Pass,
    /// A person is to be asked first, in these words.
    Ask(String),
}

fn fact(source: &str) -> String {
    format!("deletions:{source}")
}

async fn kept(store: &dyn Store, source: &str) -> store::Result<Kept> {
    let kept = store.fact(&fact(source)).await?;
    Ok(kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default())
}

async fn keep(store: &dyn Store, source: &str, kept: &Kept) -> store::Result<()> {
    store.set_fact(&fact(source), serde_json::to_value(kept).unwrap_or_default()).await
}

/// What is too much of a page.
fn too_many(page: &Page) -> Option<Asked> {
    let known = page.known?;
    let deleted = page.events.iter().filter(|event| event.kind.ends_with(".deleted")).count() as u64;
    (deleted > FEW && deleted * PART > known).then_some(Asked { deleted, known })
}

/// Looks at a page before it is published. `cursor` is where its poll began.
pub(super) async fn look(
    store: &dyn Store,
    source: &str,
    cursor: Option<&Value>,
    page: &Page,
) -> store::Result<Verdict> {
    if page.known.is_none() {
        return Ok(Verdict::Pass);
    }
    let now = kept(store, source).await?;
    let Some(asked) = too_many(page) else {
        // The word was for a poll that never came.
        if now != Kept::default() && !page.more {
            keep(store, source, &Kept::default()).await?;
        }
        return Ok(Verdict::Pass);
    };
    let again = now.passes.as_ref() == Some(&page.cursor) && cursor != Some(&page.cursor);
    if again {
        return Ok(Verdict::Pass);
    }
    if now.confirmed {
        let used = Kept { asked: None, confirmed: false, passes: Some(page.cursor.clone()) };
        keep(store, source, &used).await?;
        return Ok(Verdict::Pass);
    }
    keep(store, source, &Kept { asked: Some(asked), ..Kept::default() }).await?;
    let Asked { deleted, known } = asked;
    Ok(Verdict::Ask(format!(
        "the poll would delete {deleted} of {known}, so nothing of it was sent: see whether that is so at the vendor, then say \
         `dari sources confirm {source}` to let it pass, or `dari sources resume {source}` to look again"
    )))
}

/// What a person is asked about a source; `None`: nothing.
///
/// # Errors
/// The store cannot be read.
pub async fn asked(store: &dyn Store, source: &str) -> store::Result<Option<Asked>> {
    Ok(kept(store, source).await?.asked)
}

/// Lets the next poll that deletes too much pass; what that was about, or `None` if nothing was asked.
///
/// # Errors
/// The store cannot be read or written.
pub async fn confirm(store: &dyn Store, source: &str) -> store::Result<Option<Asked>> {
    let Some(asked) = asked(store, source).await? else { return Ok(None) };
    keep(store, source, &Kept { asked: Some(asked), confirmed: true, passes: None }).await?;
    Ok(Some(asked))
}
