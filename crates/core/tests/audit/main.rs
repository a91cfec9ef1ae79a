//! The audit: what a hostile graph may not hold, each case with its node named; and no input panics.

mod build;

use build::*;
use monorail_core::bundle::audit::{LIMIT_TRIPS, audit};
use monorail_core::error::Code;
use proptest::prelude::*;

fn golden() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/format/format_1/graph.onnx")).unwrap()
}

fn accepted(model: &Message) -> u64 {
    audit("graph.onnx", &model.0).unwrap().nodes
}

fn refused(model: &Message, words: &str) {
    let error = audit("graph.onnx", &model.0).expect_err(words);
    assert_eq!(error.code(), Code::GraphRefused);
    let text = error.to_string();
    assert!(text.contains(words) && text.contains("graph.onnx"), "{text} does not say: {words}");
}

/// A model of these nodes alone.
fn of(nodes: &[Message]) -> Message {
    model(&graph(nodes, &[]))
}

#[test]
fn finds_the_ports_of_the_golden_graph() {
    let facts = audit("graph.onnx", &golden()).unwrap();
    assert_eq!(facts.opsets, [("ai.onnx".to_owned(), 21), ("ai.onnx.ml".to_owned(), 4)].into());
    let inputs: Vec<_> = facts.inputs.iter().map(|p| (p.name.as_str(), p.element, p.dims.clone().unwrap())).collect();
    assert_eq!(inputs[2], ("numbers", 11, vec![None, Some(2)]));
    assert_eq!(inputs.len(), 8, "initializers are no inputs");
    assert_eq!(facts.outputs[1].name, "probability");
}

#[test]
fn external_data_is_refused_wherever_it_is() {
    let entry = message().bytes(1, "location").bytes(2, "/etc/passwd");
    let external = message().ints(1, &[1]).int(2, 7).bytes(8, "w").bytes(13, &entry.0).int(14, 1);
    let words = "lies outside the graph (location /etc/passwd)";
    refused(&model(&graph(&[], std::slice::from_ref(&external))), words);
    let constant = node("Constant", "", &[], &["c"], &[attribute_tensor("value", &external)]);
    refused(&of(std::slice::from_ref(&constant)), words);
    refused(&of(std::slice::from_ref(&constant)), "node 0 \"the Constant\" (Constant) of graph \"main\"");
    let inner =
        node("If", "", &["c"], &["y"], &[attribute_graph("then_branch", &graph(std::slice::from_ref(&constant), &[]))]);
    refused(&of(&[inner]), words);
    refused(&of(&[]).bytes(25, function("F", &[constant]).0), words);
    let other = node("Foo", "ai.onnx.ml", &[], &[], &[message().bytes(1, "many").bytes(10, &external.0)]);
    refused(&of(&[other]), words);
    let located = message().ints(1, &[1]).int(2, 7).bytes(8, "w").bytes(9, [0; 8]).int(14, 1);
    refused(&model(&graph(&[], &[located])), "lies outside the graph");
}

#[test]
fn only_three_domains_are_known() {
    for domain in ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"] {
        accepted(&of(&[node("Add", domain, &["a", "b"], &["c"], &[])]));
    }
    for domain in ["ai.onnx.training", "custom", "AI.ONNX", "ai.onnx.contrib"] {
        refused(&of(&[node("Add", domain, &["a", "b"], &["c"], &[])]), &format!("the domain \"{domain}\""));
        let import = message().bytes(1, domain).int(2, 1);
        refused(&of(&[]).bytes(8, import.0), &format!("the domain \"{domain}\""));
    }
    refused(&of(&[node("EPContext", "com.microsoft", &[], &["c"], &[])]), "outside the graph");
}

