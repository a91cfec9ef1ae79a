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
        let mut others = Vec::new();
        for command in commands {
            match command {
                Command::Finish(finished) => kept.extend(finished),
                other => others.push(other),
            }
        }
        let mut others = others.into_iter();
        let done = self.store.begin().and_then(|()| {
            for finished in kept.iter() {
                self.store.finish(finished)?;
                outcome.ended.push(finished.id.clone());
            }
            if sweep {
                outcome.ended.extend(self.store.sweep()?);
            }
            let mut room = None;
            others.try_for_each(|command| self.run(command, &mut room, &mut outcome))?;
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
                self.refuse(outcome, others, &error);
            }
        }
    }

    /// Does one command; what is wrong with it alone is its answer.
    fn run(&self, command: Command, room: &mut Option<Result<()>>, outcome: &mut Outcome) -> Result<()> {
        let (answer, done) = match command {
            Command::Finish(_) | Command::Stop => return Ok(()),
            Command::Claim(jobs, rows) => {
                // Asked for, whatever comes of it.
                let handed = outcome.handed.insert(Handed { jobs: Vec::new(), next: Some(0.0) });
                *handed = self.store.claim(jobs, rows)?;
                return Ok(());
            }
            Command::Submit(job, answer) => {
                let room = room.get_or_insert_with(|| self.store.check_room());
                let done = room.clone().and_then(|()| self.store.submit(&job));
                outcome.queued |= done.is_ok();
                (answer, done)
            }
            Command::Cancel(id, answer) => {
                let done = self.store.cancel(&id);
                outcome.ended.push(id);
                (answer, done)
            }
            Command::Retry(id, answer) => {
                let done = self.store.retry(&id);
                outcome.queued |= done.is_ok();
                (answer, done)
            }
        };
        let fatal = match &done {
            Err(error) if error.code() == Code::JobStoreFailed || !self.store.is_within() => Err(error.clone()),
            _ => Ok(()),
        };
        outcome.answers.push((answer, done));
        fatal
    }

    /// Tells all who asked that nothing was done; the runner may ask again.
    fn refuse(&self, outcome: Outcome, left: impl Iterator<Item = Command>, error: &Error) {
        let mut asked = outcome.handed.is_some();
        let answered = outcome.answers.into_iter().map(|(answer, _)| answer);
        let left = left.filter_map(|command| match command {
            Command::Submit(_, answer) | Command::Cancel(_, answer) | Command::Retry(_, answer) => Some(answer),
            Command::Claim(..) => {
                asked = true;
                None
            }
            Command::Finish(_) | Command::Stop => None,
        });
        answered.chain(left).for_each(|answer| drop(answer.send(Err(error.clone()))));
        if asked {
            drop(self.runner.send(Event::Handed(Handed { jobs: Vec::new(), next: Some(0.0) })));
        }
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

/// What a caller is told whose writer has gone.
pub fn stopped() -> Error {
    Error::new(Code::Draining, "the server is stopping").hint("send the job again with its id")
}
