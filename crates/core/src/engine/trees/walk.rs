//! Trees as nodes to walk from the root down: for trees of any size, and for few rows.
//!
//! Eight walks go on side by side, so that the processor has something to do while it waits for a node. A step has no
//! branch: it goes to the left child, or to the one after it; a leaf leads to itself.

use std::hint::select_unpredictable;

use super::forest::{Branch, Shape};
use super::lanes::{BLOCK, Block, goes_right};

/// Walks that go on side by side.
const SIDE_BY_SIDE: usize = 8;
/// Steps between two looks whether all have arrived.
const STEPS: usize = 4;

/// Marks an inner node in `Node::lane`.
const INNER: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Node {
    /// An inner node's left child, whose neighbour is the right one; a leaf's own place.
    left: u32,
    /// The lane compared and [`INNER`]; a leaf's number.
    lane: u32,
    threshold: f64,
}

/// The nodes of all trees.
pub struct Walk {
    nodes: Vec<Node>,
    roots: Vec<u32>,
}

impl Walk {
    /// `None` if there are more nodes or lanes than are counted here.
    pub fn new(shapes: &[Shape]) -> Option<Self> {
        let mut walk = Self { nodes: Vec::new(), roots: Vec::new() };
        for shape in shapes {
            walk.roots.push(u32::try_from(walk.nodes.len()).ok()?);
            walk.nodes.push(LEAF);
            let mut waiting = vec![(walk.nodes.len() - 1, shape.root())];
            while let Some((at, branch)) = waiting.pop() {
                let here = u32::try_from(at).ok()?;
                let node = match branch {
                    Branch::Leaf(leaf) => {
                        Node { left: here, lane: u32::try_from(leaf).ok().filter(|n| *n < INNER)?, ..LEAF }
                    }
                    Branch::Cut(cut) => {
                        let cut = shape.cuts.get(cut)?;
                        let left = walk.nodes.len();
                        walk.nodes.extend([LEAF, LEAF]);
                        waiting.extend([(left + 1, cut.right), (left, cut.left)]);
                        let lane = u32::try_from(cut.lane).ok().filter(|n| *n < INNER)? | INNER;
                        Node { left: u32::try_from(left).ok()?, lane, threshold: cut.threshold }
                    }
                };
                *walk.nodes.get_mut(at)? = node;
            }
        }
        Some(walk)
    }

    /// The leaves that a block's rows reach in one tree.
    pub fn rows(&self, tree: usize, blocks: &[Block], count: usize, leaves: &mut [u32; BLOCK]) {
        let Some(&root) = self.roots.get(tree) else { return };
        for first in (0..count).step_by(SIDE_BY_SIDE) {
            let mut at = [root; SIDE_BY_SIDE];
            self.descend(&mut at, |walk| first + walk, blocks);
            leaves.iter_mut().skip(first).zip(at).for_each(|(leaf, at)| *leaf = self.leaf(at));
        }
    }

    /// The leaves that one row reaches in some trees, from tree `first` on.
    pub fn trees(&self, first: usize, blocks: &[Block], row: usize, leaves: &mut [u32]) {
        let roots = self.roots.get(first..).unwrap_or(&[]);
        for (leaves, roots) in leaves.chunks_mut(SIDE_BY_SIDE).zip(roots.chunks(SIDE_BY_SIDE)) {
            let mut at = [roots.first().copied().unwrap_or(0); SIDE_BY_SIDE];
            at.iter_mut().zip(roots).for_each(|(at, root)| *at = *root);
            self.descend(&mut at, |_| row, blocks);
            leaves.iter_mut().zip(at).for_each(|(leaf, at)| *leaf = self.leaf(at));
        }
    }

    #[inline(always)]
    fn descend(&self, at: &mut [u32; SIDE_BY_SIDE], row: impl Fn(usize) -> usize, blocks: &[Block]) {
        loop {
            let before = *at;
            for _ in 0..STEPS {
                for (walk, at) in at.iter_mut().enumerate() {
                    let node = self.nodes.get(*at as usize).unwrap_or(&LEAF);
                    let inner = node.lane >> 31;
                    let lane = node.lane & 0_u32.wrapping_sub(inner) & !INNER;
                    let x = blocks.get(lane as usize).and_then(|block| block.get(row(walk))).copied();
                    let right = goes_right(x.unwrap_or(0.0), node.threshold);
                    // A branch would be mistaken half of the time.
                    *at = select_unpredictable(right, node.left + inner, node.left);
                }
            }
            if *at == before {
                return;
            }
        }
    }

    fn leaf(&self, at: u32) -> u32 {
        self.nodes.get(at as usize).map_or(0, |node| node.lane)
    }
}

const LEAF: Node = Node { left: 0, lane: 0, threshold: 0.0 };
