//! A server in this process, and the load generator. Neither needs the GIL once started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use monorail_core::error::{Code, Error};
use monorail_core::lifecycle::{self, ModelSpec};
use monorail_core::settings::ServeSettings;
use pyo3::prelude::*;

use crate::errors;

/// How long a wait goes on before Python's signal handlers get their turn.
const STEP: Duration = Duration::from_millis(100);

/// See `_core.pyi`.
#[pyclass(frozen, module = "monorail._core")]
pub struct Server(lifecycle::Server);

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (models, settings, *, runtime))]
    fn new(py: Python<'_>, models: &str, settings: &str, runtime: PathBuf) -> PyResult<Self> {
        errors::detached(py, || {
            let models: Vec<ModelSpec> = serde_json::from_str(models)
                .map_err(|e| Error::new(Code::Internal, format!("the list of models cannot be read: {e}")))?;
            lifecycle::Server::start(models, ServeSettings::from_json(settings)?, runtime).map(Self)
        })
    }

    #[getter]
    fn address(&self) -> String {
        format!("http://{}", self.0.address())
    }

    fn wait_ready(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            if let Some(outcome) = py.detach(|| self.0.ready_within(STEP)) {
                return outcome.map_err(|error| errors::raise(py, &error));
            }
            py.check_signals()?;
        }
    }

    fn begin_drain(&self) {
        self.0.begin_drain();
    }

    fn stop(&self) {
        self.0.stop();
    }

    #[pyo3(signature = (timeout_s=None))]
    fn join(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<bool> {
        let timeout = timeout_s
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|e| errors::raise(py, &Error::new(Code::SettingInvalid, format!("timeout_s: {e}"))))?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let stopped = py.detach(|| self.0.join(Some(left.map_or(STEP, |left| left.min(STEP)))));
            if stopped || left == Some(Duration::ZERO) {
                return Ok(stopped);
            }
            py.check_signals()?;
        }
    }

    fn metrics(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.metrics())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that still runs is stopped and waited for, without holding up Python's other threads.
        let _ = Python::try_attach(|py| {
            py.detach(|| {
                self.0.stop();
                self.0.join(None)
            })
        });
    }
}

/// Loads a running server and measures it.
#[pyfunction]
#[pyo3(signature = (url, name, bodies, connections, seconds, *, content_type="application/json"))]
pub fn bench(
    py: Python<'_>,
    url: String,
    name: String,
    bodies: Vec<Vec<u8>>,
    connections: usize,
    seconds: f64,
    content_type: &str,
) -> PyResult<String> {
    let duration = Duration::try_from_secs_f64(seconds)
        .map_err(|e| errors::raise(py, &Error::new(Code::SettingInvalid, format!("seconds: {e}"))))?;
    let load =
        monorail_core::bench::Load { url, name, bodies, content_type: content_type.to_owned(), connections, duration };
    // Ctrl-C is looked for between ticks; what it raises is raised when the load has stopped.
    let mut raised = None;
    let interrupted = || {
        Python::attach(|py| match py.check_signals() {
            Ok(()) => false,
            Err(error) => {
                raised = Some(error);
                true
            }
        })
    };
    let report = errors::detached(py, || monorail_core::bench::run(&load, interrupted));
    if let Some(error) = raised {
        return Err(error);
    }
    serde_json::to_string(&report?).map_err(|e| errors::internal(py, &e.to_string()))
}
