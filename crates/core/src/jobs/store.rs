//! The embedded store: one SQLite file, written by one thread.
//!
//! Whatever waits for the writer goes into one transaction, so that a sync of the disk is shared by all who wait for it;
//! nobody is told anything before that sync has returned. Reads have a connection of their own and wait for nobody.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::bundle::folder::try_lock;
use crate::error::{Code, Error, Result};
use crate::exchange::Media;

use super::job::{ATTEMPTS, ATTEMPTS_TOGETHER, Body, Claimed, Ending, Finished, NewJob, Record, State, now};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;
/// Pages of the log after which it is folded into the file.
const CHECKPOINT_PAGES: u32 = 4_096;
/// Most ended jobs removed in one transaction.
const SWEEP_ROWS: usize = 1_000;
/// Room that a store leaves on its disk, in bytes.
const SPARE_BYTES: u64 = 64 << 20;
/// The columns of a record, in the order in which [`record`] reads them.
const RECORD: &str = "id, model, version, state, rows, priority, attempts, created, started, finished, not_before, deadline, expires, error, place";

/// The writer's half of a store.
pub struct Store {
    connection: Connection,
    folder: std::path::PathBuf,
    limit_bytes: u64,
    _lock: File,
}

/// Jobs that were handed out, and when the next one may be if there was none.
#[derive(Debug, Default)]
pub struct Handed {
    pub jobs: Vec<Claimed>,
    pub next: Option<f64>,
}

