//! What a start still has to do at a broker that was away.

use tokio::sync::watch;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Settled,
    /// The broker is away.
    Waiting,
    /// A person has to put something right: what, in words.
    Wrong(String),
}

/// Whether names and queues are as the config has them.
#[derive(Clone, Debug)]
pub struct Settling(watch::Sender<State>);

impl Settling {
    /// They are, or are yet to be.
    #[must_use]
    pub fn new(settled: bool) -> Self {
        Self(watch::Sender::new(if settled { State::Settled } else { State::Waiting }))
    }

    /// True once they are.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.0.borrow() == State::Settled
    }

    /// Waits until they are.
    pub async fn over(&self) {
        // Its sender is held by `self`.
        _ = self.0.subscribe().wait_for(|state| *state == State::Settled).await;
    }

    /// What a person has to put right before anything is delivered, in words.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &*self.0.borrow() {
            State::Wrong(why) => Some(why.clone()),
            State::Settled | State::Waiting => None,
        }
    }

    /// They are as the config has them.
    pub fn end(&self) {
        self.set(State::Settled);
    }

    /// The broker is away.
    pub fn wait(&self) {
        self.set(State::Waiting);
    }

    /// A person has to put something right.
    pub fn refuse(&self, why: String) {
        self.set(State::Wrong(why));
    }

    fn set(&self, new: State) {
        self.0.send_if_modified(|state| {
            let changed = *state != new;
            if let (true, State::Wrong(why)) = (changed, &new) {
                tracing::error!(why, "nothing is delivered until this is put right; webhooks are taken all the same");
            }
            *state = new;
            changed
        });
    }
}
