//! SQLite's way to the disk, which writes what a transaction adds to the log in one piece.
//!
//! SQLite writes a page of its log in two calls, the frame's head and the page. The frames of a transaction lie one behind
//! the other, so they are gathered here and written when the log is synced. Nobody misses them until then: other connections
//! learn of a transaction after its sync, which `synchronous=FULL` has SQLite wait for, and whoever reads the log on this
//! connection has it written first. Everything else is the system's own way (<https://www.sqlite.org/vfs.html>).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use rusqlite::{Connection, OpenFlags};

/// The name under which a connection asks for it.
const NAME: &CStr = c"monorail";
/// Bytes that are gathered at most. The system's own way writes less than 128 KiB at a time.
const LIMIT_BYTES: usize = 96 << 10;

/// Opens a database this way to write it, or makes it. Its log is to be synced by every transaction.
///
/// # Errors
/// What SQLite says.
pub fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if register() {
        Connection::open_with_flags_and_vfs(path, flags, NAME)
    } else {
        // The system's own way is only slower.
        Connection::open_with_flags(path, flags)
    }
}

/// Makes this way known to SQLite, once in a process; `false` if that was not possible.
fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: asking for the default way starts SQLite, from any thread. What is found is never freed.
        let Some(system) = (unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_mut() }) else { return false };
        let Ok(larger) = c_int::try_from(size_of::<Log>()) else { return false };
        let ours = sqlite3_vfs {
            iVersion: 1,
            szOsFile: system.szOsFile + larger,
            mxPathname: system.mxPathname,
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: std::ptr::from_mut(system).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(get_last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        // SAFETY: SQLite may keep it for good, as it is never freed.
        unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) == ffi::SQLITE_OK }
    })
}

/// Asks the system's own way, which our `pAppData` is.
macro_rules! forward {
    ($name:ident, $method:ident, ($($argument:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $name(ours: *mut sqlite3_vfs, $($argument: $kind),*) -> c_int {
            // SAFETY: SQLite passes what was registered, whose `pAppData` is a way that is never freed; the arguments are
            // those that it has for that method.
            unsafe {
                let system: *mut sqlite3_vfs = (*ours).pAppData.cast();
                (*system).$method.map_or(ffi::SQLITE_ERROR, |method| method(system, $($argument),*))
            }
        }
    };
}
forward!(delete, xDelete, (name: *const c_char, sync_folder: c_int));
forward!(access, xAccess, (name: *const c_char, flags: c_int, found: *mut c_int));
forward!(full_pathname, xFullPathname, (name: *const c_char, size: c_int, path: *mut c_char));
forward!(randomness, xRandomness, (size: c_int, bytes: *mut c_char));
forward!(sleep, xSleep, (microseconds: c_int));
forward!(current_time, xCurrentTime, (days: *mut f64));
forward!(get_last_error, xGetLastError, (size: c_int, text: *mut c_char));
forward!(open_system, xOpen, (name: ffi::sqlite3_filename, file: *mut sqlite3_file, flags: c_int, opened: *mut c_int));

/// A log that is open. The system's own file lies behind it, in the memory that SQLite has for both.
#[repr(C, align(8))]
struct Log {
    base: sqlite3_file,
    /// A box, from when it is opened until it is closed.
    gathered: *mut Gathered,
}

/// Bytes to be written, and where.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    offset: i64,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    // Of databases only, never of their logs.
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    ours: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    if flags & ffi::SQLITE_OPEN_WAL == 0 {
        // SAFETY: as SQLite called this; the memory is more than the system's own file needs.
        return unsafe { open_system(ours, name, file, flags, opened) };
    }
    let log: *mut Log = file.cast();
    // SAFETY: SQLite gives `szOsFile` bytes, aligned to eight: room for a log and the system's file behind it. Without
    // methods SQLite takes the file for one that was not opened.
    unsafe {
        (*log).base.pMethods = std::ptr::null();
        let done = open_system(ours, name, system_file(file), flags, opened);
        if done == ffi::SQLITE_OK {
            (*log).gathered = Box::into_raw(Box::default());
            (*log).base.pMethods = &METHODS;
        }
        done
    }
}

/// The system's own file of a log.
///
/// # Safety
/// `file` is a log's memory, as SQLite gave it to [`open`].
unsafe fn system_file(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: the memory goes on behind the log.
    unsafe { file.cast::<Log>().add(1).cast() }
}

/// Asks the system's own file of a log.
macro_rules! ask {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite passes what `open` has opened, with the arguments that it has for that method; the system's own
        // file was opened with it and has methods.
        unsafe {
            let system = system_file($file);
            (*(*system).pMethods).$method.map_or(ffi::SQLITE_IOERR, |method| method(system $(, $argument)*))
        }
    }};
}

