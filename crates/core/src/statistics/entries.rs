//! Counted values as Arrow: their bytes read back as what the column held.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, LargeStringArray, NullArray, RecordBatch, UInt64Array};
use arrow_schema::{Field, Schema};

use super::bytes::damaged;
use super::counts::{Entry, Kind, SIGN};
use crate::error::{Code, Error, Result};

/// Two columns, `value` and `count`: text as large strings, other values as int64, uint64 or float64.
pub(super) fn batch(entries: &[Entry<'_>], kind: Kind) -> Result<RecordBatch> {
    let words = || entries.iter().map(|(key, _)| key.first_chunk().map_or(0, |key| u64::from_be_bytes(*key)));
    let values: ArrayRef = match kind {
        Kind::Nothing => Arc::new(NullArray::new(0)),
        Kind::Text => {
            let texts: Option<Vec<&str>> = entries.iter().map(|(key, _)| str::from_utf8(key).ok()).collect();
            Arc::new(LargeStringArray::from(texts.ok_or_else(damaged)?))
        }
        Kind::Whole => Arc::new(words().map(|word| (word ^ SIGN).cast_signed()).collect::<Int64Array>()),
        Kind::Unsigned => Arc::new(words().collect::<UInt64Array>()),
        Kind::Float => Arc::new(words().map(float).collect::<Float64Array>()),
    };
    let counts: ArrayRef = Arc::new(entries.iter().map(|(_, count)| count.cast_signed()).collect::<Int64Array>());
    let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(vec![field("value", &values), field("count", &counts)]);
    RecordBatch::try_new(Arc::new(schema), vec![values, counts]).map_err(|e| Error::new(Code::Internal, e.to_string()))
}

/// The bits of a float whose words order as the floats do.
pub(super) fn key(value: f64) -> u64 {
    // Zero has no sign.
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn float(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })
}
