//! A model, read in place as far as the engine looks into it, and written again with other nodes.
//!
//! What is not understood is kept as it was, byte for byte. What is not as ONNX has it reads as `None`.

use std::collections::{HashMap, HashSet};

use super::schema::{ATTRIBUTE, DIMENSION, GRAPH, MODEL, NODE, OPSET, SHAPE, TENSOR, TENSOR_TYPE, TYPE, VALUE_INFO};
use super::wire::{Fields, Schema, Value, push_ints, put_bytes, put_number};

/// ONNX's numbers for element types, as far as they are told apart here.
pub const FLOAT: u64 = 1;
const UINT8: u64 = 2;
pub const INT32: u64 = 6;
pub const INT64: u64 = 7;
pub const BOOL: u64 = 9;
pub const DOUBLE: u64 = 11;

const MODEL_GRAPH: u32 = 7;
const MODEL_OPSET: u32 = 8;
const GRAPH_NODE: u32 = 1;

/// A field of a message: its number, its value, and the bytes it was read from.
struct Field<'a> {
    number: u32,
    value: Value<'a>,
    raw: &'a [u8],
}

/// A model and the parts of its graph.
pub struct Model<'a> {
    fields: Vec<Field<'a>>,
    graph: Vec<Field<'a>>,
    pub nodes: Vec<Node<'a>>,
    constants: HashMap<&'a str, &'a [u8]>,
    inputs: HashMap<&'a str, Tensor>,
    producers: HashMap<&'a str, usize>,
    /// How often each value is read: by nodes, by graphs within nodes, or as an output.
    uses: HashMap<&'a str, usize>,
}

/// The type of a graph input: its element type and its dimensions, `None` where they are open; none if it is unknown.
#[derive(Default)]
pub struct Tensor {
    pub element: u64,
    pub shape: Vec<Option<usize>>,
}

pub struct Node<'a> {
    pub operator: &'a str,
    pub domain: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    attributes: HashMap<&'a str, &'a [u8]>,
}

/// A constant's values.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Float(Vec<f32>),
    Double(Vec<f64>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
}

/// The fields of a message in their order.
fn fields<'a>(bytes: &'a [u8], schema: &'static Schema) -> Option<Vec<Field<'a>>> {
    let mut reader = Fields::new(bytes, schema);
    let mut found = Vec::new();
    loop {
        let before = reader.rest();
        let Some((number, value)) = reader.next().ok()? else { return Some(found) };
        let raw = before.get(..before.len() - reader.rest().len())?;
        found.push(Field { number, value, raw });
    }
}

/// One field of a message.
fn field<'a>(bytes: &'a [u8], schema: &'static Schema, number: u32) -> Option<Value<'a>> {
    fields(bytes, schema)?.into_iter().find(|field| field.number == number).map(|field| field.value)
}

fn text<'a>(bytes: &'a [u8], schema: &'static Schema, number: u32) -> Option<&'a str> {
    field(bytes, schema, number)?.text().ok()
}

/// Appends the whole numbers of a repeated field, packed or not.
fn whole(value: Value<'_>, into: &mut Vec<i64>) -> Option<()> {
    push_ints(value, into, usize::MAX).ok()
}

