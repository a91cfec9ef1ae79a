//! What the connections of one thread share: requests waiting for answers, and rows of this turn.
//!
//! One turn of the loop reads all that its sockets hold. The first row staged wakes the flusher, which the
//! scheduler runs after every connection that was ready: so a batch is everything one turn has read, without
//! a timer. Answers come back through one inbox, one wake-up a batch, however many callers shared it.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::batcher::{Answer, Call, Mailbox, Turn};
use crate::catalog::Served;
use crate::error::{Code, Error, Result};
use crate::jobs::relay::Relay;
use crate::lifecycle::Shared;
use crate::values::RowBuffer;
use crate::values::json_in::JsonReader;

use super::respond;

/// Answers on their way from engine threads to this loop.
#[derive(Default)]
pub struct Inbox {
    letters: Mutex<Vec<(u64, Result<Answer>)>>,
    wake: Notify,
}

impl Mailbox for Inbox {
    fn deliver(&self, mut answers: Vec<(u64, Result<Answer>)>) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).append(&mut answers);
        self.wake.notify_one();
    }
}

/// A request that waits for its answer.
struct Slot {
    /// Tells this use of the slot from earlier ones.
    generation: u32,
    answer: Option<Result<Answer>>,
    waker: Option<Waker>,
}

/// Rows this turn has read for one model.
struct Staged {
    served: Arc<Served>,
    turn: Turn,
    /// Rows of the callers in `turn`: all that may be in its buffer between requests.
    rows: usize,
}

/// What a connection is doing, and since when: the sweeper ends those that do it for too long.
pub struct Progress {
    pub phase: Cell<Phase>,
    pub since: Cell<Instant>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client's next request.
    Idle,
    /// The rest of a request.
    Reading,
    /// An engine.
    Working,
    /// The client, to take its answer.
    Writing,
}

/// One event loop. Everything in it is of one thread.
pub struct EventLoop {
    pub shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    /// Brings answers about jobs.
    pub relay: Arc<Relay>,
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u32>,
    /// Per model, by its place in the catalog, the rows this turn has read.
    staged: RefCell<Vec<Option<Staged>>>,
    flush: Notify,
    reader: RefCell<JsonReader>,
    connections: RefCell<Slab<(Rc<Progress>, Option<AbortHandle>)>>,
    date: RefCell<String>,
    /// The time to the second or so, for what is limited in seconds.
    now: Cell<Instant>,
    id_prefix: u32,
    next_id: Cell<u32>,
}

