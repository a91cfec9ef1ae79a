//! A histogram of times with buckets of under 1 % width, from a nanosecond to centuries.

use std::time::Duration;

/// Leading bits of a value that choose its bucket, the highest one left out.
const BITS: u32 = 7;
/// Buckets within one power of two.
const STEPS: u64 = 1 << BITS;

/// Counts times.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; ((u64::BITS - BITS + 1) as usize) << BITS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Times added.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time, in milliseconds, that this share of all times did not exceed; `None` without any.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut before = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            before += count;
            if before >= wanted {
                return Some(upper_bound(bucket).min(self.max_ns) as f64 / 1e6);
            }
        }
        None
    }

    /// The longest time, in milliseconds; `None` without any.
    #[expect(clippy::cast_precision_loss)]
    pub fn max_ms(&self) -> Option<f64> {
        (self.total > 0).then_some(self.max_ns as f64 / 1e6)
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(BITS + 1);
    // Below two powers' worth of steps every value has a bucket of its own.
    let index = if shift == 0 { ns } else { u64::from(shift) * STEPS + (ns >> shift) };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The greatest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let step = bucket - shift * STEPS;
    step.checked_shl(u32::try_from(shift).unwrap_or(u32::MAX)).map_or(u64::MAX, |low| low | ((1 << shift) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        let mut last = 0;
        for ns in (0..5_000).chain((12..62).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1, 3 << p])) {
            let bound = upper_bound(bucket(ns));
            assert!(bound >= ns && bound - ns <= ns / 127, "{ns} is in the bucket up to {bound}");
            if ns > last {
                assert!(bucket(ns) >= bucket(last));
            }
            last = ns;
        }
        assert!(bucket(u64::MAX) < Histogram::default().counts.len());
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ms(0.5), histogram.max_ms()), (None, None));
        for us in 1..=1_000 {
            histogram.add(Duration::from_micros(us));
        }
        for (share, expected) in [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99), (1.0, 1.0), (0.0, 0.001)] {
            let got = histogram.quantile_ms(share).unwrap();
            assert!((got - expected).abs() <= expected * 0.01, "{share}: {got}");
        }
        assert_eq!((histogram.total(), histogram.max_ms()), (1_000, Some(1.0)));
    }
}
