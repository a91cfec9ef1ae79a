//! Brings answers from the writer to an event loop: one wake-up for all that a transaction has answered.
//!
//! A thread that wakes another's tasks one by one makes a system call for each. So answers are laid down here, and the loop's
//! own task hands them on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::Result;

use super::job::Record;

/// Where one caller waits: on an event loop that has a relay, or elsewhere.
pub struct ReplyTo {
    pub relay: Option<Arc<Relay>>,
    pub answer: oneshot::Sender<Result<Record>>,
}

/// An answer, and who waits for it.
type Letter = (oneshot::Sender<Result<Record>>, Result<Record>);

#[derive(Default)]
pub struct Relay {
    letters: Mutex<Vec<Letter>>,
    wake: Notify,
}

impl Relay {
    /// Hands answers on to those who wait for them, for ever. A task of the event loop.
    pub async fn run(self: Arc<Self>) {
        let mut letters = Vec::new();
        loop {
            self.wake.notified().await;
            std::mem::swap(&mut letters, &mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner));
            // Whoever has gone meanwhile need not be told.
            letters.drain(..).for_each(|(answer, told)| drop(answer.send(told)));
        }
    }
}

/// Answers callers, each of whatever event loop.
pub fn tell(answers: impl IntoIterator<Item = (ReplyTo, Result<Record>)>) {
    let mut told: Vec<Arc<Relay>> = Vec::new();
    for (ReplyTo { relay, answer }, record) in answers {
        let Some(relay) = relay else {
            drop(answer.send(record));
            continue;
        };
        relay.letters.lock().unwrap_or_else(PoisonError::into_inner).push((answer, record));
        if !told.iter().any(|other| Arc::ptr_eq(other, &relay)) {
            told.push(relay);
        }
    }
    told.iter().for_each(|relay| relay.wake.notify_one());
}
