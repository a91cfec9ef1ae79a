//! The embedded store: one SQLite file, written by one thread.
//!
//! Whatever waits for the writer goes into one transaction, so that a sync of the disk is shared by all who wait for it;
//! nobody is told anything before that sync has returned. A job is written twice, when it comes and when it has ended: which
//! are next and which are under way is in memory, and follows what was committed.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::clock::now;
use crate::error::{Code, Error, Result};

use super::callbacks;
use super::checkpoint::Checkpoint;
use super::claim::{READY, ready};
use super::disk;
use super::files::{self, Files, Spooled};
use super::folder;
use super::ids::{self, Ids, id};
use super::job::{ATTEMPTS, Claimed, Ending, Finished, NewJob, Record, State};
use super::reader::{RECORD, RECORD_COLUMNS, record};
use super::room::Room;
use super::running::{Run, Running};
use super::tally::Tally;
use super::under_way::UnderWay;
use super::window::{Ready, Turn, Window};

/// The file in the store's folder.
pub const FILE: &str = "jobs.sqlite";
/// Statements that a connection keeps prepared.
pub const STATEMENTS: usize = 64;
/// What `schema.sql` makes.
const VERSION: i64 = 3;
/// Memory for pages, in KiB, told as SQLite wants it.
const CACHE: i64 = -32_768;
/// Most jobs that one transaction expires, removes, or makes ready that were put off.
pub const AT_ONCE: usize = 4_096;
/// What a job takes on the disk beside its body, in bytes: about as measured.
const JOB_BYTES: u64 = 512;

/// The writer's half of a store.
pub struct Store {
    // Before the connection, which closes after it.
    checkpoint: Checkpoint,
    pub(super) connection: Connection,
    pub ids: Ids,
    pub(super) window: Window,
    pub(super) running: Arc<Running>,
    tally: Arc<Tally>,
    /// Large bodies and results.
    pub files: Arc<Files>,
    room: Room,
    pub(super) under_way: UnderWay,
    pub(super) next_claim: u64,
    /// Never given twice, although the highest may have been removed.
    next_place: i64,
    /// Jobs that wait a little, by when they may be handed out. By a clock that nobody sets, and after a restart at once.
    pub(super) paused: BTreeSet<(Instant, i64)>,
    /// What becomes true once the transaction is committed.
    effects: Vec<Effect>,
    _lock: File,
}

/// What a transaction means for what is in memory.
enum Effect {
    Submitted,
    /// A job refers to the file of its body.
    Spooled(Spooled),
    /// Nobody refers to these files any more.
    Unneeded(Vec<PathBuf>),
    Waits(Turn, Box<Ready>),
    /// It is queued again, whether it may be handed out yet or not.
    Retried,
    Ended(Turn, State),
    /// It may be handed out again then.
    Paused(i64, Instant),
}

impl Store {
    /// Opens the store in a folder, or makes one; jobs that a killed server was scoring are queued again.
    ///
    /// # Errors
    /// `jobs_unavailable` if another server has it, or the folder cannot be used.
    pub fn open(folder: &Path, limit_bytes: u64, running: Arc<Running>, tally: Arc<Tally>) -> Result<Self> {
        let unusable = |what: &str| {
            Error::new(Code::JobsUnavailable, format!("the job store at {} cannot be used: {what}", folder.display()))
                .hint("give another folder with --jobs PATH, or --jobs off")
        };
        let lock = folder::own(folder).map_err(|e| unusable(&e.to_string()))?;
        let connection = disk::connect(&folder.join(FILE)).map_err(|e| unusable(&e.to_string()))?;
        if let Some(wrong) = folder::stranger(&connection, VERSION).map_err(|e| unusable(&e.to_string()))? {
            return Err(unusable(&wrong));
        }
        set_up(&connection).map_err(|e| unusable(&e.to_string()))?;
        let checkpoint = Checkpoint::start(&connection, &folder.join(FILE)).map_err(|e| unusable(&e.to_string()))?;
        let (under_way, left) = UnderWay::open(folder).map_err(|e| unusable(&e.to_string()))?;
        let files = Arc::new(Files::open(folder, &connection, limit_bytes).map_err(|e| unusable(&e.parts().message))?);
        let mut store = Self {
            ids: Ids::open(&connection).map_err(|e| unusable(&e.to_string()))?,
            connection,
            checkpoint,
            window: Window::default(),
            running,
            tally,
            room: Room::new(folder, files.clone(), limit_bytes),
            files,
            under_way,
            next_claim: 1,
            next_place: 1,
            paused: BTreeSet::new(),
            effects: Vec::new(),
            _lock: lock,
        };
        store.recover(left).map_err(|e| unusable(&e.parts().message))?;
        Ok(store)
    }

