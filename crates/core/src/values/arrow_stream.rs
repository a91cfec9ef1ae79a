//! Arrow IPC streams that are larger than memory: record batch by record batch, as their bytes come.
//!
//! What is held at a time is one message and the dictionaries, both bounded by what they announce before they are read.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::SchemaRef;

use crate::error::{Code, Error, Result};

use super::arrow_in::{malformed, quietly};

/// What stands before the length of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Reads a stream as its bytes come.
pub struct StreamReader {
    decoder: StreamDecoder,
    lengths: Lengths,
}

impl StreamReader {
    /// A reader of messages of so many bytes at most, and of dictionaries of as many together.
    pub fn new(limit_bytes: usize) -> Self {
        Self { decoder: StreamDecoder::new(), lengths: Lengths::new(limit_bytes as u64) }
    }

    /// Takes the next bytes, and gives every record batch that they complete to `each`.
    ///
    /// # Errors
    /// `malformed_arrow`, `body_too_large`, and those of `each`.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        self.lengths.pass(bytes)?;
        let mut rest = Buffer::from(bytes);
        while !rest.is_empty() {
            let before = rest.len();
            let decode = || self.decoder.decode(&mut rest);
            // As for bodies that are read whole: hostile bytes are their sender's error alone.
            let batch = quietly(|| catch_unwind(AssertUnwindSafe(decode)))
                .map_err(|_| malformed("its messages contradict each other"))?
                .map_err(|e| malformed(&e.to_string()))?;
            match batch {
                Some(batch) => each(&batch)?,
                None if rest.len() == before => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Bytes that it holds: what has come of a message, and the dictionaries.
    pub fn held_bytes(&self) -> usize {
        usize::try_from(self.lengths.held()).unwrap_or(usize::MAX)
    }

    /// Ends the stream, and gives its schema.
    ///
    /// # Errors
    /// `malformed_arrow` if it is not whole.
    pub fn finish(&mut self) -> Result<SchemaRef> {
        self.decoder.finish().map_err(|e| malformed(&e.to_string()))?;
        self.decoder.schema().ok_or_else(|| malformed("it holds no schema"))
    }
}

/// Where in a stream its next byte stands.
enum At {
    /// In the length of the next message, of which these bytes have come.
    Length(Vec<u8>),
    /// In its description, of so many bytes.
    Description(Vec<u8>, usize),
    /// In its body, of so many bytes, of which so many are to come.
    Body(u64, u64),
}

/// Follows a stream's messages, to refuse one that is too long before it is held.
struct Lengths {
    at: At,
    limit_bytes: u64,
    /// Bytes of every dictionary.
    dictionaries: HashMap<i64, u64>,
}

impl Lengths {
    fn new(limit_bytes: u64) -> Self {
        Self { at: At::Length(Vec::new()), limit_bytes, dictionaries: HashMap::new() }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let next = match &mut self.at {
                At::Length(seen) => {
                    fill(seen, &mut bytes, 4);
                    match <[u8; 4]>::try_from(seen.as_slice()) {
                        Ok(CONTINUATION) => Some(At::Length(Vec::new())),
                        Ok(length) => {
                            let length = u32::from_le_bytes(length);
                            // What is no Arrow at all ends here, most likely.
                            let length = usize::try_from(length).ok().filter(|l| *l as u64 <= self.limit_bytes);
                            let length = length.ok_or_else(|| malformed("a message's description is too long"))?;
                            // Of length 0 is what ends the stream.
                            Some(if length == 0 { At::Length(Vec::new()) } else { At::Description(Vec::new(), length) })
                        }
                        Err(_) => None,
                    }
                }
                At::Description(seen, length) => {
                    let length = *length;
                    fill(seen, &mut bytes, length);
                    let whole = (seen.len() == length).then(|| std::mem::take(seen));
                    whole.map(|whole| self.announced(&whole)).transpose()?.map(|body| match body {
                        0 => At::Length(Vec::new()),
                        body => At::Body(body, body),
                    })
                }
                At::Body(_, left) => {
                    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    bytes = bytes.get(taken..).unwrap_or_default();
                    *left -= taken as u64;
                    (*left == 0).then(|| At::Length(Vec::new()))
                }
            };
            self.at = match next {
                Some(next) => next,
                None => continue,
            };
        }
        Ok(())
    }

    fn held(&self) -> u64 {
        let message = match &self.at {
            At::Length(seen) | At::Description(seen, _) => seen.len() as u64,
            At::Body(length, left) => length - left,
        };
        message.saturating_add(self.dictionaries.values().sum())
    }

    /// The length of the body that a description announces.
    fn announced(&mut self, description: &[u8]) -> Result<u64> {
        let message = root_as_message(description).map_err(|e| malformed(&e.to_string()))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| malformed("a message has a negative length"))?;
        self.check(body)?;
        if message.header_type() == MessageHeader::DictionaryBatch
            && let Some(dictionary) = message.header_as_dictionary_batch()
        {
            let held = self.dictionaries.entry(dictionary.id()).or_default();
            *held = if dictionary.isDelta() { held.saturating_add(body) } else { body };
            self.check(self.dictionaries.values().sum())?;
        }
        Ok(body)
    }

    fn check(&self, bytes: u64) -> Result<()> {
        if bytes <= self.limit_bytes {
            return Ok(());
        }
        let message = format!("a record batch of the stream is over {} bytes", self.limit_bytes);
        Err(Error::new(Code::BodyTooLarge, message)
            .hint("write smaller record batches (pyarrow: write_table(table, max_chunksize=65536)), or raise limit_body_bytes"))
    }
}

/// Moves bytes until there are `length`.
fn fill(seen: &mut Vec<u8>, bytes: &mut &[u8], length: usize) {
    let (taken, rest) = bytes.split_at(bytes.len().min(length.saturating_sub(seen.len())));
    seen.extend_from_slice(taken);
    *bytes = rest;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Float64Array;
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    fn stream(batches: usize, rows: usize) -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, false)]));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        for batch in 0..batches {
            let values = Float64Array::from_iter_values((0..rows).map(|row| (batch * rows + row) as f64));
            writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    fn rows(bytes: &[u8], step: usize, limit_bytes: usize) -> Result<usize> {
        let (mut reader, mut rows) = (StreamReader::new(limit_bytes), 0);
        for part in bytes.chunks(step) {
            reader.take(part, |batch| {
                rows += batch.num_rows();
                Ok(())
            })?;
        }
        reader.finish().map(|_| rows)
    }

    #[test]
    fn bytes_come_in_any_pieces() {
        let whole = stream(3, 10);
        for step in [1, 2, 3, 7, 64, whole.len()] {
            assert_eq!(rows(&whole, step, 1 << 20).unwrap(), 30, "{step}");
        }
        for cut in [1, 9, whole.len() / 2, whole.len() - 9] {
            assert_eq!(rows(&whole[..cut], 64, 1 << 20).unwrap_err().code(), Code::MalformedArrow, "{cut}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_announcement() {
        let whole = stream(1, 1_000);
        let head = &whole[..whole.len() - 7_000];
        assert_eq!(rows(head, 64, 4_096).unwrap_err().code(), Code::BodyTooLarge);
        assert_eq!(rows(b"\xff\xff\xff\xff\xff\xff\xff\x7f", 3, 4_096).unwrap_err().code(), Code::MalformedArrow);
    }
}
