//! Bundles with a worker: what format 2 allows, when its files are laid out, and what is refused by name.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use monorail_core::bundle::read::describe_file;
use monorail_core::bundle::stage::EngineKind;
use monorail_core::bundle::{Bundle, Manifest, Purpose};
use monorail_core::error::{Code, Error};
use serde_json::{Value, json};

const FILES: [(&str, &str); 4] = [
    ("worker.json", "{\"kind\": \"class\"}"),
    ("model.pkl", "not looked at"),
    ("weights-1", "large"),
    ("requirements.txt", "numpy==2.4.6"),
];

fn golden(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/format_1").join(file)
}

/// A manifest of format 2 with a worker alone, over the columns of the golden bundle.
fn lone() -> Value {
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(golden("bundle.json")).unwrap()).unwrap();
    let inputs: Vec<Value> = manifest["stages"][0]["inputs"].as_array().unwrap().clone();
    manifest["format"] = json!(2);
    manifest["golden"] = Value::Null;
    manifest["stages"] = json!([{
        "engine": "worker",
        "program": "worker.json",
        "inputs": inputs,
        "files": {"model.pkl": "model.pkl", "files/deep/weights.bin": "weights-1"},
        "idempotent": true,
        "lock": "requirements.txt",
        "reason": "a step has no compiled form"
    }]);
    manifest
}

/// A manifest of format 2 whose worker gives what the golden graph reads.
fn mixed() -> Value {
    let mut manifest = lone();
    let graph: Value = serde_json::from_str(&fs::read_to_string(golden("bundle.json")).unwrap()).unwrap();
    manifest["stages"][0]["columns"] = json!([
        {"name": "carrier", "type": "string", "nullable": true},
        {"name": "temp", "type": "float64", "nullable": true},
        {"name": "distance", "type": "int64", "nullable": true},
        {"name": "flag", "type": "bool", "nullable": false},
        {"name": "day", "type": "date32", "nullable": false},
        {"name": "when", "type": "timestamp", "nullable": true, "zone": "UTC"},
        {"name": "vector", "type": "tensor", "nullable": false, "dtype": "float32", "shape": [3]}
    ]);
    manifest["signature"]["inputs"] = json!([{"name": "text", "type": "string", "nullable": false}]);
    manifest["stages"][0]["inputs"] = json!([{"name": "text", "type": "string", "columns": ["text"]}]);
    manifest["stages"].as_array_mut().unwrap().push(graph["stages"][0].clone());
    manifest
}

