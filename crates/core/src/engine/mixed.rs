//! The mixed engine: a worker's columns, then a graph over them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::values::{Outputs, Plan, RowBuffer, arrow_in};

use super::native::Native;
use super::worker::{Counters, Workers};
use super::{Availability, Callers, Engine, Lease, Patient};

/// A worker stage with a native stage behind it.
pub struct Mixed {
    workers: Workers,
    /// Where the worker's columns go in the graph's inputs.
    plan: Plan,
    graph: Native,
}

impl Mixed {
    /// An engine whose workers give the columns that `plan` lays out for `graph`.
    pub fn new(workers: Workers, plan: Plan, graph: Native) -> Self {
        Self { workers, plan, graph }
    }
}

impl Engine for Mixed {
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs> {
        self.run_for(rows, range, &mut Lease::Here, &Patient)
    }

    fn run_for(
        &self,
        rows: &RowBuffer,
        range: Range<usize>,
        lease: &mut Lease,
        callers: &dyn Callers,
    ) -> Result<Outputs> {
        let mut columns = self.plan.buffer();
        let count = range.len();
        if count > 0 {
            let batch = self.workers.ask(rows, &range, lease, callers)?;
            // The next batch may have the worker while the graph runs.
            drop(std::mem::take(lease));
            let batches = std::slice::from_ref(&batch);
            arrow_in::read_batches(&batch.schema(), batches, &self.plan, &mut columns, count).map_err(unfit)?;
        }
        self.graph.run(&columns, 0..count)
    }

    fn lease(&self, waited: Duration) -> Availability {
        self.workers.lease(waited)
    }

    fn on_free(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        self.workers.on_free(tell);
    }

    fn is_idempotent(&self) -> bool {
        self.workers.is_idempotent()
    }

    fn parallel(&self, threads: usize) -> usize {
        self.workers.parallel(threads)
    }

    fn workers(&self) -> Option<&Counters> {
        Some(self.workers.counters())
    }

    fn end(&self, wait: bool) {
        self.workers.end(wait);
    }
}

/// The worker's columns are not what the graph takes: its code is to blame, not the caller.
fn unfit(error: Error) -> Error {
    let parts = error.parts();
    let place = parts.details.first().map(|d| {
        let column = d.column.as_deref().unwrap_or_default();
        format!(": column \"{column}\" must be {}, got {}", d.expected, d.got)
    });
    let what = place.unwrap_or_else(|| format!(": {}", parts.message));
    Error::new(Code::WorkerFailed, format!("the model's own steps gave what its graph does not take{what}"))
        .hint("the steps before the graph must give columns as they did when the model was saved")
}