impl<'a> Model<'a> {
    /// Reads a model.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let all = fields(bytes, &MODEL)?;
        let graph = all.iter().find(|field| field.number == MODEL_GRAPH)?.value.bytes();
        let graph = fields(graph, &GRAPH)?;
        let (mut nodes, mut constants, mut inputs) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut uses = HashMap::new();
        for Field { number, value, .. } in &graph {
            match *number {
                GRAPH_NODE => nodes.push(Node::read(value.bytes())?),
                5 => drop(constants.insert(text(value.bytes(), &TENSOR, 8)?, value.bytes())),
                11 => {
                    let name = text(value.bytes(), &VALUE_INFO, 1)?;
                    inputs.insert(name, tensor_type(value.bytes()).unwrap_or_default());
                }
                12 => *uses.entry(text(value.bytes(), &VALUE_INFO, 1)?).or_default() += 1,
                _ => {}
            }
        }
        count_uses(&nodes, &mut uses)?;
        let made = nodes.iter().enumerate().flat_map(|(at, node)| node.outputs.iter().map(move |&name| (name, at)));
        let producers = made.collect();
        Some(Self { fields: all, graph, nodes, constants, inputs, producers, uses })
    }

    /// Whether it has operators of a domain.
    pub fn imports(&self, domain: &str) -> bool {
        let mut imports = self.fields.iter().filter(|field| field.number == MODEL_OPSET);
        imports.any(|field| text(field.value.bytes(), &OPSET, 1) == Some(domain))
    }

    pub fn input(&self, name: &str) -> Option<&Tensor> {
        self.inputs.get(name)
    }

    pub fn uses(&self, name: &str) -> usize {
        self.uses.get(name).copied().unwrap_or(0)
    }

    /// The number of the node that makes a value.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The node that makes a value.
    pub fn maker(&self, value: &str) -> Option<&Node<'a>> {
        self.nodes.get(self.producer(value)?)
    }

    /// A constant's dimensions and values; `None` if it is none, or of a type not read here.
    pub fn constant(&self, name: &str) -> Option<(Vec<usize>, Constant)> {
        // One that is an input as well is only that input's default.
        if self.inputs.contains_key(name) { None } else { tensor(self.constants.get(name)?) }
    }

    /// The model with some nodes left out, others put in their places, and an operator set more.
    pub fn written(&self, removed: &HashSet<usize>, put: &HashMap<usize, Vec<u8>>, domain: &str) -> Vec<u8> {
        let mut graph = Vec::new();
        let mut at = 0;
        for field in &self.graph {
            if field.number != GRAPH_NODE {
                graph.extend_from_slice(field.raw);
                continue;
            }
            if let Some(node) = put.get(&at) {
                put_bytes(&mut graph, GRAPH_NODE, node);
            } else if !removed.contains(&at) {
                graph.extend_from_slice(field.raw);
            }
            at += 1;
        }
        let mut model = Vec::new();
        for field in self.fields.iter().filter(|f| f.number != MODEL_GRAPH) {
            model.extend_from_slice(field.raw);
        }
        let mut operators = Vec::new();
        put_bytes(&mut operators, 1, domain.as_bytes());
        put_number(&mut operators, 2, 1);
        put_bytes(&mut model, MODEL_OPSET, &operators);
        put_bytes(&mut model, MODEL_GRAPH, &graph);
        model
    }
}

/// A node without attributes, as it is written.
pub fn node(operator: &str, domain: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    inputs.iter().for_each(|input| put_bytes(&mut bytes, 1, input.as_bytes()));
    put_bytes(&mut bytes, 2, output.as_bytes());
    put_bytes(&mut bytes, 4, operator.as_bytes());
    put_bytes(&mut bytes, 7, domain.as_bytes());
    bytes
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), HashMap::new());
        let (mut operator, mut domain) = ("", "");
        for Field { number, value, .. } in fields(bytes, &NODE)? {
            match number {
                1 => inputs.push(value.text().ok()?),
                2 => outputs.push(value.text().ok()?),
                4 => operator = value.text().ok()?,
                5 => drop(attributes.insert(text(value.bytes(), &ATTRIBUTE, 1)?, value.bytes())),
                7 => domain = value.text().ok()?,
                _ => {}
            }
        }
        // The default domain has two names.
        let domain = if domain == "ai.onnx" { "" } else { domain };
        Some(Self { operator, domain, inputs, outputs, attributes })
    }

    /// Whether it is one of ONNX's own operators that works along the columns of a matrix.
    pub fn is_along_columns(&self, operator: &str) -> bool {
        self.domain.is_empty() && self.operator == operator && self.int("axis") == Some(1)
    }

    /// An attribute that is a whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        field(self.attributes.get(name)?, &ATTRIBUTE, 3).map(Value::int)
    }

    /// An attribute that is a list of whole numbers; empty if there is none.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let mut values = Vec::new();
        if let Some(bytes) = self.attributes.get(name) {
            for field in fields(bytes, &ATTRIBUTE)?.iter().filter(|field| field.number == 8) {
                whole(field.value, &mut values)?;
            }
        }
        Some(values)
    }

    /// An attribute that is a tensor.
    pub fn tensor(&self, name: &str) -> Option<Constant> {
        let value = field(self.attributes.get(name)?, &ATTRIBUTE, 5)?;
        tensor(value.bytes()).map(|(_, values)| values)
    }

    /// Whether there is such an attribute.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }
}

