//! What a mapping may ask a vendor for.

use serde_json::{Map, Value};

use super::{Answer, Build, Built, Call};
use crate::outcome::Outcome;
use crate::settings::Field;

/// What a connector's account can look up for a route's `lookup`.
#[derive(Debug)]
pub struct LookupKind {
    /// Its keys, as `object` and `fields`. `account`, `match`, `cache` and `missing` are every lookup's and not listed.
    pub fields: &'static [Field],
    /// Builds it. Only called with settings that passed the check against `fields`.
    pub build: fn(&Build<'_>) -> Built<Box<dyn Lookup>>,
}

/// Looks records up at a vendor.
pub trait Lookup: Send + Sync {
    /// The call that finds the records with these values: the rendered `match`.
    ///
    /// # Errors
    /// Why these values cannot be asked for, naming the field.
    fn prepare(&self, wanted: &Map<String, Value>) -> Result<Call, String>;

    /// The records that were found, each as the mapping will see it; none if there is none.
    ///
    /// # Errors
    /// The outcome if the vendor did not say.
    fn read(&self, answer: &Answer) -> Result<Vec<Value>, Outcome>;

    /// Those of the answer's records that have the wanted values, where the vendor cannot be asked for them alone.
    ///
    /// # Errors
    /// As [`Lookup::read`].
    fn pick(&self, wanted: &Map<String, Value>, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        let _ = wanted;
        self.read(answer)
    }

    /// A harmless call that shows whether credentials are good, read by [`Lookup::read`]; `None` where the vendor has none.
    fn probe(&self) -> Option<Call> {
        None
    }
}
