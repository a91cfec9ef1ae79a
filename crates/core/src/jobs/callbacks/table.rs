//! The table of callbacks: what is due, and what became of it.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::clock::now;
use crate::error::{Code, Error, Result};

use super::super::ids::id;
use super::super::store::failed;

/// Where a job's end is to be told.
#[derive(Clone, Debug)]
pub struct Destination {
    pub url: String,
    /// Host and port: those of one are told side by side only so far.
    pub host: String,
}

impl Destination {
    /// What a record tells of it before its job has ended.
    pub fn waiting(&self) -> Value {
        told(&self.url, 0, None, 0, None, None, None)
    }
}

/// An event whose time has come.
#[derive(Clone, Debug)]
pub struct Due {
    pub place: i64,
    pub job: String,
    pub url: String,
    pub host: String,
    pub event: String,
    pub attempts: u32,
}

/// A change that the writer makes.
#[derive(Clone, Debug)]
pub enum Change {
    /// An event was sent once more.
    Tried { job: String, event: String, attempts: u32, how: Tried },
    /// An event is to be sent anew, whatever became of it.
    Again { job: String },
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum Tried {
    Delivered,
    Failed { due: f64, why: String },
    Dead { why: String },
}

impl Change {
    /// The job it is about.
    pub fn job(&self) -> &str {
        match self {
            Self::Tried { job, .. } | Self::Again { job } => job,
        }
    }

    /// Writes it, for the job at a place, within the transaction that is under way.
    ///
    /// # Errors
    /// `job_conflict` if there is nothing to tell, or not yet; `job_store_failed`.
    pub fn write(&self, connection: &Connection, place: i64) -> Result<()> {
        match self {
            Self::Tried { event, attempts, how, .. } => write_tried(connection, place, event, *attempts, how),
            Self::Again { .. } => write_again(connection, place),
        }
    }
}

/// Makes the table in a store that has none.
///
/// # Errors
/// `job_store_failed`.
pub fn prepare(connection: &Connection) -> Result<()> {
    connection.execute_batch(&format!("BEGIN; {} COMMIT;", include_str!("callbacks.sql"))).map_err(failed)
}

/// Lets jobs end, and be forgotten, as if nobody was to be told, in a store that has the table: its server calls nobody back.
///
/// # Errors
/// `job_store_failed`.
pub fn rest(connection: &Connection) -> Result<()> {
    if !connection.table_exists(None::<&str>, "callbacks").map_err(failed)? {
        return Ok(());
    }
    connection.execute_batch("DROP TRIGGER IF EXISTS callback_of_end").map_err(failed)?;
    let kept = "UPDATE jobs SET expires = ?1 + ttl_s
        WHERE state > 1 AND expires IS NULL AND place IN (SELECT place FROM callbacks WHERE state = 1)";
    connection.execute(kept, [now()]).map(drop).map_err(failed)
}

/// Notes where the end of a job is to be told.
///
/// # Errors
/// `job_store_failed`.
pub fn insert(connection: &Connection, place: i64, to: &Destination) -> Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO callbacks (place, url, host) VALUES (?1, ?2, ?3)").map_err(failed)?;
    insert.execute(params![place, to.url, to.host]).map(drop).map_err(failed)
}

fn write_tried(connection: &Connection, place: i64, event: &str, attempts: u32, how: &Tried) -> Result<()> {
    let at = now();
    let (state, due, settled, why) = match how {
        Tried::Delivered => (2, None, Some(at), None),
        Tried::Failed { due, why } => (1, Some(due), None, Some(why)),
        Tried::Dead { why } => (3, None, Some(at), Some(why)),
    };
    // An event that another end of the job has replaced meanwhile is nobody's any more.
    let mut tried = connection
        .prepare_cached(
            "UPDATE callbacks SET state = ?3, attempts = ?4, due = ?5, settled = ?6, error = coalesce(?7, error)
             WHERE place = ?1 AND event = ?2 AND state = 1",
        )
        .map_err(failed)?;
    let changed = tried.execute(params![place, event, state, attempts, due, settled, why]).map_err(failed)?;
    if changed > 0 && settled.is_some() {
        let mut kept =
            connection.prepare_cached("UPDATE jobs SET expires = ?2 + ttl_s WHERE place = ?1").map_err(failed)?;
        kept.execute(params![place, at]).map_err(failed)?;
    }
    Ok(())
}

