//! Bundles on disk: what `bundle.json` says, the files it lists, and what a graph may hold.
//!
//! Reading goes in three steps, and nothing is used before all three are through: parse the manifest
//! ([`manifest`], [`check`]), compare every file with its digest ([`read`]), audit the graph ([`audit`]).
//! Nothing in a bundle is executed or imported by reading it.

pub mod audit;
pub mod check;
pub mod folder;
pub mod manifest;
mod paths;
pub mod read;
pub mod stage;

pub use manifest::Manifest;
pub use read::{Bundle, Purpose};
