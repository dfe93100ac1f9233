//! `dari dead`, `accounts`, `sinks`, `sources`, `routes`: how things stand, and what a person does about it.

mod standing;

use standing::state;

use super::access::{Access, Where, segment};
use super::{Result, output};
use crate::admin::api::{Mark, Retire, Used, Why};
use crate::admin::views::{AccountView, Done, RouteView, SinkView, SourceView};
use crate::store::{DeadClass, DeadFilter, StoredDead};

/// Works the dead and the held.
#[derive(Debug, clap::Subcommand)]
pub enum DeadAction {
    /// List them, oldest first
    List {
        /// Only those that wait for a person's word on what happened
        #[arg(long)]
        held: bool,
        /// Of this route
        #[arg(long)]
        route: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one, with its event and its call
    Show {
        /// Its number
        id: i64,
    },
    /// Drop one for good
    Drop {
        /// Its number
        id: i64,
    },
    /// Say what became of a held one
    Mark {
        /// Its number
        id: i64,
        /// It took effect
        #[arg(long, required_unless_present = "again", conflicts_with = "again")]
        delivered: bool,
        /// It made this record at the vendor
        #[arg(long, value_name = "REMOTE", requires = "delivered")]
        id_there: Option<String>,
        /// It did not take effect: send it again
        #[arg(long)]
        again: bool,
    },
}

impl Default for DeadAction {
    fn default() -> Self {
        Self::List { held: false, route: None, limit: 100, json: false }
    }
}

/// Shows them, or does something to one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StateArgs<A: clap::Subcommand> {
    #[command(subcommand)]
    action: Option<A>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What can be done to sinks and routes.
#[derive(Debug, clap::Subcommand)]
pub enum StopAction {
    /// Stop until resumed; what comes waits
    Suspend {
        /// Its name
        name: String,
        /// Why, for the others
        #[arg(long)]
        why: Option<String>,
    },
    /// Let go on
    Resume {
        /// Its name
        name: String,
    },
}

/// What can be done to routes.
#[derive(Debug, clap::Subcommand)]
pub enum RouteAction {
    /// Forget a route that is no longer in the config: its links and its queue
    Retire {
        /// Its former name
        name: String,
        /// Keep the messages in its queue as dead letters first
        #[arg(long, conflicts_with = "drop")]
        drain: bool,
        /// Give them to this route instead
        #[arg(long, value_name = "ROUTE", requires = "drain")]
        to: Option<String>,
        /// Drop the messages that still wait for it
        #[arg(long)]
        drop: bool,
    },
    /// Stop, or let go on
    #[command(flatten)]
    Stop(StopAction),
}

/// What can be done to sources.
#[derive(Debug, clap::Subcommand)]
pub enum SourceAction {
    /// Poll now
    Poll {
        /// Its name
        name: String,
    },
    /// Let a poll pass, once, that would delete much and therefore stopped
    Confirm {
        /// Its name
        name: String,
    },
    /// Stop, or let go on
    #[command(flatten)]
    Stop(StopAction),
}

/// What can be done to accounts.
#[derive(Debug, clap::Subcommand)]
pub enum AccountAction {
    /// Set what the bridge cannot know
    Set {
        /// Its name
        name: String,
        /// How many calls were made this month, as for a start in mid-month
        #[arg(long)]
        used: u64,
    },
    /// Stop, or let go on
    #[command(flatten)]
    Stop(StopAction),
}

async fn stop(access: &Access, scope: &str, action: StopAction) -> Result {
    let done: Done = match action {
        StopAction::Suspend { name, why } => {
            access.post(&format!("/api/{scope}/{}/suspend", segment(&name)), &Why { why }).await?
        }
        StopAction::Resume { name } => {
            access.post(&format!("/api/{scope}/{}/resume", segment(&name)), &Why::default()).await?
        }
    };
    output::line(done.done)
}

/// `dari dead`.
///
/// # Errors
/// There is no such letter, or the bridge does not answer.
pub async fn dead(action: DeadAction, place: &Where) -> Result {
    let access = Access::open(place).await?;
    let done: Done = match action {
        DeadAction::List { held, route, limit, json } => {
            let class = held.then_some(DeadClass::Held);
            let filter = DeadFilter { route, class, after: None, limit };
            let found: Vec<StoredDead> = access.get("/api/dead", &filter).await?;
            return if json { output::json(&found) } else { list_dead(found) };
        }
        DeadAction::Show { id } => {
            let found: StoredDead = access.get(&format!("/api/dead/{id}"), &()).await?;
            return output::json(&found);
        }
        DeadAction::Drop { id } => access.post(&format!("/api/dead/{id}/drop"), &()).await?,
        DeadAction::Mark { id, id_there, again, .. } => {
            let mark = if again { Mark::Again } else { Mark::Delivered { id: id_there } };
            access.post(&format!("/api/dead/{id}/mark"), &mark).await?
        }
    };
    access.close().await?;
    output::line(done.done)
}

fn list_dead(found: Vec<StoredDead>) -> Result {
    let rows = found
        .into_iter()
        .map(|StoredDead { id, letter }| {
            let class = format!("{:?}", letter.class).to_lowercase();
            let event = output::short(&letter.event.id, 40);
            let attempts = letter.attempts.to_string();
            [id.to_string(), output::time(letter.at), letter.delivery.route, class, event, attempts, letter.reason]
        })
        .collect();
    output::table(["no", "since", "route", "class", "event", "attempts", "reason"], rows, "no dead letters")
}

/// `dari accounts`.
///
/// # Errors
/// There is no such account, or the bridge does not answer.
pub async fn accounts(args: StateArgs<AccountAction>, place: &Where) -> Result {
    let access = Access::open(place).await?;
    match args.action {
        Some(AccountAction::Stop(action)) => return stop(&access, "accounts", action).await,
        Some(AccountAction::Set { name, used }) => {
            let path = format!("/api/accounts/{}/used", segment(&name));
            let done: Done = access.post(&path, &Used { used }).await?;
            return output::line(done.done);
        }
        None => {}
    }
    let found: Vec<AccountView> = access.get("/api/accounts", &()).await?;
    if args.json {
        return output::json(&found);
    }
    output::table(standing::ACCOUNTS, found.into_iter().map(standing::account).collect(), "no accounts")
}

/// `dari sinks`.
///
/// # Errors
/// There is no such sink, or the bridge does not answer.
pub async fn sinks(args: StateArgs<StopAction>, place: &Where) -> Result {
    let access = Access::open(place).await?;
    if let Some(action) = args.action {
        return stop(&access, "sinks", action).await;
    }
    let found: Vec<SinkView> = access.get("/api/sinks", &()).await?;
    if args.json {
        return output::json(&found);
    }
    output::table(standing::SINKS, found.into_iter().map(standing::sink).collect(), "no sinks")
}

/// `dari sources`.
///
/// # Errors
/// There is no such source, or the bridge does not answer.
pub async fn sources(args: StateArgs<SourceAction>, place: &Where) -> Result {
    let access = Access::open(place).await?;
    match args.action {
        Some(SourceAction::Stop(action)) => return stop(&access, "sources", action).await,
        Some(SourceAction::Poll { name }) => {
            let done: Done = access.post(&format!("/api/sources/{}/poll", segment(&name)), &()).await?;
            return output::line(done.done);
        }
        Some(SourceAction::Confirm { name }) => {
            let done: Done = access.post(&format!("/api/sources/{}/confirm", segment(&name)), &()).await?;
            return output::line(done.done);
        }
        None => {}
    }
    let found: Vec<SourceView> = access.get("/api/sources", &()).await?;
    if args.json {
        return output::json(&found);
    }
    let rows = found
        .into_iter()
        .map(|s| {
            let last = match (s.path, s.last_poll) {
                (Some(path), _) if s.unfetched > 0 => format!("POST {path}, {} still to be read anew", s.unfetched),
                (Some(path), _) => format!("POST {path}"),
                (None, Some(poll)) => {
                    let said = poll.note.map(|n| format!(": {}", output::short(&n, 60))).unwrap_or_default();
                    let how = if poll.failed { "failed" } else { "polled" };
                    format!("{how} {}, {} events{said}", output::time(poll.at), poll.events)
                }
                (None, None) => "never polled".to_owned(),
            };
            [s.name, s.kind, last, state(s.enabled, s.suspension.as_ref())]
        })
        .collect();
    output::table(["source", "kind", "last", "state"], rows, "no sources")
}

/// `dari routes`.
///
/// # Errors
/// There is no such route, or the bridge does not answer.
pub async fn routes(args: StateArgs<RouteAction>, place: &Where) -> Result {
    let access = Access::open(place).await?;
    match args.action {
        Some(RouteAction::Stop(action)) => return stop(&access, "routes", action).await,
        Some(RouteAction::Retire { name, drain, to, drop }) => {
            let path = format!("/api/routes/{}/retire", segment(&name));
            let done: Done = access.post(&path, &Retire { drop, drain, to }).await?;
            access.close().await?;
            return output::line(done.done);
        }
        None => {}
    }
    let found: Vec<RouteView> = access.get("/api/routes", &()).await?;
    if args.json {
        return output::json(&found);
    }
    let rows = found
        .into_iter()
        .map(|r| {
            let way = match &r.to {
                Some(to) => format!("{} → {} {to}", r.from.join(", "), r.does.join("/")),
                None => "no longer in the config".to_owned(),
            };
            let queued =
                if r.waiting > 0 { format!("{} ({} wait)", r.queued, r.waiting) } else { r.queued.to_string() };
            let oldest = r.oldest.map(output::time).unwrap_or_default();
            let enabled = r.enabled || r.to.is_none();
            [r.name, way, queued, oldest, r.dead.to_string(), r.held.to_string(), state(enabled, r.suspension.as_ref())]
        })
        .collect();
    output::table(["route", "way", "queued", "oldest", "dead", "held", "state"], rows, "no routes")
}
