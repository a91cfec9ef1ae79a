//! A published bundle, read and checked.

use std::path::PathBuf;

use monorail_core::bundle;
use pyo3::prelude::*;

use crate::errors;

/// See `_core.pyi`.
#[pyclass(frozen, module = "monorail._core")]
pub struct Bundle {
    #[pyo3(get)]
    path: PathBuf,
    #[pyo3(get)]
    manifest: String,
}

#[pymethods]
impl Bundle {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = errors::detached(py, || bundle::Bundle::open(&path))?;
        Ok(Self { path: opened.folder, manifest: opened.manifest_json })
    }
}
