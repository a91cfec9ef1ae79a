//! Graphs, nodes and local functions of a model, and what running them costs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::scope::{Known, Scope};
use super::tensor::check_tensor;
use super::trees::check_trees;
use super::{
    LIMIT_ATTRIBUTES, LIMIT_CALL_DEPTH, LIMIT_GRAPH_DEPTH, LIMIT_LOOP_DEPTH, LIMIT_LOOPS, LIMIT_NODES, LIMIT_WORK,
    Port, known_domain,
};
use crate::names::shorten;
use crate::onnx::schema::{ATTRIBUTE, DIMENSION, FUNCTION, GRAPH, NODE, SHAPE, TENSOR_TYPE, TYPE, VALUE_INFO};
use crate::onnx::wire::{Checked, Fault, Fields, Value, fault};

/// Operators of com.microsoft that hand the work to something outside the graph.
const OUTSIDE: [&str; 4] = ["EPContext", "PythonOp", "PythonOpGrad", "ExternalGraph"];

/// What a list of nodes costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: u64,
    loops: u64,
    loop_depth: u32,
    call_depth: u32,
    work: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.loops = self.loops.saturating_add(other.loops);
        self.loop_depth = self.loop_depth.max(other.loop_depth);
        self.call_depth = self.call_depth.max(other.call_depth);
        self.work = self.work.saturating_add(other.work);
    }

    fn check(&self) -> Checked<()> {
        for (amount, limit, what) in [
            (self.nodes, LIMIT_NODES, "nodes"),
            (self.loops, LIMIT_LOOPS, "loops"),
            (u64::from(self.loop_depth), u64::from(LIMIT_LOOP_DEPTH), "loops within each other"),
            (u64::from(self.call_depth), u64::from(LIMIT_CALL_DEPTH), "functions calling each other"),
            (self.work, LIMIT_WORK, "node runs a call"),
        ] {
            if amount > limit {
                return Err(fault(format!("the graph has more than {limit} {what}")));
            }
        }
        Ok(())
    }
}

/// The name of a local function: domain, name, overload.
type Key<'a> = (&'a str, &'a str, &'a str);

enum State {
    New,
    /// Being looked at: a call of it is a recursion.
    Open,
    Done(Cost),
}

struct Function<'a> {
    nodes: Vec<&'a [u8]>,
    state: State,
}

/// A node, read.
pub(super) struct Node<'a> {
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    name: &'a str,
    pub op: &'a str,
    pub domain: &'a str,
    overload: &'a str,
    pub attributes: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Node<'a> {
    /// The local function it calls, if there is one of that name.
    fn key(&self) -> Key<'a> {
        (self.domain, self.op, self.overload)
    }
}

/// Walks a model's graphs and functions.
#[derive(Default)]
pub struct Auditor<'a> {
    functions: BTreeMap<Key<'a>, Function<'a>>,
    /// Domains that local functions bring.
    domains: BTreeSet<&'a str>,
    /// Nodes read, each once.
    read: u64,
}

impl<'a> Auditor<'a> {
    /// Notes the domain of a local function, before any of them is looked at.
    pub fn add_domain(&mut self, bytes: &'a [u8]) -> Checked<()> {
        let mut fields = Fields::new(bytes, &FUNCTION);
        while let Some((number, value)) = fields.next()? {
            if number == 10 && known_domain(value.text()?).is_err() {
                self.domains.insert(own_domain(value.text()?)?);
            }
        }
        Ok(())
    }

