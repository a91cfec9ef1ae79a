//! Count, extremes, mean and squared deviations of a column of numbers.

use arrow_array::Array;

use super::bytes::{Reader, Writer};
use super::values::{Dense, visit};
use crate::error::Result;

const KIND: u8 = b'N';
/// Sums that go on side by side, so that the processor can add several at once.
const LANES: usize = 8;

/// Numbers of one column. Nulls, NaN and infinities are counted; all else is of the finite values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    rows: u64,
    nulls: u64,
    nans: u64,
    infinities: u64,
    count: u64,
    whole: Option<(i128, i128)>,
    ends: Option<(f64, f64)>,
    sum: Sum,
    m2: Sum,
}

/// A least or greatest value, as its column has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extreme {
    /// Of a column of whole numbers, days or microseconds.
    Whole(i128),
    /// Of a column of floats.
    Float(f64),
}

/// A sum with what rounding has taken from it, so that order and parts do not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    #[inline]
    fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let back = sum - self.high;
        self.low += (self.high - (sum - back)) + (value - back);
        self.high = sum;
    }

    fn add_sum(&mut self, other: Sum) {
        self.add(other.high);
        self.low += other.low;
    }

    /// The sum divided, to more digits than a double has.
    fn over(self, count: u64) -> Self {
        let count = as_f64(count);
        let high = self.value() / count;
        let low = ((-high).mul_add(count, self.high) + self.low) / count;
        Self { high, low: if low.is_finite() { low } else { 0.0 } }
    }

    fn value(self) -> f64 {
        // Past the greatest double there is nothing to correct.
        if self.high.is_finite() { self.high + self.low } else { self.high }
    }
}

impl Numbers {
    /// Takes the rows of a column.
    ///
    /// # Errors
    /// `wrong_type` if it is not a column of numbers.
    pub fn update(&mut self, column: &dyn Array) -> Result<()> {
        visit(column, |block| self.block(block))?;
        self.rows += column.len() as u64;
        self.nulls += column.logical_null_count() as u64;
        Ok(())
    }

    /// Takes what another has gathered from rows behind these.
    pub fn merge(&mut self, later: &Self) {
        self.rows += later.rows;
        self.nulls += later.nulls;
        self.nans += later.nans;
        self.infinities += later.infinities;
        self.whole = both(self.whole, later.whole, i128::min, i128::max);
        self.ends = both(self.ends, later.ends, f64::min, f64::max);
        self.moments(later.count, later.sum, later.m2);
    }

    fn block(&mut self, block: &Dense<'_>) {
        self.nans += block.nans;
        self.infinities += block.infinities;
        let (Some(first), count) = (block.finite.first(), block.finite.len()) else { return };
        let (parts, rest) = block.finite.as_chunks::<LANES>();
        let (mut sums, mut ends) = ([Sum::default(); LANES], [(*first, *first); LANES]);
        for part in parts {
            for ((value, sum), (least, most)) in part.iter().zip(&mut sums).zip(&mut ends) {
                sum.add(*value);
                *least = if *value < *least { *value } else { *least };
                *most = if *value > *most { *value } else { *most };
            }
        }
        for ((value, sum), (least, most)) in rest.iter().zip(&mut sums).zip(&mut ends) {
            sum.add(*value);
            (*least, *most) = (least.min(*value), most.max(*value));
        }
        let sum = sums.into_iter().fold(Sum::default(), |mut all, lane| {
            all.add_sum(lane);
            all
        });
        let m2 = deviations(block.finite, sum.value() / as_f64(count as u64));
        match block.whole {
            Some(_) => self.whole = both(self.whole, block.whole, i128::min, i128::max),
            None => self.ends = ends.into_iter().fold(self.ends, |all, lane| both(all, Some(lane), f64::min, f64::max)),
        }
        self.moments(count as u64, sum, Sum { high: m2, low: 0.0 });
    }

