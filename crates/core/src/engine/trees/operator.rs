//! Our operators as ONNX Runtime knows them: tables of functions that it calls.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys::{
    self, ONNXTensorElementDataType as Element, OrtCustomOp, OrtCustomOpInputOutputCharacteristic as Characteristic,
    OrtKernelContext, OrtStatusPtr, OrtValue,
};

use crate::engine::runtime::check;
use crate::error::{Code, Error, Result};

use super::forest::{Forest, Sums};
use super::fuse::{DOMAIN, operator};
use super::lanes::{Matrix, Values};

/// The operators of one session, which must not outlive them.
pub struct Operators {
    domain: Domain,
    #[expect(clippy::vec_box, reason = "the runtime keeps pointers to them")]
    _operators: Vec<Box<Operator>>,
}

struct Domain(*mut sys::OrtCustomOpDomain);

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: made by the runtime, owned by this struct alone.
        unsafe { (ort::api().ReleaseCustomOpDomain)(self.0) };
    }
}

/// An operator: the runtime's table comes first, so that a pointer to it is a pointer to the whole.
#[repr(C)]
struct Operator {
    table: OrtCustomOp,
    name: CString,
    forest: Forest,
}

// SAFETY: after it is made the runtime only looks at it; the table is of functions without state, and what they read
// of the operator is plain data.
unsafe impl Send for Operators {}
// SAFETY: as above.
unsafe impl Sync for Operators {}

impl Operators {
    /// Operators that add up forests, named in their order as [`operator`] says.
    ///
    /// # Errors
    /// `engine_failed` if the runtime does not take them.
    pub fn new(forests: Vec<Forest>) -> Result<Self> {
        let name = CString::new(DOMAIN).unwrap_or_default();
        let mut domain = ptr::null_mut();
        // SAFETY: the name ends in zero and is copied; one pointer is written, which `Domain` then owns.
        check(unsafe { (ort::api().CreateCustomOpDomain)(name.as_ptr(), &mut domain) })?;
        let domain = Domain(domain);
        let mut operators = Vec::with_capacity(forests.len());
        for (number, forest) in forests.into_iter().enumerate() {
            let name = CString::new(operator(number)).unwrap_or_default();
            let made = Box::new(Operator { table: table(), name, forest });
            let pointer: *const Operator = &raw const *made;
            // SAFETY: the operator stays where it is, in its box, for as long as the domain is there.
            check(unsafe { (ort::api().CustomOpDomain_Add)(domain.0, pointer.cast()) })?;
            operators.push(made);
        }
        Ok(Self { domain, _operators: operators })
    }

    /// Makes them known to the sessions of a builder.
    ///
    /// # Errors
    /// `engine_failed` if the runtime does not take them.
    pub fn add_to(&self, builder: &mut SessionBuilder) -> Result<()> {
        // SAFETY: both pointers are alive during the call; the caller keeps `self` longer than the session.
        check(unsafe { (ort::api().AddCustomOpDomain)(builder.ptr_mut(), self.domain.0) })
    }
}

fn table() -> OrtCustomOp {
    OrtCustomOp {
        version: sys::ORT_API_VERSION,
        CreateKernel: None,
        GetName: Some(name),
        GetExecutionProviderType: Some(provider),
        GetInputType: Some(input_type),
        GetInputTypeCount: Some(one),
        GetOutputType: Some(output_type),
        GetOutputTypeCount: Some(one),
        KernelCompute: None,
        KernelDestroy: Some(nothing_to_free),
        GetInputCharacteristic: Some(any_number),
        GetOutputCharacteristic: Some(required),
        GetInputMemoryType: Some(plain_memory),
        GetVariadicInputMinArity: Some(at_least_one),
        GetVariadicInputHomogeneity: Some(of_any_types),
        GetVariadicOutputMinArity: Some(at_least_one),
        GetVariadicOutputHomogeneity: Some(of_any_types),
        CreateKernelV2: Some(kernel),
        KernelComputeV2: Some(compute),
        InferOutputShapeFn: None,
        GetStartVersion: Some(at_least_one),
        GetEndVersion: Some(no_last_version),
    }
}

/// # Safety
/// `table` is one that [`Operators::new`] handed to the runtime.
unsafe fn whole<'a>(table: *const OrtCustomOp) -> &'a Operator {
    // SAFETY: the table is an operator's first field, and the struct is laid out as C does.
    unsafe { &*table.cast::<Operator>() }
}

unsafe extern "system" fn name(table: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the runtime passes the table it was given; the name lives as long.
    unsafe { whole(table) }.name.as_ptr()
}

unsafe extern "system" fn provider(_: *const OrtCustomOp) -> *const c_char {
    ptr::null()
}

unsafe extern "system" fn one(_: *const OrtCustomOp) -> usize {
    1
}

unsafe extern "system" fn input_type(_: *const OrtCustomOp, _: usize) -> Element {
    Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED
}

unsafe extern "system" fn output_type(table: *const OrtCustomOp, _: usize) -> Element {
    // SAFETY: as in `name`.
    match unsafe { whole(table) }.forest.is_single() {
        true => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        false => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    }
}

unsafe extern "system" fn any_number(_: *const OrtCustomOp, _: usize) -> Characteristic {
    Characteristic::INPUT_OUTPUT_VARIADIC
}

unsafe extern "system" fn required(_: *const OrtCustomOp, _: usize) -> Characteristic {
    Characteristic::INPUT_OUTPUT_REQUIRED
}

