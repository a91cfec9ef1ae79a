//! The Monorail data plane: everything between a request's bytes and its answer's, without Python.

pub mod bundle;
pub mod engine;
pub mod error;
pub mod names;
pub mod signature;
pub mod values;
