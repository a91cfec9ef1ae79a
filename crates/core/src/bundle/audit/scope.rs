//! What the audit knows of values before a graph runs: how many turns its loops take.
//!
//! A loop ends if its turns are a constant, or the length of something that a caller feeds: that has at most the rows of
//! a batch and the shape its column has.

use std::collections::HashMap;

use super::LIMIT_TRIPS;
use super::graph::Node;
use super::tensor::check_tensor;
use crate::onnx::schema::ATTRIBUTE;
use crate::onnx::wire::{Checked, Fields, fault};

/// What is known of a value.
#[derive(Clone, Copy, PartialEq)]
pub enum Known {
    Nothing,
    /// A single int64 of the file.
    Number(i64),
    /// What a caller feeds, its elements perhaps in another order or of another type.
    Fed,
    /// Lengths of something that a caller feeds.
    Lengths,
}

/// The names a graph defines, and what is known of each.
pub struct Scope<'a, 'p> {
    parent: Option<&'p Scope<'a, 'p>>,
    names: HashMap<&'a str, Known>,
}

impl<'a, 'p> Scope<'a, 'p> {
    pub fn new(parent: Option<&'p Scope<'a, 'p>>) -> Self {
        Self { parent, names: HashMap::new() }
    }

    pub fn define(&mut self, name: &'a str, known: Known) {
        // What is defined twice has no one value.
        self.names.entry(name).and_modify(|k| *k = Known::Nothing).or_insert(known);
    }

    fn known(&self, name: &str) -> Known {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some(known) = here.names.get(name) {
                return *known;
            }
            scope = here.parent;
        }
        Known::Nothing
    }

    /// What is known of the outputs of a node that is no local function, after the nodes before it.
    pub fn given_by(&self, node: &Node<'_>) -> Checked<Known> {
        if node.domain != "ai.onnx" {
            return Ok(Known::Nothing);
        }
        let first = node.inputs.first().map_or(Known::Nothing, |name| self.known(name));
        Ok(match (node.op, first) {
            ("Constant", _) => constant(node)?.map_or(Known::Nothing, Known::Number),
            ("Identity", known) => known,
            ("Cast" | "Transpose", Known::Fed) => Known::Fed,
            ("Shape", Known::Fed) => Known::Lengths,
            // Some of the lengths.
            ("Gather" | "Slice" | "Squeeze" | "Unsqueeze" | "ReduceMax" | "ReduceMin", first)
                if first == Known::Lengths =>
            {
                first
            }
            ("Cast", Known::Lengths) if keeps_lengths(node)? => Known::Lengths,
            _ => Known::Nothing,
        })
    }

    /// The most turns a loop takes.
    pub fn trips(&self, node: &Node<'_>) -> Checked<u64> {
        match node.inputs.first().map(|name| self.known(name)) {
            // A negative count is no turn at all.
            Some(Known::Number(count)) => match u64::try_from(count).unwrap_or(0) {
                count @ 0..=LIMIT_TRIPS => Ok(count),
                count => Err(fault(format!("the loop takes {count} turns; at most {LIMIT_TRIPS} are allowed"))),
            },
            Some(Known::Lengths) => Ok(LIMIT_TRIPS),
            _ => Err(fault(
                "the number of the loop's turns is not a constant of the graph, nor a length of one of its inputs",
            )),
        }
    }
}

/// Whether a `Cast` goes to int32 or int64: a half float would make an infinity of a length, and that any number.
fn keeps_lengths(node: &Node<'_>) -> Checked<bool> {
    let [("to", bytes)] = node.attributes.as_slice() else { return Ok(false) };
    let mut fields = Fields::new(bytes, &ATTRIBUTE);
    while let Some((number, value)) = fields.next()? {
        if number == 3 {
            return Ok(matches!(value.int(), 6 | 7));
        }
    }
    Ok(false)
}

/// The single int64 that a `Constant` node gives.
fn constant(node: &Node<'_>) -> Checked<Option<i64>> {
    let [(name, bytes)] = node.attributes.as_slice() else { return Ok(None) };
    let mut constant = None;
    let mut fields = Fields::new(bytes, &ATTRIBUTE);
    while let Some((number, value)) = fields.next()? {
        match (number, *name) {
            (3, "value_int") => constant = Some(value.int()),
            (5, "value") => constant = check_tensor(value.bytes())?.single_int(),
            // Given by a function's caller.
            (21, _) => return Ok(None),
            _ => {}
        }
    }
    Ok(constant)
}