impl EventLoop {
    /// A loop's state; [`EventLoop::flush_turns`], [`EventLoop::take_answers`] and [`EventLoop::sweep`] are
    /// its tasks.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
        let id_prefix = RandomState::new().build_hasher().finish() as u32;
        let event_loop = Self {
            shared,
            inbox: Arc::default(),
            relay: Arc::default(),
            slots: RefCell::default(),
            next_generation: Cell::new(0),
            staged: RefCell::default(),
            flush: Notify::new(),
            reader: RefCell::default(),
            connections: RefCell::default(),
            date: RefCell::default(),
            now: Cell::new(Instant::now()),
            id_prefix,
            next_id: Cell::new(0),
        };
        event_loop.tell_date();
        Rc::new(event_loop)
    }

    /// An id for a request that brought none: unique in the server's life, or nearly so.
    pub fn next_request_id(&self, into: &mut String) {
        use std::fmt::Write;
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        into.clear();
        let _ = write!(into, "{:08x}{id:08x}", self.id_prefix);
    }

    /// The current `Date`, to the second.
    pub fn date(&self) -> std::cell::Ref<'_, String> {
        self.date.borrow()
    }

    /// The time, at most a second or so old.
    pub fn recent(&self) -> Instant {
        self.now.get()
    }

    fn tell_date(&self) {
        self.now.set(Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.date.replace(respond::http_date(now.as_secs()));
    }

    /// Reads a request's rows into this turn's buffer for `served` and queues the caller.
    ///
    /// `read` gets the buffer, with other callers' rows in front, and adds this one's.
    ///
    /// # Errors
    /// Those of `read`, and `overloaded`.
    pub fn stage<T>(
        self: &Rc<Self>,
        served: &Arc<Served>,
        deadline: Option<Instant>,
        read: impl FnOnce(&mut JsonReader, &mut RowBuffer) -> Result<(usize, T)>,
    ) -> Result<(Option<Waiting>, T)> {
        let batcher = &served.batcher;
        let mut staged = self.staged.borrow_mut();
        if staged.len() <= served.index {
            staged.resize_with(served.index + 1, || None);
        }
        let Some(place) = staged.get_mut(served.index) else {
            return Err(Error::new(Code::Internal, "a model has no place to stage rows"));
        };
        let waiting = place.as_ref().map_or(0, |staged| staged.rows);
        batcher.admit(waiting, 1)?;
        let staged = place.get_or_insert_with(|| Staged {
            served: served.clone(),
            turn: Turn { buffer: batcher.spare_buffer(), calls: Vec::new() },
            rows: 0,
        });
        let turn = &mut staged.turn;
        // Should reading ever have panicked, what it left is not the next caller's.
        turn.buffer.truncate(waiting);
        let read = read(&mut self.reader.borrow_mut(), &mut turn.buffer);
        if read.is_err() && waiting == 0 {
            // Nobody else's rows are in it: what a refused request made it grow to is given back.
            batcher.give_back(std::mem::replace(&mut turn.buffer, batcher.model.plan.buffer()));
        }
        let (rows, read) = read?;
        if let Err(error) = batcher.admit(waiting, rows) {
            turn.buffer.truncate(waiting);
            return Err(error);
        }
        if rows == 0 {
            return Ok((None, read));
        }
        let waiting = self.wait(served, deadline);
        if turn.calls.is_empty() {
            self.flush.notify_one();
        }
        turn.calls.push((waiting.call.clone(), rows));
        staged.rows += rows;
        Ok((Some(waiting), read))
    }

    /// Queues rows that were read elsewhere, as a turn of their own.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn submit(
        self: &Rc<Self>,
        served: &Arc<Served>,
        deadline: Option<Instant>,
        buffer: RowBuffer,
    ) -> Result<Option<Waiting>> {
        let rows = buffer.rows();
        if rows == 0 {
            return Ok(None);
        }
        served.batcher.admit(0, rows)?;
        let waiting = self.wait(served, deadline);
        served.batcher.push(Turn { buffer, calls: vec![(waiting.call.clone(), rows)] });
        Ok(Some(waiting))
    }

    fn wait(self: &Rc<Self>, served: &Arc<Served>, deadline: Option<Instant>) -> Waiting {
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        let slot = self.slots.borrow_mut().insert(Slot { generation, answer: None, waker: None });
        let ticket = (slot as u64) << 32 | u64::from(generation);
        let call = Call::new(self.inbox.clone(), ticket, deadline);
        Waiting { event_loop: self.clone(), served: served.clone(), call, slot, done: false }
    }

    /// Hands each turn's rows to their batchers, for ever.
    pub async fn flush_turns(self: Rc<Self>) {
        loop {
            self.flush.notified().await;
            for place in self.staged.borrow_mut().iter_mut() {
                if let Some(staged) = place.take_if(|staged| !staged.turn.calls.is_empty()) {
                    staged.served.batcher.push(staged.turn);
                }
            }
        }
    }

    /// Takes answers from the inbox to those who wait for them, for ever.
    pub async fn take_answers(self: Rc<Self>) {
        let mut letters = Vec::new();
        loop {
            self.inbox.wake.notified().await;
            std::mem::swap(&mut letters, &mut *self.inbox.letters.lock().unwrap_or_else(PoisonError::into_inner));
            let mut slots = self.slots.borrow_mut();
            for (ticket, answer) in letters.drain(..) {
                #[expect(clippy::cast_possible_truncation, reason = "the ticket's two halves")]
                let (slot, generation) = ((ticket >> 32) as usize, ticket as u32);
                if let Some(slot) = slots.get_mut(slot)
                    && slot.generation == generation
                {
                    slot.answer = Some(answer);
                    if let Some(waker) = slot.waker.take() {
                        waker.wake();
                    }
                }
            }
        }
    }

    /// Remembers a connection until its task is over.
    pub fn enter(&self) -> (usize, Rc<Progress>) {
        let progress = Rc::new(Progress { phase: Cell::new(Phase::Idle), since: Cell::new(self.recent()) });
        (self.connections.borrow_mut().insert((progress.clone(), None)), progress)
    }

    /// Tells how a remembered connection's task can be ended.
    pub fn set_abort(&self, connection: usize, abort: AbortHandle) {
        if let Some((_, place)) = self.connections.borrow_mut().get_mut(connection) {
            *place = Some(abort);
        }
    }

    /// Forgets a connection.
    pub fn leave(&self, connection: usize) {
        self.connections.borrow_mut().try_remove(connection);
    }

    /// Ends connections that are stuck, and keeps the date; once a second, for ever.
    pub async fn sweep(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            ticks.tick().await;
            self.tell_date();
            let settings = &self.shared.settings;
            let now = self.recent();
            for (_, (progress, abort)) in self.connections.borrow().iter() {
                let limit_s = match progress.phase.get() {
                    Phase::Idle => settings.idle_timeout_s,
                    Phase::Reading | Phase::Writing => settings.read_timeout_s,
                    Phase::Working => continue,
                };
                if now.saturating_duration_since(progress.since.get()).as_secs_f64() > limit_s
                    && let Some(abort) = abort
                {
                    abort.abort();
                }
            }
        }
    }

    /// Ends the connections that wait for a client's next request.
    pub fn close_idle(&self) {
        for (_, (progress, abort)) in self.connections.borrow().iter() {
            if progress.phase.get() == Phase::Idle
                && let Some(abort) = abort
            {
                abort.abort();
            }
        }
    }
}

/// A caller that waits. Dropped before its answer came, it takes its rows out of the queue.
pub struct Waiting {
    event_loop: Rc<EventLoop>,
    served: Arc<Served>,
    call: Arc<Call>,
    slot: usize,
    done: bool,
}

impl Waiting {
    /// The answer, once it is there.
    pub fn poll_answer(&mut self, context: &Context<'_>) -> Poll<Result<Answer>> {
        let mut slots = self.event_loop.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.slot) else {
            return Poll::Ready(Err(Error::new(Code::Internal, "a request has no place to wait")));
        };
        if let Some(answer) = slot.answer.take() {
            self.done = true;
            return Poll::Ready(answer);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.event_loop.slots.borrow_mut().try_remove(self.slot);
        if !self.done {
            self.served.batcher.cancel(&self.call);
        }
    }
}
