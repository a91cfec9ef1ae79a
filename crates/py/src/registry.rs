//! The folder registry and its drafts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use monorail_core::registry;
use pyo3::prelude::*;
use serde_json::json;

use crate::errors;

/// See `_core.pyi`.
#[pyclass(frozen, module = "monorail._core")]
pub struct Registry(registry::Registry);

#[pymethods]
impl Registry {
    #[new]
    fn new(path: PathBuf) -> Self {
        Self(registry::Registry::new(path))
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.root().to_owned()
    }

    fn is_trusted(&self) -> bool {
        self.0.is_trusted()
    }

    fn list(&self, py: Python<'_>) -> PyResult<String> {
        let listed = errors::detached(py, || self.0.list())?;
        let models: Vec<_> = listed
            .into_iter()
            .map(|model| {
                let versions: Vec<_> =
                    model.versions.into_iter().map(|v| json!({"version": v.version, "created": v.created})).collect();
                let aliases: BTreeMap<_, _> = model.aliases.into_iter().collect();
                json!({"name": model.name, "versions": versions, "aliases": aliases})
            })
            .collect();
        Ok(json!(models).to_string())
    }

    fn resolve(&self, py: Python<'_>, reference: &str) -> PyResult<(String, u64, PathBuf)> {
        let found = errors::detached(py, || self.0.resolve(reference))?;
        Ok((found.name, found.version, found.folder))
    }

    fn draft(&self, py: Python<'_>, name: &str) -> PyResult<Draft> {
        errors::detached(py, || self.0.draft(name)).map(Draft)
    }

    fn set_alias(&self, py: Python<'_>, name: &str, alias: &str, version: u64) -> PyResult<()> {
        errors::detached(py, || self.0.set_alias(name, alias, version))
    }

    fn remove_alias(&self, py: Python<'_>, name: &str, alias: &str) -> PyResult<()> {
        errors::detached(py, || self.0.remove_alias(name, alias))
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "monorail._core")]
pub struct Draft(registry::Draft);

#[pymethods]
impl Draft {
    #[getter]
    fn path(&self) -> PathBuf {
        self.0.folder().to_owned()
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn publish(&self, py: Python<'_>, manifest: &str) -> PyResult<()> {
        errors::detached(py, || self.0.publish(manifest).map(|_| ()))
    }

    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        errors::detached(py, || self.0.discard())
    }
}
