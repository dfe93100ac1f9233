//! Why a bridge does not start, or ended.

use crate::broker::BrokerError;
use crate::broker::spool::SpoolError;
use crate::connectors::client::ClientError;
use crate::settings::Fault;
use crate::store::StoreError;

/// Why a bridge does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The broker.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// The spool.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The HTTP client.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        why: std::io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {path}: {why}")]
    Folder {
        /// The folder.
        path: String,
        /// Why not.
        why: std::io::Error,
    },
    /// The config names a broker, and there are messages in the queue that was used without one.
    #[error(
        "{left} messages are still in the queue in {file}, and the config has a `broker` now: move them with \
         `dari move OLD NEW`, where OLD is the config without it, or run without it until they are delivered"
    )]
    LeftBehind {
        /// How many.
        left: u64,
        /// The store's file.
        file: String,
    },
    /// The config names no broker, and a move to one has begun.
    #[error(
        "the move of the queue in {file} to RabbitMQ was begun and is not over: end it with the same `dari move OLD NEW`"
    )]
    HalfMoved {
        /// The store's file.
        file: String,
    },
    /// A move that cannot be made; a sentence with the way out.
    #[error("{0}")]
    Move(String),
    /// The config names no broker any more, and there are events in the spool that was used with one.
    #[error(
        "{left} events are still in the spool {folder}, and the config has no `broker` now: run with it until they are \
         published, or remove the folder to give them up"
    )]
    Spooled {
        /// How many.
        left: u64,
        /// The spool's folder.
        folder: String,
    },
    /// There is nothing to forward.
    #[error("there is no spool to forward: {0}")]
    NoSpool(String),
    /// A certificate or key cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        why: std::io::Error,
    },
    /// A source or sink cannot be built although the config was checked.
    #[error("{name}: {}", faults.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("; "))]
    Build {
        /// Its name.
        name: String,
        /// What it says.
        faults: Vec<Fault>,
    },
    /// The config does not go with what the store remembers; each is a sentence with the ways out.
    #[error("{}", .0.join("\n"))]
    Names(Vec<String>),
    /// A path of `redact`.
    #[error("redact: {0}")]
    Redact(String),
    /// Webhooks would have to wait too long.
    #[error("{0}")]
    Held(&'static str),
    /// A part ended although nobody told it to.
    #[error("the part {0} ended by itself, which is a bug; the bridge stops rather than run without it")]
    Ended(String),
}
