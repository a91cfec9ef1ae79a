//! The rules for values: what a column takes, what widens, what is null, and where it is written.
//!
//! Every road ends here, so a value is judged alike whether it came as JSON, as Arrow or from Python.

use crate::error::{Code, Error, Result};

use super::buffer::{RowBuffer, TensorBuffer};
use super::faults::{Faults, Road, shortened};
use super::plan::{Plan, PlannedColumn, Store};
use super::time;

/// Below this, 2^53, a double that is whole was written as that integer.
const EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;
/// Up to here, itself excluded, 128 bits hold every double without a fraction.
const TWO_TO_127: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// A number as its sender wrote it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Written without fraction or exponent.
    Int(i64),
    /// The same, beyond 64 bits.
    Big(i128),
    /// Any other; never NaN, infinite only where the sender can say so.
    Float(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "only for counting and for checked conversions")]
    fn as_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Big(i) => i as f64,
            Number::Float(f) => f,
        }
    }

    /// The same number as a double, if a double holds it exactly.
    #[inline]
    fn exact_f64(self) -> Option<f64> {
        let value = self.as_f64();
        match self {
            Number::Int(i) if i.unsigned_abs() <= 1 << 53 => Some(value),
            Number::Int(_) | Number::Big(_) => self.is_exactly(value).then_some(value),
            Number::Float(_) => Some(value),
        }
    }

    /// Whether a double is this integer.
    #[expect(clippy::cast_possible_truncation, reason = "below 2^127, so exact")]
    fn is_exactly(self, value: f64) -> bool {
        value.abs() < TWO_TO_127 && self.exact_int() == Some(value as i128)
    }

    /// The same number as an integer, if it is one: 3.0 is 3.
    fn exact_int(self) -> Option<i128> {
        match self {
            Number::Int(i) => Some(i128::from(i)),
            Number::Big(i) => Some(i),
            // From 2^53 on a fraction may have been rounded away, and digits with it.
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53, so exact")]
            Number::Float(f) => (f.trunc() == f && f.abs() < EXACT_DOUBLE).then_some(f as i128),
        }
    }

    fn describe(self) -> String {
        match self {
            Number::Int(i) => i.to_string(),
            Number::Big(i) => i.to_string(),
            Number::Float(f) => f.to_string(),
        }
    }
}

/// Takes the values of one request and writes them to a buffer, or notes why not.
pub struct Sink<'a> {
    pub plan: &'a Plan,
    buffer: &'a mut RowBuffer,
    /// Rows that were in the buffer before this request.
    base: usize,
    rows: usize,
    limit_rows: usize,
    pub faults: Faults,
}

impl<'a> Sink<'a> {
    /// A sink that adds rows behind those already in `buffer`.
    pub fn new(plan: &'a Plan, buffer: &'a mut RowBuffer, road: Road, limit_rows: usize) -> Self {
        let base = buffer.rows();
        Self { plan, buffer, base, rows: 0, limit_rows, faults: Faults::new(road) }
    }

    /// Rows taken so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Makes room for rows up to `rows`; those already there stay.
    ///
    /// # Errors
    /// `too_many_rows`, before anything is allocated.
    #[inline]
    pub fn ensure_rows(&mut self, rows: usize) -> Result<()> {
        if rows > self.rows {
            if rows > self.limit_rows {
                return Err(too_many_rows(self.limit_rows));
            }
            self.rows = rows;
            self.buffer.grow_to(self.base + rows);
        }
        Ok(())
    }

    /// Ends the request: its rows stay in the buffer if nothing was wrong, and leave it otherwise.
    ///
    /// # Errors
    /// The faults that were noted.
    pub fn finish(self) -> Result<usize> {
        match self.faults.into_result() {
            Ok(()) => Ok(self.rows),
            Err(error) => {
                self.buffer.truncate(self.base);
                Err(error)
            }
        }
    }

    /// Gives the request up: its rows leave the buffer.
    pub fn abandon(self) {
        self.buffer.truncate(self.base);
    }

    fn place(&mut self, row: usize, column: &PlannedColumn, element: usize) -> Option<(&mut TensorBuffer, usize)> {
        let slot = column.slot?;
        let at = (self.base + row) * slot.stride + slot.offset + element;
        self.buffer.tensors.get_mut(slot.tensor).map(|(tensor, _)| (tensor, at))
    }

