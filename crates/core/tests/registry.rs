//! The registry: names, numbers and aliases, also with several processes at once.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monorail_core::error::{Code, Result};
use monorail_core::registry::{Registry, find_root};
use serde_json::Value;

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/format_1")
}

/// The golden manifest without what publishing fills in.
fn manifest_json() -> String {
    let text = fs::read_to_string(golden_folder().join("bundle.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    for field in ["name", "version", "files", "created", "monorail"] {
        manifest.as_object_mut().unwrap().remove(field);
    }
    manifest.to_string()
}

fn save(registry: &Registry, name: &str) -> Result<u64> {
    let draft = registry.draft(name)?;
    for file in ["graph.onnx", "golden.arrow"] {
        fs::copy(golden_folder().join(file), draft.folder().join(file)).unwrap();
    }
    draft.publish(&manifest_json())?;
    Ok(draft.version())
}

fn empty() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path().join("registry"));
    (folder, registry)
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.expect_err("this should have been refused").code()
}

#[test]
fn versions_count_from_1_and_resolve() {
    let (_folder, registry) = empty();
    assert_eq!(registry.list().unwrap(), []);
    assert_eq!(save(&registry, "flights").unwrap(), 1);
    assert_eq!(save(&registry, "flights").unwrap(), 2);
    assert_eq!(save(&registry, "boats").unwrap(), 1);
    let newest = registry.resolve("flights").unwrap();
    assert_eq!((newest.name.as_str(), newest.version), ("flights", 2));
    assert_eq!(newest.folder, registry.root().join("flights/2"));
    assert_eq!(registry.resolve("flights@1").unwrap().version, 1);
    let listed = registry.list().unwrap();
    assert_eq!(listed.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["boats", "flights"]);
    assert_eq!(listed[1].versions.iter().map(|v| v.version).collect::<Vec<_>>(), [1, 2]);
    assert!(listed[1].versions[0].created.ends_with('Z'));
    assert_eq!(code(registry.resolve("flights@3")), Code::UnknownVersion);
    assert_eq!(code(registry.resolve("flights@champion")), Code::UnknownVersion);
    assert_eq!(code(registry.resolve("../flights")), Code::NameInvalid);
    let error = registry.resolve("flight").unwrap_err();
    assert_eq!(error.code(), Code::UnknownModel);
    assert_eq!(error.parts().hint.as_deref(), Some("did you mean \"flights\"?"));
}

#[test]
fn the_folder_is_this_users_alone() {
    let (_folder, registry) = empty();
    assert!(!registry.is_trusted());
    save(&registry, "flights").unwrap();
    assert_eq!(fs::metadata(registry.root()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(registry.is_trusted());
    fs::set_permissions(registry.root(), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(!registry.is_trusted());
}

#[test]
fn a_draft_is_no_version_until_it_is_published() {
    let (_folder, registry) = empty();
    let draft = registry.draft("flights").unwrap();
    assert_eq!((draft.name(), draft.version()), ("flights", 1));
    assert_eq!(code(registry.resolve("flights")), Code::UnknownModel);
    assert_eq!(registry.list().unwrap(), []);
    // Another one meanwhile has the next number.
    assert_eq!(save(&registry, "flights").unwrap(), 2);
    fs::copy(golden_folder().join("graph.onnx"), draft.folder().join("graph.onnx")).unwrap();
    assert_eq!(code(draft.publish(&manifest_json())), Code::BundleDamaged, "without its golden rows");
    assert_eq!(code(draft.publish("{")), Code::BundleDamaged);
    fs::copy(golden_folder().join("golden.arrow"), draft.folder().join("golden.arrow")).unwrap();
    let manifest = draft.publish(&manifest_json()).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version, manifest.files.len()), ("flights", 1, 2));
    assert_eq!(code(draft.publish(&manifest_json())), Code::VersionExists);
    assert_eq!(code(draft.discard()), Code::VersionExists);
    let left: Vec<_> = fs::read_dir(draft.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "temporary files are left: {left:?}");
}

#[test]
fn a_published_number_is_never_used_again() {
    let (_folder, registry) = empty();
    save(&registry, "flights").unwrap();
    save(&registry, "flights").unwrap();
    fs::remove_dir_all(registry.root().join("flights/2")).unwrap();
    assert_eq!(save(&registry, "flights").unwrap(), 3);
    fs::remove_dir_all(registry.root().join("flights")).unwrap();
    assert_eq!(save(&registry, "flights").unwrap(), 4);
}

#[test]
fn a_discarded_draft_leaves_nothing() {
    let (_folder, registry) = empty();
    let draft = registry.draft("Flights").unwrap();
    fs::write(draft.folder().join("half"), "x").unwrap();
    draft.discard().unwrap();
    draft.discard().unwrap();
    assert!(!registry.root().join("Flights").exists());
    assert_eq!(save(&registry, "flights").unwrap(), 1, "the name in another case is free again");
}

#[test]
fn names_that_differ_only_in_case_conflict() {
    let (_folder, registry) = empty();
    save(&registry, "Flights").unwrap();
    assert_eq!(code(registry.draft("flights")), Code::NameConflict);
    assert_eq!(code(registry.draft("FLIGHTS")), Code::NameConflict);
    assert_eq!(code(registry.resolve("flights")), Code::UnknownModel);
    // Also without a claim, as in a registry that was copied together by hand.
    fs::remove_dir_all(registry.root().join(".names")).unwrap();
    assert_eq!(code(registry.draft("flights")), Code::NameConflict);
    for name in ["", "..", ".names", "a/b", "a@1", "é"] {
        assert_eq!(code(registry.draft(name)), Code::NameInvalid, "{name}");
    }
}

#[test]
fn aliases_point_and_move() {
    let (_folder, registry) = empty();
    save(&registry, "flights").unwrap();
    save(&registry, "flights").unwrap();
    registry.set_alias("flights", "champion", 1).unwrap();
    assert_eq!(registry.resolve("flights@champion").unwrap().version, 1);
    registry.set_alias("flights", "champion", 2).unwrap();
    assert_eq!(registry.resolve("flights@champion").unwrap().version, 2);
    assert_eq!(registry.list().unwrap()[0].aliases, [("champion".to_owned(), 2)].into());
    assert_eq!(fs::read_to_string(registry.root().join("flights/aliases/champion")).unwrap(), "2\n");
    assert_eq!(code(registry.set_alias("flights", "champion", 3)), Code::UnknownVersion);
    assert_eq!(code(registry.set_alias("flights", "42", 1)), Code::NameInvalid);
    assert_eq!(code(registry.set_alias("flights", "../../x", 1)), Code::NameInvalid);
    assert_eq!(code(registry.set_alias("trains", "champion", 1)), Code::UnknownModel);
    let error = registry.resolve("flights@other").unwrap_err();
    assert_eq!(error.parts().hint.as_deref(), Some("there are the versions 2, 1, and aliases champion (2)"));
    registry.remove_alias("flights", "champion").unwrap();
    assert_eq!(code(registry.remove_alias("flights", "champion")), Code::UnknownVersion);
    registry.set_alias("flights", "champion", 1).unwrap();
    fs::write(registry.root().join("flights/aliases/champion"), "../../../etc").unwrap();
    assert_eq!(code(registry.resolve("flights@champion")), Code::RegistryUnusable);
}

#[test]
fn links_are_not_followed() {
    let (folder, registry) = empty();
    save(&registry, "flights").unwrap();
    let outside = folder.path().join("outside");
    fs::rename(registry.root().join("flights"), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, registry.root().join("flights")).unwrap();
    assert_eq!(code(registry.resolve("flights")), Code::UnknownModel);
}

#[test]
fn an_unusable_folder_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(code(Registry::new(&file).draft("flights")), Code::RegistryUnusable);
    assert_eq!(code(Registry::new(file.join("below")).draft("flights")), Code::RegistryUnusable);
}

