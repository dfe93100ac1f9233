//! `dari hooks`: a source's URL at its vendor.

use super::access::{Access, Where, segment};
use super::{Result, output};
use crate::admin::api::{Subscribe, Unsubscribe};
use crate::admin::subscriptions::Subscribed;
use crate::admin::views::Done;
use crate::connectors::Registered;

/// What can be done about webhooks at their vendors.
#[derive(Debug, clap::Subcommand)]
pub enum HooksAction {
    /// Subscribe a source's URL; one that is subscribed already is told, and not doubled
    Register {
        /// The source
        source: String,
        /// Even if it is subscribed already
        #[arg(long)]
        again: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List all subscriptions that the source's account can see
    List {
        /// The source
        source: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End the subscriptions of a source's URL, or the one with an id
    Remove {
        /// The source
        source: String,
        /// The vendor's id of one
        id: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `dari hooks`.
///
/// # Errors
/// There is no such source, its vendor has no call for it, refuses, or does not answer.
pub async fn hooks(action: HooksAction, place: &Where) -> Result {
    let access = Access::open_or_make(place).await?;
    let path = |source: &str, what: &str| format!("/api/sources/{}/hooks{what}", segment(source));
    match action {
        HooksAction::Register { source, again, json } => {
            let done: Subscribed = access.post(&path(&source, "/register"), &Subscribe { again }).await?;
            access.close().await?;
            if json { output::json(&done) } else { tell(&done) }
        }
        HooksAction::List { source, json } => {
            let found: Vec<Registered> = access.get(&path(&source, ""), &()).await?;
            access.close().await?;
            if json { output::json(&found) } else { table(found) }
        }
        HooksAction::Remove { source, id, json } => {
            let done: Done = access.post(&path(&source, "/remove"), &Unsubscribe { id }).await?;
            access.close().await?;
            if json { output::json(&done) } else { output::line(done.done) }
        }
    }
}

fn tell(done: &Subscribed) -> Result {
    let what = if done.made { "subscribed" } else { "subscribed already, nothing was done" };
    output::line(format!("{}: {what}", done.url))?;
    for hook in &done.hooks {
        let off = if hook.active { "" } else { " (switched off)" };
        output::line(format!("  {} tells of {}{off}", hook.id, hook.about))?;
    }
    match &done.note {
        Some(note) => output::line(format!("  {note}")),
        None => Ok(()),
    }
}

fn table(found: Vec<Registered>) -> Result {
    let state = |active| if active { "on" } else { "switched off" }.to_owned();
    let rows = found.into_iter().map(|hook| [hook.id, hook.url, hook.about, state(hook.active)]).collect();
    output::table(["id", "url", "tells of", "state"], rows, "no subscriptions")
}