    fn set_valid(&mut self, row: usize, column: &PlannedColumn, valid: bool) {
        if let Some(tensor) = column.slot.and_then(|s| s.valid)
            && let Some((TensorBuffer::Bool(flags), _)) = self.buffer.tensors.get_mut(tensor)
            && let Some(flag) = flags.get_mut(self.base + row)
        {
            *flag = valid;
        }
    }

    /// A number for element `element` of a value (0 for all but tensors).
    #[inline]
    pub fn number(&mut self, row: usize, index: usize, element: usize, number: Number) {
        let plan = self.plan;
        let Some(column) = plan.columns.get(index) else { return };
        match column.store {
            Store::F64 => match number.exact_f64() {
                Some(value) => self.double(row, column, element, value),
                None => self.fault(Code::OutOfRange, row, column, number.describe()),
            },
            Store::F32 => self.single(row, column, element, number),
            Store::Int => self.integer(row, column, element, number),
            Store::IntOrNull => self.nullable_integer(row, column, number),
            Store::Tensor if column.element.is_float() => match column.element {
                crate::signature::Kind::Float32 => self.single(row, column, element, number),
                _ => match number.exact_f64() {
                    Some(value) => self.double(row, column, element, value),
                    None => self.fault(Code::OutOfRange, row, column, number.describe()),
                },
            },
            Store::Tensor if column.element.is_integer() => self.integer(row, column, element, number),
            _ => self.fault(Code::WrongType, row, column, format!("the number {}", number.describe())),
        }
    }

    /// A double for a float64 place: NaN is null, infinity only where the reference had one.
    #[inline]
    pub(super) fn double(&mut self, row: usize, column: &PlannedColumn, element: usize, value: f64) {
        if !value.is_finite() && !self.special(row, column, value.is_nan(), value > 0.0) {
            return;
        }
        column.count_number(value);
        if let Some((TensorBuffer::F64(values), at)) = self.place(row, column, element)
            && let Some(place) = values.get_mut(at)
        {
            *place = value;
        }
    }

    /// A float for a float32 place; what it was rounded from is `number`.
    fn single(&mut self, row: usize, column: &PlannedColumn, element: usize, number: Number) {
        #[expect(clippy::cast_possible_truncation, reason = "a literal means the nearest float")]
        let value = number.as_f64() as f32;
        if value.is_infinite() && number.as_f64().is_finite() {
            return self.fault(Code::OutOfRange, row, column, number.describe());
        }
        if !matches!(number, Number::Float(_)) && !number.is_exactly(f64::from(value)) {
            return self.fault(Code::OutOfRange, row, column, number.describe());
        }
        self.float(row, column, element, value);
    }

    /// A float32 for a float32 place.
    #[inline]
    pub(super) fn float(&mut self, row: usize, column: &PlannedColumn, element: usize, value: f32) {
        if !value.is_finite() && !self.special(row, column, value.is_nan(), value > 0.0) {
            return;
        }
        column.count_number(f64::from(value));
        if let Some((TensorBuffer::F32(values), at)) = self.place(row, column, element)
            && let Some(place) = values.get_mut(at)
        {
            *place = value;
        }
    }

    /// Whether a NaN or infinity may be stored.
    #[cold]
    fn special(&mut self, row: usize, column: &PlannedColumn, nan: bool, positive: bool) -> bool {
        if nan {
            if !column.nullable {
                self.fault(Code::NullNotAllowed, row, column, "NaN".to_owned());
            }
            return column.nullable;
        }
        if !column.infinity {
            let got = if positive { "infinity" } else { "minus infinity" };
            self.fault(Code::NotFinite, row, column, got.to_owned());
        }
        column.infinity
    }

    fn integer(&mut self, row: usize, column: &PlannedColumn, element: usize, number: Number) {
        let Some(value) = number.exact_int() else {
            return self.fault(Code::WrongType, row, column, format!("the number {}", number.describe()));
        };
        let (min, max) = column.bounds;
        if value < min || value > max {
            return self.fault(Code::OutOfRange, row, column, number.describe());
        }
        column.count_number(number.as_f64());
        if let Some((tensor, at)) = self.place(row, column, element) {
            write_integer(tensor, at, value);
        }
    }

