//! Counts the calls of a check in their accounts' months: by the bridge where it runs, else in its store.

use crate::admin::api::Calls;
use crate::admin::views::Done;
use crate::commands::Result;
use crate::commands::access::{Access, Where, segment};
use crate::config::Config;
use crate::store::{Charge, sqlite};

/// Counts them; what a person should know of it, if anything was made.
pub(super) async fn count(config: &Config, place: &Where, made: Vec<(Charge, u32)>) -> Option<String> {
    let calls: u32 = made.iter().map(|(_, calls)| calls).sum();
    if calls == 0 {
        return None;
    }
    let what = if calls == 1 { "1 call was made".to_owned() } else { format!("{calls} calls were made") };
    let counted = match Access::running(place).await {
        Ok(Some(bridge)) => by_the_bridge(&bridge, &made).await.map_err(|error| error.to_string()),
        Ok(None) if !config.store.exists() => Err("there is no store yet".to_owned()),
        Ok(None) => sqlite::count(&config.store, &made).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Some(match counted {
        Ok(()) => format!("{what}, and counted in the month of each account"),
        Err(why) => format!("{what}, and counted in no month: {why}"),
    })
}

async fn by_the_bridge(bridge: &Access, made: &[(Charge, u32)]) -> Result {
    for (charge, calls) in made {
        let path = format!("/api/accounts/{}/calls", segment(&charge.account));
        let _: Done = bridge.post(&path, &Calls { calls: *calls }).await?;
    }
    Ok(())
}
