//! The queue in front of an engine: counts rows, shares a batch among callers, waits for no timer.
//!
//! An event loop hands over what one turn of it has read; an idle engine thread takes all of that at once,
//! and while the engine is busy rows gather. A caller's rows stay in order and together up to
//! `max_batch_rows`; a larger request runs as consecutive batches of its own and lets others in between.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::engine::{Availability, Callers, Lease, Model};
use crate::error::{Code, Error, Result};
use crate::metrics::ModelMetrics;
use crate::values::{Outputs, RowBuffer};

/// Spare buffers kept for the event loops.
const SPARE_BUFFERS: usize = 16;
/// Bytes over which a spare buffer is not kept.
const SPARE_BYTES: usize = 4 << 20;

/// Rows of an answer: the batch's outputs are shared by all its callers.
#[derive(Debug)]
pub struct Answer {
    pub outputs: Arc<Outputs>,
    pub start: usize,
    pub rows: usize,
}

/// Where answers go. Called from engine threads; must not block.
pub trait Mailbox: Send + Sync {
    /// Takes the answers of one batch that belong to this mailbox.
    fn deliver(&self, answers: Vec<(u64, Result<Answer>)>);
}

/// One caller's request on its way through the queue.
pub struct Call {
    pub mailbox: Arc<dyn Mailbox>,
    /// The mailbox's own name for the request.
    pub ticket: u64,
    pub deadline: Option<Instant>,
    gone: AtomicBool,
    /// Its rows that are scored already, while it is larger than a batch.
    scored: AtomicUsize,
}

impl Call {
    /// A request whose answer goes to `mailbox` under `ticket`.
    pub fn new(mailbox: Arc<dyn Mailbox>, ticket: u64, deadline: Option<Instant>) -> Arc<Self> {
        Arc::new(Self { mailbox, ticket, deadline, gone: AtomicBool::new(false), scored: AtomicUsize::new(0) })
    }

    /// Rows scored so far of a request larger than a batch.
    pub fn scored(&self) -> usize {
        self.scored.load(Ordering::Relaxed)
    }
}

/// Some rows of one caller.
struct Item {
    call: Arc<Call>,
    buffer: Arc<RowBuffer>,
    start: usize,
    rows: usize,
    queued: Instant,
    /// Whether the request was larger than a batch when it came.
    large: bool,
    /// What is scored already of a request larger than a batch.
    scored: Option<Outputs>,
}

impl Item {
    /// The caller's answer, when its last rows are `start..` of `outputs`.
    fn finish(&mut self, outputs: Arc<Outputs>, start: usize) -> Answer {
        match self.scored.take() {
            None => Answer { outputs, start, rows: self.rows },
            Some(mut scored) => {
                scored.extend(&outputs, start..start + self.rows);
                Answer { rows: scored.rows, outputs: Arc::new(scored), start: 0 }
            }
        }
    }
}

/// Rows that one turn of an event loop has read for one model.
pub struct Turn {
    pub buffer: RowBuffer,
    /// Each caller and its number of rows, in the buffer's order.
    pub calls: Vec<(Arc<Call>, usize)>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    closed: bool,
}

