//! Bundles: the golden one of format 1 reads, and damaged or contradicting ones are refused by name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use monorail_core::bundle::{Bundle, Manifest, Purpose};
use monorail_core::error::{Code, Error};
use serde_json::{Value, json};

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/format_1")
}

fn golden_json() -> Value {
    serde_json::from_str(&fs::read_to_string(golden_folder().join("bundle.json")).unwrap()).unwrap()
}

/// A copy of the golden bundle that a test may damage.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["bundle.json", "graph.onnx", "golden.arrow"] {
        fs::copy(golden_folder().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn refused(folder: &Path) -> Error {
    Bundle::open(folder).expect_err("a damaged bundle was opened")
}

fn has(error: &Error, code: Code, words: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error} does not say: {words}");
}

/// The error for the golden manifest after `change`.
fn refused_manifest(change: impl FnOnce(&mut Value)) -> Error {
    let mut manifest = golden_json();
    change(&mut manifest);
    Manifest::from_json(&manifest.to_string()).expect_err("a contradicting manifest was read")
}

#[test]
fn the_golden_bundle_of_format_1_reads() {
    let bundle = Bundle::open(&golden_folder()).unwrap();
    assert_eq!((bundle.manifest.name.as_str(), bundle.manifest.version), ("golden", 1));
    let graph = bundle.graph.unwrap();
    assert_eq!(graph.bytes, fs::read(golden_folder().join("graph.onnx")).unwrap());
    assert_eq!(bundle.golden.unwrap(), fs::read(golden_folder().join("golden.arrow")).unwrap());
    assert_eq!(graph.facts.nodes, 19);
    let again = serde_json::to_value(&bundle.manifest).unwrap();
    assert_eq!(again, golden_json(), "writing what was read gives something else");
}

#[test]
fn a_draft_reads_without_digests() {
    let mut manifest = golden_json();
    for field in ["name", "version", "files", "proof", "created", "monorail"] {
        manifest.as_object_mut().unwrap().remove(field);
    }
    let bundle = Bundle::from_draft(&golden_folder(), &manifest.to_string(), Purpose::Read).unwrap();
    assert_eq!(bundle.manifest.version, 0);
    assert!(bundle.golden.is_some());
    assert_eq!(Manifest::from_json(&manifest.to_string()).unwrap_err().code(), Code::BundleDamaged);
}

#[test]
fn truncated_files_are_refused_by_name() {
    for file in ["graph.onnx", "golden.arrow"] {
        let folder = copy();
        let path = folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..1_234]).unwrap();
        let expected =
            format!("{file} is truncated: 1,234 of {}", if file == "graph.onnx" { "1,595" } else { "1,864" });
        has(&refused(folder.path()), Code::BundleDamaged, &expected);
    }
    let folder = copy();
    let path = folder.path().join("bundle.json");
    let text = fs::read_to_string(&path).unwrap();
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        fs::write(&path, &text[..length]).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, "bundle.json is truncated");
    }
}

#[test]
fn altered_files_are_refused_by_name() {
    for file in ["graph.onnx", "golden.arrow"] {
        let folder = copy();
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, &format!("{file} was altered"));
        bytes[middle] ^= 1;
        bytes.push(0);
        fs::write(&path, &bytes).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, &format!("{file} is longer than"));
        fs::remove_file(&path).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, &format!("{file} is missing"));
    }
}

