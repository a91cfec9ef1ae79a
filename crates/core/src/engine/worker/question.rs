//! Rows of a buffer as an Arrow record batch message, written straight into the memory the worker reads.
//!
//! The buffer is laid out for graphs: columns packed side by side, nulls as NaN or in flags of their own. Here each
//! column becomes what Arrow calls it. Its values are copied once, from the row buffer into shared memory.

use std::ops::Range;
use std::sync::Arc;

use arrow_ipc::{Buffer, FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use flatbuffers::FlatBufferBuilder;

use crate::signature::{Column, Kind};
use crate::values::plan::{Plan, Slot, Store};
use crate::values::{RowBuffer, TensorBuffer, TextBuffer};

/// Bytes before the message: the word that says which batch is to be given up, and room to the next cache line.
pub const MESSAGE_START: usize = 64;
/// Where buffers begin: multiples of this.
const ALIGNMENT: usize = 64;

/// How rows of one plan become messages.
#[derive(Debug)]
pub struct Questions {
    columns: Vec<Asked>,
    /// The schema of every message.
    pub schema: Schema,
    /// Bytes kept for a message's head: it is as long for every batch.
    head: usize,
}

/// One column of the messages.
#[derive(Debug)]
struct Asked {
    slot: Slot,
    store: Store,
    element: Kind,
    nullable: bool,
    /// Elements of a value; lists outside first, as `shape` says.
    width: usize,
    shape: Vec<usize>,
}

/// Why a batch has no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// A column of text is over two gigabytes.
    Text,
    /// The system has no shared memory for it.
    Memory,
    /// The buffer is of another plan.
    Plan,
}

impl Questions {
    /// Messages of all columns that the plan places, in the signature's order.
    pub fn new(columns: &[Column], plan: &Plan) -> Self {
        let (mut asked, mut fields) = (Vec::new(), Vec::new());
        for (column, planned) in columns.iter().zip(&plan.columns) {
            let Some(slot) = planned.slot else { continue };
            let shape = column.shape.clone().unwrap_or_default();
            fields.push(Field::new(&column.name, data_type(column), column.nullable));
            let (store, element, nullable) = (planned.store, planned.element, planned.nullable);
            asked.push(Asked { slot, store, element, nullable, width: planned.width.max(1), shape });
        }
        let mut questions = Self { columns: asked, schema: Schema::new(fields), head: 0 };
        let (nodes, buffers) = questions.columns.iter().fold((0, 0), |(nodes, buffers), column| {
            (nodes + 1 + column.shape.len(), buffers + column.shape.len() + if column.is_text() { 3 } else { 2 })
        });
        // Numbers that are zero take no room in a head: none of these is.
        let head = head(1, &vec![FieldNode::new(1, 1); nodes], &vec![Buffer::new(1, 1); buffers], 1).len();
        questions.head = (head + 8 + 16).next_multiple_of(ALIGNMENT);
        questions
    }

    /// Bytes that the message of some rows takes, with what is before it; `None` for a buffer of another plan.
    pub fn bytes(&self, rows: &RowBuffer, range: &Range<usize>) -> Option<usize> {
        let mut bytes = MESSAGE_START + self.head;
        for column in &self.columns {
            let count = range.len() * column.width;
            let values = match rows.tensor(column.slot.tensor)?.0 {
                TensorBuffer::Text(texts) => texts.bytes_of(range).len().next_multiple_of(ALIGNMENT) + 4 * (count + 1),
                _ if column.is_bits() => count.div_ceil(8),
                _ => count * column.size(),
            };
            bytes += values.next_multiple_of(ALIGNMENT) + range.len().div_ceil(8).next_multiple_of(ALIGNMENT);
        }
        Some(bytes)
    }

