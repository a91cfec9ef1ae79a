//! The Python module `monorail._core`: a thin binding, documented in `python/monorail/_core.pyi`.
//!
//! Crossings are few and coarse. Whatever works releases the GIL first, and no thread of the core needs it.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;

mod arrow;
mod bundle;
mod engine;
mod errors;
mod records;
mod registry;
mod server;
mod statistics;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use bundle::Bundle;
    #[pymodule_export]
    use engine::Engine;
    #[pymodule_export]
    use registry::{Draft, Registry};
    #[pymodule_export]
    use server::{Server, bench};
    #[pymodule_export]
    use statistics::{Counts, Numbers, Quantiles};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Every error code, as JSON.
    #[pyfunction]
    fn error_table() -> String {
        monorail_core::error::table_json()
    }

    /// Every setting, as JSON.
    #[pyfunction]
    fn settings_table() -> String {
        monorail_core::settings::table_json()
    }

    /// Where the registry is: given, else by the variable, else the nearest `.monorail` upwards from `here`.
    #[pyfunction]
    #[pyo3(signature = (given, variable, here))]
    fn find_registry(given: Option<PathBuf>, variable: Option<PathBuf>, here: PathBuf) -> PathBuf {
        monorail_core::registry::find_root(given.as_deref(), variable.as_deref().map(Path::as_os_str), &here)
    }

    /// The text of a published bundle's `bundle.json`, checked; no other file is looked at.
    #[pyfunction]
    fn read_manifest(py: Python<'_>, path: PathBuf) -> PyResult<String> {
        errors::detached(py, || monorail_core::bundle::read::read_manifest(&path)).map(|(_, text)| text)
    }

    /// Checks a model's name.
    #[pyfunction]
    fn check_name(py: Python<'_>, name: &str) -> PyResult<()> {
        monorail_core::names::check_name(name).map_err(|e| errors::raise(py, &e))
    }

    /// Checks a signature's JSON and returns it in its normal form.
    #[pyfunction]
    fn check_signature(py: Python<'_>, signature: &str) -> PyResult<String> {
        let checked = monorail_core::signature::Signature::from_json(signature).map_err(|e| errors::raise(py, &e))?;
        serde_json::to_string(&checked).map_err(|e| errors::internal(py, &e.to_string()))
    }
}
