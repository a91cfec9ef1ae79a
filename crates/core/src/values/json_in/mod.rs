//! JSON straight into column buffers: rows, columns or one record, told apart by their own form.
//!
//! Nothing is built on the way: a value goes from its bytes through the [`Sink`]'s rules into the buffer.
//! The expected column order makes the common case one comparison a key.

use crate::error::{Code, Result};

use super::buffer::RowBuffer;
use super::faults::{Road, shortened};
use super::plan::{Plan, UnknownColumns};
use super::sink::{Number, Sink};

mod cursor;

pub use cursor::LIMIT_DEPTH;
use cursor::{Cursor, Stop, malformed};

/// The form a request had, which its answer takes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows, or one record.
    Rows,
    /// Columns.
    Columns,
}

/// Reads JSON bodies; kept from request to request for its memory.
#[derive(Debug, Default)]
pub struct JsonReader {
    /// Per column, the number of the row (or request) that named it last.
    stamps: Vec<u64>,
    stamp: u64,
    scratch: String,
}

impl JsonReader {
    /// Reads one body behind the rows already in `buffer`.
    ///
    /// Gives the number of rows and the form. On an error the buffer is as before.
    ///
    /// # Errors
    /// `malformed_json`, `too_deep`, `too_many_rows`, or the faults of its values.
    pub fn read(
        &mut self,
        body: &[u8],
        plan: &Plan,
        buffer: &mut RowBuffer,
        limit_rows: usize,
    ) -> Result<(usize, Form)> {
        let text = std::str::from_utf8(body)
            .map_err(|e| malformed(format!("the body is not UTF-8: byte {} is wrong", e.valid_up_to())))?;
        self.stamps.clear();
        self.stamps.resize(plan.columns.len(), 0);
        self.stamp = 0;
        let mut cursor = Cursor::new(text);
        cursor.blank();
        let whole = cursor.at();
        let (road, form) = match cursor.peek() {
            Some(b'[') => (Road::Rows, Form::Rows),
            Some(b'{') => match cursor.wrapper(|name| plan.column(name).is_some()) {
                Some(b'[') => (Road::RowsKey, Form::Rows),
                Some(_) => (Road::Columns, Form::Columns),
                None => (Road::Record, Form::Rows),
            },
            None => {
                return Err(
                    malformed("the body is empty").hint("send a JSON object or array, for example with curl --json")
                );
            }
            Some(_) => {
                return Err(malformed(format!("the body should be an object or an array, not {}", cursor.found()))
                    .hint("send an array of rows, {\"columns\": {...}} or one record"));
            }
        };
        match self.form(&mut cursor, Sink::new(plan, buffer, road, limit_rows)) {
            Ok(Some(rows)) => Ok((rows, form)),
            Ok(None) => {
                cursor.back_to(whole);
                self.form(&mut cursor, Sink::new(plan, buffer, Road::Record, limit_rows))
                    .map(|rows| (rows.unwrap_or(0), Form::Rows))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a body of one form; `None` if it turned out to be a record after all.
    fn form(&mut self, cursor: &mut Cursor, mut sink: Sink) -> Result<Option<usize>> {
        let read = match sink.faults.road {
            Road::Rows => self.rows(cursor, &mut sink),
            Road::RowsKey => cursor.within(|c| self.rows(c, &mut sink)),
            Road::Columns => cursor.within(|c| self.columns(c, &mut sink)),
            Road::Record | Road::Arrow => {
                sink.ensure_rows(1).map_err(Stop::from).and_then(|()| self.record(cursor, &mut sink, 0))
            }
        };
        match read.and_then(|()| cursor.end()) {
            Ok(()) | Err(Stop::Enough) => sink.finish().map(Some),
            Err(Stop::Record) => {
                sink.abandon();
                Ok(None)
            }
            Err(Stop::Error(error)) => {
                sink.abandon();
                Err(error)
            }
        }
    }

    fn rows(&mut self, cursor: &mut Cursor, sink: &mut Sink) -> Result<(), Stop> {
        let mut row = 0;
        cursor.array(|cursor| {
            sink.ensure_rows(row + 1)?;
            if cursor.peek() == Some(b'{') {
                self.record(cursor, sink, row)?;
            } else {
                let got = cursor.found();
                sink.faults.add(Code::WrongShape, Some(row), None, "an object with a value for each column", got);
                cursor.skip(1)?;
            }
            row += 1;
            enough(sink)
        })
    }

    fn record(&mut self, cursor: &mut Cursor, sink: &mut Sink, row: usize) -> Result<(), Stop> {
        let plan = sink.plan;
        self.stamp += 1;
        let (mut expected, mut named) = (0, 0);
        cursor.open(b'{')?;
        if !cursor.close(b'}') {
            loop {
                let index = self.key(cursor, sink, &mut expected, Some(row))?;
                cursor.colon()?;
                match index {
                    Some(index) => {
                        named += 1;
                        self.value(cursor, sink, row, index)?;
                    }
                    None => cursor.skip(1)?,
                }
                if cursor.next(b'}')? {
                    break;
                }
            }
        }
        if named < plan.columns.len() {
            for (index, stamp) in self.stamps.iter().enumerate() {
                if *stamp != self.stamp {
                    sink.absent(row, index);
                }
            }
        }
        Ok(())
    }

    /// Reads a key: the column it names, or `None` if its value is to be skipped.
    fn key(
        &mut self,
        cursor: &mut Cursor,
        sink: &mut Sink,
        expected: &mut usize,
        row: Option<usize>,
    ) -> Result<Option<usize>, Stop> {
        let plan = sink.plan;
        cursor.blank();
        let index = match plan.columns.get(*expected) {
            Some(column) if cursor.is_key(&column.quoted) => Some(*expected),
            _ => {
                let name = cursor.string(&mut self.scratch)?;
                let index = plan.column(name);
                if index.is_none() && plan.unknown_columns == UnknownColumns::Refuse {
                    let name = shortened(name);
                    sink.faults.add(Code::UnknownColumn, row, Some(&name), "a column of the signature", "another name");
                }
                index
            }
        };
        let Some(index) = index else {
            enough(sink)?;
            return Ok(None);
        };
        *expected = index + 1;
        match self.stamps.get_mut(index) {
            Some(stamp) if *stamp == self.stamp => {
                sink.refuse(Code::DuplicateColumn, row, index, "the same name again".to_owned());
                enough(sink)?;
                Ok(None)
            }
            Some(stamp) => {
                *stamp = self.stamp;
                Ok(Some(index))
            }
            None => Ok(None),
        }
    }

    fn columns(&mut self, cursor: &mut Cursor, sink: &mut Sink) -> Result<(), Stop> {
        self.stamp += 1;
        let mut expected = 0;
        let mut lengths = Vec::new();
        cursor.open(b'{')?;
        if !cursor.close(b'}') {
            loop {
                let index = self.key(cursor, sink, &mut expected, None)?;
                cursor.colon()?;
                match index {
                    Some(index) if cursor.peek() == Some(b'[') => {
                        let mut row = 0;
                        cursor.array(|cursor| {
                            sink.ensure_rows(row + 1)?;
                            self.value(cursor, sink, row, index)?;
                            row += 1;
                            enough(sink)
                        })?;
                        lengths.push((index, row));
                    }
                    Some(index) => {
                        let got = cursor.found();
                        sink.refuse(Code::WrongShape, None, index, format!("{got} where its list of values belongs"));
                        cursor.skip(1)?;
                    }
                    None => cursor.skip(1)?,
                }
                if cursor.next(b'}')? {
                    break;
                }
            }
        }
        for (index, length) in lengths {
            if length != sink.rows() {
                let got = format!("{length} values where another column has {}", sink.rows());
                sink.refuse(Code::WrongShape, None, index, got);
            }
        }
        for (index, stamp) in self.stamps.iter().enumerate() {
            if *stamp != self.stamp {
                sink.absent_column(index);
            }
        }
        Ok(())
    }

    #[inline]
    fn value(&mut self, cursor: &mut Cursor, sink: &mut Sink, row: usize, index: usize) -> Result<(), Stop> {
        cursor.blank();
        match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => match cursor.number()? {
                Number::Float(f) if f.is_infinite() => {
                    sink.refuse(Code::OutOfRange, Some(row), index, "a number beyond the range of doubles".to_owned());
                }
                _ if sink.is_tensor(index) => {
                    sink.refuse(Code::WrongShape, Some(row), index, "a number".to_owned());
                }
                number => sink.number(row, index, 0, number),
            },
            Some(b'"') => sink.text(row, index, cursor.string(&mut self.scratch)?),
            Some(b't' | b'f') => {
                let value = cursor.boolean()?;
                if sink.is_tensor(index) {
                    sink.refuse(Code::WrongShape, Some(row), index, format!("the bool {value}"));
                } else {
                    sink.boolean(row, index, 0, value);
                }
            }
            Some(b'n') => {
                cursor.literal("null")?;
                sink.null(row, index);
            }
            Some(b'[') if sink.is_tensor(index) => return tensor(cursor, sink, row, index),
            Some(b'[' | b'{') => {
                sink.refuse(Code::WrongType, Some(row), index, cursor.found().to_owned());
                cursor.skip(1)?;
            }
            _ => return Err(cursor.unexpected("a value").into()),
        }
        Ok(())
    }
}

/// Reads one tensor: arrays nested as its shape says.
fn tensor(cursor: &mut Cursor, sink: &mut Sink, row: usize, index: usize) -> Result<(), Stop> {
    let plan = sink.plan;
    let Some(column) = plan.columns.get(index) else { return Ok(()) };
    if !dimension(cursor, sink, row, index, &column.shape, &mut 0)? {
        sink.refuse(Code::WrongShape, Some(row), index, "arrays of another shape".to_owned());
    }
    Ok(())
}

/// Reads one dimension of a tensor, whatever it holds; false if its length or nesting is not the shape's.
fn dimension(
    cursor: &mut Cursor,
    sink: &mut Sink,
    row: usize,
    index: usize,
    shape: &[usize],
    element: &mut usize,
) -> Result<bool, Stop> {
    let Some((&length, inner)) = shape.split_first() else {
        match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => match cursor.number()? {
                Number::Float(f) if f.is_infinite() => {
                    sink.refuse(Code::OutOfRange, Some(row), index, "a number beyond the range of doubles".to_owned());
                }
                number => sink.number(row, index, *element, number),
            },
            Some(b't' | b'f') => {
                let value = cursor.boolean()?;
                sink.boolean(row, index, *element, value);
            }
            Some(b'n') => {
                cursor.literal("null")?;
                sink.null_element(row, index, *element);
            }
            Some(b'"') => {
                let mut scratch = String::new();
                let text = shortened(cursor.string(&mut scratch)?);
                sink.refuse(Code::WrongType, Some(row), index, format!("the string {text:?}"));
            }
            _ => {
                cursor.skip(1)?;
                return Ok(false);
            }
        }
        *element += 1;
        return Ok(true);
    };
    if cursor.peek() != Some(b'[') {
        cursor.skip(1)?;
        return Ok(false);
    }
    let (mut count, mut fits) = (0, true);
    cursor.array(|cursor| {
        count += 1;
        if !fits || count > length {
            fits = false;
            return cursor.skip(1);
        }
        fits = dimension(cursor, sink, row, index, inner, element)?;
        Ok(())
    })?;
    Ok(fits && count == length)
}

/// Stops reading once as many faults are known as an error lists.
fn enough(sink: &Sink) -> Result<(), Stop> {
    if sink.faults.is_full() { Err(Stop::Enough) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