#[test]
fn local_functions_may_bring_a_domain() {
    let add = node("Add", "", &["a", "b"], &["c"], &[]);
    let import = |domain: &str| message().bytes(1, domain).int(2, 1).0;
    let own = |domain: &str, called: &Message| {
        let body =
            message().bytes(1, "F").all(7, std::slice::from_ref(&add)).bytes(9, import(domain)).bytes(10, domain);
        of(std::slice::from_ref(called)).bytes(8, import(domain)).bytes(25, body.0)
    };
    let call = |op: &str, domain: &str| node(op, domain, &["a", "b"], &["c"], &[]);
    for domain in ["custom", "pkg.onnxscript.torch_lib", "this"] {
        let facts = audit("graph.onnx", &own(domain, &call("F", domain)).0).unwrap();
        assert_eq!(facts.opsets, [("ai.onnx".to_owned(), 21)].into(), "{domain}: not an operator set of the runtime");
        assert_eq!(facts.nodes, 2);
        refused(&own(domain, &call("G", domain)), &format!("the domain \"{domain}\" has no such local function"));
        refused(&own(domain, &call("F", "other")), "the domain \"other\"");
    }
    let overloaded = call("F", "custom").bytes(8, "second");
    refused(&own("custom", &overloaded), "no such local function");
    for domain in ["ai.onnx.training", "AI.ONNX", "com.microsoft.nchwc", "com.ms.internal.nhwc", "org.pytorch.aten"] {
        refused(&own(domain, &call("F", domain)), &format!("the domain \"{domain}\""));
    }
    let hidden = message().bytes(1, "G").all(7, &[call("Run", "elsewhere")]).bytes(10, "custom");
    refused(&own("custom", &call("F", "custom")).bytes(25, hidden.0), "the domain \"elsewhere\"");
}

#[test]
fn tensors_hold_what_their_dimensions_say() {
    let one = |t: Message| model(&graph(&[], &[t]));
    accepted(&one(tensor("w", 11, &[2, 3], 48)));
    accepted(&one(tensor("w", 11, &[], 8)));
    accepted(&one(tensor("w", 11, &[0, 5], 0)));
    accepted(&one(tensor("w", 22, &[3], 2)));
    accepted(&one(message().ints(1, &[2]).int(2, 8).bytes(6, "a").bytes(6, "")));
    accepted(&one(message().ints(1, &[3]).int(2, 7).bytes(7, [1, 2, 3])));
    accepted(&one(message().bytes(1, [2, 2]).int(2, 1).bytes(4, [0; 16])));
    for (tensor, words) in [
        (tensor("w", 11, &[2, 3], 47), "\"w\" holds 47 bytes; its dimensions need 48"),
        (tensor("w", 11, &[i64::MAX, 3], 8), "which no tensor can have"),
        (tensor("w", 11, &[1 << 62], 8), "need more than any file"),
        (tensor("w", 11, &[-1], 8), "which no tensor can have"),
        (tensor("w", 99, &[1], 8), "element type 99"),
        (tensor("w", 0, &[1], 8), "element type 0"),
        (tensor("w", 8, &[1], 8), "strings as raw bytes"),
        (message().ints(1, &[4]).int(2, 7).bytes(7, [1, 2, 3]), "holds 3 values; its dimensions need 4"),
        (message().ints(1, &[1]).int(2, 7).int(7, 1).bytes(9, [0; 8]), "in a form that is not its type's"),
        (message().ints(1, &[1]).int(2, 7).int(5, 1), "in a form that is not its type's"),
        (message().ints(1, &[1; 17]).int(2, 7).int(7, 1), "more than 16 numbers"),
        (message().ints(1, &[1]).int(2, 7).bytes(3, [8, 1]), "field 3"),
    ] {
        refused(&one(tensor), words);
    }
    refused(&model(&graph(&[], &[]).bytes(15, [])), "GraphProto has a field 15");
}

