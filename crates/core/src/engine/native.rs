//! The native engine: a graph in ONNX Runtime, fed from our buffers and answering into them.
//!
//! One intra-op thread a session: with more, sums of trees depend on the batch's size. Parallelism is
//! across batches instead: `Run` is called from several threads.

use std::ffi::{CString, c_char, c_void};
use std::ops::Range;
use std::path::Path;
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::sys::{self, ONNXTensorElementDataType as ElementType, OrtValue};
use ort::value::ValueType;

use crate::bundle::stage::StageOutput;
use crate::error::{Code, Error, Result};
use crate::signature::{Kind, Output};
use crate::values::plan::{Plan, PlannedInput};
use crate::values::{OutputBuffer, Outputs, RowBuffer, TensorBuffer, TextBuffer};

use super::Engine;
use super::runtime::{self, check};
use super::trees::{self, Operators};

/// A loaded graph.
pub struct Native {
    session: Session,
    /// What the session calls; it goes after it.
    _operators: Option<Operators>,
    memory: MemoryInfo,
    inputs: Vec<Input>,
    outputs: Vec<Answer>,
    names: Names,
}

struct Input {
    kind: Kind,
    row_shape: Vec<i64>,
    width: usize,
}

struct Answer {
    kind: Kind,
    width: usize,
    /// Whether the graph's tensor has a second dimension.
    matrix: bool,
}

/// Input and output names as C has them. The pointers are into the strings beside them.
struct Names {
    inputs: Vec<*const c_char>,
    outputs: Vec<*const c_char>,
    _text: Vec<CString>,
}

// SAFETY: the pointers are into heap text owned by the same struct, written once and only read after.
unsafe impl Send for Names {}
// SAFETY: as above: nothing is ever written through them.
unsafe impl Sync for Names {}

impl Native {
    /// Loads a graph whose inputs and outputs are the plan's and the signature's.
    ///
    /// `runtime` is the path of the ONNX Runtime library.
    ///
    /// # Errors
    /// `runtime_missing`, or `graph_refused` if the runtime does not take the graph or its inputs and outputs
    /// are not those of the manifest.
    pub fn load(graph: &[u8], runtime: &Path, plan: &Plan, outputs: &[(&StageOutput, &Output)]) -> Result<Self> {
        let environment = runtime::environment(runtime)?;
        let (session, operators) = open(environment, graph)?;
        check_inputs(&session, plan)?;
        let answers = outputs.iter().map(|(stage, output)| answer(&session, stage, output)).collect::<Result<_>>()?;
        let text =
            |name: &str| CString::new(name).map_err(|_| refused(format!("a name of the graph has a zero: {name:?}")));
        let mut strings = Vec::new();
        for name in plan.inputs.iter().map(|i| &i.name).chain(outputs.iter().map(|(stage, _)| &stage.graph_output)) {
            strings.push(text(name)?);
        }
        let mut inputs: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        let outputs = inputs.split_off(plan.inputs.len());
        Ok(Self {
            session,
            _operators: operators,
            memory: MemoryInfo::cpu()?,
            inputs: plan.inputs.iter().map(Input::new).collect(),
            outputs: answers,
            names: Names { inputs, outputs, _text: strings },
        })
    }

    fn empty(&self) -> Outputs {
        let columns = self.outputs.iter().map(|a| (a.buffer(0), a.width)).collect();
        Outputs { rows: 0, columns }
    }
}

impl Input {
    fn new(input: &PlannedInput) -> Self {
        let row_shape = input.row_shape.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
        Self { kind: input.kind, row_shape, width: input.width() }
    }
}

impl Answer {
    fn buffer(&self, rows: usize) -> OutputBuffer {
        OutputBuffer::zeroed(self.kind, rows * self.width).unwrap_or(OutputBuffer::Bool(Vec::new()))
    }
}

