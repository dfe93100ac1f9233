//! `dari reload`: the running bridge loads its config anew.

use serde_json::json;

use super::access::{Access, Where};
use super::{Result, output};
use crate::admin::reload::Reloaded;

/// `dari reload`.
///
/// # Errors
/// The new config was refused, with all that is wrong; or no bridge is running.
pub async fn reload(place: &Where) -> Result {
    let access = Access::open(place).await?;
    let reloaded: Reloaded = access.post("/api/reload", &json!({})).await?;
    access.close().await?;
    output::line(reloaded.done)
}
