//! Whether there is room for more jobs, in the store and on its disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Code, Error, Result};

use super::files::Files;
use super::store::failed;

/// Room that a store leaves on its disk, in bytes.
pub const SPARE_BYTES: u64 = 64 << 20;
/// How long what was found is relied upon, as far as it goes.
const FRESH: Duration = Duration::from_millis(100);

pub struct Room {
    folder: PathBuf,
    files: Arc<Files>,
    limit_bytes: u64,
    /// What there was when it was looked at, less what was taken since.
    left: u64,
    looked: Option<Instant>,
}

impl Room {
    pub fn new(folder: &Path, files: Arc<Files>, limit_bytes: u64) -> Self {
        Self { folder: folder.to_owned(), files, limit_bytes, left: 0, looked: None }
    }

    /// Notes that as many bytes are used now.
    pub fn take(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Whether there is room.
    ///
    /// # Errors
    /// `job_store_full`, `job_store_failed`.
    pub fn check(&mut self, connection: &Connection) -> Result<()> {
        if self.left > 0 && self.looked.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let used = self.files.note_store(used_bytes(connection).map_err(failed)?);
        let free = free_bytes(&self.folder).unwrap_or(u64::MAX);
        self.left = self.limit_bytes.saturating_sub(used).min(free.saturating_sub(SPARE_BYTES));
        self.looked = Some(Instant::now());
        if self.left > 0 {
            return Ok(());
        }
        let message = if used >= self.limit_bytes {
            format!("the job store holds {used} bytes, of {} that it may", self.limit_bytes)
        } else {
            format!("the job store's disk has {free} bytes left")
        };
        Err(Error::new(Code::JobStoreFull, message)
            .hint("wait until jobs have ended and are removed, or raise limit_jobs_bytes"))
    }
}

/// Bytes of the store's file that are in use.
pub fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let statement = "SELECT (page_count - freelist_count) * page_size
                     FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    connection.prepare_cached(statement)?.query_row([], |row| row.get(0))
}

/// What the disk of a folder has left.
pub fn free_bytes(folder: &Path) -> Option<u64> {
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
