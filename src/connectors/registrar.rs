//! Subscribing a webhook's URL at a vendor.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Build, Built, PollError};

/// How a registrar is built from the settings of its source.
pub type RegistrarKind = fn(&Build<'_>) -> Built<Box<dyn Registrar>>;

/// Subscribes, lists and removes webhooks at the vendor.
#[async_trait]
pub trait Registrar: Send + Sync {
    /// All subscriptions that the account can see.
    ///
    /// # Errors
    /// [`PollError`], as all that asks a vendor.
    async fn list(&self) -> Result<Vec<Registered>, PollError>;

    /// Subscribes `url`, which holds the secret where the vendor signs nothing.
    ///
    /// # Errors
    /// [`PollError`], as all that asks a vendor.
    async fn register(&self, url: &Url) -> Result<Vec<Registered>, PollError>;

    /// Ends a subscription; false if there is none with this id.
    ///
    /// # Errors
    /// [`PollError`], as all that asks a vendor; [`PollError::Stop`] where the vendor cannot.
    async fn remove(&self, id: &str) -> Result<bool, PollError>;
}

/// A subscription at a vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The vendor's id of it.
    pub id: String,
    /// Where it sends to, secrets masked.
    pub url: String,
    /// Of what it tells, in the vendor's words.
    pub about: String,
    /// True if it is switched on.
    pub active: bool,
}
