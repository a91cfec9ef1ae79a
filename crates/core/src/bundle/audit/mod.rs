//! The audit of a graph: what a hostile but readable ONNX file may not hold.
//!
//! No data outside the file, no operators but ONNX's own and the runtime's, no loop without an end, and
//! no more nodes, nesting or work than a model needs. The file is read as it lies; nothing is built from
//! it but what later checks ask for. What this does not bound is memory: an operator may still make a
//! large tensor out of a small one.

mod graph;
mod scope;
mod tensor;
mod trees;

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result};
use crate::names::shorten;
use crate::onnx::schema::{ENTRY, MODEL, OPSET};
use crate::onnx::wire::{Checked, Fields, Value, fault};
use graph::Auditor;

/// Most nodes, those of local functions counted at every call.
pub const LIMIT_NODES: u64 = 500_000;
/// Most attributes of one node.
pub const LIMIT_ATTRIBUTES: usize = 128;
/// Deepest nesting of graphs in nodes.
pub const LIMIT_GRAPH_DEPTH: u32 = 8;
/// Deepest nesting of calls of local functions.
pub const LIMIT_CALL_DEPTH: u32 = 16;
/// Most loops, those of local functions counted at every call.
pub const LIMIT_LOOPS: u64 = 64;
/// Deepest nesting of loops.
pub const LIMIT_LOOP_DEPTH: u32 = 2;
/// Most turns of one loop; as many are reckoned for one whose turns are a length of an input.
pub const LIMIT_TRIPS: u64 = 65_536;
/// Most node runs of one call, counting a loop's body once a turn.
pub const LIMIT_WORK: u64 = 1 << 24;

/// What the audit of a graph found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The versions of operator sets, by domain (`ai.onnx` for the default one).
    pub opsets: BTreeMap<String, u64>,
    /// The inputs that a caller feeds: those without an initializer.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Nodes, those of local functions counted at every call.
    pub nodes: u64,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// ONNX's number of the element type.
    pub element: u64,
    /// The shape: a number where it is fixed; `None` where the file does not say any shape.
    pub dims: Option<Vec<Option<u64>>>,
}

/// Audits the ONNX file `bytes`; `file` is its name in messages.
///
/// # Errors
/// `graph_refused`, with the node and what is wrong with it.
pub fn audit(file: &str, bytes: &[u8]) -> Result<Facts> {
    audit_model(bytes).map_err(|f| {
        let place = f.place.map(|p| format!("{p}: ")).unwrap_or_default();
        Error::new(Code::GraphRefused, format!("{file}: {place}{}", f.what))
    })
}

fn audit_model(bytes: &[u8]) -> Checked<Facts> {
    // The runtime takes a file with this mark for its own flat format and never looks at it as protobuf.
    if bytes.get(4..8) == Some(b"ORTM") {
        return Err(fault("this is a file of ONNX Runtime's own format, not ONNX"));
    }
    let (mut imports, mut functions) = (Vec::new(), Vec::new());
    let mut auditor = Auditor::default();
    let (mut graph, mut ir_version) = (None, 0);
    let mut fields = Fields::new(bytes, &MODEL);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => ir_version = value.int(),
            7 => graph = Some(value.bytes()),
            8 => imports.push(opset(value)?),
            14 => metadata(value)?,
            25 => {
                auditor.add_domain(value.bytes())?;
                functions.push(value.bytes());
            }
            _ => {}
        }
    }
    let Some(graph) = graph else { return Err(fault("the file holds no graph")) };
    if ir_version < 4 {
        // Before, every initializer was an input too, and so never a constant.
        return Err(fault(format!("the file has IR version {ir_version}; at least 4 is needed")));
    }
    for function in functions {
        auditor.add_function(function)?;
    }
    let mut opsets = BTreeMap::new();
    for (domain, version) in imports {
        let domain = auditor.domain(domain)?;
        // What brings its own operators needs no set of them.
        if !auditor.is_own(domain) && opsets.insert(domain.to_owned(), version).is_some() {
            return Err(fault(format!("the operator set {domain} is imported twice")));
        }
    }
    let nodes = auditor.check_all(graph)?;
    let (inputs, outputs) = graph::ports(graph)?;
    Ok(Facts { opsets, inputs, outputs, nodes })
}

/// One imported operator set: its domain and version.
fn opset(value: Value<'_>) -> Checked<(&str, u64)> {
    let (mut domain, mut version) = ("", 0);
    let mut fields = Fields::new(value.bytes(), &OPSET);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => domain = value.text()?,
            _ => version = value.int().cast_unsigned(),
        }
    }
    Ok((domain, version))
}

/// The domain as the manifest writes it.
fn known_domain(domain: &str) -> Checked<&'static str> {
    match domain {
        "" | "ai.onnx" => Ok("ai.onnx"),
        "ai.onnx.ml" => Ok("ai.onnx.ml"),
        "com.microsoft" => Ok("com.microsoft"),
        _ => Err(fault(format!(
            "the domain \"{}\" is not one of ai.onnx, ai.onnx.ml and com.microsoft",
            shorten(domain)
        ))),
    }
}

/// Metadata informs, except for one key that sets the runtime's options.
fn metadata(value: Value<'_>) -> Checked<()> {
    let mut fields = Fields::new(value.bytes(), &ENTRY);
    while let Some((number, value)) = fields.next()? {
        if number == 1 && value.bytes() == b"ort_config" {
            return Err(fault("the metadata sets options of the runtime (ort_config)"));
        }
    }
    Ok(())
}
