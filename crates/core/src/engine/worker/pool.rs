//! A model's workers: who is idle, who is leased, how many there should be.
//!
//! One thread, the supervisor ([`supervise`](super::supervise)), starts and ends them; engine threads lease them. The
//! worker used last is leased first, so that those not needed fall idle and are stopped.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::{Availability, Callers, Lease};
use crate::error::{Code, Error, Result};

use super::process::Process;
use super::{Counters, Reason, Spec, supervise};

/// Failures in a row after which a model without a worker is called down instead of being waited for: the pause
/// before the next start is over a second from there on.
const DOWN_AFTER: u32 = 6;
/// Batches after which a worker that is lost counts as having been a good one.
const PROVEN_BATCHES: u64 = 10;
/// Longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An idle worker that owes an answer to a ping for longer is not leased.
const SUSPECT_AFTER: Duration = Duration::from_millis(250);
/// How long a worker may take to end by itself.
pub(super) const END_GRACE: Duration = Duration::from_secs(2);
/// How often whoever waits for a worker looks whether anybody still waits for him.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A worker that waits for work.
pub(super) struct Idle {
    pub process: Box<Process>,
    pub since: Instant,
    /// When it was pinged, if it has not answered yet.
    pub pinged: Option<Instant>,
    /// When it was last heard of.
    pub heard: Instant,
}

impl Idle {
    pub fn new(process: Box<Process>) -> Self {
        let now = Instant::now();
        Self { process, since: now, pinged: None, heard: now }
    }
}

#[derive(Default)]
pub(super) struct State {
    /// The one used last is the last.
    pub idle: Vec<Idle>,
    /// Leased, or in the supervisor's hands.
    pub busy: usize,
    pub starting: usize,
    /// Of those idle and busy, how many are to be replaced.
    pub retiring: usize,
    /// On their way out, and when they are killed.
    pub ending: Vec<(Box<Process>, Instant)>,
    /// Workers lost in a row.
    pub failures: u32,
    /// No start before this.
    pub not_before: Option<Instant>,
    /// Since when rows have waited for a worker.
    pub waiting_since: Option<Instant>,
    /// Why the last start failed.
    pub refusal: Option<Error>,
    pub stopping: bool,
}

impl State {
    /// Workers that are ready.
    pub fn live(&self) -> usize {
        self.idle.len() + self.busy
    }

    /// Those of them that are not to be replaced.
    pub fn fresh(&self) -> usize {
        self.live() - self.retiring
    }
}

