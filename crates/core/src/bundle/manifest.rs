//! The manifest: `bundle.json` as types, and its reading and writing.
//!
//! The prose form of this file is `docs/reference/bundle-format.md`; what fields must say about each
//! other is in [`super::check`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::stage::Stage;
use crate::error::{Code, Error, Result};
use crate::signature::Signature;

/// The newest bundle format this version reads and writes.
///
/// Format 1 is one graph. Format 2 adds the worker's stage; what is one graph is still written as format 1.
///
/// The rule for raising it: raise the number when a reader that does not know of a change would answer
/// differently, or would check less than the writer relied on. Everything that decides an answer
/// (`signature`, `stages`, `golden`, `files`) therefore refuses fields it does not know, so that any
/// addition there needs a new number. Everything that only informs (the top level, `proof`,
/// `environment`, `data`) ignores fields it does not know, so that information can be added without one.
/// No field changes its meaning or type under the same number. A reader of format N reads 1 to N; the
/// reader of an older format is kept, with its golden files in `tests/format`.
pub const FORMAT: u64 = 2;
/// The name of the manifest in its folder.
pub const FILE_NAME: &str = "bundle.json";
/// Most bytes of a manifest.
pub const LIMIT_MANIFEST_BYTES: u64 = 64 << 20;
/// Most bytes of a file that is held in memory: what a protobuf message may have.
pub const LIMIT_FILE_BYTES: u64 = i32::MAX as u64;
/// Most bytes of all files of a bundle together. Those for a worker are copied and never held in memory.
pub const LIMIT_BUNDLE_BYTES: u64 = 1 << 40;
/// Most files of a bundle of format 1.
pub const LIMIT_FILES_1: usize = 1_000;
/// Most files of a bundle.
pub const LIMIT_FILES: usize = 10_000;
/// Most golden rows of a bundle.
pub const LIMIT_GOLDEN_ROWS: u64 = 256;

/// A bundle's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The number of the format; see [`FORMAT`].
    pub format: u64,
    /// The model's name in the registry it was saved to.
    pub name: String,
    /// Its version there, counted from 1 (0 in an unpublished draft).
    pub version: u64,
    /// When it was saved: `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// The version of Monorail that saved it.
    pub monorail: String,
    pub signature: Signature,
    /// Whether a row's answer is independent of the rows beside it, so that callers may share a batch.
    pub row_wise: bool,
    /// What runs, in order: a graph, a worker, or a worker and then a graph.
    pub stages: Vec<Stage>,
    /// Versions of the libraries the model was fitted with.
    #[serde(default)]
    pub frameworks: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    pub proof: Proof,
    /// The rows that are scored again before a server calls itself ready; null when none were kept.
    #[serde(default)]
    pub golden: Option<Golden>,
    /// Numbers the user gave, such as a test set's AUC.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Words the user gave, such as an owner.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Every file of the bundle but the manifest itself.
    pub files: BTreeMap<String, FileEntry>,
}

/// The environment the model was fitted in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    #[serde(default)]
    pub python: String,
    #[serde(default)]
    pub platform: String,
    #[serde(default)]
    pub packages: BTreeMap<String, String>,
}

/// The report that graph and original agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub passed: bool,
    /// Whether the model was saved although the proof failed.
    pub unproven: bool,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// Rows of the example that were compared.
    pub rows: u64,
    /// Generated rows that were compared.
    pub hard_rows: u64,
    /// Rows whose label changed.
    pub label_mismatches: u64,
    /// The worst absolute difference; null where one side was not finite.
    pub worst_difference: Option<f64>,
    /// Generated rows the original refused, which were therefore not compared.
    #[serde(default)]
    pub refused_by_original: u64,
    /// How many rows each generator made.
    #[serde(default)]
    pub generators: BTreeMap<String, u64>,
}

/// Where the golden rows are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    pub file: String,
    pub rows: u64,
}

/// The data the model was proven on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    pub rows: u64,
    pub sha256: String,
}

/// What a file must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
}

impl Manifest {
    /// Reads and checks the manifest of a published bundle.
    ///
    /// # Errors
    /// `bundle_unsupported` for another format, `signature_invalid`, and `bundle_damaged` for all else.
    pub fn from_json(text: &str) -> Result<Self> {
        check_format(text)?;
        let manifest: Self = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads and checks the manifest of a bundle still being made: `name`, `version`, `created`,
    /// `monorail`, `proof` and `files` may be missing, and files are not compared with digests.
    ///
    /// # Errors
    /// As [`Manifest::from_json`].
    pub fn from_draft_json(text: &str) -> Result<Self> {
        check_format(text)?;
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
        let defaults = [
            ("name", Value::from("draft")),
            ("version", Value::from(0)),
            ("created", Value::from("1970-01-01T00:00:00Z")),
            ("monorail", Value::from(env!("CARGO_PKG_VERSION"))),
            ("files", Value::Object(Map::new())),
        ];
        for (name, value) in defaults {
            fields.entry(name).or_insert(value);
        }
        if !fields.contains_key("proof") {
            let proof = Proof { unproven: true, ..Proof::default() };
            fields.insert("proof".to_owned(), serde_json::to_value(proof).map_err(|e| unreadable(&e))?);
        }
        let manifest: Self = serde_json::from_value(Value::Object(fields)).map_err(|e| unreadable(&e))?;
        manifest.check_draft()?;
        Ok(manifest)
    }
}

/// Looks at the format alone, so that another format is called that and not damaged.
fn check_format(text: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    if text.len() as u64 > LIMIT_MANIFEST_BYTES {
        return Err(damaged(format!("is larger than {LIMIT_MANIFEST_BYTES} bytes")));
    }
    let Format { format } = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if format == 0 || format > FORMAT {
        return Err(Error::new(
            Code::BundleUnsupported,
            format!("{FILE_NAME} has format {format}; this version reads 1 to {FORMAT}"),
        )
        .hint("install a newer Monorail, or save the model again"));
    }
    Ok(())
}

/// The error for a manifest that is wrong; `what` goes on from its name.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(Code::BundleDamaged, format!("{FILE_NAME} {what}"))
}

fn unreadable(error: &serde_json::Error) -> Error {
    if error.is_eof() {
        return damaged(format!("is truncated: {error}"));
    }
    damaged(format!("cannot be read: {error}"))
}
