//! Trees as bits: the leaves that a row can still reach, a bit a leaf, eight leaves a byte, a block of rows a time.
//!
//! Every split is looked at, whether a row comes past it or not: where a row goes right, the leaves to the left are cleared.
//! The first leaf left over is the row's. No branch, no dependence between rows: a machine instruction does
//! thirty-two of them at once, and a hundred trees of 31 leaves cost a fraction of what walking them does.
//! After Lucchese et al., "QuickScorer", SIGIR 2015, and Ye et al., "RapidScorer", KDD 2018; here thresholds
//! become ranks first, so that a byte is compared where they compare floats: a value's rank among the sorted thresholds
//! of its lane is greater than a threshold's place exactly where the value is greater than the threshold.

use std::collections::BTreeMap;

use super::forest::{Branch, Shape};
use super::lanes::{BLOCK, Block, goes_right};

/// Leaves of a tree at most: their numbers are bytes.
pub const MOST_LEAVES: usize = 256;
/// Thresholds of one ranking at most: ranks are bytes.
const MOST_THRESHOLDS: usize = 255;
/// Trees whose leaves are found before their values are added.
pub const TREES: usize = 16;

type Ranks = [u8; BLOCK];
/// The number of the leaf that each row of a block reaches.
pub type Leaves = [u8; BLOCK];

/// A lane's thresholds, up to 255 of them, in order.
struct Ranking {
    lane: usize,
    /// Padded with infinity to the next power of two.
    thresholds: Vec<f64>,
}

/// A split's part in one byte of leaves: rows whose rank is greater lose these bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Touch {
    ranking: u16,
    place: u8,
    bits: u8,
}

enum Tree {
    /// By byte of leaves.
    Bytes(Vec<Vec<Touch>>),
    /// All splits of a level are the same: each gives one bit of the leaf's number.
    Levels(Vec<Touch>),
}

/// Trees of few leaves.
pub struct Bits {
    rankings: Vec<Ranking>,
    trees: Vec<Tree>,
}

impl Bits {
    /// Takes trees of at most [`MOST_LEAVES`] leaves; `None` if their lanes are too many.
    pub fn new<'a>(shapes: impl Iterator<Item = &'a Shape> + Clone) -> Option<Self> {
        let mut thresholds: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for cut in shapes.clone().flat_map(|shape| &shape.cuts) {
            // Zero and minus zero are one threshold.
            thresholds.entry(cut.lane).or_default().push(cut.threshold + 0.0);
        }
        let mut bits = Self { rankings: Vec::new(), trees: Vec::new() };
        let mut places: BTreeMap<usize, (usize, Vec<f64>)> = BTreeMap::new();
        for (lane, mut values) in thresholds {
            values.sort_by(f64::total_cmp);
            values.dedup();
            places.insert(lane, (bits.rankings.len(), values.clone()));
            for some in values.chunks(MOST_THRESHOLDS) {
                let mut thresholds = some.to_vec();
                thresholds.resize((some.len() + 1).next_power_of_two(), f64::INFINITY);
                bits.rankings.push(Ranking { lane, thresholds });
            }
        }
        u16::try_from(bits.rankings.len()).ok()?;
        let touch = |lane: usize, threshold: f64, bits: u8| {
            let (first, values) = places.get(&lane)?;
            let at = values.binary_search_by(|value| value.total_cmp(&(threshold + 0.0))).ok()?;
            let ranking = u16::try_from(first + at / MOST_THRESHOLDS).ok()?;
            Some(Touch { ranking, place: u8::try_from(at % MOST_THRESHOLDS).ok()?, bits })
        };
        for shape in shapes {
            bits.trees.push(match shape.levels() {
                Some(levels) => {
                    let touches = levels.iter().enumerate().map(|(n, cut)| touch(cut.lane, cut.threshold, 1 << n));
                    Tree::Levels(touches.collect::<Option<_>>()?)
                }
                None => Tree::Bytes(bytes(shape, touch)?),
            });
        }
        Some(bits)
    }

    /// How many rankings a block needs room for.
    pub fn rankings(&self) -> usize {
        self.rankings.len()
    }

    /// Ranks a block's values.
    pub fn rank(&self, blocks: &[Block], ranks: &mut [Ranks]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has been asked for what the function is compiled for.
            return unsafe { self.rank_avx2(blocks, ranks) };
        }
        self.rank_block(blocks, ranks);
    }

    /// Finds the leaves of some trees, from tree `first` on.
    pub fn find(&self, first: usize, ranks: &[Ranks], leaves: &mut [Leaves]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { self.find_avx2(first, ranks, leaves) };
        }
        self.find_leaves(first, ranks, leaves);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn rank_avx2(&self, blocks: &[Block], ranks: &mut [Ranks]) {
        self.rank_block(blocks, ranks);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn find_avx2(&self, first: usize, ranks: &[Ranks], leaves: &mut [Leaves]) {
        self.find_leaves(first, ranks, leaves);
    }

    #[inline(always)]
    fn rank_block(&self, blocks: &[Block], ranks: &mut [Ranks]) {
        for (ranking, ranks) in self.rankings.iter().zip(ranks) {
            let Some(block) = blocks.get(ranking.lane) else { continue };
            let thresholds = &ranking.thresholds[..];
            match thresholds.len() {
                2 => rank::<2>(block, thresholds, ranks),
                4 => rank::<4>(block, thresholds, ranks),
                8 => rank::<8>(block, thresholds, ranks),
                16 => rank::<16>(block, thresholds, ranks),
                32 => rank::<32>(block, thresholds, ranks),
                64 => rank::<64>(block, thresholds, ranks),
                128 => rank::<128>(block, thresholds, ranks),
                _ => rank::<256>(block, thresholds, ranks),
            }
        }
    }

    #[inline(always)]
    fn find_leaves(&self, first: usize, ranks: &[Ranks], leaves: &mut [Leaves]) {
        let trees = self.trees.get(first..).unwrap_or(&[]);
        for (tree, leaves) in trees.iter().zip(leaves) {
            *leaves = match tree {
                Tree::Bytes(bytes) => first_leaves(bytes, ranks),
                Tree::Levels(touches) => cleared(touches, ranks).map(|bits| !bits),
            };
        }
    }
}

