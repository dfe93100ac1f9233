//! Loading the config anew: asked for here, done by the bridge.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{Operator, OperatorError, Result};

/// A wish for the config to be loaded anew: where the answer goes.
pub type Ask = oneshot::Sender<std::result::Result<Reloaded, String>>;

/// What became of it: parts as `route signups`, those not named run on as they did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The same in words.
    pub done: String,
    /// What is new.
    pub started: Vec<String>,
    /// What goes on by other words.
    pub changed: Vec<String>,
    /// What there is no more.
    pub stopped: Vec<String>,
}

/// When the config was loaded, and what became of the last wish to load it anew.
#[derive(Debug)]
pub struct Reloads {
    asks: Option<mpsc::Sender<Ask>>,
    state: Mutex<Loaded>,
}

/// The same at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// When the config that runs was loaded.
    pub at: Timestamp,
    /// When another was refused since, and why.
    pub refused: Option<(Timestamp, String)>,
}

impl Reloads {
    /// Of a config that was loaded now; `asks` takes wishes, `None` where nobody does.
    #[must_use]
    pub fn new(now: Timestamp, asks: Option<mpsc::Sender<Ask>>) -> Arc<Self> {
        Arc::new(Self { asks, state: Mutex::new(Loaded { at: now, refused: None }) })
    }

    /// How it stands.
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another config was loaded.
    pub fn done(&self, now: Timestamp) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Loaded { at: now, refused: None };
    }

    /// Another config was refused.
    pub fn refused(&self, now: Timestamp, why: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused = Some((now, why));
    }
}

impl Operator {
    /// Loads the config's file anew. It is checked whole, and takes the place of the one that runs, or is refused.
    ///
    /// # Errors
    /// It was refused, with all that is wrong; or no bridge is running.
    pub async fn reload(&self) -> Result<Reloaded> {
        let refuse = |why: &str| OperatorError::Refused(why.to_owned());
        let Some(asks) = &self.reloads.asks else {
            return Err(refuse("no bridge is running here: one reads its config when it starts"));
        };
        let (tell, told) = oneshot::channel();
        let ending = || refuse("the bridge is about to stop");
        asks.send(tell).await.map_err(|_| ending())?;
        match told.await {
            Ok(Ok(reloaded)) => {
                self.write_down(&reloaded.done);
                Ok(reloaded)
            }
            Ok(Err(why)) => {
                self.write_down(&format!("the config was not loaded anew, the one that runs stays: {why}"));
                Err(OperatorError::Refused(why))
            }
            Err(_) => Err(ending()),
        }
    }
}