impl Engine for Native {
    fn run(&self, rows: &RowBuffer, range: Range<usize>) -> Result<Outputs> {
        let count = range.len();
        if count == 0 {
            return Ok(self.empty());
        }
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (i, input) in self.inputs.iter().enumerate() {
            let Some((tensor, _)) = rows.tensor(i) else { return Err(internal("a buffer of another plan")) };
            inputs.push(self.input(input, tensor, &range)?);
        }
        let mut buffers: Vec<_> = self.outputs.iter().map(|a| a.buffer(count)).collect();
        let mut outputs = Vec::with_capacity(buffers.len());
        for (answer, buffer) in self.outputs.iter().zip(&mut buffers) {
            outputs.push(self.output(answer, buffer, count)?);
        }
        let input_pointers: Vec<*const OrtValue> = inputs.iter().map(|v| v.0.cast_const()).collect();
        let mut output_pointers: Vec<*mut OrtValue> = outputs.iter().map(|v| v.0).collect();
        // SAFETY: every array has as many entries as its count says; the names end in zero and live as long as
        // self; each input's memory is borrowed from `rows` and each output's from `buffers`, which both outlive
        // the call and are at least as long as the shapes given with them. ONNX Runtime documents Run as safe
        // to call concurrently on one session, and it writes to no input it is fed. The session pointer is cast
        // to mutable only because the C signature says so.
        let status = unsafe {
            (ort::api().Run)(
                self.session.inner().ptr().cast_mut(),
                ptr::null(),
                self.names.inputs.as_ptr(),
                input_pointers.as_ptr(),
                input_pointers.len(),
                self.names.outputs.as_ptr(),
                output_pointers.len(),
                output_pointers.as_mut_ptr(),
            )
        };
        // Outputs that the runtime made itself are owned from here on, whether or not the call succeeded.
        for (value, pointer) in outputs.iter_mut().zip(output_pointers) {
            if value.0.is_null() {
                value.0 = pointer;
            }
        }
        check(status)?;
        for ((answer, buffer), value) in self.outputs.iter().zip(&mut buffers).zip(&outputs) {
            match buffer {
                OutputBuffer::Text(texts) => read_texts(value, count * answer.width, texts)?,
                OutputBuffer::Bool(values) => make_bools(values),
                _ => {}
            }
        }
        let columns = buffers.into_iter().zip(&self.outputs).map(|(b, a)| (b, a.width)).collect();
        Ok(Outputs { rows: count, columns })
    }
}

impl Native {
    /// A graph input over some rows of a buffer: no copy, but for strings.
    fn input(&self, input: &Input, tensor: &TensorBuffer, range: &Range<usize>) -> Result<Value> {
        let elements = range.start * input.width..range.end * input.width;
        let mut shape = Vec::with_capacity(1 + input.row_shape.len());
        shape.push(i64::try_from(range.len()).unwrap_or(i64::MAX));
        shape.extend_from_slice(&input.row_shape);
        macro_rules! view {
            ($($variant:ident)*) => {
                match tensor {
                    $(TensorBuffer::$variant(values) => {
                        let values = values.get(elements).ok_or_else(|| internal("a buffer is too short"))?;
                        self.over(values.as_ptr().cast_mut().cast(), size_of_val(values), &shape, input.kind)
                    })*
                    TensorBuffer::Text(texts) => fill_texts(texts, elements, &shape),
                }
            };
        }
        view!(Bool I8 I16 I32 I64 U8 U16 U32 U64 F32 F64)
    }

    /// A graph output over an answer's buffer; strings are left to the runtime to allocate.
    fn output(&self, answer: &Answer, buffer: &mut OutputBuffer, rows: usize) -> Result<Value> {
        let (rows, width) = (i64::try_from(rows).unwrap_or(i64::MAX), i64::try_from(answer.width).unwrap_or(i64::MAX));
        let shape = [rows, width];
        let shape = if answer.matrix { &shape[..] } else { &shape[..1] };
        macro_rules! view {
            ($($variant:ident)*) => {
                match buffer {
                    $(OutputBuffer::$variant(values) => {
                        self.over(values.as_mut_ptr().cast(), size_of_val(values.as_slice()), shape, answer.kind)
                    })*
                    OutputBuffer::Text(_) => Ok(Value(ptr::null_mut())),
                }
            };
        }
        view!(Bool I32 I64 F32 F64)
    }

