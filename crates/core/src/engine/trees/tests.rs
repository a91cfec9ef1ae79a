//! Trees of ours against ONNX Runtime's own, bit for bit.

use std::path::PathBuf;

use ort::session::Session;
use ort::value::Tensor;
use proptest::prelude::*;

use crate::engine::native;
use crate::engine::runtime;
use crate::onnx::wire::{put_bytes, put_number};

use super::fuse;

/// A message being written.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, number: u32, bytes: impl AsRef<[u8]>) -> Self {
        put_bytes(&mut self.0, number, bytes.as_ref());
        self
    }

    fn int(mut self, number: u32, value: i64) -> Self {
        put_number(&mut self.0, number, value.cast_unsigned());
        self
    }

    fn all(self, number: u32, messages: &[Message]) -> Self {
        messages.iter().fold(self, |message, inner| message.bytes(number, &inner.0))
    }
}

fn message() -> Message {
    Message::default()
}

fn tensor(name: &str, element: i64, shape: &[i64], raw: Vec<u8>) -> Message {
    shape.iter().fold(message(), |m, d| m.int(1, *d)).int(2, element).bytes(8, name).bytes(9, raw)
}

fn int_attribute(name: &str, value: i64) -> Message {
    message().bytes(1, name).int(3, value).int(20, 2)
}

fn ints_attribute(name: &str, values: &[i64]) -> Message {
    values.iter().fold(message().bytes(1, name), |m, v| m.int(8, *v)).int(20, 7)
}

fn tensor_attribute(name: &str, value: &Message) -> Message {
    message().bytes(1, name).bytes(5, &value.0).int(20, 4)
}

fn node(operator: &str, domain: &str, inputs: &[&str], output: &str, attributes: &[Message]) -> Message {
    let node = inputs.iter().fold(message(), |m, input| m.bytes(1, input)).bytes(2, output).bytes(4, operator);
    node.all(5, attributes).bytes(7, domain)
}

/// A matrix with any number of rows.
fn port(name: &str, element: i64, width: i64) -> Message {
    let shape = message().bytes(1, message().bytes(2, "rows").0).bytes(1, message().int(1, width).0);
    let kind = message().int(1, element).bytes(2, shape.0);
    message().bytes(1, name).bytes(2, message().bytes(1, kind.0).0)
}

fn model(nodes: &[Message], constants: &[Message], inputs: &[Message], outputs: &[Message]) -> Vec<u8> {
    let graph = message().all(1, nodes).bytes(2, "graph").all(5, constants).all(11, inputs).all(12, outputs);
    let opset = |domain: &str, version| message().bytes(1, domain).int(2, version);
    message().int(1, 10).bytes(7, graph.0).all(8, &[opset("", 21), opset("ai.onnx.ml", 5)]).0
}

/// A tree as it is drawn: inner nodes hold a feature, a threshold, where NaN goes, and perhaps a set.
#[derive(Clone, Debug)]
enum Drawn {
    Leaf(f64),
    Split { feature: usize, at: f64, missing_left: bool, set: Option<Vec<f64>>, sides: Box<[Drawn; 2]> },
}

#[derive(Clone, Debug)]
struct Trees {
    trees: Vec<(usize, Drawn)>,
    targets: usize,
    single: bool,
}

/// The attributes of a TreeEnsemble, node after node.
#[derive(Default)]
struct Lists {
    features: Vec<i64>,
    modes: Vec<u8>,
    splits: Vec<f64>,
    ids: [Vec<i64>; 2],
    leafs: [Vec<i64>; 2],
    missing: Vec<i64>,
    members: Vec<f64>,
    targets: Vec<i64>,
    weights: Vec<f64>,
}

impl Lists {
    fn add(&mut self, tree: &Drawn, target: usize) -> (i64, i64) {
        let Drawn::Split { feature, at, missing_left, set, sides } = tree else {
            let Drawn::Leaf(value) = tree else { unreachable!() };
            self.targets.push(target as i64);
            self.weights.push(*value);
            return (self.weights.len() as i64 - 1, 1);
        };
        let here = self.modes.len();
        self.features.push(*feature as i64);
        self.modes.push(if set.is_some() { 6 } else { 0 });
        self.splits.push(if set.is_some() { 0.0 } else { *at });
        self.missing.push(i64::from(*missing_left));
        for side in 0..2 {
            self.ids[side].push(0);
            self.leafs[side].push(0);
        }
        if let Some(set) = set {
            self.members.extend(set);
            self.members.push(f64::NAN);
        }
        for side in 0..2 {
            let (id, leaf) = self.add(&sides[side], target);
            self.ids[side][here] = id;
            self.leafs[side][here] = leaf;
        }
        (here as i64, 0)
    }
}

