//! Lanes: what splits compare, a value a row, for a block of rows at a time.
//!
//! All is compared as float64, which holds every float32 exactly. A lane settles where NaN goes, so that one comparison
//! is left for a split: everything that is not "at most" the threshold goes right, NaN among it.

use std::collections::{BTreeMap, HashMap};

use super::columns::{Column, Read};
use super::parse::{Split, Test};

/// Rows that are looked at together.
pub const BLOCK: usize = 64;

/// The codes of NaN, and of values that are in no set.
const MISSING: usize = 0;
const OTHER: usize = 1;
/// Sets of so many words are shifted whole, a block at a time, unless the rows are few.
const FEW_WORDS: usize = 8;
const FEW_ROWS: usize = 4;

/// A lane's values for the rows of a block.
pub type Block = [f64; BLOCK];

/// The values of a matrix, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    Bool(&'a [u8]),
}

/// A matrix that columns are read from.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub values: Values<'a>,
    pub width: usize,
}

impl Matrix<'_> {
    /// Whether it has as many rows.
    pub fn holds(&self, rows: usize) -> bool {
        let count = match self.values {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::I32(values) => values.len(),
            Values::I64(values) => values.len(),
            Values::Bool(values) => values.len(),
        };
        rows.checked_mul(self.width).is_some_and(|needed| needed <= count)
    }
}

/// What a split says of a value; NaN goes right.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "only what is at most the threshold goes left")]
pub fn goes_right(x: f64, threshold: f64) -> bool {
    !(x <= threshold)
}

/// How a lane comes about; one that is made from another comes after it.
#[derive(Clone, Debug)]
enum Made {
    Loaded {
        input: usize,
        position: usize,
        single: bool,
    },
    Equal {
        lane: usize,
        value: f64,
    },
    MissingLeft {
        lane: usize,
    },
    /// The number of a value among all that the sets of its lane hold, as bits: NaN, any other value, then they.
    Coded {
        lane: usize,
    },
    /// A bit a code: whether it goes left. Codes beyond are not in the set.
    Member {
        codes: usize,
        left: Vec<u64>,
    },
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Loaded(usize, usize, bool),
    Equal(usize, u64),
    MissingLeft(usize),
    Coded(usize),
    Member(usize, Vec<u64>, bool),
}

/// The lanes of a forest.
#[derive(Default)]
pub struct Lanes {
    made: Vec<Made>,
    known: HashMap<Key, usize>,
    /// By lane of codes: the values that have one, as bits, zero without a sign.
    codes: HashMap<usize, BTreeMap<u64, usize>>,
}

impl Lanes {
    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// The lane that a split of a column looks at, and the threshold it has there.
    pub fn of(&mut self, column: &Column, split: &Split) -> (usize, f64) {
        let single = column.read == Read::Single;
        let made = Made::Loaded { input: column.input, position: column.position, single };
        let mut lane = self.lane(Key::Loaded(column.input, column.position, single), made);
        if let Read::Equals(value) = column.read {
            // Zero or one, never NaN.
            lane = self.lane(Key::Equal(lane, (value + 0.0).to_bits()), Made::Equal { lane, value });
        }
        match &split.test {
            Test::OneOf(set) => {
                let bits = set.iter().map(|value| value.to_bits()).collect();
                let codes = self.lane(Key::Coded(lane), Made::Coded { lane });
                let left = self.left(codes, set, split.missing_left);
                (self.lane(Key::Member(lane, bits, split.missing_left), Made::Member { codes, left }), 0.0)
            }
            Test::AtMost(threshold) if split.missing_left && !matches!(column.read, Read::Equals(_)) => {
                (self.lane(Key::MissingLeft(lane), Made::MissingLeft { lane }), *threshold)
            }
            Test::AtMost(threshold) => (lane, *threshold),
        }
    }

    /// A set as bits by code.
    fn left(&mut self, codes: usize, set: &[f64], missing_left: bool) -> Vec<u64> {
        let codes = self.codes.entry(codes).or_default();
        let mut left = vec![if missing_left { 1 << MISSING } else { 0 }];
        for value in set {
            let next = OTHER + 1 + codes.len();
            let code = *codes.entry((value + 0.0).to_bits()).or_insert(next);
            left.resize(left.len().max(code / 64 + 1), 0);
            left.iter_mut().skip(code / 64).take(1).for_each(|word| *word |= 1 << (code % 64));
        }
        left
    }

    fn lane(&mut self, key: Key, made: Made) -> usize {
        *self.known.entry(key).or_insert_with(|| {
            self.made.push(made);
            self.made.len() - 1
        })
    }

