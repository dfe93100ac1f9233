//! `dari schema`: the JSON Schema of the config, for editors.

use super::{Result, output};
use crate::{config, connectors};

/// `dari schema`.
///
/// # Errors
/// Standard output cannot be written.
pub fn schema() -> Result {
    output::json(&config::schema::schema(connectors::ALL))
}
