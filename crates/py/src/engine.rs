//! A model in this process, for `Model.predict` and the proof.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use monorail_core::bundle;
use monorail_core::engine::Model;
use monorail_core::engine::model::Options;
use monorail_core::engine::worker::Launch;
use monorail_core::error::{Code, Error, Result};
use monorail_core::log::{Level, Log};
use monorail_core::settings::Settings;
use monorail_core::values::{Outputs, RowBuffer, UnknownColumns, arrow_in, arrow_out};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySequence};

use crate::arrow::{ArrowStream, Table};
use crate::{errors, records};

/// Rows per call of the engine where the caller does not say: a batch of a wide model still fits a cache.
const MAX_BATCH_ROWS: usize = 1_024;

/// See `_core.pyi`.
#[pyclass(frozen, module = "monorail._core")]
pub struct Engine {
    model: Model,
    threads: usize,
    #[pyo3(get)]
    manifest: String,
}

#[pymethods]
impl Engine {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the options of Python's constructor")]
    #[pyo3(signature = (path, *, runtime, threads=0, manifest=None, unknown_columns="refuse", trusted=false, worker=None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        runtime: PathBuf,
        threads: usize,
        manifest: Option<String>,
        unknown_columns: &str,
        trusted: bool,
        worker: Option<String>,
    ) -> PyResult<Self> {
        // Ctrl-C is looked for while workers come up; what it raises is raised once they have been stopped.
        let raised = Mutex::new(None);
        let stop = || {
            let signalled = Python::attach(|py| py.check_signals());
            let is_raised = signalled.is_err();
            if let Err(error) = signalled {
                raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            is_raised
        };
        let made = errors::detached(py, || {
            let unknown = match unknown_columns {
                "refuse" => UnknownColumns::Refuse,
                "ignore" => UnknownColumns::Ignore,
                other => {
                    let message = format!("unknown_columns is \"refuse\" or \"ignore\", not {other:?}");
                    return Err(Error::new(Code::SettingInvalid, message));
                }
            };
            let purpose = bundle::Purpose::Run { trusted, scratch: None };
            let bundle = match manifest {
                Some(manifest) => bundle::Bundle::from_draft(&path, &manifest, purpose)?,
                None => bundle::Bundle::open_for(&path, purpose)?,
            };
            let manifest = bundle.manifest_json.clone();
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = if threads == 0 { cores } else { threads };
            let settings = Settings { unknown_columns: unknown, max_workers: threads, ..Settings::default() };
            let launch = worker.as_deref().map(Launch::from_json).transpose()?;
            // What workers print is for whoever loads the model; a graph has nothing to say.
            let log = if launch.is_some() { Log::stderr(Level::Warning).0 } else { Log::nowhere() };
            let launch = launch.as_ref();
            let options = Options { runtime: &runtime, settings: &settings, launch, log: &log, stop: &stop };
            Ok(Self { model: Model::load(bundle, options)?, threads, manifest })
        });
        match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => made,
        }
    }

    #[pyo3(signature = (data, *, max_batch_rows=0))]
    fn predict(&self, data: &Bound<'_, PyAny>, max_batch_rows: usize) -> PyResult<ArrowStream> {
        let table = Table::from_python(data)?;
        errors::detached(data.py(), move || {
            let mut buffer = self.model.plan.buffer();
            arrow_in::read_batches(&table.schema, &table.batches, &self.model.plan, &mut buffer, usize::MAX)?;
            drop(table);
            self.score(&buffer, max_batch_rows)
        })
    }

    fn predict_rows(&self, rows: &Bound<'_, PySequence>) -> PyResult<ArrowStream> {
        let mut buffer = self.model.plan.buffer();
        records::read_rows(rows, &self.model.plan, &mut buffer)?;
        errors::detached(rows.py(), || self.score(&buffer, 0))
    }

    fn predict_columns(&self, columns: &Bound<'_, PyDict>) -> PyResult<ArrowStream> {
        let mut buffer = self.model.plan.buffer();
        records::read_columns(columns, &self.model.plan, &mut buffer)?;
        errors::detached(columns.py(), || self.score(&buffer, 0))
    }

    fn check_golden(&self, py: Python<'_>) -> PyResult<String> {
        let report = errors::detached(py, || self.model.check_golden())?;
        serde_json::to_string(&report).map_err(|e| errors::internal(py, &e.to_string()))
    }
}

impl Engine {
    fn score(&self, buffer: &RowBuffer, max_batch_rows: usize) -> Result<ArrowStream> {
        let max_batch_rows = if max_batch_rows == 0 { MAX_BATCH_ROWS } else { max_batch_rows };
        let outputs: Outputs = self.model.score(buffer, max_batch_rows, self.threads)?;
        arrow_out::batch(&self.model.schema, outputs).map(ArrowStream::new)
    }
}