    /// Reads `count` rows from `first` on into `blocks`, one a lane.
    ///
    /// The matrices have these rows and are as wide as the columns need; a shorter one leaves zeros.
    pub fn fill(&self, inputs: &[Matrix<'_>], first: usize, count: usize, blocks: &mut [Block]) {
        for (at, made) in self.made.iter().enumerate() {
            let (before, rest) = blocks.split_at_mut(at);
            let Some(block) = rest.first_mut() else { return };
            let from = |lane: &usize| before.get(*lane).unwrap_or(&[0.0; BLOCK]);
            match made {
                Made::Loaded { input, position, single } => {
                    let Some(matrix) = inputs.get(*input) else { continue };
                    let rows = block.iter_mut().take(count);
                    load(matrix, *position, *single, first, rows);
                }
                Made::Equal { lane, value } => {
                    block.iter_mut().zip(from(lane)).for_each(|(to, x)| *to = f64::from(u8::from(x == value)));
                }
                Made::MissingLeft { lane } => {
                    let left = |x: f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
                    block.iter_mut().zip(from(lane)).for_each(|(to, x)| *to = left(*x));
                }
                Made::Coded { lane } => {
                    let Some(codes) = self.codes.get(&at) else { continue };
                    let rows = block.iter_mut().zip(from(lane)).take(count);
                    rows.for_each(|(to, x)| *to = f64::from_bits(code(codes, *x)));
                }
                Made::Member { codes, left } if left.len() <= FEW_WORDS && count > FEW_ROWS => {
                    members(left, from(codes), block);
                }
                Made::Member { codes, left } => {
                    let rows = block.iter_mut().zip(from(codes)).take(count);
                    rows.for_each(|(to, code)| *to = f64::from(u8::from(!holds(left, code.to_bits()))));
                }
            }
        }
    }
}

fn code(codes: &BTreeMap<u64, usize>, x: f64) -> u64 {
    let code = if x.is_nan() { MISSING } else { *codes.get(&(x + 0.0).to_bits()).unwrap_or(&OTHER) };
    code as u64
}

fn holds(left: &[u64], code: u64) -> bool {
    let word = usize::try_from(code / 64).ok().and_then(|at| left.get(at));
    word.is_some_and(|word| word >> (code % 64) & 1 == 1)
}

/// Zero where a code's bit is set, else one.
fn members(left: &[u64], codes: &Block, block: &mut Block) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has been asked for what the function is compiled for.
        return unsafe { members_avx2(left, codes, block) };
    }
    members_any(left, codes, block);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn members_avx2(left: &[u64], codes: &Block, block: &mut Block) {
    members_any(left, codes, block);
}

/// Every word is shifted for every row: no row goes its own way.
#[inline(always)]
fn members_any(left: &[u64], codes: &Block, block: &mut Block) {
    let mut found = [0_u64; BLOCK];
    for (word, first) in left.iter().zip((0_u64..).step_by(64)) {
        for (found, code) in found.iter_mut().zip(codes) {
            let shift = code.to_bits().wrapping_sub(first);
            *found |= if shift < 64 { word >> (shift & 63) } else { 0 };
        }
    }
    block.iter_mut().zip(found).for_each(|(to, found)| *to = if found & 1 == 0 { 1.0 } else { 0.0 });
}

type Rows<'a> = std::iter::Take<std::slice::IterMut<'a, f64>>;

#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
fn load(matrix: &Matrix<'_>, position: usize, single: bool, first: usize, rows: Rows<'_>) {
    macro_rules! copy {
        ($values:expr, $number:expr) => {{
            let column = $values.get(first * matrix.width + position..).unwrap_or(&[]);
            let column = column.iter().step_by(matrix.width);
            rows.zip(column).for_each(|(to, x)| *to = $number(*x));
        }};
    }
    match (matrix.values, single) {
        (Values::F64(values), false) => copy!(values, |x: f64| x),
        (Values::F64(values), true) => copy!(values, |x: f64| f64::from(x as f32)),
        (Values::F32(values), _) => copy!(values, f64::from),
        (Values::I64(values), false) => copy!(values, |x: i64| x as f64),
        (Values::I64(values), true) => copy!(values, |x: i64| f64::from(x as f32)),
        (Values::I32(values), false) => copy!(values, f64::from),
        (Values::I32(values), true) => copy!(values, |x: i32| f64::from(x as f32)),
        (Values::Bool(values), _) => copy!(values, |x: u8| f64::from(u8::from(x != 0))),
    }
}