impl Store {
    /// Opens the store in a folder, or makes one; jobs that a killed server was scoring are queued again.
    ///
    /// # Errors
    /// `jobs_unavailable` if another server has it, or the folder cannot be used.
    pub fn open(folder: &Path, limit_bytes: u64) -> Result<Self> {
        let unusable = |what: &str| {
            Error::new(Code::JobsUnavailable, format!("the job store at {} cannot be used: {what}", folder.display()))
                .hint("give another folder with --jobs PATH, or --jobs off")
        };
        // Its rows are nobody else's to read.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| unusable(&e.to_string()))?;
        let lock = folder.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock);
        let lock = lock.map_err(|e| unusable(&e.to_string()))?;
        if !try_lock(&lock) {
            return Err(unusable("another server has it"));
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(folder.join("jobs.sqlite"))?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            if connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == 0 {
                connection.execute_batch(&format!("BEGIN; {} COMMIT;", include_str!("schema.sql")))?;
            }
            Ok(connection)
        };
        let connection = open().map_err(|e| unusable(&e.to_string()))?;
        let store = Self { connection, folder: folder.to_owned(), limit_bytes, _lock: lock };
        store.recover()?;
        Ok(store)
    }

    /// Queues again what a killed server was scoring, unless that has killed several.
    fn recover(&self) -> Result<()> {
        self.begin()?;
        let fatal = "SELECT place FROM jobs WHERE state = 1 AND attempts >= ?1";
        let mut fatal = self.connection.prepare_cached(fatal).map_err(failed)?;
        let places: Vec<i64> =
            fatal.query_map([ATTEMPTS], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
        for place in places {
            let message = format!("the server ended {ATTEMPTS} times while it scored this job");
            let error =
                Error::new(Code::EngineFailed, message).hint("look at the server's log; the rows may be too many");
            self.end(place, State::Running, State::Failed, None, Some(error_json(&error)))?;
        }
        self.run("UPDATE jobs SET state = 0, started = NULL WHERE state = 1")?;
        self.commit()
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.run("BEGIN IMMEDIATE")
    }

    /// Ends a transaction: what it did is on the disk once this returns.
    pub fn commit(&self) -> Result<()> {
        self.run("COMMIT")
    }

    /// Whether a transaction is under way: a full disk ends it by itself.
    pub fn is_within(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Undoes a transaction; one that has ended by itself already is no failure.
    pub fn roll_back(&self) {
        drop(self.run("ROLLBACK"));
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.connection.prepare_cached(statement).and_then(|mut s| s.execute([])).map(drop).map_err(failed)
    }

    /// Whether there is room for more, in the store and on its disk.
    ///
    /// # Errors
    /// `job_store_full`.
    pub fn check_room(&self) -> Result<()> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let pages = pragma("page_count").and_then(|all| Ok(all - pragma("freelist_count")?)).map_err(failed)?;
        let used = pages * pragma("page_size").map_err(failed)?;
        let full = |message: String| {
            Error::new(Code::JobStoreFull, message)
                .hint("wait until jobs have ended and are removed, or raise limit_jobs_bytes")
        };
        if used >= self.limit_bytes {
            return Err(full(format!("the job store holds {used} bytes, of {} that it may", self.limit_bytes)));
        }
        match free_bytes(&self.folder) {
            Some(free) if free < SPARE_BYTES => Err(full(format!("the job store's disk has {free} bytes left"))),
            _ => Ok(()),
        }
    }

    /// Takes a job in; the same one again is the one that is there.
    ///
    /// # Errors
    /// `job_conflict` if another one has its id; `job_store_failed`.
    pub fn submit(&self, job: &NewJob) -> Result<Record> {
        if let Some((found, digest)) = self.find(&job.id)? {
            if digest == job.digest {
                return Ok(found);
            }
            return Err(Error::new(Code::JobConflict, format!("another job has the id {}", job.id))
                .hint("choose another id; the same id is for sending the same request again"));
        }
        let created = now();
        let mut insert = self
            .connection
            .prepare_cached(
                "INSERT INTO jobs (id, model, input, output, digest, rows, priority, state, created, not_before, deadline, ttl_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)",
            )
            .map_err(failed)?;
        let (input, output) = (job.input as i64, job.output as i64);
        let values = params![
            job.id,
            job.model,
            input,
            output,
            job.digest,
            job.rows as u64,
            job.priority,
            created,
            job.not_before,
            job.deadline,
            job.ttl_s
        ];
        let place = insert.insert(values).map_err(failed)?;
        let mut body = self.connection.prepare_cached("INSERT INTO bodies VALUES (?1, ?2)").map_err(failed)?;
        body.execute(params![place, job.body]).map_err(failed)?;
        Ok(Record {
            id: job.id.clone(),
            model: job.model.clone(),
            version: None,
            state: State::Queued,
            rows: job.rows as u64,
            priority: job.priority,
            attempts: 0,
            created,
            started: None,
            finished: None,
            not_before: job.not_before,
            deadline: job.deadline,
            expires: None,
            error: None,
            place,
        })
    }

    /// Hands out queued jobs, those of greater priority first, until they have `rows` together.
    pub fn claim(&self, jobs: usize, rows: u64) -> Result<Handed> {
        let (mut handed, mut taken, at) = (Handed::default(), 0, now());
        let mut waiting = self
            .connection
            .prepare_cached(
                "SELECT j.place, j.id, j.model, j.input, j.output, b.body, j.attempts, j.deadline, j.rows
                 FROM jobs j JOIN bodies b USING (place)
                 WHERE j.state = 0 AND (j.not_before IS NULL OR j.not_before <= ?1)
                   AND (j.deadline IS NULL OR j.deadline > ?1)
                 ORDER BY j.priority DESC, j.place LIMIT ?2",
            )
            .map_err(failed)?;
        let mut found = waiting.query(params![at, jobs as u64]).map_err(failed)?;
        while taken < rows {
            let Some(row) = found.next().map_err(failed)? else { break };
            taken += row.get::<_, u64>(8).map_err(failed)?.max(1);
            let job = claimed(row).map_err(failed)?;
            let alone = job.attempts > ATTEMPTS_TOGETHER;
            if alone && !handed.jobs.is_empty() {
                break;
            }
            handed.jobs.push(job);
            if alone {
                break;
            }
        }
        drop(found);
        let mut start = self
            .connection
            .prepare_cached("UPDATE jobs SET state = 1, started = ?2, attempts = attempts + 1 WHERE place = ?1")
            .map_err(failed)?;
        for job in &handed.jobs {
            start.execute(params![job.place, at]).map_err(failed)?;
        }
        if handed.jobs.is_empty() {
            let mut next = self
                .connection
                .prepare_cached("SELECT min(not_before) FROM jobs WHERE state = 0 AND not_before > ?1")
                .map_err(failed)?;
            handed.next = next.query_row([at], |row| row.get(0)).map_err(failed)?;
        }
        Ok(handed)
    }

    /// Notes how a job came back; one that was cancelled meanwhile stays so.
    pub fn finish(&self, finished: &Finished) -> Result<()> {
        let place = finished.place;
        let (state, version, error) = match &finished.how {
            Ending::Again { not_before, counted } => {
                let mut again = self
                    .connection
                    .prepare_cached(
                        "UPDATE jobs SET state = 0, started = NULL, not_before = ?2, attempts = attempts - ?3
                         WHERE place = ?1 AND state = 1",
                    )
                    .map_err(failed)?;
                let back = u32::from(!counted);
                return again.execute(params![place, not_before, back]).map(drop).map_err(failed);
            }
            Ending::Succeeded { version, .. } => (State::Succeeded, Some(*version), None),
            Ending::Failed(error) => (State::Failed, None, Some(error_json(error))),
            Ending::Expired => (State::Expired, None, None),
        };
        if self.end(place, State::Running, state, version, error)?
            && let Ending::Succeeded { body, .. } = &finished.how
        {
            let mut result = self.connection.prepare_cached("INSERT INTO results VALUES (?1, ?2)").map_err(failed)?;
            result.execute(params![place, body]).map_err(failed)?;
            let mut done = self.connection.prepare_cached("DELETE FROM bodies WHERE place = ?1").map_err(failed)?;
            done.execute([place]).map_err(failed)?;
        }
        Ok(())
    }

    /// Ends a job that is in a state; `false` if it is not, or not any more.
    fn end(&self, place: i64, from: State, to: State, version: Option<u64>, error: Option<String>) -> Result<bool> {
        let mut end = self
            .connection
            .prepare_cached(
                "UPDATE jobs SET state = ?3, finished = ?4, expires = ?4 + ttl_s, version = ?5, error = ?6
                 WHERE place = ?1 AND state = ?2",
            )
            .map_err(failed)?;
        let changed = end.execute(params![place, from as i64, to as i64, now(), version, error]).map_err(failed)?;
        Ok(changed > 0)
    }

    /// Cancels a job that has not ended.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`.
    pub fn cancel(&self, id: &str) -> Result<Record> {
        let (found, _) = self.find(id)?.ok_or_else(unknown)?;
        if found.state.has_ended() {
            return Ok(found);
        }
        self.end(found.place, found.state, State::Cancelled, None, None)?;
        self.find(id)?.map(|(record, _)| record).ok_or_else(unknown)
    }

    /// Queues a job again that failed, expired or was cancelled; a deadline that has passed is forgotten.
    ///
    /// # Errors
    /// `unknown_job`, `job_conflict` if it is in another state, `job_store_failed`.
    pub fn retry(&self, id: &str) -> Result<Record> {
        let (found, _) = self.find(id)?.ok_or_else(unknown)?;
        if !matches!(found.state, State::Failed | State::Expired | State::Cancelled) {
            let message = format!("the job is {}", found.state.as_str());
            return Err(
                Error::new(Code::JobConflict, message).hint("a failed, expired or cancelled job can be tried again")
            );
        }
        let mut again = self
            .connection
            .prepare_cached(
                "UPDATE jobs SET state = 0, attempts = 0, started = NULL, finished = NULL, expires = NULL, error = NULL,
                 deadline = iif(deadline > ?2, deadline, NULL) WHERE place = ?1",
            )
            .map_err(failed)?;
        again.execute(params![found.place, now()]).map_err(failed)?;
        self.find(id)?.map(|(record, _)| record).ok_or_else(unknown)
    }

    /// Ends queued jobs whose deadline has passed, and removes ended ones that are not kept any longer; gives the ids of
    /// the first.
    pub fn sweep(&self) -> Result<Vec<String>> {
        let at = now();
        let mut expire = self
            .connection
            .prepare_cached(
                "UPDATE jobs SET state = 5, finished = ?1, expires = ?1 + ttl_s
                 WHERE state = 0 AND deadline <= ?1 RETURNING id",
            )
            .map_err(failed)?;
        let expired = expire.query_map([at], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
        let mut old =
            self.connection.prepare_cached("SELECT place FROM jobs WHERE expires <= ?1 LIMIT ?2").map_err(failed)?;
        let places: Vec<i64> = old
            .query_map(params![at, SWEEP_ROWS as u64], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(failed)?;
        for table in ["jobs", "bodies", "results"] {
            let statement = format!("DELETE FROM {table} WHERE place = ?1");
            let mut remove = self.connection.prepare_cached(&statement).map_err(failed)?;
            for place in &places {
                remove.execute([place]).map_err(failed)?;
            }
        }
        Ok(expired)
    }

    fn find(&self, id: &str) -> Result<Option<(Record, [u8; 32])>> {
        let mut find = self
            .connection
            .prepare_cached(&format!("SELECT {RECORD}, digest FROM jobs WHERE id = ?1"))
            .map_err(failed)?;
        find.query_row([id], |row| Ok((record(row)?, row.get(15)?))).optional().map_err(failed)
    }
}

/// The readers' half of a store.
pub struct Reader(Connection);

impl Reader {
    /// Opens a store that is there.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn open(folder: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join("jobs.sqlite"), flags).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(connection))
    }

    /// A job's record, and its result if it has one.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`.
    pub fn job(&self, id: &str) -> Result<(Record, Option<Body>)> {
        let statement =
            format!("SELECT {RECORD}, output, r.body FROM jobs LEFT JOIN results r USING (place) WHERE id = ?1");
        let mut find = self.0.prepare_cached(&statement).map_err(failed)?;
        let read = |row: &Row<'_>| {
            let body: Option<Vec<u8>> = row.get(16)?;
            let media = media(row.get(15)?);
            Ok((record(row)?, body.map(|bytes| Body { media, bytes })))
        };
        find.query_row([id], read).optional().map_err(failed)?.ok_or_else(unknown)
    }

    /// Jobs, newest first: of a state, of a model, before a place.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn list(&self, state: Option<State>, model: Option<&str>, before: i64, limit: usize) -> Result<Vec<Record>> {
        let statement = format!(
            "SELECT {RECORD} FROM jobs WHERE place < ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR model = ?3)
             ORDER BY place DESC LIMIT ?4"
        );
        let mut list = self.0.prepare_cached(&statement).map_err(failed)?;
        let values = params![before, state.map(|state| state as i64), model, limit as u64];
        list.query_map(values, record).and_then(Iterator::collect).map_err(failed)
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: row.get(0)?,
        model: row.get(1)?,
        version: row.get(2)?,
        state: State::from_number(row.get(3)?).unwrap_or(State::Failed),
        rows: row.get(4)?,
        priority: row.get(5)?,
        attempts: row.get(6)?,
        created: row.get(7)?,
        started: row.get(8)?,
        finished: row.get(9)?,
        not_before: row.get(10)?,
        deadline: row.get(11)?,
        expires: row.get(12)?,
        error: row.get(13)?,
        place: row.get(14)?,
    })
}

