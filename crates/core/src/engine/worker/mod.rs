//! The worker engine: a model's own code, in Python processes of its own behind the same batcher.
//!
//! [`pool`] has as many processes as the queue asks for and replaces those that are lost; [`process`] is one of them;
//! [`ask`] is one batch. Rows cross as Arrow messages ([`question`], [`answer`]) in shared [`memory`]; what crosses the
//! [`channel`] are [`frame`]s of fixed size. Nothing that a worker sends is believed.

mod answer;
mod ask;
mod channel;
mod engine;
mod frame;
mod memory;
mod output;
mod pool;
mod process;
mod question;
mod supervise;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};

use crate::bundle::folder::WorkerFolder;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::settings::Settings;
use crate::signature::Column;
use crate::values::{Plan, RowBuffer};

use super::{Availability, Callers, Lease};
use ask::Failure;
pub use engine::{Then, WorkerEngine};
use pool::Pool;
pub use pool::Seat;
use question::{Questions, Unwritable};

/// How a worker is started, as Python gives it.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// The interpreter of the model's environment.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// All of the child's environment.
    pub environment: BTreeMap<String, String>,
}

impl Launch {
    /// Reads the JSON that Python writes.
    ///
    /// # Errors
    /// `internal`.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::new(Code::Internal, format!("how a worker is started cannot be read: {e}")))
    }
}

/// What workers of a model are made of.
pub(crate) struct Spec {
    /// The model's name and version, for the log.
    pub who: String,
    pub launch: Launch,
    /// Where it finds its files: removed after the last worker has ended.
    pub folder: WorkerFolder,
    pub questions: Questions,
    /// The messages of both schemas.
    pub question_schema: Vec<u8>,
    pub answer_schema: Vec<u8>,
    pub is_idempotent: bool,
    pub settings: Settings,
    pub log: Log,
}

impl Spec {
    fn batch_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.settings.worker_timeout_s)
    }

    fn min_workers(&self) -> usize {
        self.settings.min_workers
    }

    fn max_workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = if self.settings.max_workers == 0 { cores } else { self.settings.max_workers };
        most.max(self.settings.min_workers)
    }
}

macro_rules! reasons {
    ($($name:ident = $word:literal, $what:literal;)*) => {
        /// Why a worker was replaced.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $(#[doc = $what] $name,)* }

        impl Reason {
            const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word in metrics.
            pub const fn as_str(self) -> &'static str { match self { $(Reason::$name => $word,)* } }
        }
    };
}

reasons! {
    Start = "start", "It could not be started or did not become ready.";
    Died = "died", "Its process ended.";
    Stuck = "stuck", "A batch took longer than `worker_timeout_s`.";
    Abandoned = "abandoned", "Its code went on although nobody waited any more.";
    Silent = "silent", "It was idle and did not answer its heartbeat.";
    Garbled = "garbled", "It did not keep to the protocol.";
    Memory = "memory", "It was over `worker_memory_bytes`.";
    Batches = "batches", "It had run `worker_max_batches`.";
}

/// What is counted of a model's workers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Workers that are ready, idle or not.
    workers: AtomicUsize,
    restarts: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    /// Workers that are ready.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    fn set_workers(&self, workers: usize) {
        self.workers.store(workers, Ordering::Relaxed);
    }

    fn count(&self, reason: Reason) {
        let place = Reason::ALL.iter().position(|one| *one == reason);
        if let Some(count) = place.and_then(|place| self.restarts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the restarts by reason, as Prometheus reads them.
    pub fn write_restarts(&self, text: &mut String, labels: &str) {
        for (count, reason) in self.restarts.iter().zip(Reason::ALL) {
            let (count, word) = (count.load(Ordering::Relaxed), reason.as_str());
            if count > 0 {
                let _ = writeln!(text, "monorail_worker_restarts_total{{{labels},reason=\"{word}\"}} {count}");
            }
        }
    }
}

/// What a worker stage is, apart from how it is run.
pub struct Stage<'a> {
    /// The model's name and version, for the log.
    pub who: String,
    /// The columns that its plan lays out.
    pub columns: &'a [Column],
    pub plan: &'a Plan,
    /// The schema of what it gives.
    pub gives: Schema,
    pub is_idempotent: bool,
    pub folder: WorkerFolder,
}

