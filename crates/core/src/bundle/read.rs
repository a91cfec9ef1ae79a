//! Opening a bundle: every file is read once, compared with its digest, and used from memory.
//!
//! What was compared is therefore what is used, whatever happens to the files afterwards.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::audit::{self, Facts, Port};
use super::check::check_file_name;
use super::manifest::{FILE_NAME, FileEntry, LIMIT_FILE_BYTES, LIMIT_MANIFEST_BYTES, Manifest, Stage};
use crate::error::{Code, Error, Result};
use crate::signature::{Column, Kind, Signature};

/// A bundle whose files have been compared and whose graph has been audited.
#[derive(Debug)]
pub struct Bundle {
    pub folder: PathBuf,
    pub manifest: Manifest,
    /// The text of `bundle.json` as it was read.
    pub manifest_json: String,
    /// The graph's file.
    pub graph: Vec<u8>,
    /// The golden rows' file, where there is one.
    pub golden: Option<Vec<u8>>,
    pub facts: Facts,
}

impl Bundle {
    /// Opens a published bundle.
    ///
    /// # Errors
    /// `bundle_damaged` or `graph_refused` with the file named, `bundle_unsupported`, `signature_invalid`.
    pub fn open(folder: &Path) -> Result<Self> {
        let bytes = read_file(folder, FILE_NAME, LIMIT_MANIFEST_BYTES)?;
        let manifest_json = String::from_utf8(bytes).map_err(|_| damaged(FILE_NAME, "is not UTF-8"))?;
        Self::from_manifest(folder, manifest_json)
    }

    /// Opens a bundle whose manifest is not in its folder yet.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_manifest(folder: &Path, manifest_json: String) -> Result<Self> {
        let manifest = Manifest::from_json(&manifest_json)?;
        let (mut graph, mut golden) = (None, None);
        for (name, entry) in &manifest.files {
            let bytes = read_listed(folder, name, entry)?;
            if manifest.stages.first().is_some_and(|s| s.graph == *name) {
                graph = Some(bytes);
            } else if manifest.golden.as_ref().is_some_and(|g| g.file == *name) {
                golden = Some(bytes);
            }
        }
        Self::audited(folder, manifest, manifest_json, graph, golden)
    }

    /// Opens a bundle still being made: its manifest is given and holds no digests; its graph is
    /// audited all the same.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_draft(folder: &Path, manifest_json: &str) -> Result<Self> {
        let manifest = Manifest::from_draft_json(manifest_json)?;
        let read = |name: &String| read_file(folder, name, LIMIT_FILE_BYTES);
        let graph = manifest.stages.first().map(|s| read(&s.graph)).transpose()?;
        let golden = manifest.golden.as_ref().map(|g| read(&g.file)).transpose()?;
        Self::audited(folder, manifest, manifest_json.to_owned(), graph, golden)
    }

    fn audited(
        folder: &Path,
        manifest: Manifest,
        manifest_json: String,
        graph: Option<Vec<u8>>,
        golden: Option<Vec<u8>>,
    ) -> Result<Self> {
        let (Some(stage), Some(graph)) = (manifest.stages.first(), graph) else {
            return Err(damaged(FILE_NAME, "names no graph"));
        };
        let facts = audit::audit(&stage.graph, &graph)?;
        check_facts(&manifest.signature, stage, &facts)?;
        Ok(Self { folder: folder.to_path_buf(), manifest, manifest_json, graph, golden, facts })
    }
}