    fn over(&self, data: *mut c_void, bytes: usize, shape: &[i64], kind: Kind) -> Result<Value> {
        let mut value = ptr::null_mut();
        // SAFETY: `data` points to `bytes` bytes that the caller borrows until after Run; the runtime checks
        // that they are enough for the shape and takes no ownership of them.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.0,
                data,
                bytes,
                shape.as_ptr(),
                shape.len(),
                element_type(kind),
                &mut value,
            )
        })?;
        Ok(Value(value))
    }
}

/// An owned runtime value, or null.
struct Value(*mut OrtValue);

impl Drop for Value {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the value is owned by this struct alone and was made by the runtime.
            unsafe { (ort::api().ReleaseValue)(self.0) };
        }
    }
}

struct MemoryInfo(*mut sys::OrtMemoryInfo);

// SAFETY: a description of where memory is; immutable once made.
unsafe impl Send for MemoryInfo {}
// SAFETY: as above.
unsafe impl Sync for MemoryInfo {}

impl MemoryInfo {
    fn cpu() -> Result<Self> {
        let mut info = ptr::null_mut();
        // SAFETY: writes one pointer, which this struct then owns.
        check(unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtArenaAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &mut info,
            )
        })?;
        Ok(Self(info))
    }
}

impl Drop for MemoryInfo {
    fn drop(&mut self) {
        // SAFETY: owned by this struct alone.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0) };
    }
}

/// A string tensor with copies of some strings of a buffer.
fn fill_texts(texts: &TextBuffer, elements: Range<usize>, shape: &[i64]) -> Result<Value> {
    let api = ort::api();
    let (mut allocator, mut pointer) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: gives the process's default allocator, which is never released.
    check(unsafe { (api.GetAllocatorWithDefaultOptions)(&mut allocator) })?;
    // SAFETY: allocates a tensor of the shape's size; the shape's length is given with it.
    check(unsafe {
        (api.CreateTensorAsOrtValue)(allocator, shape.as_ptr(), shape.len(), element_type(Kind::String), &mut pointer)
    })?;
    let value = Value(pointer);
    for (at, i) in elements.enumerate() {
        let text = texts.get(i);
        let mut place: *mut c_char = ptr::null_mut();
        // SAFETY: `at` is below the tensor's size, which the runtime checks; it gives room for exactly
        // `text.len()` bytes, which are then copied there from memory that does not overlap it.
        unsafe {
            check((api.GetResizedStringTensorElementBuffer)(value.0, at, text.len(), &mut place))?;
            ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), text.len());
        }
    }
    Ok(value)
}

/// Copies a string tensor's `count` strings.
fn read_texts(value: &Value, count: usize, into: &mut TextBuffer) -> Result<()> {
    let api = ort::api();
    let mut elements = 0;
    let mut info = ptr::null_mut();
    // SAFETY: the value is a tensor the runtime made; its description is released right after it is read.
    unsafe {
        check((api.GetTensorTypeAndShape)(value.0, &mut info))?;
        let status = (api.GetTensorShapeElementCount)(info, &mut elements);
        (api.ReleaseTensorTypeAndShapeInfo)(info);
        check(status)?;
    }
    if elements != count {
        return Err(Error::new(Code::EngineFailed, format!("the graph gave {elements} strings instead of {count}")));
    }
    let mut bytes = 0;
    // SAFETY: writes one number.
    check(unsafe { (api.GetStringTensorDataLength)(value.0, &mut bytes) })?;
    let mut text = vec![0_u8; bytes];
    let mut starts = vec![0_usize; count];
    // SAFETY: both arrays have the lengths given with them.
    check(unsafe {
        (api.GetStringTensorContent)(value.0, text.as_mut_ptr().cast(), bytes, starts.as_mut_ptr(), count)
    })?;
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(bytes);
        let piece = text.get(*start..end).and_then(|b| std::str::from_utf8(b).ok());
        into.push(piece.ok_or_else(|| Error::new(Code::EngineFailed, "the graph gave a string that is not UTF-8"))?);
    }
    Ok(())
}

/// Makes truth values of the bytes that the runtime wrote as such: whatever is not zero is true.
fn make_bools(values: &mut Vec<bool>) {
    let (bytes, count) = (values.as_mut_ptr().cast::<u8>(), values.len());
    // SAFETY: a bool is one byte, of which the vector has `count`, all written; each ends up 0 or 1, and none is
    // read as a bool before.
    unsafe { std::slice::from_raw_parts_mut(bytes, count) }.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
}

