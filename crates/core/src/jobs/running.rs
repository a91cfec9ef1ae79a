//! The jobs under way. Only memory knows them: to the disk they wait until they have ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One job's being under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Which claim handed it out: one that was cancelled and tried again is not ended by the answer of before.
    pub claim: u64,
    /// This try, from one.
    pub attempts: u32,
    pub started: f64,
    pub priority: i64,
}

/// The jobs under way, by their places.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<i64, Run>>);

impl Running {
    fn runs(&self) -> MutexGuard<'_, HashMap<i64, Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(&self, started: impl Iterator<Item = (i64, Run)>) {
        self.runs().extend(started);
    }

    pub fn end(&self, place: i64) -> Option<Run> {
        self.runs().remove(&place)
    }

    pub fn get(&self, place: i64) -> Option<Run> {
        self.runs().get(&place).copied()
    }

    pub fn count(&self) -> usize {
        self.runs().len()
    }

    /// All of them, as they are now.
    pub fn snapshot(&self) -> HashMap<i64, Run> {
        self.runs().clone()
    }
}
