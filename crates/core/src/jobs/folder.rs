//! The folder of a store: there after a loss of power, one server's alone, and with no other program's database in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rusqlite::Connection;

use crate::bundle::folder::try_lock;

/// Makes the folder if it is not there, and has it until what this gives is dropped.
pub fn own(folder: &Path) -> Result<File> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    // Its rows are nobody else's to read.
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // The store has its own names synced, but not the folder's. A server that was killed here may have made it already.
    for path in missing.into_iter().skip(1).chain([folder]) {
        match path.parent().map(File::open) {
            Some(Ok(parent)) => parent.sync_all()?,
            // What may not be read cannot be synced, and may be used all the same.
            Some(Err(error)) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    if try_lock(&lock) { Ok(lock) } else { Err(Error::other("another server has it")) }
}

/// What is wrong with a database that is not empty and no store of this form. Writes nothing.
pub fn stranger(connection: &Connection, form: i64) -> rusqlite::Result<Option<String>> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let count = |which: &str| -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT count(*) FROM sqlite_schema WHERE {which}"), [], |row| row.get(0))
    };
    let is_empty = found == 0 && count("true")? == 0;
    let is_ours = found == form && count("name = 'jobs'")? == 1;
    Ok(match found {
        _ if is_empty || is_ours => None,
        _ if found != 0 && count("name = 'jobs'")? == 1 => {
            Some(format!("jobs.sqlite has form {found}, and this version of Monorail reads form {form}"))
        }
        _ => Some("jobs.sqlite is another program's database".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_owners() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("a/b/c");
        let lock = own(&folder).unwrap();
        assert!(folder.is_dir());
        assert!(own(&folder).is_err());
        drop(lock);
        own(&folder).unwrap();
    }

    #[test]
    fn only_an_empty_database_or_a_store_of_this_form_is_no_stranger() {
        for (statements, told) in [
            ("", None),
            ("CREATE TABLE jobs (a); PRAGMA user_version = 3;", None),
            ("CREATE TABLE jobs (a); PRAGMA user_version = 2;", Some("form 2")),
            ("CREATE TABLE jobs (a); PRAGMA user_version = 1;", Some("form 1")),
            ("CREATE TABLE jobs (a);", Some("another program")),
            ("CREATE TABLE a (a);", Some("another program")),
            ("CREATE TABLE a (a); PRAGMA user_version = 3;", Some("another program")),
            ("PRAGMA user_version = 3;", Some("another program")),
        ] {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(statements).unwrap();
            let found = stranger(&connection, 3).unwrap();
            assert_eq!(found.is_some(), told.is_some(), "{statements}: {found:?}");
            assert!(found.unwrap_or_default().contains(told.unwrap_or_default()), "{statements}");
        }
    }
}
