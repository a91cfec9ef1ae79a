//! Puts our own operator where a graph has trees, and leaves out what only made their matrix.

use std::collections::{HashMap, HashSet};

use crate::onnx::model::{Model, node};

use super::columns::Columns;
use super::forest::Forest;
use super::parse;

/// The operator set of our own operators within a session.
pub const DOMAIN: &str = "monorail";

/// A graph with our operators in it, and the forests they stand for; operator `n` is called `Trees<n>`.
pub struct Fused {
    pub graph: Vec<u8>,
    pub forests: Vec<Forest>,
}

/// The name of the operator of a forest.
pub fn operator(number: usize) -> String {
    format!("Trees{number}")
}

/// Replaces the trees in a graph; `None` if there are none that we evaluate.
pub fn fuse(graph: &[u8]) -> Option<Fused> {
    let model = Model::read(graph)?;
    if model.imports(DOMAIN) {
        // Functions of the file's own are called so.
        return None;
    }
    let mut put = HashMap::new();
    let mut forests = Vec::new();
    let mut dropped = Dropped { model: &model, less: HashMap::new(), removed: HashSet::new() };
    for (at, trees) in model.nodes.iter().enumerate() {
        if (trees.domain, trees.operator) != ("ai.onnx.ml", "TreeEnsemble") {
            continue;
        }
        let ([matrix], [output]) = (&trees.inputs[..], &trees.outputs[..]) else { continue };
        let Some(ensemble) = parse::ensemble(trees) else { continue };
        let features = ensemble.trees.iter().flat_map(|t| &t.splits).map(|s| s.feature + 1).max().unwrap_or(1);
        let columns = Columns::of(&model, matrix, features);
        let Some(forest) = Forest::new(&ensemble, &columns.columns) else { continue };
        let inputs: Vec<_> = forest.inputs().map(|input| columns.inputs.get(input).copied()).collect::<Option<_>>()?;
        put.insert(at, node(&operator(forests.len()), DOMAIN, &inputs, output));
        forests.push(forest);
        inputs.iter().for_each(|input| dropped.keep(input));
        dropped.release(matrix);
    }
    if forests.is_empty() {
        return None;
    }
    Some(Fused { graph: model.written(&dropped.removed, &put, DOMAIN), forests })
}

/// Nodes that nobody reads any more.
struct Dropped<'m, 'a> {
    model: &'m Model<'a>,
    /// By how much fewer each value is read than in the graph as it was.
    less: HashMap<&'a str, isize>,
    removed: HashSet<usize>,
}

impl<'a> Dropped<'_, 'a> {
    fn keep(&mut self, value: &'a str) {
        *self.less.entry(value).or_default() -= 1;
    }

    /// One reader of a value less; a node with no readers left goes, and reads nothing either.
    fn release(&mut self, value: &'a str) {
        let mut waiting = vec![value];
        while let Some(value) = waiting.pop() {
            *self.less.entry(value).or_default() += 1;
            let Some(at) = self.model.producer(value) else { continue };
            let Some(node) = self.model.nodes.get(at) else { continue };
            let unread = |name: &&str| self.model.uses(name).cast_signed() <= self.less.get(name).copied().unwrap_or(0);
            if node.outputs.iter().all(unread) && self.removed.insert(at) {
                waiting.extend(node.inputs.iter().copied());
            }
        }
    }
}