/// A model's workers.
pub struct Workers {
    pool: Arc<Pool>,
    supervisor: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Workers {
    /// Starts the least number of workers and waits until they are ready.
    ///
    /// # Errors
    /// `worker_failed` or `worker_lost` with the reason why one is not.
    pub fn start(
        stage: Stage<'_>,
        launch: Launch,
        settings: &Settings,
        log: Log,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let questions = Questions::new(stage.columns, stage.plan);
        let spec = Spec {
            who: stage.who,
            launch,
            folder: stage.folder,
            question_schema: schema_message(&questions.schema)?,
            answer_schema: schema_message(&stage.gives)?,
            questions,
            is_idempotent: stage.is_idempotent,
            settings: settings.clone(),
            log,
        };
        let (pool, supervisor) = Pool::start(spec)?;
        let workers = Self { pool, supervisor: Mutex::new(Some(supervisor)) };
        workers.pool.wait_ready(stop)?;
        Ok(workers)
    }

    /// Has a worker score some rows; one is leased where `lease` has none.
    ///
    /// # Errors
    /// `worker_failed`, `worker_lost`, `not_ready`, `deadline_exceeded`.
    pub fn ask(
        &self,
        rows: &RowBuffer,
        range: &Range<usize>,
        lease: &mut Lease,
        callers: &dyn Callers,
    ) -> Result<RecordBatch> {
        let spec = self.pool.spec();
        loop {
            let mut seat = match std::mem::take(lease) {
                Lease::Worker(seat) => seat,
                Lease::Here => self.pool.wait_for_seat(callers)?,
            };
            let answer = seat.process()?.ask(spec, rows, range, callers);
            match answer {
                Ok(batch) => {
                    *lease = Lease::Worker(seat);
                    return Ok(batch);
                }
                // Idle workers may die as well: these rows have not been with one yet.
                Err(Failure::Unsent) => seat.lose(Reason::Died, None),
                Err(Failure::Lost(reason, what)) => {
                    seat.lose(reason, Some(&what));
                    return Err(lost(&what));
                }
                Err(failure) => {
                    *lease = Lease::Worker(seat);
                    return Err(failed(&failure));
                }
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end(true);
    }
}

fn lost(what: &str) -> Error {
    Error::new(Code::WorkerLost, format!("the model's worker {what}"))
        .hint("the server's log has what it printed; another worker is started")
}

fn failed(failure: &Failure) -> Error {
    match failure {
        Failure::Raised(text) => Error::new(Code::WorkerFailed, format!("the model's code failed: {text}"))
            .hint("the server's log has the traceback"),
        Failure::GivenUp => crate::batcher::deadline_exceeded(),
        Failure::Unwritable(Unwritable::Text) => {
            Error::new(Code::EngineFailed, "a column of text is over two gigabytes").hint("send fewer rows at once")
        }
        Failure::Unwritable(Unwritable::Memory) => {
            Error::new(Code::EngineFailed, "the system has no shared memory for these rows")
                .hint("send fewer rows at once")
        }
        Failure::Unwritable(Unwritable::Plan) => Error::new(Code::Internal, "a buffer of another plan"),
        Failure::Unsent | Failure::Lost(..) => Error::new(Code::WorkerLost, "the model's worker was lost"),
    }
}

fn schema_message(schema: &Schema) -> Result<Vec<u8>> {
    let fault = |e| Error::new(Code::Internal, format!("a schema could not be written as Arrow: {e}"));
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(fault)?;
    writer.flush().map_err(fault)?;
    Ok(std::mem::take(writer.get_mut()))
}

/// Ends a worker whose answer was a message, but not what its schema and row count promise.
pub(super) fn lose(lease: &mut Lease, what: &str) -> Error {
    let what = format!("gave an answer that cannot be read: {what}");
    if let Lease::Worker(seat) = std::mem::take(lease) {
        seat.lose(Reason::Garbled, Some(&what));
    }
    lost(&what)
}

/// What every engine with workers says of them.
impl Workers {
    pub(super) fn lease(&self, waited: Duration) -> Availability {
        self.pool.lease(waited)
    }

    pub(super) fn on_free(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        self.pool.on_free(tell);
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.pool.spec().is_idempotent
    }

    /// A thread for each worker: they do nothing but wait for it.
    pub(super) fn parallel(&self, _threads: usize) -> usize {
        self.pool.spec().max_workers()
    }

    pub(super) fn end(&self, wait: bool) {
        if !self.pool.is_ours() {
            // The supervisor and its workers are another process's.
            return;
        }
        self.pool.stop();
        if wait && let Some(supervisor) = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // One that panicked has nothing left to stop.
            let _ = supervisor.join();
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        self.pool.counters()
    }
}

/// The schema of columns that a graph reads next.
pub fn columns_schema(columns: &[Column]) -> SchemaRef {
    let field = |c: &Column| arrow_schema::Field::new(&c.name, question::data_type(c), c.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
