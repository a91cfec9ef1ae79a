//! Tree ensembles in a graph: trees that end.
//!
//! The runtime follows a tree's branches without counting and builds it by recursion, so a branch back
//! to an ancestor would never end, and a chain of a million nodes would overflow a stack.

use std::collections::HashMap;

use super::tensor::check_tensor;
use crate::onnx::schema::ATTRIBUTE;
use crate::onnx::wire::{Checked, Fields, Value, fault, push_ints};

/// Longest way from a root to a leaf.
pub const LIMIT_DEPTH: u32 = 2_048;
/// Most nodes of all trees of one operator.
const LIMIT_NODES: usize = 1 << 26;

/// A branch that ends in a leaf.
const LEAF: u32 = u32::MAX;

/// Audits a tree operator of the domain ai.onnx.ml.
pub fn check_trees(op: &str, attributes: &[(&str, &[u8])]) -> Checked<()> {
    if !matches!(op, "TreeEnsemble" | "TreeEnsembleClassifier" | "TreeEnsembleRegressor") {
        return Ok(());
    }
    for (name, _) in attributes {
        // A reference to an attribute of the function it is in, which only its caller knows.
        if field(attributes, name, 21)?.is_some() {
            return Err(fault("trees are given by a function's caller"));
        }
    }
    match op {
        "TreeEnsemble" => check_ensemble(attributes),
        _ => check_older(attributes),
    }
}

fn ints(attributes: &[(&str, &[u8])], name: &str) -> Checked<Vec<i64>> {
    let mut numbers = Vec::new();
    if let Some((_, bytes)) = attributes.iter().find(|(n, _)| *n == name) {
        let mut fields = Fields::new(bytes, &ATTRIBUTE);
        while let Some((number, value)) = fields.next()? {
            if number == 8 {
                push_ints(value, &mut numbers, LIMIT_NODES)?;
            }
        }
    }
    Ok(numbers)
}

/// `TreeEnsemble` (ai.onnx.ml 5): branches are places in the lists of nodes or of leaves.
fn check_ensemble(attributes: &[(&str, &[u8])]) -> Checked<()> {
    let (true_ids, true_leafs) = (ints(attributes, "nodes_truenodeids")?, ints(attributes, "nodes_trueleafs")?);
    let (false_ids, false_leafs) = (ints(attributes, "nodes_falsenodeids")?, ints(attributes, "nodes_falseleafs")?);
    let roots = ints(attributes, "tree_roots")?;
    let leaves = ints(attributes, "leaf_targetids")?.len();
    let nodes = true_ids.len();
    if [true_leafs.len(), false_ids.len(), false_leafs.len()] != [nodes; 3] || roots.is_empty() {
        return Err(fault("the lists of the trees' nodes differ in length, or no tree has a root"));
    }
    check_lengths(attributes, nodes, leaves)?;
    let branch = |id: i64, is_leaf: i64| {
        let limit = if is_leaf == 0 { nodes } else { leaves };
        match u32::try_from(id) {
            Ok(place) if (place as usize) < limit && matches!(is_leaf, 0 | 1) => {
                Ok(if is_leaf == 0 { place } else { LEAF })
            }
            _ => Err(fault(format!("a branch leads to the node or leaf {id}, which no tree has"))),
        }
    };
    let mut branches = Vec::with_capacity(nodes);
    for ((&t, &t_leaf), (&f, &f_leaf)) in true_ids.iter().zip(&true_leafs).zip(false_ids.iter().zip(&false_leafs)) {
        branches.push([branch(t, t_leaf)?, branch(f, f_leaf)?]);
    }
    // The runtime copies what a branch leads to, so that a node that two branches share is built twice,
    // and a chain of shared nodes doubles at each step.
    let mut reached = vec![false; nodes];
    let starts: Vec<u32> = roots.iter().map(|r| branch(*r, 0)).collect::<Checked<_>>()?;
    for target in branches.iter().flatten().chain(&starts).filter(|t| **t != LEAF) {
        match reached.get_mut(*target as usize) {
            Some(flag) if !*flag => *flag = true,
            _ => return Err(fault(format!("two branches lead to the node {target} of a tree"))),
        }
    }
    check_ends(&branches)
}

/// Compares the lengths of the lists that run beside the nodes and leaves.
fn check_lengths(attributes: &[(&str, &[u8])], nodes: usize, leaves: usize) -> Checked<()> {
    for (name, expected) in [("nodes_modes", nodes), ("nodes_splits", nodes), ("leaf_weights", leaves)] {
        let elements = tensor_elements(attributes, name)?;
        if elements != Some(expected as u64) {
            return Err(fault(format!("`{name}` is not a tensor of {expected} values")));
        }
    }
    let features = ints(attributes, "nodes_featureids")?;
    let missing = ints(attributes, "nodes_missing_value_tracks_true")?.len();
    if features.len() != nodes || features.iter().any(|f| *f < 0) || !(missing == 0 || missing == nodes) {
        return Err(fault("the trees' features do not fit their nodes"));
    }
    let targets = int(attributes, "n_targets")?.unwrap_or(0);
    if ints(attributes, "leaf_targetids")?.iter().any(|t| !(0..targets).contains(t)) {
        return Err(fault(format!("a leaf has a target that is not one of the {targets}")));
    }
    Ok(())
}