/// A model's queue.
pub struct Batcher {
    pub model: Arc<Model>,
    pub metrics: Arc<ModelMetrics>,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Rows in the queue, and not yet with an engine.
    rows: AtomicUsize,
    /// Those of them that are parts of requests larger than a batch.
    large_rows: AtomicUsize,
    spare: Mutex<Vec<RowBuffer>>,
    max_batch_rows: usize,
    max_queue_rows: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batcher {
    /// A queue for `model`; [`Batcher::work`] runs it.
    pub fn new(model: Arc<Model>, max_batch_rows: usize, max_queue_rows: usize) -> Self {
        Self {
            model,
            metrics: Arc::default(),
            queue: Mutex::default(),
            work: Condvar::new(),
            rows: AtomicUsize::new(0),
            large_rows: AtomicUsize::new(0),
            spare: Mutex::default(),
            max_batch_rows,
            max_queue_rows,
        }
    }

    /// Has the engine tell when it is free again. Once, before [`Batcher::work`].
    pub fn listen(self: &Arc<Self>) {
        let batcher = Arc::downgrade(self);
        self.model.engine.on_free(Arc::new(move || {
            if let Some(batcher) = batcher.upgrade() {
                // Whoever has found it busy under this lock waits by now, and hears it.
                drop(lock(&batcher.queue));
                batcher.work.notify_one();
            }
        }));
    }

    /// Most rows of a batch.
    pub fn max_batch_rows(&self) -> usize {
        self.max_batch_rows
    }

    /// Rows waiting.
    pub fn queue_rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether `rows` more may wait beside `staged` ones that are not in the queue yet.
    ///
    /// Requests larger than a batch have a bound of their own: they let others in between, so they must not
    /// keep them out. Where none of them waits, one of any size may: how large a request is has another limit.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn admit(&self, staged: usize, rows: usize) -> Result<()> {
        let large = self.large_rows.load(Ordering::Relaxed);
        let is_large = rows > self.max_batch_rows;
        let waiting = if is_large { large } else { self.queue_rows().saturating_sub(large) + staged };
        if waiting > 0 && waiting.saturating_add(rows) > self.max_queue_rows {
            return Err(Error::new(Code::Overloaded, format!("{waiting} rows are waiting already"))
                .hint("try again later, or raise max_queue_rows"));
        }
        Ok(())
    }

    /// An empty buffer, used before if there is one.
    pub fn spare_buffer(&self) -> RowBuffer {
        lock(&self.spare).pop().unwrap_or_else(|| self.model.plan.buffer())
    }

    /// Takes a buffer back for another turn, unless it has grown too large to keep.
    pub fn give_back(&self, mut buffer: RowBuffer) {
        if buffer.capacity_bytes() <= SPARE_BYTES {
            buffer.clear();
            let mut spare = lock(&self.spare);
            if spare.len() < SPARE_BUFFERS {
                spare.push(buffer);
            }
        }
    }

    fn count_in(&self, item: &Item) {
        self.rows.fetch_add(item.rows, Ordering::Relaxed);
        if item.large {
            self.large_rows.fetch_add(item.rows, Ordering::Relaxed);
        }
    }

    fn count_out(&self, item: &Item) {
        self.rows.fetch_sub(item.rows, Ordering::Relaxed);
        if item.large {
            self.large_rows.fetch_sub(item.rows, Ordering::Relaxed);
        }
    }

    /// Queues what a turn has read.
    pub fn push(&self, turn: Turn) {
        let queued = Instant::now();
        let buffer = Arc::new(turn.buffer);
        let mut start = 0;
        let mut queue = lock(&self.queue);
        for (call, rows) in turn.calls {
            let large = rows > self.max_batch_rows;
            let item = Item { call, buffer: buffer.clone(), start, rows, queued, large, scored: None };
            self.count_in(&item);
            queue.items.push_back(item);
            start += rows;
        }
        drop(queue);
        self.work.notify_one();
    }

    /// Takes a caller's rows out of the queue: nobody waits for them any more.
    pub fn cancel(&self, call: &Arc<Call>) {
        call.gone.store(true, Ordering::Relaxed);
        let mut queue = lock(&self.queue);
        queue.items.retain(|item| {
            let keep = !Arc::ptr_eq(&item.call, call);
            if !keep {
                self.count_out(item);
            }
            keep
        });
    }

    /// Lets engine threads end once the queue is empty.
    pub fn close(&self) {
        lock(&self.queue).closed = true;
        self.work.notify_all();
    }

    /// Scores batches until the queue is closed and empty. The body of an engine thread.
    pub fn work(&self) {
        let mut scratch = self.model.plan.buffer();
        let mut batch = Vec::new();
        while let Some(mut lease) = self.take(&mut batch) {
            let run = catch_unwind(AssertUnwindSafe(|| self.run(&mut batch, &mut scratch, &mut lease)));
            drop(lease);
            if run.is_err() {
                let error = Error::new(Code::Internal, "scoring a batch panicked");
                deliver(batch.drain(..).map(|item| (item.call, Err(error.clone()))));
                scratch = self.model.plan.buffer();
            }
            for item in batch.drain(..) {
                if let Some(buffer) = Arc::into_inner(item.buffer) {
                    self.give_back(buffer);
                }
            }
        }
    }

