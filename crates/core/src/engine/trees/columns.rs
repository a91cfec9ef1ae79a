//! What the columns of a matrix were made of: trees read the parts themselves, so that nobody need put them together.
//!
//! One-hot columns are a comparison of a code with a constant; a graph spells that as Gather, Equal, Cast and Concat,
//! which cost more than the trees do. A tensor that cannot be seen through is read as it is.

use std::collections::HashMap;

use crate::onnx::model::{BOOL, Constant, DOUBLE, FLOAT, INT32, INT64, Model, Node};

/// Where a column's values come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The number of the tensor in [`Columns::inputs`].
    pub input: usize,
    pub position: usize,
    pub read: Read,
}

/// What is made of a value, which may be of any type of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    Number,
    /// The value rounded to float32.
    Single,
    /// One if the value is this, else zero.
    Equals(f64),
}

/// The columns of a matrix.
pub struct Columns<'a> {
    pub inputs: Vec<&'a str>,
    pub columns: Vec<Column>,
}

/// As deep as a graph is looked into.
const DEPTH: usize = 32;

impl<'a> Columns<'a> {
    /// The columns of a tensor, at least `count` of them.
    pub fn of(model: &Model<'a>, tensor: &'a str, count: usize) -> Self {
        let mut reader = Reader { model, inputs: Vec::new(), numbers: HashMap::new() };
        if let Some(columns) = reader.expand(tensor, DEPTH).filter(|columns| columns.len() >= count) {
            return Self { inputs: reader.inputs, columns };
        }
        let columns = (0..count).map(|position| Column { input: 0, position, read: Read::Number }).collect();
        Self { inputs: vec![tensor], columns }
    }
}