#[test]
fn loops_end() {
    let body = graph(&[node("Identity", "", &["a"], &["b"], &[])], &[]);
    let looped = |trips: Message| model(&graph(&[loop_node("trips", &body)], &[trips]));
    accepted(&looped(int64("trips", &[], &[10])));
    accepted(&looped(int64("trips", &[1], &[LIMIT_TRIPS as i64])));
    accepted(&looped(message().int(2, 7).bytes(8, "trips").int(7, 10)));
    accepted(&looped(int64("trips", &[], &[-1])));
    refused(&looped(int64("trips", &[], &[LIMIT_TRIPS as i64 + 1])), "takes 65537 turns");
    refused(&looped(int64("trips", &[2], &[1, 2])), "not a constant");
    refused(&looped(int64("others", &[], &[1])), "not a constant");
    refused(&of(&[loop_node("", &body)]), "not a constant");
    let constant = |a: Message| node("Constant", "", &[], &["trips"], &[a]);
    accepted(&of(&[constant(attribute_int("value_int", 5)), loop_node("trips", &body)]));
    accepted(&of(&[constant(attribute_tensor("value", &int64("", &[], &[5]))), loop_node("trips", &body)]));
    let two = message().bytes(1, "value_int").int(3, 1).bytes(5, &int64("", &[], &[5]).0);
    refused(&of(&[constant(two), loop_node("trips", &body)]), "values of two types");
    let computed = node("Shape", "", &["x"], &["trips"], &[]);
    refused(&of(&[computed, loop_node("trips", &body)]), "not a constant");
    // A length of what a caller feeds has an end, wherever it is asked for.
    let x = message().bytes(1, "x");
    let with = |nodes: &[Message]| model(&graph(nodes, &[]).bytes(11, &x.0));
    let lengths = |of: &str| node("Shape", "", &[of], &["lengths"], &[]);
    let picked = node("Gather", "", &["lengths", "place"], &["trips"], &[]);
    let cast = |to: i64| node("Cast", "", &["lengths"], &["trips"], &[attribute_int("to", to)]);
    let end = loop_node("trips", &body);
    accepted(&with(&[lengths("x"), picked.clone(), end.clone()]));
    accepted(&with(&[lengths("x"), cast(6), end.clone()]));
    let turned = node("Transpose", "", &["x"], &["turned"], &[]);
    accepted(&with(&[turned, lengths("turned"), picked.clone(), end.clone()]));
    let branch = graph(&[lengths("x"), picked.clone(), end.clone()], &[]);
    accepted(&with(&[node("If", "", &["c"], &["y"], &[attribute_graph("then_branch", &branch)])]));
    // Half floats make an infinity of a length; a tensor of no elements may have any length.
    refused(&with(&[lengths("x"), cast(10), end.clone()]), "not a constant");
    let empty = node("ConstantOfShape", "", &["huge"], &["none"], &[]);
    refused(&with(&[empty, lengths("none"), picked.clone(), end.clone()]), "not a constant");
    refused(&with(&[picked.clone(), lengths("x"), end.clone()]), "not a constant");
    refused(
        &with(&[lengths("x"), node("Mul", "", &["lengths", "lengths"], &["trips"], &[]), end.clone()]),
        "not a constant",
    );
    refused(
        &with(&[lengths("x"), picked.clone(), node("Add", "", &["a", "a"], &["trips"], &[]), end.clone()]),
        "not a constant",
    );
    let heavy = graph(&vec![node("Identity", "", &["a"], &["b"], &[]); 300], &[]);
    refused(&with(&[lengths("x"), picked.clone(), loop_node("trips", &heavy)]), "node runs a call");
    // What a body or a function is given is fed by nobody outside.
    let inner = graph(&[lengths("x"), picked.clone(), end.clone()], &[]).bytes(11, &x.0);
    refused(&of(&[node("If", "", &["c"], &["y"], &[attribute_graph("then_branch", &inner)])]), "not a constant");
    let called = function("F", &[lengths("x"), picked, end]).bytes(4, "x");
    refused(&of(&[]).bytes(25, called.0), "not a constant");
    // An initializer that is an input too can be given another value by the caller.
    let input = message().bytes(1, "trips");
    let fed = graph(&[loop_node("trips", &body)], &[int64("trips", &[], &[1])]).bytes(11, &input.0);
    refused(&model(&fed), "not a constant");
    // A local function of that name is no constant.
    let own = message().bytes(1, "Constant").bytes(10, "ai.onnx").0;
    let model = of(&[constant(attribute_int("value_int", 5)), loop_node("trips", &body)]).bytes(25, own);
    refused(&model, "not a constant");
}

#[test]
fn loops_are_few_and_shallow() {
    let nest = |depth: usize, trips: i64| {
        let mut body = graph(&[node("Identity", "", &["a"], &["b"], &[])], &[]);
        for _ in 0..depth {
            body = graph(&[loop_node("trips", &body)], &[]);
        }
        model(&body.bytes(5, int64("trips", &[], &[trips]).0))
    };
    accepted(&nest(2, 100));
    refused(&nest(3, 2), "loops within each other");
    refused(&nest(2, 65_536), "node runs a call");
    let body = graph(&[node("Identity", "", &["a"], &["b"], &[])], &[]);
    let scan = node("Scan", "", &["x"], &["y"], &[attribute_graph("body", &body)]);
    accepted(&of(&vec![scan.clone(); 64]));
    refused(&of(&vec![scan; 65]), "more than 64 loops");
    let call = node("F", "com.microsoft", &[], &["y"], &[]);
    let looping = function(
        "F",
        &[node("Constant", "", &[], &["trips"], &[attribute_int("value_int", 5)]), loop_node("trips", &body)],
    );
    accepted(&of(&vec![call.clone(); 64]).bytes(25, &looping.0));
    refused(&of(&vec![call; 65]).bytes(25, &looping.0), "more than 64 loops");
}

