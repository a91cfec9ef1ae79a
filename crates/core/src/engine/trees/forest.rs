//! A forest: trees laid out for evaluation, and their sums.
//!
//! Sums are made in the order of the trees, in the type of the original, whatever the number of rows or threads: an answer
//! is the original's bit for bit. Trees that are alike but for their values (a classifier's, a class each) are gone
//! through once.

use std::collections::HashMap;
use std::ops::AddAssign;

use super::bits::{Bits, Leaves, MOST_LEAVES, TREES};
use super::columns::Column;
use super::lanes::{BLOCK, Block, Lanes, Matrix};
use super::parse::{Child, Ensemble, Tree};
use super::walk::Walk;

/// Up to as many rows are walked: a block of bits costs the same for one row as for all.
const FEW: usize = 4;
/// Blocks at most that go through a tree of many leaves one after the other, while it is in a near cache.
const TOGETHER: usize = 16;
/// Lanes times blocks that are held meanwhile: 256 KiB.
const HELD: usize = 512;

/// The splits of one tree or of several alike.
pub struct Shape {
    pub cuts: Vec<Cut>,
    pub leaves: usize,
    outputs: Vec<Addend>,
}

/// A split: at most the threshold goes left.
#[derive(Clone, Copy, PartialEq)]
pub struct Cut {
    pub lane: usize,
    pub threshold: f64,
    pub left: Branch,
    pub right: Branch,
    /// The leftmost leaf below.
    pub first_leaf: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Branch {
    Cut(usize),
    Leaf(usize),
}

/// A sum that a shape adds to, and where the values of its leaves are.
struct Addend {
    target: usize,
    weights: usize,
}

/// Trees one after the other that are evaluated in the same way.
struct Run {
    shapes: std::ops::Range<usize>,
    /// The first one's number among those kept as bits; `None` if they are walked.
    bits: Option<usize>,
}

enum Weights {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Trees ready to be evaluated.
pub struct Forest {
    inputs: Vec<usize>,
    /// As wide as each input must be.
    widths: Vec<usize>,
    lanes: Lanes,
    shapes: Vec<Shape>,
    walk: Walk,
    bits: Option<Bits>,
    runs: Vec<Run>,
    /// The leaves' values, tree after tree, and zeros after them.
    weights: Weights,
    targets: usize,
}

/// Where sums are written: a row after the other, as many as the forest has targets.
pub enum Sums<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
}

impl Forest {
    /// Lays trees out; `None` if they are too many, or the columns fewer than their features.
    pub fn new(ensemble: &Ensemble, columns: &[Column]) -> Option<Self> {
        let mut lanes = Lanes::default();
        let (inputs, columns) = used(ensemble, columns)?;
        let mut widths = vec![1; inputs.len()];
        let mut weights = Vec::new();
        let mut shapes: Vec<Shape> = Vec::new();
        let mut alike = Alike::default();
        for tree in &ensemble.trees {
            for split in &tree.splits {
                let column = columns.get(&split.feature)?;
                let width = widths.get_mut(column.input)?;
                *width = (*width).max(column.position + 1);
            }
            let mut shape = Shape::new(tree, &mut lanes, &columns)?;
            let addend = Addend { target: tree.target, weights: weights.len() };
            match shape.renumber() {
                Some(order) => weights.extend(order.iter().map(|&leaf| tree.leaves.get(leaf).copied().unwrap_or(0.0))),
                None => weights.extend_from_slice(&tree.leaves),
            }
            match alike.place(&shape, tree.target, &shapes) {
                Some(place) => shapes.get_mut(place)?.outputs.push(addend),
                None => {
                    shape.outputs.push(addend);
                    shapes.push(shape);
                }
            }
        }
        weights.resize(weights.len() + MOST_LEAVES, 0.0);
        let small = shapes.iter().filter(|shape| shape.leaves <= MOST_LEAVES);
        let bits = Bits::new(small);
        let runs = runs(&shapes, bits.is_some());
        let weights = match ensemble.single {
            #[expect(clippy::cast_possible_truncation, reason = "they were float32 in the file")]
            true => Weights::F32(weights.into_iter().map(|weight| weight as f32).collect()),
            false => Weights::F64(weights),
        };
        let walk = Walk::new(&shapes)?;
        Some(Self { inputs, widths, lanes, shapes, walk, bits, runs, weights, targets: ensemble.targets })
    }