struct Reader<'m, 'a> {
    model: &'m Model<'a>,
    inputs: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Reader<'_, 'a> {
    /// A tensor's columns; `None` if it is not known how many there are.
    fn expand(&mut self, tensor: &'a str, depth: usize) -> Option<Vec<Column>> {
        let depth = depth.checked_sub(1)?;
        let found = match self.model.maker(tensor) {
            Some(node) if node.is_along_columns("Concat") => {
                let parts: Option<Vec<_>> = node.inputs.iter().map(|part| self.expand(part, depth)).collect();
                return parts.map(|parts| parts.concat());
            }
            Some(node) if (node.domain, node.operator) == ("", "Cast") => self.cast(node, depth),
            _ => None,
        };
        found.or_else(|| {
            let width = width(self.model, tensor, depth)?;
            Some(self.columns(tensor, 0..width, |_| Read::Number))
        })
    }

    fn columns(
        &mut self,
        tensor: &'a str,
        positions: impl Iterator<Item = usize>,
        read: impl Fn(usize) -> Read,
    ) -> Vec<Column> {
        let input = *self.numbers.entry(tensor).or_insert_with(|| {
            self.inputs.push(tensor);
            self.inputs.len() - 1
        });
        positions.enumerate().map(|(at, position)| Column { input, position, read: read(at) }).collect()
    }

    /// A cast of an input, or of a comparison.
    fn cast(&mut self, node: &Node<'a>, depth: usize) -> Option<Vec<Column>> {
        let to = u64::try_from(node.int("to")?).ok()?;
        let from = *node.inputs.first()?;
        let read = match to {
            DOUBLE => Read::Number,
            FLOAT => Read::Single,
            _ => return None,
        };
        if let Some(input) = self.model.input(from) {
            let [_, Some(width)] = input.shape[..] else { return None };
            let known = [FLOAT, DOUBLE, INT32, INT64, BOOL].contains(&input.element);
            return known.then(|| self.columns(from, 0..width, |_| read));
        }
        let made_by = self.model.maker(from)?;
        ((made_by.domain, made_by.operator) == ("", "Equal")).then(|| self.equal(made_by, depth))?
    }

    /// A comparison of columns with constants.
    fn equal(&mut self, node: &Node<'a>, depth: usize) -> Option<Vec<Column>> {
        let [a, b] = node.inputs[..] else { return None };
        let (tensor, constants) = match (self.model.constant(a), self.model.constant(b)) {
            (None, Some(constant)) => (a, constant),
            (Some(constant), None) => (b, constant),
            _ => return None,
        };
        let constants = row(constants)?;
        let (source, positions) = self.gathered(tensor, depth)?;
        let count = constants.len().max(positions.len());
        if [constants.len(), positions.len()].iter().any(|&n| n != 1 && n != count) {
            return None;
        }
        let constant = |at: usize| *constants.get(at).or(constants.first()).unwrap_or(&f64::NAN);
        let positions: Vec<_> =
            (0..count).map(|at| positions.get(at).or(positions.first()).copied()).collect::<Option<_>>()?;
        let source = self.parts(source, depth)?;
        let mut columns = Vec::with_capacity(count);
        for (at, position) in positions.into_iter().enumerate() {
            let &(tensor, position) = source.get(position)?;
            columns.extend(self.columns(tensor, [position].into_iter(), |_| Read::Equals(constant(at))));
        }
        Some(columns)
    }

    /// The tensor that columns are picked from, and which.
    fn gathered(&self, tensor: &'a str, depth: usize) -> Option<(&'a str, Vec<usize>)> {
        if let Some(node) = self.model.maker(tensor).filter(|node| node.is_along_columns("Gather")) {
            let [source, positions] = node.inputs[..] else { return None };
            let (shape, Constant::Int64(positions)) = self.model.constant(positions)? else { return None };
            let positions = positions.into_iter().map(|p| usize::try_from(p).ok()).collect::<Option<_>>()?;
            return (shape.len() == 1).then_some((source, positions));
        }
        Some((tensor, (0..width(self.model, tensor, depth)?).collect()))
    }

    /// The columns of a tensor as columns of the tensors it was put together from; nothing else is seen through.
    fn parts(&self, tensor: &'a str, depth: usize) -> Option<Vec<(&'a str, usize)>> {
        let depth = depth.checked_sub(1)?;
        if let Some(node) = self.model.maker(tensor).filter(|node| node.is_along_columns("Concat")) {
            let parts: Vec<_> = node.inputs.iter().map(|part| self.parts(part, depth)).collect::<Option<_>>()?;
            return Some(parts.concat());
        }
        Some((0..width(self.model, tensor, depth)?).map(|position| (tensor, position)).collect())
    }
}

/// The values of a constant that is a single row, or one number.
fn row((shape, values): (Vec<usize>, Constant)) -> Option<Vec<f64>> {
    let above = shape.split_last().map_or(&[][..], |(_, above)| above);
    if above.iter().any(|&d| d != 1) || shape.len() > 2 {
        return None;
    }
    match values {
        Constant::Float(values) => Some(values.into_iter().map(f64::from).collect()),
        Constant::Double(values) => Some(values),
        // Compared as float64, which tells whole numbers apart up to here.
        Constant::Int64(values) if values.iter().all(|v| v.unsigned_abs() < 1 << 53) => {
            Some(values.into_iter().map(|v| v as f64).collect())
        }
        _ => None,
    }
}

/// How many columns a matrix has, as far as that is told without running it.
fn width(model: &Model<'_>, tensor: &str, depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    if let Some(input) = model.input(tensor) {
        return if let [_, width] = input.shape[..] { width } else { None };
    }
    if let Some((shape, _)) = model.constant(tensor) {
        return (shape.len() <= 2).then(|| shape.last().copied().unwrap_or(1));
    }
    let node = model.maker(tensor)?;
    match (node.domain, node.operator) {
        ("ai.onnx.ml", "LabelEncoder") | ("", "Cast") => width(model, node.inputs.first()?, depth),
        ("", "Where" | "Add" | "Sub" | "Mul" | "Div" | "Equal" | "Min" | "Max") => {
            let widths: Vec<_> = node.inputs.iter().map(|input| width(model, input, depth)).collect::<Option<_>>()?;
            widths.into_iter().max()
        }
        _ if node.is_along_columns("Concat") => {
            let widths: Vec<_> = node.inputs.iter().map(|input| width(model, input, depth)).collect::<Option<_>>()?;
            Some(widths.into_iter().sum())
        }
        _ if node.is_along_columns("Gather") => {
            let (shape, _) = model.constant(node.inputs.get(1)?)?;
            if let [count] = shape[..] { Some(count) } else { None }
        }
        _ => None,
    }
}
