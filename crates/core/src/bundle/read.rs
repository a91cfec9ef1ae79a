//! Opening a bundle: every file is read once, compared with its digest, and what was compared is used.
//!
//! What a graph is made of is used from memory, and what a worker reads from a private copy made while it was
//! compared: so it does not matter what happens to the files afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::audit::{self, Facts, Port};
use super::check::{Role, check_file_name, limit_bytes};
use super::folder::WorkerFolder;
use super::manifest::{FILE_NAME, FileEntry, LIMIT_BUNDLE_BYTES, LIMIT_MANIFEST_BYTES, Manifest};
use super::stage::NativeStage;
use crate::error::{Code, Error, Result};
use crate::signature::{Column, Kind, Output};

/// Bytes read at once of a file that is not held in memory.
const CHUNK_BYTES: usize = 1 << 20;

/// A bundle whose files have been compared and whose graph has been audited.
#[derive(Debug)]
pub struct Bundle {
    pub folder: PathBuf,
    pub manifest: Manifest,
    /// The text of `bundle.json` as it was read.
    pub manifest_json: String,
    /// The graph, where a stage is one.
    pub graph: Option<Graph>,
    /// What a worker's process reads, where a stage is one and the bundle was opened to be run.
    pub worker: Option<WorkerFolder>,
    /// The golden rows' file, where there is one.
    pub golden: Option<Vec<u8>>,
}

/// A graph's file and what its audit found.
#[derive(Debug)]
pub struct Graph {
    pub bytes: Vec<u8>,
    pub facts: Facts,
}

/// What a bundle is opened for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// To be looked at: everything is compared and audited; a worker finds no files.
    Read,
    /// To be run.
    Run {
        /// Whether somebody said that code in it may run.
        trusted: bool,
        /// Where a worker's files are laid out; by default the system's folder for temporary files.
        scratch: Option<&'a Path>,
    },
}

/// Whether files are compared with the manifest's digests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digests {
    Compared,
    /// There are none yet.
    Missing,
}

impl Bundle {
    /// Opens a published bundle to be looked at.
    ///
    /// # Errors
    /// `bundle_damaged` or `graph_refused` with the file named, `bundle_unsupported`, `signature_invalid`.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_for(folder, Purpose::Read)
    }

    /// Opens a published bundle.
    ///
    /// # Errors
    /// As [`Bundle::open`]; `untrusted` where it holds code that nobody said may run, before any other file is
    /// read; `internal` where there is no room for a worker's files.
    pub fn open_for(folder: &Path, purpose: Purpose<'_>) -> Result<Self> {
        let (manifest, manifest_json) = read_manifest(folder)?;
        Self::read(folder, manifest, manifest_json, purpose, Digests::Compared)
    }

    /// Opens a bundle whose manifest is not in its folder yet, to be looked at.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn from_manifest(folder: &Path, manifest_json: String) -> Result<Self> {
        let manifest = Manifest::from_json(&manifest_json)?;
        Self::read(folder, manifest, manifest_json, Purpose::Read, Digests::Compared)
    }

    /// Opens a bundle still being made: its manifest is given and holds no digests; its graph is
    /// audited all the same.
    ///
    /// # Errors
    /// As [`Bundle::open_for`].
    pub fn from_draft(folder: &Path, manifest_json: &str, purpose: Purpose<'_>) -> Result<Self> {
        let manifest = Manifest::from_draft_json(manifest_json)?;
        Self::read(folder, manifest, manifest_json.to_owned(), purpose, Digests::Missing)
    }

    fn read(
        folder: &Path,
        manifest: Manifest,
        manifest_json: String,
        purpose: Purpose<'_>,
        digests: Digests,
    ) -> Result<Self> {
        let worker = match purpose {
            Purpose::Run { trusted, .. } if manifest.needs_trust() && !trusted => return Err(untrusted(&manifest)),
            Purpose::Run { scratch, .. } if manifest.needs_trust() => Some(WorkerFolder::new(scratch)?),
            _ => None,
        };
        let (mut graph, mut golden) = (None, None);
        let roles = manifest.roles()?;
        let listed: BTreeMap<&str, Option<&FileEntry>> = match digests {
            Digests::Compared => manifest.files.iter().map(|(name, entry)| (name.as_str(), Some(entry))).collect(),
            Digests::Missing => roles.keys().map(|name| (*name, None)).collect(),
        };
        for (name, entry) in listed {
            let role = roles.get(name).copied();
            match role {
                Some(Role::Graph) => graph = Some(read_whole(folder, name, role, entry)?),
                Some(Role::Golden) => golden = Some(read_whole(folder, name, role, entry)?),
                _ => lay_out(folder, name, role, entry, worker.as_ref())?,
            }
        }
        let graph = match (manifest.native(), graph) {
            (Some(stage), Some(bytes)) => {
                let facts = audit::audit(&stage.graph, &bytes)?;
                check_facts(manifest.graph_columns(), &manifest.signature.outputs, stage, &facts)?;
                Some(Graph { bytes, facts })
            }
            (None, None) => None,
            _ => return Err(damaged(FILE_NAME, "names no graph")),
        };
        Ok(Self { folder: folder.to_path_buf(), manifest, manifest_json, graph, worker, golden })
    }
}

