//! The signature: input and output columns, their types, and what training saw.
//!
//! The JSON form is part of the bundle format (`docs/reference/bundle-format.md`); this module is the
//! only place that reads and checks it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// Most elements of one tensor value or one list output.
pub const MAX_WIDTH: usize = 65_536;
/// Most columns of a signature.
pub const MAX_COLUMNS: usize = 65_536;
/// Most categories kept for one column.
pub const MAX_CATEGORIES: usize = 1_000;

/// Scalar types a column may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float32,
    Float64,
    String,
    /// A dictionary of strings: the same values as `String`.
    Dictionary,
    /// Days since 1970-01-01.
    Date32,
    /// Microseconds since 1970-01-01, UTC where the column has a zone.
    Timestamp,
    /// A fixed-shape tensor of numbers.
    Tensor,
}

impl Kind {
    /// The word the signature uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int8 => "int8",
            Kind::Int16 => "int16",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint8 => "uint8",
            Kind::Uint16 => "uint16",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::Float32 => "float32",
            Kind::Float64 => "float64",
            Kind::String => "string",
            Kind::Dictionary => "dictionary",
            Kind::Date32 => "date32",
            Kind::Timestamp => "timestamp",
            Kind::Tensor => "tensor",
        }
    }

    /// Whether it is text, whatever its Arrow layout.
    pub const fn is_text(self) -> bool {
        matches!(self, Kind::String | Kind::Dictionary)
    }

    /// Whether it is a signed or unsigned integer.
    pub const fn is_integer(self) -> bool {
        self.integer_range().is_some()
    }

    /// Whether it is float32 or float64.
    pub const fn is_float(self) -> bool {
        matches!(self, Kind::Float32 | Kind::Float64)
    }

    /// Bytes of one value in a buffer; what a string adds to that is its own length.
    pub const fn bytes(self) -> usize {
        match self {
            Kind::Bool | Kind::Int8 | Kind::Uint8 => 1,
            Kind::Int16 | Kind::Uint16 => 2,
            Kind::Int32 | Kind::Uint32 | Kind::Float32 | Kind::Date32 => 4,
            _ => 8,
        }
    }

    /// The least and greatest value of an integer type.
    pub const fn integer_range(self) -> Option<(i128, i128)> {
        Some(match self {
            Kind::Int8 => (i8::MIN as i128, i8::MAX as i128),
            Kind::Int16 => (i16::MIN as i128, i16::MAX as i128),
            Kind::Int32 => (i32::MIN as i128, i32::MAX as i128),
            Kind::Int64 => (i64::MIN as i128, i64::MAX as i128),
            Kind::Uint8 => (0, u8::MAX as i128),
            Kind::Uint16 => (0, u16::MAX as i128),
            Kind::Uint32 => (0, u32::MAX as i128),
            Kind::Uint64 => (0, u64::MAX as i128),
            _ => return None,
        })
    }
}

/// What training saw of a column. Never leaves the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Share of nulls, 0 to 1.
    #[serde(default)]
    pub null_share: f64,
    /// Least value: a number, days for dates, microseconds for timestamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<serde_json::Number>,
    /// Greatest value, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<serde_json::Number>,
    /// 32 quantiles, least to greatest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<serde_json::Number>,
    /// Number of different strings, all of them counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// Strings and how often each was seen, most frequent first, at most [`MAX_CATEGORIES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<(String, u64)>,
    /// Whether the reference held an infinity, so that requests may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub infinity: bool,
}

/// An input column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    #[serde(default)]
    pub nullable: bool,
    /// Zone of a timestamp column; absent for local times without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Element type of a tensor column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Kind>,
    /// Shape of one tensor value, without the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

impl Column {
    /// Elements of one value: 1, or the product of a tensor's shape.
    pub fn width(&self) -> usize {
        self.shape.as_ref().map_or(1, |s| s.iter().product())
    }

    /// Element type: the column's own, or the tensor's.
    pub fn element(&self) -> Kind {
        self.dtype.unwrap_or(self.kind)
    }

    /// The type in words, for messages.
    pub fn describe(&self) -> String {
        match (self.kind, &self.zone) {
            (Kind::Timestamp, Some(zone)) => format!("timestamp with zone {zone}"),
            (Kind::Timestamp, None) => "timestamp without zone".to_owned(),
            (Kind::Tensor, _) => format!(
                "tensor of {} with shape {:?}",
                self.element().as_str(),
                self.shape.as_deref().unwrap_or_default()
            ),
            _ => self.kind.as_str().to_owned(),
        }
    }
}

/// An output column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub name: String,
    /// `bool`, `int32`, `int64`, `float32`, `float64` or `string`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Length of a fixed-size list; absent for one value a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Names of the list's places: classes or features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

impl Output {
    /// Elements a row.
    pub fn width(&self) -> usize {
        self.size.unwrap_or(1)
    }
}

/// Input and output columns of a model, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub inputs: Vec<Column>,
    pub outputs: Vec<Output>,
}

impl Signature {
    /// Reads and checks a signature's JSON.
    ///
    /// # Errors
    /// `signature_invalid`, with the column named.
    pub fn from_json(text: &str) -> Result<Self> {
        let signature: Self = serde_json::from_str(text)
            .map_err(|e| Error::new(Code::SignatureInvalid, format!("the signature cannot be read: {e}")))?;
        signature.check()?;
        Ok(signature)
    }

