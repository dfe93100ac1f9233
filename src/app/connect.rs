//! The broker that the config names.

use std::path::Path;
use std::sync::Arc;

use super::{AppError, For, bindings, moving, names};
use crate::admin::Settling;
use crate::broker::embedded::Embedded;
use crate::broker::rabbitmq::{Address, RabbitBroker};
use crate::broker::{Broker, BrokerError};
use crate::clock::Clock;
use crate::config::{BrokerConfig, Config};
use crate::store::Store;

/// The broker, and RabbitMQ if it is that.
pub type Connected = (Arc<dyn Broker>, Option<Arc<RabbitBroker>>);

/// Opens the broker, without anything declared on it. A bridge does not wait for one on another machine.
pub async fn open(config: &Config, embedded: &Embedded, clock: &Clock, whom: For) -> Result<Connected, AppError> {
    moving::settled(embedded, config).await?;
    let Some(rabbit) = &config.broker else { return Ok((embedded.broker.clone(), None)) };
    let (address, prefix) = (address(rabbit)?, &rabbit.prefix);
    let store: Arc<dyn Store> = embedded.store.clone();
    let broker = match whom {
        For::Bridge => RabbitBroker::start(address, prefix, store, clock.clone()).await?,
        For::Operator => RabbitBroker::open(address, prefix, store, clock.clone()).await?,
    };
    let broker = Arc::new(broker);
    Ok((broker.clone(), Some(broker)))
}

/// Connects to a RabbitMQ and waits for it.
pub async fn rabbitmq(config: &BrokerConfig, store: &Arc<dyn Store>, clock: &Clock) -> Result<RabbitBroker, AppError> {
    Ok(RabbitBroker::open(address(config)?, &config.prefix, Arc::clone(store), clock.clone()).await?)
}

/// Connects to a RabbitMQ and leaves it again: nothing is declared there.
///
/// # Errors
/// It cannot be reached, or a certificate or key cannot be read.
pub async fn greet(config: &BrokerConfig) -> Result<(), String> {
    crate::broker::rabbitmq::greet(&address(config).map_err(|e| e.to_string())?).await
}

fn address(config: &BrokerConfig) -> Result<Address, AppError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|why| AppError::Unreadable { path: path.display().to_string(), why })
    };
    let ca = config.ca_file.as_deref().map(read).transpose()?;
    let identity = match &config.identity {
        Some((certificate, key)) => Some((read(certificate)?.into_bytes(), read(key)?.into())),
        None => None,
    };
    Ok(Address { urls: config.urls.clone(), ca, identity })
}

/// Brings the names of the last start and the queues to what the config says; where a bridge finds its broker away,
/// only what the store knows, and the rest is to follow.
pub async fn settle(
    config: &Config,
    store: &dyn Store,
    (broker, rabbit): &Connected,
    whom: For,
) -> Result<Settling, AppError> {
    if whom == For::Operator {
        names::rename(config, store, &**broker).await?;
        broker.declare(bindings(config)).await?;
        return Ok(Settling::new(true));
    }
    if let Some(rabbit) = rabbit {
        match rabbit.reach().await {
            Ok(()) => {}
            Err(error @ BrokerError::Refused(_)) => return Err(error.into()),
            Err(error) => {
                names::settle_store(config, store).await?;
                tracing::warn!(%error, "the broker is away: webhooks are spooled, and deliveries begin once it is there");
                return Ok(Settling::new(false));
            }
        }
    }
    names::settle(config, store, &**broker).await?;
    broker.declare(bindings(config)).await?;
    Ok(Settling::new(true))
}