/// What each split clears, by byte of leaves; splits that are the same within a tree are one.
fn bytes(shape: &Shape, touch: impl Fn(usize, f64, u8) -> Option<Touch>) -> Option<Vec<Vec<Touch>>> {
    let mut bytes = vec![Vec::new(); shape.leaves.div_ceil(8)];
    let first = |branch: Branch| match branch {
        Branch::Leaf(leaf) => Some(leaf),
        Branch::Cut(cut) => shape.cuts.get(cut).map(|cut| cut.first_leaf),
    };
    for cut in &shape.cuts {
        let (from, to) = (first(cut.left)?, first(cut.right)?);
        for byte in from / 8..to.div_ceil(8) {
            let bits = (from.max(byte * 8)..to.min(byte * 8 + 8)).fold(0_u8, |bits, leaf| bits | 1 << (leaf % 8));
            bytes.get_mut(byte)?.push(touch(cut.lane, cut.threshold, bits)?);
        }
    }
    for touches in &mut bytes {
        touches.sort_unstable();
        touches.dedup_by(|next, kept| {
            let same = (next.ranking, next.place) == (kept.ranking, kept.place);
            kept.bits |= if same { next.bits } else { 0 };
            same
        });
    }
    Some(bytes)
}

/// How many thresholds each value is greater than; NaN is greater than all.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the last of at most 256 thresholds is not counted")]
#[expect(clippy::indexing_slicing, reason = "N is a power of two, and the place is masked")]
fn rank<const N: usize>(block: &Block, thresholds: &[f64], ranks: &mut Ranks) {
    const SIDE_BY_SIDE: usize = 16;
    let Some(thresholds) = thresholds.first_chunk::<N>() else { return };
    for (block, ranks) in block.chunks_exact(SIDE_BY_SIDE).zip(ranks.chunks_exact_mut(SIDE_BY_SIDE)) {
        let mut found = [0_usize; SIDE_BY_SIDE];
        let mut step = N / 2;
        while step > 0 {
            for (found, x) in found.iter_mut().zip(block) {
                let right = goes_right(*x, thresholds[(*found + step - 1) & (N - 1)]);
                *found += step * usize::from(right);
            }
            step /= 2;
        }
        ranks.iter_mut().zip(found).for_each(|(rank, found)| *rank = found as u8);
    }
}

/// The bits that stay, of all ones, when each split has cleared its own.
#[inline(always)]
fn cleared(touches: &[Touch], ranks: &[Ranks]) -> [u8; BLOCK] {
    let mut live = [u8::MAX; BLOCK];
    for touch in touches {
        let Some(ranks) = ranks.get(usize::from(touch.ranking)) else { continue };
        for (live, rank) in live.iter_mut().zip(ranks) {
            // No branch: all ones where the rank is greater.
            *live &= !(u8::from(*rank > touch.place).wrapping_neg() & touch.bits);
        }
    }
    live
}

/// The first leaf that each row can still reach.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a tree has at most 32 bytes of leaves, and a byte 8 bits")]
fn first_leaves(bytes: &[Vec<Touch>], ranks: &[Ranks]) -> Leaves {
    let mut leaves = [0_u8; BLOCK];
    for (byte, touches) in bytes.iter().enumerate().rev() {
        let live = cleared(touches, ranks);
        let before = (byte * 8) as u8;
        for (leaf, live) in leaves.iter_mut().zip(live) {
            *leaf = if live != 0 { before + live.trailing_zeros() as u8 } else { *leaf };
        }
    }
    leaves
}