fn write_again(connection: &Connection, place: i64) -> Result<()> {
    let state = connection
        .prepare_cached("SELECT state FROM callbacks WHERE place = ?1")
        .map_err(failed)?
        .query_row([place], |row| row.get::<_, i64>(0))
        .optional()
        .map_err(failed)?;
    match state {
        None => {
            return Err(
                Error::new(Code::JobConflict, "the job has no callback").hint("it was submitted without callback_url")
            );
        }
        Some(0) => return Err(Error::new(Code::JobConflict, "the job has not ended").hint("its end is told by itself")),
        Some(_) => {}
    }
    let again = "UPDATE callbacks SET state = 1, attempts = 0, due = ?2, settled = NULL, error = NULL WHERE place = ?1";
    connection.prepare_cached(again).map_err(failed)?.execute(params![place, now()]).map_err(failed)?;
    let kept = "UPDATE jobs SET expires = NULL WHERE place = ?1";
    connection.prepare_cached(kept).map_err(failed)?.execute([place]).map(drop).map_err(failed)
}

/// What a job's record tells of its callback, if it has one.
///
/// # Errors
/// `job_store_failed`.
pub fn find(connection: &Connection, place: i64) -> Result<Option<Value>> {
    let mut find = connection
        .prepare_cached("SELECT url, state, event, attempts, due, settled, error FROM callbacks WHERE place = ?1")
        .map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let url: String = row.get(0)?;
        let (event, error): (Option<String>, Option<String>) = (row.get(2)?, row.get(6)?);
        Ok(told(&url, row.get(1)?, event.as_deref(), row.get(3)?, row.get(4)?, row.get(5)?, error.as_deref()))
    };
    find.query_row([place], read).optional().map_err(failed)
}

fn told(
    url: &str,
    state: i64,
    event: Option<&str>,
    attempts: u32,
    due: Option<f64>,
    settled: Option<f64>,
    error: Option<&str>,
) -> Value {
    let state = match state {
        0 => "waiting",
        1 => "pending",
        2 => "delivered",
        _ => "dead",
    };
    json!({
        "url": url, "state": state, "event": event, "attempts": attempts, "next": due, "settled": settled,
        "last_error": error,
    })
}

/// The first host after another that has something pending.
///
/// # Errors
/// `job_store_failed`.
pub fn next_host(connection: &Connection, after: &str) -> Result<Option<String>> {
    let next = "SELECT host FROM callbacks WHERE state = 1 AND host > ?1 ORDER BY host LIMIT 1";
    let mut next = connection.prepare_cached(next).map_err(failed)?;
    next.query_row([after], |row| row.get(0)).optional().map_err(failed)
}

/// What is due at a host within a span of time, the oldest first.
///
/// # Errors
/// `job_store_failed`.
pub fn due(connection: &Connection, host: &str, span: (f64, f64), limit: usize) -> Result<Vec<Due>> {
    let mut due = connection
        .prepare_cached(concat!(
            "SELECT place, ",
            id!(),
            ", c.url, c.event, c.attempts FROM callbacks c JOIN jobs j USING (place)
             WHERE c.state = 1 AND c.host = ?1 AND c.due > ?2 AND c.due <= ?3 ORDER BY c.due LIMIT ?4",
        ))
        .map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Due {
            place: row.get(0)?,
            job: row.get(1)?,
            url: row.get(2)?,
            host: host.to_owned(),
            event: row.get(3)?,
            attempts: row.get(4)?,
        })
    };
    due.query_map(params![host, span.0, span.1, limit as u64], read).and_then(Iterator::collect).map_err(failed)
}

/// When the next thing is due at a host, after a time.
///
/// # Errors
/// `job_store_failed`.
pub fn next_due(connection: &Connection, host: &str, after: f64) -> Result<Option<f64>> {
    let next = "SELECT min(due) FROM callbacks WHERE state = 1 AND host = ?1 AND due > ?2";
    let mut next = connection.prepare_cached(next).map_err(failed)?;
    next.query_row(params![host, after], |row| row.get(0)).map_err(failed)
}

/// How many are pending.
///
/// # Errors
/// `job_store_failed`.
pub fn pending(connection: &Connection) -> Result<u64> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM callbacks WHERE state = 1").map_err(failed)?;
    count.query_row([], |row| row.get(0)).map_err(failed)
}

#[cfg(test)]
mod tests;
