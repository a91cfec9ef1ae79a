//! JSON straight into column buffers: rows, columns or one record, told apart by their own form.
//!
//! Nothing is built on the way: a value goes from its bytes through the [`Sink`]'s rules into the buffer.
//! The expected column order makes the common case one comparison a key.

use crate::error::{Code, Error, Result};

use super::buffer::RowBuffer;
use super::faults::{Road, shortened};
use super::plan::{Plan, UnknownColumns};
use super::sink::{Number, Sink};

/// Deepest nesting of any input.
pub const LIMIT_DEPTH: usize = 64;

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
        let mut cursor = Cursor { text, at: 0 };
        cursor.blank();
        let whole = cursor.at;
        let (road, form) = match cursor.peek() {
            Some(b'[') => (Road::Rows, Form::Rows),
            Some(b'{') => match cursor.wrapper() {
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
                cursor.at = whole;
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

/// Why reading ended before the body did.
enum Stop {
    Error(Error),
    /// As many faults are noted as an error lists.
    Enough,
    /// What looked like a wrapper has a second key: it is a record.
    Record,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

#[cold]
fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::MalformedJson, message)
}

/// A place in the body.
struct Cursor<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Cursor<'b> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// What stands here, in words.
    fn found(&self) -> &'static str {
        match self.peek() {
            None => "the end of the body",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(b't' | b'f') => "a bool",
            Some(b'n') => "null",
            Some(b'N' | b'I') => "NaN or Infinity, which JSON does not have",
            Some(b'}' | b']' | b',' | b':') => "punctuation",
            Some(_) => "a character no JSON value starts with",
        }
    }

    #[cold]
    fn unexpected(&self, wanted: &str) -> Error {
        let error = malformed(format!("{wanted} should stand at byte {}, not {}", self.at, self.found()));
        match self.peek() {
            Some(b'N' | b'I') => error.hint("send null for a value that is not there"),
            Some(b'\'') => error.hint("JSON strings and keys are in double quotes"),
            _ => error.hint("check the body with a JSON validator"),
        }
    }

    #[inline]
    fn open(&mut self, byte: u8) -> Result<(), Stop> {
        self.blank();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(if byte == b'{' { "an object" } else { "an array" }).into())
    }

    /// Takes a closing bracket, if it is here.
    #[inline]
    fn close(&mut self, byte: u8) -> bool {
        self.blank();
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    #[inline]
    fn colon(&mut self) -> Result<(), Stop> {
        self.blank();
        if self.peek() == Some(b':') {
            self.at += 1;
            self.blank();
            return Ok(());
        }
        Err(self.unexpected("a colon").into())
    }

    /// Takes a comma (false) or the closing bracket (true).
    #[inline]
    fn next(&mut self, close: u8) -> Result<bool, Stop> {
        self.blank();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected("a comma or the closing bracket").into()),
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.open(b'[')?;
        if self.close(b']') {
            return Ok(());
        }
        loop {
            self.blank();
            item(self)?;
            if self.next(b']')? {
                return Ok(());
            }
        }
    }

    /// Whether the key `quoted` (a name and its closing quote) stands here; if so it is taken.
    #[inline]
    fn is_key(&mut self, quoted: &[u8]) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let found = rest.first() == Some(&b'"')
            && !quoted.is_empty()
            && rest.get(1..1 + quoted.len()).is_some_and(|key| key == quoted);
        self.at += if found { 1 + quoted.len() } else { 0 };
        found
    }

    /// Goes to the value of an object that starts with the key `rows` and an array, or with `columns` and
    /// an object, and says what opens it; elsewhere stays.
    fn wrapper(&mut self) -> Option<u8> {
        let mut ahead = Cursor { text: self.text, at: self.at };
        ahead.open(b'{').ok()?;
        ahead.blank();
        let opener = match ahead.string(&mut String::new()).ok()? {
            "rows" => b'[',
            "columns" => b'{',
            _ => return None,
        };
        ahead.colon().ok()?;
        if ahead.peek() != Some(opener) {
            return None;
        }
        self.at = ahead.at;
        Some(opener)
    }

    /// Reads what a wrapper holds, then its closing brace.
    fn within(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        inner(self)?;
        if self.close(b'}') {
            Ok(())
        } else if self.peek() == Some(b',') {
            Err(Stop::Record)
        } else {
            Err(self.unexpected("the closing brace").into())
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.blank();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the body").into()),
        }
    }

    /// Reads a string; `scratch` holds it where it has escapes.
    #[inline]
    fn string<'s>(&mut self, scratch: &'s mut String) -> Result<&'s str, Stop>
    where
        'b: 's,
    {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string").into());
        }
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        match rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ') {
            Some(length) if rest.get(length) == Some(&b'"') => {
                self.at = start + length + 1;
                self.text.get(start..start + length).ok_or_else(|| self.unexpected("a string").into())
            }
            Some(length) if rest.get(length) == Some(&b'\\') => {
                scratch.clear();
                scratch.push_str(self.text.get(start..start + length).unwrap_or_default());
                self.at = start + length;
                self.escaped(scratch)?;
                Ok(scratch)
            }
            Some(length) => {
                self.at = start + length;
                Err(malformed(format!("a control character stands in a string at byte {}", self.at)).into())
            }
            None => Err(malformed("the body ends inside a string").into()),
        }
    }

    /// Reads the rest of a string from its first escape on.
    fn escaped(&mut self, into: &mut String) -> Result<(), Stop> {
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ') else {
                return Err(malformed("the body ends inside a string").into());
            };
            into.push_str(self.text.get(self.at..self.at + length).unwrap_or_default());
            self.at += length + 1;
            match rest.get(length) {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.escape(into)?,
                _ => {
                    return Err(malformed(format!("a control character stands in a string at byte {}", self.at)).into());
                }
            }
        }
    }

    fn escape(&mut self, into: &mut String) -> Result<(), Stop> {
        let wrong = |at: usize| malformed(format!("no such escape in a string at byte {at}"));
        let byte = self.peek().ok_or_else(|| malformed("the body ends inside a string"))?;
        self.at += 1;
        into.push(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex().ok_or_else(|| wrong(self.at))?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    let second = if self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u") {
                        self.at += 2;
                        self.hex().filter(|low| (0xdc00..0xe000).contains(low))
                    } else {
                        None
                    };
                    let low = second.ok_or_else(|| wrong(self.at))?;
                    0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| wrong(self.at))?
            }
            _ => return Err(wrong(self.at).into()),
        });
        Ok(())
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn literal(&mut self, word: &str) -> Result<(), Stop> {
        if self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.unexpected("a value").into())
    }

    fn boolean(&mut self) -> Result<bool, Stop> {
        let value = self.peek() == Some(b't');
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads a number by JSON's own grammar.
    ///
    /// Up to 19 digits are gathered in an integer; where that and a power of ten are exact doubles one
    /// multiplication or division rounds right (Clinger 1990), and the slow path decides the rest.
    #[inline]
    fn number(&mut self) -> Result<Number, Stop> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        let negative = bytes.get(at) == Some(&b'-');
        at += usize::from(negative);
        let digits_start = at;
        let mut mantissa: u64 = 0;
        while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        let mut digits = at - digits_start;
        if digits == 0 || (digits > 1 && bytes.get(digits_start) == Some(&b'0')) {
            return Err(malformed(format!("a number is not written as JSON has it at byte {start}")).into());
        }
        if !matches!(bytes.get(at), Some(b'.' | b'e' | b'E')) {
            self.at = at;
            return Ok(match i64::try_from(mantissa) {
                Ok(value) if digits <= 18 => Number::Int(if negative { -value } else { value }),
                _ => self.long_integer(start),
            });
        }
        let mut exponent: i32 = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let fraction = at;
            while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                at += 1;
            }
            if at == fraction {
                return Err(malformed(format!("a number is not written as JSON has it at byte {start}")).into());
            }
            digits += at - fraction;
            exponent = i32::try_from(at - fraction).map_or(i32::MIN, |n| -n);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            let minus = bytes.get(at) == Some(&b'-');
            at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
            let first = at;
            let mut written: i32 = 0;
            while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
                written = written.saturating_mul(10).saturating_add(i32::from(digit));
                at += 1;
            }
            if at == first {
                return Err(malformed(format!("a number is not written as JSON has it at byte {start}")).into());
            }
            exponent = exponent.saturating_add(if minus { -written } else { written });
        }
        self.at = at;
        if digits <= 19 && mantissa <= 1 << 53 && exponent.unsigned_abs() <= 22 {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let value = mantissa as f64;
            let power = POWERS.get(exponent.unsigned_abs() as usize).copied().unwrap_or(1.0);
            let value = if exponent < 0 { value / power } else { value * power };
            return Ok(Number::Float(if negative { -value } else { value }));
        }
        let text = self.text.get(start..at).unwrap_or_default();
        fast_float2::parse(text)
            .map(Number::Float)
            .map_err(|_| malformed(format!("a number is not written as JSON has it at byte {start}")).into())
    }

    /// An integer of more than 18 digits: exact while it fits 128 bits, a double beyond.
    #[cold]
    fn long_integer(&self, start: usize) -> Number {
        let text = self.text.get(start..self.at).unwrap_or_default();
        text.parse::<i128>()
            .map_or_else(|_| Number::Float(fast_float2::parse(text).unwrap_or(f64::INFINITY)), Number::Big)
    }

    /// Passes over one value of any kind.
    fn skip(&mut self, depth: usize) -> Result<(), Stop> {
        if depth > LIMIT_DEPTH {
            return Err(Error::new(Code::TooDeep, format!("the JSON is nested deeper than {LIMIT_DEPTH}"))
                .hint("rows are flat objects of values")
                .into());
        }
        self.blank();
        match self.peek() {
            Some(b'{') => {
                self.open(b'{')?;
                if self.close(b'}') {
                    return Ok(());
                }
                let mut scratch = String::new();
                loop {
                    self.blank();
                    self.string(&mut scratch)?;
                    self.colon()?;
                    self.skip(depth + 1)?;
                    if self.next(b'}')? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => self.array(|cursor| cursor.skip(depth + 1)),
            Some(b'"') => self.string(&mut String::new()).map(|_| ()),
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => Err(self.unexpected("a value").into()),
        }
    }
}

/// Powers of ten that doubles hold exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cfg(test)]
mod tests;
