//! The engine of a model that has workers: they answer, or give the columns of a graph behind them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::native::Native;
use crate::engine::{Availability, Callers, Engine, Lease, Patient};
use crate::error::{Code, Error, Result};
use crate::signature::Output;
use crate::values::{Outputs, Plan, RowBuffer, arrow_in};

use super::{Counters, Workers, answer, lose};

/// What becomes of what the workers give.
pub enum Then {
    /// It is the answer: these outputs.
    Answer(Vec<Output>),
    /// It goes into a graph; the plan says where its columns lie in the graph's inputs.
    Graph(Box<(Plan, Native)>),
}

/// A worker stage, perhaps with a native stage behind it.
pub struct WorkerEngine {
    workers: Workers,
    then: Then,
}

impl WorkerEngine {
    /// An engine of these workers.
    pub fn new(workers: Workers, then: Then) -> Self {
        Self { workers, then }
    }
}

impl Engine for WorkerEngine {
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
        let count = range.len();
        let batch = if count > 0 { Some(self.workers.ask(rows, &range, lease, callers)?) } else { None };
        match (&self.then, batch) {
            (Then::Answer(outputs), None) => Ok(answer::no_outputs(outputs)),
            (Then::Answer(outputs), Some(batch)) => answer::outputs(&batch, outputs).map_err(|what| lose(lease, &what)),
            (Then::Graph(next), batch) => {
                let (plan, graph) = &**next;
                // The next batch may have the worker while the graph runs.
                drop(std::mem::take(lease));
                let mut columns = plan.buffer();
                if let Some(batch) = batch {
                    let batches = std::slice::from_ref(&batch);
                    arrow_in::read_batches(&batch.schema(), batches, plan, &mut columns, count).map_err(unfit)?;
                }
                graph.run(&columns, 0..count)
            }
        }
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