/// Writes what was gathered. What cannot be written is kept, so that no later sync succeeds without it; once SQLite has undone
/// the transaction that it is of, the next one is written over it.
fn flush(file: *mut sqlite3_file, gathered: &mut Gathered) -> c_int {
    if gathered.bytes.is_empty() {
        return ffi::SQLITE_OK;
    }
    let Ok(size) = c_int::try_from(gathered.bytes.len()) else { return ffi::SQLITE_IOERR };
    let done = ask!(file, xWrite, gathered.bytes.as_ptr().cast(), size, gathered.offset);
    if done == ffi::SQLITE_OK {
        gathered.bytes.clear();
    }
    done
}

/// What was gathered for a log.
///
/// # Safety
/// `file` is a log that is open, and used by no other thread meanwhile: SQLite uses a connection's files from one at a time.
unsafe fn gathered<'a>(file: *mut sqlite3_file) -> &'a mut Gathered {
    // SAFETY: the box is there until the log is closed.
    unsafe { &mut *(*file.cast::<Log>()).gathered }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, bytes: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: an open log.
    let gathered = unsafe { gathered(file) };
    let Ok(length) = usize::try_from(size) else { return ffi::SQLITE_IOERR };
    let follows = gathered.offset.checked_add_unsigned(gathered.bytes.len() as u64) == Some(offset);
    if !follows || gathered.bytes.len() + length > LIMIT_BYTES {
        let done = flush(file, gathered);
        if done != ffi::SQLITE_OK {
            return done;
        }
        gathered.offset = offset;
    }
    // SAFETY: SQLite passes so many bytes to be written.
    gathered.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast(), length) });
    ffi::SQLITE_OK
}

/// Writes what was gathered, and asks the system's own file then.
macro_rules! flushed {
    ($name:ident, $method:ident, ($($argument:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) -> c_int {
            // SAFETY: an open log.
            let gathered = unsafe { gathered(file) };
            match flush(file, gathered) {
                ffi::SQLITE_OK => ask!(file, $method $(, $argument)*),
                failed => failed,
            }
        }
    };
}
flushed!(read, xRead, (bytes: *mut c_void, size: c_int, offset: i64));
flushed!(truncate, xTruncate, (size: i64));
flushed!(sync, xSync, (flags: c_int));
flushed!(file_size, xFileSize, (size: *mut i64));
flushed!(lock, xLock, (level: c_int));
flushed!(unlock, xUnlock, (level: c_int));
flushed!(check_reserved_lock, xCheckReservedLock, (found: *mut c_int));
flushed!(file_control, xFileControl, (what: c_int, value: *mut c_void));

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: an open log, whose box nobody uses from here on: SQLite closes a file once.
    let mut gathered = unsafe { Box::from_raw((*file.cast::<Log>()).gathered) };
    let written = flush(file, &mut gathered);
    let closed = ask!(file, xClose);
    if written == ffi::SQLITE_OK { closed } else { written }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    ask!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    ask!(file, xDeviceCharacteristics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path) -> Connection {
        assert!(register());
        let connection = connect(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").unwrap();
        connection
    }

    fn add(connection: &Connection, rows: i64) {
        let mut add = connection.prepare_cached("INSERT INTO t (a) VALUES (randomblob(3000))").unwrap();
        (0..rows).for_each(|_| assert_eq!(add.execute([]).unwrap(), 1));
    }

    fn count(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t WHERE length(a) = 3000", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn others_see_a_transaction_whole_and_a_rolled_back_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let connection = database(&path);
        // Less memory than a transaction needs: pages go to the log, and come back from it, before its end.
        connection.execute_batch("PRAGMA cache_size = 20; CREATE TABLE t (a BLOB)").unwrap();
        let other = Connection::open(&path).unwrap();
        for round in 1..=3 {
            connection.execute_batch("BEGIN").unwrap();
            add(&connection, 200);
            assert_eq!((count(&connection), count(&other)), (200 * round, 200 * (round - 1)));
            connection.execute_batch("ROLLBACK; BEGIN").unwrap();
            add(&connection, 200);
            connection.execute_batch("COMMIT").unwrap();
            assert_eq!((count(&connection), count(&other)), (200 * round, 200 * round));
        }
        // What lies on the disk is all that a process leaves that dies here.
        let copy = tempfile::tempdir().unwrap();
        for name in ["a.sqlite", "a.sqlite-wal"] {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let survivor = Connection::open(copy.path().join("a.sqlite")).unwrap();
        let sound: String = survivor.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((sound.as_str(), count(&survivor)), ("ok", 600));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_transaction_is_written_in_few_calls() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder.path().join("a.sqlite"));
        connection.execute_batch("CREATE TABLE t (a BLOB); BEGIN").unwrap();
        add(&connection, 20);
        let calls = || {
            let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
            io.lines().find_map(|line| line.strip_prefix("syscw: ")?.parse::<u64>().ok()).unwrap()
        };
        let before = calls();
        connection.execute_batch("COMMIT").unwrap();
        assert!(calls() - before <= 3, "{} calls", calls() - before);
    }
}
