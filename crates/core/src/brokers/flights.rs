//! What is under way: messages whose rows wait or are scored, those that have ended and whose replies are not out yet, and
//! what is decided about each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::batcher::{self, Call, Mailbox, Turn, deadline_exceeded};
use crate::catalog::Served;
use crate::clock;
use crate::error::{Code, Error, Heals, Result};
use crate::exchange;
use crate::lifecycle::Shared;
use crate::log::Access;
use crate::values::json_in::{Form, JsonReader};

use super::message::{Delivery, Request, Settled};
use super::{Config, Outcome, Returned, State};

/// Messages under way at a time, their rows, and the bytes of their bodies. A model's queue stays open to other roads.
const MESSAGES: usize = 8_192;
const ROWS: usize = 8_192;
const BYTES: usize = 64 << 20;
/// Messages asked for at once. More come in fits, between which the broker has nothing to do.
const FETCH: usize = 512;
/// Messages read before anything else is done.
const START: usize = 256;
/// How often a message may have been given out before it is scored alone: a server that ends over it then takes no other
/// message along.
const SHARED_ATTEMPTS: u32 = 2;
/// How long until a message is tried again that its model has no room for or no workers.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// How long until the second try of what may heal by itself; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The answers of one batch.
pub type Letters = Vec<(u64, Result<batcher::Answer>)>;

/// Takes answers from engine threads to the road.
pub struct Post(pub UnboundedSender<Letters>);

impl Mailbox for Post {
    fn deliver(&self, answers: Letters) {
        // A road that has gone wants no answers: the broker gives its messages out again.
        drop(self.0.send(answers));
    }
}

/// A message under way.
struct Flight<T> {
    delivery: Delivery<T>,
    request: Request,
    served: Arc<Served>,
    form: Form,
    rows: usize,
    began: Instant,
}

pub struct Flights<T> {
    config: Config,
    state: Arc<State>,
    shared: Arc<Shared>,
    post: Arc<Post>,
    reader: JsonReader,
    flights: HashMap<u64, Flight<T>>,
    next_ticket: u64,
    /// Messages that have come and are not read yet.
    fetched: VecDeque<Delivery<T>>,
    /// Messages that are scored alone, one by one.
    suspects: VecDeque<Delivery<T>>,
    /// Messages that the model had no room for, to be put in its queue again when the pause is over.
    put_off: Vec<Delivery<T>>,
    /// All that were fetched and are not settled.
    held: HashSet<T>,
    settled: Vec<Settled<T>>,
    returned: Vec<Returned<T>>,
    rows: usize,
    bytes: usize,
    /// Rows and bytes of the average message, as lately seen.
    mean_rows: f64,
    mean_bytes: f64,
    /// Until when nothing is fetched, since the model takes nothing; then one message at a time, until one is answered.
    pause: Option<Instant>,
}

impl<T: Clone + Eq + std::hash::Hash + std::fmt::Display> Flights<T> {
    pub fn new(config: Config, state: Arc<State>, shared: Arc<Shared>, post: Arc<Post>) -> Self {
        Self {
            config,
            state,
            shared,
            post,
            reader: JsonReader::default(),
            flights: HashMap::new(),
            next_ticket: 0,
            fetched: VecDeque::new(),
            suspects: VecDeque::new(),
            put_off: Vec::new(),
            held: HashSet::new(),
            settled: Vec::new(),
            returned: Vec::new(),
            rows: 0,
            bytes: 0,
            mean_rows: 1.0,
            // The first messages may be large.
            mean_bytes: 1e6,
            pause: None,
        }
    }