    /// Counts a try for each job that a server was scoring when it died, unless that has killed several.
    fn recover(&mut self, mut left: Vec<i64>) -> Result<()> {
        left.sort_unstable();
        left.dedup();
        self.begin()?;
        for place in left {
            let tried = "UPDATE jobs SET attempts = attempts + 1 WHERE place = ?1 AND state <= 1 RETURNING attempts";
            if self.row(tried, [place], |row| row.get::<_, u32>(0))?.is_some_and(|attempts| attempts >= ATTEMPTS) {
                let message = format!("the server ended {ATTEMPTS} times while it scored this job");
                let error =
                    Error::new(Code::EngineFailed, message).hint("look at the server's log; the rows may be too many");
                self.end(place, State::Failed, Some(error_json(&error)), None)?;
            }
        }
        // Each by its index.
        let counts = "SELECT (SELECT count(*) FROM jobs WHERE state = 0) + (SELECT count(*) FROM jobs WHERE state = 1)";
        let unfinished = self.row(counts, [], |row| row.get(0))?.unwrap_or_default();
        let next = "SELECT max(next_place, (SELECT coalesce(max(place), 0) + 1 FROM jobs)) FROM store";
        self.next_place = self.row(next, [], |row| row.get(0))?.unwrap_or(1);
        self.commit()?;
        // Only now that the tries are counted.
        self.under_way.write_anew(&[]).map_err(|e| unwritable(&e))?;
        self.tally.set_unfinished(unfinished);
        self.look()
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.execute("BEGIN IMMEDIATE", []).map(drop)
    }

