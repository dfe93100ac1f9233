//! A start while the broker is away: webhooks are spooled at once, and what needs the broker follows when it is there.
//!
//! What a start may find to be wrong there (names of another store, messages of a route that has vanished) stops a start
//! that finds the broker. Here the bridge runs already, and goes on taking webhooks into its spool, from where nothing
//! is lost: a bridge that ended would refuse them, and not every sender comes again. It is not ready, says why, and
//! looks again until a person has put it right.

use std::sync::Arc;
use std::time::Duration;

use super::{AppError, bindings, names};
use crate::admin::Settling;
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::{Broker, BrokerError};
use crate::config::Config;
use crate::store::Store;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(2);

/// Does what a start does at the broker, as soon as it is there.
pub(super) async fn run(settling: &Settling, config: &Config, store: &dyn Store, rabbit: &Arc<RabbitBroker>) {
    while !settling.is_over() {
        match settle(config, store, rabbit).await {
            Ok(()) => {
                tracing::info!("the broker is there and its queues are declared: deliveries begin");
                settling.end();
            }
            Err(AppError::Broker(BrokerError::Unavailable(_) | BrokerError::Closed))
                if rabbit.check().await.is_err() =>
            {
                settling.wait();
            }
            Err(error) => settling.refuse(error.to_string()),
        }
        if !settling.is_over() {
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn settle(config: &Config, store: &dyn Store, rabbit: &RabbitBroker) -> Result<(), AppError> {
    rabbit.reach().await?;
    names::settle(config, store, rabbit).await?;
    Ok(rabbit.declare(bindings(config)).await?)
}