#[test]
fn the_root_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("a/b");
    fs::create_dir_all(&here).unwrap();
    let variable = OsStr::new("/elsewhere");
    assert_eq!(find_root(Some(Path::new("given")), Some(variable), &here), here.join("given"));
    assert_eq!(find_root(None, Some(variable), &here), Path::new("/elsewhere"));
    assert_eq!(find_root(None, None, &here), here.join(".monorail"));
    let above = folder.path().join(".monorail");
    fs::create_dir(&above).unwrap();
    assert_eq!(find_root(None, Some(OsStr::new("")), &here), above);
}

/// Not a test by itself: what the processes of the next test run.
#[test]
fn child() {
    let Ok(root) = std::env::var("MONORAIL_TEST_REGISTRY") else { return };
    let name = std::env::var("MONORAIL_TEST_NAME").unwrap();
    let registry = Registry::new(root);
    for _ in 0..10 {
        match save(&registry, &name) {
            Ok(version) => println!("saved {version}"),
            Err(error) => println!("refused {}", error.code().as_str()),
        }
    }
}

#[test]
fn processes_that_save_at_once_get_different_numbers_and_one_name() {
    let (_folder, registry) = empty();
    let children: Vec<_> = ["Model", "model", "Model", "model"]
        .into_iter()
        .map(|name| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--nocapture"])
                .env("MONORAIL_TEST_REGISTRY", registry.root())
                .env("MONORAIL_TEST_NAME", name)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let (mut versions, mut refused) = (Vec::new(), 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            // The harness may print on the same line before us.
            if let Some((_, version)) = line.split_once("saved ") {
                versions.push(version.parse::<u64>().unwrap());
            } else if line.contains("refused") {
                assert!(line.ends_with("refused name_conflict"), "{line}");
                refused += 1;
            }
        }
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=20).collect::<Vec<_>>());
    assert_eq!(refused, 20);
    let listed = registry.list().unwrap();
    assert_eq!((listed.len(), listed[0].versions.len()), (1, 20));
    for version in 1..=20 {
        let found = registry.resolve(&format!("{}@{version}", listed[0].name)).unwrap();
        monorail_core::bundle::Bundle::open(&found.folder).unwrap();
    }
}

#[test]
fn threads_that_discard_and_draft_at_once_never_share_a_name() {
    let (_folder, registry) = empty();
    std::thread::scope(|scope| {
        for name in ["Model", "model", "MODEL", "mODEL"] {
            let registry = &registry;
            scope.spawn(move || {
                for _ in 0..50 {
                    let Ok(draft) = registry.draft(name) else { continue };
                    let names = fs::read_dir(registry.root()).unwrap().map(|e| e.unwrap().file_name());
                    assert_eq!(names.filter(|n| n != ".names").count(), 1);
                    draft.discard().unwrap();
                }
            });
        }
    });
}