    /// A domain that nodes may be of, as the manifest writes it.
    pub fn domain(&self, domain: &'a str) -> Checked<&'a str> {
        if self.domains.contains(domain) { Ok(domain) } else { known_domain(domain) }
    }

    /// Whether a domain is one of local functions alone.
    pub fn is_own(&self, domain: &str) -> bool {
        self.domains.contains(domain)
    }

    /// Notes a local function.
    pub fn add_function(&mut self, bytes: &'a [u8]) -> Checked<()> {
        let (mut domain, mut name, mut overload) = (known_domain("")?, "", "");
        let mut nodes = Vec::new();
        let mut fields = Fields::new(bytes, &FUNCTION);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => name = value.text()?,
                7 => nodes.push(value.bytes()),
                9 => {
                    self.domain(super::opset(value)?.0)?;
                }
                10 => domain = self.domain(value.text()?)?,
                11 => {
                    // A default of an attribute: data only.
                    let held = check_attribute(value.bytes())?;
                    if !held.graphs.is_empty() {
                        return Err(fault("a local function has a graph as an attribute's default"));
                    }
                }
                13 => overload = value.text()?,
                _ => {}
            }
        }
        if self.functions.insert((domain, name, overload), Function { nodes, state: State::New }).is_some() {
            return Err(fault(format!("the local function \"{}\" is there twice", shorten(name))));
        }
        Ok(())
    }

    /// Audits every function and the main graph; gives the number of nodes.
    pub fn check_all(&mut self, graph: &'a [u8]) -> Checked<u64> {
        let keys: Vec<Key<'a>> = self.functions.keys().copied().collect();
        for key in keys {
            self.call(key, 0)?;
        }
        let cost = self.graph(graph, None, 0, 0)?;
        cost.check()?;
        Ok(cost.nodes)
    }

    /// What one call of a local function costs.
    fn call(&mut self, key: Key<'a>, calls: u32) -> Checked<Cost> {
        let Some(function) = self.functions.get_mut(&key) else { return Ok(Cost::default()) };
        let place = || format!("local function \"{}\"", shorten(key.1));
        match function.state {
            State::Done(cost) => return Ok(cost),
            State::Open => return Err(fault("the function calls itself").at(place)),
            State::New if calls >= LIMIT_CALL_DEPTH => {
                return Err(fault(format!("functions call each other deeper than {LIMIT_CALL_DEPTH}")).at(place));
            }
            State::New => function.state = State::Open,
        }
        let nodes = std::mem::take(&mut function.nodes);
        let scope = Scope::new(None);
        let mut cost = self.nodes(&nodes, scope, &place(), 0, calls + 1)?;
        cost.call_depth += 1;
        cost.check().map_err(|f| f.at(place))?;
        if let Some(function) = self.functions.get_mut(&key) {
            function.state = State::Done(cost);
        }
        Ok(cost)
    }

    /// What one run of a graph costs.
    fn graph(&mut self, bytes: &'a [u8], parent: Option<&Scope<'a, '_>>, depth: u32, calls: u32) -> Checked<Cost> {
        if depth > LIMIT_GRAPH_DEPTH {
            return Err(fault(format!("graphs are nested deeper than {LIMIT_GRAPH_DEPTH}")));
        }
        let mut scope = Scope::new(parent);
        let (mut fed, mut initialized) = (Vec::new(), Vec::new());
        let (mut name, mut nodes) = ("", Vec::new());
        let mut fields = Fields::new(bytes, &GRAPH);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => nodes.push(value.bytes()),
                2 => name = value.text()?,
                5 => {
                    let tensor = check_tensor(value.bytes()).map_err(|f| f.at(|| "initializer".to_owned()))?;
                    initialized.push((tensor.name, tensor.single_int()));
                }
                11 => fed.push(port_name(value)?),
                _ => {}
            }
        }
        // What a caller feeds has the rows and the shape of its signature. A name that is also initialized has no one value.
        let input = if depth == 0 { Known::Fed } else { Known::Nothing };
        fed.into_iter().for_each(|name| scope.define(name, input));
        initialized
            .into_iter()
            .for_each(|(name, value)| scope.define(name, value.map_or(Known::Nothing, Known::Number)));
        self.nodes(&nodes, scope, &format!("graph \"{}\"", shorten(name)), depth, calls)
    }

    fn nodes(
        &mut self,
        nodes: &[&'a [u8]],
        mut scope: Scope<'a, '_>,
        within: &str,
        depth: u32,
        calls: u32,
    ) -> Checked<Cost> {
        self.read = self.read.saturating_add(nodes.len() as u64);
        if self.read > LIMIT_NODES {
            return Err(fault(format!("the graph has more than {LIMIT_NODES} nodes")));
        }
        let mut read = Vec::with_capacity(nodes.len());
        for (index, bytes) in nodes.iter().enumerate() {
            let node = self.read_node(bytes).map_err(|f| f.at(|| format!("node {index} of {within}")))?;
            let known = match self.functions.contains_key(&node.key()) {
                true => Known::Nothing,
                false => scope.given_by(&node).map_err(|f| f.at(|| node_place(index, &node, within)))?,
            };
            for &output in &node.outputs {
                scope.define(output, known);
            }
            read.push(node);
        }
        let mut cost = Cost::default();
        for (index, node) in read.iter().enumerate() {
            cost.add(self.node(node, &scope, depth, calls).map_err(|f| f.at(|| node_place(index, node, within)))?);
        }
        Ok(cost)
    }

    fn read_node(&self, bytes: &'a [u8]) -> Checked<Node<'a>> {
        let mut node = Node {
            inputs: Vec::new(),
            outputs: Vec::new(),
            name: "",
            op: "",
            domain: known_domain("")?,
            overload: "",
            attributes: Vec::new(),
        };
        let mut domain = "";
        let mut fields = Fields::new(bytes, &NODE);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => node.inputs.push(value.text()?),
                2 => node.outputs.push(value.text()?),
                3 => node.name = value.text()?,
                4 => node.op = value.text()?,
                5 => node.attributes.push((attribute_name(value.bytes())?, value.bytes())),
                7 => domain = value.text()?,
                8 => node.overload = value.text()?,
                _ => {}
            }
        }
        let place = |n: &Node<'_>| format!("node \"{}\" ({})", shorten(n.name), shorten(n.op));
        node.domain = self.domain(domain).map_err(|f| f.at(|| place(&node)))?;
        if node.attributes.len() > LIMIT_ATTRIBUTES {
            return Err(fault(format!("more than {LIMIT_ATTRIBUTES} attributes")).at(|| place(&node)));
        }
        let mut names = HashSet::new();
        if let Some((name, _)) = node.attributes.iter().find(|(name, _)| !names.insert(*name)) {
            return Err(fault(format!("attribute \"{}\" is there twice", shorten(name))).at(|| place(&node)));
        }
        Ok(node)
    }

    fn node(&mut self, node: &Node<'a>, scope: &Scope<'a, '_>, depth: u32, calls: u32) -> Checked<Cost> {
        let key = node.key();
        if self.is_own(node.domain) && !self.functions.contains_key(&key) {
            return Err(fault(format!("the domain \"{}\" has no such local function", shorten(node.domain))));
        }
        if node.domain == "com.microsoft" && OUTSIDE.contains(&node.op) {
            return Err(fault("the operator hands its work to something outside the graph"));
        }
        if node.domain == "ai.onnx.ml" {
            check_trees(node.op, &node.attributes)?;
        }
        let mut inner = Cost::default();
        let mut has_graphs = false;
        for &(name, bytes) in &node.attributes {
            let held = check_attribute(bytes)
                .map_err(|f| Fault { what: format!("attribute \"{}\": {}", shorten(name), f.what), ..f })?;
            for tensor in held.tensors {
                check_tensor(tensor)?;
            }
            for graph in held.graphs {
                has_graphs = true;
                inner.add(self.graph(graph, Some(scope), depth + 1, calls)?);
            }
        }
        let standard = node.domain == "ai.onnx" && !self.functions.contains_key(&key);
        let mut cost = Cost { nodes: inner.nodes.saturating_add(1), ..inner };
        match node.op {
            "If" if standard => {}
            "Loop" if standard => {
                cost.loops = cost.loops.saturating_add(1);
                cost.loop_depth += 1;
                cost.work = inner.work.saturating_mul(scope.trips(node)?);
            }
            "Scan" | "SequenceMap" if standard => {
                // Its turns are the length of its input, which is there already.
                cost.loops = cost.loops.saturating_add(1);
                cost.loop_depth += 1;
            }
            _ if has_graphs => return Err(fault("only If, Loop, Scan and SequenceMap may hold a graph")),
            _ => {}
        }
        cost.work = cost.work.saturating_add(1);
        if self.functions.contains_key(&key) {
            cost.add(self.call(key, calls)?);
        }
        cost.check()?;
        Ok(cost)
    }
}

