//! Statistics of columns: numbers, quantiles and counts.

use monorail_core::error::Result;
use monorail_core::statistics::{self, Extreme};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrow::{ArrowStream, column_from_python};
use crate::errors;

/// Count, extremes, mean and squared deviations of a column of numbers.
#[pyclass(module = "monorail._core")]
#[derive(Default)]
pub struct Numbers(statistics::Numbers);

#[pymethods]
impl Numbers {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn update(&mut self, py: Python<'_>, column: &Bound<'_, PyAny>) -> PyResult<()> {
        let column = column_from_python(column)?;
        errors::detached(py, || self.0.update(&column))
    }

    fn merge(&mut self, later: PyRef<'_, Self>) {
        self.0.merge(&later.0);
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.0.rows()
    }

    #[getter]
    fn nulls(&self) -> u64 {
        self.0.nulls()
    }

    #[getter]
    fn nans(&self) -> u64 {
        self.0.nans()
    }

    #[getter]
    fn infinities(&self) -> u64 {
        self.0.infinities()
    }

    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    #[getter]
    fn minimum<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.minimum().map(|value| extreme(py, value)).transpose()
    }

    #[getter]
    fn maximum<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.maximum().map(|value| extreme(py, value)).transpose()
    }

    #[getter]
    fn mean(&self) -> f64 {
        self.0.mean()
    }

    #[getter]
    fn m2(&self) -> f64 {
        self.0.m2()
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, state: &[u8]) -> PyResult<Self> {
        statistics::Numbers::from_bytes(state).map(Self).map_err(|e| errors::raise(py, &e))
    }
}

fn extreme(py: Python<'_>, value: Extreme) -> PyResult<Bound<'_, PyAny>> {
    match value {
        Extreme::Whole(value) => Ok(value.into_pyobject(py)?.into_any()),
        Extreme::Float(value) => Ok(value.into_pyobject(py)?.into_any()),
    }
}

/// The finite values of a column in order, roughly.
#[pyclass(module = "monorail._core")]
#[derive(Default)]
pub struct Quantiles(statistics::Quantiles);

#[pymethods]
impl Quantiles {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn update(&mut self, py: Python<'_>, column: &Bound<'_, PyAny>) -> PyResult<()> {
        let column = column_from_python(column)?;
        errors::detached(py, || self.0.update(&column))
    }

    fn merge(&mut self, later: PyRef<'_, Self>) {
        self.0.merge(&later.0);
    }

    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    #[getter]
    fn rank_error(&self) -> u64 {
        self.0.rank_error()
    }

    fn at(&self, py: Python<'_>, ranks: Vec<u64>) -> Vec<f64> {
        py.detach(|| self.0.at(&ranks))
    }

    fn brackets(&self, py: Python<'_>, ranks: Vec<u64>) -> Vec<(f64, f64)> {
        py.detach(|| self.0.brackets(&ranks))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, state: &[u8]) -> PyResult<Self> {
        statistics::Quantiles::from_bytes(state).map(Self).map_err(|e| errors::raise(py, &e))
    }
}

/// How often each value of a column is there.
#[pyclass(module = "monorail._core")]
pub struct Counts(statistics::Counts);

#[pymethods]
impl Counts {
    #[new]
    #[pyo3(signature = (limit=None))]
    fn new(limit: Option<usize>) -> Self {
        Self(statistics::Counts::new(limit))
    }

    fn update(&mut self, py: Python<'_>, column: &Bound<'_, PyAny>) -> PyResult<()> {
        let column = column_from_python(column)?;
        errors::detached(py, || self.0.update(&column))
    }

    fn merge(&mut self, py: Python<'_>, mut later: PyRefMut<'_, Self>) -> PyResult<()> {
        let later = &mut later.0;
        errors::detached(py, || self.0.merge(later))
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.0.rows()
    }

    #[getter]
    fn nulls(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, statistics::Counts::nulls)
    }

    #[getter]
    fn nans(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, statistics::Counts::nans)
    }

    #[getter]
    fn exact(&self) -> bool {
        self.0.exact()
    }

    #[getter]
    fn distinct(&mut self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, statistics::Counts::distinct)
    }

    fn sorted(&mut self, py: Python<'_>) -> PyResult<ArrowStream> {
        self.ask(py, statistics::Counts::sorted).map(ArrowStream::new)
    }

    fn top(&mut self, py: Python<'_>, most: usize) -> PyResult<ArrowStream> {
        self.ask(py, |counts| counts.top(most)).map(ArrowStream::new)
    }

    #[expect(clippy::wrong_self_convention, reason = "what waits for its dictionary is counted first")]
    fn to_bytes<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, statistics::Counts::to_bytes).map(|bytes| PyBytes::new(py, &bytes))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, state: &[u8]) -> PyResult<Self> {
        statistics::Counts::from_bytes(state).map(Self).map_err(|e| errors::raise(py, &e))
    }
}

impl Counts {
    fn ask<T: Send>(
        &mut self,
        py: Python<'_>,
        answer: impl FnOnce(&mut statistics::Counts) -> Result<T> + Send,
    ) -> PyResult<T> {
        errors::detached(py, || answer(&mut self.0))
    }
}