/// Reads and checks the manifest of a published bundle, and nothing else: also gives its text.
///
/// # Errors
/// `bundle_damaged`, `bundle_unsupported`, `signature_invalid`.
pub fn read_manifest(folder: &Path) -> Result<(Manifest, String)> {
    let bytes = read_file(folder, FILE_NAME, LIMIT_MANIFEST_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| damaged(FILE_NAME, "is not UTF-8"))?;
    Ok((Manifest::from_json(&text)?, text))
}

fn untrusted(manifest: &Manifest) -> Error {
    let reason = manifest.worker().map(|stage| stage.reason.as_str()).filter(|reason| !reason.is_empty());
    let why = reason.map(|reason| format!(" ({})", crate::names::shorten(reason))).unwrap_or_default();
    Error::new(
        Code::Untrusted,
        format!(
            "{}@{} runs Python code that came with it{why}, and nobody said it may",
            manifest.name, manifest.version
        ),
    )
    .hint("if you trust who saved it: --trust, trust=True, or a registry folder that is yours alone (chmod 700)")
}

/// A file that is held in memory.
fn read_whole(folder: &Path, name: &str, role: Option<Role<'_>>, entry: Option<&FileEntry>) -> Result<Vec<u8>> {
    // A file may be no longer than promised; reading one byte more is enough to see that it is.
    let bytes = read_file(folder, name, entry.map_or(limit_bytes(role), |e| e.bytes))?;
    if let Some(entry) = entry {
        compare(name, entry, bytes.len() as u64, &Sha256::digest(&bytes))?;
    }
    Ok(bytes)
}

/// A file that goes into the worker's folder, if there is one, while it is compared.
fn lay_out(
    folder: &Path,
    name: &str,
    role: Option<Role<'_>>,
    entry: Option<&FileEntry>,
    worker: Option<&WorkerFolder>,
) -> Result<()> {
    let copy = match (worker, role) {
        (Some(worker), Some(Role::LaidOut(path))) => Some(worker.create(path)),
        (Some(worker), Some(Role::Program)) => Some(worker.create_program()),
        _ => None,
    };
    let no_room =
        |e: std::io::Error| Error::new(Code::Internal, format!("{name} cannot be copied for its worker: {e}"));
    let mut copy = copy.transpose().map_err(no_room)?;
    let mut digest = Sha256::new();
    let limit = entry.map_or(limit_bytes(role), |e| e.bytes);
    let bytes = stream_file(folder, name, limit, |chunk| {
        digest.update(chunk);
        copy.as_mut().map_or(Ok(()), |copy| copy.write_all(chunk)).map_err(no_room)
    })?;
    entry.map_or(Ok(()), |entry| compare(name, entry, bytes, &digest.finalize()))
}