unsafe extern "system" fn plain_memory(_: *const OrtCustomOp, _: usize) -> sys::OrtMemType {
    sys::OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn at_least_one(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn of_any_types(_: *const OrtCustomOp) -> c_int {
    0
}

unsafe extern "system" fn no_last_version(_: *const OrtCustomOp) -> c_int {
    c_int::MAX
}

/// The kernel is the operator's forest, which the operator keeps.
unsafe extern "system" fn kernel(
    table: *const OrtCustomOp,
    _: *const sys::OrtApi,
    _: *const sys::OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: as in `name`; the runtime gives a place for one pointer. It is never written through.
    unsafe { *kernel = (&raw const whole(table).forest).cast_mut().cast() };
    OrtStatusPtr::default()
}

unsafe extern "system" fn nothing_to_free(_: *mut c_void) {}

unsafe extern "system" fn compute(kernel: *mut c_void, context: *mut OrtKernelContext) -> OrtStatusPtr {
    // SAFETY: the pointer is what `kernel` gave, and its operator outlives the session; it is only read, by as many
    // threads as run the session.
    let forest = unsafe { &*kernel.cast::<Forest>() };
    // A panic must not reach the runtime's frames.
    let done = catch_unwind(AssertUnwindSafe(|| run(forest, context)));
    let failed = |message: &CStr| {
        // SAFETY: the message ends in zero and is copied.
        unsafe { (ort::api().CreateStatus)(sys::OrtErrorCode::ORT_FAIL, message.as_ptr()) }
    };
    match done {
        Ok(Ok(())) => OrtStatusPtr::default(),
        Ok(Err(error)) => failed(&CString::new(error.parts().message.as_bytes()).unwrap_or_default()),
        Err(_) => failed(c"the trees could not be evaluated"),
    }
}

fn run(forest: &Forest, context: *mut OrtKernelContext) -> Result<()> {
    let count = forest.widths().len();
    let mut matrices = Vec::with_capacity(count);
    let mut rows = None;
    for at in 0..count {
        let (matrix, own) = input(context, at)?;
        if *rows.get_or_insert(own) != own {
            return Err(unfit("the inputs of the trees have different numbers of rows"));
        }
        matrices.push(matrix);
    }
    let rows = rows.unwrap_or(0);
    let shape = [rows, forest.targets()].map(|d| i64::try_from(d).unwrap_or(i64::MAX));
    let size = rows.checked_mul(forest.targets()).ok_or_else(|| unfit("too many rows"))?;
    let mut value = ptr::null_mut();
    // SAFETY: the context is the runtime's of this call; the shape has two entries.
    check(unsafe { (ort::api().KernelContext_GetOutput)(context, 0, shape.as_ptr(), shape.len(), &mut value) })?;
    let data = data(value)?;
    let done = size == 0 || {
        let sums = match forest.is_single() {
            // SAFETY: the runtime has allocated the output for this shape and the type that the operator told, and
            // nobody else has it during the call.
            true => Sums::F32(unsafe { std::slice::from_raw_parts_mut(data.cast(), size) }),
            // SAFETY: as above.
            false => Sums::F64(unsafe { std::slice::from_raw_parts_mut(data.cast(), size) }),
        };
        forest.evaluate(&matrices, rows, sums)
    };
    if done { Ok(()) } else { Err(unfit("an input of the trees is not as wide as they need")) }
}

/// An input as a matrix, and its number of rows; a single dimension is a single row.
fn input<'a>(context: *mut OrtKernelContext, at: usize) -> Result<(Matrix<'a>, usize)> {
    let api = ort::api();
    let (mut value, mut info) = (ptr::null(), ptr::null_mut());
    let (mut element, mut dimensions) = (Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0);
    let mut shape = [1_i64; 2];
    // SAFETY: the context is the runtime's of this call, which keeps its inputs until the end; a description is released
    // after it was read; the shape has room for the dimensions asked for.
    unsafe {
        check((api.KernelContext_GetInput)(context, at, &mut value))?;
        if value.is_null() {
            return Err(unfit("an input of the trees is missing"));
        }
        check((api.GetTensorTypeAndShape)(value, &mut info))?;
        let read = check((api.GetTensorElementType)(info, &mut element))
            .and_then(|()| check((api.GetDimensionsCount)(info, &mut dimensions)))
            .and_then(|()| match dimensions {
                1 => check((api.GetDimensions)(info, shape[1..].as_mut_ptr(), 1)),
                2 => check((api.GetDimensions)(info, shape.as_mut_ptr(), 2)),
                _ => Err(unfit("an input of the trees is not a matrix")),
            });
        (api.ReleaseTensorTypeAndShapeInfo)(info);
        read?;
    }
    let [Ok(rows), Ok(width)] = shape.map(usize::try_from) else { return Err(unfit("a shape below zero")) };
    let size = rows.checked_mul(width).ok_or_else(|| unfit("too many rows"))?;
    let data = data(value.cast_mut())?;
    macro_rules! view {
        ($variant:ident) => {
            // SAFETY: a tensor of this type and shape has as many elements; nobody writes to it during the call. An
            // empty one may have no address.
            Values::$variant(if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.cast(), size) } })
        };
    }
    let values = match element {
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT => view!(F32),
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE => view!(F64),
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 => view!(I32),
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 => view!(I64),
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL => view!(Bool),
        _ => return Err(unfit("an input of the trees has a type they do not read")),
    };
    Ok((Matrix { values, width }, rows))
}

fn data(value: *mut OrtValue) -> Result<*mut c_void> {
    let mut data = ptr::null_mut();
    // SAFETY: the value is a tensor of the runtime's; one pointer is written.
    check(unsafe { (ort::api().GetTensorMutableData)(value, &mut data) })?;
    Ok(data)
}

fn unfit(message: &'static str) -> Error {
    Error::new(Code::EngineFailed, message)
}
