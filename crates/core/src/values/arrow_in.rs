//! Arrow into column buffers: IPC streams from the network, record batches from this process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, RecordBatch, new_empty_array};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{DataType, Schema, TimeUnit};

use crate::error::{Code, Error, Result};
use crate::signature::Kind;

use super::buffer::RowBuffer;
use super::faults::{Road, shortened};
use super::plan::{Plan, Store, UnknownColumns};
use super::sink::{Number, Sink};

/// Reads an Arrow IPC stream behind the rows already in `buffer`, and gives its number of rows.
///
/// Nothing is allocated by a length the body merely claims.
///
/// # Errors
/// `malformed_arrow`, `too_many_rows`, or the faults of its values. The buffer is then as before.
pub fn read_stream(body: &[u8], plan: &Plan, buffer: &mut RowBuffer, limit_rows: usize) -> Result<usize> {
    // The decoder checks what it reads; should hostile bytes still make it panic, that is their sender's
    // error and nobody else's.
    let (schema, batches) = quietly(|| catch_unwind(AssertUnwindSafe(|| decode(body, limit_rows))))
        .unwrap_or_else(|_| Err(malformed("its messages contradict each other")))?;
    read_batches(&schema, &batches, plan, buffer, limit_rows)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs work whose panics are nobody's to read about: written to stderr by whoever sends the right bytes, they
/// would fill a log, or a pipe that nobody reads and with it the thread. All other panics are said as before.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let done = work();
    QUIET.set(false);
    done
}

fn decode(body: &[u8], limit_rows: usize) -> Result<(Schema, Vec<RecordBatch>)> {
    let mut decoder = StreamDecoder::new();
    let mut rest = Buffer::from(body);
    let mut batches = Vec::new();
    let (mut rows, mut total) = (0_usize, 0);
    while !rest.is_empty() {
        let before = rest.len();
        if let Some(batch) = decoder.decode(&mut rest).map_err(|e| malformed(&e.to_string()))? {
            rows = rows.saturating_add(batch.num_rows());
            total += 1;
            if rows > limit_rows || total > limit_rows.saturating_add(1_000) {
                return Err(Error::new(Code::TooManyRows, format!("the request has more than {limit_rows} rows"))
                    .hint("send fewer rows a request, or raise limit_rows"));
            }
            batches.push(batch);
        } else if rest.len() == before {
            break;
        }
    }
    decoder.finish().map_err(|e| malformed(&e.to_string()))?;
    let schema = decoder.schema().ok_or_else(|| malformed("it holds no schema"))?;
    Ok((schema.as_ref().clone(), batches))
}

#[cold]
pub(super) fn malformed(why: &str) -> Error {
    Error::new(Code::MalformedArrow, format!("the body is not an Arrow IPC stream: {}", shortened(why)))
        .hint("send an uncompressed IPC stream, as pyarrow.ipc.new_stream writes it; not a file, not Feather")
}

/// Reads record batches of one schema behind the rows already in `buffer`.
///
/// # Errors
/// `too_many_rows`, or the faults of its values. The buffer is then as before.
pub fn read_batches(
    schema: &Schema,
    batches: &[RecordBatch],
    plan: &Plan,
    buffer: &mut RowBuffer,
    limit_rows: usize,
) -> Result<usize> {
    read_into(Sink::new(plan, buffer, Road::Arrow, limit_rows), schema, batches)
}

/// Reads some rows of a larger table behind those already in `buffer`; faults name the rows of the table.
///
/// # Errors
/// The faults of its values. The buffer is then as before.
pub fn read_part(part: &RecordBatch, first_row: usize, plan: &Plan, buffer: &mut RowBuffer) -> Result<usize> {
    let mut sink = Sink::new(plan, buffer, Road::Arrow, part.num_rows());
    sink.faults.first_row = first_row;
    read_into(sink, part.schema_ref(), std::slice::from_ref(part))
}

