//! The one table of errors: every code, its HTTP status, its Python class and whose fault it is.
//!
//! A failure anywhere in the product is one of these codes plus what happened, what to try and,
//! where the input is to blame, the places in it. Text is rendered last.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// Most places in the input that one error lists.
pub const MAX_DETAILS: usize = 100;

macro_rules! codes {
    ($($name:ident, $code:literal, $status:literal, $class:literal, $exit:literal, $summary:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $summary] $name,)* }

        impl Code {
            /// Every code, in the order of the reference page.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as programs see it.
            pub const fn as_str(self) -> &'static str { match self { $(Code::$name => $code,)* } }

            /// The HTTP status on our own routes.
            pub const fn status(self) -> u16 { match self { $(Code::$name => $status,)* } }

            /// The Python exception class.
            pub const fn class(self) -> &'static str { match self { $(Code::$name => $class,)* } }

            /// The command line's exit status: 1 the user's to mend, 2 ours.
            pub const fn exit(self) -> u8 { match self { $(Code::$name => $exit,)* } }

            /// One line for the reference page.
            pub const fn summary(self) -> &'static str { match self { $(Code::$name => $summary,)* } }
        }
    };
}

/// How what has failed may succeed by itself, if it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heals {
    /// The model takes no more for now: others are scored meanwhile.
    Busy,
    /// The model's workers are not up yet.
    Away,
    /// A worker ended on the way, perhaps because of these very rows.
    Lost,
}

impl Code {
    /// How it may heal; what is the input's own fault, or the engine's, does not.
    pub const fn heals(self) -> Option<Heals> {
        match self {
            Code::Overloaded | Code::Draining => Some(Heals::Busy),
            Code::NotReady => Some(Heals::Away),
            Code::WorkerLost => Some(Heals::Lost),
            _ => None,
        }
    }
}

codes! {
    MalformedRequest, "malformed_request", 400, "InputError", 1, "The HTTP request itself cannot be read.";
    MalformedJson, "malformed_json", 400, "InputError", 1, "The body is not JSON, or holds the words NaN or Infinity.";
    MalformedArrow, "malformed_arrow", 400, "InputError", 1, "The body is not an Arrow IPC stream this server reads.";
    UnknownRoute, "unknown_route", 404, "NotFoundError", 1, "No such path on this server.";
    UnknownModel, "unknown_model", 404, "NotFoundError", 1, "No model of that name.";
    UnknownVersion, "unknown_version", 404, "NotFoundError", 1, "The model is there, but not that version or alias.";
    UnknownJob, "unknown_job", 404, "NotFoundError", 1, "No job of that id, or none any more.";
    MethodNotAllowed, "method_not_allowed", 405, "InputError", 1, "The path is there, but not for this method.";
    NotAcceptable, "not_acceptable", 406, "InputError", 1, "No answer can be given in a form that `Accept` allows.";
    BodyTooLarge, "body_too_large", 413, "InputError", 1, "The body is over `limit_body_bytes`, or a job's over `limit_job_body_bytes`.";
    TooDeep, "too_deep", 413, "InputError", 1, "The JSON is nested deeper than any input may be.";
    TooManyRows, "too_many_rows", 413, "InputError", 1, "The request has more rows than `limit_rows`, or the job more than `limit_job_rows`.";
    UnsupportedMediaType, "unsupported_media_type", 415, "InputError", 1, "The body's content type or encoding is not one we read.";
    HeadersTooLarge, "headers_too_large", 431, "InputError", 1, "The request's head is over 32 KiB or has too many headers.";
    MissingColumn, "missing_column", 422, "InputError", 1, "A column that is not nullable is absent.";
    UnknownColumn, "unknown_column", 422, "InputError", 1, "A column the signature does not have.";
    DuplicateColumn, "duplicate_column", 422, "InputError", 1, "A column is given twice.";
    NullNotAllowed, "null_not_allowed", 422, "InputError", 1, "A null or NaN in a column that is not nullable.";
    WrongType, "wrong_type", 422, "InputError", 1, "A value of another type than the column's, that does not widen to it.";
    OutOfRange, "out_of_range", 422, "InputError", 1, "A number that the column's type cannot hold exactly.";
    NotFinite, "not_finite", 422, "InputError", 1, "Infinity in a column whose reference had none.";
    WrongFormat, "wrong_format", 422, "InputError", 1, "A date or time that is not ISO 8601, or has a zone where none belongs.";
    WrongShape, "wrong_shape", 422, "InputError", 1, "A tensor, a list of rows or a set of columns of another shape.";
    ScoreConflict, "score_conflict", 409, "InputError", 1, "The folder that predictions go to holds those of another run.";
    JobConflict, "job_conflict", 409, "InputError", 1, "Another job has that id, or the job is in a state where this cannot be done.";
    JobUnfinished, "job_unfinished", 409, "InputError", 1, "The job has no result, or none yet.";
    JobCancelled, "job_cancelled", 409, "InputError", 1, "The job was cancelled.";
    CallbackRefused, "callback_refused", 422, "InputError", 1, "The callback's URL cannot be read, or the server calls nobody there.";
    JobStoreFull, "job_store_full", 429, "OverloadedError", 1, "The job store or its disk is full.";
    JobStoreFailed, "job_store_failed", 500, "InternalError", 2, "The job store cannot be read or written.";
    JobsUnavailable, "jobs_unavailable", 503, "OverloadedError", 1, "This server keeps no jobs, or another one has its store.";
    ReplyToRefused, "reply_to_refused", 403, "InputError", 1, "A message asks for a reply where `queue_reply_to` lets none go.";
    QueueUnavailable, "queue_unavailable", 503, "OverloadedError", 1, "The broker of the queue cannot be reached, or refuses us.";
    Overloaded, "overloaded", 503, "OverloadedError", 1, "The model's queue is full.";
    Draining, "draining", 503, "OverloadedError", 1, "The server is stopping.";
    NotReady, "not_ready", 503, "OverloadedError", 1, "The server has not finished loading its models, or a model's workers do not stay up.";
    DeadlineExceeded, "deadline_exceeded", 504, "DeadlineError", 1, "The request's deadline passed before its rows were scored.";
    EngineFailed, "engine_failed", 500, "EngineError", 2, "The engine failed on these rows.";
    WorkerFailed, "worker_failed", 500, "EngineError", 2, "The model's own code raised an exception, or gave something else than its signature says.";
    WorkerLost, "worker_lost", 500, "EngineError", 2, "The model's worker process died, or was killed because it was stuck.";
    EnvironmentUnavailable, "environment_unavailable", 500, "EngineError", 1, "A package that the model's workers need cannot be had, or does not match the lock.";
    Internal, "internal", 500, "InternalError", 2, "A fault of Monorail itself.";
    BundleDamaged, "bundle_damaged", 500, "BundleError", 1, "A file of the bundle is missing, truncated or altered, or contradicts another.";
    BundleUnsupported, "bundle_unsupported", 500, "BundleError", 1, "The bundle's format is not one this version reads.";
    GraphRefused, "graph_refused", 500, "BundleError", 1, "The graph holds something a graph may not hold.";
    GoldenMismatch, "golden_mismatch", 500, "BundleError", 1, "The golden rows do not give the answers the bundle keeps.";
    RuntimeMissing, "runtime_missing", 500, "EngineError", 1, "The ONNX Runtime library was not found or cannot be loaded.";
    NameInvalid, "name_invalid", 422, "RegistryError", 1, "A model name or alias of a form that is not allowed.";
    NameConflict, "name_conflict", 409, "RegistryError", 1, "Another model's name differs only in case.";
    VersionExists, "version_exists", 409, "RegistryError", 1, "That version has been published already.";
    RegistryUnusable, "registry_unusable", 500, "RegistryError", 1, "The registry folder cannot be read or written.";
    SettingInvalid, "setting_invalid", 422, "SettingError", 1, "A setting is unknown or out of its range.";
    AddressInUse, "address_in_use", 500, "SettingError", 1, "The address to serve on is taken or not ours.";
    SignatureInvalid, "signature_invalid", 422, "SignatureError", 1, "The signature contradicts itself or the format.";
    UnsupportedColumn, "unsupported_column", 422, "SignatureError", 1, "An example column of a type that no signature holds.";
    CannotCompile, "cannot_compile", 422, "CompileError", 1, "A step of the model has no compiled form.";
    CannotFit, "cannot_fit", 422, "FitError", 1, "A step of the pipeline cannot be fitted on data of any size, or not on this data.";
    NotProven, "not_proven", 422, "ProofError", 1, "Graph and original do not agree on some row.";
    UnknownFramework, "unknown_framework", 422, "CompileError", 1, "No adapter recognises this object as a fitted model.";
    MissingExtra, "missing_extra", 422, "MissingExtraError", 1, "An optional package is needed and not installed.";
    Untrusted, "untrusted", 403, "TrustError", 1, "Opening this would run code, and nobody said it may.";
    Unreachable, "unreachable", 503, "UnreachableError", 1, "The server does not answer.";
}