/// The size and digest of a file in a folder, for a manifest's list.
///
/// # Errors
/// `bundle_damaged` for a file that cannot be read or is none.
pub fn describe_file(folder: &Path, name: &str) -> Result<FileEntry> {
    let mut digest = Sha256::new();
    let bytes = stream_file(folder, name, LIMIT_BUNDLE_BYTES, |chunk| {
        digest.update(chunk);
        Ok(())
    })?;
    Ok(FileEntry { sha256: hex(&digest.finalize()), bytes })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

fn compare(name: &str, entry: &FileEntry, bytes: u64, digest: &[u8]) -> Result<()> {
    if bytes < entry.bytes {
        let (got, wanted) = (thousands(bytes), thousands(entry.bytes));
        return Err(damaged(name, &format!("is truncated: {got} of {wanted} bytes")));
    }
    if hex(digest) != entry.sha256 {
        return Err(damaged(name, "was altered: its SHA-256 is not the one in bundle.json"));
    }
    Ok(())
}

/// Reads a regular file of at most `limit` bytes that lies in `folder` itself.
pub(crate) fn read_file(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>> {
    let (file, length) = open_file(folder, name, limit)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| unreadable(name, &e))?;
    if bytes.len() as u64 > limit {
        return Err(too_long(name, limit));
    }
    Ok(bytes)
}

/// Reads such a file in pieces, and gives its length.
fn stream_file(folder: &Path, name: &str, limit: u64, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let (mut file, _) = open_file(folder, name, limit)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(unreadable(name, &e)),
        };
        bytes += read as u64;
        if bytes > limit {
            return Err(too_long(name, limit));
        }
        each(chunk.get(..read).unwrap_or_default())?;
    }
}

/// Opens a regular file that lies in `folder` itself and gives its length, which is at most `limit` by now.
fn open_file(folder: &Path, name: &str, limit: u64) -> Result<(File, u64)> {
    if name != FILE_NAME {
        check_file_name(name)?;
    }
    let file = open_regular(&folder.join(name)).map_err(|e| match e.kind() {
        ErrorKind::NotFound => damaged(name, "is missing"),
        _ => damaged(name, &format!("cannot be opened: {e}")),
    })?;
    let metadata = file.metadata().map_err(|e| unreadable(name, &e))?;
    if !metadata.is_file() {
        return Err(damaged(name, "is not a regular file"));
    }
    if metadata.len() > limit {
        return Err(too_long(name, limit));
    }
    Ok((file, metadata.len()))
}

fn too_long(name: &str, limit: u64) -> Error {
    damaged(name, &format!("is longer than {} bytes", thousands(limit)))
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    damaged(name, &format!("cannot be read: {error}"))
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

/// Compares what the manifest says of the graph with what the graph says; its inputs name `columns`.
fn check_facts(columns: &[Column], outputs: &[Output], stage: &NativeStage, facts: &Facts) -> Result<()> {
    let contradicts =
        |what: String| Error::new(Code::BundleDamaged, format!("{FILE_NAME} contradicts {}: {what}", stage.graph));
    if stage.opsets != facts.opsets {
        return Err(contradicts(format!("the operator sets are {:?}, not {:?}", facts.opsets, stage.opsets)));
    }
    let columns: HashMap<&str, &Column> = columns.iter().map(|c| (c.name.as_str(), c)).collect();
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
    check_outputs(outputs, stage, facts, contradicts)
}

fn check_outputs(
    outputs: &[Output],
    stage: &NativeStage,
    facts: &Facts,
    contradicts: impl Fn(String) -> Error,
) -> Result<()> {
    for output in &stage.outputs {
        let Some(port) = facts.outputs.iter().find(|p| p.name == output.graph_output) else {
            return Err(contradicts(format!("the graph has no output \"{}\"", output.graph_output)));
        };
        let Some(column) = outputs.iter().find(|o| o.name == output.name) else { continue };
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
