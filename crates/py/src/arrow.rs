//! Arrow across the border, by the PyCapsule interface: no copy, no pyarrow.
//!
//! Source of the protocol: <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>.

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray, make_array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use monorail_core::error::{Code, Error};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors;

/// Record batches of one schema.
pub struct Table {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Table {
    /// Takes a table from anything with `__arrow_c_stream__` or `__arrow_c_array__`.
    pub fn from_python(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = data.py();
        if data.hasattr("__arrow_c_stream__")? {
            let capsule = data.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
            let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
            // SAFETY: the capsule's name says what it points to; `from_raw` moves the stream out and leaves it
            // released, as the protocol asks of a consumer.
            let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr().cast()) };
            return py.detach(|| Self::from_stream(stream)).map_err(|e| unreadable(py, &e));
        }
        if data.hasattr("__arrow_c_array__")? {
            let (schema, array) = array_from_python(data)?;
            return Self::from_array(&schema, array).map_err(|e| unreadable(py, &e));
        }
        let kind = data.get_type().name()?;
        let error = Error::new(Code::WrongType, format!("a {kind} does not speak the Arrow PyCapsule interface"));
        Err(errors::raise(py, &error.hint("give a DataFrame, an Arrow table, a dict or a list of dicts")))
    }

    fn from_stream(stream: FFI_ArrowArrayStream) -> Result<Self, ArrowError> {
        let reader = RecordBatchStreamReader::try_new(stream)?;
        let schema = reader.schema();
        Ok(Self { schema, batches: reader.collect::<Result<_, _>>()? })
    }

    fn from_array(schema: &FFI_ArrowSchema, array: FFI_ArrowArray) -> Result<Self, ArrowError> {
        // SAFETY: both come from one producer, which vouches that they belong together.
        let data = unsafe { from_ffi(array, schema) }?;
        if !matches!(data.data_type(), DataType::Struct(_)) || data.null_count() > 0 {
            return Err(ArrowError::CDataInterface("it is an array, not a record batch".to_owned()));
        }
        let batch = RecordBatch::from(StructArray::from(data));
        Ok(Self { schema: batch.schema(), batches: vec![batch] })
    }
}

/// Takes one column from anything with `__arrow_c_array__`.
pub fn column_from_python(data: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let (schema, array) = array_from_python(data)?;
    // SAFETY: both come from one producer, which vouches that they belong together.
    let data = unsafe { from_ffi(array, &schema) }.map_err(|e| unreadable(data.py(), &e))?;
    Ok(make_array(data))
}

fn array_from_python(data: &Bound<'_, PyAny>) -> PyResult<(FFI_ArrowSchema, FFI_ArrowArray)> {
    let pair = data.call_method0("__arrow_c_array__")?.cast_into::<PyTuple>()?;
    let schema = pair.get_item(0)?.cast_into::<PyCapsule>()?.pointer_checked(Some(c"arrow_schema"))?;
    let array = pair.get_item(1)?.cast_into::<PyCapsule>()?.pointer_checked(Some(c"arrow_array"))?;
    // SAFETY: the capsules' names say what they point to; `from_raw` moves both out and leaves them released.
    Ok(unsafe { (FFI_ArrowSchema::from_raw(schema.as_ptr().cast()), FFI_ArrowArray::from_raw(array.as_ptr().cast())) })
}

fn unreadable(py: Python<'_>, error: &ArrowError) -> PyErr {
    errors::raise(py, &Error::new(Code::MalformedArrow, format!("the Arrow data cannot be read: {error}")))
}

/// Answers on their way to Python: a table that hands out Arrow streams of itself.
#[pyclass(frozen, module = "monorail._core")]
pub struct ArrowStream {
    schema: SchemaRef,
    batch: RecordBatch,
}

impl ArrowStream {
    pub fn new(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batch }
    }
}

#[pymethods]
impl ArrowStream {
    /// An Arrow stream capsule; may be asked for more than once.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol lets a producer ignore a schema it cannot or need not convert to.
        let _ = requested_schema;
        let batches = RecordBatchIterator::new([Ok(self.batch.clone())], Arc::clone(&self.schema));
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), c"arrow_array_stream")
    }
}
