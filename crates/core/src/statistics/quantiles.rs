//! A sketch of a column's values in order, from which quantiles are read: deterministic, with a bound that is certain.
//!
//! Values gather in a buffer. When it is full it is sorted, and every second value is kept, which then stands for two.
//! Two such runs are merged, and every second value kept, which then stands for four, and so on: one run a level at most.
//! Each time this happens with values that stand for `w` others, a rank may be wrong by `w` more. The kept ones are
//! alternately those at even and odd places, so that errors cancel mostly. Runs of two sketches merge in the same way.

use arrow_array::Array;

use super::bytes::{Reader, Writer, damaged};
use super::values::visit;
use crate::error::Result;

const KIND: u8 = b'Q';
/// Values of one run. Twelve runs hold forty million values, with ranks that are wrong by 0.15 % at most.
const RUN: usize = 4_096;

/// A sketch of finite values; what is null, NaN or infinite is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles {
    count: u64,
    /// By how many ranks an answer may be wrong.
    error: u64,
    /// How often values were dropped, a level each.
    dropped: Vec<u64>,
    /// Not sorted, fewer than two runs.
    buffer: Vec<i64>,
    /// Sorted; a value at level 0 stands for two.
    runs: Vec<Vec<i64>>,
    ends: Option<(i64, i64)>,
}

