//! The thread that writes: commands in, one transaction for all that wait, answers out after its sync.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Code, Error, Result};
use crate::log::Log;

use super::callbacks::{Bell, Change};
use super::claim::Handed;
use super::job::{Ending, Finished, NewJob, Record};
use super::relay::{self, ReplyTo};
use super::run::Event;
use super::store::Store;

/// Commands of one transaction at most.
const COMMANDS: usize = 4_096;
/// How long between two looks for what has expired.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a write that failed is waited with before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What the writer is asked to do.
pub enum Command {
    Submit(Box<NewJob>, ReplyTo),
    Cancel(String, ReplyTo),
    Retry(String, ReplyTo),
    Callback(Change, ReplyTo),
    /// Hand out up to as many jobs, of as many rows, and as many large ones.
    Claim(usize, u64, usize),
    Finish(Vec<Finished>),
    Stop,
}

/// Who waits for a job to end.
#[derive(Default)]
pub struct Watchers(Mutex<HashMap<String, Vec<oneshot::Sender<()>>>>);

impl Watchers {
    /// Hears of a job's end.
    pub fn watch(&self, id: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = watchers.entry(id.to_owned()).or_default();
        waiting.retain(|other| !other.is_closed());
        waiting.push(sender);
        receiver
    }

    fn tell(&self, id: &str) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Who has gone need not be told.
        waiting.into_iter().flatten().for_each(|watcher| _ = watcher.send(()));
    }

    /// Forgets those who have gone.
    fn sweep(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, waiting| {
            waiting.retain(|watcher| !watcher.is_closed());
            !waiting.is_empty()
        });
    }
}

/// What is told once a transaction is on the disk.
#[derive(Default)]
struct Outcome {
    answers: Vec<(ReplyTo, Result<Record>)>,
    ended: Vec<String>,
    queued: bool,
}

pub struct Writer {
    pub store: Store,
    pub commands: Receiver<Command>,
    pub runner: Sender<Event>,
    /// Whether the runner was told of new jobs and has not heard it yet.
    pub called: Arc<AtomicBool>,
    pub watchers: Arc<Watchers>,
    /// Of who calls back.
    pub bell: Option<Bell>,
    pub log: Log,
}

impl Writer {
    /// Writes until it is told to stop. The body of a thread.
    pub fn work(mut self) {
        let mut swept = Some(Instant::now());
        let mut kept: Vec<Finished> = Vec::new();
        loop {
            let idle = swept.map_or(Duration::ZERO, |at| SWEEP.saturating_sub(at.elapsed()));
            let mut command = match self.commands.recv_timeout(if kept.is_empty() { idle } else { PAUSE }) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut commands, mut stop) = (Vec::new(), false);
            while let Some(now) = command {
                match now {
                    Command::Claim(jobs, rows, large) => self.hand_out(jobs, rows, large),
                    Command::Finish(finished) => kept.extend(finished),
                    Command::Stop => stop = true,
                    other => commands.push(other),
                }
                command = if commands.len() < COMMANDS { self.commands.try_recv().ok() } else { None };
            }
            let sweep = swept.is_none_or(|at| at.elapsed() >= SWEEP);
            if sweep || !commands.is_empty() || !kept.is_empty() {
                let more = self.transact(commands, &mut kept, sweep);
                // What is left over is swept at once.
                swept = if sweep { (!more).then(Instant::now) } else { swept };
                self.store.fold();
            }
            if sweep {
                self.watchers.sweep();
                self.store.look().unwrap_or_else(|error| self.log.error(format_args!("{error}")));
            }
            if stop {
                self.store.note_stop();
                return;
            }
        }
    }

    /// Hands out jobs. A runner that gets none asks again.
    fn hand_out(&mut self, jobs: usize, rows: u64, large: usize) {
        let handed = self.store.claim(jobs, rows, large).unwrap_or_else(|error| {
            self.log.error(format_args!("{error}"));
            Handed { jobs: Vec::new(), next: Some(PAUSE) }
        });
        drop(self.runner.send(Event::Handed(handed)));
    }

    /// Does what was asked in one transaction, and tells of it. Ends that could not be written are kept for the next. Gives
    /// whether there is more to sweep.
    fn transact(&mut self, commands: Vec<Command>, kept: &mut Vec<Finished>, sweep: bool) -> bool {
        let (mut outcome, mut more) = (Outcome::default(), false);
        let mut commands = commands.into_iter();
        let done = self.store.begin().and_then(|()| {
            for finished in kept.iter() {
                if self.store.finish(finished)? {
                    outcome.ended.push(finished.id.clone());
                }
                // The runner may have asked before this was written: it is to hear when the pause is over.
                outcome.queued |= matches!(finished.how, Ending::Again { .. });
            }
            if sweep {
                let late;
                (late, more) = self.store.sweep()?;
                outcome.ended.extend(late);
            }
            commands.try_for_each(|command| self.run(command, &mut outcome))?;
            self.store.commit()
        });
        match done {
            Ok(()) => {
                kept.clear();
                self.tell(outcome);
            }
            Err(error) => {
                self.store.roll_back();
                self.log.error(format_args!("{error}"));
                refuse(outcome, commands, &error);
            }
        }
        more
    }

    /// Does one command; what is wrong with it alone is its answer.
    fn run(&mut self, command: Command, outcome: &mut Outcome) -> Result<()> {
        let (reply_to, done) = match command {
            // Done before.
            Command::Claim(..) | Command::Finish(_) | Command::Stop => return Ok(()),
            Command::Submit(job, reply_to) => {
                let done = self.store.submit(*job);
                outcome.queued |= done.is_ok();
                (reply_to, done)
            }
            Command::Cancel(id, reply_to) => {
                let done = self.store.cancel(&id);
                outcome.ended.push(id);
                (reply_to, done)
            }
            Command::Callback(change, reply_to) => (reply_to, self.store.call_back(&change)),
            Command::Retry(id, reply_to) => {
                let done = self.store.retry(&id);
                outcome.queued |= done.is_ok();
                (reply_to, done)
            }
        };
        let fatal = match &done {
            Err(error) if error.code() == Code::JobStoreFailed || !self.store.is_within() => Err(error.clone()),
            _ => Ok(()),
        };
        outcome.answers.push((reply_to, done));
        fatal
    }

    fn tell(&self, outcome: Outcome) {
        relay::tell(outcome.answers);
        outcome.ended.iter().for_each(|id| self.watchers.tell(id));
        if let (Some(bell), false) = (&self.bell, outcome.ended.is_empty()) {
            bell.ring();
        }
        // One that it has not heard yet is enough.
        if outcome.queued && !self.called.swap(true, Ordering::AcqRel) {
            drop(self.runner.send(Event::Queued));
        }
    }
}

/// Tells all who asked that nothing was done.
fn refuse(outcome: Outcome, left: impl Iterator<Item = Command>, error: &Error) {
    let answered = outcome.answers.into_iter().map(|(reply_to, _)| reply_to);
    let left = left.filter_map(|command| match command {
        Command::Submit(_, reply_to)
        | Command::Cancel(_, reply_to)
        | Command::Retry(_, reply_to)
        | Command::Callback(_, reply_to) => Some(reply_to),
        Command::Claim(..) | Command::Finish(_) | Command::Stop => None,
    });
    relay::tell(answered.chain(left).map(|reply_to| (reply_to, Err(error.clone()))));
}

/// What a reply_to is told whose writer has gone.
pub fn stopped() -> Error {
    Error::new(Code::Draining, "the server is stopping").hint("send the job again with its id")
}
