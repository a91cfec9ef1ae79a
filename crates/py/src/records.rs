//! Python dicts and lists into column buffers, by the same rules as JSON.

use monorail_core::error::Code;
use monorail_core::values::faults::{Road, shortened};
use monorail_core::values::sink::{Number, Sink};
use monorail_core::values::{Plan, RowBuffer, UnknownColumns};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PySequence, PyString, PyTuple};

use crate::errors;

/// Deepest nesting of a value.
const LIMIT_DEPTH: usize = 64;

/// Reads records, one dict a row.
pub fn read_rows(rows: &Bound<'_, PySequence>, plan: &Plan, buffer: &mut RowBuffer) -> PyResult<()> {
    let py = rows.py();
    let mut sink = Sink::new(plan, buffer, Road::Rows, usize::MAX);
    let mut named = vec![false; plan.columns.len()];
    for (row, record) in rows.try_iter()?.enumerate() {
        let record = record?;
        sink.ensure_rows(row + 1).map_err(|e| errors::raise(py, &e))?;
        let Ok(record) = record.cast::<PyDict>() else {
            let got = shortened(&record.get_type().name()?.to_string_lossy());
            sink.faults.add(Code::WrongShape, Some(row), None, "a dict with a value for each column", got);
            continue;
        };
        named.fill(false);
        for (key, value) in record.iter() {
            if let Some(index) = column(&mut sink, Some(row), &key)? {
                if let Some(named) = named.get_mut(index) {
                    *named = true;
                }
                put(&mut sink, row, index, &value)?;
            }
        }
        for (index, _) in named.iter().enumerate().filter(|(_, named)| !**named) {
            sink.absent(row, index);
        }
        if sink.faults.is_full() {
            break;
        }
    }
    sink.finish().map(|_| ()).map_err(|e| errors::raise(py, &e))
}

/// Reads columns: a dict of lists of one length.
pub fn read_columns(columns: &Bound<'_, PyDict>, plan: &Plan, buffer: &mut RowBuffer) -> PyResult<()> {
    let py = columns.py();
    let mut sink = Sink::new(plan, buffer, Road::Columns, usize::MAX);
    let mut lengths = vec![None; plan.columns.len()];
    for (key, values) in columns.iter() {
        let Some(index) = column(&mut sink, None, &key)? else { continue };
        let values = if values.hasattr("tolist")? { values.call_method0("tolist")? } else { values };
        if values.is_instance_of::<PyString>() || values.try_iter().is_err() {
            let got = values.get_type().name()?.to_string_lossy().into_owned();
            sink.refuse(Code::WrongShape, None, index, format!("a {got} where its list of values belongs"));
            continue;
        }
        let mut length = 0;
        for (row, value) in values.try_iter()?.enumerate() {
            sink.ensure_rows(row + 1).map_err(|e| errors::raise(py, &e))?;
            put(&mut sink, row, index, &value?)?;
            length = row + 1;
            if sink.faults.is_full() {
                break;
            }
        }
        if let Some(place) = lengths.get_mut(index) {
            *place = Some(length);
        }
    }
    for (index, length) in lengths.into_iter().enumerate() {
        match length {
            None => sink.absent_column(index),
            Some(length) if length != sink.rows() => {
                let got = format!("{length} values where another column has {}", sink.rows());
                sink.refuse(Code::WrongShape, None, index, got);
            }
            Some(_) => {}
        }
    }
    sink.finish().map(|_| ()).map_err(|e| errors::raise(py, &e))
}

/// The column a key names; notes a fault for one that is not there.
fn column(sink: &mut Sink, row: Option<usize>, key: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let name = key.str()?.to_string_lossy().into_owned();
    let index = if key.is_instance_of::<PyString>() { sink.plan.column(&name) } else { None };
    if index.is_none() && sink.plan.unknown_columns == UnknownColumns::Refuse {
        let name = shortened(&name);
        sink.faults.add(Code::UnknownColumn, row, Some(&name), "a column of the signature", "another name");
    }
    Ok(index)
}

/// Hands one value to the sink.
fn put(sink: &mut Sink, row: usize, index: usize, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if sink.is_tensor(index) {
        let mut elements = 0;
        if is_missing(value)? {
            sink.null(row, index);
        } else if !tensor(sink, row, index, value, 0, &mut elements)? {
            sink.refuse(Code::WrongShape, Some(row), index, "lists of another shape".to_owned());
        }
        return Ok(());
    }
    scalar(sink, row, index, 0, value, 0)
}

fn scalar(
    sink: &mut Sink,
    row: usize,
    index: usize,
    element: usize,
    value: &Bound<'_, PyAny>,
    depth: usize,
) -> PyResult<()> {
    if is_missing(value)? {
        if sink.is_tensor(index) {
            sink.null_element(row, index, element);
        } else {
            sink.null(row, index);
        }
    } else if let Ok(value) = value.cast::<PyBool>() {
        sink.boolean(row, index, element, value.is_true());
    } else if let Ok(value) = value.cast::<PyFloat>() {
        sink.number(row, index, element, Number::Float(value.value()));
    } else if let Ok(value) = value.cast::<PyInt>() {
        match (value.extract::<i64>(), value.extract::<i128>()) {
            (Ok(value), _) => sink.number(row, index, element, Number::Int(value)),
            (_, Ok(value)) => sink.number(row, index, element, Number::Big(value)),
            _ => sink.refuse(Code::OutOfRange, Some(row), index, "an int beyond 128 bits".to_owned()),
        }
    } else if let Ok(value) = value.cast::<PyString>() {
        match value.to_cow() {
            Ok(text) => sink.text(row, index, &text),
            Err(_) => sink.refuse(Code::WrongFormat, Some(row), index, "a string that is not Unicode".to_owned()),
        }
    } else if value.hasattr("isoformat")? {
        sink.iso(row, index, &value.call_method0("isoformat")?.extract::<String>()?);
    } else if depth == 0 && value.hasattr("tolist")? {
        return scalar(sink, row, index, element, &value.call_method0("tolist")?, 1);
    } else {
        let kind = value.get_type().name()?.to_string_lossy().into_owned();
        sink.refuse(Code::WrongType, Some(row), index, format!("a {}", shortened(&kind)));
    }
    Ok(())
}

/// Reads one dimension of a tensor; false if its length or nesting is not the shape's.
fn tensor(
    sink: &mut Sink,
    row: usize,
    index: usize,
    value: &Bound<'_, PyAny>,
    dimension: usize,
    element: &mut usize,
) -> PyResult<bool> {
    let value = &if value.hasattr("tolist")? { value.call_method0("tolist")? } else { value.clone() };
    let listed = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
    match sink.plan.columns.get(index).and_then(|c| c.shape().get(dimension).copied()) {
        None if listed => Ok(false),
        None => {
            scalar(sink, row, index, *element, value, 0)?;
            *element += 1;
            Ok(true)
        }
        Some(length) => {
            if !listed || dimension > LIMIT_DEPTH || value.len()? != length {
                return Ok(false);
            }
            for inner in value.try_iter()? {
                if !tensor(sink, row, index, &inner?, dimension + 1, element)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether a value means "not there": None, a float's NaN, or pandas' NA and NaT.
fn is_missing(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_none() {
        return Ok(true);
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return Ok(value.value().is_nan());
    }
    let kind = value.get_type();
    let name = kind.name()?;
    Ok(name == "NAType" || name == "NaTType")
}
