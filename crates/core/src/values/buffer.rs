//! Buffers in the shape the graph wants: one per graph input, rows first.

use std::ops::Range;

use crate::signature::Kind;

/// Strings end to end, with the place where each ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextBuffer {
    bytes: String,
    ends: Vec<usize>,
}

impl TextBuffer {
    /// Adds one string.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`, or the empty one past the end.
    pub fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends.get(i - 1).copied().unwrap_or(0) };
        self.ends.get(i).and_then(|&end| self.bytes.get(start..end)).unwrap_or("")
    }

    /// The bytes of some strings, end to end.
    pub fn bytes_of(&self, range: &Range<usize>) -> &[u8] {
        let end = |place: usize| place.checked_sub(1).map_or(Some(0), |last| self.ends.get(last).copied());
        let bytes = end(range.start).zip(end(range.end)).and_then(|(start, end)| self.bytes.as_bytes().get(start..end));
        bytes.unwrap_or_default()
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn extend(&mut self, other: &Self, range: Range<usize>) {
        let (Some(&end), start) = (
            range.end.checked_sub(1).and_then(|last| other.ends.get(last)),
            range.start.checked_sub(1).and_then(|last| other.ends.get(last)).copied().unwrap_or(0),
        ) else {
            return;
        };
        let shift = self.bytes.len();
        self.bytes.push_str(other.bytes.get(start..end).unwrap_or(""));
        self.ends.extend(other.ends.iter().take(range.end).skip(range.start).map(|e| e - start + shift));
    }
}

macro_rules! tensors {
    ($($variant:ident, $kind:ident, $type:ty;)*) => {
        /// The values of one graph input, row after row.
        #[derive(Clone, Debug, PartialEq)]
        pub enum TensorBuffer { $($variant(Vec<$type>),)* Text(TextBuffer) }

        impl TensorBuffer {
            /// An empty buffer for elements of this type; `None` if no tensor has them.
            pub fn new(kind: Kind) -> Option<Self> {
                Some(match kind {
                    $(Kind::$kind => TensorBuffer::$variant(Vec::new()),)*
                    Kind::String => TensorBuffer::Text(TextBuffer::default()),
                    _ => return None,
                })
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(TensorBuffer::$variant(v) => v.len(),)* TensorBuffer::Text(t) => t.len() }
            }

            fn capacity_bytes(&self) -> usize {
                match self {
                    $(TensorBuffer::$variant(v) => v.capacity() * size_of::<$type>(),)*
                    TensorBuffer::Text(t) => t.bytes.capacity() + t.ends.capacity() * size_of::<usize>(),
                }
            }

            fn truncate(&mut self, len: usize) {
                match self { $(TensorBuffer::$variant(v) => v.truncate(len),)* TensorBuffer::Text(t) => t.truncate(len) }
            }

            /// Grows numbers to `len` zeros; strings are pushed one by one instead.
            fn grow(&mut self, len: usize) {
                match self { $(TensorBuffer::$variant(v) => v.resize(len, Default::default()),)* TensorBuffer::Text(_) => {} }
            }

            fn extend(&mut self, other: &Self, range: Range<usize>) {
                match (self, other) {
                    $((TensorBuffer::$variant(a), TensorBuffer::$variant(b)) => a.extend_from_slice(b.get(range).unwrap_or_default()),)*
                    (TensorBuffer::Text(a), TensorBuffer::Text(b)) => a.extend(b, range),
                    _ => debug_assert!(false, "buffers of two plans"),
                }
            }
        }
    };
}

tensors! {
    Bool, Bool, bool;
    I8, Int8, i8;
    I16, Int16, i16;
    I32, Int32, i32;
    I64, Int64, i64;
    U8, Uint8, u8;
    U16, Uint16, u16;
    U32, Uint32, u32;
    U64, Uint64, u64;
    F32, Float32, f32;
    F64, Float64, f64;
}

