//! The Monorail data plane: everything between a request's bytes and its answer's, without Python.

pub mod bundle;
mod clock;
pub mod engine;
pub mod error;
pub mod log;
pub mod names;
pub mod registry;
pub mod settings;
pub mod signature;
mod suggest;
pub mod values;