/// One place in the input, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// The fault's own code: an error with several faults carries the first one's.
    #[serde(serialize_with = "code_text")]
    pub code: Code,
    /// Row of the request, counted from 0; absent where a whole column is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// Column of the signature, or the one the input named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Where in the payload: a JSON path, or an Arrow column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What belongs there.
    pub expected: Cow<'static, str>,
    /// What was found, shortened.
    pub got: Cow<'static, str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn code_text<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

/// A failure: what happened, what to try, and where in the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Parts>);

/// What an [`Error`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub code: Code,
    pub message: Cow<'static, str>,
    pub hint: Option<Cow<'static, str>>,
    pub details: Vec<Detail>,
}

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error: `message` says what happened, in lower case and without a period.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { code, message: message.into(), hint: None, details: Vec::new() }))
    }

    /// The same error with advice: what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error with places in the input; all over [`MAX_DETAILS`] are dropped.
    #[must_use]
    pub fn details(mut self, mut details: Vec<Detail>) -> Self {
        details.truncate(MAX_DETAILS);
        self.0.details = details;
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Everything it holds.
    pub fn parts(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The table as JSON, for the Python classes and the reference page.
pub fn table_json() -> String {
    let rows: Vec<_> = Code::ALL
        .iter()
        .map(|c| {
            serde_json::json!({
                "code": c.as_str(), "status": c.status(), "class": c.class(), "exit": c.exit(), "summary": c.summary(),
            })
        })
        .collect();
    serde_json::Value::from(rows).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!((400..=599).contains(&code.status()));
            assert!(matches!(code.exit(), 1 | 2));
            assert!(code.summary().ends_with('.'));
        }
    }

    #[test]
    fn details_are_capped() {
        let detail = Detail {
            code: Code::WrongType,
            row: Some(1),
            column: None,
            path: None,
            expected: "int64".into(),
            got: "string".into(),
        };
        let error = Error::new(Code::WrongType, "x").details(vec![detail; 1_000]);
        assert_eq!(error.parts().details.len(), MAX_DETAILS);
    }
}