    /// Checks what the JSON's form alone does not say.
    ///
    /// # Errors
    /// `signature_invalid`, with the column named.
    pub fn check(&self) -> Result<()> {
        if self.inputs.is_empty() || self.outputs.is_empty() {
            return Err(Error::new(Code::SignatureInvalid, "a signature has at least one input and one output"));
        }
        if self.outputs.len() > MAX_COLUMNS {
            return Err(Error::new(Code::SignatureInvalid, format!("more than {MAX_COLUMNS} columns")));
        }
        check_columns(&self.inputs)?;
        let mut names = HashSet::new();
        for output in &self.outputs {
            if !names.insert(&output.name) {
                return Err(fault(&output.name, "is there twice among the outputs"));
            }
            check_output(output)?;
        }
        Ok(())
    }

    /// The signature without what training saw: what a server shows.
    pub fn public(&self) -> Self {
        let mut shown = self.clone();
        for column in &mut shown.inputs {
            column.seen = None;
        }
        shown
    }
}

fn fault(column: &str, what: &str) -> Error {
    Error::new(Code::SignatureInvalid, format!("column \"{column}\" {what}"))
}

/// Checks columns that rows enter a stage by.
///
/// # Errors
/// `signature_invalid`, with the column named.
pub fn check_columns(columns: &[Column]) -> Result<()> {
    if columns.len() > MAX_COLUMNS {
        return Err(Error::new(Code::SignatureInvalid, format!("more than {MAX_COLUMNS} columns")));
    }
    let mut names = HashSet::new();
    for column in columns {
        if !names.insert(&column.name) {
            return Err(fault(&column.name, "is there twice"));
        }
        check_input(column)?;
    }
    Ok(())
}

fn check_input(column: &Column) -> Result<()> {
    let name = &column.name;
    if column.kind == Kind::Tensor {
        let (Some(dtype), Some(shape)) = (column.dtype, &column.shape) else {
            return Err(fault(name, "is a tensor without dtype or shape"));
        };
        if !(dtype == Kind::Bool || dtype.is_integer() || dtype.is_float()) {
            return Err(fault(name, "is a tensor of something else than numbers"));
        }
        let width = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if !width.is_some_and(|w| (1..=MAX_WIDTH).contains(&w)) {
            return Err(fault(name, "is a tensor of no elements or too many"));
        }
        if column.nullable && !dtype.is_float() {
            return Err(fault(name, "is a nullable tensor, which only floats can be"));
        }
    } else if column.dtype.is_some() || column.shape.is_some() {
        return Err(fault(name, "has a dtype or a shape without being a tensor"));
    }
    if column.zone.is_some() && column.kind != Kind::Timestamp {
        return Err(fault(name, "has a zone without being a timestamp"));
    }
    if let Some(seen) = &column.seen
        && seen.categories.len() > MAX_CATEGORIES
    {
        return Err(fault(name, "keeps more than 1,000 categories"));
    }
    Ok(())
}

fn check_output(output: &Output) -> Result<()> {
    let kinds = [Kind::Bool, Kind::Int32, Kind::Int64, Kind::Float32, Kind::Float64, Kind::String];
    if !kinds.contains(&output.kind) {
        return Err(fault(&output.name, "is an output of a type outputs do not have"));
    }
    if output.size.is_some_and(|n| n == 0 || n > MAX_WIDTH) {
        return Err(fault(&output.name, "is a list of no places or of more than 65,536"));
    }
    if let Some(names) = &output.names
        && Some(names.len()) != output.size
    {
        return Err(fault(&output.name, "has another number of names than of places"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let text = r#"{"inputs":[{"name":"a","type":"int64","nullable":false},{"name":"t","type":"timestamp","nullable":true,"zone":"UTC"},{"name":"x","type":"tensor","nullable":false,"dtype":"float32","shape":[2,3]}],"outputs":[{"name":"label","type":"string"}]}"#;
        let signature = Signature::from_json(text).unwrap();
        assert_eq!(serde_json::to_string(&signature).unwrap(), text);
        assert_eq!(signature.inputs[2].width(), 6);
    }

    #[test]
    fn refuses_contradictions() {
        for inputs in [
            r#"[]"#,
            r#"[{"name":"a","type":"int64"},{"name":"a","type":"int64"}]"#,
            r#"[{"name":"a","type":"tensor"}]"#,
            r#"[{"name":"a","type":"tensor","dtype":"string","shape":[1]}]"#,
            r#"[{"name":"a","type":"tensor","dtype":"float64","shape":[18446744073709551615,2]}]"#,
            r#"[{"name":"a","type":"int64","zone":"UTC"}]"#,
            r#"[{"name":"a","type":"decimal"}]"#,
        ] {
            let text = format!(r#"{{"inputs":{inputs},"outputs":[{{"name":"label","type":"int64"}}]}}"#);
            let error = Signature::from_json(&text).unwrap_err();
            assert_eq!(error.code(), Code::SignatureInvalid, "{inputs}");
        }
    }
}