fn read_into(mut sink: Sink, schema: &Schema, batches: &[RecordBatch]) -> Result<usize> {
    let plan = sink.plan;
    let (columns, absent) = match_columns(schema, &mut sink);
    // Columns are judged before there is room for a row: a schema costs its sender nothing.
    for index in absent.iter().filter(|index| !plan.columns.get(**index).is_some_and(|c| c.nullable)) {
        sink.absent_column(*index);
    }
    if !sink.faults.is_empty() {
        return sink.finish();
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if let Err(error) = sink.ensure_rows(rows) {
        sink.abandon();
        return Err(error);
    }
    if rows == 0 {
        // No row shows of what type it is; the schema does.
        for &(position, index) in &columns {
            if let Some(field) = schema.fields().get(position) {
                column(&mut sink, 0, index, new_empty_array(field.data_type()).as_ref());
            }
        }
    }
    let mut row = 0;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        if sink.faults.is_full() {
            break;
        }
        for &(position, index) in &columns {
            if let Some(array) = batch.columns().get(position) {
                column(&mut sink, row, index, array.as_ref());
            }
        }
        row += batch.num_rows();
    }
    for index in absent {
        sink.absent_column(index);
    }
    sink.finish()
}

/// Pairs the schema's columns with the plan's; gives the pairs and the plan's columns that have none.
fn match_columns(schema: &Schema, sink: &mut Sink) -> (Vec<(usize, usize)>, Vec<usize>) {
    let mut taken = vec![false; sink.plan.columns.len()];
    let mut pairs = Vec::with_capacity(schema.fields().len());
    for (position, field) in schema.fields().iter().enumerate() {
        match sink.plan.column(field.name()) {
            Some(index) => match taken.get_mut(index) {
                Some(taken) if !*taken => {
                    *taken = true;
                    pairs.push((position, index));
                }
                _ => sink.refuse(Code::DuplicateColumn, None, index, "the same name again".to_owned()),
            },
            None if sink.plan.unknown_columns == UnknownColumns::Ignore => {}
            None => {
                let name = shortened(field.name());
                sink.faults.add(Code::UnknownColumn, None, Some(&name), "a column of the signature", "another name");
            }
        }
    }
    let absent = taken.iter().enumerate().filter(|(_, taken)| !**taken).map(|(index, _)| index).collect();
    (pairs, absent)
}

/// Reads one column of one batch, whose first row is the request's row `start`.
fn column(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) {
    let plan = sink.plan;
    let Some(planned) = plan.columns.get(index) else { return };
    let taken = match planned.store {
        Store::Tensor => tensor(sink, start, index, array),
        Store::Text => text(sink, start, index, array),
        Store::Bool | Store::BoolOrNull => match array.data_type() {
            DataType::Boolean => booleans(sink, start, index, array, 1),
            _ => false,
        },
        Store::Date => match array.as_primitive_opt::<Date32Type>() {
            Some(days) => each(sink, start, index, days, |sink, row, day| {
                sink.instant(row, planned, i64::from(day));
            }),
            None => false,
        },
        Store::Timestamp => timestamps(sink, start, index, array),
        Store::Int | Store::IntOrNull | Store::F32 | Store::F64 => numbers(sink, start, index, array, 1),
    } || nulls(sink, start, index, array);
    if !taken {
        sink.refuse(Code::WrongType, None, index, format!("a column of {}", array.data_type()));
    }
}

/// A column of Arrow's null type: nothing but nulls.
fn nulls(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    if *array.data_type() != DataType::Null {
        return false;
    }
    for row in 0..array.len() {
        sink.null(start + row, index);
    }
    true
}

/// Calls `put` for every value and notes the nulls.
fn each<T: ArrowPrimitiveType>(
    sink: &mut Sink,
    start: usize,
    index: usize,
    array: &PrimitiveArray<T>,
    mut put: impl FnMut(&mut Sink, usize, T::Native),
) -> bool {
    if array.null_count() == 0 {
        for (row, value) in array.values().iter().enumerate() {
            put(sink, start + row, *value);
        }
    } else {
        for (row, value) in array.iter().enumerate() {
            match value {
                Some(value) => put(sink, start + row, value),
                None => sink.null(start + row, index),
            }
        }
    }
    true
}

