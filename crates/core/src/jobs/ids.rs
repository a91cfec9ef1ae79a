//! Ids of jobs: one that the caller has chosen, or the store's own, which tells the job's place and needs no index.

use rusqlite::{Connection, OptionalExtension};

use crate::error::{Code, Error, Result};

use super::store::failed;

/// Longest id, in bytes.
const LIMIT_BYTES: usize = 128;
/// Digits of a place in an id.
const PLACE_DIGITS: usize = 16;

/// The id of a row of `jobs`, in a statement: no column, as SQLite would work it out for each row it writes.
macro_rules! id {
    () => {
        "coalesce(chosen, printf('%016x', place) || (SELECT mark FROM store))"
    };
}
pub(super) use id;

/// How a store makes its ids: a job's place and the store's mark, both as hexadecimal digits. Later ones are greater.
#[derive(Clone, Debug)]
pub struct Ids {
    mark: String,
}

impl Ids {
    /// Those of a store that is there.
    pub fn open(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row("SELECT mark FROM store", [], |row| Ok(Self { mark: row.get(0)? }))
    }

    /// The id of a job whose caller has chosen none.
    pub fn make(&self, place: i64) -> String {
        format!("{place:0PLACE_DIGITS$x}{}", self.mark)
    }

    /// The place that an id of this store's own tells.
    pub fn place(&self, id: &str) -> Option<i64> {
        let digits = id.strip_suffix(&self.mark).filter(|digits| digits.len() == PLACE_DIGITS)?;
        let place = i64::from_str_radix(digits, 16).ok()?;
        (self.make(place) == id).then_some(place)
    }

    /// Where a job is that has this id, if there is one: the id of what is found there is to be compared.
    ///
    /// # Errors
    /// `job_store_failed`.
    pub fn find(&self, connection: &Connection, id: &str) -> Result<Option<i64>> {
        if let Some(place) = self.place(id) {
            return Ok(Some(place));
        }
        let find = connection.prepare_cached("SELECT place FROM jobs WHERE chosen = ?1");
        find.and_then(|mut find| find.query_row([id], |row| row.get(0)).optional()).map_err(failed)
    }
}

/// Checks an id that a caller chose.
///
/// # Errors
/// `malformed_request`.
pub fn check(id: &str) -> Result<()> {
    let bytes = id.as_bytes();
    let fits = (1..=LIMIT_BYTES).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Error::new(Code::MalformedRequest, "the job's id is of a form that is not allowed")
        .hint("letters, digits, dots, underlines and dashes, a letter or digit first, 128 at most"))
}

/// What nobody else has: 32 hexadecimal digits.
///
/// # Errors
/// What the system says that gives no random bytes.
pub fn random() -> std::io::Result<String> {
    let mut random = [0_u8; 16];
    // SAFETY: the pointer and the length are those of one array, which the call fills.
    let filled = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    if usize::try_from(filled) != Ok(random.len()) {
        return Err(std::io::Error::last_os_error());
    }
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_id_tells_its_place_and_no_other_does() {
        let ids = Ids { mark: "0123456789abcdef".to_owned() };
        for place in [0, 1, 4_096, i64::MAX] {
            assert_eq!(ids.place(&ids.make(place)), Some(place));
        }
        assert!(ids.make(15) < ids.make(16));
        let id = ids.make(10);
        let others =
            [id.to_uppercase(), format!("0{id}"), id.replace("00a0", "0+a0"), id[1..].to_owned(), String::new()];
        for other in others {
            assert_eq!(ids.place(&other), None, "{other}");
        }
        assert_eq!(Ids { mark: random().unwrap() }.place(&id), None);
    }
}
