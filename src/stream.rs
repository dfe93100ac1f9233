//! Receiving from one stream (promises P1, P2).
//!
//! # One turn
//! suspended? → what came → publish every event of it → write down what was refused → take it. A crash anywhere makes
//! messages come again; their events have the ids of the first time and collapse under P2. A stop or a suspension
//! hands nothing back: what is on its way is finished, since the other side may count what comes back as a failure.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::connectors::{Came, Flow, PollError, Stream};
use crate::deliver::halts::Halts;
use crate::deliver::patience;
use crate::event::Event;
use crate::outcome::Scope;
use crate::store::journal::{Journal, Polled, Record, Refused};
use crate::store::{StoreError, Suspension};

/// How often what came is told of.
const TELL: Duration = Duration::from_secs(10);
/// How many messages in a row may be refused before a person is asked: the config may be wrong, not the messages.
const IN_A_ROW: usize = 10;
/// How much of a refused message the journal keeps, in bytes.
const KEPT: usize = 1 << 20;
/// The status that a refused message is listed with: that of a webhook that makes no sense.
const MALFORMED: u16 = 400;

/// Receives from one source until it is told to stop.
pub struct StreamLoop {
    /// The source's name.
    pub source: String,
    /// The account it belongs to.
    pub account: Option<String>,
    /// Hands out the messages.
    pub stream: Box<dyn Stream>,
    /// Takes the events.
    pub broker: Arc<dyn Broker>,
    /// Is told of what came and of what was refused.
    pub journal: Arc<dyn Journal>,
    /// What is stopped: the source or its account may be.
    pub halts: Arc<Halts>,
    /// Tells the time and stamps the events.
    pub clock: Clock,
    /// Takes nothing: what was received goes back.
    pub dry_run: bool,
}

/// How a connection ended.
enum End {
    /// It was to.
    Stopped,
    /// The source or its account is suspended.
    Suspended,
    /// It was lost, or never there.
    Lost(PollError),
}

/// What came since it was last told.
struct Tally {
    events: u64,
    since: Instant,
    /// How many were refused in a row.
    refused: usize,
}