    fn nullable_integer(&mut self, row: usize, column: &PlannedColumn, number: Number) {
        let Some(value) = number.exact_int() else {
            return self.fault(Code::WrongType, row, column, format!("the number {}", number.describe()));
        };
        let (min, max) = column.bounds;
        // The graph has it as a double, so that null can be NaN: only what a double holds may pass.
        match Number::Big(value).exact_f64() {
            Some(double) if (min..=max).contains(&value) => {
                column.count_number(double);
                self.raw_double(row, column, double);
            }
            _ => self.fault(Code::OutOfRange, row, column, number.describe()),
        }
    }

    fn raw_double(&mut self, row: usize, column: &PlannedColumn, value: f64) {
        if let Some((TensorBuffer::F64(values), at)) = self.place(row, column, 0)
            && let Some(place) = values.get_mut(at)
        {
            *place = value;
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, row: usize, index: usize, element: usize, value: bool) {
        let plan = self.plan;
        let Some(column) = plan.columns.get(index) else { return };
        match column.store {
            Store::BoolOrNull => self.raw_double(row, column, f64::from(u8::from(value))),
            Store::Bool => self.raw_bool(row, column, element, value),
            Store::Tensor if column.element == crate::signature::Kind::Bool => {
                self.raw_bool(row, column, element, value);
            }
            _ => self.fault(Code::WrongType, row, column, format!("the bool {value}")),
        }
    }

    fn raw_bool(&mut self, row: usize, column: &PlannedColumn, element: usize, value: bool) {
        if let Some((TensorBuffer::Bool(values), at)) = self.place(row, column, element)
            && let Some(place) = values.get_mut(at)
        {
            *place = value;
        }
    }

    /// A string: text, or a date or time in ISO 8601. Rows must come in order, as each column's own.
    pub fn text(&mut self, row: usize, index: usize, value: &str) {
        let plan = self.plan;
        let Some(column) = plan.columns.get(index) else { return };
        match column.store {
            Store::Text => {
                column.count_text(value);
                self.push_text(row, column, value, true);
            }
            Store::Date => match time::parse_date(value) {
                Some(days) => self.instant(row, column, days),
                None => self.fault(Code::WrongFormat, row, column, format!("{:?}", shortened(value))),
            },
            Store::Timestamp => match time::parse_timestamp(value, column.zoned) {
                Some(micros) => self.instant(row, column, micros),
                None => self.fault(Code::WrongFormat, row, column, format!("{:?}", shortened(value))),
            },
            _ => self.fault(Code::WrongType, row, column, format!("the string {:?}", shortened(value))),
        }
    }

    /// A date or time that its road spells in ISO 8601; never taken for text.
    pub fn iso(&mut self, row: usize, index: usize, value: &str) {
        let plan = self.plan;
        match plan.columns.get(index) {
            Some(column) if matches!(column.store, Store::Date | Store::Timestamp) => self.text(row, index, value),
            Some(column) => self.fault(Code::WrongType, row, column, format!("the date or time {}", shortened(value))),
            None => {}
        }
    }

    /// Whether a column holds tensors.
    pub fn is_tensor(&self, index: usize) -> bool {
        self.plan.columns.get(index).is_some_and(|c| c.store == Store::Tensor)
    }

    fn push_text(&mut self, row: usize, column: &PlannedColumn, value: &str, valid: bool) {
        self.set_valid(row, column, valid);
        if let Some((TensorBuffer::Text(texts), _)) = self.place(row, column, 0) {
            texts.push(value);
        }
    }

    /// Days or microseconds since 1970 for a date or timestamp column.
    pub(super) fn instant(&mut self, row: usize, column: &PlannedColumn, value: i64) {
        #[expect(clippy::cast_precision_loss, reason = "only counted against a range")]
        column.count_number(value as f64);
        self.set_valid(row, column, true);
        if let Some((TensorBuffer::I64(values), at)) = self.place(row, column, 0)
            && let Some(place) = values.get_mut(at)
        {
            *place = value;
        }
    }

    /// A null, or a column that is absent from a row.
    pub fn null(&mut self, row: usize, index: usize) {
        let plan = self.plan;
        let Some(column) = plan.columns.get(index) else { return };
        if !column.nullable {
            return self.fault(Code::NullNotAllowed, row, column, "null".to_owned());
        }
        match column.store {
            Store::Text => self.push_text(row, column, "", false),
            Store::Date | Store::Timestamp => self.set_valid(row, column, false),
            Store::F32 => self.fill_f32(row, column),
            Store::F64 | Store::IntOrNull | Store::BoolOrNull => self.raw_double(row, column, f64::NAN),
            Store::Tensor => self.fill_tensor(row, column),
            Store::Bool | Store::Int => {}
        }
    }

    /// A null inside a tensor.
    pub fn null_element(&mut self, row: usize, index: usize, element: usize) {
        match self.plan.columns.get(index) {
            Some(column) if column.nullable => self.number(row, index, element, Number::Float(f64::NAN)),
            Some(column) => self.fault(Code::NullNotAllowed, row, column, "null".to_owned()),
            None => {}
        }
    }

    fn fill_f32(&mut self, row: usize, column: &PlannedColumn) {
        if let Some((TensorBuffer::F32(values), at)) = self.place(row, column, 0)
            && let Some(place) = values.get_mut(at)
        {
            *place = f32::NAN;
        }
    }

    fn fill_tensor(&mut self, row: usize, column: &PlannedColumn) {
        let width = column.width;
        match self.place(row, column, 0) {
            Some((TensorBuffer::F32(values), at)) => values.iter_mut().skip(at).take(width).for_each(|v| *v = f32::NAN),
            Some((TensorBuffer::F64(values), at)) => values.iter_mut().skip(at).take(width).for_each(|v| *v = f64::NAN),
            _ => {}
        }
    }

    /// A column that a row does not name: null where that is allowed, a fault elsewhere.
    pub fn absent(&mut self, row: usize, index: usize) {
        match self.plan.columns.get(index) {
            Some(column) if column.nullable => self.null(row, index),
            Some(column) => {
                let (name, expected) = (column.name.clone(), column.describe.clone());
                self.faults.add(Code::MissingColumn, Some(row), Some(&name), expected, "nothing");
            }
            None => {}
        }
    }

    /// Notes that a whole column is missing.
    pub fn absent_column(&mut self, index: usize) {
        let Some(column) = self.plan.columns.get(index) else { return };
        if column.nullable {
            for row in 0..self.rows {
                self.null(row, index);
            }
        } else {
            let (name, expected) = (column.name.clone(), column.describe.clone());
            self.faults.add(Code::MissingColumn, None, Some(&name), expected, "nothing");
        }
    }

    /// Notes a value that cannot be stored.
    #[cold]
    pub(super) fn fault(&mut self, code: Code, row: usize, column: &PlannedColumn, got: String) {
        self.faults.add(code, Some(row), Some(&column.name), column.describe.clone(), got);
    }

    /// Notes a fault of a value of this column, found by a road.
    #[cold]
    pub fn refuse(&mut self, code: Code, row: Option<usize>, index: usize, got: String) {
        if let Some(column) = self.plan.columns.get(index) {
            let (name, expected) = (column.name.clone(), column.describe.clone());
            self.faults.add(code, row, Some(&name), expected, got);
        }
    }
}

fn too_many_rows(limit_rows: usize) -> Error {
    Error::new(Code::TooManyRows, format!("the request has more than {limit_rows} rows"))
        .hint("send fewer rows a request, or raise limit_rows")
}

/// Writes a value already checked against the column's bounds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the caller checked the bounds")]
fn write_integer(tensor: &mut TensorBuffer, at: usize, value: i128) {
    macro_rules! put {
        ($values:expr, $type:ty) => {
            if let Some(place) = $values.get_mut(at) {
                *place = value as $type;
            }
        };
    }
    match tensor {
        TensorBuffer::I8(v) => put!(v, i8),
        TensorBuffer::I16(v) => put!(v, i16),
        TensorBuffer::I32(v) => put!(v, i32),
        TensorBuffer::I64(v) => put!(v, i64),
        TensorBuffer::U8(v) => put!(v, u8),
        TensorBuffer::U16(v) => put!(v, u16),
        TensorBuffer::U32(v) => put!(v, u32),
        TensorBuffer::U64(v) => put!(v, u64),
        _ => {}
    }
}
