//! What a worker gave back, read as if a stranger had sent it.
//!
//! The bytes are a private copy by now. Arrow's reader verifies the message's structure and every offset, length and
//! text in it; what is left to compare is that there are as many rows as were asked, and that none is null.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use crate::signature::{Kind, Output};
use crate::values::arrow_in::quietly;
use crate::values::{OutputBuffer, Outputs, TextBuffer};

/// Reads the messages of one worker.
#[derive(Debug)]
pub struct Answers {
    decoder: StreamDecoder,
}

impl Answers {
    /// A reader of messages of the schema that `schema` is the message of; `None` if it is none.
    pub fn new(schema: &[u8]) -> Option<Self> {
        let mut decoder = StreamDecoder::new();
        let mut bytes = Buffer::from(schema);
        // It is understood only once more bytes come, so that nothing more can be asked here.
        decoder.decode(&mut bytes).ok()?;
        Some(Self { decoder })
    }

    /// The record batch of a message of `rows` rows.
    ///
    /// # Errors
    /// What is wrong with it. Such a worker's next messages are not to be read.
    pub fn read(&mut self, message: Buffer, rows: usize) -> Result<RecordBatch, String> {
        let decoder = &mut self.decoder;
        let mut rest = message;
        let read = quietly(|| catch_unwind(AssertUnwindSafe(|| decoder.decode(&mut rest))));
        match read {
            Err(_) => Err("its parts contradict each other".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(Some(batch))) if rest.is_empty() && batch.num_rows() == rows => Ok(batch),
            Ok(Ok(Some(batch))) => Err(format!("it has {} rows instead of {rows}", batch.num_rows())),
            Ok(Ok(None)) => Err("it is no record batch".to_owned()),
        }
    }
}

/// A batch as the outputs of a signature.
///
/// # Errors
/// Which column is not as the signature says.
pub fn outputs(batch: &RecordBatch, wanted: &[Output]) -> Result<Outputs, String> {
    let rows = batch.num_rows();
    let mut columns = Vec::with_capacity(wanted.len());
    for (output, array) in wanted.iter().zip(batch.columns()) {
        let values = quietly(|| catch_unwind(AssertUnwindSafe(|| values(array, output, rows))));
        match values {
            Ok(Some(values)) => columns.push((values, output.width())),
            _ => return Err(format!("the output \"{}\" has a null, or is not as the signature says", output.name)),
        }
    }
    if columns.len() != wanted.len() {
        return Err(format!("it has {} columns instead of {}", columns.len(), wanted.len()));
    }
    Ok(Outputs { rows, columns })
}

/// No rows of outputs.
pub fn no_outputs(wanted: &[Output]) -> Outputs {
    let empty = |o: &Output| (OutputBuffer::zeroed(o.kind, 0).unwrap_or(OutputBuffer::Bool(Vec::new())), o.width());
    Outputs { rows: 0, columns: wanted.iter().map(empty).collect() }
}

fn values(array: &ArrayRef, output: &Output, rows: usize) -> Option<OutputBuffer> {
    let values = match output.size {
        None => array.clone(),
        Some(size) => {
            let list = array.as_fixed_size_list_opt().filter(|list| list.null_count() == 0)?;
            list.values().slice(list.value_offset_at(0), rows * size)
        }
    };
    if values.null_count() > 0 || values.len() != rows * output.width() {
        return None;
    }
    Some(match output.kind {
        Kind::Bool => OutputBuffer::Bool(values.as_boolean_opt()?.values().iter().collect()),
        Kind::Int32 => OutputBuffer::I32(values.as_primitive_opt::<Int32Type>()?.values().to_vec()),
        Kind::Int64 => OutputBuffer::I64(values.as_primitive_opt::<Int64Type>()?.values().to_vec()),
        Kind::Float32 => OutputBuffer::F32(values.as_primitive_opt::<Float32Type>()?.values().to_vec()),
        Kind::Float64 => OutputBuffer::F64(values.as_primitive_opt::<Float64Type>()?.values().to_vec()),
        Kind::String => {
            let mut texts = TextBuffer::default();
            values.as_string_opt::<i32>()?.iter().for_each(|value| texts.push(value.unwrap_or_default()));
            OutputBuffer::Text(texts)
        }
        _ => return None,
    })
}
