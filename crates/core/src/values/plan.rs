//! Where each column of a signature goes in the graph's inputs, and what is checked on the way.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bundle::check::graph_element;
use crate::bundle::stage::StageInput;
use crate::error::{Code, Error, Result};
use crate::signature::{Column, Kind, Seen};

use super::buffer::{RowBuffer, TensorBuffer};

/// What to do with a column the signature does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownColumns {
    /// 422 `unknown_column`.
    #[default]
    Refuse,
    /// Skip it.
    Ignore,
}

/// A place in the graph's inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Index of the graph input.
    pub tensor: usize,
    /// Elements before it in the input's row.
    pub offset: usize,
    /// Elements of the input's row.
    pub stride: usize,
    /// Index of the input that says whether the value is there.
    pub valid: Option<usize>,
}

/// How a column's values are taken: its kind, folded with nullability where the graph's type depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Bool,
    /// A nullable bool: float64 with NaN for null.
    BoolOrNull,
    Int,
    /// A nullable integer: float64 with NaN for null.
    IntOrNull,
    F32,
    F64,
    Text,
    Date,
    Timestamp,
    Tensor,
}

/// One column, ready for the sink.
#[derive(Debug)]
pub struct PlannedColumn {
    pub name: Box<str>,
    /// The name and a closing quote, as JSON spells it; empty where JSON must escape it.
    pub(super) quoted: Box<[u8]>,
    pub kind: Kind,
    pub(crate) nullable: bool,
    pub(super) zoned: bool,
    pub(super) infinity: bool,
    pub(crate) store: Store,
    /// Element type of a tensor, the kind otherwise.
    pub(crate) element: Kind,
    /// Least and greatest value of an integer column.
    pub(super) bounds: (i128, i128),
    pub(crate) width: usize,
    pub(super) shape: Vec<usize>,
    /// `None` where the graph does not use the column: it is checked all the same.
    pub(crate) slot: Option<Slot>,
    /// What training saw, to count what it did not.
    pub(super) range: Option<(f64, f64)>,
    pub(super) categories: Option<HashSet<Box<str>, foldhash::fast::RandomState>>,
    unseen: AtomicU64,
    outside: AtomicU64,
    pub(super) describe: String,
}

impl PlannedColumn {
    /// Values counted so far that no category of the reference equals.
    pub fn unseen(&self) -> u64 {
        self.unseen.load(Ordering::Relaxed)
    }

    /// Values counted so far that lie outside the reference's range.
    pub fn outside(&self) -> u64 {
        self.outside.load(Ordering::Relaxed)
    }

    /// Shape of a tensor value; empty for any other column.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether anything is counted for this column.
    pub fn counts(&self) -> (bool, bool) {
        (self.categories.is_some(), self.range.is_some())
    }

