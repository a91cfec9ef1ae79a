//! Bodies: read into rows and written from answers, in the same way on every road.

use std::sync::Arc;

use crate::batcher::Answer;
use crate::catalog::Served;
use crate::error::Result;
use crate::values::json_in::{Form, JsonReader};
use crate::values::{RowBuffer, arrow_in, arrow_out};

/// How a body is written. The numbers are stored with jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json = 0,
    Arrow = 1,
}

impl Media {
    /// Its media type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Arrow => arrow_out::MEDIA_TYPE,
        }
    }
}

/// Reads a body's rows behind those already in the buffer; gives their number, and the form to answer in.
///
/// # Errors
/// As `JsonReader::read` and `arrow_in::read_stream`.
pub fn read(
    served: &Served,
    media: Media,
    body: &[u8],
    reader: &mut JsonReader,
    buffer: &mut RowBuffer,
) -> Result<(usize, Form)> {
    let plan = &served.batcher.model.plan;
    match media {
        Media::Json => reader.read(body, plan, buffer, served.limit_rows),
        Media::Arrow => arrow_in::read_stream(body, plan, buffer, served.limit_rows).map(|rows| (rows, Form::Rows)),
    }
}

/// The answer to a request without rows.
///
/// # Errors
/// `engine_failed`.
pub fn nothing(served: &Served) -> Result<Answer> {
    let model = &served.batcher.model;
    Ok(Answer { outputs: Arc::new(model.engine.run(&model.plan.buffer(), 0..0)?), start: 0, rows: 0 })
}

/// Writes an answer's body.
///
/// # Errors
/// `internal` if Arrow cannot hold it.
pub fn write(served: &Served, answer: &Answer, media: Media, form: Form) -> Result<Vec<u8>> {
    let model = &served.batcher.model;
    match media {
        Media::Json => {
            let mut body = Vec::with_capacity(128 + answer.rows * 64);
            model.json.write(&mut body, &answer.outputs, answer.start, answer.rows, form);
            Ok(body)
        }
        Media::Arrow => {
            let outputs = answer.outputs.slice(answer.start..answer.start + answer.rows);
            arrow_out::stream(&model.schema, outputs)
        }
    }
}
