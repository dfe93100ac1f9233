//! What the broker has put aside goes on: messages whose receivers vanished too often, and messages for a queue that was
//! not there.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::AMQPValue;

use super::publisher::parcel;
use super::pump::within;
use super::topology::{self, Queues};
use super::wire::{self, Letter, Stamp, short};
use super::{Shared, failed, timely};
use crate::broker::{JOURNAL, Result};

/// How often the asides are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How many messages go on at one look.
const AT_ONCE: usize = 1000;

/// Looks until the broker is closed.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        // Told by the connection's keeper.
        if shared.publishing.now().is_err() {
            continue;
        }
        if let Err(error) = look(&shared).await {
            tracing::warn!(%error, "what was put aside could not be looked at; it stays there");
        }
    }
}

async fn look(shared: &Shared) -> Result<()> {
    let connection = shared.consuming.now()?;
    let queues = timely(Queues::new(&connection)).await?;
    for queue in [shared.names().poison(), shared.names().unrouted()] {
        let (name, is_poison) = (short(&queue).map_err(failed)?, queue == shared.names().poison());
        for turn in 0..AT_ONCE {
            let got = within(queues.channel.basic_get(name.clone(), BasicGetOptions::default())).await;
            let Some(got) = got.map_err(failed)? else { break };
            let delivery = got.delivery;
            let acker = delivery.acker.clone();
            if is_poison {
                again(shared, delivery).await?;
            } else {
                if turn == 0 {
                    // A queue that is still gone would send it back here.
                    shared.redeclare().await?;
                }
                reroute(shared, delivery).await?;
            }
            within(acker.ack(BasicAckOptions::default())).await.map_err(failed)?;
        }
    }
    within(queues.channel.close(200, "".into())).await.map_err(failed)
}

/// Puts a message back into the queue that it was put aside from, one round later.
async fn again(shared: &Shared, delivery: Delivery) -> Result<()> {
    let from = first_death(&delivery.properties).unwrap_or_default();
    match (wire::read(&delivery.properties, &delivery.data), shared.names().route_of(&from)) {
        (Ok(Letter { event, stamp }), Some(route)) => {
            let rounds = stamp.rounds + 1;
            tracing::error!(
                route,
                event.id,
                rounds,
                "a message was put aside: those who received it vanished each time"
            );
            shared.send(route, &event, Stamp { rounds, ..stamp }).await
        }
        _ => shared.put_aside(delivery.properties, delivery.data).await,
    }
}

/// The queue that a message first left as a dead letter.
fn first_death(properties: &BasicProperties) -> Option<String> {
    match properties.headers().as_ref()?.inner().get("x-first-death-queue")? {
        AMQPValue::LongString(name) => Some(name.to_string()),
        _ => None,
    }
}

/// Sends a message on that nothing was bound to, if something is by now; else it is over.
async fn reroute(shared: &Shared, delivery: Delivery) -> Result<()> {
    let Ok(Letter { event, stamp }) = wire::read(&delivery.properties, &delivery.data) else {
        return shared.put_aside(delivery.properties, delivery.data).await;
    };
    let plan = shared.plan();
    if delivery.exchange.as_str() == shared.names().events() {
        if !plan.contains_key(JOURNAL) {
            tracing::warn!(event.source, event.id, "no route and no journal takes an event: it is dropped");
            return Ok(());
        }
        // The journal takes every event, so its queue was gone.
        let key = topology::key_of(&event);
        return shared.publisher.publish(vec![parcel(&shared.names().events(), &key, &event, stamp)?]).await;
    }
    let word = delivery.routing_key.as_str().rsplit('.').next().unwrap_or_default();
    let takes = |name: &&String| plan[*name].due.iter().any(|former| topology::due_word(former) == word);
    if let Some(route) = plan.keys().find(takes) {
        return shared.send(route, &event, stamp).await;
    }
    tracing::warn!(route = word, event.source, event.id, "a message waited for a route that is gone: it is dropped");
    Ok(())
}