    /// The inputs it reads, as its columns number them.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().copied()
    }

    /// As wide as each of its inputs must be.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// How many sums there are of a row.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// Whether the sums are float32.
    pub fn is_single(&self) -> bool {
        matches!(self.weights, Weights::F32(_))
    }

    /// Adds up the trees for each of `rows` rows; `false` if an argument is not as long, wide or of such a type as it must be.
    pub fn evaluate(&self, inputs: &[Matrix<'_>], rows: usize, sums: Sums<'_>) -> bool {
        let fits = |(matrix, width): (&Matrix<'_>, &usize)| matrix.width >= *width && matrix.holds(rows);
        let long = rows.checked_mul(self.targets);
        if inputs.len() != self.widths.len() || !inputs.iter().zip(&self.widths).all(fits) {
            return false;
        }
        match (&self.weights, sums) {
            (Weights::F32(weights), Sums::F32(sums)) if Some(sums.len()) == long => {
                self.add(inputs, rows, weights, sums)
            }
            (Weights::F64(weights), Sums::F64(sums)) if Some(sums.len()) == long => {
                self.add(inputs, rows, weights, sums)
            }
            _ => return false,
        }
        true
    }

    fn add<T: Copy + Default + AddAssign>(&self, inputs: &[Matrix<'_>], rows: usize, weights: &[T], sums: &mut [T]) {
        sums.fill(T::default());
        let together = self.together().min(rows.div_ceil(BLOCK)).max(1);
        let lanes = self.lanes.len().max(1);
        let mut blocks = vec![[0.0; BLOCK]; lanes * together];
        let rankings = self.bits.as_ref().map_or(1, |bits| bits.rankings().max(1));
        // Few rows are walked, and need none.
        let mut ranks = vec![[0; BLOCK]; if rows > FEW { rankings * together } else { 0 }];
        for first in (0..rows).step_by(BLOCK * together) {
            let count = (BLOCK * together).min(rows - first);
            let Some(sums) = sums.get_mut(first * self.targets..(first + count) * self.targets) else { return };
            for (block, at) in blocks.chunks_exact_mut(lanes).zip((0..count).step_by(BLOCK)) {
                self.lanes.fill(inputs, first + at, BLOCK.min(count - at), block);
            }
            if count <= FEW {
                self.add_rows(&blocks, weights, sums);
                continue;
            }
            if let Some(bits) = &self.bits {
                let blocks = blocks.chunks_exact(lanes).take(count.div_ceil(BLOCK));
                blocks.zip(ranks.chunks_exact_mut(rankings)).for_each(|(block, ranks)| bits.rank(block, ranks));
            }
            for run in &self.runs {
                match &self.bits {
                    Some(bits) if run.bits.is_some() => {
                        let sums = sums.chunks_mut(BLOCK * self.targets);
                        sums.zip(ranks.chunks_exact(rankings)).for_each(|(sums, ranks)| {
                            self.add_bits(bits, run, ranks, weights, sums);
                        });
                    }
                    _ => self.add_walked(run, &blocks, weights, sums),
                }
            }
        }
    }

    /// Blocks that are taken through a tree one after the other: as many as the nearer caches hold, if trees are large.
    fn together(&self) -> usize {
        let walked = self.runs.iter().any(|run| run.bits.is_none());
        let held = HELD / self.lanes.len().max(1);
        if walked { held.clamp(1, TOGETHER) } else { 1 }
    }

    fn add_bits<T: Copy + AddAssign>(&self, bits: &Bits, run: &Run, ranks: &[Leaves], weights: &[T], sums: &mut [T]) {
        let mut leaves = [[0_u8; BLOCK]; TREES];
        let Some(number) = run.bits else { return };
        let shapes = self.shapes.get(run.shapes.clone()).unwrap_or(&[]);
        for (chunk, shapes) in shapes.chunks(TREES).enumerate() {
            let Some(leaves) = leaves.get_mut(..shapes.len()) else { return };
            bits.find(number + chunk * TREES, ranks, leaves);
            if self.targets == 1 {
                add_together(shapes, leaves, weights, sums);
                continue;
            }
            for (shape, leaves) in shapes.iter().zip(leaves.iter()) {
                shape.add(self.targets, leaves.iter().map(|leaf| usize::from(*leaf)), weights, sums);
            }
        }
    }

    fn add_walked<T: Copy + AddAssign>(&self, run: &Run, blocks: &[Block], weights: &[T], sums: &mut [T]) {
        let mut leaves = [0_u32; BLOCK];
        for at in run.shapes.clone() {
            let Some(shape) = self.shapes.get(at) else { return };
            let blocks = blocks.chunks_exact(self.lanes.len().max(1));
            for (block, sums) in blocks.zip(sums.chunks_mut(BLOCK * self.targets)) {
                self.walk.rows(at, block, sums.len() / self.targets, &mut leaves);
                shape.add(self.targets, leaves.iter().map(|leaf| *leaf as usize), weights, sums);
            }
        }
    }

    fn add_rows<T: Copy + AddAssign>(&self, blocks: &[Block], weights: &[T], sums: &mut [T]) {
        let mut leaves = [0_u32; TREES];
        for (row, sums) in sums.chunks_exact_mut(self.targets).enumerate() {
            for (chunk, shapes) in self.shapes.chunks(TREES).enumerate() {
                let Some(found) = leaves.get_mut(..shapes.len()) else { return };
                self.walk.trees(chunk * TREES, blocks, row, found);
                for (shape, leaf) in shapes.iter().zip(leaves) {
                    shape.add(self.targets, [leaf as usize].into_iter(), weights, sums);
                }
            }
        }
    }
}

/// Adds several trees to one sum a row, which stays in a register meanwhile.
#[expect(clippy::indexing_slicing, reason = "a row of a block; a byte, of 256 values")]
fn add_together<T: Copy + AddAssign>(shapes: &[Shape], leaves: &[Leaves], weights: &[T], sums: &mut [T]) {
    // As many values as a byte counts, whoever's they are after the tree's own: no place needs to be checked.
    let values = |addend: &Addend| weights.get(addend.weights..).and_then(|rest| rest.first_chunk::<MOST_LEAVES>());
    let Some(first) = weights.first_chunk::<MOST_LEAVES>() else { return };
    let mut trees = [first; TREES];
    let mut count = 0;
    for (tree, values) in trees.iter_mut().zip(shapes.iter().flat_map(|shape| &shape.outputs).filter_map(values)) {
        *tree = values;
        count += 1;
    }
    let trees = trees.get(..count).unwrap_or(&[]);
    for (row, sum) in sums.iter_mut().enumerate().take(BLOCK) {
        for (values, leaves) in trees.iter().zip(leaves) {
            *sum += values[usize::from(leaves[row])];
        }
    }
}

impl Shape {
    fn new(tree: &Tree, lanes: &mut Lanes, columns: &HashMap<usize, Column>) -> Option<Self> {
        let mut cuts = Vec::with_capacity(tree.splits.len());
        for split in &tree.splits {
            let (lane, threshold) = lanes.of(columns.get(&split.feature)?, split);
            cuts.push(Cut { lane, threshold, left: split.left.into(), right: split.right.into(), first_leaf: 0 });
        }
        // Children come after their parents.
        for at in (0..cuts.len()).rev() {
            let first = match cuts.get(at)?.left {
                Branch::Leaf(leaf) => leaf,
                Branch::Cut(cut) => cuts.get(cut)?.first_leaf,
            };
            cuts.get_mut(at)?.first_leaf = first;
        }
        Some(Self { cuts, leaves: tree.leaves.len(), outputs: Vec::new() })
    }

    pub fn root(&self) -> Branch {
        if self.cuts.is_empty() { Branch::Leaf(0) } else { Branch::Cut(0) }
    }

    /// The splits level by level, if all of a level are the same and no branch ends early: one a level, up to eight.
    pub fn levels(&self) -> Option<Vec<Cut>> {
        let depth = self.leaves.checked_ilog2().filter(|d| self.leaves == 1 << d && (1..=8).contains(d))?;
        let mut level = vec![self.root()];
        let mut levels = Vec::new();
        for _ in 0..depth {
            let mut below = Vec::with_capacity(level.len() * 2);
            let mut same: Option<Cut> = None;
            for branch in level {
                let Branch::Cut(cut) = branch else { return None };
                let cut = self.cuts.get(cut)?;
                let first = same.get_or_insert(*cut);
                if (first.lane, first.threshold) != (cut.lane, cut.threshold) {
                    return None;
                }
                below.extend([cut.left, cut.right]);
            }
            levels.extend(same);
            level = below;
        }
        Some(levels)
    }

    /// Numbers the leaves of a tree that goes by levels after its levels' answers, the first level's the lowest bit.
    ///
    /// Gives the leaves in their new order; `None` if the tree does not go by levels.
    fn renumber(&mut self) -> Option<Vec<usize>> {
        self.levels()?;
        let mut order = vec![0; self.leaves];
        let mut waiting = vec![(0_usize, 0_usize, 0_u32)];
        while let Some((at, number, level)) = waiting.pop() {
            let cut = self.cuts.get_mut(at)?;
            for (side, branch) in [(0, &mut cut.left), (1, &mut cut.right)] {
                let number = number | side << level;
                match branch {
                    Branch::Cut(cut) => waiting.push((*cut, number, level + 1)),
                    Branch::Leaf(leaf) => *order.get_mut(number)? = std::mem::replace(leaf, number),
                }
            }
        }
        Some(order)
    }

    /// Adds the values of the leaves that rows reach.
    fn add<T: Copy + AddAssign>(
        &self,
        targets: usize,
        leaves: impl Iterator<Item = usize> + Clone,
        weights: &[T],
        sums: &mut [T],
    ) {
        for addend in &self.outputs {
            let Some(values) = weights.get(addend.weights..) else { return };
            for (sums, leaf) in sums.chunks_exact_mut(targets).zip(leaves.clone()) {
                if let (Some(sum), Some(value)) = (sums.get_mut(addend.target), values.get(leaf)) {
                    *sum += *value;
                }
            }
        }
    }
}

impl From<Child> for Branch {
    fn from(child: Child) -> Self {
        match child {
            Child::Split(split) => Self::Cut(split),
            Child::Leaf(leaf) => Self::Leaf(leaf),
        }
    }
}

/// Finds trees that are alike, without bringing any sum's trees out of their order.
#[derive(Default)]
struct Alike {
    /// The last shape of each that looks like it may be the same.
    last: HashMap<(usize, Option<(usize, u64)>), usize>,
    /// The shape that added to a sum last.
    latest: HashMap<usize, usize>,
}

impl Alike {
    /// The shape that a tree can share, else `None` and it is expected to become the next one.
    fn place(&mut self, shape: &Shape, target: usize, shapes: &[Shape]) -> Option<usize> {
        let key = (shape.leaves, shape.cuts.first().map(|cut| (cut.lane, cut.threshold.to_bits())));
        let free = |place: usize| self.latest.get(&target).is_none_or(|&latest| latest < place);
        let same = |place: usize| shapes.get(place).is_some_and(|other| other.cuts == shape.cuts);
        let found = self.last.get(&key).copied().filter(|&place| free(place) && same(place));
        let place = found.unwrap_or(shapes.len());
        self.last.insert(key, place);
        self.latest.insert(target, place);
        found
    }
}

/// The inputs that the trees read, and the columns by feature, with inputs numbered anew.
fn used(ensemble: &Ensemble, columns: &[Column]) -> Option<(Vec<usize>, HashMap<usize, Column>)> {
    let mut features: Vec<_> = ensemble.trees.iter().flat_map(|tree| &tree.splits).map(|split| split.feature).collect();
    features.sort_unstable();
    features.dedup();
    let mut inputs = Vec::new();
    let mut found = HashMap::new();
    for feature in features {
        let mut column = columns.get(feature)?.clone();
        let number = inputs.iter().position(|&input| input == column.input).unwrap_or_else(|| {
            inputs.push(column.input);
            inputs.len() - 1
        });
        column.input = number;
        found.insert(feature, column);
    }
    if inputs.is_empty() {
        // It still says how many rows there are.
        inputs.push(columns.first()?.input);
    }
    Some((inputs, found))
}

fn runs(shapes: &[Shape], bits: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut number = 0;
    for (at, shape) in shapes.iter().enumerate() {
        let small = bits && shape.leaves <= MOST_LEAVES;
        match runs.last_mut() {
            Some(run) if run.bits.is_some() == small => run.shapes.end = at + 1,
            _ => runs.push(Run { shapes: at..at + 1, bits: small.then_some(number) }),
        }
        number += usize::from(small);
    }
    runs
}