#[test]
fn links_and_folders_are_not_followed() {
    for file in ["bundle.json", "graph.onnx"] {
        let folder = copy();
        let path = folder.path().join(file);
        fs::remove_file(&path).unwrap();
        symlink(golden_folder().join(file), &path).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, &format!("{file} cannot be opened"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        has(&refused(folder.path()), Code::BundleDamaged, &format!("{file} is not a regular file"));
    }
}

#[test]
fn another_format_is_unsupported_and_not_damaged() {
    let error = Manifest::from_json(r#"{"format": 3, "something": "else"}"#).unwrap_err();
    has(&error, Code::BundleUnsupported, "format 3; this version reads 1 to 2");
    has(&refused_manifest(|m| m["format"] = json!(0)), Code::BundleUnsupported, "format 0");
    let two = refused_manifest(|m| {
        let stage = m["stages"][0].clone();
        m["stages"].as_array_mut().unwrap().push(stage);
    });
    has(&two, Code::BundleUnsupported, "2 stages");
}

#[test]
fn information_may_be_added_and_meaning_may_not() {
    let mut manifest = golden_json();
    for place in ["", "/proof", "/environment", "/data"] {
        manifest.pointer_mut(place).unwrap()["later"] = json!(1);
    }
    assert!(Manifest::from_json(&manifest.to_string()).is_ok());
    for place in
        ["/stages/0", "/stages/0/inputs/0", "/stages/0/outputs/0", "/golden", "/files/graph.onnx", "/signature"]
    {
        let error = refused_manifest(|m| m.pointer_mut(place).unwrap()["later"] = json!(1));
        has(&error, Code::BundleDamaged, "later");
    }
}

#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 22] = [
        (|m| m["name"] = json!("../up"), "name of a form"),
        (|m| m["version"] = json!(0), "version 0"),
        (|m| m["created"] = json!("yesterday"), "`created`"),
        (|m| m["stages"][0]["graph"] = json!("../graph.onnx"), "not plain"),
        (|m| m["stages"][0]["graph"] = json!("other.onnx"), "lacks"),
        (|m| m["stages"][0]["graph"] = json!("golden.arrow"), "golden.arrow for two things"),
        (|m| m["files"]["/etc/passwd"] = m["files"]["graph.onnx"].clone(), "not plain"),
        (|m| m["files"]["Graph.onnx"] = m["files"]["graph.onnx"].clone(), "upper and lower case"),
        (|m| m["files"]["graph.onnx"]["sha256"] = json!("ABC"), "digest of graph.onnx"),
        (|m| m["files"]["graph.onnx"]["bytes"] = json!(u64::MAX), "more than"),
        (|m| m["golden"]["rows"] = json!(257), "257 golden rows"),
        (|m| m["proof"]["passed"] = json!(false), "proof that failed"),
        (|m| m["stages"][0]["inputs"][0]["columns"] = json!(["nobody"]), "no such column"),
        (|m| m["stages"][0]["inputs"][3]["columns"] = json!(["temp"]), "as bool; the column \"temp\" in it is float64"),
        (|m| m["stages"][0]["inputs"][2]["columns"] = json!(["temp", "temp"]), "twice"),
        (|m| m["stages"][0]["inputs"][4]["columns"] = json!(["day", "when"]), "only numbers are packed"),
        (|m| m["stages"][0]["inputs"][1]["valid"] = json!("flag"), "not a boolean for a nullable"),
        (|m| drop(m["stages"][0]["inputs"].as_array_mut().unwrap().remove(1)), "validity both"),
        (|m| drop(m["stages"][0]["inputs"].as_array_mut().unwrap().remove(0)), "validity both"),
        (|m| m["stages"][0]["inputs"][1]["columns"] = json!(["flag"]), "both columns and valid"),
        (|m| drop(m["stages"][0]["outputs"].as_array_mut().unwrap().remove(0)), "maps no graph output"),
        (|m| m["stages"][0]["outputs"][0]["name"] = json!("other"), "maps no graph output"),
    ];
    for (change, words) in cases {
        has(&refused_manifest(change), Code::BundleDamaged, words);
    }
}

#[test]
fn a_graph_that_is_not_the_manifests_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (|m| m["stages"][0]["opsets"]["ai.onnx"] = json!(20), "operator sets"),
        (|m| m["stages"][0]["inputs"][3]["name"] = json!("other"), "no input \"other\""),
        (|m| drop(m["stages"][0]["inputs"].as_array_mut().unwrap().remove(3)), "nothing feeds"),
        (|m| m["stages"][0]["outputs"][0]["graph_output"] = json!("score"), "no output \"score\""),
        (|m| m["stages"][0]["outputs"][0]["graph_output"] = json!("probability"), "the output \"probability\" is not"),
    ];
    for (change, words) in cases {
        let mut manifest = golden_json();
        change(&mut manifest);
        let error = Bundle::from_draft(&golden_folder(), &manifest.to_string(), Purpose::Read).unwrap_err();
        has(&error, Code::BundleDamaged, words);
    }
}

#[test]
fn broken_json_never_panics() {
    let text = golden_json().to_string();
    for end in (0..text.len()).step_by(7).filter(|n| text.is_char_boundary(*n)) {
        assert!(Manifest::from_json(&text[..end]).is_err());
    }
    assert!(Manifest::from_json(&"[".repeat(100_000)).is_err());
    assert!(Manifest::from_json(&format!("{{\"format\":1,\"x\":{}", "[".repeat(100_000))).is_err());
}