/// Reads numbers, `width` to a row; false if their type does not widen to the column's.
fn numbers(sink: &mut Sink, start: usize, index: usize, array: &dyn Array, width: usize) -> bool {
    let plan = sink.plan;
    let Some(planned) = plan.columns.get(index) else { return true };
    if !widens(array.data_type(), planned.element) {
        return false;
    }
    macro_rules! read {
        ($type:ty, |$sink:ident, $row:ident, $element:ident, $value:ident| $put:expr) => {
            match array.as_primitive_opt::<$type>() {
                Some(values) => {
                    for (at, value) in values.values().iter().enumerate() {
                        let ($row, $element) =
                            if width == 1 { (start + at, 0) } else { (start + at / width, at % width) };
                        if values.is_valid(at) {
                            let $sink = &mut *sink;
                            let $value = *value;
                            $put;
                        } else if width == 1 {
                            sink.null($row, index);
                        } else {
                            sink.null_element($row, index, $element);
                        }
                    }
                    true
                }
                None => false,
            }
        };
    }
    macro_rules! integers {
        ($type:ty) => {
            read!($type, |s, row, element, v| s.number(row, index, element, Number::Int(i64::from(v))))
        };
    }
    let single = planned.element == Kind::Float32;
    match array.data_type() {
        DataType::Float64 => read!(Float64Type, |s, row, element, v| s.double(row, planned, element, v)),
        DataType::Float32 if single => read!(Float32Type, |s, row, element, v| s.float(row, planned, element, v)),
        DataType::Float32 => {
            read!(Float32Type, |s, row, element, v| s.double(row, planned, element, f64::from(v)))
        }
        DataType::Float16 if single => {
            read!(Float16Type, |s, row, element, v| s.float(row, planned, element, v.to_f32()))
        }
        DataType::Float16 => read!(Float16Type, |s, row, element, v| s.double(row, planned, element, v.to_f64())),
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => {
            read!(UInt64Type, |s, row, element, v| s.number(row, index, element, Number::Big(i128::from(v))))
        }
        _ => false,
    }
}

/// Whether every value of an Arrow type, or at least each that is judged one by one, widens to `to`.
fn widens(from: &DataType, to: Kind) -> bool {
    let source = match from {
        DataType::Int8 => Kind::Int8,
        DataType::Int16 => Kind::Int16,
        DataType::Int32 => Kind::Int32,
        DataType::Int64 => Kind::Int64,
        DataType::UInt8 => Kind::Uint8,
        DataType::UInt16 => Kind::Uint16,
        DataType::UInt32 => Kind::Uint32,
        DataType::UInt64 => Kind::Uint64,
        DataType::Float16 => return to.is_float(),
        DataType::Float32 => return to.is_float(),
        DataType::Float64 => return to == Kind::Float64,
        _ => return false,
    };
    match (source.integer_range(), to.integer_range()) {
        (Some((low, high)), Some((min, max))) => min <= low && high <= max,
        // An integer that a float holds exactly loses nothing; the sink judges each.
        _ => to.is_float(),
    }
}

fn booleans(sink: &mut Sink, start: usize, index: usize, array: &dyn Array, width: usize) -> bool {
    let Some(values) = array.as_boolean_opt() else { return false };
    for at in 0..values.len() {
        let (row, element) = (start + at / width, at % width);
        if values.is_valid(at) {
            sink.boolean(row, index, element, values.value(at));
        } else if width == 1 {
            sink.null(row, index);
        } else {
            sink.null_element(row, index, element);
        }
    }
    true
}

fn text(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    macro_rules! read {
        ($values:expr) => {{
            for (row, value) in $values.iter().enumerate() {
                match value {
                    Some(value) => sink.text(start + row, index, value),
                    None => sink.null(start + row, index),
                }
            }
            true
        }};
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().is_some_and(|v| read!(v)),
        DataType::LargeUtf8 => array.as_string_opt::<i64>().is_some_and(|v| read!(v)),
        DataType::Utf8View => array.as_string_view_opt().is_some_and(|v| read!(v)),
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::Int8 => dictionary::<Int8Type>(sink, start, index, array),
            DataType::Int16 => dictionary::<Int16Type>(sink, start, index, array),
            DataType::Int32 => dictionary::<Int32Type>(sink, start, index, array),
            DataType::Int64 => dictionary::<Int64Type>(sink, start, index, array),
            DataType::UInt8 => dictionary::<UInt8Type>(sink, start, index, array),
            DataType::UInt16 => dictionary::<UInt16Type>(sink, start, index, array),
            DataType::UInt32 => dictionary::<UInt32Type>(sink, start, index, array),
            DataType::UInt64 => dictionary::<UInt64Type>(sink, start, index, array),
            _ => false,
        },
        _ => false,
    }
}

