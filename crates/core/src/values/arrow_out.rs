//! Answers as Arrow record batches and IPC streams.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::error::{Code, Error, Result};
use crate::signature::{Kind, Output};

use super::buffer::{OutputBuffer, Outputs};

/// The media type of an Arrow IPC stream.
pub const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

/// The Arrow schema of a signature's outputs.
pub fn schema(outputs: &[Output]) -> SchemaRef {
    let fields: Vec<Field> = outputs
        .iter()
        .map(|output| {
            let element = match output.kind {
                Kind::Bool => DataType::Boolean,
                Kind::Int32 => DataType::Int32,
                Kind::Int64 => DataType::Int64,
                Kind::Float32 => DataType::Float32,
                Kind::Float64 => DataType::Float64,
                _ => DataType::Utf8,
            };
            let kind = match output.size.and_then(|n| i32::try_from(n).ok()) {
                Some(size) => DataType::FixedSizeList(Arc::new(Field::new("item", element, false)), size),
                None => element,
            };
            Field::new(&output.name, kind, false)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The answer as one record batch; takes the buffers over without a copy.
///
/// # Errors
/// `internal` if the buffers do not fit the schema.
pub fn batch(schema: &SchemaRef, outputs: Outputs) -> Result<RecordBatch> {
    let rows = outputs.rows;
    let mut columns = Vec::with_capacity(outputs.columns.len());
    for ((buffer, _), field) in outputs.columns.into_iter().zip(schema.fields()) {
        let values: ArrayRef = match buffer {
            OutputBuffer::Bool(v) => Arc::new(BooleanArray::from(v)),
            OutputBuffer::I32(v) => Arc::new(Int32Array::from(v)),
            OutputBuffer::I64(v) => Arc::new(Int64Array::from(v)),
            OutputBuffer::F32(v) => Arc::new(Float32Array::from(v)),
            OutputBuffer::F64(v) => Arc::new(Float64Array::from(v)),
            OutputBuffer::Text(v) => Arc::new(StringArray::from_iter_values((0..v.len()).map(|i| v.get(i)))),
        };
        columns.push(match field.data_type() {
            DataType::FixedSizeList(item, size) => {
                Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, None).map_err(fault)?) as ArrayRef
            }
            _ => values,
        });
    }
    debug_assert!(columns.iter().all(|c| c.len() == rows));
    RecordBatch::try_new(schema.clone(), columns).map_err(fault)
}

/// The answer as an Arrow IPC stream.
///
/// # Errors
/// `internal` if the buffers do not fit the schema.
pub fn stream(schema: &SchemaRef, outputs: Outputs) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(fault)?;
    if outputs.rows > 0 {
        writer.write(&batch(schema, outputs)?).map_err(fault)?;
    }
    writer.finish().map_err(fault)?;
    writer.into_inner().map_err(fault)
}

/// The error of what Arrow does not take.
#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
pub fn fault(error: ArrowError) -> Error {
    Error::new(Code::Internal, format!("an answer could not be written as Arrow: {error}"))
}
