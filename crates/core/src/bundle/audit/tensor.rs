//! Tensors in a graph: their data is inside, and exactly as much of it as their dimensions say.

use crate::onnx::schema::{ENTRY, TENSOR};
use crate::onnx::wire::{Checked, Fields, Value, Wire, count_numbers, fault, push_ints};

/// Most dimensions of a tensor.
const LIMIT_DIMENSIONS: usize = 16;

/// What the audit of a tensor found.
pub struct Tensor<'a> {
    pub name: &'a str,
    pub data_type: u64,
    raw: &'a [u8],
    /// The integers of `int64_data`, as far as they are few.
    ints: Vec<i64>,
    /// The product of its dimensions.
    pub elements: u64,
}

/// How the elements of a type are stored.
struct Storage {
    /// Bits an element in `raw_data`; 0 for strings, which are never raw.
    bits: u64,
    /// The field of the message that holds them otherwise.
    field: u32,
    /// Numbers in that field for `elements` elements.
    numbers: fn(u64) -> u64,
}

/// `None` for a type that ONNX does not have.
fn storage(data_type: u64) -> Option<Storage> {
    let one = |elements| elements;
    let (bits, field, numbers): (u64, u32, fn(u64) -> u64) = match data_type {
        1 => (32, 4, one),
        2 | 3 | 9 => (8, 5, one),
        4 | 5 | 10 | 16 => (16, 5, one),
        6 => (32, 5, one),
        7 => (64, 7, one),
        8 => (0, 6, one),
        11 => (64, 10, one),
        12 => (32, 11, one),
        13 => (64, 11, one),
        14 => (64, 4, |n| n.saturating_mul(2)),
        15 => (128, 10, |n| n.saturating_mul(2)),
        17..=20 | 24 => (8, 5, one),
        21..=23 => (4, 5, |n| n.div_ceil(2)),
        _ => return None,
    };
    Some(Storage { bits, field, numbers })
}

/// Audits one tensor.
pub fn check_tensor(bytes: &[u8]) -> Checked<Tensor<'_>> {
    let mut tensor = Tensor { name: "", data_type: 0, raw: &[], ints: Vec::new(), elements: 0 };
    let mut dims = Vec::new();
    let mut raw = None;
    // Numbers or strings found in each of the fields that hold data, by field number.
    let mut found = [0_u64; 12];
    let mut fields = Fields::new(bytes, &TENSOR);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => push_ints(value, &mut dims, LIMIT_DIMENSIONS)?,
            2 => tensor.data_type = value.int().cast_unsigned(),
            8 => tensor.name = value.text()?,
            9 => raw = Some(value.bytes()),
            13 => return Err(external(value)),
            14 if value.int() != 0 => return Err(fault("a tensor's data lies outside the graph")),
            4..=7 | 10 | 11 => {
                let wire = match number {
                    4 => Wire::Fixed32,
                    10 => Wire::Fixed64,
                    6 => Wire::Bytes,
                    _ => Wire::Varint,
                };
                let count = if number == 6 { 1 } else { count_numbers(value, wire)? };
                if number == 7 && count <= 1 {
                    push_ints(value, &mut tensor.ints, 2)?;
                }
                if let Some(slot) = found.get_mut(number as usize) {
                    *slot = slot.saturating_add(count);
                }
            }
            _ => {}
        }
    }
    tensor.elements = product(&dims)?;
    tensor.raw = raw.unwrap_or_default();
    check_amount(&tensor, raw.is_some(), &found)?;
    Ok(tensor)
}

fn external(entry: Value<'_>) -> crate::onnx::wire::Fault {
    let mut fields = Fields::new(entry.bytes(), &ENTRY);
    let mut words = Vec::new();
    while let Ok(Some((_, value))) = fields.next() {
        words.push(crate::names::shorten(&String::from_utf8_lossy(value.bytes())));
    }
    fault(format!("a tensor's data lies outside the graph ({})", words.join(" ")))
}

fn product(dims: &[i64]) -> Checked<u64> {
    dims.iter()
        .try_fold(1_u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?))
        .filter(|n| i64::try_from(*n).is_ok())
        .ok_or_else(|| fault(format!("a tensor has the dimensions {dims:?}, which no tensor can have")))
}

/// Compares the elements that the dimensions promise with those that are there.
fn check_amount(tensor: &Tensor<'_>, is_raw: bool, found: &[u64; 12]) -> Checked<()> {
    let named =
        || if tensor.name.is_empty() { String::new() } else { format!(" \"{}\"", crate::names::shorten(tensor.name)) };
    let Some(storage) = storage(tensor.data_type) else {
        return Err(fault(format!(
            "a tensor{} has the element type {}, which we do not know",
            named(),
            tensor.data_type
        )));
    };
    for (field, &count) in (0_u32..).zip(found) {
        if count > 0 && (is_raw || field != storage.field) {
            return Err(fault(format!("a tensor{} holds its data in a form that is not its type's", named())));
        }
    }
    if is_raw && storage.bits == 0 {
        return Err(fault(format!("a tensor{} holds strings as raw bytes", named())));
    }
    let (expected, got, unit) = if is_raw {
        let bytes = tensor.elements.checked_mul(storage.bits).map(|bits| bits.div_ceil(8));
        (bytes, tensor.raw.len() as u64, "bytes")
    } else {
        let there = found.get(storage.field as usize).copied().unwrap_or_default();
        (Some((storage.numbers)(tensor.elements)), there, "values")
    };
    if expected == Some(got) {
        return Ok(());
    }
    let expected = expected.map_or_else(|| "more than any file".to_owned(), |n| n.to_string());
    Err(fault(format!("a tensor{} holds {got} {unit}; its dimensions need {expected}", named())))
}

impl Tensor<'_> {
    /// Its value where it is a single int64.
    pub fn single_int(&self) -> Option<i64> {
        if self.data_type != 7 || self.elements != 1 {
            return None;
        }
        match self.ints.as_slice() {
            [] => self.raw.first_chunk::<8>().map(|b| i64::from_le_bytes(*b)),
            [one] => Some(*one),
            _ => None,
        }
    }
}