fn dictionary<K: ArrowDictionaryKeyType>(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    use arrow_buffer::ArrowNativeType;
    let Some(array) = array.as_dictionary_opt::<K>() else { return false };
    let values = array.values();
    macro_rules! read {
        ($values:expr) => {{
            let values = $values;
            for (row, key) in array.keys().iter().enumerate() {
                match key.map(ArrowNativeType::as_usize).filter(|key| *key < values.len() && values.is_valid(*key)) {
                    Some(key) => sink.text(start + row, index, values.value(key)),
                    None => sink.null(start + row, index),
                }
            }
            true
        }};
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string_opt::<i32>().is_some_and(|v| read!(v)),
        DataType::LargeUtf8 => values.as_string_opt::<i64>().is_some_and(|v| read!(v)),
        DataType::Utf8View => values.as_string_view_opt().is_some_and(|v| read!(v)),
        _ => false,
    }
}

fn timestamps(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    let plan = sink.plan;
    let Some(planned) = plan.columns.get(index) else { return true };
    let DataType::Timestamp(unit, zone) = array.data_type() else { return false };
    if zone.is_some() != planned.zoned {
        return false;
    }
    let beyond = |sink: &mut Sink, row: usize, value: i64, unit: &str| {
        sink.fault(Code::OutOfRange, row, planned, format!("{value} {unit}, which is no whole number of microseconds"));
    };
    macro_rules! read {
        ($type:ty, $unit:literal, $micros:expr) => {
            array.as_primitive_opt::<$type>().is_some_and(|values| {
                each(sink, start, index, values, |sink, row, value| match $micros(value) {
                    Some(micros) => sink.instant(row, planned, micros),
                    None => beyond(sink, row, value, $unit),
                })
            })
        };
    }
    match unit {
        TimeUnit::Second => read!(TimestampSecondType, "seconds", |v: i64| v.checked_mul(1_000_000)),
        TimeUnit::Millisecond => read!(TimestampMillisecondType, "milliseconds", |v: i64| v.checked_mul(1_000)),
        TimeUnit::Microsecond => read!(TimestampMicrosecondType, "microseconds", Some),
        TimeUnit::Nanosecond => {
            read!(TimestampNanosecondType, "nanoseconds", |v: i64| (v % 1_000 == 0).then_some(v / 1_000))
        }
    }
}

/// Reads tensors: fixed-size lists, nested or flat, of as many elements as the shape has.
fn tensor(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    let plan = sink.plan;
    let Some(planned) = plan.columns.get(index) else { return true };
    let mut sizes = Vec::new();
    let mut innermost = array.data_type();
    while let DataType::FixedSizeList(item, size) = innermost {
        sizes.push(usize::try_from(*size).unwrap_or(0));
        innermost = item.data_type();
    }
    if sizes.is_empty() {
        return false;
    }
    if sizes != planned.shape && sizes != [planned.width] {
        sink.refuse(Code::WrongShape, None, index, format!("lists of shape {sizes:?}"));
        return true;
    }
    // A sliced array's child may be longer than its slots: `slice` lays both on the same rows.
    let mut values = array.slice(0, array.len());
    while let Some(list) = values.as_fixed_size_list_opt() {
        if list.null_count() > 0 {
            return null_tensors(sink, start, index, array);
        }
        let size = usize::try_from(list.value_length()).unwrap_or(0);
        values = list.values().slice(0, list.len() * size);
    }
    match planned.element {
        Kind::Bool => *innermost == DataType::Boolean && booleans_wide(sink, start, index, values.as_ref()),
        _ if widens(innermost, planned.element) => numbers(sink, start, index, values.as_ref(), planned.width.max(1)),
        _ => false,
    }
}

fn booleans_wide(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    let width = sink.plan.columns.get(index).map_or(1, |c| c.width.max(1));
    booleans(sink, start, index, array, width)
}

/// A tensor column with null slots: each row by itself.
fn null_tensors(sink: &mut Sink, start: usize, index: usize, array: &dyn Array) -> bool {
    for row in 0..array.len() {
        if array.is_null(row) {
            sink.null(start + row, index);
        } else if array.as_fixed_size_list_opt().is_some_and(|l| nested_nulls(l.value(row).as_ref())) {
            sink.refuse(Code::NullNotAllowed, Some(start + row), index, "a null inside a tensor".to_owned());
        } else if !tensor(sink, start + row, index, array.slice(row, 1).as_ref()) {
            return false;
        }
    }
    true
}

fn nested_nulls(array: &dyn Array) -> bool {
    array.as_fixed_size_list_opt().is_some_and(|list| list.null_count() > 0 || nested_nulls(list.values().as_ref()))
}

#[cfg(test)]
mod tests;