#[test]
fn graphs_are_shallow_and_only_in_control_flow() {
    let nest = |depth: usize| {
        (0..depth).fold(graph(&[], &[]), |inner, _| {
            graph(&[node("If", "", &["c"], &["y"], &[attribute_graph("then_branch", &inner)])], &[])
        })
    };
    accepted(&model(&nest(8)));
    refused(&model(&nest(9)), "nested deeper than 8");
    refused(&model(&nest(2_000)), "nested deeper than 8");
    let search = node("BeamSearch", "com.microsoft", &[], &["y"], &[attribute_graph("decoder", &graph(&[], &[]))]);
    refused(&of(&[search]), "only If, Loop, Scan and SequenceMap");
}

#[test]
fn functions_do_not_explode() {
    let call = |n: usize| node(&format!("F{n}"), "com.microsoft", &[], &["y"], &[]);
    // Each function calls the next one ten times.
    let chain = |depth: usize, times: usize| {
        let mut model = of(&[call(0)]);
        for n in 0..depth {
            let nodes =
                if n + 1 < depth { vec![call(n + 1); times] } else { vec![node("Add", "", &["a"], &["b"], &[])] };
            model = model.bytes(25, function(&format!("F{n}"), &nodes).0);
        }
        model
    };
    assert_eq!(accepted(&chain(3, 10)), 1 + 10 + 100 + 1 + 99);
    refused(&chain(10, 10), "more than 500000 nodes");
    accepted(&chain(16, 1));
    refused(&chain(17, 1), "functions call");
    refused(&chain(5_000, 1), "functions call");
    let mutual = of(&[]).bytes(25, function("F0", &[call(1)]).0).bytes(25, function("F1", &[call(0)]).0);
    refused(&mutual, "calls itself");
    refused(&of(&[]).bytes(25, function("F0", &[call(0)]).0), "calls itself");
    let twice = of(&[]).bytes(25, function("F0", &[]).0).bytes(25, function("F0", &[]).0);
    refused(&twice, "is there twice");
}

#[test]
fn nodes_and_attributes_are_capped() {
    let small = message().bytes(4, "A");
    refused(&of(&vec![small; 500_001]), "more than 500000 nodes");
    let attributes: Vec<_> = (0..129).map(|i| attribute_int(&format!("a{i}"), i)).collect();
    refused(&of(&[node("Add", "", &[], &[], &attributes)]), "more than 128 attributes");
    let same = vec![attribute_int("a", 1); 2];
    refused(&of(&[node("Add", "", &[], &[], &same)]), "attribute \"a\" is there twice");
}

#[test]
fn trees_end() {
    // A root, a node below it, three leaves.
    accepted(&of(&[trees(&[[(1, 0), (0, 1)], [(1, 1), (2, 1)]], 3, &[0])]));
    accepted(&of(&[trees(&[[(0, 1), (0, 1)]], 1, &[0])]));
    for (branches, leaves, roots, words) in [
        (vec![[(1, 0), (0, 1)], [(1, 0), (0, 1)]], 1, vec![0], "two branches lead to the node 1"),
        (vec![[(0, 1), (0, 1)], [(1, 0), (0, 1)]], 1, vec![0], "leads back"),
        (vec![[(0, 1), (0, 1)], [(2, 0), (0, 1)], [(1, 0), (0, 1)]], 1, vec![1], "two branches"),
        (vec![[(1, 0), (1, 0)], [(0, 1), (0, 1)]], 1, vec![0], "two branches lead to the node 1"),
        (vec![[(7, 0), (0, 1)]], 1, vec![0], "the node or leaf 7"),
        (vec![[(0, 1), (1, 1)]], 1, vec![0], "the node or leaf 1"),
        (vec![[(-1, 0), (0, 1)]], 1, vec![0], "the node or leaf -1"),
        (vec![[(0, 1), (0, 1)]], 1, vec![5], "the node or leaf 5"),
        (vec![[(0, 1), (0, 1)]], 1, vec![0, 0], "two branches lead to the node 0"),
        (vec![[(0, 1), (0, 1)]], 1, vec![], "no tree has a root"),
    ] {
        refused(&of(&[trees(&branches, leaves, &roots)]), words);
    }
    // A cycle that no root reaches is no danger to the runtime, but no trainer makes one either.
    refused(&of(&[trees(&[[(0, 1), (0, 1)], [(2, 0), (0, 1)], [(1, 0), (0, 1)]], 1, &[0])]), "leads back");
    let chain = |n: i64| (1..n).map(|i| [(i, 0), (0, 1)]).chain([[(0, 1), (0, 1)]]).collect::<Vec<_>>();
    accepted(&of(&[trees(&chain(2_048), 1, &[0])]));
    refused(&of(&[trees(&chain(2_049), 1, &[0])]), "deeper than 2048");
    refused(&of(&[trees(&chain(1_000_000), 1, &[0])]), "deeper than 2048");
}

