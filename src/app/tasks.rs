//! What runs: started and stopped alone or together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Settling;

/// How long what is under way may take to finish at a stop.
const GRACE: Duration = Duration::from_secs(25);

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Delivers on a route.
    Route(String),
    /// Polls or receives from a source.
    Source(String),
    /// Reads the subjects of a source's events anew.
    Inbox(String),
    /// Works off the inboxes that nobody reads anew for any more.
    Leftovers,
    /// One for all of them.
    Common(&'static str),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(name) => write!(f, "route {name}"),
            Self::Source(name) => write!(f, "source {name}"),
            Self::Inbox(name) => write!(f, "inbox of {name}"),
            Self::Leftovers => f.write_str("inboxes"),
            Self::Common(name) => f.write_str(name),
        }
    }
}

impl Name {
    fn is_inbox(&self) -> bool {
        matches!(self, Self::Inbox(_) | Self::Leftovers)
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A part that is to run until it is told to stop.
pub struct Work {
    pub name: Name,
    /// The accounts that it calls.
    accounts: BTreeSet<String>,
    /// True if it needs the queues.
    queues: bool,
    run: Box<dyn FnOnce(CancellationToken) -> Running + Send>,
}

impl Work {
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        name: Name,
        accounts: BTreeSet<String>,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self {
        Self { name, accounts, queues: false, run: Box::new(|until| Box::pin(run(until))) }
    }

    /// The same; it waits until the queues are declared.
    pub fn with_queues(self) -> Self {
        Self { queues: true, ..self }
    }
}

/// A part at work.
struct Working {
    until: CancellationToken,
    /// Cancelled when it has ended.
    ended: CancellationToken,
    accounts: BTreeSet<String>,
    /// It ends by itself when its time has come.
    dismissed: bool,
}

/// A part that was told to stop, and finishes what is under way.
pub struct Leaving {
    name: Name,
    ended: CancellationToken,
    accounts: BTreeSet<String>,
}

/// A part that ended.
struct Ended {
    name: String,
    /// True if it was told to.
    told: bool,
}

/// What runs, and how it is told to stop.
pub struct Tasks {
    set: JoinSet<Ended>,
    working: BTreeMap<Name, Working>,
    settling: Settling,
    /// Cancelled: nothing new is begun.
    pub until: CancellationToken,
}

impl Tasks {
    pub fn new(settling: Settling) -> Self {
        Self { set: JoinSet::new(), working: BTreeMap::new(), settling, until: CancellationToken::new() }
    }

    /// Starts a part that works until all are told to stop.
    pub fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let until = self.until.clone();
        self.set.spawn(async move {
            part.await;
            Ended { name: name.to_owned(), told: until.is_cancelled() }
        });
    }

    /// Starts a part that can be stopped alone. It begins when those of `before` have ended that have the same queue, or
    /// call an account whose limits are others now: its own would let it call beside theirs.
    pub fn begin(&mut self, work: Work, before: &[Leaving], others: &BTreeSet<String>) {
        let Work { name, accounts, queues, run } = work;
        let (until, ended) = (self.until.child_token(), CancellationToken::new());
        let is_awaited = |old: &&Leaving| {
            let both = |account: &String| others.contains(account) && accounts.contains(account);
            old.name == name || (old.name.is_inbox() && name.is_inbox()) || old.accounts.iter().any(both)
        };
        let awaited: Vec<_> = before.iter().filter(is_awaited).map(|old| old.ended.clone()).collect();
        let (title, stop, settling) = (name.to_string(), until.clone(), self.settling.clone());
        let guard = ended.clone().drop_guard();
        self.set.spawn(async move {
            // Dropped at the very end, whatever that is.
            let _guard = guard;
            for old in awaited {
                // Not given up when this one is told to stop meanwhile: its own successor waits for it alone.
                old.cancelled().await;
            }
            let settled = !queues || stop.run_until_cancelled(settling.over()).await.is_some();
            if settled && !stop.is_cancelled() {
                run(stop.clone()).await;
            }
            Ended { name: title, told: stop.is_cancelled() }
        });
        self.working.insert(name, Working { until, ended, accounts, dismissed: false });
    }

    /// The parts that can be stopped alone.
    pub fn names(&self) -> Vec<Name> {
        self.working.keys().cloned().collect()
    }

    /// Tells a part to stop, and waits for its end.
    pub async fn end(&mut self, name: &Name) {
        if let Some(part) = self.working.remove(name) {
            part.until.cancel();
            part.ended.cancelled().await;
        }
    }

    /// Tells a part to stop, but not before its time has come.
    pub fn dismiss(&mut self, name: &Name, when: impl Future<Output = ()> + Send + 'static) {
        let Some(part) = self.working.get_mut(name).filter(|part| !part.dismissed) else { return };
        part.dismissed = true;
        let until = part.until.clone();
        self.set.spawn(async move {
            _ = until.run_until_cancelled(when).await;
            until.cancel();
            Ended { name: String::new(), told: true }
        });
    }

    /// Tells the parts to stop that have a successor and those that are not kept. Those that were told before and have not
    /// ended are among the answer.
    pub fn stop(&mut self, successors: &[Work], keep: impl Fn(&Name) -> bool) -> Vec<Leaving> {
        for (name, part) in &self.working {
            let succeeded = successors.iter().any(|work| work.name == *name);
            if succeeded || !(part.dismissed || keep(name)) {
                part.until.cancel();
            }
        }
        self.working.retain(|_, part| !part.ended.is_cancelled());
        let leaving = self.working.iter().filter(|(_, part)| part.until.is_cancelled());
        let leaving = leaving.map(|(name, part)| Leaving {
            name: name.clone(),
            ended: part.ended.clone(),
            accounts: part.accounts.clone(),
        });
        leaving.collect()
    }

    /// Waits for a part that ends though nobody told it to: its name.
    pub async fn broken(&mut self) -> String {
        loop {
            match self.set.join_next().await {
                Some(Ok(Ended { told: true, .. })) => {}
                Some(Ok(Ended { name, told: false })) => return name,
                // A part that panicked has no name to give.
                Some(Err(_)) => return "that panicked".to_owned(),
                None => std::future::pending().await,
            }
        }
    }

    /// Tells all to stop and waits, but not for ever.
    pub async fn finish(mut self) {
        self.until.cancel();
        if tokio::time::timeout(GRACE, async { while self.set.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("not everything finished in time; what was under way is taken up at the next start");
            self.set.shutdown().await;
        }
    }
}