    /// Waits for rows and for an engine that is free, and takes a batch; `None` once the queue is closed and empty.
    ///
    /// While every worker is busy rows stay in the queue and gather there.
    fn take(&self, batch: &mut Vec<Item>) -> Option<Lease> {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            let Some(waited) = queue.items.front().map(|item| now.saturating_duration_since(item.queued)) else {
                if queue.closed {
                    return None;
                }
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let lease = match self.model.engine.lease(waited) {
                Availability::Now(lease) => lease,
                Availability::Later => {
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Availability::Down(error) => {
                    let refused = self.take_all(&mut queue);
                    drop(queue);
                    deliver(refused.into_iter().map(|item| (item.call, Err(error.clone()))));
                    queue = lock(&self.queue);
                    continue;
                }
            };
            let expired = self.fill(&mut queue, batch, now);
            let more = !queue.items.is_empty();
            drop(queue);
            if more {
                self.work.notify_one();
            }
            deliver(expired.into_iter().map(|item| (item.call, Err(deadline_exceeded()))));
            if !batch.is_empty() {
                return Some(lease);
            }
            // Nobody waits for what was there: whoever comes next finds the engine free.
            drop(lease);
            queue = lock(&self.queue);
        }
    }

    /// Empties the queue.
    fn take_all(&self, queue: &mut Queue) -> Vec<Item> {
        let items: Vec<_> = queue.items.drain(..).collect();
        for item in &items {
            self.count_out(item);
        }
        items
    }

    /// Moves rows from the queue to a batch, and gives those whose deadline has passed.
    fn fill(&self, queue: &mut Queue, batch: &mut Vec<Item>, now: Instant) -> Vec<Item> {
        let mut expired = Vec::new();
        let mut rows = 0;
        while let Some(item) = queue.items.front() {
            let fits = rows + item.rows <= self.max_batch_rows && self.model.manifest.row_wise;
            if !fits && !batch.is_empty() {
                break;
            }
            let Some(item) = queue.items.pop_front() else { break };
            self.count_out(&item);
            if item.call.gone.load(Ordering::Relaxed) {
                continue;
            }
            if item.call.deadline.is_some_and(|deadline| deadline <= now) {
                expired.push(item);
            } else {
                if item.scored.is_none() {
                    self.metrics.queue_seconds.time(now.saturating_duration_since(item.queued));
                }
                rows += item.rows;
                batch.push(item);
                if !fits {
                    break;
                }
            }
        }
        expired
    }

    /// Scores a batch and delivers its answers; a failure is its guilty caller's alone.
    fn run(&self, batch: &mut Vec<Item>, scratch: &mut RowBuffer, lease: &mut Lease) {
        let Some(first) = batch.first() else { return };
        if batch.len() == 1 {
            if self.model.manifest.row_wise && first.rows > self.max_batch_rows {
                return self.run_part(batch, lease);
            }
            let outputs = self.run_alone(first, first.rows, lease);
            return answer(batch, outputs.map(Arc::new));
        }
        let start = first.start;
        let together = batch.windows(2).all(|pair| match pair {
            [a, b] => Arc::ptr_eq(&a.buffer, &b.buffer) && a.start + a.rows == b.start,
            _ => true,
        });
        let rows = batch.iter().map(|item| item.rows).sum();
        let outputs = if together {
            self.score(&first.buffer, start, rows, lease, batch)
        } else {
            scratch.clear();
            for item in batch.iter() {
                scratch.extend(&item.buffer, item.start..item.start + item.rows);
            }
            self.score(scratch, 0, rows, lease, batch)
        };
        match outputs {
            Ok(outputs) => answer(batch, Ok(Arc::new(outputs))),
            // What ran when its worker was lost must not run twice, unless the model says that it may.
            Err(error) if error.code() == Code::WorkerLost && !self.model.engine.is_idempotent() => {
                answer(batch, Err(error));
            }
            // Each is answered at once: the next one may be the guilty one, and take long.
            Err(_) => {
                while let Some(item) = batch.first() {
                    let alone = item.score(self, item.rows, lease);
                    let mut item = batch.remove(0);
                    let alone = alone.map(|outputs| item.finish(Arc::new(outputs), 0));
                    deliver(std::iter::once((item.call, alone)));
                }
            }
        }
    }

    /// Scores the next part of a request larger than a batch, and queues the rest behind the others.
    fn run_part(&self, batch: &mut Vec<Item>, lease: &mut Lease) {
        let Some(item) = batch.first() else { return };
        let rows = self.max_batch_rows;
        let outputs = self.run_alone(item, rows, lease);
        let Some(mut item) = batch.pop() else { return };
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => return deliver(std::iter::once((item.call, Err(error)))),
        };
        match &mut item.scored {
            Some(scored) => scored.extend(&outputs, 0..rows),
            scored => *scored = Some(outputs),
        }
        item.call.scored.fetch_add(rows, Ordering::Relaxed);
        // There is more: a part is only run alone while the rows left are over a batch.
        item.start += rows;
        item.rows -= rows;
        self.count_in(&item);
        lock(&self.queue).items.push_back(item);
        self.work.notify_one();
    }

