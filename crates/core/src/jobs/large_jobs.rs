//! The large jobs under way: a thread for each, a few at a time. No more are claimed than there are threads.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::lifecycle::Shared;

use super::files::Files;
use super::job::{Claimed, Ending, Finished};
use super::large::{self, Task};
use super::run::{Event, again_or_failed};
use super::running::{Parts, Running, Work};

/// Jobs scored at a time.
const SCORED: usize = 2;

pub struct LargeJobs {
    shared: Arc<Shared>,
    files: Arc<Files>,
    runner: Sender<Event>,
    running: Arc<Running>,
    stopping: Arc<AtomicBool>,
    /// Those whose thread of an earlier claim is not over yet.
    waiting: VecDeque<Claimed>,
    /// Places of those that have a thread.
    scored: HashSet<i64>,
}

impl LargeJobs {
    pub fn new(shared: Arc<Shared>, files: Arc<Files>, runner: Sender<Event>, running: Arc<Running>) -> Self {
        let stopping = Arc::default();
        Self { shared, files, runner, running, stopping, waiting: VecDeque::new(), scored: HashSet::new() }
    }

    /// Whether none has a thread.
    pub fn is_empty(&self) -> bool {
        self.scored.is_empty()
    }

    /// How many more may be claimed.
    pub fn free(&self) -> usize {
        SCORED.saturating_sub(self.scored.len() + self.waiting.len())
    }

    /// Takes a job; gives what has ended at once.
    pub fn take(&mut self, job: Claimed) -> Option<Finished> {
        self.waiting.push_back(job);
        self.begin()
    }

    /// A job's thread is over; gives what has ended of those that wait.
    pub fn land(&mut self, place: i64) -> Option<Finished> {
        self.scored.remove(&place);
        self.begin()
    }

    /// Begins no more, and has those under way stop; gives back those that wait.
    pub fn stop(&mut self) -> Vec<Finished> {
        self.stopping.store(true, Ordering::Relaxed);
        self.waiting.drain(..).map(|job| job.ended(Ending::Again { pause: Duration::ZERO, counted: false })).collect()
    }

    /// Begins the next one, if there is room.
    fn begin(&mut self) -> Option<Finished> {
        // One that was cancelled and tried again waits until its first thread is over.
        let next = self.waiting.iter().position(|job| !self.scored.contains(&job.place))?;
        let job = self.waiting.remove(next)?;
        let place = job.place;
        match self.spawn(&job) {
            Ok(()) => {
                self.scored.insert(place);
                None
            }
            Err(error) => Some(again_or_failed(&job, error)),
        }
    }

    fn spawn(&self, job: &Claimed) -> Result<()> {
        let missing = || Error::new(Code::JobStoreFailed, "the job has no body").hint("submit it again");
        let parts: Arc<Parts> = Arc::default();
        let task = Task {
            name: job.file.clone().ok_or_else(missing)?,
            served: self.shared.catalog()?.find(&job.model)?.clone(),
            job: job.clone(),
            files: self.files.clone(),
            parts: parts.clone(),
            stopping: self.stopping.clone(),
            log: self.shared.log.clone(),
            limit_batch_bytes: self.shared.settings.limit_body_bytes,
        };
        let runner = self.runner.clone();
        self.running.work(job.place, job.claim, Work::Parts(parts));
        let work = move || {
            let ending = catch_unwind(AssertUnwindSafe(|| large::score(&task)))
                .unwrap_or_else(|_| Ending::Failed(Error::new(Code::Internal, "scoring a large job panicked")));
            // A runner that has gone scores nothing more: the job is queued again by the next server.
            drop(runner.send(Event::Landed(task.job.ended(ending))));
        };
        let spawned = std::thread::Builder::new().name("monorail-large".to_owned()).spawn(work);
        spawned.map(drop).map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))
    }
}
