//! Writes ONNX files by hand, also those no ONNX library would write.

/// A message being written.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push((n as u8) | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    pub fn int(mut self, field: u64, n: i64) -> Self {
        self.varint(field << 3);
        self.varint(n as u64);
        self
    }

    pub fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn all(self, field: u64, messages: &[Message]) -> Self {
        messages.iter().fold(self, |m, inner| m.bytes(field, &inner.0))
    }

    pub fn ints(self, field: u64, numbers: &[i64]) -> Self {
        numbers.iter().fold(self, |m, n| m.int(field, *n))
    }
}

pub fn message() -> Message {
    Message::default()
}

/// An int64 tensor with raw data.
pub fn int64(name: &str, dims: &[i64], values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    message().ints(1, dims).int(2, 7).bytes(8, name).bytes(9, raw)
}

/// A tensor of any type with raw data of that many bytes.
pub fn tensor(name: &str, data_type: i64, dims: &[i64], raw: usize) -> Message {
    message().ints(1, dims).int(2, data_type).bytes(8, name).bytes(9, vec![0; raw])
}

pub fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let mut node = inputs.iter().fold(message(), |m, i| m.bytes(1, i));
    node = outputs.iter().fold(node, |m, o| m.bytes(2, o));
    node = node.bytes(3, format!("the {op}")).bytes(4, op).all(5, attributes);
    if domain.is_empty() { node } else { node.bytes(7, domain) }
}

pub fn attribute_graph(name: &str, graph: &Message) -> Message {
    message().bytes(1, name).bytes(6, &graph.0).int(20, 5)
}

pub fn attribute_tensor(name: &str, tensor: &Message) -> Message {
    message().bytes(1, name).bytes(5, &tensor.0).int(20, 4)
}

pub fn attribute_ints(name: &str, numbers: &[i64]) -> Message {
    message().bytes(1, name).ints(8, numbers).int(20, 7)
}

pub fn attribute_strings(name: &str, words: &[&str]) -> Message {
    words.iter().fold(message().bytes(1, name), |m, w| m.bytes(9, w)).int(20, 8)
}

pub fn attribute_int(name: &str, n: i64) -> Message {
    message().bytes(1, name).int(3, n).int(20, 2)
}

pub fn graph(nodes: &[Message], initializers: &[Message]) -> Message {
    message().all(1, nodes).bytes(2, "main").all(5, initializers)
}

pub fn model(graph: &Message) -> Message {
    message().int(1, 10).bytes(7, &graph.0).bytes(8, message().bytes(1, "").int(2, 21).0)
}

pub fn function(name: &str, nodes: &[Message]) -> Message {
    message().bytes(1, name).all(7, nodes).bytes(10, "com.microsoft")
}

/// A loop over `body` whose turns are the value named `trips`.
pub fn loop_node(trips: &str, body: &Message) -> Message {
    node("Loop", "", &[trips, ""], &["out"], &[attribute_graph("body", body)])
}

/// `TreeEnsemble` (ai.onnx.ml 5): per node its two branches as (place, is leaf).
pub fn trees(branches: &[[(i64, i64); 2]], leaves: usize, roots: &[i64]) -> Message {
    let nodes = branches.len();
    let pick =
        |side: usize, what: fn((i64, i64)) -> i64| -> Vec<i64> { branches.iter().map(|b| what(b[side])).collect() };
    let attributes = [
        attribute_ints("nodes_truenodeids", &pick(0, |b| b.0)),
        attribute_ints("nodes_trueleafs", &pick(0, |b| b.1)),
        attribute_ints("nodes_falsenodeids", &pick(1, |b| b.0)),
        attribute_ints("nodes_falseleafs", &pick(1, |b| b.1)),
        attribute_ints("nodes_featureids", &vec![0; nodes]),
        attribute_ints("leaf_targetids", &vec![0; leaves]),
        attribute_ints("tree_roots", roots),
        attribute_int("n_targets", 1),
        attribute_tensor("nodes_modes", &tensor("", 2, &[nodes as i64], nodes)),
        attribute_tensor("nodes_splits", &tensor("", 11, &[nodes as i64], nodes * 8)),
        attribute_tensor("leaf_weights", &tensor("", 11, &[leaves as i64], leaves * 8)),
    ];
    node("TreeEnsemble", "ai.onnx.ml", &["x"], &["y"], &attributes)
}