fn claimed(row: &Row<'_>) -> rusqlite::Result<Claimed> {
    Ok(Claimed {
        place: row.get(0)?,
        id: row.get(1)?,
        model: row.get(2)?,
        input: media(row.get(3)?),
        output: media(row.get(4)?),
        body: row.get(5)?,
        attempts: row.get::<_, u32>(6)? + 1,
        deadline: row.get(7)?,
    })
}

fn media(number: i64) -> Media {
    if number == Media::Arrow as i64 { Media::Arrow } else { Media::Json }
}

/// An error as a job's record tells it.
fn error_json(error: &Error) -> String {
    let parts = error.parts();
    serde_json::json!({
        "code": parts.code.as_str(), "message": parts.message, "hint": parts.hint, "details": parts.details,
    })
    .to_string()
}

fn unknown() -> Error {
    Error::new(Code::UnknownJob, "there is no job of that id").hint("ended jobs are removed after their time to live")
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn failed(error: rusqlite::Error) -> Error {
    let full = matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    let code = if full { Code::JobStoreFull } else { Code::JobStoreFailed };
    Error::new(code, format!("the job store cannot be read or written: {error}")).hint("look at its disk")
}

fn free_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in zero; the struct is written whole where the call gives zero, and only then read.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    Some(found.f_bavail * found.f_frsize)
}

#[cfg(test)]
mod tests;