/// A model's workers, as all its threads share them.
pub(crate) struct Pool {
    pub(super) spec: Spec,
    /// The process that started it. One forked from that has the same sockets and memory, and must not use them.
    owner: u32,
    pub(super) counters: Counters,
    state: Mutex<State>,
    pub(super) changed: Condvar,
    tell: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

impl Pool {
    /// A pool, and the thread that supervises it.
    pub fn start(spec: Spec) -> Result<(Arc<Self>, JoinHandle<()>)> {
        let pool = Arc::new(Self {
            spec,
            owner: std::process::id(),
            counters: Counters::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            tell: OnceLock::new(),
        });
        let supervised = pool.clone();
        let thread = std::thread::Builder::new()
            .name("monorail-workers".to_owned())
            .spawn(move || supervise::run(&supervised))
            .map_err(|e| Error::new(Code::Internal, format!("no thread can be started: {e}")))?;
        Ok((pool, thread))
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until as many workers are ready as there are to be at least, or `stop` says to give up.
    pub fn wait_ready(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.refusal {
                return Err(error.clone());
            }
            if state.live() >= self.spec.min_workers() {
                return Ok(());
            }
            if stop() {
                return Err(Error::new(Code::Draining, "the server was stopped while loading"));
            }
            state = self.changed.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether this is the process that started it.
    pub fn is_ours(&self) -> bool {
        std::process::id() == self.owner
    }

    /// Ends all workers; the supervisor's thread ends when they have.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Has `tell` called whenever a worker becomes idle, or there is none to wait for.
    pub fn on_free(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        // Only the first is told: a model has one queue.
        let _ = self.tell.set(tell);
    }

    /// Tells whoever waits for a worker. Not to be called with the state locked.
    pub(super) fn tell_free(&self) {
        self.changed.notify_all();
        if let Some(tell) = self.tell.get() {
            tell();
        }
    }

    /// An idle worker, if there is one.
    pub fn lease(self: &Arc<Self>, waited: Duration) -> Availability {
        if !self.is_ours() {
            return Availability::Down(forked());
        }
        let now = Instant::now();
        let mut state = self.lock();
        if state.stopping {
            return Availability::Down(Error::new(Code::Draining, "the model's workers have been stopped"));
        }
        let is_fit = |idle: &Idle| idle.pinged.is_none_or(|at| now.saturating_duration_since(at) < SUSPECT_AFTER);
        if let Some(place) = state.idle.iter().rposition(is_fit) {
            let Idle { process, .. } = state.idle.remove(place);
            state.busy += 1;
            state.waiting_since = None;
            return Availability::Now(Lease::Worker(Seat { pool: self.clone(), process: Some(process) }));
        }
        if state.live() + state.starting == 0 && state.failures >= DOWN_AFTER {
            return Availability::Down(down(&state));
        }
        if state.waiting_since.is_none() {
            state.waiting_since = now.checked_sub(waited).or(Some(now));
            drop(state);
            self.changed.notify_all();
        }
        Availability::Later
    }

    /// A worker, as soon as there is one, for as long as anybody waits.
    pub fn wait_for_seat(self: &Arc<Self>, callers: &dyn Callers) -> Result<Seat> {
        let began = Instant::now();
        loop {
            match self.lease(began.elapsed()) {
                Availability::Now(Lease::Worker(seat)) => return Ok(seat),
                Availability::Down(error) => return Err(error),
                Availability::Now(Lease::Here) | Availability::Later => {}
            }
            if !callers.wait() || callers.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(crate::batcher::deadline_exceeded());
            }
            let state = self.lock();
            if state.idle.is_empty() {
                drop(self.changed.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(state);
                std::thread::sleep(LOOK_UP);
            }
        }
    }

    /// Takes a leased worker back.
    fn take_back(&self, mut process: Box<Process>) {
        let settings = &self.spec.settings;
        let is_large = settings.worker_memory_bytes > 0 && process.resident_bytes() > settings.worker_memory_bytes;
        let is_old = settings.worker_max_batches > 0 && process.batches >= settings.worker_max_batches as u64;
        let mut state = self.lock();
        let is_replaced = process.retiring.is_some() && state.fresh() >= self.spec.min_workers();
        state.busy -= 1;
        if process.batches >= PROVEN_BATCHES {
            state.failures = 0;
        }
        if is_large || state.stopping {
            // It must not grow further: what comes next waits for another one.
            if process.retiring.is_some() {
                state.retiring -= 1;
            }
            if is_large {
                self.counters.count(Reason::Memory);
            }
            self.end(&mut state, process, "it has taken too much memory, or the server stops");
            drop(state);
            return self.tell_free();
        }
        if is_old && process.retiring.is_none() {
            // It goes on until another one has come up.
            state.retiring += 1;
            process.retiring = Some(Reason::Batches);
        }
        state.waiting_since = None;
        if is_replaced {
            // Never seen idle where there is always work, it would go on for ever.
            self.retire(&mut state, process);
        } else {
            state.idle.push(Idle::new(process));
        }
        drop(state);
        self.tell_free();
    }

    /// Lets a worker that is to be replaced, and was taken out of the state, end by itself.
    pub(super) fn retire(&self, state: &mut State, process: Box<Process>) {
        if let Some(reason) = process.retiring {
            state.retiring -= 1;
            self.counters.count(reason);
        }
        self.end(state, process, "it has run worker_max_batches");
    }

    /// Lets a worker that was taken out of the state end by itself.
    pub(super) fn end(&self, state: &mut State, process: Box<Process>, why: &str) {
        self.spec.log.info(format_args!("{}: worker {} is stopped: {why}", self.spec.who, process.pid()));
        process.close();
        state.ending.push((process, Instant::now() + END_GRACE));
        self.count(state);
    }

    /// Kills a worker that was taken out of the state, and has another one started.
    pub(super) fn lose(&self, mut process: Box<Process>, reason: Reason, what: &str) {
        self.counters.count(reason);
        self.spec.log.warning(format_args!("{}: worker {} {what}; it is replaced", self.spec.who, process.pid()));
        let is_gone = process.kill();
        let mut state = self.lock();
        state.busy -= 1;
        if process.retiring.is_some() {
            state.retiring -= 1;
        }
        let failures = if process.batches >= PROVEN_BATCHES { 1 } else { state.failures + 1 };
        state.fail(failures);
        if !is_gone {
            state.ending.push((process, Instant::now()));
        }
        self.count(&state);
        drop(state);
        self.tell_free();
    }

    /// Notes that a worker did not come up.
    pub(super) fn refuse(&self, what: &str) {
        self.counters.count(Reason::Start);
        self.spec.log.warning(format_args!("{}: its worker {what}", self.spec.who));
        let error = Error::new(Code::WorkerFailed, format!("a worker of {} {what}", self.spec.who))
            .hint("the log has what it printed");
        let mut state = self.lock();
        state.starting -= 1;
        let failures = state.failures + 1;
        state.fail(failures);
        state.refusal = Some(error);
        drop(state);
        self.tell_free();
    }

    /// Tells the metrics how many workers there are.
    pub(super) fn count(&self, state: &State) {
        self.counters.set_workers(state.live());
    }
}

impl State {
    /// Sets the number of failures in a row, and with it when the next start may be: at once after the first.
    fn fail(&mut self, failures: u32) {
        self.failures = failures;
        let pause = match failures.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => (Duration::from_millis(100) * (1 << doublings.min(16))).min(LONGEST_PAUSE),
        };
        self.not_before = Instant::now().checked_add(pause);
    }
}

/// The error of a model whose workers do not stay up.
fn down(state: &State) -> Error {
    let why = state.refusal.as_ref().map_or_else(String::new, |error| format!(": {}", error.parts().message));
    Error::new(Code::NotReady, format!("the model's workers end as soon as they are started{why}"))
        .hint("the server's log has what they printed; another one is tried in a while")
}

/// The error of a process that was forked from the one whose workers these are.
fn forked() -> Error {
    Error::new(
        Code::EngineFailed,
        "this process was forked from the one that loaded the model, whose workers these are",
    )
    .hint("load the model in each process, after the fork")
}

/// A leased worker. Dropped, it is idle again.
pub struct Seat {
    pool: Arc<Pool>,
    process: Option<Box<Process>>,
}

impl Seat {
    /// The worker.
    pub(super) fn process(&mut self) -> Result<&mut Process> {
        self.process.as_deref_mut().ok_or_else(|| Error::new(Code::Internal, "a lease without a worker"))
    }

    /// Gives the worker up: it is killed and replaced. `what` goes on from "worker 7".
    pub(super) fn lose(mut self, reason: Reason, what: Option<&str>) {
        if let Some(mut process) = self.process.take() {
            let what = what.map_or_else(|| process.why_gone(), str::to_owned);
            self.pool.lose(process, reason, &what);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            if std::thread::panicking() {
                self.pool.lose(process, Reason::Garbled, "was in use when this server's own code failed");
            } else {
                self.pool.take_back(process);
            }
        }
    }
}