fn raw(values: &[f64], single: bool) -> Vec<u8> {
    match single {
        true => values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

impl Trees {
    fn element(&self) -> i64 {
        if self.single { 1 } else { 11 }
    }

    fn node(&self, input: &str, output: &str) -> Message {
        let mut lists = Lists::default();
        let mut roots = Vec::new();
        for (target, tree) in &self.trees {
            let (id, leaf) = lists.add(tree, *target);
            if leaf == 0 {
                roots.push(id);
                continue;
            }
            // A lone leaf is a node whose branches both lead to it.
            roots.push(lists.modes.len() as i64);
            lists.features.push(0);
            lists.modes.push(0);
            lists.splits.push(0.0);
            lists.missing.push(0);
            for side in 0..2 {
                lists.ids[side].push(id);
                lists.leafs[side].push(1);
            }
        }
        let values = |name: &str, values: &[f64]| {
            let held = tensor("", self.element(), &[values.len() as i64], raw(values, self.single));
            tensor_attribute(name, &held)
        };
        let modes = tensor("", 2, &[lists.modes.len() as i64], lists.modes.clone());
        let mut attributes = vec![
            int_attribute("aggregate_function", 1),
            int_attribute("n_targets", self.targets as i64),
            int_attribute("post_transform", 0),
            ints_attribute("tree_roots", &roots),
            ints_attribute("nodes_featureids", &lists.features),
            tensor_attribute("nodes_modes", &modes),
            values("nodes_splits", &lists.splits),
            ints_attribute("nodes_truenodeids", &lists.ids[0]),
            ints_attribute("nodes_trueleafs", &lists.leafs[0]),
            ints_attribute("nodes_falsenodeids", &lists.ids[1]),
            ints_attribute("nodes_falseleafs", &lists.leafs[1]),
            ints_attribute("nodes_missing_value_tracks_true", &lists.missing),
            ints_attribute("leaf_targetids", &lists.targets),
            values("leaf_weights", &lists.weights),
        ];
        if !lists.members.is_empty() {
            attributes.push(values("membership_values", &lists.members));
        }
        node("TreeEnsemble", "ai.onnx.ml", &[input], output, &attributes)
    }
}

const FEATURES: usize = 4;

/// What is drawn now and then rather than any number: what goes wrong, and what is equal to something.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => prop::sample::select(vec![0.0, -0.0, 1.0, 2.0, 3.0, -1.5, 0.1, 1e-300, f64::INFINITY, f64::NEG_INFINITY]),
        2 => -3.0..3.0_f64,
    ]
}

fn split(sides: [Drawn; 2]) -> impl Strategy<Value = Drawn> {
    let set = prop::collection::vec((0..4_u8).prop_map(f64::from), 1..4);
    (0..FEATURES, number(), any::<bool>(), prop::option::weighted(0.1, set)).prop_map(
        move |(feature, at, missing_left, set)| Drawn::Split {
            feature,
            at,
            missing_left,
            set,
            sides: Box::new(sides.clone()),
        },
    )
}

/// A tree of one form or another.
fn drawn() -> impl Strategy<Value = Drawn> {
    let leaf = || (-2.0..2.0_f64).prop_map(Drawn::Leaf);
    let any_form =
        leaf().prop_recursive(9, 400, 2, |inner| (inner.clone(), inner).prop_flat_map(|(a, b)| split([a, b])));
    // All splits of a level alike.
    let levels = prop::collection::vec((0..FEATURES, number(), any::<bool>()), 1..7).prop_flat_map(|levels| {
        prop::collection::vec(-2.0..2.0_f64, 1 << levels.len()).prop_map(move |leaves| {
            let mut below: Vec<_> = leaves.iter().copied().map(Drawn::Leaf).collect();
            for &(feature, at, missing_left) in &levels {
                let pair = |sides: &[Drawn]| Drawn::Split {
                    feature,
                    at,
                    missing_left,
                    set: None,
                    sides: Box::new([sides[0].clone(), sides[1].clone()]),
                };
                below = below.chunks(2).map(pair).collect();
            }
            below.remove(0)
        })
    });
    // More leaves than a byte counts.
    let chain =
        (prop::collection::vec((number(), any::<bool>()), 260..300), 0..FEATURES).prop_map(|(cuts, feature)| {
            cuts.iter().enumerate().fold(Drawn::Leaf(0.5), |below, (n, &(at, missing_left))| {
                let leaf = Drawn::Leaf(n as f64 / 7.0);
                let sides = Box::new(if n % 3 == 0 { [below, leaf] } else { [leaf, below] });
                Drawn::Split {
                    feature: (feature + n) % FEATURES,
                    at: at + n as f64 / 100.0,
                    missing_left,
                    set: None,
                    sides,
                }
            })
        });
    prop_oneof![2 => leaf(), 20 => any_form, 8 => levels, 1 => chain]
}

