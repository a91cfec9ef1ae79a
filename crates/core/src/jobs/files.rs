//! Large bodies and results: Arrow and JSON files beside the store, by reference.
//!
//! A body is written under another name, forced to the disk and renamed before its job is kept, so what the store refers to is
//! there. Files that it does not refer to are what a crash has left: they are removed when the store is opened.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Code, Error, Result};

use super::ids;
use super::room::{SPARE_BYTES, free_bytes};
use super::store::failed;

/// Bodies over so many bytes are kept as files.
pub const SPOOL_BYTES: usize = 1 << 20;
/// What the store knows of its files: `body` is false once the body is gone, `result_bytes` is set once there is a result.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS files (
    place INTEGER PRIMARY KEY, name TEXT NOT NULL, body INTEGER NOT NULL DEFAULT 1, result_bytes INTEGER)";

/// The files of a store, and the room that they take.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    limit_bytes: u64,
    /// Bytes of all files, what is promised to those that are being written included.
    held_bytes: AtomicU64,
    /// Bytes of the store itself, as it last said.
    store_bytes: AtomicU64,
}

impl Files {
    /// The files of the store in a folder; those that nobody refers to are removed.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn open(store: &Path, connection: &Connection, limit_bytes: u64) -> Result<Self> {
        let folder = store.join("files");
        let unusable = |e: &std::io::Error| io_failed(&folder, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| unusable(&e))?;
        // It is to be there after a loss of power.
        for path in [folder.as_path(), store] {
            File::open(path).and_then(|opened| opened.sync_all()).map_err(|e| unusable(&e))?;
        }
        connection.execute_batch(TABLE).map_err(failed)?;
        let mut known = connection.prepare("SELECT name, body, result_bytes IS NOT NULL FROM files").map_err(failed)?;
        let known: HashMap<String, (bool, bool)> = known
            .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))
            .and_then(Iterator::collect)
            .map_err(failed)?;
        let mut held = 0;
        for entry in fs::read_dir(&folder).map_err(|e| unusable(&e))? {
            let entry = entry.map_err(|e| unusable(&e))?;
            let name = entry.file_name();
            let wanted = name.to_str().and_then(|name| name.rsplit_once('.')).is_some_and(|(name, kind)| {
                known.get(name).is_some_and(|(body, result)| match kind {
                    "body" => *body,
                    "result" => *result,
                    _ => false,
                })
            });
            if wanted {
                held += entry.metadata().map_err(|e| unusable(&e))?.len();
            } else {
                fs::remove_file(entry.path()).map_err(|e| unusable(&e))?;
            }
        }
        Ok(Self { folder, limit_bytes, held_bytes: AtomicU64::new(held), store_bytes: AtomicU64::new(0) })
    }

    /// Notes how large the store itself is, and gives what it takes together with its files.
    pub fn note_store(&self, bytes: u64) -> u64 {
        self.store_bytes.store(bytes, Ordering::Relaxed);
        bytes.saturating_add(self.held_bytes.load(Ordering::Relaxed))
    }

    /// Takes room for so many bytes, before they are written.
    ///
    /// # Errors
    /// `job_store_full`.
    fn reserve(&self, bytes: u64) -> Result<()> {
        let files = self.held_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let used = files.saturating_add(self.store_bytes.load(Ordering::Relaxed));
        let free = free_bytes(&self.folder).unwrap_or(u64::MAX);
        if used < self.limit_bytes && free >= SPARE_BYTES.saturating_add(bytes) {
            return Ok(());
        }
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let why = if used >= self.limit_bytes {
            format!("the job store may hold {} bytes, and {bytes} more are too many", self.limit_bytes)
        } else {
            format!("the job store's disk has {free} bytes left, and {bytes} more are too many")
        };
        Err(Error::new(Code::JobStoreFull, why)
            .hint("wait until jobs have ended and are removed, send less, or raise limit_jobs_bytes"))
    }

    /// Whether the disk has room for so many bytes of a result, which are then counted.
    pub fn make_room(&self, bytes: u64) -> bool {
        let fits = free_bytes(&self.folder).is_none_or(|free| free >= SPARE_BYTES.saturating_add(bytes));
        if fits {
            self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back the room for what could not be written.
    pub fn give_room(&self, bytes: u64) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Where a body is.
    pub fn body(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.body"))
    }

    /// Where a result is.
    pub fn result(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.result"))
    }

    /// Begins the file of a body, with room for so many bytes.
    ///
    /// # Errors
    /// `job_store_full`, `job_store_failed`.
    pub fn begin(self: &Arc<Self>, bytes: u64) -> Result<(Spooled, File)> {
        self.reserve(bytes)?;
        let mut spooled = Spooled { files: self.clone(), name: String::new(), bytes, is_kept: false };
        spooled.name = ids::random().map_err(|e| io_failed(&self.folder, &e))?;
        let path = spooled.coming();
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        Ok((spooled, file.map_err(|e| io_failed(&path, &e))?))
    }

    /// Forces the folder's entries to the disk.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn sync(&self) -> Result<()> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|e| io_failed(&self.folder, &e))
    }

    /// Removes files that nobody refers to any more, beside whoever asks: it takes a while.
    pub fn remove(self: &Arc<Self>, gone: Vec<PathBuf>) {
        if gone.is_empty() {
            return;
        }
        let files = self.clone();
        let remove = move || gone.iter().for_each(|path| files.remove_now(path));
        // Without a thread they stay until the store is opened again.
        drop(std::thread::Builder::new().name("monorail-files".to_owned()).spawn(remove));
    }

    /// Removes one file, if it is there.
    pub fn remove_now(&self, path: &Path) {
        let bytes = fs::metadata(path).map_or(0, |found| found.len());
        // One that cannot be removed goes when the store is opened again, and is counted until then.
        if fs::remove_file(path).is_ok() {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What is no longer needed, forgotten in this transaction: bodies that were answered, and all of jobs that are gone.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn sweep(&self, connection: &Connection) -> Result<Vec<PathBuf>> {
        let names = |statement: &str| -> Result<Vec<String>> {
            let mut found = connection.prepare_cached(statement).map_err(failed)?;
            found.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)
        };
        let gone = names(
            "DELETE FROM files WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.place = files.place) RETURNING name",
        )?;
        let answered = names("UPDATE files SET body = 0 WHERE body = 1 AND result_bytes IS NOT NULL RETURNING name")?;
        let mut paths: Vec<_> = gone.iter().flat_map(|name| [self.body(name), self.result(name)]).collect();
        paths.extend(answered.iter().map(|name| self.body(name)));
        Ok(paths)
    }
}

/// The file of a body whose job is not kept yet; removed when it is dropped before that.
#[derive(Debug)]
pub struct Spooled {
    files: Arc<Files>,
    name: String,
    /// Bytes that are reserved for it.
    bytes: u64,
    is_kept: bool,
}

impl Spooled {
    fn coming(&self) -> PathBuf {
        self.files.folder.join(format!("{}.coming", self.name))
    }

    /// Takes room for more.
    ///
    /// # Errors
    /// `job_store_full`.
    pub fn reserve(&mut self, bytes: u64) -> Result<()> {
        self.files.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The error of writing it.
    pub fn failed(&self, error: &std::io::Error) -> Error {
        io_failed(&self.coming(), error)
    }

    /// Bytes that there is room for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The body is whole: forces it to the disk, under its name.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn settle(&self, file: &File) -> Result<()> {
        let (from, to) = (self.coming(), self.files.body(&self.name));
        file.sync_all().and_then(|()| fs::rename(&from, &to)).map_err(|e| io_failed(&from, &e))?;
        self.files.sync()
    }

    /// Has a job refer to it, in the transaction that keeps the job; gives its name.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn note(&self, connection: &Connection, place: i64) -> Result<String> {
        let statement = "INSERT INTO files (place, name) VALUES (?1, ?2)";
        let mut note = connection.prepare_cached(statement).map_err(failed)?;
        note.execute(params![place, self.name]).map_err(failed)?;
        Ok(self.name.clone())
    }

    /// The job that refers to it is on the disk.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if !self.is_kept {
            // One of them is there, or none.
            drop(fs::remove_file(self.coming()));
            drop(fs::remove_file(self.files.body(&self.name)));
            self.files.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The name of a job's files, if it has some.
///
/// # Errors
/// `job_store_failed`.
pub fn name_of(connection: &Connection, place: i64) -> Result<Option<String>> {
    let mut find = connection.prepare_cached("SELECT name FROM files WHERE place = ?1").map_err(failed)?;
    find.query_row([place], |row| row.get(0)).optional().map_err(failed)
}

/// Notes that a job's result is whole, and on the disk.
///
/// # Errors
/// `job_store_failed`.
pub fn note_result(connection: &Connection, place: i64, bytes: u64) -> Result<()> {
    let mut note = connection.prepare_cached("UPDATE files SET result_bytes = ?2 WHERE place = ?1").map_err(failed)?;
    note.execute(params![place, bytes]).map(drop).map_err(failed)
}

/// The error of a file that cannot be read or written.
pub fn io_failed(path: &Path, error: &std::io::Error) -> Error {
    let is_full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let code = if is_full { Code::JobStoreFull } else { Code::JobStoreFailed };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Error::new(code, format!("the file {name} of the job store cannot be read or written: {error}"))
        .hint("look at its disk")
}
