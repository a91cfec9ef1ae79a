//! Our own evaluation of trees within a graph: ONNX Runtime calls it where the graph has a `TreeEnsemble`.
//!
//! [`fuse`] puts our operators into the graph; [`parse`] and [`columns`] read the trees and what their matrix is made of;
//! [`forest`] evaluates them by [`bits`] or by [`walk`]; [`operator`] is what the runtime calls.

mod bits;
mod columns;
mod forest;
mod fuse;
mod lanes;
mod operator;
mod parse;
#[cfg(test)]
mod tests;
mod walk;

pub use fuse::fuse;
pub use operator::Operators;
