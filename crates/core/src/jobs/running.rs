//! The jobs under way. Only memory knows them: to the disk they wait until they have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batcher::Call;

/// One job's being under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Which claim handed it out: one that was cancelled and tried again is not ended by the answer of before.
    pub claim: u64,
    /// This try, from one.
    pub attempts: u32,
    pub started: f64,
    pub priority: i64,
    /// Rows that are scored.
    pub rows_done: u64,
}

/// How far a job is that is scored part by part.
#[derive(Debug, Default)]
pub struct Parts {
    rows_done: AtomicU64,
    unwanted: AtomicBool,
}

impl Parts {
    /// More rows are scored, and their answers kept.
    pub fn advance(&self, rows: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether nobody wants the rest any more.
    pub fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }
}

/// What of a job is at work.
pub enum Work {
    /// All of it, as one request.
    Call(Arc<Call>),
    Parts(Arc<Parts>),
}

impl Work {
    fn rows_done(&self) -> u64 {
        match self {
            Self::Call(call) => call.scored() as u64,
            Self::Parts(parts) => parts.rows_done.load(Ordering::Relaxed),
        }
    }

    /// Nobody wants the answer any more: what is scored part by part begins no further part.
    fn stop(&self) {
        if let Self::Parts(parts) = self {
            parts.unwanted.store(true, Ordering::Relaxed);
        }
    }
}

struct Entry {
    run: Run,
    work: Option<Work>,
}

impl Entry {
    fn seen(&self) -> Run {
        Run { rows_done: self.work.as_ref().map_or(0, Work::rows_done), ..self.run }
    }
}

/// The jobs under way, by their places.
#[derive(Default)]
pub struct Running(Mutex<HashMap<i64, Entry>>);

impl Running {
    fn runs(&self) -> MutexGuard<'_, HashMap<i64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(&self, started: impl Iterator<Item = (i64, Run)>) {
        self.runs().extend(started.map(|(place, run)| (place, Entry { run, work: None })));
    }

    /// Tells what is at work for a job that a claim handed out; it stops if nobody waits for it by now.
    pub fn work(&self, place: i64, claim: u64, work: Work) {
        match self.runs().get_mut(&place).filter(|entry| entry.run.claim == claim) {
            Some(entry) => entry.work = Some(work),
            None => work.stop(),
        }
    }

    pub fn end(&self, place: i64) {
        if let Some(Entry { work: Some(work), .. }) = self.runs().remove(&place) {
            work.stop();
        }
    }

    pub fn get(&self, place: i64) -> Option<Run> {
        self.runs().get(&place).map(Entry::seen)
    }

    pub fn count(&self) -> usize {
        self.runs().len()
    }

    /// All of them, as they are now.
    pub fn snapshot(&self) -> HashMap<i64, Run> {
        self.runs().iter().map(|(place, entry)| (*place, entry.seen())).collect()
    }
}