    /// Scores the first `rows` of a caller that has the batch for himself; once more if the worker was lost and the
    /// model says that it may.
    fn run_alone(&self, item: &Item, rows: usize, lease: &mut Lease) -> Result<Outputs> {
        match item.score(self, rows, lease) {
            Err(error) if error.code() == Code::WorkerLost && self.model.engine.is_idempotent() => {
                item.score(self, rows, lease)
            }
            done => done,
        }
    }

    fn score(
        &self,
        buffer: &RowBuffer,
        start: usize,
        rows: usize,
        lease: &mut Lease,
        callers: &[Item],
    ) -> Result<Outputs> {
        let began = Instant::now();
        let outputs = self.model.engine.run_for(buffer, start..start + rows, lease, &Waiting(callers));
        self.metrics.engine_seconds.time(began.elapsed());
        self.metrics.batch_rows.rows(rows);
        outputs
    }
}

impl Item {
    /// Scores its first rows, unless nobody waits for them any more.
    fn score(&self, batcher: &Batcher, rows: usize, lease: &mut Lease) -> Result<Outputs> {
        let caller = std::slice::from_ref(self);
        let is_late = self.call.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if is_late || !Waiting(caller).wait() {
            return Err(deadline_exceeded());
        }
        batcher.score(&self.buffer, self.start, rows, lease, caller)
    }
}

/// The callers of a batch, as an engine asks for them.
struct Waiting<'a>(&'a [Item]);

impl Callers for Waiting<'_> {
    fn deadline(&self) -> Option<Instant> {
        let mut latest = None;
        for item in self.0 {
            latest = latest.max(Some(item.call.deadline?));
        }
        latest
    }

    fn wait(&self) -> bool {
        self.0.iter().any(|item| !item.call.gone.load(Ordering::Relaxed))
    }
}

/// The error of rows whose deadline passed before the engine had them.
pub fn deadline_exceeded() -> Error {
    Error::new(Code::DeadlineExceeded, "the deadline passed before the rows were scored")
        .hint("allow more time in Monorail-Timeout-S, or send less at once")
}

/// Gives every caller of a batch its own rows.
fn answer(batch: &mut [Item], outputs: Result<Arc<Outputs>>) {
    let mut start = 0;
    deliver(batch.iter_mut().map(|item| {
        let rows = item.rows;
        let mine = outputs.clone().map(|outputs| item.finish(outputs, start));
        start += rows;
        (item.call.clone(), mine)
    }));
}

/// Delivers answers, one call of each mailbox.
fn deliver(answers: impl Iterator<Item = (Arc<Call>, Result<Answer>)>) {
    type Post = (Arc<dyn Mailbox>, Vec<(u64, Result<Answer>)>);
    let mut post: Vec<Post> = Vec::new();
    for (call, answer) in answers {
        match post.iter_mut().find(|(mailbox, _)| Arc::ptr_eq(mailbox, &call.mailbox)) {
            Some((_, letters)) => letters.push((call.ticket, answer)),
            None => post.push((call.mailbox.clone(), vec![(call.ticket, answer)])),
        }
    }
    for (mailbox, letters) in post {
        mailbox.deliver(letters);
    }
}
