//! The thread that has jobs scored: claims them, puts their rows in the models' queues, and hands answers to the writer.
//!
//! Jobs share batches with each other and with whoever asks online. Only so many rows are under way at a time that a model's
//! queue stays open to others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::batcher::{self, Call, Mailbox, Turn};
use crate::catalog::Served;
use crate::clock;
use crate::error::{Code, Error, Heals, Result};
use crate::exchange;
use crate::lifecycle::Shared;
use crate::values::json_in::{Form, JsonReader};

use super::claim::Handed;
use super::files::Files;
use super::job::{ATTEMPTS, Claimed, Ending, Finished};
use super::large_jobs::LargeJobs;
use super::running::{Running, Work};
use super::writer::Command;

/// Jobs under way at a time, and their rows.
const JOBS: usize = 4_096;
const ROWS: u64 = 8_192;
/// How long until the second try of what may heal by itself; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a job waits whose model's queue is full.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// How long the runner sleeps at least, where it knows when a job is due, and at most.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);

/// What the runner hears of.
pub enum Event {
    /// There are new jobs.
    Queued,
    Handed(Handed),
    Answered(Vec<(u64, Result<batcher::Answer>)>),
    /// A large job came back.
    Landed(Finished),
    Stop,
}

/// Takes answers from engine threads to the runner.
pub struct Post(pub Sender<Event>);

impl Mailbox for Post {
    fn deliver(&self, answers: Vec<(u64, Result<batcher::Answer>)>) {
        // A runner that has gone wants no answers: its jobs are queued again by the next server.
        drop(self.0.send(Event::Answered(answers)));
    }
}

/// A job under way.
struct Flight {
    job: Claimed,
    served: Arc<Served>,
    form: Form,
    rows: u64,
}

pub struct Runner {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    writer: Sender<Command>,
    post: Arc<Post>,
    running: Arc<Running>,
    large: LargeJobs,
    flights: HashMap<u64, Flight>,
    rows: u64,
    next_ticket: u64,
    /// Whether a call of the writer waits to be heard.
    called: Arc<AtomicBool>,
    /// Whether the writer was asked for jobs and has not answered yet.
    asking: bool,
    /// When it is worth asking again.
    ask_at: Option<Instant>,
    reader: JsonReader,
}

impl Runner {
    pub fn new(
        shared: Arc<Shared>,
        events: Receiver<Event>,
        writer: Sender<Command>,
        post: Arc<Post>,
        called: Arc<AtomicBool>,
        running: Arc<Running>,
        files: Arc<Files>,
    ) -> Self {
        Self {
            large: LargeJobs::new(shared.clone(), files, post.0.clone(), running.clone()),
            running,
            shared,
            events,
            writer,
            post,
            flights: HashMap::new(),
            rows: 0,
            next_ticket: 0,
            called,
            asking: false,
            ask_at: Some(Instant::now()),
            reader: JsonReader::default(),
        }
    }

    /// Has jobs scored until it is told to stop, and then those that are under way. The body of a thread.
    pub fn work(mut self) {
        let mut stopping = false;
        while !(stopping && self.flights.is_empty() && self.large.is_empty()) {
            let mut event = match self.events.recv_timeout(self.patience()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) if stopping => return,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut finished = Vec::new();
            while let Some(now) = event {
                match now {
                    Event::Queued => {
                        self.called.store(false, Ordering::Release);
                        self.ask_at = Some(Instant::now());
                    }
                    Event::Handed(handed) => self.start(handed, stopping, &mut finished),
                    Event::Answered(answers) => {
                        finished.extend(answers.into_iter().filter_map(|(ticket, answer)| self.land(ticket, answer)));
                    }
                    Event::Landed(landed) => {
                        finished.extend(self.large.land(landed.place));
                        finished.push(landed);
                        // Another large one may begin.
                        self.ask_at = Some(Instant::now());
                    }
                    Event::Stop => {
                        stopping = true;
                        finished.extend(self.large.stop());
                    }
                }
                event = self.events.try_recv().ok();
            }
            if !finished.is_empty() && self.writer.send(Command::Finish(finished)).is_err() {
                return;
            }
            if !stopping {
                self.ask();
            }
        }
    }

    /// How long to wait for the next event: until it is time to ask, unless only an event can let it ask.
    fn patience(&self) -> Duration {
        let wait = |at: Instant| at.saturating_duration_since(Instant::now()).min(LONGEST);
        if self.may_ask() { self.ask_at.map_or(LONGEST, wait) } else { LONGEST }
    }

    /// Whether half of the room is free at least (many small claims cost as many transactions), and nothing was asked for.
    fn may_ask(&self) -> bool {
        !self.asking && self.flights.len() <= JOBS / 2 && self.rows <= ROWS / 2
    }

