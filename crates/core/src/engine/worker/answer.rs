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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{FixedSizeListArray, Float64Array, Int64Array, StringArray};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    /// The message of a schema, and that of a batch of three rows.
    fn messages() -> (Vec<u8>, Vec<u8>, Vec<Output>) {
        let item = Arc::new(Field::new("item", DataType::Float64, false));
        let schema = Schema::new(vec![
            Field::new("label", DataType::Utf8, false),
            Field::new("number", DataType::Int64, false),
            Field::new("probability", DataType::FixedSizeList(item.clone(), 2), false),
        ]);
        let lists = Float64Array::from(vec![0.25, 0.75, 0.5, 0.5, 1.0, 0.0]);
        let batch = RecordBatch::try_new(
            Arc::new(schema.clone()),
            vec![
                Arc::new(StringArray::from(vec!["", "grün", "x"])),
                Arc::new(Int64Array::from(vec![1, i64::MIN, 3])),
                Arc::new(FixedSizeListArray::try_new(item, 2, Arc::new(lists), None).unwrap()),
            ],
        )
        .unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        let head = writer.get_ref().clone();
        writer.write(&batch).unwrap();
        let message = writer.get_ref()[head.len()..].to_vec();
        let output = |name: &str, kind, size| Output { name: name.to_owned(), kind, size, names: None };
        let wanted = vec![
            output("label", Kind::String, None),
            output("number", Kind::Int64, None),
            output("probability", Kind::Float64, Some(2)),
        ];
        (head, message, wanted)
    }

    #[test]
    fn a_message_becomes_outputs() {
        let (schema, message, wanted) = messages();
        let mut answers = Answers::new(&schema).unwrap();
        for _ in 0..2 {
            let batch = answers.read(Buffer::from(message.as_slice()), 3).unwrap();
            let got = outputs(&batch, &wanted).unwrap();
            assert_eq!(got.columns[1].0, OutputBuffer::I64(vec![1, i64::MIN, 3]));
            assert_eq!(got.columns[2], (OutputBuffer::F64(vec![0.25, 0.75, 0.5, 0.5, 1.0, 0.0]), 2));
            let OutputBuffer::Text(texts) = &got.columns[0].0 else { panic!("text") };
            assert_eq!((texts.len(), texts.get(1)), (3, "grün"));
        }
        assert!(answers.read(Buffer::from(message.as_slice()), 4).unwrap_err().contains("3 rows instead of 4"));
    }

    proptest! {
        /// Whatever a worker changes in a message, it is read or refused, and never more than was sent is looked at.
        #[test]
        fn no_message_does_harm(
            changes in prop::collection::vec((0_usize..1_000, any::<u8>()), 1..12),
            cut in 0_usize..1_000,
        ) {
            let (schema, mut message, wanted) = messages();
            for (at, byte) in changes {
                let length = message.len();
                message[at % length] = byte;
            }
            if cut < message.len() {
                message.truncate(cut);
            }
            let mut answers = Answers::new(&schema).unwrap();
            if let Ok(batch) = answers.read(Buffer::from(message.as_slice()), 3)
                && let Ok(got) = outputs(&batch, &wanted)
            {
                prop_assert_eq!(got.rows, 3);
                for ((values, width), output) in got.columns.iter().zip(&wanted) {
                    prop_assert_eq!((values.len(), *width), (3 * output.width(), output.width()));
                }
            }
        }
    }
}
