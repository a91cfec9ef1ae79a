//! The thread that writes: commands in, one transaction for all that wait, answers out after its sync.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Code, Error, Result};
use crate::log::Log;

use super::job::{Finished, NewJob, Record};
use super::run::Event;
use super::store::{Handed, Store};

/// Commands of one transaction at most.
const COMMANDS: usize = 4_096;
/// How long between two looks for what has expired.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a write that failed is waited with before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

type Answer = oneshot::Sender<Result<Record>>;

/// What the writer is asked to do.
pub enum Command {
    Submit(Box<NewJob>, Answer),
    Cancel(String, Answer),
    Retry(String, Answer),
    /// Hand out up to as many jobs, of as many rows.
    Claim(usize, u64),
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
    answers: Vec<(Answer, Result<Record>)>,
    handed: Option<Handed>,
    ended: Vec<String>,
    queued: bool,
}

pub struct Writer {
    pub store: Store,
    pub commands: Receiver<Command>,
    pub runner: Sender<Event>,
    pub watchers: Arc<Watchers>,
    pub log: Log,
}

impl Writer {
    /// Writes until it is told to stop. The body of a thread.
    pub fn work(self) {
        let mut swept = Instant::now();
        let mut kept: Vec<Finished> = Vec::new();
        loop {
            let mut commands = Vec::new();
            let wait = if kept.is_empty() { SWEEP.saturating_sub(swept.elapsed()) } else { PAUSE };
            match self.commands.recv_timeout(wait) {
                Ok(command) => commands.push(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            commands.extend(self.commands.try_iter().take(COMMANDS));
            let stop = commands.iter().any(|command| matches!(command, Command::Stop));
            let sweep = swept.elapsed() >= SWEEP;
            if sweep {
                swept = Instant::now();
                self.watchers.sweep();
            }
            if commands.is_empty() && kept.is_empty() && !sweep {
                continue;
            }
            self.transact(commands, &mut kept, sweep);
            if stop {
                return;
            }
        }
    }

    /// Does what was asked in one transaction, and tells of it. Ends that could not be written are kept for the next.
    fn transact(&self, commands: Vec<Command>, kept: &mut Vec<Finished>, sweep: bool) {
        let mut outcome = Outcome::default();
        let mut waiting = Vec::new();
        let mut claims = false;
        let mut work = Vec::new();
        for command in commands {
            match command {
                Command::Finish(finished) => kept.extend(finished),
                Command::Stop => {}
                Command::Claim(jobs, rows) => {
                    claims = true;
                    work.push(Work::Claim(jobs, rows));
                }
                Command::Submit(job, answer) => {
                    waiting.push(answer);
                    work.push(Work::Submit(job));
                }
                Command::Cancel(id, answer) => {
                    waiting.push(answer);
                    work.push(Work::Cancel(id));
                }
                Command::Retry(id, answer) => {
                    waiting.push(answer);
                    work.push(Work::Retry(id));
                }
            }
        }
        let mut waiting = waiting.into_iter();
        let done = self.store.begin().and_then(|()| {
            for finished in kept.iter() {
                self.store.finish(finished)?;
                outcome.ended.push(finished.id.clone());
            }
            if sweep {
                outcome.ended.extend(self.store.sweep()?);
            }
            self.run(work, &mut waiting, &mut outcome)?;
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
                let unanswered = outcome.answers.into_iter().map(|(answer, _)| answer).chain(waiting);
                unanswered.for_each(|answer| drop(answer.send(Err(error.clone()))));
                if claims {
                    drop(self.runner.send(Event::Handed(Handed { jobs: Vec::new(), next: Some(0.0) })));
                }
            }
        }
    }

    /// Does the commands in their order; what is wrong with one alone is that one's answer.
    fn run(&self, work: Vec<Work>, waiting: &mut impl Iterator<Item = Answer>, outcome: &mut Outcome) -> Result<()> {
        let mut room = None;
        for each in work {
            let done = match each {
                Work::Claim(jobs, rows) => {
                    outcome.handed = Some(self.store.claim(jobs, rows)?);
                    continue;
                }
                Work::Submit(job) => {
                    let room: &Result<()> = room.get_or_insert_with(|| self.store.check_room());
                    let done = room.clone().and_then(|()| self.store.submit(&job));
                    outcome.queued |= done.is_ok();
                    done
                }
                Work::Cancel(id) => {
                    let done = self.store.cancel(&id);
                    outcome.ended.push(id);
                    done
                }
                Work::Retry(id) => {
                    let done = self.store.retry(&id);
                    outcome.queued |= done.is_ok();
                    done
                }
            };
            if let Err(error) = &done
                && (error.code() == Code::JobStoreFailed || !self.store.is_within())
            {
                return Err(error.clone());
            }
            outcome.answers.extend(waiting.next().map(|answer| (answer, done)));
        }
        Ok(())
    }

    fn tell(&self, outcome: Outcome) {
        // Whoever has gone meanwhile need not be told.
        outcome.answers.into_iter().for_each(|(answer, done)| drop(answer.send(done)));
        outcome.ended.iter().for_each(|id| self.watchers.tell(id));
        if let Some(handed) = outcome.handed {
            drop(self.runner.send(Event::Handed(handed)));
        }
        if outcome.queued {
            drop(self.runner.send(Event::Queued));
        }
    }
}

enum Work {
    Submit(Box<NewJob>),
    Cancel(String),
    Retry(String),
    Claim(usize, u64),
}

/// What a caller is told whose writer has gone.
pub fn stopped() -> Error {
    Error::new(Code::Draining, "the server is stopping").hint("send the job again with its id")
}
