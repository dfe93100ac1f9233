//! Queues that are counted, renamed and removed.

use std::sync::PoisonError;

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeleteOptions};

use super::pump::{timely, within};
use super::topology::{Names, Queues};
use super::wire::{self, short};
use super::{CHANGE, RabbitBroker, failed};
use crate::broker::{BrokerError, Depth, Result};

impl RabbitBroker {
    pub(super) async fn queues<'a>(&self, connection: &'a lapin::Connection) -> Result<Queues<'a>> {
        timely(Queues::new(connection)).await
    }

    /// Moves messages from one queue to another, one after the other, each acked when its copy is confirmed: a crash
    /// leaves a message twice, never not at all.
    async fn move_all(&self, queues: &Queues<'_>, from: &str, to: &str) -> Result<u64> {
        let (queue, mut moved) = (short(&self.shared.names().queue(from)).map_err(failed)?, 0);
        loop {
            let got = within(queues.channel.basic_get(queue.clone(), BasicGetOptions::default())).await;
            let Some(got) = got.map_err(failed)? else { return Ok(moved) };
            let delivery = got.delivery;
            let letter = wire::read(&delivery.properties, &delivery.data);
            match letter {
                Ok(letter) => self.shared.send(to, &letter.event, letter.stamp).await?,
                Err(_) => self.shared.put_aside(delivery.properties, delivery.data).await?,
            }
            within(delivery.acker.ack(BasicAckOptions::default())).await.map_err(failed)?;
            moved += 1;
        }
    }

    /// What [`Broker::depths`](crate::broker::Broker::depths) tells.
    pub(super) async fn count_depths(&self) -> Result<Vec<Depth>> {
        let connection = self.shared.consuming.now()?;
        let mut queues = self.queues(&connection).await?;
        let mut depths = Vec::new();
        let begun = self.shared.store.backlog(self.shared.register.clock.now()).await.map_err(failed)?;
        let lines: Vec<_> = self.shared.lines().values().cloned().collect();
        for line in lines {
            let ready = timely(queues.ready(&self.shared.names().queue(&line.name))).await?.unwrap_or(0);
            let begun = begun.iter().find(|backlog| backlog.route == line.name);
            let waiting = begun.map_or(0, |backlog| backlog.waiting);
            let oldest = begun.and_then(|backlog| backlog.oldest).into_iter().chain(line.oldest()).min();
            let messages = ready + line.held() + waiting;
            depths.push(Depth { queue: line.name.clone(), messages, waiting, oldest });
        }
        within(queues.channel.close(200, "".into())).await.map_err(failed)?;
        Ok(depths)
    }

    /// As [`Broker::rename`](crate::broker::Broker::rename).
    pub(super) async fn rename_queue(&self, from: &str, to: &str) -> Result<()> {
        let register = &self.shared.register;
        if !register.plan().contains_key(from) {
            return Ok(());
        }
        let connection = self.shared.publishing.up(CHANGE).await?;
        let _alone = self.changing.lock().await;
        let plan = register.plan();
        let Some(old) = plan.get(from) else { return Ok(()) };
        let names = self.shared.names();
        let mut queues = self.queues(&connection).await?;
        // A crash half-way leaves messages in both: told by the old one's being there, with the former name bound.
        let half = plan.get(to).is_some_and(|bound| bound.due.contains(from));
        if !half && timely(queues.ready(&names.queue(to))).await?.unwrap_or(0) > 0 {
            return Err(BrokerError::Unavailable(format!("the queue {to} has messages of its own")));
        }
        let former = old.due.iter().cloned().chain([from.to_owned(), to.to_owned()]);
        let with_new = register
            .amend(|plan| {
                let new = plan.entry(to.to_owned()).or_default();
                new.due.extend(former);
                new.spans.extend(old.spans.iter().cloned());
                new.lost = new.lost.or(old.lost);
            })
            .await?;
        timely(queues.route(names, to, &with_new[to])).await?;
        timely(queues.unbind(names, from, old.events.iter())).await?;
        self.shared.add_line(to);
        // From here on nothing new comes to the old one except what waits; that goes to both until it is deleted.
        self.move_all(&queues, from, to).await?;
        register.forget(from);
        let still = register.still().await;
        delete(&queues, names, from).await?;
        drop(still);
        if let Some(line) = self.shared.lines().remove(from) {
            line.end();
        }
        register.amend(|plan| _ = plan.remove(from)).await.map(drop)
    }

    /// As [`Broker::remove`](crate::broker::Broker::remove).
    pub(super) async fn remove_queue(&self, queue: &str) -> Result<u64> {
        let line = self.line(queue)?;
        let connection = self.shared.publishing.up(CHANGE).await?;
        let _alone = self.changing.lock().await;
        let mut queues = self.queues(&connection).await?;
        let begun = self.shared.store.backlog(self.shared.register.clock.now()).await.map_err(failed)?;
        let waiting = begun.iter().find(|backlog| backlog.route == queue).map_or(0, |backlog| backlog.waiting);
        // Forgotten first: nobody makes it anew.
        self.shared.register.forget(queue);
        let held = line.held();
        let ready = timely(queues.ready(&self.shared.names().queue(queue))).await?.unwrap_or(0);
        line.end();
        let pump = line.pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pump) = pump {
            // It ends by itself, whatever the broker does.
            _ = pump.await;
        }
        let still = self.shared.register.still().await;
        delete(&queues, self.shared.names(), queue).await?;
        drop(still);
        self.shared.lines().remove(queue);
        // What waits comes to nobody when it is due, and is dropped then.
        self.shared.register.amend(|plan| _ = plan.remove(queue)).await?;
        Ok(ready + held + waiting)
    }
}

async fn delete(queues: &Queues<'_>, names: &Names, name: &str) -> Result<()> {
    let queue = short(&names.queue(name)).map_err(failed)?;
    let count = within(queues.channel.queue_delete(queue, QueueDeleteOptions::default())).await;
    count.map(drop).map_err(failed)
}
