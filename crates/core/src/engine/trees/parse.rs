//! `TreeEnsemble` nodes of ONNX as trees: checked, so that nothing in them is believed later on.
//!
//! Source: the operator of ai.onnx.ml 5, <https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>. What is not
//! read here (other aggregates, modes, transforms, one tree with several targets) stays with the runtime.

use crate::onnx::model::{Constant, Node};

const SUM: i64 = 1;
const LESS_OR_EQUAL: u8 = 0;
const MEMBER: u8 = 6;

/// Sums of trees, a sum a target.
#[derive(Clone, Debug)]
pub struct Ensemble {
    pub targets: usize,
    pub trees: Vec<Tree>,
    /// Whether the sums are made in float32; the values of leaves are that then.
    pub single: bool,
}

/// One tree: its splits in the order "itself, all to the left, all to the right", the first its root.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub splits: Vec<Split>,
    pub target: usize,
    /// From left to right; one at least. A tree without splits has exactly one.
    pub leaves: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub feature: usize,
    pub test: Test,
    /// Whether NaN goes left.
    pub missing_left: bool,
    pub left: Child,
    pub right: Child,
}

/// What goes left.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Values at most this; never NaN.
    AtMost(f64),
    /// These values: sorted, never NaN.
    OneOf(Vec<f64>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Child {
    Split(usize),
    Leaf(usize),
}

/// A node's attributes, as they are stored.
struct Table {
    features: Vec<i64>,
    modes: Vec<u8>,
    values: Vec<f64>,
    sides: [(Vec<i64>, Vec<i64>); 2],
    missing_left: Vec<i64>,
    sets: Vec<Vec<f64>>,
    targets: Vec<i64>,
    weights: Vec<f64>,
}

/// Reads a node; `None` if it is not one that is evaluated here.
pub fn ensemble(node: &Node<'_>) -> Option<Ensemble> {
    if node.int("aggregate_function").unwrap_or(SUM) != SUM || node.int("post_transform").unwrap_or(0) != 0 {
        return None;
    }
    let targets = usize::try_from(node.int("n_targets")?).ok().filter(|&n| n > 0)?;
    let (table, single) = table(node)?;
    let mut visited = vec![false; table.features.len()];
    let trees = node.ints("tree_roots")?;
    let trees: Vec<_> = trees.into_iter().map(|root| tree(&table, root, &mut visited)).collect::<Option<_>>()?;
    let known = trees.iter().all(|tree| tree.target < targets);
    (known && !trees.is_empty()).then_some(Ensemble { targets, trees, single })
}

fn table(node: &Node<'_>) -> Option<(Table, bool)> {
    let (values, single) = match node.tensor("nodes_splits")? {
        Constant::Double(values) => (values, false),
        Constant::Float(values) => (values.into_iter().map(f64::from).collect(), true),
        _ => return None,
    };
    let weights = match (node.tensor("leaf_weights")?, single) {
        (Constant::Double(values), false) => values,
        (Constant::Float(values), true) => values.into_iter().map(f64::from).collect::<Vec<_>>(),
        _ => return None,
    };
    let Constant::Uint8(modes) = node.tensor("nodes_modes")? else { return None };
    let count = values.len();
    let mut missing_left = node.ints("nodes_missing_value_tracks_true")?;
    if missing_left.is_empty() {
        missing_left = vec![0; count];
    }
    let sets = sets(node, &modes)?;
    let side =
        |name: &str| Some((node.ints(&format!("nodes_{name}nodeids"))?, node.ints(&format!("nodes_{name}leafs"))?));
    let sides = [side("true")?, side("false")?];
    let table = Table {
        features: node.ints("nodes_featureids")?,
        modes,
        values,
        sides,
        missing_left,
        sets,
        targets: node.ints("leaf_targetids")?,
        weights,
    };
    let [(left, left_leaf), (right, right_leaf)] = &table.sides;
    let lengths = [left.len(), left_leaf.len(), right.len(), right_leaf.len(), table.features.len()];
    let whole = lengths.iter().all(|&n| n == count)
        && table.modes.len() == count
        && table.missing_left.len() == count
        && table.targets.len() == table.weights.len();
    whole.then_some((table, single))
}

/// The sets of the nodes that test for members, each ended by NaN; an empty one for every other node.
fn sets(node: &Node<'_>, modes: &[u8]) -> Option<Vec<Vec<f64>>> {
    let values = match node.has("membership_values").then(|| node.tensor("membership_values")) {
        None => Vec::new(),
        Some(Some(Constant::Double(values))) => values,
        Some(Some(Constant::Float(values))) => values.into_iter().map(f64::from).collect(),
        Some(_) => return None,
    };
    let mut rest = values.into_iter();
    let mut sets = Vec::with_capacity(modes.len());
    for &mode in modes {
        let mut set: Vec<f64> = Vec::new();
        if mode == MEMBER {
            loop {
                match rest.next()? {
                    end if end.is_nan() => break,
                    // Zero and minus zero are the same value.
                    value => set.push(value + 0.0),
                }
            }
            set.sort_by(f64::total_cmp);
            set.dedup();
        }
        sets.push(set);
    }
    Some(sets)
}

/// Collects a tree from its root: no node is reached twice, no number points outside.
fn tree(table: &Table, root: i64, visited: &mut [bool]) -> Option<Tree> {
    let mut found = Tree { splits: Vec::new(), target: 0, leaves: Vec::new() };
    let mut target = None;
    // Who waits for the number of its child: the split and its side.
    let mut waiting = vec![(root, false, None)];
    while let Some((number, is_leaf, parent)) = waiting.pop() {
        let at = usize::try_from(number).ok()?;
        let child = if is_leaf {
            let own = usize::try_from(*table.targets.get(at)?).ok()?;
            if *target.get_or_insert(own) != own {
                return None;
            }
            found.leaves.push(*table.weights.get(at)?);
            Child::Leaf(found.leaves.len() - 1)
        } else {
            if std::mem::replace(visited.get_mut(at)?, true) {
                return None;
            }
            let here = found.splits.len();
            let sides = table.sides.each_ref().map(|(numbers, leaf)| Some((*numbers.get(at)?, *leaf.get(at)? == 1)));
            let [Some(left), Some(right)] = sides else { return None };
            if parent.is_none() && left.1 && left == right {
                // How a lone leaf is written.
                waiting.push((left.0, true, None));
                continue;
            }
            found.splits.push(split(table, at)?);
            waiting.push((right.0, right.1, Some((here, false))));
            waiting.push((left.0, left.1, Some((here, true))));
            Child::Split(here)
        };
        if let Some((above, is_left)) = parent {
            let above: &mut Split = found.splits.get_mut(above)?;
            *(if is_left { &mut above.left } else { &mut above.right }) = child;
        }
    }
    found.target = target?;
    Some(found)
}

fn split(table: &Table, at: usize) -> Option<Split> {
    let test = match *table.modes.get(at)? {
        LESS_OR_EQUAL => Test::AtMost(*table.values.get(at).filter(|v| !v.is_nan())?),
        MEMBER => Test::OneOf(table.sets.get(at)?.clone()),
        _ => return None,
    };
    let feature = usize::try_from(*table.features.get(at)?).ok()?;
    let missing_left = *table.missing_left.get(at)? == 1;
    Some(Split { feature, test, missing_left, left: Child::Leaf(0), right: Child::Leaf(0) })
}