    /// Adds moments of other rows.
    fn moments(&mut self, count: u64, sum: Sum, m2: Sum) {
        if count == 0 {
            return;
        }
        if self.count > 0 {
            let (mine, others) = (self.sum.over(self.count), sum.over(count));
            // Far from zero, means that are near each other differ in digits that one double has not.
            let apart = (others.high - mine.high) + (others.low - mine.low);
            let share = as_f64(count) / as_f64(self.count + count);
            self.m2.add(apart * apart * as_f64(self.count) * share);
        }
        self.count += count;
        self.sum.add_sum(sum);
        self.m2.add_sum(m2);
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many are null.
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// How many are NaN and not null.
    pub fn nans(&self) -> u64 {
        self.nans
    }

    /// How many are infinite.
    pub fn infinities(&self) -> u64 {
        self.infinities
    }

    /// How many are finite.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least finite value.
    pub fn minimum(&self) -> Option<Extreme> {
        self.extreme(|(least, _)| least, |(least, _)| least)
    }

    /// The greatest finite value.
    pub fn maximum(&self) -> Option<Extreme> {
        self.extreme(|(_, most)| most, |(_, most)| most)
    }

    fn extreme(&self, whole: fn((i128, i128)) -> i128, float: fn((f64, f64)) -> f64) -> Option<Extreme> {
        let float = self.ends.map(|ends| Extreme::Float(float(ends)));
        float.or_else(|| self.whole.map(|ends| Extreme::Whole(whole(ends))))
    }

    /// The mean of the finite values; NaN without any.
    pub fn mean(&self) -> f64 {
        self.sum.value() / as_f64(self.count)
    }

    /// The sum of squared deviations of the finite values from their mean.
    pub fn m2(&self) -> f64 {
        self.m2.value()
    }

    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::new(KIND);
        for word in [self.rows, self.nulls, self.nans, self.infinities, self.count] {
            to.word(word);
        }
        to.byte(u8::from(self.whole.is_some()));
        let (least, most) = self.whole.unwrap_or_default();
        to.wide(least);
        to.wide(most);
        to.byte(u8::from(self.ends.is_some()));
        let (least, most) = self.ends.unwrap_or_default();
        for double in [least, most, self.sum.high, self.sum.low, self.m2.high, self.m2.low] {
            to.double(double);
        }
        to.done()
    }

    /// The state of bytes.
    ///
    /// # Errors
    /// `internal` if they are not those of one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let from = &mut Reader::new(bytes, KIND)?;
        let made = Self {
            rows: from.word()?,
            nulls: from.word()?,
            nans: from.word()?,
            infinities: from.word()?,
            count: from.word()?,
            whole: {
                let (there, ends) = (from.byte()?, (from.wide()?, from.wide()?));
                (there == 1).then_some(ends)
            },
            ends: {
                let (there, ends) = (from.byte()?, (from.double()?, from.double()?));
                (there == 1).then_some(ends)
            },
            sum: Sum { high: from.double()?, low: from.double()? },
            m2: Sum { high: from.double()?, low: from.double()? },
        };
        from.done()?;
        Ok(made)
    }
}

/// The sum of squared deviations from about the mean.
fn deviations(values: &[f64], mean: f64) -> f64 {
    let (parts, rest) = values.as_chunks::<LANES>();
    let (mut squares, mut offs) = ([0.0; LANES], [0.0; LANES]);
    for part in parts {
        for ((value, square), total) in part.iter().zip(&mut squares).zip(&mut offs) {
            let off = *value - mean;
            *square += off * off;
            *total += off;
        }
    }
    for ((value, square), total) in rest.iter().zip(&mut squares).zip(&mut offs) {
        let off = *value - mean;
        *square += off * off;
        *total += off;
    }
    // What the mean is off by, taken out again.
    let off: f64 = offs.iter().sum();
    (squares.iter().sum::<f64>() - off * off / as_f64(values.len() as u64)).max(0.0)
}

fn both<T: Copy>(one: Option<(T, T)>, other: Option<(T, T)>, min: fn(T, T) -> T, max: fn(T, T) -> T) -> Option<(T, T)> {
    match (one, other) {
        (Some((least, most)), Some((low, high))) => Some((min(least, low), max(most, high))),
        (one, other) => one.or(other),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts more than 2^53 rows")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
