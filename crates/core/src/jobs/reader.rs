//! The readers' half of the store: a connection of its own, which waits for nobody.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::error::Result;
use crate::exchange::Media;

use super::files;
use super::ids::{Ids, id};
use super::job::{Body, Record, State};
use super::running::{Run, Running};
use super::store::{FILE, STATEMENTS, Store, failed, unknown};

/// The columns of a record, in the order in which [`record`] reads them.
pub const RECORD: &str = concat!(
    id!(),
    ", model, version, state, rows, priority, attempts, created, started, finished, not_before, deadline, expires, error, place"
);
/// How many columns those are.
pub const RECORD_COLUMNS: usize = 15;

pub struct Reader {
    pub(super) connection: Connection,
    ids: Ids,
    running: Arc<Running>,
}

impl Reader {
    /// Opens the file of a store beside its writer.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn open(folder: &Path, store: &Store) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(folder.join(FILE), flags).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self { connection, ids: store.ids.clone(), running: store.running.clone() })
    }

    /// A job's record, and its result if it has one.
    ///
    /// # Errors
    /// `unknown_job`, `job_store_failed`.
    pub fn job(&self, id: &str) -> Result<(Record, Option<Body>)> {
        let (found, result) = self.look(id)?;
        if found.state.has_ended() {
            return Ok((found, result));
        }
        // Who is not under way now may have ended since the disk was read; it is written there before it is forgotten here.
        match self.running.get(found.place) {
            Some(run) => Ok((found.shown(Some(run)), None)),
            None => self.look(id),
        }
    }

    fn look(&self, id: &str) -> Result<(Record, Option<Body>)> {
        let place = self.ids.find(&self.connection, id)?.ok_or_else(unknown)?;
        let statement = format!("SELECT {RECORD}, output, iif(state = 2, body, NULL) FROM jobs WHERE place = ?1");
        let mut find = self.connection.prepare_cached(&statement).map_err(failed)?;
        let read = |row: &Row<'_>| {
            let body: Option<Vec<u8>> = row.get(RECORD_COLUMNS + 1)?;
            let media = media(row.get(RECORD_COLUMNS)?);
            Ok((record(row)?, body.map(|bytes| Body { media, bytes })))
        };
        let found = find.query_row([place], read).optional().map_err(failed)?;
        found.filter(|(record, _)| record.id == id).ok_or_else(unknown)
    }

    /// The name of a job's files.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn file(&self, place: i64) -> Result<Option<String>> {
        files::name_of(&self.connection, place)
    }

    /// Jobs, newest first: of a state, of a model, before a place.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn list(&self, state: Option<State>, model: Option<&str>, before: i64, limit: usize) -> Result<Vec<Record>> {
        let running = self.running.snapshot();
        let shown = |found: Record| {
            let run = running.get(&found.place).copied();
            found.shown(run)
        };
        if state == Some(State::Running) {
            return self
                .under_way(running.keys().copied().filter(|place| *place < before).collect(), model, limit)
                .map(|found| found.into_iter().map(shown).collect());
        }
        // To the disk, those under way are queued; few have failed, and those have an index.
        let which = match state {
            None => "?2 IS NULL",
            Some(State::Queued | State::Running) => "state <= 1 AND ?2 IS NOT NULL",
            Some(State::Succeeded) => "state = ?2",
            Some(_) => "state >= 3 AND state = ?2",
        };
        let statement = format!(
            "SELECT {RECORD} FROM jobs WHERE place < ?1 AND {which} AND (?3 IS NULL OR model = ?3) ORDER BY place DESC"
        );
        let mut list = self.connection.prepare_cached(&statement).map_err(failed)?;
        let values = params![before, state.map(|state| state as i64), model];
        let found = list.query_map(values, record).map_err(failed)?.map(|found| found.map(shown));
        let wanted = found.filter(|found| state.is_none_or(|state| found.as_ref().map_or(true, |f| f.state == state)));
        wanted.take(limit).collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Those of some places, the newest first.
    fn under_way(&self, mut places: Vec<i64>, model: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        places.sort_unstable_by(|a, b| b.cmp(a));
        let statement =
            format!("SELECT {RECORD} FROM jobs WHERE place = ?1 AND state <= 1 AND (?2 IS NULL OR model = ?2)");
        let mut find = self.connection.prepare_cached(&statement).map_err(failed)?;
        let found = places.into_iter().map(|place| find.query_row(params![place, model], record).optional());
        found.filter_map(rusqlite::Result::transpose).take(limit).collect::<rusqlite::Result<_>>().map_err(failed)
    }
}

impl Record {
    /// What is queued to the disk, as it is shown if it is under way.
    pub fn shown(self, run: Option<Run>) -> Self {
        match run {
            Some(run) if !self.state.has_ended() => {
                let (attempts, started, rows_done) = (run.attempts, Some(run.started), run.rows_done);
                Self { state: State::Running, attempts, started, rows_done, ..self }
            }
            _ => self,
        }
    }
}

/// Reads the columns of [`RECORD`].
pub fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let (state, rows) = (State::from_number(row.get(3)?), row.get(4)?);
    Ok(Record {
        id: row.get(0)?,
        model: row.get(1)?,
        version: row.get(2)?,
        state,
        rows,
        // While it is under way, memory knows better.
        rows_done: if state == State::Succeeded { rows } else { 0 },
        priority: row.get(5)?,
        attempts: row.get(6)?,
        created: row.get(7)?,
        started: row.get(8)?,
        finished: row.get(9)?,
        not_before: row.get(10)?,
        deadline: row.get(11)?,
        expires: row.get(12)?,
        error: row.get(13)?,
        callback: None,
        place: row.get(14)?,
    })
}

pub fn media(number: i64) -> Media {
    if number == Media::Arrow as i64 { Media::Arrow } else { Media::Json }
}