/// A session of a graph, with our own operators where it has trees, and those operators.
pub(super) fn open(environment: &ort::environment::Environment, graph: &[u8]) -> Result<(Session, Option<Operators>)> {
    let refuse = |e: ort::Error| refused(format!("the runtime refuses the graph: {e}"));
    let Some(fused) = trees::fuse(graph) else {
        let session = builder(environment).and_then(|mut builder| builder.commit_from_memory(graph));
        return Ok((session.map_err(refuse)?, None));
    };
    let operators = Operators::new(fused.forests)?;
    let mut builder = builder(environment).map_err(refuse)?;
    operators.add_to(&mut builder)?;
    Ok((builder.commit_from_memory(&fused.graph).map_err(refuse)?, Some(operators)))
}

pub(super) fn builder(environment: &ort::environment::Environment) -> ort::Result<SessionBuilder> {
    // Batches come in every size: a memory plan a size would be kept for each.
    Ok(Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?)
}

fn check_inputs(session: &Session, plan: &Plan) -> Result<()> {
    if session.inputs().len() != plan.inputs.len() {
        return Err(refused("the graph has another number of inputs than the manifest".to_owned()));
    }
    for input in &plan.inputs {
        let found = session.inputs().iter().find(|i| i.name() == input.name);
        let fits = match found.map(ort::value::Outlet::dtype) {
            Some(ValueType::Tensor { ty, shape, .. }) => {
                kind_of(*ty) == Some(input.kind)
                    && shape.len() == 1 + input.row_shape.len()
                    && shape.iter().skip(1).zip(&input.row_shape).all(|(&d, &w)| d < 0 || usize::try_from(d) == Ok(w))
            }
            _ => false,
        };
        if !fits {
            return Err(refused(format!("the graph's input \"{}\" is not as the manifest says", input.name)));
        }
    }
    Ok(())
}

fn answer(session: &Session, stage: &StageOutput, output: &Output) -> Result<Answer> {
    let found = session.outputs().iter().find(|o| o.name() == stage.graph_output);
    let Some(ValueType::Tensor { ty, shape, .. }) = found.map(ort::value::Outlet::dtype) else {
        return Err(refused(format!("the graph has no tensor output \"{}\"", stage.graph_output)));
    };
    let second = shape.get(1).map(|&d| usize::try_from(d).ok());
    let fits = kind_of(*ty) == Some(output.kind)
        && match (shape.len(), second) {
            (1, _) => output.size.is_none(),
            (2, Some(Some(width))) => width == output.width(),
            (2, _) => true,
            _ => false,
        };
    if !fits {
        return Err(refused(format!("the graph's output \"{}\" is not as the signature says", stage.graph_output)));
    }
    Ok(Answer { kind: output.kind, width: output.width(), matrix: shape.len() == 2 })
}

fn kind_of(element: ort::value::TensorElementType) -> Option<Kind> {
    use ort::value::TensorElementType as T;
    Some(match element {
        T::Bool => Kind::Bool,
        T::Int8 => Kind::Int8,
        T::Int16 => Kind::Int16,
        T::Int32 => Kind::Int32,
        T::Int64 => Kind::Int64,
        T::Uint8 => Kind::Uint8,
        T::Uint16 => Kind::Uint16,
        T::Uint32 => Kind::Uint32,
        T::Uint64 => Kind::Uint64,
        T::Float32 => Kind::Float32,
        T::Float64 => Kind::Float64,
        T::String => Kind::String,
        _ => return None,
    })
}

fn element_type(kind: Kind) -> ElementType {
    match kind {
        Kind::Bool => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        Kind::Int8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        Kind::Int16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        Kind::Int32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        Kind::Int64 | Kind::Date32 | Kind::Timestamp => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        Kind::Uint8 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        Kind::Uint16 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        Kind::Uint32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        Kind::Uint64 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        Kind::Float32 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Kind::Float64 => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        Kind::String | Kind::Dictionary | Kind::Tensor => ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

fn refused(message: String) -> Error {
    Error::new(Code::GraphRefused, message).hint("save the model again with this version of Monorail")
}

fn internal(message: &'static str) -> Error {
    Error::new(Code::Internal, message)
}