/// The size and digest of a file in a folder, for a manifest's list.
///
/// # Errors
/// `bundle_damaged` for a file that cannot be read or is none.
pub fn describe_file(folder: &Path, name: &str) -> Result<FileEntry> {
    let bytes = read_file(folder, name, LIMIT_FILE_BYTES)?;
    Ok(FileEntry { sha256: hex(&Sha256::digest(&bytes)), bytes: bytes.len() as u64 })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

fn read_listed(folder: &Path, name: &str, entry: &FileEntry) -> Result<Vec<u8>> {
    // One byte more than promised is enough to see that a file is too long.
    let bytes = read_file(folder, name, entry.bytes)?;
    let got = bytes.len() as u64;
    if got < entry.bytes {
        return Err(damaged(name, &format!("is truncated: {} of {} bytes", thousands(got), thousands(entry.bytes))));
    }
    if hex(&Sha256::digest(&bytes)) != entry.sha256 {
        return Err(damaged(name, "was altered: its SHA-256 is not the one in bundle.json"));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes that lies in `folder` itself.
pub(crate) fn read_file(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>> {
    if name != FILE_NAME {
        check_file_name(name)?;
    }
    let path = folder.join(name);
    let file = open_regular(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => damaged(name, "is missing"),
        _ => damaged(name, &format!("cannot be opened: {e}")),
    })?;
    let metadata = file.metadata().map_err(|e| damaged(name, &format!("cannot be read: {e}")))?;
    if !metadata.is_file() {
        return Err(damaged(name, "is not a regular file"));
    }
    let too_long = || damaged(name, &format!("is longer than {} bytes", thousands(limit)));
    if metadata.len() > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| damaged(name, &format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}

/// Opens a file for reading, following no link and waiting for no writer of a pipe.
fn open_regular(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

fn damaged(name: &str, what: &str) -> Error {
    Error::new(Code::BundleDamaged, format!("{name} {what}")).hint("save the model again, or copy the bundle anew")
}

/// A number with commas between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// ONNX's number of an element type; 0 for what no tensor of ours has.
pub const fn onnx_element(kind: Kind) -> u64 {
    match kind {
        Kind::Float32 => 1,
        Kind::Uint8 => 2,
        Kind::Int8 => 3,
        Kind::Uint16 => 4,
        Kind::Int16 => 5,
        Kind::Int32 => 6,
        Kind::Int64 => 7,
        Kind::String => 8,
        Kind::Bool => 9,
        Kind::Float64 => 11,
        Kind::Uint32 => 12,
        Kind::Uint64 => 13,
        Kind::Dictionary | Kind::Date32 | Kind::Timestamp | Kind::Tensor => 0,
    }
}

/// Compares what the manifest says of the graph with what the graph says.
fn check_facts(signature: &Signature, stage: &Stage, facts: &Facts) -> Result<()> {
    let contradicts =
        |what: String| Error::new(Code::BundleDamaged, format!("{FILE_NAME} contradicts {}: {what}", stage.graph));
    if stage.opsets != facts.opsets {
        return Err(contradicts(format!("the operator sets are {:?}, not {:?}", facts.opsets, stage.opsets)));
    }
    let columns: HashMap<&str, &Column> = signature.inputs.iter().map(|c| (c.name.as_str(), c)).collect();
    let ports: HashMap<&str, &Port> = facts.inputs.iter().map(|p| (p.name.as_str(), p)).collect();
    for input in &stage.inputs {
        let Some(port) = ports.get(input.name.as_str()) else {
            return Err(contradicts(format!("the graph has no input \"{}\"", input.name)));
        };
        let first = input.columns.first().and_then(|name| columns.get(name.as_str()));
        let tensor = first.filter(|c| c.kind == Kind::Tensor);
        let shape = match tensor {
            Some(column) => column.shape.clone().unwrap_or_default(),
            None => vec![input.columns.len().max(1)],
        };
        if port.element != onnx_element(input.kind) || !fits(port, &shape) {
            let kind = input.kind.as_str();
            return Err(contradicts(format!("the input \"{}\" is not {kind} of shape {shape:?} a row", input.name)));
        }
    }
    let fed: HashSet<&str> = stage.inputs.iter().map(|i| i.name.as_str()).collect();
    if let Some(port) = facts.inputs.iter().find(|p| !fed.contains(p.name.as_str())) {
        return Err(contradicts(format!("nothing feeds the graph's input \"{}\"", port.name)));
    }
    check_outputs(signature, stage, facts, contradicts)
}

fn check_outputs(
    signature: &Signature,
    stage: &Stage,
    facts: &Facts,
    contradicts: impl Fn(String) -> Error,
) -> Result<()> {
    for output in &stage.outputs {
        let Some(port) = facts.outputs.iter().find(|p| p.name == output.graph_output) else {
            return Err(contradicts(format!("the graph has no output \"{}\"", output.graph_output)));
        };
        let Some(column) = signature.outputs.iter().find(|o| o.name == output.name) else { continue };
        let width = column.width();
        let is_flat = column.size.is_none() && (fits(port, &[]) || fits(port, &[1]));
        if port.element != onnx_element(column.kind) || !(is_flat || fits(port, &[width])) {
            return Err(contradicts(format!(
                "the output \"{}\" is not {width} {} a row",
                output.graph_output,
                column.kind.as_str()
            )));
        }
    }
    Ok(())
}

/// Whether a port can have the shape `[rows, *shape]`. Unknown sizes can be anything.
fn fits(port: &Port, shape: &[usize]) -> bool {
    let Some(dims) = &port.dims else { return true };
    let Some((rows, rest)) = dims.split_first() else { return false };
    rows.is_none()
        && rest.len() == shape.len()
        && rest.iter().zip(shape).all(|(got, want)| got.is_none_or(|g| g == *want as u64))
}