    #[inline]
    pub(super) fn count_number(&self, value: f64) {
        if let Some((min, max)) = self.range
            && (value < min || value > max)
        {
            self.outside.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn count_text(&self, value: &str) {
        if let Some(categories) = &self.categories
            && !categories.contains(value)
        {
            self.unseen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The whole plan of one model: shared by every request to it.
#[derive(Debug)]
pub struct Plan {
    pub columns: Vec<PlannedColumn>,
    /// Graph inputs: name, element type and dimensions of one row.
    pub inputs: Vec<PlannedInput>,
    pub unknown_columns: UnknownColumns,
    by_name: HashMap<Box<str>, usize>,
}

/// One input of the graph.
#[derive(Debug)]
pub struct PlannedInput {
    pub name: String,
    pub kind: Kind,
    pub row_shape: Vec<usize>,
}

impl PlannedInput {
    /// Elements a row.
    pub fn width(&self) -> usize {
        self.row_shape.iter().product()
    }
}

impl Plan {
    /// Lays columns out over the inputs of the stage that rows of them enter: a signature's over a model's first
    /// stage, a worker's over the graph after it.
    ///
    /// # Errors
    /// `signature_invalid` where the two do not fit; a manifest that was checked always fits.
    pub fn new(among: &[Column], inputs: &[StageInput], unknown_columns: UnknownColumns) -> Result<Self> {
        let mut slots: HashMap<&str, Slot> = HashMap::new();
        let mut planned = Vec::with_capacity(inputs.len());
        let columns: HashMap<&str, &Column> = among.iter().map(|c| (c.name.as_str(), c)).collect();
        for (tensor, input) in inputs.iter().enumerate() {
            let row_shape =
                match (input.columns.as_slice(), input.columns.first().and_then(|c| columns.get(c.as_str()))) {
                    ([_], Some(Column { shape: Some(shape), .. })) => shape.clone(),
                    _ => vec![input.columns.len().max(1)],
                };
            for (offset, name) in input.columns.iter().enumerate() {
                slots.insert(name, Slot { tensor, offset, stride: row_shape.iter().product(), valid: None });
            }
            planned.push(PlannedInput { name: input.name.clone(), kind: input.kind, row_shape });
        }
        for (tensor, input) in inputs.iter().enumerate() {
            if let Some(of) = &input.valid {
                match slots.get_mut(of.as_str()) {
                    Some(slot) => slot.valid = Some(tensor),
                    None => return Err(misfit(of)),
                }
            }
        }
        let mut ready = Vec::with_capacity(among.len());
        for column in among {
            let slot = slots.get(column.name.as_str()).copied();
            if let Some(slot) = slot
                && planned.get(slot.tensor).map(|i| i.kind) != Some(graph_element(column))
            {
                return Err(misfit(&column.name));
            }
            ready.push(plan_column(column, slot));
        }
        let by_name = ready.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        Ok(Self { columns: ready, inputs: planned, unknown_columns, by_name })
    }

    /// Index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Forgets what was counted so far.
    pub fn reset_counts(&self) {
        for column in &self.columns {
            column.unseen.store(0, Ordering::Relaxed);
            column.outside.store(0, Ordering::Relaxed);
        }
    }

    /// Empty buffers for this plan's rows.
    pub fn buffer(&self) -> RowBuffer {
        RowBuffer::new(
            self.inputs
                .iter()
                .map(|input| (TensorBuffer::new(input.kind).unwrap_or(TensorBuffer::Bool(Vec::new())), input.width()))
                .collect(),
        )
    }
}

fn misfit(column: &str) -> Error {
    Error::new(Code::SignatureInvalid, format!("column \"{column}\" does not fit the graph's inputs"))
}

fn plan_column(column: &Column, slot: Option<Slot>) -> PlannedColumn {
    let store = match column.kind {
        Kind::Bool if column.nullable => Store::BoolOrNull,
        Kind::Bool => Store::Bool,
        Kind::Float32 => Store::F32,
        Kind::Float64 => Store::F64,
        Kind::String | Kind::Dictionary => Store::Text,
        Kind::Date32 => Store::Date,
        Kind::Timestamp => Store::Timestamp,
        Kind::Tensor => Store::Tensor,
        _ if column.nullable => Store::IntOrNull,
        _ => Store::Int,
    };
    let element = column.element();
    PlannedColumn {
        name: column.name.as_str().into(),
        quoted: quoted(&column.name),
        kind: column.kind,
        nullable: column.nullable,
        zoned: column.zone.is_some(),
        infinity: column.seen.as_ref().is_some_and(|s| s.infinity),
        store,
        element,
        bounds: element.integer_range().unwrap_or((0, 0)),
        width: column.width(),
        shape: column.shape.clone().unwrap_or_default(),
        slot,
        range: column.seen.as_ref().and_then(range),
        categories: column.seen.as_ref().and_then(categories),
        unseen: AtomicU64::new(0),
        outside: AtomicU64::new(0),
        describe: column.describe(),
    }
}

fn quoted(name: &str) -> Box<[u8]> {
    if name.bytes().any(|b| b == b'\\' || b == b'"' || b < b' ') {
        return Box::default();
    }
    format!("{name}\"").into_bytes().into()
}

fn range(seen: &Seen) -> Option<(f64, f64)> {
    Some((seen.min.as_ref()?.as_f64()?, seen.max.as_ref()?.as_f64()?))
}

/// The categories, if the reference's are all there: of a list cut at 1,000 nobody can say what is unseen.
fn categories(seen: &Seen) -> Option<HashSet<Box<str>, foldhash::fast::RandomState>> {
    let complete = seen.distinct? == seen.categories.len() as u64;
    complete.then(|| seen.categories.iter().map(|(name, _)| name.as_str().into()).collect())
}