    /// Writes the message of some rows behind [`MESSAGE_START`] and gives its length.
    ///
    /// # Errors
    /// Where the rows do not fit into a message.
    pub fn write(&self, rows: &RowBuffer, range: &Range<usize>, memory: &mut [u8]) -> Result<usize, Unwritable> {
        let (head_place, body) = memory
            .get_mut(MESSAGE_START..)
            .and_then(|rest| rest.split_at_mut_checked(self.head))
            .ok_or(Unwritable::Plan)?;
        let mut body = Body { bytes: body, at: 0, nodes: Vec::new(), buffers: Vec::new() };
        for column in &self.columns {
            column.write(rows, range, &mut body)?;
        }
        let Body { at, nodes, buffers, .. } = body;
        let message = head(range.len(), &nodes, &buffers, at);
        let length = u32::try_from(self.head - 8).map_err(|_| Unwritable::Plan)?;
        let (mark, rest) = head_place.split_at_mut_checked(8).ok_or(Unwritable::Plan)?;
        mark.copy_from_slice(&(u64::from(length) << 32 | u64::from(u32::MAX)).to_le_bytes());
        let (place, padding) = rest.split_at_mut_checked(message.len()).ok_or(Unwritable::Plan)?;
        place.copy_from_slice(&message);
        padding.fill(0);
        Ok(self.head + at)
    }
}

/// The head of a record batch message.
fn head(rows: usize, nodes: &[FieldNode], buffers: &[Buffer], body: usize) -> Vec<u8> {
    let long = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut builder = FlatBufferBuilder::with_capacity(256 + 32 * (nodes.len() + buffers.len()));
    let nodes = builder.create_vector(nodes);
    let buffers = builder.create_vector(buffers);
    let batch = {
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(long(rows));
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        batch.finish().as_union_value()
    };
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_bodyLength(long(body));
    message.add_header(batch);
    let root = message.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// The Arrow type of a column of the signature.
pub fn data_type(column: &Column) -> DataType {
    let element = match column.element() {
        Kind::Bool => DataType::Boolean,
        Kind::Int8 => DataType::Int8,
        Kind::Int16 => DataType::Int16,
        Kind::Int32 => DataType::Int32,
        Kind::Int64 => DataType::Int64,
        Kind::Uint8 => DataType::UInt8,
        Kind::Uint16 => DataType::UInt16,
        Kind::Uint32 => DataType::UInt32,
        Kind::Uint64 => DataType::UInt64,
        Kind::Float32 => DataType::Float32,
        Kind::Float64 => DataType::Float64,
        Kind::String | Kind::Dictionary | Kind::Tensor => DataType::Utf8,
        Kind::Date32 => DataType::Date32,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, column.zone.as_deref().map(Arc::from)),
    };
    let lists = column.shape.as_deref().unwrap_or_default();
    lists.iter().rev().fold(element, |item, size| {
        DataType::FixedSizeList(Arc::new(Field::new("item", item, false)), i32::try_from(*size).unwrap_or(i32::MAX))
    })
}

/// The part of a message behind its head, as it is filled.
struct Body<'a> {
    bytes: &'a mut [u8],
    at: usize,
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
}

impl Body<'_> {
    /// Room for the next buffer.
    fn buffer(&mut self, bytes: usize) -> Result<&mut [u8], Unwritable> {
        let start = self.at;
        let end = start + bytes;
        self.at = end.next_multiple_of(ALIGNMENT);
        let long = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.buffers.push(Buffer::new(long(start), long(bytes)));
        self.bytes.get_mut(start..end).ok_or(Unwritable::Plan)
    }

    /// A field's number of values and of nulls.
    fn node(&mut self, values: usize, nulls: usize) {
        let long = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.nodes.push(FieldNode::new(long(values), long(nulls)));
    }

    /// The bits that say which values are there; none where all are.
    fn validity(&mut self, rows: usize, valid: Option<impl Iterator<Item = bool>>) -> Result<(), Unwritable> {
        let Some(valid) = valid else {
            self.node(rows, 0);
            return self.buffer(0).map(|_| ());
        };
        let ones = bits(self.buffer(rows.div_ceil(8))?, valid);
        self.node(rows, rows - ones);
        Ok(())
    }
}

/// Writes bits, least significant first, and counts the ones.
fn bits(place: &mut [u8], values: impl Iterator<Item = bool>) -> usize {
    place.fill(0);
    let mut ones = 0;
    for (at, value) in values.enumerate() {
        if let Some(byte) = place.get_mut(at / 8) {
            *byte |= u8::from(value) << (at % 8);
            ones += usize::from(value);
        }
    }
    ones
}

