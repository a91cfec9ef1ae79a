//! A column of numbers as dense blocks of its finite values.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::error::{Code, Error, Result};

/// Rows of one block: what it holds stays in the processor's nearest memory.
const BLOCK: usize = 1_024;

/// What a block of a column holds.
pub(super) struct Dense<'a> {
    /// The values that are neither null nor NaN nor infinite, in order.
    pub finite: &'a [f64],
    /// Least and greatest, where the type is one of whole numbers.
    pub whole: Option<(i128, i128)>,
    /// How many are NaN.
    pub nans: u64,
    /// How many are infinite.
    pub infinities: u64,
}

/// Visits a column block by block. Dates count days, times microseconds since 1970, bools 0 and 1.
///
/// # Errors
/// `wrong_type` if it is not a column of numbers.
pub(super) fn visit(array: &dyn Array, mut see: impl FnMut(&Dense<'_>)) -> Result<()> {
    let see = &mut see;
    macro_rules! whole {
        ($type:ty, $as:ty, $widen:expr) => {
            wholes::<$type, $as>(array, $widen, see)
        };
    }
    match array.data_type() {
        DataType::Null => {}
        DataType::Boolean => booleans(array, see),
        DataType::Int8 => whole!(Int8Type, i64, i64::from),
        DataType::Int16 => whole!(Int16Type, i64, i64::from),
        DataType::Int32 => whole!(Int32Type, i64, i64::from),
        DataType::Int64 => whole!(Int64Type, i64, |v| v),
        DataType::UInt8 => whole!(UInt8Type, i64, i64::from),
        DataType::UInt16 => whole!(UInt16Type, i64, i64::from),
        DataType::UInt32 => whole!(UInt32Type, i64, i64::from),
        DataType::UInt64 => whole!(UInt64Type, u64, |v| v),
        DataType::Date32 => whole!(Date32Type, i64, i64::from),
        DataType::Timestamp(TimeUnit::Second, _) => {
            whole!(TimestampSecondType, i64, |v: i64| v.saturating_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            whole!(TimestampMillisecondType, i64, |v: i64| v.saturating_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => whole!(TimestampMicrosecondType, i64, |v| v),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => whole!(TimestampNanosecondType, i64, |v: i64| v / 1_000),
        DataType::Float16 => floats::<Float16Type>(array, |v| v.to_f64(), see),
        DataType::Float32 => floats::<Float32Type>(array, f64::from, see),
        DataType::Float64 => floats::<Float64Type>(array, |v| v, see),
        other => {
            return Err(Error::new(Code::WrongType, format!("a column of {other} holds no numbers"))
                .hint("numbers, bools, dates and times have extremes and means"));
        }
    }
    Ok(())
}

/// A type that whole numbers of a column fit in.
trait Whole: Copy + Ord + Default + Into<i128> {
    fn to_f64(self) -> f64;
}

impl Whole for i64 {
    #[expect(clippy::cast_precision_loss, reason = "statistics are of doubles")]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Whole for u64 {
    #[expect(clippy::cast_precision_loss, reason = "statistics are of doubles")]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

fn wholes<T: ArrowPrimitiveType, W: Whole>(
    array: &dyn Array,
    widen: impl Fn(T::Native) -> W,
    see: &mut impl FnMut(&Dense<'_>),
) {
    let Some(values) = array.as_primitive_opt::<T>() else { return };
    dense(values.values(), values.nulls(), widen, |block: &mut [W]| whole_block(block, see));
}

fn booleans(array: &dyn Array, see: &mut impl FnMut(&Dense<'_>)) {
    let Some(values) = array.as_boolean_opt() else { return };
    let plain: Vec<bool> = values.values().iter().collect();
    dense(&plain, values.nulls(), i64::from, |block: &mut [i64]| whole_block(block, see));
}

fn whole_block<W: Whole>(block: &[W], see: &mut impl FnMut(&Dense<'_>)) {
    let mut ends = None;
    let mut finite = [0.0; BLOCK];
    for (slot, value) in finite.iter_mut().zip(block) {
        *slot = value.to_f64();
        let (least, most) = ends.unwrap_or((*value, *value));
        ends = Some((least.min(*value), most.max(*value)));
    }
    let whole = ends.map(|(least, most)| (least.into(), most.into()));
    see(&Dense { finite: finite.get(..block.len()).unwrap_or_default(), whole, nans: 0, infinities: 0 });
}

fn floats<T: ArrowPrimitiveType>(
    array: &dyn Array,
    widen: impl Fn(T::Native) -> f64,
    see: &mut impl FnMut(&Dense<'_>),
) {
    let Some(values) = array.as_primitive_opt::<T>() else { return };
    dense(values.values(), values.nulls(), widen, |block: &mut [f64]| {
        if block.iter().fold(true, |all, value| all & value.is_finite()) {
            see(&Dense { finite: block, whole: None, nans: 0, infinities: 0 });
            return;
        }
        let (mut kept, mut nans) = (0, 0);
        for at in 0..block.len() {
            let Some(&value) = block.get(at) else { break };
            nans += u64::from(value.is_nan());
            if let Some(slot) = block.get_mut(kept) {
                *slot = value;
            }
            kept += usize::from(value.is_finite());
        }
        let infinities = (block.len() - kept) as u64 - nans;
        see(&Dense { finite: block.get(..kept).unwrap_or_default(), whole: None, nans, infinities });
    });
}

/// Gives the values that are not null, in blocks.
fn dense<N: Copy, W: Copy + Default>(
    values: &[N],
    nulls: Option<&NullBuffer>,
    widen: impl Fn(N) -> W,
    mut see: impl FnMut(&mut [W]),
) {
    let mut block = [W::default(); BLOCK];
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
        for part in values.chunks(BLOCK) {
            for (slot, value) in block.iter_mut().zip(part) {
                *slot = widen(*value);
            }
            see(block.get_mut(..part.len()).unwrap_or_default());
        }
        return;
    };
    let mut kept = 0;
    // A word says of 64 rows which are valid.
    for (part, word) in values.chunks(64).zip(nulls.inner().bit_chunks().iter_padded()) {
        if kept + 64 > BLOCK {
            see(block.get_mut(..kept).unwrap_or_default());
            kept = 0;
        }
        for (place, value) in part.iter().enumerate() {
            if let Some(slot) = block.get_mut(kept) {
                *slot = widen(*value);
            }
            kept += usize::from(word >> place & 1 == 1);
        }
    }
    see(block.get_mut(..kept).unwrap_or_default());
}
