//! A table of byte strings and how often each was added; and a sketch that estimates how many different there were.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// Keys that are looked up together, so that waiting for memory is done once for all of them.
pub(super) const TOGETHER: usize = 32;

/// Byte strings and their counts, in the order in which they first came.
#[derive(Debug)]
pub(super) struct Table {
    /// Where an entry is: its place plus one in the low bits, the upper bits of its hash in the high ones; 0 if free.
    slots: Vec<u64>,
    /// Entries: hash, count, length, and the string itself.
    entries: Vec<u8>,
    length: usize,
}

/// A key to be added.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key<'a> {
    pub bytes: &'a [u8],
    pub times: u64,
    pub hash: u64,
}

impl<'a> Key<'a> {
    /// A key that is there so many times.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], times: u64) -> Self {
        // The seed is the same everywhere: what is kept must not depend on the process.
        Self { bytes, times, hash: FixedState::with_seed(0).hash_one(bytes) }
    }
}

/// Bits of a slot that are a place: enough for a terabyte.
const PLACE: u64 = (1 << 40) - 1;
/// Bytes of an entry before its string.
const HEAD: usize = 24;

impl Default for Table {
    fn default() -> Self {
        Self { slots: vec![0; 64], entries: Vec::new(), length: 0 }
    }
}

impl Table {
    /// Counts byte strings.
    pub(super) fn add(&mut self, keys: &[Key<'_>]) {
        // The memory of all of them is asked for before the first is needed.
        let mut places = [0; TOGETHER];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = self.slots.get(first_slot(key.hash, self.slots.len())).map_or(0, |slot| place_of(*slot));
        }
        let touched = places.iter().fold(0, |all, place| all ^ self.word(*place));
        std::hint::black_box(touched);
        for key in keys {
            self.add_one(key);
        }
    }

    #[inline]
    fn add_one(&mut self, key: &Key<'_>) {
        let mut at = first_slot(key.hash, self.slots.len());
        while let Some(slot) = self.slots.get(at).copied().filter(|slot| *slot != 0) {
            if (slot ^ key.hash) & !PLACE == 0 {
                let place = place_of(slot);
                let text = place + HEAD..place + HEAD + key.bytes.len();
                if self.word(place + 16) == key.bytes.len() as u64 && self.entries.get(text) == Some(key.bytes) {
                    if let Some(count) = self.entries.get_mut(place + 8..).and_then(<[u8]>::first_chunk_mut) {
                        *count = (u64::from_le_bytes(*count) + key.times).to_le_bytes();
                    }
                    return;
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = key.hash & !PLACE | (self.entries.len() as u64 + 1);
        }
        for word in [key.hash, key.times, key.bytes.len() as u64] {
            self.entries.extend_from_slice(&word.to_le_bytes());
        }
        self.entries.extend_from_slice(key.bytes);
        self.length += 1;
        if self.length * 2 > self.slots.len() {
            self.lay_out(self.slots.len() * 4);
        }
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.entries.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Puts every entry into its slot again.
    fn lay_out(&mut self, slots: usize) {
        let mut fresh = vec![0; slots];
        for (place, key) in self.places() {
            let mut at = first_slot(key.hash, slots);
            while fresh.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & (slots - 1);
            }
            if let Some(slot) = fresh.get_mut(at) {
                *slot = key.hash & !PLACE | (place as u64 + 1);
            }
        }
        self.slots = fresh;
    }

    /// How many different ones.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many bytes they have together.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() - self.length * HEAD
    }

    /// All of them, each as often as it was added.
    pub(super) fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        self.places().map(|(_, key)| key)
    }

    fn places(&self) -> impl Iterator<Item = (usize, Key<'_>)> {
        let mut place = 0;
        std::iter::from_fn(move || {
            let length = usize::try_from(self.word(place + 16)).ok()?;
            let bytes = self.entries.get(place + HEAD..place + HEAD + length)?;
            let found = (place, Key { bytes, times: self.word(place + 8), hash: self.word(place) });
            place += HEAD + length;
            Some(found)
        })
    }

    /// Keeps the most frequent ones, no more than `most` and no more than so many bytes; `lose` gets the others' hashes.
    pub(super) fn keep_most_frequent(&mut self, most: usize, most_bytes: usize, mut lose: impl FnMut(u64)) {
        let mut kept = Self::default();
        let mut order: Vec<Key<'_>> = self.iter().collect();
        order.sort_unstable_by(|one, other| other.times.cmp(&one.times).then_with(|| one.bytes.cmp(other.bytes)));
        for key in order {
            if kept.len() < most && kept.bytes() + key.bytes.len() <= most_bytes {
                kept.add_one(&key);
            } else {
                lose(key.hash);
            }
        }
        *self = kept;
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "only low bits are wanted")]
fn first_slot(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

#[inline]
fn place_of(slot: u64) -> usize {
    ((slot & PLACE) as usize).wrapping_sub(1)
}

/// HyperLogLog: how many different hashes there were, within about 1 %.
#[derive(Clone, Debug)]
pub(super) struct Sketch(Vec<u8>);

const BITS: u32 = 14;

impl Default for Sketch {
    fn default() -> Self {
        Self(vec![0; Self::BYTES])
    }
}

impl Sketch {
    /// Registers of one.
    pub(super) const BYTES: usize = 1 << BITS;

    #[expect(clippy::cast_possible_truncation, reason = "fourteen bits, and a number below 64")]
    pub(super) fn add(&mut self, hash: u64) {
        // The table's hash need not be good in all bits; this spreads it.
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if let Some(register) = self.0.get_mut((mixed >> (u64::BITS - BITS)) as usize) {
            *register = (*register).max(((mixed << BITS).leading_zeros().min(u64::BITS - BITS) + 1) as u8);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*others);
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn estimate(&self) -> u64 {
        let size = Self::BYTES as f64;
        let raw = 0.7213 / (1.0 + 1.079 / size) * size * size
            / self.0.iter().map(|register| (-f64::from(*register)).exp2()).sum::<f64>();
        let free = self.0.iter().filter(|register| **register == 0).count();
        let few = if free > 0 { size * (size / free as f64).ln() } else { f64::INFINITY };
        (if few <= 2.5 * size { few } else { raw }).round() as u64
    }

    pub(super) fn registers(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_registers(registers: &[u8]) -> Self {
        Self(registers.to_vec())
    }
}
