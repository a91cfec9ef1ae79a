//! Statistics of columns that do not fit in memory: gathered block by block, merged, stored as bytes.
//!
//! None of them depends on how rows are cut into batches; what merges comes from rows behind those of the first.

mod bytes;
mod counts;
mod entries;
mod numbers;
mod quantiles;
mod table;
mod values;

pub use counts::{Counts, Kind};
pub use numbers::{Extreme, Numbers};
pub use quantiles::Quantiles;
