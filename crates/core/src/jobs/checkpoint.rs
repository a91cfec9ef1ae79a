//! Folding the log into the database: most of it by a thread of its own, so that nobody who submits waits for that.
//!
//! SQLite begins its log anew only when all of it is folded and somebody writes, so a thread beside one that never stops
//! writing comes close to the end but never there. The writer folds what is left, which is little, between two transactions.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};

use super::disk::connect;

/// Pages of the log above which it is folded: few, as a disk that is busy with many keeps the next sync of the log waiting.
const PAGES: u32 = 2_048;
/// Pages that must have come since, where a reader kept the log from beginning anew.
const MORE: u32 = 512;
/// Pages that one more turn beside the writer is worth, and how many turns there are at most.
const WORTHWHILE: i64 = 256;
const TURNS: usize = 4;

pub struct Checkpoint {
    /// Pages in the log, as of the last transaction.
    pages: Arc<AtomicU32>,
    /// The least at which folding begins.
    due: u32,
    /// Whether the thread was asked to fold.
    asked: bool,
    /// Whether it has done its part.
    done: Arc<AtomicBool>,
    /// Asks the thread; gone when it is to end.
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoint {
    /// Takes over from SQLite when its log is folded. The database at `path` is one with a log already.
    ///
    /// # Errors
    /// What SQLite says, or that there is no thread.
    pub fn start(writer: &Connection, path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let beside = connect(path)?;
        // A connection that has not read yet does not know of the log.
        beside.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let (pages, done): (Arc<AtomicU32>, Arc<AtomicBool>) = Default::default();
        // SAFETY: the connection is open. The hook's count is given for good: four bytes of a store that was opened.
        unsafe { ffi::sqlite3_wal_hook(writer.handle(), Some(note), Arc::into_raw(pages.clone()).cast_mut().cast()) };
        let (ask, asked) = sync_channel(1);
        let told = done.clone();
        let work = move || fold_beside(&beside, &asked, &told);
        let thread = std::thread::Builder::new().name("monorail-fold".to_owned()).spawn(work)?;
        Ok(Self { pages, due: PAGES, asked: false, done, ask: Some(ask), thread: Some(thread) })
    }

    /// Folds what is to be folded by now. Called by the writer between transactions.
    pub fn go_on(&mut self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if self.asked {
            if !self.done.swap(false, Ordering::Acquire) {
                return;
            }
            // What cannot be folded stays in the log, where nothing is lost, and is tried again when that has grown.
            drop(fold(writer));
            self.asked = false;
            self.due = pages + MORE;
        } else if pages < PAGES {
            // The log was begun anew.
            self.due = PAGES;
        } else if pages >= self.due {
            self.asked = self.ask.as_ref().is_some_and(|ask| ask.try_send(()).is_ok());
        }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            drop(thread.join());
        }
    }
}

/// The body of the thread.
fn fold_beside(connection: &Connection, asked: &Receiver<()>, done: &AtomicBool) {
    while asked.recv().is_ok() {
        let mut reached = 0;
        for _ in 0..TURNS {
            let before = reached;
            reached = fold(connection).unwrap_or(before);
            if reached - before < WORTHWHILE {
                break;
            }
        }
        done.store(true, Ordering::Release);
    }
}

/// Folds the log as it is now, as far as nobody has to be waited for. Gives how long it is, in pages.
fn fold(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}

/// Called by SQLite after each transaction.
unsafe extern "C" fn note(count: *mut c_void, _: *mut ffi::sqlite3, _: *const c_char, pages: c_int) -> c_int {
    // SAFETY: the count that was given with this function, for good.
    let count = unsafe { &*count.cast::<AtomicU32>() };
    count.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes while the log is folded beside it, but no more than some megabytes: the disk may be slow.
    fn write(connection: &Connection, checkpoint: &mut Checkpoint) {
        for _ in 0..20 {
            connection.execute("INSERT INTO t VALUES (randomblob(200000))", []).unwrap();
            checkpoint.go_on(connection);
        }
        while checkpoint.asked && !checkpoint.done.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_log_stays_short_while_somebody_never_stops_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let connection = connect(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a BLOB)").unwrap();
        let mut checkpoint = Checkpoint::start(&connection, &path).unwrap();
        let log = || std::fs::metadata(folder.path().join("a.sqlite-wal")).unwrap().len();
        (0..20).for_each(|_| write(&connection, &mut checkpoint));
        assert!(log() < 20 << 20, "{} of 80 MB are in the log", log());

        // Somebody who reads keeps it, for as long as that takes.
        let reader = connect(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        (0..12).for_each(|_| write(&connection, &mut checkpoint));
        assert!(log() > 40 << 20);
        reader.execute_batch("COMMIT").unwrap();
        while checkpoint.pages.load(Ordering::Relaxed) > PAGES {
            write(&connection, &mut checkpoint);
        }
        drop(checkpoint);
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }
}