fn tensor_elements(attributes: &[(&str, &[u8])], name: &str) -> Checked<Option<u64>> {
    match field(attributes, name, 5)? {
        Some(value) => Ok(Some(check_tensor(value.bytes())?.elements)),
        None => Ok(None),
    }
}

fn int(attributes: &[(&str, &[u8])], name: &str) -> Checked<Option<i64>> {
    Ok(field(attributes, name, 3)?.map(Value::int))
}

/// The value of one field of an attribute.
fn field<'a>(attributes: &[(&str, &'a [u8])], name: &str, wanted: u32) -> Checked<Option<Value<'a>>> {
    if let Some((_, bytes)) = attributes.iter().find(|(n, _)| *n == name) {
        let mut fields = Fields::new(bytes, &ATTRIBUTE);
        while let Some((number, value)) = fields.next()? {
            if number == wanted {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

/// `TreeEnsembleClassifier` and `-Regressor`: nodes are named by tree and number.
fn check_older(attributes: &[(&str, &[u8])]) -> Checked<()> {
    let (trees, ids) = (ints(attributes, "nodes_treeids")?, ints(attributes, "nodes_nodeids")?);
    let (true_ids, false_ids) = (ints(attributes, "nodes_truenodeids")?, ints(attributes, "nodes_falsenodeids")?);
    let modes = strings(attributes, "nodes_modes")?;
    let nodes = ids.len();
    if [trees.len(), true_ids.len(), false_ids.len(), modes.len()] != [nodes; 4] {
        return Err(fault("the lists of the trees' nodes differ in length"));
    }
    let mut places = HashMap::with_capacity(nodes);
    for (place, (&tree, &id)) in (0_u32..).zip(trees.iter().zip(&ids)) {
        if places.insert((tree, id), place).is_some() {
            return Err(fault(format!("the tree {tree} has the node {id} twice")));
        }
    }
    let mut branches = Vec::with_capacity(nodes);
    for ((&tree, mode), (&t, &f)) in trees.iter().zip(&modes).zip(true_ids.iter().zip(&false_ids)) {
        if *mode == b"LEAF" {
            branches.push([LEAF, LEAF]);
            continue;
        }
        let find = |id: i64| {
            places
                .get(&(tree, id))
                .copied()
                .ok_or_else(|| fault(format!("a branch leads to the node {id}, which the tree {tree} does not have")))
        };
        branches.push([find(t)?, find(f)?]);
    }
    check_ends(&branches)
}

fn strings<'a>(attributes: &[(&str, &'a [u8])], name: &str) -> Checked<Vec<&'a [u8]>> {
    let mut words = Vec::new();
    if let Some((_, bytes)) = attributes.iter().find(|(n, _)| *n == name) {
        let mut fields = Fields::new(bytes, &ATTRIBUTE);
        while let Some((number, value)) = fields.next()? {
            if number == 9 {
                words.push(value.bytes());
            }
        }
    }
    Ok(words)
}

/// Follows every way from every node to its end, depth first and without recursion.
fn check_ends(branches: &[[u32; 2]]) -> Checked<()> {
    const NEW: u32 = 0;
    const OPEN: u32 = u32::MAX;
    // Per node: new, open (we are below it), or the longest way from it to a leaf.
    let mut states = vec![NEW; branches.len()];
    for start in (0..LEAF).take(branches.len()) {
        let mut stack = vec![start];
        while let Some(&node) = stack.last() {
            let (Some(&next), Some(state)) = (branches.get(node as usize), states.get(node as usize).copied()) else {
                return Err(fault("a branch leads nowhere"));
            };
            let below = |target: u32| if target == LEAF { Some(0) } else { states.get(target as usize).copied() };
            if state != NEW && state != OPEN {
                stack.pop();
                continue;
            }
            let mut deepest = 0;
            let mut waits = false;
            for target in next {
                match below(target) {
                    Some(NEW) if target != LEAF => {
                        stack.push(target);
                        waits = true;
                    }
                    Some(OPEN) | None => {
                        return Err(fault(format!("a branch leads back to the node {target} above it")));
                    }
                    Some(depth) => deepest = deepest.max(depth),
                }
                if waits {
                    break;
                }
            }
            let Some(slot) = states.get_mut(node as usize) else { continue };
            if waits {
                *slot = OPEN;
                continue;
            }
            if deepest >= LIMIT_DEPTH {
                return Err(fault(format!("a tree is deeper than {LIMIT_DEPTH} nodes")));
            }
            *slot = deepest + 1;
            stack.pop();
        }
    }
    Ok(())
}
