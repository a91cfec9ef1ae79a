//! The folder a worker finds its files in: private, made anew for each loaded model, removed with it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::error::{Code, Error, Result};

/// What names of these folders start with.
const PREFIX: &str = "monorail-worker-";
/// A folder younger than this may not be locked yet by who is making it.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that only this user may enter, with what a worker reads. It is removed when it is dropped.
#[derive(Debug)]
pub struct WorkerFolder {
    root: PathBuf,
    /// Locked for as long as the folder is used, so that what a killed process left can be told and removed.
    _lock: File,
}

impl WorkerFolder {
    /// Makes a folder in `scratch`, or in the system's folder for temporary files, and removes those there that
    /// no living process uses.
    ///
    /// # Errors
    /// `setting_invalid` where others could put a folder of theirs in its place; `internal` where none can be made.
    pub(super) fn new(scratch: Option<&Path>) -> Result<Self> {
        let scratch = scratch.map_or_else(default_scratch, Path::to_path_buf);
        // The process that gets its path runs in another folder than this one.
        let scratch = std::path::absolute(&scratch).unwrap_or(scratch);
        if scratch.is_dir() && !is_safe(&scratch) {
            return Err(Error::new(
                Code::SettingInvalid,
                format!("no folder for a worker is made in {}: others may rename what is there", scratch.display()),
            )
            .hint("point TMPDIR at a folder that is yours, or set the sticky bit of this one (chmod +t)"));
        }
        sweep(&scratch);
        Self::make(&scratch).map_err(|e| {
            Error::new(Code::Internal, format!("no folder for a worker can be made in {}: {e}", scratch.display()))
                .hint("point TMPDIR at a folder with room that you may write to")
        })
    }

    fn make(scratch: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = scratch.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&root) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(()) => {
                    let lock = open_folder(&root)?;
                    try_lock(&lock);
                    let folder = Self { root, _lock: lock };
                    DirBuilder::new().mode(0o700).create(folder.files())?;
                    return Ok(folder);
                }
            }
        }
    }

    /// What tells the process what to load.
    pub fn program(&self) -> PathBuf {
        self.root.join("program.json")
    }

    /// The folder of the model's own files.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// A new file at a checked relative path among the model's own.
    pub(super) fn create(&self, path: &str) -> io::Result<File> {
        let path = self.files().join(path);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        create(&path)
    }

    /// The new file of the program.
    pub(super) fn create_program(&self) -> io::Result<File> {
        create(&self.program())
    }
}

impl Drop for WorkerFolder {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by the next one made there.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The system's folder for temporary files, or one of our own cache where others could rename what is in that.
fn default_scratch() -> PathBuf {
    let temporary = std::env::temp_dir();
    if is_safe(&temporary) || !temporary.is_dir() {
        return temporary;
    }
    let named = std::env::var_os("MONORAIL_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
    let Some(cache) = named.or_else(|| std::env::home_dir().map(|home| home.join(".cache/monorail"))) else {
        return temporary;
    };
    let own = cache.join("workers");
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(&own);
    if is_safe(&own) { own } else { temporary }
}

/// Whether only this user and root can rename what is in a folder.
fn is_safe(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|m| {
        let is_ours = m.uid() == user() || m.uid() == 0;
        m.is_dir() && is_ours && (m.mode() & 0o022 == 0 || m.mode() & 0o1000 != 0)
    })
}

fn user() -> u32 {
    // SAFETY: `geteuid` takes nothing, cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
}

/// Whether the lock of an open folder could be had at once; it is kept until the file is dropped.
pub(crate) fn try_lock(file: &File) -> bool {
    // SAFETY: `flock` takes a descriptor, which is open for as long as `file` is borrowed, and touches no memory.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Removes folders of ours that no living process has locked.
fn sweep(scratch: &Path) {
    let Ok(entries) = fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let Ok(folder) = open_folder(&entry.path()) else { continue };
        let is_old = |changed: SystemTime| changed.elapsed().is_ok_and(|age| age > YOUNG);
        let is_left = folder.metadata().is_ok_and(|m| m.uid() == user() && m.modified().is_ok_and(is_old));
        if is_left && try_lock(&folder) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn it_is_private_and_removed_when_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = WorkerFolder::new(Some(scratch.path())).unwrap();
        let other = WorkerFolder::new(Some(scratch.path())).unwrap();
        folder.create("a/b/c").unwrap().write_all(b"x").unwrap();
        folder.create_program().unwrap();
        assert_eq!(mode(&folder.root), 0o700);
        assert_eq!(mode(&folder.files().join("a/b")), 0o700);
        assert_eq!(mode(&folder.files().join("a/b/c")), 0o600);
        assert_eq!(folder.create("a/b/c").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!other.files().join("a").exists());
        drop(folder);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        drop(other);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn it_is_not_made_where_others_could_replace_it() {
        let scratch = tempfile::tempdir().unwrap();
        for (mode, safe) in
            [(0o700, true), (0o755, true), (0o1777, true), (0o777, false), (0o770, false), (0o702, false)]
        {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_safe(scratch.path()), safe, "{mode:o}");
            let made = WorkerFolder::new(Some(scratch.path())).map(|_| ()).map_err(|e| e.code());
            assert_eq!(made, if safe { Ok(()) } else { Err(Code::SettingInvalid) }, "{mode:o}");
        }
        assert!(!is_safe(&scratch.path().join("missing")));
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let living = WorkerFolder::new(Some(scratch.path())).unwrap();
        let (left, young) = (scratch.path().join(format!("{PREFIX}1-0")), scratch.path().join(format!("{PREFIX}1-1")));
        for path in [&left, &young] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("weights"), b"x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * YOUNG;
        for path in [&left, &living.root] {
            open_folder(path).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(scratch.path());
        assert!(!left.exists());
        assert!(young.exists() && living.files().exists());
    }
}
