//! Calls of one sink that go together as one.
//!
//! While a call is under way, others that are ready gather; whoever gets the next permit takes along those that go with
//! its own, at most [`Sink::batch`]. Nothing waits for company: a call that is alone when a permit is free goes alone.
//! A full batch does not wait for the one before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::gate::{Gate, Permit};
use crate::config::Priority;
use crate::connectors::{Call, Sink};
use crate::outcome::Outcome;

/// What became of one of the calls.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What it came to.
    pub outcome: Outcome,
    /// The vendor's status; `None`: no answer.
    pub status: Option<u16>,
    /// The start of the vendor's answer.
    pub message: String,
    /// True if certainly nothing reached the vendor.
    pub unsent: bool,
}

impl Sent {
    /// True if it is not certain that nothing took effect, although it is to be made again.
    #[must_use]
    pub fn may_have_worked(&self) -> bool {
        !self.unsent && self.status.is_none_or(|status| matches!(status, 200..300 | 502 | 504))
    }
}

/// Brings the calls of one sink together.
#[derive(Debug)]
pub struct Batcher {
    most: usize,
    gathered: Mutex<Gathered>,
    /// Who has it waits for the next permit.
    door: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    waiting: VecDeque<Waiting>,
    /// Batches under way.
    under_way: usize,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    call: Arc<Call>,
    seat: oneshot::Sender<Invitation>,
}

/// Asks one who waits to come along.
#[derive(Debug)]
pub struct Invitation {
    /// Takes where the result is to go, once the intent is written.
    pub ready: oneshot::Sender<oneshot::Sender<Sent>>,
}

/// Whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// Its own: it sends for all.
    Leads(Party),
    /// Another's, who takes it along.
    Rides(Invitation),
    /// Nobody's: who was to take it along could not go. It gathers again.
    Again,
}

/// A call that is ready and waits for its turn. Dropped, it waits no more.
#[derive(Debug)]
pub struct Place {
    batcher: Arc<Batcher>,
    number: u64,
    seat: oneshot::Receiver<Invitation>,
}

/// A permit, and who may come along. Dropped, they gather again.
#[derive(Debug)]
pub struct Party {
    /// The permit of the account.
    pub permit: Permit,
    companions: Vec<Waiting>,
    _under_way: UnderWay,
}

#[derive(Debug)]
struct UnderWay(Arc<Batcher>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.gathered().under_way -= 1;
        self.0.changed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.batcher.gathered().waiting.retain(|waiting| waiting.number != self.number);
    }
}

impl Batcher {
    /// Brings at most so many calls together.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (gathered, door) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { most, gathered, door, changed: Notify::new() }
    }

    /// Takes a place among those that are ready.
    #[must_use]
    pub fn join(self: &Arc<Self>, call: &Call) -> Place {
        let (seat, invited) = oneshot::channel();
        let number = {
            let mut gathered = self.gathered();
            gathered.last += 1;
            let number = gathered.last;
            gathered.waiting.push_back(Waiting { number, call: Arc::new(call.clone()), seat });
            number
        };
        self.changed.notify_one();
        Place { batcher: Arc::clone(self), number, seat: invited }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_go(&self) -> bool {
        let gathered = self.gathered();
        gathered.under_way == 0 || gathered.waiting.len() >= self.most
    }

    /// Waits for a permit, then takes along who goes with this one; `None` if another takes this one along.
    async fn lead(self: &Arc<Self>, number: u64, gate: &Gate, priority: Priority, sink: &dyn Sink) -> Option<Party> {
        let _door = self.door.lock().await;
        while !self.may_go() {
            self.changed.notified().await;
        }
        let permit = gate.permit_for(priority).await?;
        let mut gathered = self.gathered();
        let at = gathered.waiting.iter().position(|waiting| waiting.number == number)?;
        let own = gathered.waiting.remove(at)?;
        let mut companions = Vec::new();
        let mut others = VecDeque::new();
        for other in std::mem::take(&mut gathered.waiting) {
            let fits = companions.len() + 1 < self.most && sink.merge(&[&own.call, &other.call]).is_some();
            if fits {
                companions.push(other);
            } else {
                others.push_back(other);
            }
        }
        gathered.waiting = others;
        gathered.under_way += 1;
        Some(Party { permit, companions, _under_way: UnderWay(Arc::clone(self)) })
    }
}

impl Place {
    /// Waits for its turn. To be dropped after [`Turn::Again`].
    pub async fn turn(&mut self, gate: &Gate, priority: Priority, sink: &dyn Sink) -> Turn {
        let led = tokio::select! {
            biased;
            invited = &mut self.seat => return invited.map_or(Turn::Again, Turn::Rides),
            led = self.batcher.lead(self.number, gate, priority, sink) => led,
        };
        match led {
            Some(party) => Turn::Leads(party),
            None => (&mut self.seat).await.map_or(Turn::Again, Turn::Rides),
        }
    }
}

impl Party {
    /// Asks the companions to come along, and waits until each has written its intent or stayed behind: the calls of
    /// those who come, and where their results go.
    pub async fn invite(&mut self) -> Vec<(Arc<Call>, oneshot::Sender<Sent>)> {
        let mut invited = Vec::new();
        for companion in self.companions.drain(..) {
            let (ready, comes) = oneshot::channel();
            if companion.seat.send(Invitation { ready }).is_ok() {
                invited.push((companion.call, comes));
            }
        }
        let mut coming = Vec::new();
        for (call, comes) in invited {
            if let Ok(result) = comes.await {
                coming.push((call, result));
            }
        }
        coming
    }
}