impl Asked {
    fn is_text(&self) -> bool {
        self.store == Store::Text
    }

    fn is_bits(&self) -> bool {
        self.element == Kind::Bool
    }

    /// Bytes of a value in the message.
    fn size(&self) -> usize {
        match self.store {
            Store::Date => 4,
            Store::Timestamp => 8,
            _ => self.element.bytes(),
        }
    }

    fn write(&self, rows: &RowBuffer, range: &Range<usize>, body: &mut Body) -> Result<(), Unwritable> {
        let (tensor, _) = rows.tensor(self.slot.tensor).ok_or(Unwritable::Plan)?;
        match (self.store, tensor) {
            (Store::Text, TensorBuffer::Text(texts)) => {
                self.flags(rows, range, body)?;
                write_text(texts, range, body)
            }
            (Store::BoolOrNull | Store::IntOrNull, TensorBuffer::F64(values)) => {
                let there = self.each(values, range).map(|value| !value.is_nan());
                body.validity(range.len(), Some(there))?;
                self.write_from_doubles(values, range, body)
            }
            (Store::Date, TensorBuffer::I64(days)) => {
                self.flags(rows, range, body)?;
                #[expect(clippy::cast_possible_truncation, reason = "days were 32 bits when they came")]
                self.copy(days, range, body, |day| (day as i32).to_le_bytes())
            }
            (Store::Timestamp, TensorBuffer::I64(micros)) => {
                self.flags(rows, range, body)?;
                self.copy(micros, range, body, i64::to_le_bytes)
            }
            (Store::F32, TensorBuffer::F32(values)) => {
                let there = self.nullable.then(|| self.each(values, range).map(|value| !value.is_nan()));
                body.validity(range.len(), there)?;
                self.copy(values, range, body, f32::to_le_bytes)
            }
            (Store::F64, TensorBuffer::F64(values)) => {
                let there = self.nullable.then(|| self.each(values, range).map(|value| !value.is_nan()));
                body.validity(range.len(), there)?;
                self.copy(values, range, body, f64::to_le_bytes)
            }
            (Store::Bool | Store::Int | Store::Tensor, tensor) => {
                self.lists(range.len(), body)?;
                self.write_plain(tensor, range, body)
            }
            _ => Err(Unwritable::Plan),
        }
    }