    /// How many messages there is room for beside those that were `asked` for, and how long to wait if there is none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small numbers"
    )]
    pub fn room(&self, asked: usize) -> std::result::Result<usize, Option<Duration>> {
        if let Some(left) = self.pause.map(|pause| pause.saturating_duration_since(Instant::now()))
            && left > Duration::ZERO
        {
            return Err(Some(left));
        }
        if !self.put_off.is_empty() {
            return Err(Some(Duration::ZERO));
        }
        let coming = asked + self.fetched.len();
        let held = self.held.len() + coming;
        let rows = self.rows + (coming as f64 * self.mean_rows) as usize;
        let bytes = self.bytes + (coming as f64 * self.mean_bytes) as usize;
        // A quarter at least: many small fetches cost as many round trips.
        let full = held > MESSAGES / 4 * 3 || rows > ROWS / 4 * 3 || bytes > BYTES / 4 * 3;
        let messages = MESSAGES.saturating_sub(held);
        let rows = ROWS.saturating_sub(rows) as f64 / self.mean_rows.max(1.0);
        let bytes = BYTES.saturating_sub(bytes) as f64 / self.mean_bytes.max(1.0);
        let most = rows.min(bytes).ceil().min(FETCH as f64) as usize;
        if full || !self.suspects.is_empty() {
            return Err(None);
        }
        Ok(if self.pause.is_some() { 1 } else { most.min(messages).max(1) })
    }

    /// All that the broker must hear of before `ack_wait` is over.
    pub fn held(&self) -> Vec<T> {
        self.held.iter().chain(self.fetched.iter().map(|delivery| &delivery.tag)).cloned().collect()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.fetched.is_empty()
    }

    /// What has ended since the last call, to be sent.
    pub fn take_settled(&mut self) -> Vec<Settled<T>> {
        std::mem::take(&mut self.settled)
    }

    /// What goes back to the broker since the last call.
    pub fn take_returned(&mut self) -> Vec<Returned<T>> {
        std::mem::take(&mut self.returned)
    }

    /// Notes that replies are out.
    pub fn done(&mut self, settled: &[Settled<T>]) {
        for one in settled {
            self.held.remove(&one.tag);
            self.state.count(one.outcome);
        }
    }

    /// Takes messages that have come.
    pub fn take(&mut self, deliveries: Vec<Delivery<T>>) {
        self.fetched.extend(deliveries);
    }

    /// Reads some of the messages that have come; whether there were any.
    pub fn start_some(&mut self) -> bool {
        let count = self.fetched.len().min(START);
        let some: Vec<_> = self.fetched.drain(..count).collect();
        self.start(some);
        count > 0
    }

    /// Puts the rows of messages in the model's queue.
    fn start(&mut self, deliveries: Vec<Delivery<T>>) {
        if deliveries.is_empty() {
            return;
        }
        let count = deliveries.len();
        let (rows, bytes) = (self.rows, self.bytes);
        let mut shared = Vec::with_capacity(count);
        for delivery in deliveries {
            // What is under way here already was given out again because the broker had not heard of it for long.
            if !self.held.insert(delivery.tag.clone()) {
                continue;
            }
            self.bytes += delivery.body.len();
            if delivery.attempts > self.config.attempts {
                let error =
                    Error::new(Code::EngineFailed, "every server that had this message ended before it answered")
                        .hint("look into the servers' logs; then send the dead letter again");
                self.settle(delivery, None, &error, Outcome::Failed);
            } else if delivery.attempts > SHARED_ATTEMPTS {
                self.suspects.push_back(delivery);
            } else {
                shared.push(delivery);
            }
        }
        self.push(shared);
        self.learn(count, self.rows.saturating_sub(rows), self.bytes.saturating_sub(bytes));
        self.start_suspect();
    }

    #[expect(clippy::cast_precision_loss, reason = "averages")]
    fn learn(&mut self, messages: usize, rows: usize, bytes: usize) {
        let mean = |old: f64, new: usize| (old + new as f64 / messages as f64) / 2.0;
        (self.mean_rows, self.mean_bytes) = (mean(self.mean_rows, rows), mean(self.mean_bytes, bytes));
    }

    /// Puts in the queue again what the model had no room for, or gives all of it back where there is no time left.
    pub fn retry(&mut self, is_over: bool) {
        let put_off = std::mem::take(&mut self.put_off);
        if is_over {
            put_off
                .into_iter()
                .chain(std::mem::take(&mut self.suspects))
                .for_each(|d| self.give_back(d, Duration::ZERO));
        } else {
            self.push(put_off);
        }
    }

    /// Scores the next message alone, if nothing else is under way.
    fn start_suspect(&mut self) {
        while self.flights.is_empty()
            && let Some(suspect) = self.suspects.pop_front()
        {
            self.push(vec![suspect]);
        }
    }

    /// Has messages scored together.
    fn push(&mut self, deliveries: Vec<Delivery<T>>) {
        let served = match self.shared.catalog().and_then(|catalog| catalog.find(&self.state.model).cloned()) {
            Ok(served) => served,
            Err(error) => {
                return deliveries.into_iter().for_each(|delivery| self.end(delivery, None, &error));
            }
        };
        let mut turn = Turn { buffer: served.batcher.spare_buffer(), calls: Vec::with_capacity(deliveries.len()) };
        for delivery in deliveries {
            match Request::read(&delivery, &self.config) {
                Ok(request) => self.board(delivery, request, &served, &mut turn),
                Err(error) => self.end(delivery, None, &error),
            }
        }
        if turn.calls.is_empty() {
            served.batcher.give_back(turn.buffer);
        } else {
            served.batcher.push(turn);
        }
    }

    /// Reads one message's rows into the turn.
    fn board(&mut self, delivery: Delivery<T>, request: Request, served: &Arc<Served>, turn: &mut Turn) {
        let Ok(deadline) = clock::instant(request.deadline) else {
            return self.end(delivery, Some(request), &deadline_exceeded());
        };
        let before = turn.buffer.rows();
        let read = exchange::read(served, request.input, &delivery.body, &mut self.reader, &mut turn.buffer);
        let (rows, form) = match read.and_then(|read| served.batcher.admit(before, read.0).map(|()| read)) {
            Ok(read) => read,
            Err(error) => {
                turn.buffer.truncate(before);
                return self.end(delivery, Some(request), &error);
            }
        };
        let flight = Flight { delivery, request, served: served.clone(), form, rows, began: Instant::now() };
        if rows == 0 {
            let nothing = exchange::nothing(served);
            return self.answer(flight, nothing);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        turn.calls.push((Call::new(self.post.clone(), ticket, deadline), rows));
        self.rows += rows;
        self.flights.insert(ticket, flight);
    }

    /// Writes the replies of a batch.
    pub fn land(&mut self, letters: Letters) {
        for (ticket, answer) in letters {
            if let Some(flight) = self.flights.remove(&ticket) {
                self.rows = self.rows.saturating_sub(flight.rows);
                self.answer(flight, answer);
            }
        }
        self.start_suspect();
    }

    fn answer(&mut self, flight: Flight<T>, answer: Result<batcher::Answer>) {
        let Flight { delivery, request, served, form, rows, began } = flight;
        match answer.and_then(|answer| exchange::write(&served, &answer, request.output, form)) {
            Ok(body) => {
                self.pause = None;
                self.log(&delivery, 200, rows, began);
                served.batcher.metrics.queue_requests.count(200);
                self.bytes = self.bytes.saturating_sub(delivery.body.len());
                self.settled.push(delivery.answered(request, &served, body));
            }
            Err(error) => {
                self.log(&delivery, error.code().status(), rows, began);
                served.batcher.metrics.queue_requests.count(error.code().status());
                self.end(delivery, Some(request), &error);
            }
        }
    }

    fn log(&self, delivery: &Delivery<T>, status: u16, rows: usize, began: Instant) {
        if self.shared.settings.access_log {
            self.shared.log.access(&Access {
                method: "QUEUE",
                path: &self.config.requests,
                status,
                rows: rows as u64,
                body_bytes: delivery.body.len() as u64,
                elapsed: began.elapsed(),
                request_id: &delivery.tag.to_string(),
            });
        }
    }

    /// What becomes of a message that has no answer: another try, or an error reply.
    fn end(&mut self, delivery: Delivery<T>, request: Option<Request>, error: &Error) {
        let code = error.code();
        let outcome = match code.heals() {
            Some(Heals::Busy | Heals::Away) => {
                // The model's fault and not the message's: no try.
                self.pause = Instant::now().checked_add(BUSY_PAUSE);
                return self.put_off.push(delivery);
            }
            Some(Heals::Lost) if delivery.attempts < self.config.attempts => {
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(delivery.attempts.clamp(1, 12) - 1);
                return self.give_back(delivery, pause);
            }
            _ if code == Code::DeadlineExceeded => Outcome::Expired,
            _ if code.status() < 500 => Outcome::Unprocessable,
            _ => Outcome::Failed,
        };
        self.settle(delivery, request, error, outcome);
    }

    fn give_back(&mut self, delivery: Delivery<T>, delay: Duration) {
        self.bytes = self.bytes.saturating_sub(delivery.body.len());
        self.held.remove(&delivery.tag);
        self.state.count_retried(1);
        self.returned.push(Returned { tag: delivery.tag, delay });
    }

    fn settle(&mut self, delivery: Delivery<T>, request: Option<Request>, error: &Error, outcome: Outcome) {
        self.bytes = self.bytes.saturating_sub(delivery.body.len());
        self.settled.push(delivery.refused(request, error, outcome));
    }
}