    /// Ends a transaction: what it did is on the disk once this returns.
    pub fn commit(&mut self) -> Result<()> {
        self.execute("COMMIT", [])?;
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Submitted => self.tally.submitted(),
                Effect::Spooled(file) => file.keep(),
                Effect::Unneeded(paths) => self.files.remove(paths),
                Effect::Retried => self.tally.retried(),
                Effect::Waits(turn, ready) => self.window.push(turn, *ready),
                Effect::Ended(turn, state) => {
                    self.window.remove(turn);
                    self.running.end(turn.1);
                    self.tally.ended(state);
                }
                Effect::Paused(place, until) => {
                    self.running.end(place);
                    self.paused.insert((until, place));
                }
            }
        }
        Ok(())
    }

    /// Keeps the log short. Between transactions.
    pub fn fold(&mut self) {
        self.checkpoint.go_on(&self.connection);
    }

    /// The server stops in order: what was given back is not what it died over.
    pub fn note_stop(&mut self) {
        let running: Vec<i64> = self.running.snapshot().into_keys().collect();
        // Where that cannot be written, those jobs have one try less.
        drop(self.under_way.write_anew(&running));
    }

    /// Whether a transaction is under way: a full disk ends it by itself.
    pub fn is_within(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Undoes a transaction; one that has ended by itself already is no failure.
    pub fn roll_back(&mut self) {
        self.effects.clear();
        drop(self.execute("ROLLBACK", []));
    }

    pub(super) fn execute(&self, statement: &str, values: impl Params) -> Result<usize> {
        self.connection.prepare_cached(statement).and_then(|mut s| s.execute(values)).map_err(failed)
    }

    pub(super) fn row<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let found = self.connection.prepare_cached(statement).and_then(|mut s| s.query_row(values, read).optional());
        found.map_err(failed)
    }

    pub(super) fn rows<T>(
        &self,
        statement: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(statement).map_err(failed)?;
        statement.query_map(values, read).and_then(Iterator::collect).map_err(failed)
    }

    /// Takes a job in; the same one again is the one that is there.
    ///
    /// # Errors
    /// `job_conflict` if another one has its id; `job_store_full`, `job_store_failed`.
    pub fn submit(&mut self, mut job: NewJob) -> Result<Record> {
        self.room.check(&self.connection)?;
        if let Some(id) = job.id.as_deref().filter(|id| self.ids.place(id).is_some()) {
            // The store would not know it from its own, of which it may be one.
            return self.same(id, None).map_err(|error| match error.code() {
                Code::UnknownJob => Error::new(Code::MalformedRequest, "ids of this form are the server's own")
                    .hint("choose another id, or none"),
                _ => error,
            });
        }
        let created = now();
        let is_put_off = job.not_before.is_some_and(|at| at > created);
        let place = self.next_place;
        let (input, output, rows) = (job.input as i64, job.output as i64, job.rows as u64);
        let added = self.execute(
            "INSERT OR IGNORE INTO jobs (place, chosen, model, input, output, digest, rows, priority, state, created, not_before, deadline,
             ttl_s, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            params![
                place,
                job.id,
                job.model,
                input,
                output,
                job.digest,
                rows,
                job.priority,
                is_put_off,
                created,
                job.not_before,
                job.deadline,
                job.ttl_s,
                job.body
            ],
        )?;
        if added == 0 {
            return self.same(job.id.as_deref().unwrap_or_default(), job.digest);
        }
        let id = job.id.take().unwrap_or_else(|| self.ids.make(place));
        if let Some(to) = &job.callback {
            callbacks::insert(&self.connection, place, to)?;
        }
        self.room.take(job.body.len() as u64 + JOB_BYTES);
        self.next_place += 1;
        self.effects.push(Effect::Submitted);
        let file = job.file.as_ref().map(|file| file.note(&self.connection, place)).transpose()?;
        self.effects.extend(job.file.take().map(Effect::Spooled));
        let record = job.queued(id.clone(), place, created);
        if !is_put_off {
            self.waits_new(place, id, job, file);
        }
        Ok(record)
    }

    /// The job that has the id of another one already, if it is the same.
    fn same(&self, id: &str, digest: Option<[u8; 32]>) -> Result<Record> {
        let (found, its) = self.find(id)?.ok_or_else(unknown)?;
        if its == digest && its.is_some() {
            return Ok(found);
        }
        Err(Error::new(Code::JobConflict, format!("another job has the id {id}"))
            .hint("choose another id; the same id is for sending the same request again"))
    }

    /// Lets a job that was just taken in be handed out, without a look at the disk.
    fn waits_new(&mut self, place: i64, id: String, job: NewJob, file: Option<String>) {
        let NewJob { model, input, output, body, deadline, priority, rows, .. } = job;
        let job = Claimed { place, claim: 0, id, model, input, output, body, file, attempts: 1, deadline };
        let ready = Ready { job, rows: rows as u64, loaded: true };
        self.effects.push(Effect::Waits((Reverse(priority), place), Box::new(ready)));
    }

    /// Notes how a job came back. One that was cancelled meanwhile stays so; gives whether it has ended now.
    pub fn finish(&mut self, finished: &Finished) -> Result<bool> {
        let place = finished.place;
        let Some(run) = self.running.get(place).filter(|run| run.claim == finished.claim) else { return Ok(false) };
        match &finished.how {
            Ending::Again { pause, counted } => {
                if *counted {
                    let again = "UPDATE jobs SET attempts = ?2 WHERE place = ?1 AND state <= 1";
                    self.execute(again, params![place, run.attempts])?;
                }
                self.effects.push(Effect::Paused(place, Instant::now() + *pause));
                Ok(false)
            }
            Ending::Succeeded { version, body } => self.succeed(place, *version, body, run),
            Ending::Stored { version, bytes } => {
                files::note_result(&self.connection, place, *bytes)?;
                self.succeed(place, *version, &[], run)
            }
            Ending::Failed(error) => self.end(place, State::Failed, Some(error_json(error)), Some(run)),
            Ending::Expired => self.end(place, State::Expired, None, Some(run)),
        }
    }

    fn succeed(&mut self, place: i64, version: u64, body: &[u8], run: Run) -> Result<bool> {
        let ended = self.execute(
            "UPDATE jobs SET state = 2, finished = ?2, expires = ?2 + ttl_s, version = ?3, started = ?4,
             attempts = ?5, body = ?6 WHERE place = ?1 AND state <= 1",
            params![place, now(), version, run.started, run.attempts, body],
        )?;
        let turn = (Reverse(run.priority), place);
        self.effects.extend((ended > 0).then_some(Effect::Ended(turn, State::Succeeded)));
        Ok(ended > 0)
    }

    /// Ends a job without a result; `false` if it has ended already.
    fn end(&mut self, place: i64, state: State, error: Option<String>, run: Option<Run>) -> Result<bool> {
        let (started, attempts) = (run.map(|run| run.started), run.map(|run| run.attempts));
        let ended = self.row(
            "UPDATE jobs SET state = ?2, finished = ?3, expires = ?3 + ttl_s, error = ?4, started = ?5,
             attempts = coalesce(?6, attempts) WHERE place = ?1 AND state <= 1 RETURNING priority",
            params![place, state as i64, now(), error, started, attempts],
            |row| row.get(0),
        )?;
        self.effects.extend(ended.map(|priority| Effect::Ended((Reverse(priority), place), state)));
        Ok(ended.is_some())
    }

    /// Cancels a job that has not ended.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`.
    pub fn cancel(&mut self, id: &str) -> Result<Record> {
        let (found, _) = self.find(id)?.ok_or_else(unknown)?;
        self.end(found.place, State::Cancelled, None, self.running.get(found.place))?;
        self.find(id)?.map(|(record, _)| record).ok_or_else(unknown)
    }

    /// Queues a job again that failed, expired or was cancelled; a deadline that has passed is forgotten.
    ///
    /// # Errors
    /// `unknown_job`, `job_conflict` if it is in another state, `job_store_failed`.
    pub fn retry(&mut self, id: &str) -> Result<Record> {
        let (found, _) = self.find(id)?.ok_or_else(unknown)?;
        if !matches!(found.state, State::Failed | State::Expired | State::Cancelled) {
            let message = format!("the job is {}", found.state.as_str());
            return Err(
                Error::new(Code::JobConflict, message).hint("a failed, expired or cancelled job can be tried again")
            );
        }
        self.execute(
            "UPDATE jobs SET state = coalesce(not_before > ?2, 0), attempts = 0, started = NULL, finished = NULL,
             expires = NULL, error = NULL, deadline = iif(deadline > ?2, deadline, NULL) WHERE place = ?1",
            params![found.place, now()],
        )?;
        self.effects.push(Effect::Retried);
        self.waits(found.place)?;
        self.find(id)?.map(|(record, _)| record).ok_or_else(unknown)
    }

    /// Notes what became of a job's callback, or that it is to be made again.
    ///
    /// # Errors
    /// `unknown_job`, `job_conflict`, `job_store_failed`.
    pub fn call_back(&self, change: &callbacks::Change) -> Result<Record> {
        let (found, _) = self.find(change.job())?.ok_or_else(unknown)?;
        change.write(&self.connection, found.place)?;
        self.find(change.job())?.map(|(record, _)| record).ok_or_else(unknown)
    }

    /// Lets a job be handed out once the transaction is committed, unless it is put off.
    pub(super) fn waits(&mut self, place: i64) -> Result<()> {
        let found = self.row(READY, [place], ready)?;
        self.effects.extend(found.map(|(turn, ready)| Effect::Waits(turn, Box::new(ready))));
        Ok(())
    }

    /// Ends jobs whose deadline has passed, and removes ended ones that are not kept any longer. Gives the ids of the first,
    /// and whether there may be more.
    pub fn sweep(&mut self) -> Result<(Vec<String>, bool)> {
        let at = now();
        let late = concat!("SELECT place, ", id!(), " FROM jobs WHERE state <= 1 AND deadline <= ?1 LIMIT ?2");
        let most = (AT_ONCE + self.running.count()) as u64;
        let mut late: Vec<(i64, String)> = self.rows(late, params![at, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
        late.retain(|(place, _)| self.running.get(*place).is_none());
        let mut expired = Vec::new();
        for (place, id) in late.into_iter().take(AT_ONCE) {
            self.end(place, State::Expired, None, None)?;
            expired.push(id);
        }
        let old = "DELETE FROM jobs WHERE place IN (SELECT place FROM jobs WHERE expires <= ?1 LIMIT ?2)";
        let removed = self.execute(old, params![at, AT_ONCE as u64])?;
        if removed > 0 {
            // Or the place of the last one would be given again by the next server, and with it an id.
            self.execute("UPDATE store SET next_place = ?1", [self.next_place])?;
        }
        self.effects.push(Effect::Unneeded(self.files.sweep(&self.connection)?));
        let more = removed.max(expired.len()) == AT_ONCE;
        Ok((expired, more))
    }

    /// Looks how long the first have waited: those of each priority, by the index.
    pub fn look(&self) -> Result<()> {
        let oldest = self.row(
            "WITH RECURSIVE p (priority) AS (
                 SELECT max(priority) FROM jobs WHERE state = 0
                 UNION ALL SELECT (SELECT max(priority) FROM jobs WHERE state = 0 AND priority < p.priority)
                 FROM p WHERE p.priority IS NOT NULL)
             SELECT min((SELECT created FROM jobs WHERE state = 0 AND priority = p.priority ORDER BY place LIMIT 1)) FROM p",
            [],
            |row| row.get(0),
        )?;
        self.tally.set_oldest(oldest.flatten());
        Ok(())
    }

    /// A job, and the digest of what was asked for if its id was chosen.
    fn find(&self, id: &str) -> Result<Option<(Record, Option<[u8; 32]>)>> {
        let Some(place) = self.ids.find(&self.connection, id)? else { return Ok(None) };
        let find = format!("SELECT {RECORD}, digest FROM jobs WHERE place = ?1");
        let found = self.row(&find, [place], |row| Ok((record(row)?, row.get(RECORD_COLUMNS)?)))?;
        Ok(found.filter(|(found, _)| found.id == id).map(|(found, digest)| {
            let run = self.running.get(found.place);
            (found.shown(run), digest)
        }))
    }
}

