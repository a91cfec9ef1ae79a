"""Damaged bundles are refused with the file named, before anything is served; nothing in a bundle is ever run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ServerProcess, from_stream, to_stream

import monorail as mr
from monorail import errors

FILES = ("bundle.json", "graph.onnx", "golden.arrow")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    publish_scorer(folder, "scorer", golden=True)
    return folder


@pytest.fixture
def bundle(registry: Path) -> Path:
    return registry / "scorer" / "1"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # In the manifest a bit that keeps it JSON and changes what it says: a digit of a digest.
    at = data.index(b'"sha256"') + 15 if path.suffix == ".json" else len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    moved = path.rename(path.parent.parent.parent / f"moved-{path.name}")
    path.symlink_to(moved)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: list[Callable[[Path], None]] = [truncate, empty, lengthen, flip, remove, link, make_folder, make_fifo]


def writable(bundle: Path) -> None:
    """Published files may be read-only."""
    bundle.chmod(0o700)
    for path in bundle.iterdir():
        path.chmod(0o600)


def serve_fails(registry: Path, *models: str) -> str:
    """``monorail serve`` that must end with 1, without an address; what it says."""
    server = ServerProcess(registry, *models, wait=False)
    try:
        assert server.wait() == 1, server.stderr
        assert server.out == []
        return server.stderr
    finally:
        server.kill()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_every_file_every_damage(registry, bundle, name, damage):
    writable(bundle)
    damage(bundle / name)
    if (name, damage) in (("bundle.json", lengthen), ("bundle.json", flip)):
        # Still a manifest, perhaps, but not this bundle's.
        expected = "bundle.json|graph.onnx|golden.arrow"
    else:
        expected = name
    for reference in ("scorer@1", str(bundle)):
        with pytest.raises((errors.BundleError, errors.NotFoundError)) as caught:
            mr.load(reference, registry=registry)
        if isinstance(caught.value, errors.BundleError):
            assert caught.value.code == "bundle_damaged"
            assert any(part in str(caught.value) for part in expected.split("|")), str(caught.value)
        else:
            assert (name, damage) in (("bundle.json", remove), ("bundle.json", make_folder), ("bundle.json", link))
    said = serve_fails(registry, "scorer@1")
    if not (name == "bundle.json" and damage in (remove, make_folder, link)):
        assert any(part in said for part in expected.split("|")), said


def test_a_damaged_model_beside_a_good_one_keeps_the_server_from_starting(registry, bundle):
    publish_scorer(registry, "good", golden=True)
    writable(bundle)
    flip(bundle / "graph.onnx")
    assert "graph.onnx" in serve_fails(registry, "good", "scorer")


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and make its digests agree with the files."""
    writable(bundle)
    manifest = json.loads((bundle / "bundle.json").read_text())
    for name, entry in manifest["files"].items():
        data = (bundle / name).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    change(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_golden_rows_that_no_longer_match(registry, bundle):
    """Consistent digests, other answers: it loads, and never becomes ready."""
    writable(bundle)
    path = bundle / "golden.arrow"
    golden = from_stream(path.read_bytes())
    column = "output/probability"
    answers = golden.column(column).to_pylist()
    answers[1][0] += 1e-4
    changed = pa.array(answers, golden.schema.field(column).type)
    path.write_bytes(to_stream(golden.set_column(golden.schema.get_field_index(column), column, changed)))
    rewrite(bundle, lambda manifest: None)
    said = serve_fails(registry, "scorer")
    assert "golden" in said
    assert "row 1" in said
    assert "probability" in said
    with pytest.raises(errors.BundleError) as caught:
        mr.serve("scorer", registry=registry, port=0)
    assert caught.value.code == "golden_mismatch"
    report = mr.load("scorer", registry=registry).check_golden()
    assert not report["matched"]
    assert report["worst_difference"] == pytest.approx(1e-4)


def test_a_golden_label_that_changed(registry, bundle):
    writable(bundle)
    path = bundle / "golden.arrow"
    golden = from_stream(path.read_bytes())
    labels = golden.column("output/label").to_pylist()
    labels[-1] = 1 - labels[-1]
    at = golden.schema.get_field_index("output/label")
    path.write_bytes(to_stream(golden.set_column(at, "output/label", pa.array(labels))))
    rewrite(bundle, lambda manifest: None)
    assert "golden" in serve_fails(registry, "scorer")


@pytest.mark.parametrize(
    "outside", ["../secret", "/etc/hostname", "a/../../secret", "..", ".", "", "sub/file", "a\\b", "a\0b"]
)
@pytest.mark.parametrize("what", ["graph", "golden", "files"])
def test_a_manifest_that_names_other_paths(registry, bundle, outside, what):
    secret = registry / "scorer" / "secret"
    secret.write_bytes((bundle / "graph.onnx").read_bytes())

    def change(manifest: dict[str, Any]) -> None:
        files = manifest["files"]
        if what == "graph":
            files[outside] = files.pop("graph.onnx")
            manifest["stages"][0]["graph"] = outside
        elif what == "golden":
            files[outside] = files.pop("golden.arrow")
            manifest["golden"]["file"] = outside
        else:
            files[outside] = dict(files["graph.onnx"])

    rewrite(bundle, change)
    with pytest.raises(errors.BundleError) as caught:
        mr.load(str(bundle))
    assert caught.value.code == "bundle_damaged"
    assert "bundle.json" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": 0},
        {"format": "1"},
        {"name": "../x"},
        {"version": 0},
        {"version": -1},
        {"stages": []},
        {"signature": {"inputs": [], "outputs": []}},
        {"files": {}},
        {"proof": {}},
        {"proof": None},
    ],
    ids=str,
)
def test_a_manifest_of_another_kind(bundle, change):
    rewrite(bundle, lambda manifest: manifest.update(change))
    with pytest.raises(errors.MonorailError) as caught:
        mr.load(str(bundle))
    assert caught.value.code in ("bundle_damaged", "bundle_unsupported", "signature_invalid")


