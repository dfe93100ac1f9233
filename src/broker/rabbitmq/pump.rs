//! Receives from one queue into its line, over whatever happens to the connection.
//!
//! Handing a message back by nack or by closing its channel would count as a delivery that failed, and after twenty
//! the broker puts it aside. So a pause keeps what was received, for a while, and after that publishes it to its own
//! queue anew and acks it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;

use super::line::{Held, Line, Trouble, Want};
use super::register::Register;
use super::wire::{self, Letter, Stamp, short};
use super::{CHANGE, Shared, topology};
use crate::broker::{BrokerError, Message};

/// How long a pause may last before what is held is handed back: less than the half hour after which the broker takes
/// an unacked message away.
const PARKED: Duration = Duration::from_mins(10);
/// How often a channel is looked at: the stream of a dead one may stay silent.
const GLANCE: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long handing back may take.
const HAND_BACK: Duration = Duration::from_secs(12);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why receiving ended.
enum End {
    /// It was to.
    Stopped,
    /// Nobody consumed for long.
    Parked,
    /// The channel is gone, or of no use.
    Lost(String),
    /// The broker says that the queue is no more.
    Cancelled,
}

/// Receives until the line's [`Want`] says stop.
pub async fn run(shared: Arc<Shared>, line: Arc<Line>) {
    let mut want = line.want.subscribe();
    let mut pause = Duration::from_millis(100);
    loop {
        // It ends when the line does, which this task keeps.
        if want.wait_for(|want| want.stop || !want.parked).await.is_err() || want.borrow().stop {
            return;
        }
        if !may_receive(&shared, &line, &mut want).await {
            return;
        }
        let why = match Session::open(&shared, &line, &mut want).await {
            Ok(mut session) => match session.receive(&mut want).await {
                End::Stopped => return session.close().await,
                End::Parked => {
                    session.close().await;
                    continue;
                }
                End::Lost(why) => {
                    pause = Duration::from_millis(100);
                    // Before the stream is dropped: that would send a cancel whose answer finds no channel, which ends
                    // the whole connection.
                    _ = within(session.channel.close(200, "".into())).await;
                    why
                }
                End::Cancelled => {
                    _ = within(session.channel.close(200, "".into())).await;
                    missed(&shared, &line).await
                }
            },
            Err(why) => {
                line.tell(Trouble::Refused, Some(format!("nothing can be received: {why}")));
                why
            }
        };
        // The broker has them again.
        line.take_all();
        tracing::debug!(queue = line.name, why, "receiving ended and begins again");
        tokio::select! {
            _ = want.wait_for(|want| want.stop) => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits while the queue is being filled again; false if the line ended meanwhile.
async fn may_receive(shared: &Shared, line: &Line, want: &mut watch::Receiver<Want>) -> bool {
    let mut plan = shared.register.watch();
    tokio::select! {
        free = plan.wait_for(|plan| !Register::is_held(plan, &line.name)) => free.is_ok(),
        _ = want.wait_for(|want| want.stop) => false,
    }
}

/// The broker has ended the receiving by itself, as it does with a queue that is deleted: even if there is one of its
/// name by now, that has not what was in it.
async fn missed(shared: &Shared, line: &Line) -> String {
    if line.is_over() || !shared.plan().contains_key(&line.name) {
        return "the queue is removed".to_owned();
    }
    let noted = shared.register.miss(std::slice::from_ref(&line.name)).await;
    let made = match noted {
        Ok(()) => shared.redeclare().await,
        failed => failed,
    };
    made.err().map_or_else(|| "the queue had gone".to_owned(), |error| error.to_string())
}

/// One channel.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    line: &'a Arc<Line>,
    channel: Channel,
    stream: lapin::Consumer,
    prefetch: u16,
}

impl<'a> Session<'a> {
    async fn open(
        shared: &'a Arc<Shared>,
        line: &'a Arc<Line>,
        want: &mut watch::Receiver<Want>,
    ) -> Result<Self, String> {
        let connection = shared.consuming.up(ANSWER).await.map_err(|e| e.to_string())?;
        let prefetch = want.borrow_and_update().prefetch;
        let open = async {
            let channel = connection.create_channel().await?;
            let stream = subscribe(shared, line, &channel, prefetch).await?;
            Ok((channel, stream))
        };
        match within(open).await {
            Ok((channel, stream)) => {
                line.tell(Trouble::Refused, None);
                Ok(Self { shared, line, channel, stream, prefetch })
            }
            Err(Failed::Said(e)) if topology::code(&e) == Some(404) && !line.is_over() => {
                shared.redeclare().await.map_err(|e| e.to_string())?;
                Err("the queue had gone".to_owned())
            }
            Err(e) => Err(e.to_string()),
        }
    }

    async fn receive(&mut self, want: &mut watch::Receiver<Want>) -> End {
        loop {
            let parked = want.borrow().parked;
            tokio::select! {
                delivery = self.stream.next() => match delivery {
                    Some(Ok(delivery)) => self.take(delivery).await,
                    Some(Err(e)) => return End::Lost(e.to_string()),
                    None if self.is_connected() => return End::Cancelled,
                    None => return End::Lost("the connection ended".to_owned()),
                },
                () = self.line.anew.notified() => return End::Lost("nothing came although something is there".to_owned()),
                changed = want.changed() => {
                    let now = *want.borrow_and_update();
                    if changed.is_err() || now.stop {
                        return End::Stopped;
                    }
                    if now.prefetch != self.prefetch && let Err(why) = self.resubscribe(now.prefetch).await {
                        return End::Lost(why);
                    }
                }
                () = tokio::time::sleep(PARKED), if parked => return End::Parked,
                () = tokio::time::sleep(GLANCE), if !parked => {}
            }
            if !self.channel.status().connected() {
                return End::Lost("the channel was closed".to_owned());
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.channel.status().connected() && self.shared.consuming.now().is_ok()
    }

    /// Puts a message into the line; back into wait if its time has not come.
    async fn take(&self, delivery: Delivery) {
        let Delivery { properties, data, acker, .. } = delivery;
        let letter = match wire::read(&properties, &data) {
            Ok(letter) => letter,
            Err(why) => {
                tracing::error!(queue = self.line.name, why, "a message is no event of this bridge and is put aside");
                // Kept until a person looks at it; unacked it would take a place for good.
                match self.shared.put_aside(properties, data).await {
                    Ok(()) => _ = within(acker.ack(BasicAckOptions::default())).await,
                    Err(_) => self.line.stray(),
                }
                return;
            }
        };
        let Letter { event, stamp } = letter;
        if stamp.due.is_some_and(|due| due > self.shared.register.clock.now()) {
            match self.shared.send(&self.line.name, &event, stamp).await {
                Ok(()) => _ = within(acker.ack(BasicAckOptions::default())).await,
                // Unacked it comes again with the next channel.
                Err(error) => {
                    self.line.stray();
                    tracing::warn!(queue = self.line.name, %error, "a message that is not due stays unacked");
                }
            }
            return;
        }
        let Stamp { attempt, rounds, .. } = stamp;
        let message = Message { event: Arc::new(event), attempt, tag: self.line.tag(), rounds };
        self.line.put(Held { message, acker });
    }

    /// Receives with another limit, on the same channel: what is unacked stays valid.
    async fn resubscribe(&mut self, prefetch: u16) -> Result<(), String> {
        self.cancel().await?;
        self.stream =
            within(subscribe(self.shared, self.line, &self.channel, prefetch)).await.map_err(|e| e.to_string())?;
        self.prefetch = prefetch;
        Ok(())
    }

    /// Ends the stream and takes in what it still has.
    async fn cancel(&mut self) -> Result<(), String> {
        let tag = self.stream.tag();
        within(self.channel.basic_cancel(tag, BasicCancelOptions::default())).await.map_err(|e| e.to_string())?;
        while let Ok(Some(Ok(delivery))) = tokio::time::timeout(ANSWER, self.stream.next()).await {
            self.take(delivery).await;
        }
        Ok(())
    }

    /// Hands back what is held, and closes the channel.
    async fn close(mut self) {
        let cancelled = self.cancel().await.is_ok();
        if self.line.is_over() && !self.shared.is_stopping() {
            // The queue is being removed.
            self.line.take_all();
        } else if cancelled {
            let held = self.line.take_all();
            let count = held.len();
            if tokio::time::timeout(HAND_BACK, self.hand_back(held)).await.is_err() {
                tracing::warn!(
                    queue = self.line.name,
                    count,
                    "what was received could not be handed back in time: the broker will do it"
                );
            }
        }
        _ = within(self.channel.close(200, "".into())).await;
    }

    async fn hand_back(&self, held: Vec<Held>) {
        let stamp = |message: &Message| Stamp { attempt: message.attempt, due: None, rounds: message.rounds };
        let sends = held.iter().map(|held| (&*held.message.event, stamp(&held.message)));
        if let Err(error) = self.shared.send_all(&self.line.name, sends).await {
            tracing::warn!(queue = self.line.name, %error, "what was received is left to the broker to hand back");
            return;
        }
        for held in held {
            _ = within(held.acker.ack(BasicAckOptions::default())).await;
        }
    }
}

async fn subscribe(shared: &Shared, line: &Line, channel: &Channel, prefetch: u16) -> lapin::Result<lapin::Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let queue = short(&shared.names().queue(&line.name)).unwrap_or_default();
    channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}

/// Why the broker did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Said(lapin::Error),
    #[error("the broker does not answer")]
    Silent,
}

/// Awaits an answer, but not for ever.
pub async fn within<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Failed> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(Failed::Said),
        Err(_) => Err(Failed::Silent),
    }
}

/// Awaits an answer of several steps, but not for ever.
pub async fn timely<T>(answer: impl Future<Output = std::result::Result<T, String>>) -> crate::broker::Result<T> {
    match tokio::time::timeout(CHANGE, answer).await {
        Ok(answer) => answer.map_err(BrokerError::Unavailable),
        Err(_) => Err(BrokerError::Unavailable("it does not answer".to_owned())),
    }
}