    /// The value of each row, of a column that has one.
    fn each<'a, T: Copy>(&self, values: &'a [T], range: &Range<usize>) -> impl Iterator<Item = T> + use<'a, T> {
        let Slot { offset, stride, .. } = self.slot;
        values.iter().skip(range.start * stride + offset).step_by(stride.max(1)).take(range.len()).copied()
    }

    /// The validity of a column whose nulls are in a tensor of their own.
    fn flags(&self, rows: &RowBuffer, range: &Range<usize>, body: &mut Body) -> Result<(), Unwritable> {
        let flags = match self.slot.valid.and_then(|tensor| rows.tensor(tensor)) {
            Some((TensorBuffer::Bool(flags), _)) => Some(flags.get(range.clone()).ok_or(Unwritable::Plan)?),
            _ => None,
        };
        body.validity(range.len(), flags.map(|flags| flags.iter().copied()))
    }

    /// The nodes of a tensor's lists and of its elements: none is null, a null tensor's elements are NaN.
    fn lists(&self, rows: usize, body: &mut Body) -> Result<(), Unwritable> {
        let mut values = rows;
        body.validity(values, None::<std::iter::Empty<bool>>)?;
        for size in &self.shape {
            values *= size;
            body.validity(values, None::<std::iter::Empty<bool>>)?;
        }
        Ok(())
    }

    /// Copies each row's elements as bytes.
    fn copy<T: Copy, const N: usize>(
        &self,
        values: &[T],
        range: &Range<usize>,
        body: &mut Body,
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(), Unwritable> {
        let place = body.buffer(range.len() * self.width * N)?;
        let Slot { offset, stride, .. } = self.slot;
        if self.width == 1 {
            for (place, value) in place.chunks_exact_mut(N).zip(self.each(values, range)) {
                place.copy_from_slice(&bytes(value));
            }
            return Ok(());
        }
        for (row, place) in range.clone().zip(place.chunks_exact_mut(N * self.width)) {
            let start = row * stride + offset;
            let values = values.get(start..start + self.width).ok_or(Unwritable::Plan)?;
            for (place, value) in place.chunks_exact_mut(N).zip(values) {
                place.copy_from_slice(&bytes(*value));
            }
        }
        Ok(())
    }

    /// A column that is in the buffer as it is in Arrow, bools aside.
    fn write_plain(&self, tensor: &TensorBuffer, range: &Range<usize>, body: &mut Body) -> Result<(), Unwritable> {
        match tensor {
            TensorBuffer::Bool(values) => {
                let place = body.buffer((range.len() * self.width).div_ceil(8))?;
                let Slot { offset, stride, .. } = self.slot;
                let width = self.width;
                let rows = range.clone().map(|row| values.iter().skip(row * stride + offset).take(width).copied());
                bits(place, rows.flatten());
                Ok(())
            }
            TensorBuffer::I8(values) => self.copy(values, range, body, i8::to_le_bytes),
            TensorBuffer::I16(values) => self.copy(values, range, body, i16::to_le_bytes),
            TensorBuffer::I32(values) => self.copy(values, range, body, i32::to_le_bytes),
            TensorBuffer::I64(values) => self.copy(values, range, body, i64::to_le_bytes),
            TensorBuffer::U8(values) => self.copy(values, range, body, u8::to_le_bytes),
            TensorBuffer::U16(values) => self.copy(values, range, body, u16::to_le_bytes),
            TensorBuffer::U32(values) => self.copy(values, range, body, u32::to_le_bytes),
            TensorBuffer::U64(values) => self.copy(values, range, body, u64::to_le_bytes),
            TensorBuffer::F32(values) => self.copy(values, range, body, f32::to_le_bytes),
            TensorBuffer::F64(values) => self.copy(values, range, body, f64::to_le_bytes),
            TensorBuffer::Text(_) => Err(Unwritable::Plan),
        }
    }

    /// A nullable integer or bool, which the buffer has as a double; of a null, any value will do.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked when they came; NaN gives 0")]
    fn write_from_doubles(&self, values: &[f64], range: &Range<usize>, body: &mut Body) -> Result<(), Unwritable> {
        match self.element {
            Kind::Bool => {
                bits(body.buffer(range.len().div_ceil(8))?, self.each(values, range).map(|value| value == 1.0));
                Ok(())
            }
            Kind::Int8 => self.copy(values, range, body, |v| (v as i8).to_le_bytes()),
            Kind::Int16 => self.copy(values, range, body, |v| (v as i16).to_le_bytes()),
            Kind::Int32 => self.copy(values, range, body, |v| (v as i32).to_le_bytes()),
            Kind::Int64 => self.copy(values, range, body, |v| (v as i64).to_le_bytes()),
            Kind::Uint8 => self.copy(values, range, body, |v| (v as u8).to_le_bytes()),
            Kind::Uint16 => self.copy(values, range, body, |v| (v as u16).to_le_bytes()),
            Kind::Uint32 => self.copy(values, range, body, |v| (v as u32).to_le_bytes()),
            Kind::Uint64 => self.copy(values, range, body, |v| (v as u64).to_le_bytes()),
            _ => Err(Unwritable::Plan),
        }
    }
}

/// Where each text ends, and the texts.
fn write_text(texts: &TextBuffer, range: &Range<usize>, body: &mut Body) -> Result<(), Unwritable> {
    let bytes = texts.bytes_of(range);
    if i32::try_from(bytes.len()).is_err() {
        return Err(Unwritable::Text);
    }
    let place = body.buffer(4 * (range.len() + 1))?;
    let (first, rest) = place.split_at_mut_checked(4).ok_or(Unwritable::Plan)?;
    first.fill(0);
    let mut end = 0_usize;
    for (place, row) in rest.chunks_exact_mut(4).zip(range.clone()) {
        end += texts.get(row).len();
        place.copy_from_slice(&i32::try_from(end).map_err(|_| Unwritable::Text)?.to_le_bytes());
    }
    body.buffer(bytes.len())?.copy_from_slice(bytes);
    Ok(())
}