/// A domain that a local function brings: any but those the runtime keeps for itself.
fn own_domain(domain: &str) -> Checked<&str> {
    let reserved = ["ai.onnx", "com.microsoft", "com.ms.", "org.pytorch.aten"];
    if reserved.iter().any(|start| domain.to_ascii_lowercase().starts_with(start)) {
        return known_domain(domain);
    }
    Ok(domain)
}

fn node_place(index: usize, node: &Node<'_>, within: &str) -> String {
    format!("node {index} \"{}\" ({}) of {within}", shorten(node.name), shorten(node.op))
}

fn attribute_name(bytes: &[u8]) -> Checked<&str> {
    let mut fields = Fields::new(bytes, &ATTRIBUTE);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            return value.text();
        }
    }
    Ok("")
}

/// The graphs and tensors of an attribute.
#[derive(Default)]
struct Held<'a> {
    graphs: Vec<&'a [u8]>,
    tensors: Vec<&'a [u8]>,
}

/// Reads an attribute, whose value must be of one type: readers of the same file
/// choose among several by different rules.
fn check_attribute(bytes: &[u8]) -> Checked<Held<'_>> {
    let mut held = Held::default();
    let mut holds = None;
    let mut fields = Fields::new(bytes, &ATTRIBUTE);
    while let Some((number, value)) = fields.next()? {
        if matches!(number, 2..=11 | 14 | 15) && *holds.get_or_insert(number) != number {
            return Err(fault("it holds values of two types"));
        }
        match number {
            5 | 10 => held.tensors.push(value.bytes()),
            6 | 11 => held.graphs.push(value.bytes()),
            _ => {}
        }
    }
    Ok(held)
}