impl StreamLoop {
    /// Receives until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut pauses = patience();
        let mut told = None;
        let scopes = self.scopes();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.halts.clear(&scopes) => {}
            }
            let started = Instant::now();
            let why = match self.receive(&stop, &mut told).await {
                End::Stopped => return,
                End::Suspended => continue,
                End::Lost(why) => why,
            };
            let text = why.to_string();
            if !matches!(why, PollError::Retry { .. }) {
                self.suspend(&text).await;
            }
            // Once: it may be away for days.
            if told.as_ref() != Some(&text) {
                self.tell(0, Some(text.clone()), true, started);
                told = Some(text);
            }
            if started.elapsed() > TELL {
                pauses = patience();
            }
            let pause = pauses.next().unwrap_or(TELL);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What must not be stopped for this source to receive.
    fn scopes(&self) -> Vec<(Scope, &str)> {
        let account = self.account.iter().map(|account| (Scope::Account, account.as_str()));
        account.chain([(Scope::Source, self.source.as_str())]).collect()
    }

    async fn receive(&self, stop: &CancellationToken, told: &mut Option<String>) -> End {
        let opened = tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            opened = self.stream.open() => opened,
        };
        let mut flow = match opened {
            Ok(flow) => flow,
            Err(error) => return End::Lost(error),
        };
        tracing::info!(source = %self.source, "the stream is open");
        if told.take().is_some() {
            self.tell(0, Some("it is connected again".to_owned()), false, Instant::now());
        }
        let mut tally = Tally { events: 0, since: Instant::now(), refused: 0 };
        let end = self.work(&mut *flow, &mut tally, stop).await;
        if tally.events > 0 {
            self.tell(tally.events, None, false, tally.since);
        }
        flow.close().await;
        end
    }

    /// Takes what comes. Once it is to end, what is on its way still is.
    async fn work(&self, flow: &mut dyn Flow, tally: &mut Tally, stop: &CancellationToken) -> End {
        let mut ending = None;
        loop {
            let next = tokio::select! {
                biased;
                end = self.told(stop), if ending.is_none() => {
                    if let Err(error) = flow.cancel().await {
                        tracing::debug!(source = %self.source, %error, "the stream ended as it was to");
                        return end;
                    }
                    ending = Some(end);
                    continue;
                }
                next = flow.next() => next,
            };
            match next {
                Ok(came) if came.is_empty() => return ending.unwrap_or(End::Stopped),
                Ok(came) => {
                    if let Err(end) = self.turn(flow, came, tally, stop).await {
                        return end;
                    }
                }
                Err(error) => return ending.unwrap_or(End::Lost(error)),
            }
        }
    }

    /// Waits until it is to end.
    async fn told(&self, stop: &CancellationToken) -> End {
        let scopes = self.scopes();
        tokio::select! {
            () = stop.cancelled() => End::Stopped,
            () = self.halts.halted(&scopes) => End::Suspended,
        }
    }

    /// Makes a batch durable and takes it.
    async fn turn(
        &self,
        flow: &mut dyn Flow,
        came: Vec<Came>,
        tally: &mut Tally,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let (mut events, mut refused) = (Vec::new(), Vec::new());
        for (index, came) in came.into_iter().enumerate() {
            match self.stamped(came) {
                Ok(mut some) => {
                    events.append(&mut some);
                    tally.refused = 0;
                }
                Err(record) => {
                    refused.push((index, record));
                    tally.refused += 1;
                }
            }
        }
        let count = events.len() as u64;
        self.publish(events, stop).await?;
        let places: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
        self.refuse(flow.keeps_refused(), refused, stop).await?;
        if self.dry_run {
            return Ok(());
        }
        flow.take(&places).await.map_err(End::Lost)?;
        tally.events += count;
        if tally.since.elapsed() >= TELL && tally.events > 0 {
            self.tell(tally.events, None, false, tally.since);
            *tally = Tally { events: 0, since: Instant::now(), ..*tally };
        }
        if tally.refused >= IN_A_ROW {
            let refused = tally.refused;
            tally.refused = 0;
            self.suspend(&format!(
                "{refused} messages in a row were no events: see `dari events --refused`, and resume the source"
            ))
            .await;
        }
        Ok(())
    }

    /// The events of a message, or the record of its refusal.
    fn stamped(&self, came: Came) -> Result<Vec<Arc<Event>>, Box<Refused>> {
        let stamped = came.events.and_then(|events| {
            let stamp = |event: crate::event::NewEvent| event.stamp(&self.source, &self.clock).map(Arc::new);
            events.into_iter().map(stamp).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())
        });
        stamped.map_err(|why| {
            Box::new(Refused {
                at: self.clock.now(),
                source: self.source.clone(),
                status: MALFORMED,
                why,
                peer: came.from,
                bytes: came.body.len() as u64,
                body: Some(text(&came.body)),
            })
        })
    }

    /// Publishes until it is durable.
    async fn publish(&self, events: Vec<Arc<Event>>, stop: &CancellationToken) -> Result<(), End> {
        let mut pauses = patience();
        if events.is_empty() {
            return Ok(());
        }
        while let Err(error) = self.broker.publish(events.clone()).await {
            tracing::warn!(source = %self.source, %error, "what came is not taken from its queue yet");
            self.pause(&mut pauses, stop).await?;
        }
        Ok(())
    }

    /// Writes refusals down, durably.
    async fn refuse(
        &self,
        kept: bool,
        refused: Vec<(usize, Box<Refused>)>,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        if refused.is_empty() {
            return Ok(());
        }
        for (_, mut record) in refused {
            tracing::warn!(source = %self.source, why = record.why, from = record.peer, "a message is no event");
            if kept {
                record.body = None;
            }
            self.journal.record(Record::Refused(*record));
        }
        let mut pauses = patience();
        while let Err(error) = self.journal.flush().await {
            tracing::warn!(source = %self.source, %error, "what was refused cannot be written down yet");
            self.pause(&mut pauses, stop).await?;
        }
        Ok(())
    }

    async fn pause(
        &self,
        pauses: &mut (impl Iterator<Item = Duration> + Send),
        stop: &CancellationToken,
    ) -> Result<(), End> {
        tokio::select! {
            () = stop.cancelled() => Err(End::Stopped),
            () = tokio::time::sleep(pauses.next().unwrap_or(TELL)) => Ok(()),
        }
    }

    async fn suspend(&self, why: &str) {
        let (scope, name) = match &self.account {
            Some(account) => (Scope::Account, account.clone()),
            None => (Scope::Source, self.source.clone()),
        };
        let suspension =
            Suspension { scope, name, why: why.to_owned(), since: self.clock.now(), until: None, probe: None };
        let suspended: Result<bool, StoreError> = self.halts.suspend(suspension).await;
        if let Err(error) = suspended {
            tracing::warn!(source = %self.source, %error, "the suspension is not stored");
        }
    }

    fn tell(&self, events: u64, note: Option<String>, failed: bool, started: Instant) {
        match (&note, failed) {
            (Some(note), true) => tracing::warn!(source = %self.source, "nothing is received: {note}"),
            (Some(note), false) => tracing::info!(source = %self.source, "{note}"),
            (None, _) => tracing::info!(source = %self.source, events, "received"),
        }
        self.journal.record(Record::Polled(Polled {
            at: self.clock.now(),
            source: self.source.clone(),
            events,
            note,
            failed,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
}

/// A body as text, in base64 if it is none.
fn text(body: &[u8]) -> String {
    let start = &body[..body.len().min(KEPT)];
    match std::str::from_utf8(start) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(start)),
    }
}
