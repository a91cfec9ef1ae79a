//! A table of byte strings and how often each was added; and a sketch that estimates how many different there were.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// Byte strings and their counts, in the order in which they first came.
#[derive(Debug)]
pub(super) struct Table {
    /// Where an entry is: its number plus one in the low half, the upper half of its hash in the high one; 0 if free.
    slots: Vec<u64>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: usize,
    length: usize,
    count: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: vec![0; 64], entries: Vec::new(), bytes: Vec::new() }
    }
}

const HIGH: u64 = !0 << 32;

impl Table {
    /// Counts a byte string; true if it is new.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], times: u64) -> bool {
        // The seed is the same everywhere: what is kept must not depend on the process.
        let hash = FixedState::with_seed(0).hash_one(key);
        let mut at = place(hash, self.slots.len());
        while let Some(slot) = self.slots.get(at).filter(|slot| **slot != 0) {
            if (slot ^ hash) & HIGH == 0 {
                let number = entry_of(*slot);
                if let Some(entry) = self.entries.get_mut(number)
                    && entry.length == key.len()
                    && self.bytes.get(entry.start..entry.start + entry.length) == Some(key)
                {
                    entry.count += times;
                    return false;
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        let entry = Entry { hash, start: self.bytes.len(), length: key.len(), count: times };
        self.bytes.extend_from_slice(key);
        self.entries.push(entry);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = hash & HIGH | self.entries.len() as u64;
        }
        if self.entries.len() * 2 > self.slots.len() {
            self.lay_out(self.slots.len() * 2);
        }
        true
    }

    /// Puts every entry into its slot again.
    fn lay_out(&mut self, slots: usize) {
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (number, entry) in self.entries.iter().enumerate() {
            let mut at = place(entry.hash, slots);
            while self.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & (slots - 1);
            }
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = entry.hash & HIGH | (number as u64 + 1);
            }
        }
    }

    /// How many different ones.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes they have together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All of them and their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries.iter().map(|entry| (self.key(entry), entry.count))
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.start..entry.start + entry.length).unwrap_or_default()
    }

    /// Hashes of all of them.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.hash)
    }

    /// Keeps the most frequent ones, no more than `most` and no more than so many bytes; `lose` gets the others' hashes.
    pub(super) fn keep_most_frequent(&mut self, most: usize, most_bytes: usize, mut lose: impl FnMut(u64)) {
        let mut order = self.entries.clone();
        order.sort_unstable_by(|one, other| {
            other.count.cmp(&one.count).then_with(|| self.key(one).cmp(self.key(other)))
        });
        let (mut entries, mut bytes) = (Vec::with_capacity(most), Vec::new());
        for entry in order {
            if entries.len() < most && bytes.len() + entry.length <= most_bytes {
                entries.push(Entry { start: bytes.len(), ..entry });
                bytes.extend_from_slice(self.key(&entry));
            } else {
                lose(entry.hash);
            }
        }
        (self.entries, self.bytes) = (entries, bytes);
        self.lay_out((self.entries.len() * 2 + 1).next_power_of_two().max(64));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only low bits are wanted")]
fn place(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is a number of an entry")]
fn entry_of(slot: u64) -> usize {
    (slot as u32 as usize).wrapping_sub(1)
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