#[test]
fn older_trees_end() {
    let older = |ids: &[i64], trues: &[i64], falses: &[i64], modes: &[&str]| {
        of(&[node(
            "TreeEnsembleRegressor",
            "ai.onnx.ml",
            &["x"],
            &["y"],
            &[
                attribute_ints("nodes_treeids", &vec![0; ids.len()]),
                attribute_ints("nodes_nodeids", ids),
                attribute_ints("nodes_truenodeids", trues),
                attribute_ints("nodes_falsenodeids", falses),
                attribute_strings("nodes_modes", modes),
            ],
        )])
    };
    accepted(&older(&[0, 1, 2], &[1, 0, 0], &[2, 0, 0], &["BRANCH_LEQ", "LEAF", "LEAF"]));
    // LightGBM's sets: several tests lead to one node.
    accepted(&older(&[0, 1, 2, 3], &[2, 2, 0, 0], &[1, 3, 0, 0], &["BRANCH_EQ", "BRANCH_EQ", "LEAF", "LEAF"]));
    refused(&older(&[0, 1, 2], &[0, 0, 0], &[2, 0, 0], &["BRANCH_LEQ", "LEAF", "LEAF"]), "leads back");
    refused(&older(&[0, 1, 2], &[1, 0, 0], &[2, 0, 0], &["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"]), "leads back");
    refused(&older(&[0, 1, 1], &[1, 0, 0], &[1, 0, 0], &["BRANCH_LEQ", "LEAF", "LEAF"]), "the node 1 twice");
    refused(&older(&[0, 1], &[1, 0], &[9, 0], &["BRANCH_LEQ", "LEAF"]), "the node 9");
    refused(&older(&[0, 1], &[1], &[1, 0], &["BRANCH_LEQ", "LEAF"]), "differ in length");
}

#[test]
fn the_runtimes_own_format_and_options_are_refused() {
    let mut bytes = golden();
    bytes[4..8].copy_from_slice(b"ORTM");
    refused(&Message(bytes), "ONNX Runtime's own format");
    let entry = message().bytes(1, "ort_config").bytes(2, "{}");
    refused(&of(&[]).bytes(14, &entry.0), "ort_config");
    refused(&message().int(1, 10), "no graph");
    refused(&message().int(1, 3).bytes(7, []), "IR version 3");
    refused(&of(&[]).bytes(7, []), "field 7 twice");
    refused(&of(&[]).bytes(20, []), "ModelProto has a field 20");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = audit("graph.onnx", &bytes);
    }

    #[test]
    fn a_mutated_graph_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = golden();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = audit("graph.onnx", &bytes);
    }

    #[test]
    fn a_mutated_tree_never_panics(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = of(&[trees(&[[(1, 0), (0, 1)], [(1, 1), (2, 1)]], 3, &[0])]).0;
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = audit("graph.onnx", &bytes);
    }

    #[test]
    fn a_truncated_graph_is_refused(end in any::<prop::sample::Index>()) {
        let bytes = golden();
        // The file ends with the operator sets, so that every shorter one lacks at least some of them.
        let end = end.index(bytes.len());
        if let Ok(facts) = audit("graph.onnx", &bytes[..end]) {
            prop_assert!(facts.opsets.len() < 2);
        }
    }
}