impl TensorBuffer {
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows ready for the graph: one tensor a graph input.
#[derive(Clone, Debug, PartialEq)]
pub struct RowBuffer {
    rows: usize,
    /// One a graph input, in the plan's order, with its elements a row.
    pub(super) tensors: Vec<(TensorBuffer, usize)>,
}

impl RowBuffer {
    pub(super) fn new(tensors: Vec<(TensorBuffer, usize)>) -> Self {
        Self { rows: 0, tensors }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The tensor of graph input `i` and its elements a row.
    pub fn tensor(&self, i: usize) -> Option<(&TensorBuffer, usize)> {
        self.tensors.get(i).map(|(t, w)| (t, *w))
    }

    /// Bytes it keeps, used or not.
    pub fn capacity_bytes(&self) -> usize {
        self.tensors.iter().map(|(tensor, _)| tensor.capacity_bytes()).sum()
    }

    /// Makes room for rows up to `rows`, zeroed.
    pub(super) fn grow_to(&mut self, rows: usize) {
        self.rows = rows;
        for (tensor, width) in &mut self.tensors {
            tensor.grow(rows * *width);
        }
    }

    /// Drops all rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        for (tensor, width) in &mut self.tensors {
            tensor.truncate(rows * *width);
        }
    }

    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Adds rows of another buffer of the same plan.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        for ((mine, width), (theirs, _)) in self.tensors.iter_mut().zip(&other.tensors) {
            mine.extend(theirs, range.start * *width..range.end * *width);
        }
        self.rows += range.len();
    }
}

macro_rules! outputs {
    ($($variant:ident, $kind:ident, $type:ty;)*) => {
        /// The values of one output column, row after row.
        #[derive(Clone, Debug, PartialEq)]
        pub enum OutputBuffer { $($variant(Vec<$type>),)* Text(TextBuffer) }

        impl OutputBuffer {
            /// A buffer of `len` zeros; strings start empty. `None` if no output has this type.
            pub fn zeroed(kind: Kind, len: usize) -> Option<Self> {
                Some(match kind {
                    $(Kind::$kind => OutputBuffer::$variant(vec![Default::default(); len]),)*
                    Kind::String => OutputBuffer::Text(TextBuffer::default()),
                    _ => return None,
                })
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(OutputBuffer::$variant(v) => v.len(),)* OutputBuffer::Text(t) => t.len() }
            }

            fn extend(&mut self, other: &Self, range: Range<usize>) {
                match (self, other) {
                    $((OutputBuffer::$variant(a), OutputBuffer::$variant(b)) => a.extend_from_slice(b.get(range).unwrap_or_default()),)*
                    (OutputBuffer::Text(a), OutputBuffer::Text(b)) => a.extend(b, range),
                    _ => debug_assert!(false, "outputs of two models"),
                }
            }
        }
    };
}

outputs! {
    Bool, Bool, bool;
    I32, Int32, i32;
    I64, Int64, i64;
    F32, Float32, f32;
    F64, Float64, f64;
}

impl OutputBuffer {
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an engine answered: one buffer an output column of the signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    pub rows: usize,
    /// In the signature's order, with elements a row.
    pub columns: Vec<(OutputBuffer, usize)>,
}

impl Outputs {
    /// A copy of some of its rows.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|(c, width)| {
                let mut copy = match c {
                    OutputBuffer::Bool(_) => OutputBuffer::Bool(Vec::new()),
                    OutputBuffer::I32(_) => OutputBuffer::I32(Vec::new()),
                    OutputBuffer::I64(_) => OutputBuffer::I64(Vec::new()),
                    OutputBuffer::F32(_) => OutputBuffer::F32(Vec::new()),
                    OutputBuffer::F64(_) => OutputBuffer::F64(Vec::new()),
                    OutputBuffer::Text(_) => OutputBuffer::Text(TextBuffer::default()),
                };
                copy.extend(c, range.start * width..range.end * width);
                (copy, *width)
            })
            .collect();
        Self { rows: range.len(), columns }
    }

    /// Adds some rows of another answer of the same model.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        for ((mine, width), (theirs, _)) in self.columns.iter_mut().zip(&other.columns) {
            mine.extend(theirs, range.start * *width..range.end * *width);
        }
        self.rows += range.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_truncation_and_copying() {
        let mut a = TextBuffer::default();
        for text in ["", "ä", "long enough not to be small", "", "z"] {
            a.push(text);
        }
        let mut b = TextBuffer::default();
        b.push("first");
        b.extend(&a, 1..4);
        assert_eq!(
            (0..b.len()).map(|i| b.get(i)).collect::<Vec<_>>(),
            ["first", "ä", "long enough not to be small", ""]
        );
        a.truncate(2);
        a.push("y");
        assert_eq!((a.get(1), a.get(2), a.get(3)), ("ä", "y", ""));
        b.extend(&a, 0..0);
        assert_eq!(b.len(), 4);
    }
}
