//! Values: from any road's bytes into column buffers, and from output buffers into an answer.
//!
//! [`plan`] says where each column of the signature goes in the graph's inputs. [`sink`] is the one place
//! where the rules are enforced: every road hands it values, and none writes to a [`buffer`] by itself.

pub mod arrow_in;
pub mod arrow_out;
pub mod arrow_stream;
pub mod buffer;
pub mod faults;
pub mod json_in;
pub mod json_out;
pub mod plan;
pub mod sink;
pub mod time;

pub use buffer::{OutputBuffer, Outputs, RowBuffer, TensorBuffer, TextBuffer};
pub use plan::{Plan, UnknownColumns};
pub use sink::Sink;
