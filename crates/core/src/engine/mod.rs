//! Engines: what turns rows into answers.
//!
//! Every road ends in [`Engine::run`], so an answer does not depend on the road. Today there is one engine,
//! [`native`]: the graph, run by ONNX Runtime in this process.

pub mod golden;
pub mod model;
pub mod native;
pub mod runtime;

use std::ops::Range;

use crate::error::Result;
use crate::values::{Outputs, RowBuffer};

pub use model::Model;

/// Scores rows. Called from several threads at once.
pub trait Engine: Send + Sync {
    /// Scores some rows of a buffer laid out by the model's plan.
    ///
    /// # Errors
    /// `engine_failed` if these rows cannot be scored.
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs>;
}
