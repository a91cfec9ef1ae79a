//! ONNX files as they lie: [`wire`] and [`schema`] read them, [`model`] looks into a graph and writes it anew.
//!
//! Whether a file may be run at all is for the audit of bundles to say.

pub mod model;
pub mod schema;
pub mod wire;