/// Makes a database that is empty, or is a store already, what the writer needs.
fn set_up(connection: &Connection) -> std::result::Result<(), Box<dyn std::error::Error>> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let is_new = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == 0;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Or it would plan a statement anew for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if is_new {
        let schema = include_str!("schema.sql").replace("{mark}", &ids::random()?);
        connection.execute_batch(&format!("BEGIN; {schema} COMMIT;"))?;
    }
    Ok(())
}

/// An error as a job's record tells it.
fn error_json(error: &Error) -> String {
    let parts = error.parts();
    serde_json::json!({
        "code": parts.code.as_str(), "message": parts.message, "hint": parts.hint, "details": parts.details,
    })
    .to_string()
}

pub fn unknown() -> Error {
    Error::new(Code::UnknownJob, "there is no job of that id").hint("ended jobs are removed after their time to live")
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
pub fn failed(error: rusqlite::Error) -> Error {
    let full = matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    let code = if full { Code::JobStoreFull } else { Code::JobStoreFailed };
    Error::new(code, format!("the job store cannot be read or written: {error}")).hint("look at its disk")
}

/// A file beside the store that cannot be written.
pub fn unwritable(error: &std::io::Error) -> Error {
    Error::new(Code::JobStoreFailed, format!("the job store cannot be written: {error}")).hint("look at its disk")
}

#[cfg(test)]
mod tests;
