//! What is wrong with a request's values: up to 100 places, each with its path in the payload.

use std::borrow::Cow;
use std::fmt::Write;

use crate::error::{Code, Detail, Error, MAX_DETAILS};

/// How the payload spells the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// One JSON object: `$.column`.
    Record,
    /// A JSON array of objects: `$[row].column`.
    Rows,
    /// An object whose only key is `rows`: `$.rows[row].column`.
    RowsKey,
    /// An object whose only key is `columns`: `$.columns.column[row]`.
    Columns,
    /// An Arrow table: `column[row]`.
    Arrow,
}

/// Faults found so far in one request.
#[derive(Debug)]
pub struct Faults {
    pub road: Road,
    /// The row of the request that is the first one here.
    pub first_row: usize,
    found: Vec<Detail>,
    total: usize,
}

impl Faults {
    /// None yet.
    pub fn new(road: Road) -> Self {
        Self { road, first_row: 0, found: Vec::new(), total: 0 }
    }

    /// Notes one fault; places over [`MAX_DETAILS`] are only counted.
    #[cold]
    pub fn add(
        &mut self,
        code: Code,
        row: Option<usize>,
        column: Option<&str>,
        expected: impl Into<Cow<'static, str>>,
        got: impl Into<Cow<'static, str>>,
    ) {
        self.total += 1;
        if self.found.len() < MAX_DETAILS {
            let row = row.map(|row| self.first_row.saturating_add(row));
            self.found.push(Detail {
                code,
                row,
                column: column.map(str::to_owned),
                path: Some(path(self.road, row, column)),
                expected: expected.into(),
                got: got.into(),
            });
        }
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether enough were found to stop reading.
    pub fn is_full(&self) -> bool {
        self.total >= MAX_DETAILS
    }

    /// The error that lists them, or `Ok` if there is none.
    ///
    /// # Errors
    /// With the first fault's code.
    pub fn into_result(self) -> Result<(), Error> {
        let Some(first) = self.found.first() else { return Ok(()) };
        let place = first.path.clone().unwrap_or_default();
        let (expected, got) = (&first.expected, &first.got);
        let mut message = match first.code {
            Code::MissingColumn => format!("{place} is missing"),
            Code::UnknownColumn => format!("{place} is not a column of this model"),
            Code::DuplicateColumn => format!("{place} is given twice"),
            Code::NullNotAllowed => format!("{place} is null, and the column is not nullable"),
            _ => format!("{place} should be {expected}, not {got}"),
        };
        if self.total > 1 {
            let more = self.total - 1;
            let _ = write!(message, ", and {more} more {}", if more == 1 { "fault" } else { "faults" });
        }
        let hint = match first.code {
            Code::MissingColumn => "give every column that is not nullable; `GET /models/{name}` lists them",
            Code::UnknownColumn => "leave it out, check its spelling, or serve with unknown_columns = \"ignore\"",
            Code::DuplicateColumn => "give each column once",
            Code::NullNotAllowed => {
                "fill the value, or save the model with nullable=[...] or an example that holds a null"
            }
            Code::OutOfRange => "send a number the column's type holds exactly",
            Code::NotFinite => "send a finite number, or null if the column is nullable",
            Code::WrongFormat => "dates are ISO 8601 strings; a zone goes exactly where the signature has one",
            Code::WrongShape => "see the signature at `GET /models/{name}`",
            _ => "only conversions that lose nothing are made; see the signature at `GET /models/{name}`",
        };
        Err(Error::new(first.code, message).hint(hint).details(self.found))
    }
}

/// Where a value stands in the payload.
fn path(road: Road, row: Option<usize>, column: Option<&str>) -> String {
    let mut path = String::new();
    let index = |path: &mut String| {
        if let Some(row) = row {
            let _ = write!(path, "[{row}]");
        }
    };
    match road {
        Road::Record | Road::Columns => path.push('$'),
        Road::Rows => {
            path.push('$');
            index(&mut path);
        }
        Road::RowsKey => {
            path.push_str("$.rows");
            index(&mut path);
        }
        Road::Arrow => {}
    }
    if road == Road::Columns {
        path.push_str(".columns");
    }
    if let Some(name) = column {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        match (plain, road) {
            (_, Road::Arrow) => path.push_str(name),
            (true, _) => {
                path.push('.');
                path.push_str(name);
            }
            (false, _) => {
                let _ = write!(path, "[{}]", serde_json::Value::from(name));
            }
        }
    }
    if matches!(road, Road::Columns | Road::Arrow) {
        index(&mut path);
    }
    path
}

/// At most 60 characters of something found in the input, for a message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_point_into_the_payload() {
        assert_eq!(path(Road::Record, Some(0), Some("dep")), "$.dep");
        assert_eq!(path(Road::Rows, Some(3), Some("dep")), "$[3].dep");
        assert_eq!(path(Road::RowsKey, Some(3), Some("a b")), "$.rows[3][\"a b\"]");
        assert_eq!(path(Road::Columns, Some(3), Some("dep")), "$.columns.dep[3]");
        assert_eq!(path(Road::Columns, None, Some("dep")), "$.columns.dep");
        assert_eq!(path(Road::Arrow, Some(3), Some("dep")), "dep[3]");
        assert_eq!(path(Road::Rows, Some(3), None), "$[3]");
    }
}