/// Counts what nodes read, and those of the graphs within them.
fn count_uses<'a>(nodes: &[Node<'a>], uses: &mut HashMap<&'a str, usize>) -> Option<()> {
    let mut inner = Vec::new();
    for node in nodes {
        node.inputs.iter().for_each(|name| *uses.entry(name).or_default() += 1);
        inner.extend(graphs(node)?);
    }
    while let Some(graph) = inner.pop() {
        for Field { number, value, .. } in fields(graph, &GRAPH)? {
            match number {
                GRAPH_NODE => {
                    let node = Node::read(value.bytes())?;
                    node.inputs.iter().for_each(|name| *uses.entry(name).or_default() += 1);
                    inner.extend(graphs(&node)?);
                }
                // It may be a value of the graph around it.
                12 => *uses.entry(text(value.bytes(), &VALUE_INFO, 1)?).or_default() += 1,
                _ => {}
            }
        }
    }
    Some(())
}

/// The graphs among a node's attributes.
fn graphs<'a>(node: &Node<'a>) -> Option<Vec<&'a [u8]>> {
    let mut found = Vec::new();
    for bytes in node.attributes.values() {
        let all = fields(bytes, &ATTRIBUTE)?;
        found.extend(all.iter().filter(|field| matches!(field.number, 6 | 11)).map(|field| field.value.bytes()));
    }
    Some(found)
}

/// The type of a `ValueInfoProto` that is a tensor with a shape.
fn tensor_type(bytes: &[u8]) -> Option<Tensor> {
    let kind = field(field(bytes, &VALUE_INFO, 2)?.bytes(), &TYPE, 1)?.bytes();
    let element = field(kind, &TENSOR_TYPE, 1)?.int().cast_unsigned();
    let dimension = |each: Field<'_>| {
        let known = field(each.value.bytes(), &DIMENSION, 1).map(Value::int);
        known.and_then(|d| usize::try_from(d).ok())
    };
    let shape = fields(field(kind, &TENSOR_TYPE, 2)?.bytes(), &SHAPE)?.into_iter().map(dimension).collect();
    Some(Tensor { element, shape })
}

/// The dimensions and values of a `TensorProto`.
fn tensor(bytes: &[u8]) -> Option<(Vec<usize>, Constant)> {
    let (mut shape, mut element, mut raw) = (Vec::new(), 0, None);
    let (mut singles, mut doubles, mut whole_numbers) = (Vec::new(), Vec::new(), Vec::new());
    for Field { number, value, .. } in fields(bytes, &TENSOR)? {
        match (number, value) {
            (1, _) => whole(value, &mut shape)?,
            (2, _) => element = value.int(),
            (4, Value::Number(bits)) => singles.push(f32::from_bits(u32::try_from(bits).ok()?)),
            (4, Value::Bytes(packed)) => singles.extend(numbers(packed, f32::from_le_bytes)?),
            (5 | 7, _) => whole(value, &mut whole_numbers)?,
            (9, Value::Bytes(bytes)) => raw = Some(bytes),
            (10, Value::Number(bits)) => doubles.push(f64::from_bits(bits)),
            (10, Value::Bytes(packed)) => doubles.extend(numbers(packed, f64::from_le_bytes)?),
            // Values in another file.
            (13 | 14, _) => return None,
            _ => {}
        }
    }
    let shape: Vec<_> = shape.into_iter().map(|d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let values = match (element.cast_unsigned(), raw) {
        (FLOAT, Some(raw)) => Constant::Float(numbers(raw, f32::from_le_bytes)?.collect()),
        (FLOAT, None) => Constant::Float(singles),
        (DOUBLE, Some(raw)) => Constant::Double(numbers(raw, f64::from_le_bytes)?.collect()),
        (DOUBLE, None) => Constant::Double(doubles),
        (INT64, Some(raw)) => Constant::Int64(numbers(raw, i64::from_le_bytes)?.collect()),
        (INT64, None) => Constant::Int64(whole_numbers),
        (UINT8, Some(raw)) => Constant::Uint8(raw.to_vec()),
        (UINT8, None) => {
            Constant::Uint8(whole_numbers.into_iter().map(|v| u8::try_from(v).ok()).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    let expected = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d))?;
    (values.len() == expected).then_some((shape, values))
}

impl Constant {
    fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Uint8(values) => values.len(),
        }
    }
}

fn numbers<const N: usize, T: 'static>(bytes: &[u8], read: fn([u8; N]) -> T) -> Option<impl Iterator<Item = T>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().map(move |chunk| read(*chunk)))
}