fn trees() -> impl Strategy<Value = Trees> {
    (1..4_usize, any::<bool>(), any::<bool>()).prop_flat_map(|(targets, single, alike)| {
        prop::collection::vec((0..targets, drawn()), 1..40).prop_map(move |drawn| {
            let trees = match alike {
                false => drawn,
                // As a classifier's: each tree once for every target.
                true => drawn.iter().flat_map(|(_, tree)| (0..targets).map(|t| (t, shifted(tree, t)))).collect(),
            };
            Trees { trees, targets, single }
        })
    })
}

fn shifted(tree: &Drawn, by: usize) -> Drawn {
    match tree {
        Drawn::Leaf(value) => Drawn::Leaf(value + by as f64),
        Drawn::Split { feature, at, missing_left, set, sides } => {
            let sides = Box::new([shifted(&sides[0], by), shifted(&sides[1], by)]);
            Drawn::Split { feature: *feature, at: *at, missing_left: *missing_left, set: set.clone(), sides }
        }
    }
}

fn values(rows: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![1 => Just(f64::NAN), 6 => number()], rows * FEATURES)
}

fn library() -> PathBuf {
    PathBuf::from(std::env::var_os("MONORAIL_ORT_LIB").expect("MONORAIL_ORT_LIB names the ONNX Runtime library"))
}

/// Runs a graph as it is, and as the engine does; an answer's bits.
fn both(graph: &[u8], feed: impl Fn(&mut Session) -> Vec<u64>) -> [Vec<u64>; 2] {
    let environment = runtime::environment(&library()).unwrap();
    let mut plain = native::builder(environment).unwrap().commit_from_memory(graph).unwrap();
    let (mut ours, operators) = native::open(environment, graph).unwrap();
    assert!(operators.is_some(), "the graph's trees are not ours");
    [feed(&mut plain), feed(&mut ours)]
}

