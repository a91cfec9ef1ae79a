//! The Monorail data plane: everything between a request's bytes and its answer's, without Python.
//!
//! Nothing a client sends may end in a panic: what could is denied here, tests aside.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(clippy::too_many_lines)]

pub mod batcher;
pub mod bench;
mod brokers;
pub mod bundle;
pub mod catalog;
mod clock;
pub mod engine;
pub mod error;
mod exchange;
pub mod http;
pub mod jobs;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod names;
mod onnx;
pub mod registry;
pub mod settings;
pub mod signature;
pub mod statistics;
mod suggest;
pub mod values;