    /// Asks the writer for more, if it is time and there is room.
    fn ask(&mut self) {
        if self.may_ask() && self.ask_at.is_some_and(|at| at <= Instant::now()) {
            let claim = Command::Claim(JOBS - self.flights.len(), ROWS - self.rows, self.large.free());
            self.asking = self.writer.send(claim).is_ok();
            self.ask_at = None;
        }
    }

    /// Puts the rows of jobs in their models' queues, one turn a model.
    fn start(&mut self, handed: Handed, stopping: bool, finished: &mut Vec<Finished>) {
        self.asking = false;
        if handed.jobs.is_empty() {
            // Soon enough for a clock that is set meanwhile.
            let wait = handed.next.map(|wait| wait.clamp(SHORTEST, LONGEST));
            self.ask_at = self.ask_at.or(wait.map(|wait| Instant::now() + wait));
            return;
        }
        self.ask_at = Some(Instant::now());
        let mut turns: HashMap<usize, (Arc<Served>, Turn)> = HashMap::new();
        for job in handed.jobs {
            if stopping {
                finished.push(job.ended(Ending::Again { pause: Duration::ZERO, counted: false }));
                continue;
            }
            if job.file.is_some() {
                finished.extend(self.large.take(job));
                continue;
            }
            match self.read(&job, &mut turns) {
                Ok(None) => {}
                Ok(Some(ending)) => finished.push(job.ended(ending)),
                Err(error) => finished.push(again_or_failed(&job, error)),
            }
        }
        for (served, turn) in turns.into_values() {
            if turn.calls.is_empty() {
                served.batcher.give_back(turn.buffer);
            } else {
                served.batcher.push(turn);
            }
        }
    }

    /// Reads a job's rows into its model's turn; what has ended already is told.
    fn read(&mut self, job: &Claimed, turns: &mut HashMap<usize, (Arc<Served>, Turn)>) -> Result<Option<Ending>> {
        let served = self.shared.catalog()?.find(&job.model)?.clone();
        let (_, turn) = turns
            .entry(served.index)
            .or_insert_with(|| (served.clone(), Turn { buffer: served.batcher.spare_buffer(), calls: Vec::new() }));
        let before = turn.buffer.rows();
        let read = exchange::read(&served, job.input, &job.body, &mut self.reader, &mut turn.buffer);
        let (rows, form) = read
            .and_then(|(rows, form)| served.batcher.admit(before, rows).map(|()| (rows, form)))
            .inspect_err(|_| turn.buffer.truncate(before))?;
        if rows == 0 {
            let body = exchange::write(&served, &exchange::nothing(&served)?, job.output, form)?;
            return Ok(Some(Ending::Succeeded { version: served.version, body }));
        }
        let Ok(deadline) = clock::instant(job.deadline) else {
            turn.buffer.truncate(before);
            return Ok(Some(Ending::Expired));
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let call = Call::new(self.post.clone(), ticket, deadline);
        self.running.work(job.place, job.claim, Work::Call(call.clone()));
        turn.calls.push((call, rows));
        self.rows += rows as u64;
        self.flights.insert(ticket, Flight { job: job.clone_without_body(), served, form, rows: rows as u64 });
        Ok(None)
    }

    /// What becomes of a job whose answer is there.
    fn land(&mut self, ticket: u64, answer: Result<batcher::Answer>) -> Option<Finished> {
        let flight = self.flights.remove(&ticket)?;
        self.rows = self.rows.saturating_sub(flight.rows);
        let body = answer.and_then(|answer| exchange::write(&flight.served, &answer, flight.job.output, flight.form));
        Some(match body {
            Ok(body) => flight.job.ended(Ending::Succeeded { version: flight.served.version, body }),
            Err(error) => again_or_failed(&flight.job, error),
        })
    }
}

impl Claimed {
    pub fn ended(&self, how: Ending) -> Finished {
        Finished { place: self.place, claim: self.claim, id: self.id.clone(), how }
    }

    fn clone_without_body(&self) -> Self {
        Self { body: Vec::new(), file: None, id: self.id.clone(), model: self.model.clone(), ..*self }
    }
}

/// What may heal by itself is tried again after a while; the input's own faults are not.
pub(super) fn again_or_failed(job: &Claimed, error: Error) -> Finished {
    job.ended(match error.code().heals() {
        // Others are scored meanwhile: its turn comes, however long that takes.
        Some(Heals::Busy) => Ending::Again { pause: BUSY_PAUSE, counted: false },
        Some(Heals::Away | Heals::Lost) if job.attempts < ATTEMPTS => {
            let pause = FIRST_PAUSE * (1 << job.attempts.min(ATTEMPTS).saturating_sub(1));
            Ending::Again { pause, counted: true }
        }
        _ if error.code() == Code::DeadlineExceeded => Ending::Expired,
        _ => Ending::Failed(error),
    })
}
