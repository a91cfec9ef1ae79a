//! Golden rows: scored again before a model calls itself ready, and compared with what the bundle keeps.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::Schema;
use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::values::{OutputBuffer, Outputs, TextBuffer, arrow_in};

use super::model::Model;

/// Prefix of the input columns in `golden.arrow`.
pub const INPUT: &str = "input/";
/// Prefix of the output columns in `golden.arrow`.
pub const OUTPUT: &str = "output/";

/// How the golden rows came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Rows that were scored; 0 if the bundle keeps none.
    pub rows: usize,
    /// Labels (and any other value that is not a float) that differ.
    pub label_mismatches: usize,
    /// The greatest absolute difference of any float.
    pub worst_difference: f64,
    /// Whether all is within the proof's tolerances.
    pub matched: bool,
    /// The first row that is not, and its output column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_mismatch: Option<(usize, String)>,
}

impl Report {
    /// The error that a mismatch is.
    ///
    /// # Errors
    /// `golden_mismatch`.
    pub fn require(self, name: &str, version: u64) -> Result<Self> {
        let Some((row, column)) = &self.first_mismatch else { return Ok(self) };
        Err(Error::new(
            Code::GoldenMismatch,
            format!(
                "{name}@{version} does not give its golden answers here: row {row}, \"{column}\" \
                 (worst difference {:e}, {} labels changed)",
                self.worst_difference, self.label_mismatches
            ),
        )
        .hint("this machine or its ONNX Runtime computes otherwise: save the model again here, or use the version it was saved with"))
    }
}

/// A bundle's golden rows, read back.
pub struct Golden {
    pub inputs: Vec<RecordBatch>,
    outputs: Vec<RecordBatch>,
}

/// Reads `golden.arrow`.
///
/// # Errors
/// `bundle_damaged`.
pub fn read(bytes: &[u8]) -> Result<Golden> {
    let reader = StreamReader::try_new(bytes, None).map_err(|e| damaged(&e.to_string()))?;
    let schema = reader.schema();
    let mut golden = Golden { inputs: Vec::new(), outputs: Vec::new() };
    for batch in reader {
        let batch = batch.map_err(|e| damaged(&e.to_string()))?;
        golden.inputs.push(part(&schema, &batch, INPUT)?);
        golden.outputs.push(part(&schema, &batch, OUTPUT)?);
    }
    Ok(golden)
}

/// The columns whose names start with `prefix`, named without it.
fn part(schema: &Schema, batch: &RecordBatch, prefix: &str) -> Result<RecordBatch> {
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if let Some(name) = field.name().strip_prefix(prefix) {
            fields.push(field.as_ref().clone().with_name(name));
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| damaged(&e.to_string()))
}

fn damaged(why: &str) -> Error {
    Error::new(Code::BundleDamaged, format!("the golden rows cannot be read: {why}"))
}

/// Scores a model's golden rows and compares.
pub(super) fn check(model: &Model, bytes: Option<&[u8]>) -> Result<Report> {
    let mut report =
        Report { rows: 0, label_mismatches: 0, worst_difference: 0.0, matched: true, first_mismatch: None };
    let Some(bytes) = bytes else { return Ok(report) };
    let golden = read(bytes)?;
    for (inputs, expected) in golden.inputs.iter().zip(&golden.outputs) {
        let mut buffer = model.plan.buffer();
        let batches = std::slice::from_ref(inputs);
        let rows = arrow_in::read_batches(&inputs.schema(), batches, &model.plan, &mut buffer, usize::MAX)
            .map_err(|e| damaged(&e.to_string()))?;
        let outputs = model.engine.run(&buffer, 0..rows)?;
        compare(model, &outputs, expected, &mut report)?;
        report.rows += rows;
    }
    Ok(report)
}

fn compare(model: &Model, outputs: &Outputs, expected: &RecordBatch, report: &mut Report) -> Result<()> {
    let proof = &model.manifest.proof;
    for ((got, width), output) in outputs.columns.iter().zip(model.outputs()) {
        let column = expected
            .column_by_name(&output.name)
            .ok_or_else(|| damaged(&format!("they have no answers for \"{}\"", output.name)))?;
        let values = match column.as_fixed_size_list_opt() {
            Some(list) if list.value_length() >= 0 => list.values().clone(),
            _ => column.clone(),
        };
        let wanted = flat(&values, got).ok_or_else(|| damaged(&format!("\"{}\" has another type", output.name)))?;
        if wanted.len() != got.len() {
            return Err(damaged(&format!("\"{}\" has another shape", output.name)));
        }
        for at in 0..got.len() {
            let fits = match (number(got, at), number(&wanted, at)) {
                (Some(a), Some(b)) if a.is_nan() && b.is_nan() => true,
                (Some(a), Some(b)) => {
                    let difference = if a == b { 0.0 } else { (a - b).abs() };
                    report.worst_difference = report.worst_difference.max(difference);
                    difference <= proof.atol + proof.rtol * b.abs()
                }
                _ => {
                    let same = same(got, &wanted, at);
                    report.label_mismatches += usize::from(!same);
                    same
                }
            };
            if !fits && report.first_mismatch.is_none() {
                report.matched = false;
                report.first_mismatch = Some((report.rows + at / width.max(&1), output.name.clone()));
            }
        }
    }
    Ok(())
}

/// The values of an array as a buffer of the same type as `like`.
fn flat(values: &ArrayRef, like: &OutputBuffer) -> Option<OutputBuffer> {
    Some(match like {
        OutputBuffer::Bool(_) => OutputBuffer::Bool(values.as_boolean_opt()?.iter().map(|v| v == Some(true)).collect()),
        OutputBuffer::I32(_) => OutputBuffer::I32(values.as_primitive_opt::<Int32Type>()?.values().to_vec()),
        OutputBuffer::I64(_) => OutputBuffer::I64(values.as_primitive_opt::<Int64Type>()?.values().to_vec()),
        OutputBuffer::F32(_) => OutputBuffer::F32(values.as_primitive_opt::<Float32Type>()?.values().to_vec()),
        OutputBuffer::F64(_) => OutputBuffer::F64(values.as_primitive_opt::<Float64Type>()?.values().to_vec()),
        OutputBuffer::Text(_) => {
            let mut texts = TextBuffer::default();
            for value in values.as_string_opt::<i32>()? {
                texts.push(value.unwrap_or(""));
            }
            OutputBuffer::Text(texts)
        }
    })
}

fn number(buffer: &OutputBuffer, at: usize) -> Option<f64> {
    match buffer {
        OutputBuffer::F32(v) => v.get(at).copied().map(f64::from),
        OutputBuffer::F64(v) => v.get(at).copied(),
        _ => None,
    }
}

fn same(a: &OutputBuffer, b: &OutputBuffer, at: usize) -> bool {
    match (a, b) {
        (OutputBuffer::Bool(a), OutputBuffer::Bool(b)) => a.get(at) == b.get(at),
        (OutputBuffer::I32(a), OutputBuffer::I32(b)) => a.get(at) == b.get(at),
        (OutputBuffer::I64(a), OutputBuffer::I64(b)) => a.get(at) == b.get(at),
        (OutputBuffer::Text(a), OutputBuffer::Text(b)) => a.get(at) == b.get(at),
        _ => false,
    }
}