/// A folder with the bundle, its digests as they are.
fn bundle(manifest: &mut Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    manifest["files"] = json!({});
    for (name, text) in FILES {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::copy(golden("graph.onnx"), folder.path().join("graph.onnx")).unwrap();
    for name in FILES.iter().map(|(name, _)| *name).chain(["graph.onnx"]) {
        manifest["files"][name] = serde_json::to_value(describe_file(folder.path(), name).unwrap()).unwrap();
    }
    fs::write(folder.path().join("bundle.json"), manifest.to_string()).unwrap();
    folder
}

fn run(folder: &Path, scratch: &Path) -> Result<Bundle, Error> {
    Bundle::open_for(folder, Purpose::Run { trusted: true, scratch: Some(scratch) })
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn has(error: &Error, code: Code, words: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error} does not say: {words}");
}

#[test]
fn engines_have_names() {
    for (mut manifest, kind, trust) in [(lone(), EngineKind::Worker, true), (mixed(), EngineKind::Mixed, true)] {
        let folder = bundle(&mut manifest);
        let opened = Bundle::open(folder.path()).unwrap();
        assert_eq!((opened.manifest.engine(), opened.manifest.needs_trust()), (kind, trust));
        assert!(opened.worker.is_none(), "looking at a bundle lays nothing out");
        let again = serde_json::to_value(&opened.manifest).unwrap();
        assert_eq!(again, manifest, "writing what was read gives something else");
    }
    let native = Bundle::open(&golden("")).unwrap().manifest;
    assert_eq!((native.engine(), native.needs_trust()), (EngineKind::Native, false));
}

#[test]
fn a_worker_needs_trust_before_anything_is_read() {
    let folder = bundle(&mut lone());
    let scratch = tempfile::tempdir().unwrap();
    fs::remove_file(folder.path().join("model.pkl")).unwrap();
    let purpose = Purpose::Run { trusted: false, scratch: Some(scratch.path()) };
    let error = Bundle::open_for(folder.path(), purpose).unwrap_err();
    has(&error, Code::Untrusted, "golden@1 runs Python code that came with it (a step has no compiled form)");
    assert_eq!(entries(scratch.path()), 0);
    let manifest = fs::read_to_string(folder.path().join("bundle.json")).unwrap();
    assert_eq!(Bundle::from_draft(folder.path(), &manifest, purpose).unwrap_err().code(), Code::Untrusted);
    // A graph needs none.
    Bundle::open_for(&golden(""), purpose).unwrap();
    assert_eq!(entries(scratch.path()), 0);
}

#[test]
fn a_workers_files_are_laid_out_privately_and_removed() {
    let folder = bundle(&mut mixed());
    let scratch = tempfile::tempdir().unwrap();
    let opened = run(folder.path(), scratch.path()).unwrap();
    let laid_out = opened.worker.as_ref().unwrap();
    for (path, text) in [
        (laid_out.program(), FILES[0].1),
        (laid_out.files().join("model.pkl"), FILES[1].1),
        (laid_out.files().join("files/deep/weights.bin"), FILES[2].1),
    ] {
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(fs::metadata(laid_out.files().parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    assert!(opened.graph.is_some());
    drop(opened);
    assert_eq!(entries(scratch.path()), 0);
}

#[test]
fn a_draft_is_laid_out_without_digests() {
    let mut manifest = lone();
    let folder = bundle(&mut manifest);
    manifest.as_object_mut().unwrap().remove("files");
    fs::write(folder.path().join("model.pkl"), "written since").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let purpose = Purpose::Run { trusted: true, scratch: Some(scratch.path()) };
    let opened = Bundle::from_draft(folder.path(), &manifest.to_string(), purpose).unwrap();
    let laid_out = opened.worker.as_ref().unwrap();
    assert_eq!(fs::read_to_string(laid_out.files().join("model.pkl")).unwrap(), "written since");
}

#[test]
fn damage_is_named_and_leaves_nothing() {
    for name in ["worker.json", "model.pkl", "weights-1", "requirements.txt"] {
        let folder = bundle(&mut lone());
        let scratch = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        let refused = |words: &str| {
            for error in [run(folder.path(), scratch.path()).unwrap_err(), Bundle::open(folder.path()).unwrap_err()] {
                has(&error, Code::BundleDamaged, &format!("{name} {words}"));
            }
            assert_eq!(entries(scratch.path()), 0, "{name} {words}");
        };
        let mut altered = bytes.clone();
        altered[0] ^= 1;
        fs::write(&path, altered).unwrap();
        refused("was altered");
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        refused("is truncated");
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        refused("is longer");
        fs::remove_file(&path).unwrap();
        refused("is missing");
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, &bytes).unwrap();
        symlink(&elsewhere, &path).unwrap();
        refused("cannot be opened");
    }
}

#[test]
fn contradictions_are_refused() {
    type Start = fn() -> Value;
    type Change = fn(&mut Value);
    let cases: [(Start, Change, &str); 21] = [
        (lone, |m| m["format"] = json!(1), "format 1 does not have"),
        (lone, |m| m["stages"][0]["engine"] = json!("shell"), "unknown variant"),
        (lone, |m| m["stages"][0]["later"] = json!(1), "later"),
        (lone, |m| m["stages"][0]["files"]["../up"] = json!("graph.onnx"), "not plain"),
        (lone, |m| m["stages"][0]["files"]["/etc/cron.d/x"] = json!("graph.onnx"), "not plain"),
        (lone, |m| m["stages"][0]["files"]["Model.pkl"] = json!("graph.onnx"), "only in case"),
        (lone, |m| m["stages"][0]["files"]["model.pkl/x"] = json!("graph.onnx"), "as a folder"),
        (lone, |m| m["stages"][0]["files"]["other"] = json!("model.pkl"), "model.pkl for two things"),
        (lone, |m| m["stages"][0]["files"]["other"] = json!("worker.json"), "worker.json for two things"),
        (lone, |m| m["stages"][0]["files"]["other"] = json!("absent"), "lacks"),
        (lone, |m| m["stages"][0]["files"]["other"] = json!("../bundle.json"), "file that is not plain"),
        (lone, |m| m["stages"][0]["lock"] = json!("absent.txt"), "lacks"),
        (lone, |m| m["stages"][0]["program"] = json!("bundle.json"), "not plain"),
        (lone, |m| m["stages"][0]["inputs"][0]["columns"] = json!(["nobody"]), "no such column"),
        (lone, |m| m["stages"][0]["columns"] = json!([{"name": "a", "type": "int64"}]), "no graph after it"),
        (mixed, |m| drop(m["stages"][0].as_object_mut().unwrap().remove("columns")), "lacks columns"),
        (mixed, |m| m["stages"][0]["columns"][0]["seen"] = json!({}), "training saw"),
        (mixed, |m| m["stages"][0]["columns"][3]["name"] = json!("other"), "\"flag\" into the input \"flag\""),
        (
            mixed,
            |m| m["stages"][0]["columns"][3]["nullable"] = json!(true),
            "as bool; the column \"flag\" in it is float64",
        ),
        (mixed, |m| m["stages"].as_array_mut().unwrap().reverse(), "not its first stage"),
        (mixed, |m| drop(m["stages"].as_array_mut().unwrap().remove(0)), "which is format 1"),
    ];
    for (start, change, words) in cases {
        let mut manifest = start();
        let _folder = bundle(&mut manifest);
        change(&mut manifest);
        let error = Manifest::from_json(&manifest.to_string()).expect_err(words);
        has(&error, Code::BundleDamaged, words);
    }
    let mut twice = mixed();
    let _folder = bundle(&mut twice);
    twice["stages"][0]["columns"][1]["name"] = json!("carrier");
    has(&Manifest::from_json(&twice.to_string()).unwrap_err(), Code::SignatureInvalid, "is there twice");
    let mut three = mixed();
    let _folder = bundle(&mut three);
    let graph = three["stages"][1].clone();
    three["stages"].as_array_mut().unwrap().push(graph);
    has(&Manifest::from_json(&three.to_string()).unwrap_err(), Code::BundleUnsupported, "3 stages");
}

#[test]
fn a_graph_is_compared_with_the_workers_columns() {
    let mut manifest = mixed();
    manifest["stages"][0]["columns"][6]["shape"] = json!([4]);
    let folder = bundle(&mut manifest);
    let error = Bundle::open(folder.path()).unwrap_err();
    has(&error, Code::BundleDamaged, "the input \"vector\" is not float32 of shape [4] a row");
}

#[test]
fn only_a_workers_files_may_be_larger_than_memory_holds() {
    let mut manifest = lone();
    let _folder = bundle(&mut manifest);
    let listed = |name: &str, bytes: u64| {
        let mut manifest = manifest.clone();
        manifest["files"][name]["bytes"] = json!(bytes);
        Manifest::from_json(&manifest.to_string()).map(|_| ())
    };
    listed("weights-1", 1 << 35).unwrap();
    for (name, bytes) in [("graph.onnx", 1 << 31), ("worker.json", 1 << 27), ("requirements.txt", 1 << 27)] {
        has(&listed(name, bytes).unwrap_err(), Code::BundleDamaged, &format!("lists {name} with more than"));
    }
    has(&listed("weights-1", 1 << 41).unwrap_err(), Code::BundleDamaged, "more than");
}

#[test]
fn broken_json_never_panics() {
    let text = mixed().to_string();
    for end in (0..text.len()).step_by(7).filter(|n| text.is_char_boundary(*n)) {
        assert!(Manifest::from_json(&text[..end]).is_err());
    }
    // A stage is read twice, first for its engine: neither time deeper than the stack.
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(100_000);
        assert!(
            Manifest::from_json(&format!("{{\"format\":2,\"stages\":[{{\"engine\":\"worker\",\"x\":{deep}")).is_err()
        );
        assert!(Manifest::from_json(&format!("{{\"format\":2,\"stages\":[{{\"x\":{deep}")).is_err());
    }
    let mut twice = mixed().to_string();
    twice = twice.replacen("\"engine\":\"worker\"", "\"engine\":\"native\",\"engine\":\"worker\"", 1);
    assert!(Manifest::from_json(&twice).unwrap_err().to_string().contains("duplicate field"));
}