fn port_name(value: Value<'_>) -> Checked<&str> {
    let mut fields = Fields::new(value.bytes(), &VALUE_INFO);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            return value.text();
        }
    }
    Ok("")
}

/// The inputs that a caller feeds, and the outputs, of the main graph.
pub fn ports(graph: &[u8]) -> Checked<(Vec<Port>, Vec<Port>)> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut initialized = HashSet::new();
    let mut fields = Fields::new(graph, &GRAPH);
    while let Some((number, value)) = fields.next()? {
        match number {
            5 => {
                initialized.insert(check_tensor(value.bytes())?.name.to_owned());
            }
            11 => inputs.push(port(value.bytes())?),
            12 => outputs.push(port(value.bytes())?),
            _ => {}
        }
    }
    inputs.retain(|p| !initialized.contains(&p.name));
    Ok((inputs, outputs))
}

fn port(bytes: &[u8]) -> Checked<Port> {
    let mut port = Port { name: String::new(), element: 0, dims: None };
    let mut fields = Fields::new(bytes, &VALUE_INFO);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => value.text()?.clone_into(&mut port.name),
            2 => {
                let mut types = Fields::new(value.bytes(), &TYPE);
                while let Some((number, value)) = types.next()? {
                    if number == 1 {
                        (port.element, port.dims) = tensor_type(value.bytes())?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(port)
}

fn tensor_type(bytes: &[u8]) -> Checked<(u64, Option<Vec<Option<u64>>>)> {
    let (mut element, mut dims) = (0, None);
    let mut fields = Fields::new(bytes, &TENSOR_TYPE);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            element = value.int().cast_unsigned();
            continue;
        }
        let mut shape = Vec::new();
        let mut places = Fields::new(value.bytes(), &SHAPE);
        while let Some((_, place)) = places.next()? {
            let mut size = None;
            let mut fields = Fields::new(place.bytes(), &DIMENSION);
            while let Some((number, value)) = fields.next()? {
                if number == 1 {
                    size = Some(value.int().cast_unsigned());
                }
            }
            shape.push(size);
        }
        dims = Some(shape);
    }
    Ok((element, dims))
}