impl Quantiles {
    /// Takes the rows of a column.
    ///
    /// # Errors
    /// `wrong_type` if it is not a column of numbers.
    pub fn update(&mut self, column: &dyn Array) -> Result<()> {
        visit(column, |block| {
            let mut rest = block.finite;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(2 * RUN - self.buffer.len()));
                self.buffer.extend(now.iter().map(|value| to_key(*value)));
                self.flush_if_full();
                rest = later;
            }
            self.count += block.finite.len() as u64;
        })
    }

    /// Takes what another has gathered from rows behind these.
    pub fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.error += later.error;
        for key in &later.buffer {
            self.buffer.push(*key);
            self.flush_if_full();
        }
        for (level, run) in later.runs.iter().enumerate().filter(|(_, run)| !run.is_empty()) {
            self.carry(level, run.clone());
        }
        if let Some((least, most)) = later.ends {
            self.see_ends(least, most);
        }
    }

    fn flush_if_full(&mut self) {
        if self.buffer.len() < 2 * RUN {
            return;
        }
        self.buffer.sort_unstable();
        if let (Some(least), Some(most)) = (self.buffer.first(), self.buffer.last()) {
            self.see_ends(*least, *most);
        }
        let odd = self.drop_half(0);
        let run = self.buffer.iter().skip(odd).step_by(2).copied().collect();
        self.buffer.clear();
        self.carry(0, run);
    }

    fn see_ends(&mut self, least: i64, most: i64) {
        let (low, high) = self.ends.unwrap_or((least, most));
        self.ends = Some((low.min(least), high.max(most)));
    }

    /// Notes that half of the values that stand for `2^weight` are dropped; 0 to keep the even places, 1 the odd ones.
    fn drop_half(&mut self, weight: usize) -> usize {
        self.error += 1 << weight;
        if self.dropped.len() <= weight {
            self.dropped.resize(weight + 1, 0);
        }
        self.dropped.get_mut(weight).map_or(0, |times| {
            *times += 1;
            usize::from(*times % 2 == 1)
        })
    }

    /// Puts a run where there is room for it.
    fn carry(&mut self, mut level: usize, mut run: Vec<i64>) {
        loop {
            if self.runs.len() <= level {
                self.runs.resize(level + 1, Vec::new());
            }
            let Some(place) = self.runs.get_mut(level) else { return };
            if place.is_empty() {
                *place = run;
                return;
            }
            let other = std::mem::take(place);
            level += 1;
            let odd = self.drop_half(level);
            run = every_second(&other, &run, odd == 1);
        }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// By how many ranks an answer may be wrong; 0 while all values are held.
    pub fn rank_error(&self) -> u64 {
        self.error
    }

    /// The values at these ranks, 0 the least; beyond the last one the greatest. NaN where there are no values.
    pub fn at(&self, ranks: &[u64]) -> Vec<f64> {
        let held = self.held();
        let (least, most) = self.extremes(&held);
        let one = |rank: &u64| match held.get(held.partition_point(|(_, upto)| upto <= rank)) {
            _ if *rank == 0 => least,
            Some((key, _)) if rank + 1 < self.count => to_value(*key),
            _ => most,
        };
        ranks.iter().map(one).collect()
    }

    /// Ranges of values, in order and apart, in which the values at these ranks lie for certain.
    pub fn brackets(&self, ranks: &[u64]) -> Vec<(f64, f64)> {
        let held = self.held();
        if held.is_empty() {
            return Vec::new();
        }
        let (least, most) = self.extremes(&held);
        let mut found: Vec<(f64, f64)> = ranks
            .iter()
            .map(|rank| {
                // The last value up to which there are `rank` values at most, however wrong the sketch is.
                let low = held.partition_point(|(_, upto)| upto + self.error <= *rank);
                let high = held.partition_point(|(_, upto)| *upto < rank + 1 + self.error);
                (
                    low.checked_sub(1).and_then(|at| held.get(at)).map_or(least, |(key, _)| to_value(*key)),
                    held.get(high).map_or(most, |(key, _)| to_value(*key)),
                )
            })
            .collect();
        found.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut apart: Vec<(f64, f64)> = Vec::new();
        for (low, high) in found {
            match apart.last_mut() {
                Some(last) if low <= last.1 => last.1 = last.1.max(high),
                _ => apart.push((low, high)),
            }
        }
        apart
    }

    /// Different values in order, and how many values there are up to each.
    fn held(&self) -> Vec<(i64, u64)> {
        let mut held: Vec<(i64, u64)> = self.buffer.iter().map(|key| (*key, 1)).collect();
        for (level, run) in self.runs.iter().enumerate() {
            held.extend(run.iter().map(|key| (*key, 2 << level)));
        }
        held.sort_unstable();
        let mut total = 0;
        for (_, weight) in &mut held {
            total += *weight;
            *weight = total;
        }
        // Of equal values the last one counts them all.
        held.reverse();
        held.dedup_by_key(|(key, _)| *key);
        held.reverse();
        held
    }

    /// The least and the greatest value of all, NaN without any.
    fn extremes(&self, held: &[(i64, u64)]) -> (f64, f64) {
        let (Some((least, _)), Some((most, _))) = (held.first(), held.last()) else { return (f64::NAN, f64::NAN) };
        let (low, high) = self.ends.unwrap_or((*least, *most));
        (to_value(low.min(*least)), to_value(high.max(*most)))
    }

    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::new(KIND);
        to.word(self.count);
        to.word(self.error);
        to.byte(u8::from(self.ends.is_some()));
        let (least, most) = self.ends.unwrap_or_default();
        to.bytes(&least.to_le_bytes());
        to.bytes(&most.to_le_bytes());
        to.word(self.dropped.len() as u64);
        self.dropped.iter().for_each(|times| to.word(*times));
        to.word(self.runs.len() as u64);
        for keys in std::iter::once(&self.buffer).chain(&self.runs) {
            to.word(keys.len() as u64);
            keys.iter().for_each(|key| to.bytes(&key.to_le_bytes()));
        }
        to.done()
    }

    /// The state of bytes.
    ///
    /// # Errors
    /// `internal` if they are not those of one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let from = &mut Reader::new(bytes, KIND)?;
        let (count, error, there) = (from.word()?, from.word()?, from.byte()?);
        let ends = (from.word()?.cast_signed(), from.word()?.cast_signed());
        let dropped: Vec<u64> = (0..from.length(8)?).map(|_| from.word()).collect::<Result<_>>()?;
        let levels = from.length(8)?;
        let mut keys = || (0..from.length(8)?).map(|_| Ok(from.word()?.cast_signed())).collect::<Result<Vec<i64>>>();
        let buffer = keys()?;
        let runs = (0..levels).map(|_| keys()).collect::<Result<Vec<_>>>()?;
        from.done()?;
        if buffer.len() >= 2 * RUN || runs.iter().any(|run| !matches!(run.len(), 0 | RUN)) || runs.len() > 48 {
            return Err(damaged());
        }
        Ok(Self { count, error, dropped, buffer, runs, ends: (there == 1).then_some(ends) })
    }
}

/// Merges two sorted runs of one length and keeps the values at odd or even places.
fn every_second(one: &[i64], other: &[i64], odd: bool) -> Vec<i64> {
    let mut kept = Vec::with_capacity(one.len());
    let (mut left, mut right) = (0, 0);
    let mut keep = odd;
    for _ in 0..one.len() + other.len() {
        let first = one.get(left).copied().unwrap_or(i64::MAX);
        let second = other.get(right).copied().unwrap_or(i64::MAX);
        let take_first = right >= other.len() || (left < one.len() && first <= second);
        left += usize::from(take_first);
        right += usize::from(!take_first);
        keep = !keep;
        if keep {
            kept.push(if take_first { first } else { second });
        }
    }
    kept
}

/// A whole number that orders as the double does; zero has no sign.
fn to_key(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The double of a key.
fn to_value(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}
