//! The one place where the core's errors become Python's.

use monorail_core::error::{Code, Error, Result};
use pyo3::prelude::*;

/// The exception that belongs to an error, built by `monorail.errors.error_from`.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let parts = error.parts();
    let built = || -> PyResult<Bound<'_, PyAny>> {
        let details = serde_json::to_string(&parts.details).unwrap_or_else(|_| "[]".to_owned());
        py.import("monorail.errors")?.getattr("error_from")?.call1((
            parts.code.as_str(),
            parts.message.as_ref(),
            parts.hint.as_deref(),
            details,
        ))
    };
    match built() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The exception for a fault of our own.
pub fn internal(py: Python<'_>, message: &str) -> PyErr {
    raise(py, &Error::new(Code::Internal, message.to_owned()))
}

/// Leaves Python, does the work, comes back, and raises its error.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(work).map_err(|error| raise(py, &error))
}
