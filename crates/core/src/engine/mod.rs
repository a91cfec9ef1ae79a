//! Engines: what turns rows into answers.
//!
//! Every road ends in [`Engine::run`], so an answer does not depend on the road. [`native`] runs a graph in this
//! process, [`worker`] the model's own code in Python processes, perhaps with a graph behind it.

pub mod golden;
pub mod model;
pub mod native;
pub mod runtime;
mod trees;
pub mod worker;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::values::{Outputs, RowBuffer};

pub use model::Model;

/// Who waits for a batch: engines that take long look up from time to time.
pub trait Callers {
    /// When the last of them stops waiting; `None` if one never does.
    fn deadline(&self) -> Option<Instant>;

    /// Whether anybody still waits.
    fn wait(&self) -> bool;
}

/// A caller that waits as long as it takes.
#[derive(Clone, Copy, Debug)]
pub struct Patient;

impl Callers for Patient {
    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn wait(&self) -> bool {
        true
    }
}

/// The right to run a batch: whoever holds one need not wait for an engine any more.
#[derive(Default)]
pub enum Lease {
    /// The calling thread is all that is needed.
    #[default]
    Here,
    /// An idle worker.
    Worker(worker::Seat),
}

/// Whether a batch can run now.
pub enum Availability {
    Now(Lease),
    /// Everybody is busy; whom [`Engine::on_free`] was told hears of it.
    Later,
    /// Nobody is there, and it may take a while.
    Down(Error),
}

/// Scores rows. Called from several threads at once.
pub trait Engine: Send + Sync {
    /// Scores some rows of a buffer laid out by the model's plan, however long it takes.
    ///
    /// # Errors
    /// `engine_failed` if these rows cannot be scored; `worker_failed` or `worker_lost` from a worker.
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs>;

    /// Scores some rows with a lease, unless nobody waits for them any more.
    ///
    /// # Errors
    /// As [`Engine::run`], and `deadline_exceeded`.
    fn run_for(
        &self,
        rows: &RowBuffer,
        range: Range<usize>,
        lease: &mut Lease,
        callers: &dyn Callers,
    ) -> Result<Outputs> {
        let _ = (lease, callers);
        self.run(rows, range)
    }

    /// The right to run a batch, if it can be had now; `waited` is how long the oldest row has waited.
    fn lease(&self, waited: Duration) -> Availability {
        let _ = waited;
        Availability::Now(Lease::Here)
    }

    /// Has `tell` called whenever a lease may be had that could not be had before. Once, before the first lease.
    fn on_free(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        drop(tell);
    }

    /// Whether rows may be scored again after their worker was lost.
    fn is_idempotent(&self) -> bool {
        true
    }

    /// How many threads can use it at once, where a server has `threads`.
    fn parallel(&self, threads: usize) -> usize {
        threads
    }

    /// What is counted of its workers, if it has some.
    fn workers(&self) -> Option<&worker::Counters> {
        None
    }

    /// Ends the processes it has started, and waits for them if asked to. Nothing is run after that.
    fn end(&self, wait: bool) {
        let _ = wait;
    }
}
