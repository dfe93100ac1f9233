//! What a stream is: messages that someone hands out, who forgets each once it is told that it was taken.

use async_trait::async_trait;
use bytes::Bytes;

use super::PollError;
use crate::event::NewEvent;

/// Where messages are handed out.
#[async_trait]
pub trait Stream: Send + Sync {
    /// Begins to receive.
    ///
    /// # Errors
    /// [`PollError`], as for a poll.
    async fn open(&self) -> Result<Box<dyn Flow>, PollError>;
}

/// Messages being handed out. Dropped or closed, those that were not taken are handed out again.
#[async_trait]
pub trait Flow: Send {
    /// What came since the last call, at least one, in order; waits for it. Empty once it was cancelled and nothing is left. May be
    /// dropped while it waits: no message is lost by that.
    ///
    /// # Errors
    /// [`PollError`]: it is over, another one may be opened.
    async fn next(&mut self) -> Result<Vec<Came>, PollError>;

    /// Takes everything that the last [`Flow::next`] gave: its events are durable. `refused` are the places of those that
    /// became no event, and [`Flow::keeps_refused`] says what becomes of them.
    ///
    /// # Errors
    /// [`PollError`]: it is over, and they may come again.
    async fn take(&mut self, refused: &[usize]) -> Result<(), PollError>;

    /// True if what is refused is kept where it came from; else the journal is to keep it.
    fn keeps_refused(&self) -> bool;

    /// Nothing more is to come than what is on its way.
    ///
    /// # Errors
    /// [`PollError`]: it is over.
    async fn cancel(&mut self) -> Result<(), PollError>;

    /// Ends it in order.
    async fn close(self: Box<Self>);
}

/// A message that came.
#[derive(Debug)]
pub struct Came {
    /// Its events, or why it has none.
    pub events: Result<Vec<NewEvent>, String>,
    /// From where, in words: for the list of what was refused.
    pub from: String,
    /// As it came.
    pub body: Bytes,
}