fn answer(session: &mut Session, values: &[f64], width: usize, single: bool) -> Vec<u64> {
    let shape = [values.len() / width, width];
    if single {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        let outputs = session.run(ort::inputs!["x" => Tensor::from_array((shape, values)).unwrap()]).unwrap();
        let found = outputs["y"].try_extract_tensor::<f32>().unwrap().1;
        return found.iter().map(|v| u64::from(v.to_bits())).collect();
    }
    let outputs = session.run(ort::inputs!["x" => Tensor::from_array((shape, values.to_vec())).unwrap()]).unwrap();
    outputs["y"].try_extract_tensor::<f64>().unwrap().1.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn trees_add_up_as_the_runtime_does(
        (trees, values) in (trees(), prop_oneof![3 => 1..8_usize, 3 => 60..70_usize, 3 => 100..200_usize, 1 => 1020..1100_usize])
            .prop_flat_map(|(trees, rows)| (Just(trees), values(rows))),
    ) {
        let graph = model(
            &[trees.node("x", "y")],
            &[],
            &[port("x", trees.element(), FEATURES as i64)],
            &[port("y", trees.element(), trees.targets as i64)],
        );
        let [plain, ours] = both(&graph, |session| answer(session, &values, FEATURES, trees.single));
        prop_assert_eq!(plain, ours);
    }

    #[test]
    fn a_damaged_graph_is_left_alone_or_read(
        trees in trees(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let ports = [port("x", trees.element(), FEATURES as i64)];
        let mut graph = model(&[trees.node("x", "y")], &[], &ports, &[port("y", trees.element(), 1)]);
        for (at, byte) in damage {
            let at = at.index(graph.len());
            graph[at] = byte;
        }
        drop(fuse(&graph));
    }
}

/// One-hot columns and a number, as the compiler writes them: `x` has a number, two codes and a flag.
fn one_hot(trees: &Trees, also: &[Message]) -> Vec<u8> {
    let doubles = |name: &str, shape: &[i64], values: &[f64]| tensor(name, 11, shape, raw(values, false));
    let longs = |name: &str, shape: &[i64], values: &[i64]| {
        tensor(name, 7, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let axis = [int_attribute("axis", 1)];
    let to = |element| [int_attribute("to", element)];
    let nodes = [
        node("Gather", "", &["x", "first"], "number", &axis),
        node("Gather", "", &["x", "codes"], "picked", &axis),
        node("Equal", "", &["picked", "categories"], "equal", &[]),
        node("Cast", "", &["equal"], "hot", &to(trees.element())),
        node("Cast", "", &["number"], "cast", &to(trees.element())),
        node("Concat", "", &["cast", "hot"], "matrix", &axis),
        trees.node("matrix", "y"),
    ];
    let constants = [
        longs("first", &[1], &[0]),
        longs("codes", &[3], &[1, 1, 2]),
        doubles("categories", &[1, 3], &[0.0, 1.0, 2.0]),
    ];
    let outputs = [&[port("y", trees.element(), trees.targets as i64)], also].concat();
    model(&nodes, &constants, &[port("x", 11, 3)], &outputs)
}

fn contains(graph: &[u8], operator: &str) -> bool {
    graph.windows(operator.len()).any(|window| window == operator.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn one_hot_columns_are_compared_where_they_are_read(
        trees in trees(), values in prop::collection::vec(prop_oneof![1 => Just(f64::NAN), 6 => number()], 3 * 70),
    ) {
        let graph = one_hot(&trees, &[]);
        let [plain, ours] = both(&graph, |session| {
            // `x` is float64 whatever the trees are.
            let input = Tensor::from_array(([70_usize, 3], values.clone())).unwrap();
            let outputs = session.run(ort::inputs!["x" => input]).unwrap();
            match trees.single {
                true => outputs["y"].try_extract_tensor::<f32>().unwrap().1.iter().map(|v| u64::from(v.to_bits())).collect(),
                false => outputs["y"].try_extract_tensor::<f64>().unwrap().1.iter().map(|v| v.to_bits()).collect(),
            }
        });
        prop_assert_eq!(plain, ours);
    }
}

fn stump(feature: usize) -> Trees {
    let sides = Box::new([Drawn::Leaf(1.0), Drawn::Leaf(2.0)]);
    let tree = Drawn::Split { feature, at: 0.5, missing_left: false, set: None, sides };
    Trees { trees: vec![(0, tree)], targets: 1, single: false }
}

#[test]
fn sets_may_be_large() {
    let tree = |set: Vec<f64>, missing_left| {
        let sides = Box::new([Drawn::Leaf(1.0), Drawn::Leaf(2.0)]);
        (0, Drawn::Split { feature: 0, at: 0.0, missing_left, set: Some(set), sides })
    };
    let numbers = |step| (0..1000).step_by(step).map(f64::from).collect();
    let trees = vec![tree(numbers(7), false), tree(numbers(1), true), tree(vec![-0.0, 5.0, 998.0], true)];
    let trees = Trees { trees, targets: 1, single: false };
    let graph = model(&[trees.node("x", "y")], &[], &[port("x", 11, 1)], &[port("y", 11, 1)]);
    for rows in [3, 1_500] {
        let values: Vec<_> = (0..rows).map(|n| if n % 11 == 10 { f64::NAN } else { f64::from(n) }).collect();
        let [plain, ours] = both(&graph, |session| answer(session, &values, 1, false));
        assert_eq!(plain, ours);
    }
}

#[test]
fn what_only_made_the_matrix_is_left_out() {
    let fused = fuse(&one_hot(&stump(1), &[])).unwrap();
    for operator in ["Equal", "Concat", "TreeEnsemble"] {
        assert!(!contains(&fused.graph, operator), "{operator} is still there");
    }
}

#[test]
fn what_somebody_else_reads_stays() {
    let fused = fuse(&one_hot(&stump(1), &[port("equal", 9, 3)])).unwrap();
    assert!(contains(&fused.graph, "Equal") && !contains(&fused.graph, "Concat"));
}

#[test]
fn other_trees_stay_with_the_runtime() {
    let graph = |change: &dyn Fn(Message) -> Message| {
        model(&[change(stump(0).node("x", "y"))], &[], &[port("x", 11, 4)], &[port("y", 11, 1)])
    };
    assert!(fuse(&graph(&|node| node)).is_some());
    // The last one counts.
    assert!(fuse(&graph(&|node| node.bytes(5, int_attribute("post_transform", 1).0))).is_none());
    let own = Message(graph(&|node| node)).bytes(8, message().bytes(1, "monorail").int(2, 1).0);
    assert!(fuse(&own.0).is_none(), "a function of the file's own could be called as ours are");
    let nothing = node("Identity", "", &["x"], "y", &[]);
    assert!(fuse(&model(&[nothing], &[], &[port("x", 11, 4)], &[port("y", 11, 4)])).is_none());
}
