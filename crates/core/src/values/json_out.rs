//! Answers as JSON, written straight from the output buffers.

use crate::signature::Output;

use super::buffer::{OutputBuffer, Outputs};
use super::json_in::Form;

/// The fixed parts of a model's answers, spelled once at load.
#[derive(Debug)]
pub struct JsonWriter {
    /// `{"model":"flights","version":3,"predictions":`
    head: Box<str>,
    /// Per output, its name as a JSON string and a colon.
    keys: Vec<Box<str>>,
    lists: Vec<bool>,
}

impl JsonWriter {
    /// A writer for the answers of `name@version`.
    pub fn new(name: &str, version: u64, outputs: &[Output]) -> Self {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        Self {
            head: format!("{{\"model\":{},\"version\":{version},\"predictions\":", quoted(name)).into(),
            keys: outputs.iter().map(|o| format!("{}:", quoted(&o.name)).into()).collect(),
            lists: outputs.iter().map(|o| o.size.is_some()).collect(),
        }
    }

    /// Appends the whole answer for rows `start..start + rows` of `outputs`.
    pub fn write(&self, into: &mut Vec<u8>, outputs: &Outputs, start: usize, rows: usize, form: Form) {
        into.extend_from_slice(self.head.as_bytes());
        match form {
            Form::Rows => self.rows(into, outputs, start, rows),
            Form::Columns => self.columns(into, outputs, start, rows),
        }
        into.push(b'}');
    }

    /// Appends what stands before the rows of an answer that is written part by part.
    pub fn begin(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.head.as_bytes());
        into.push(b'[');
    }

    /// Appends the next rows of such an answer.
    pub fn part(&self, into: &mut Vec<u8>, outputs: &Outputs, start: usize, rows: usize, is_first: bool) {
        if !is_first && rows > 0 {
            into.push(b',');
        }
        self.row_list(into, outputs, start, rows);
    }

    /// Appends what stands behind its rows.
    pub fn end(into: &mut Vec<u8>) {
        into.extend_from_slice(b"]}");
    }

    fn rows(&self, into: &mut Vec<u8>, outputs: &Outputs, start: usize, rows: usize) {
        into.push(b'[');
        self.row_list(into, outputs, start, rows);
        into.push(b']');
    }

    /// The rows, with commas between them.
    fn row_list(&self, into: &mut Vec<u8>, outputs: &Outputs, start: usize, rows: usize) {
        for row in start..start + rows {
            into.extend_from_slice(if row == start { b"{" } else { b",{" });
            for (i, ((key, list), (column, width))) in
                self.keys.iter().zip(&self.lists).zip(&outputs.columns).enumerate()
            {
                if i > 0 {
                    into.push(b',');
                }
                into.extend_from_slice(key.as_bytes());
                value(into, column, row, *width, *list);
            }
            into.push(b'}');
        }
    }

    fn columns(&self, into: &mut Vec<u8>, outputs: &Outputs, start: usize, rows: usize) {
        into.push(b'{');
        for (i, ((key, list), (column, width))) in self.keys.iter().zip(&self.lists).zip(&outputs.columns).enumerate() {
            if i > 0 {
                into.push(b',');
            }
            into.extend_from_slice(key.as_bytes());
            into.push(b'[');
            for row in start..start + rows {
                if row > start {
                    into.push(b',');
                }
                value(into, column, row, *width, *list);
            }
            into.push(b']');
        }
        into.push(b'}');
    }
}

#[inline]
fn value(into: &mut Vec<u8>, column: &OutputBuffer, row: usize, width: usize, list: bool) {
    if !list {
        return scalar(into, column, row);
    }
    into.push(b'[');
    for place in 0..width {
        if place > 0 {
            into.push(b',');
        }
        scalar(into, column, row * width + place);
    }
    into.push(b']');
}

#[inline]
fn scalar(into: &mut Vec<u8>, column: &OutputBuffer, at: usize) {
    match column {
        OutputBuffer::F64(values) => match values.get(at) {
            Some(value) if value.is_finite() => {
                into.extend_from_slice(zmij::Buffer::new().format_finite(*value).as_bytes());
            }
            _ => into.extend_from_slice(b"null"),
        },
        OutputBuffer::F32(values) => match values.get(at) {
            Some(value) if value.is_finite() => {
                into.extend_from_slice(zmij::Buffer::new().format_finite(*value).as_bytes());
            }
            _ => into.extend_from_slice(b"null"),
        },
        OutputBuffer::I64(values) => {
            into.extend_from_slice(itoa::Buffer::new().format(values.get(at).copied().unwrap_or(0)).as_bytes());
        }
        OutputBuffer::I32(values) => {
            into.extend_from_slice(itoa::Buffer::new().format(values.get(at).copied().unwrap_or(0)).as_bytes());
        }
        OutputBuffer::Bool(values) => {
            into.extend_from_slice(if values.get(at) == Some(&true) { b"true" } else { b"false" });
        }
        OutputBuffer::Text(values) => text(into, values.get(at)),
    }
}

/// Appends a JSON string.
pub fn text(into: &mut Vec<u8>, value: &str) {
    into.push(b'"');
    let mut start = 0;
    let bytes = value.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        into.extend_from_slice(bytes.get(start..at).unwrap_or_default());
        if escape.is_empty() {
            into.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            into.extend_from_slice(escape);
        }
        start = at + 1;
    }
    into.extend_from_slice(bytes.get(start..).unwrap_or_default());
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Kind;
    use crate::values::TextBuffer;

    fn output(name: &str, kind: Kind, size: Option<usize>) -> Output {
        Output { name: name.into(), kind, size, names: None }
    }

    #[test]
    fn both_forms_are_json_and_round_trip() {
        let mut labels = TextBuffer::default();
        labels.push("a\"b\n\u{1}ü");
        labels.push("");
        let probabilities = vec![0.1, f64::NAN, 1e-7, 1.797_693_134_862_315_7e308];
        let outputs =
            Outputs { rows: 2, columns: vec![(OutputBuffer::Text(labels), 1), (OutputBuffer::F64(probabilities), 2)] };
        let writer = JsonWriter::new(
            "m",
            3,
            &[output("label", Kind::String, None), output("probability", Kind::Float64, Some(2))],
        );
        let mut text = Vec::new();
        writer.write(&mut text, &outputs, 0, 2, Form::Rows);
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"model": "m", "version": 3, "predictions": [
                {"label": "a\"b\n\u{1}ü", "probability": [0.1, null]},
                {"label": "", "probability": [1e-7, 1.797_693_134_862_315_7e308]}]})
        );
        text.clear();
        writer.write(&mut text, &outputs, 1, 1, Form::Columns);
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(read["predictions"]["label"], serde_json::json!([""]));
        text.clear();
        writer.write(&mut text, &outputs, 0, 0, Form::Rows);
        assert_eq!(text, br#"{"model":"m","version":3,"predictions":[]}"#);
    }
}