def test_a_failed_proof_is_not_served_as_if_it_had_passed(bundle):
    rewrite(bundle, lambda manifest: manifest["proof"].update(passed=False))
    with pytest.raises(errors.BundleError):
        mr.load(str(bundle))
    rewrite(bundle, lambda manifest: manifest["proof"].update(unproven=True))
    assert mr.load(str(bundle)).version.proof.unproven


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_bundle_is_run_by_reading_it(registry, bundle, tmp_path):
    """A pickle, a module and a start-up file beside the bundle's own: none is opened, listed or not."""
    touched = tmp_path / "touched"
    writable(bundle)
    (bundle / "model.pkl").write_bytes(pickle.dumps(Trap(touched)))
    code = f"import pathlib; pathlib.Path({str(touched)!r}).touch()\n"
    for name in ("sitecustomize.py", "monorail.py", "__init__.py", "conftest.py", "onnxruntime.py"):
        (bundle / name).write_text(code)
    (bundle / "setup.pth").write_text(f"import pathlib; pathlib.Path({str(touched)!r}).touch()\n")
    row = {"a": 1, "b": 2, "c": 3, "amount": "4"}

    def use() -> None:
        mr.load(str(bundle)).predict(row)
        mr.Registry(registry).version("scorer")
        with ServerProcess(registry, "scorer") as server:
            assert server.predict("scorer", row).status == 200
        for command in ("show", "prove"):
            subprocess.run(
                [sys.executable, "-m", "monorail.cli", command, "scorer", "--registry", str(registry)],
                check=True,
                capture_output=True,
            )

    use()
    # Also where the manifest lists it.
    data = (bundle / "model.pkl").read_bytes()
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    rewrite(bundle, lambda manifest: manifest["files"].update({"model.pkl": entry}))
    use()
    assert not touched.exists()
    pickle.loads(data)
    assert touched.exists(), "the trap must work, or the test shows nothing"


def test_files_that_change_after_they_were_read_change_nothing(registry, bundle):
    """What was compared with the digests is what is used: from memory, not from the file once more."""
    model = mr.load("scorer", registry=registry)
    row = {"a": 1, "b": 2, "c": 3, "amount": "4"}
    before = model.predict(row)
    shutil.rmtree(bundle)
    assert model.predict(row) == before
    assert model.check_golden()["matched"]
