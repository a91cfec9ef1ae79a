//! The ONNX Runtime library: found by its caller, loaded once for the process.

use std::ffi::CStr;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;

use crate::error::{Code, Error, Result};

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads the library at `path`, or gives the one already loaded: a process has at most one.
///
/// # Errors
/// `runtime_missing` if there is no such file, or it is not an ONNX Runtime of at least API version 17.
pub fn environment(path: &Path) -> Result<&'static Environment> {
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    if !path.is_file() {
        return Err(missing(format!("there is no ONNX Runtime library at {}", path.display())));
    }
    let environment = ort::init_from(path)
        .map_err(|e| missing(format!("the ONNX Runtime library cannot be loaded: {e}")))?
        .with_name("monorail")
        .with_telemetry(false)
        .build()
        .map_err(|e| missing(format!("ONNX Runtime does not start: {e}")))?;
    // It writes to stderr by itself and waits for whoever reads there; a call's failure is its error anyway.
    environment.set_log_level(ort::logging::LogLevel::Fatal);
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

/// Turns a status into a result and releases it.
pub fn check(status: ort::sys::OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null holds a message that ends in zero and lives until it is released.
    let message = unsafe {
        let text = CStr::from_ptr((ort::api().GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.0);
        text
    };
    Err(Error::new(Code::EngineFailed, format!("the graph failed: {message}")))
}

fn missing(message: String) -> Error {
    Error::new(Code::RuntimeMissing, message).hint("install the package `onnxruntime`")
}
