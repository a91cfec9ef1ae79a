//! Files that are there whole or not at all, also after a crash and between processes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Code, Error};

/// `registry_unusable` for a failed call on `path`.
pub fn unusable<'a>(verb: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |e| Error::new(Code::RegistryUnusable, format!("cannot {verb} {}: {e}", path.display()))
}

/// Makes a folder that only this user may enter, unless it is there.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a folder; whether it was made, rather than there already.
pub fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes what was written to a folder's list of names survive a crash.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a file that must not be there yet. Nobody sees a part of it.
pub fn create_exclusively(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, bytes)?;
    let linked = match fs::hard_link(&temporary, path) {
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            // A file system without hard links: still exclusive, no longer whole after a crash, which
            // a reader sees as a truncated file.
            write_new(path, bytes)
        }
        done => done,
    };
    fs::remove_file(&temporary)?;
    linked?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Writes a file, replacing the one that is there. Everybody sees the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, bytes)?;
    if let Err(e) = fs::rename(&temporary, path) {
        fs::remove_file(&temporary)?;
        return Err(e);
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// A file beside `path`, written and synced, whose name no model, alias or file of a bundle can have.
fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".new-{}-{number}", std::process::id()));
        match write_new(&temporary, bytes) {
            // Left behind by a process that had our number.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            done => return done.map(|()| temporary),
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A lock between processes, held until it is dropped.
pub struct Lock {
    _file: File,
}

/// Waits for the lock that is the file `path`.
pub fn lock(path: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    loop {
        // SAFETY: `flock` takes a descriptor and a number and touches no memory of ours; the descriptor
        // is open for as long as `file` lives, which is longer than the call.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0 {
            return Ok(Lock { _file: file });
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
