"""Bundles that mean harm: nothing of theirs runs without a word of trust, and with it only in a process of its own.

Graphs that mean harm are in ``tests/format/test_hostile.py``, manifests in ``test_format_2.py``, damage in
``test_damage.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.process import ServerProcess

import monorail as mr
from monorail import errors
from monorail.cli import main

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0]})


class Doubles:
    """A model that means no harm."""

    def predict(self, batch: pa.RecordBatch) -> dict[str, Any]:
        return {"twice": batch.column("x").to_numpy() * 2}


class Fails:
    """A model that refuses negative numbers."""

    def predict(self, batch: pa.RecordBatch) -> dict[str, Any]:
        values = batch.column("x").to_numpy()
        if (values < 0).any():
            raise LookupError("no such shelf")
        return {"same": values * 1.0}


class Trap:
    """Writes its process's number into a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('pathlib').Path({str(self.path)!r}).write_text(str(__import__('os').getpid()))",)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one model in Python."""
    folder = tmp_path_factory.mktemp("made") / "registry"
    mr.save(Doubles(), "doubles", example=ROWS, registry=folder, quiet=True)
    return folder


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy that only this user can look into."""
    folder = Path(shutil.copytree(made, tmp_path / "registry"))
    folder.chmod(0o700)
    yield folder
    folder.chmod(0o700)


@pytest.fixture
def bundle(registry: Path) -> Path:
    return mr.Registry(registry).version("doubles").path


@pytest.fixture
def trap(bundle: Path, tmp_path: Path) -> Path:
    """Put a trap in the place of the model's pickle, with the right digest; the file it writes."""
    touched = tmp_path / "touched"
    replace(bundle, "model.pkl", pickle.dumps(Trap(touched)))
    return touched


def replace(bundle: Path, name: str, data: bytes, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Rewrite a file of a bundle so that its manifest agrees with it."""
    for path in (bundle, *bundle.iterdir()):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert name in manifest["files"], f"the bundle has {sorted(manifest['files'])}"
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    change(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o711])
def test_a_registry_that_others_reach_is_not_trusted(registry: Path, trap: Path, mode: int):
    registry.chmod(mode)
    with pytest.raises(errors.TrustError) as caught:
        mr.load("doubles", registry=registry)
    assert caught.value.code == "untrusted"
    with pytest.raises(errors.TrustError):
        mr.serve("doubles", registry=registry, port=0)
    assert not trap.exists()


@pytest.mark.parametrize("command", ["serve", "prove", "predict", "show", "list", "export", "alias"])
def test_no_command_runs_code_without_trust(registry: Path, trap: Path, tmp_path: Path, command: str, capsys: Any):
    registry.chmod(0o755)
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": [1.0]}), rows)
    more: dict[str, list[object]] = {
        "serve": ["--port", 0],
        "predict": [rows],
        "export": ["--format", "onnx"],
        "alias": ["champion"],
    }
    named = [] if command == "list" else ["doubles@1"]
    status = main([str(a) for a in (command, *named, *more.get(command, []), "--registry", registry)])
    said = capsys.readouterr().err
    if command in ("serve", "prove", "predict"):
        assert status == 1
        assert "--trust" in said
    assert not trap.exists()


def test_a_copy_of_a_bundle_elsewhere_is_not_trusted(bundle: Path, trap: Path, tmp_path: Path):
    elsewhere = shutil.copytree(bundle, tmp_path / "elsewhere")
    elsewhere.chmod(0o755)
    with pytest.raises(errors.TrustError):
        mr.load(elsewhere)
    assert not trap.exists()


def test_with_trust_it_runs_in_another_process(registry: Path, trap: Path):
    """And so the tests above would have seen it."""
    registry.chmod(0o755)
    with pytest.raises(errors.MonorailError):
        mr.load("doubles", registry=registry, trust=True).predict(ROWS)
    assert trap.exists()
    assert int(trap.read_text()) != os.getpid()


def test_a_pickle_that_was_changed_is_never_opened(registry: Path, bundle: Path, trap: Path):
    data = bytearray((bundle / "model.pkl").read_bytes())
    data[-2] ^= 1
    (bundle / "model.pkl").write_bytes(bytes(data))
    with pytest.raises(errors.BundleError) as caught:
        mr.load("doubles", registry=registry, trust=True)
    assert caught.value.code == "bundle_damaged"
    assert not trap.exists()


def test_code_beside_the_models_own_is_not_run(
    registry: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Modules that lie about in the bundle, or where the server was started, are not found by its workers."""
    touched = tmp_path / "touched"
    code = f"import pathlib; pathlib.Path({str(touched)!r}).touch()\n"
    bundle.chmod(0o755)
    here = tmp_path / "started-here"
    here.mkdir()
    for folder in (bundle, here):
        for name in ("sitecustomize.py", "usercustomize.py", "json.py", "numpy.py", "pyarrow.py", "monorail.py"):
            (folder / name).write_text(code)
        (folder / "more.pth").write_text(code)
    monkeypatch.chdir(here)
    assert mr.load("doubles", registry=registry).predict(ROWS)["twice"].tolist() == [2.0, 4.0, 6.0]
    assert not touched.exists()


def test_files_for_a_worker_are_seen_by_nobody_else(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They lie in a fresh folder of this user's alone, which goes when the model does."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    model = mr.load("doubles", registry=registry)
    laid = [path for path in temporary.iterdir() if path.is_dir()]
    assert laid
    assert [stat.S_IMODE(path.stat().st_mode) for path in laid] == [0o700] * len(laid)
    del model
    assert not [path for path in temporary.iterdir() if path.is_dir()]


def test_a_name_in_a_manifest_is_no_path(bundle: Path):
    data = (bundle / "model.pkl").read_bytes()
    for name in ("../../../outside", "/tmp/outside", "a/b", "..", "a\0b", ""):
        replace(bundle, "model.pkl", data, lambda manifest, name=name: manifest.update(name=name))
        with pytest.raises(errors.MonorailError) as caught:
            mr.Registry(bundle.parent.parent).version(bundle)
        assert caught.value.code in ("bundle_damaged", "name_invalid")


def test_what_a_model_raises_tells_callers_its_words_alone(registry: Path):
    """Neither where the code lies nor how it got there."""
    mr.save(Fails(), "fails", example=ROWS, registry=registry, quiet=True)
    with ServerProcess(registry, "fails") as server:
        answer = server.predict("fails", {"x": -1.0})
        assert answer.status == 500
        assert answer.error["code"] == "worker_failed"
        assert "no such shelf" in answer.error["message"]
        for word in ("Traceback", ".py", "line ", str(registry), "/tmp", "memfd", "0x"):
            assert word not in answer.text
        assert server.predict("fails", {"x": 1.0}).status == 200


@pytest.mark.parametrize("form", ["zip", "tar.gz", "whl"])
def test_archives_are_not_unpacked(bundle: Path, tmp_path: Path, form: str):
    """Neither one that would write beside itself nor an honest one."""
    archive = tmp_path / f"model.{form}"
    if form == "tar.gz":
        with tarfile.open(archive, "w:gz") as made:
            for path in bundle.iterdir():
                made.add(path, arcname=f"../outside-{path.name}")
    else:
        with zipfile.ZipFile(archive, "w") as made:
            for path in bundle.iterdir():
                made.write(path, arcname=f"../outside-{path.name}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.BundleError):
        mr.load(archive, trust=True)
    with pytest.raises(errors.BundleError):
        mr.load(str(archive), trust=True)
    assert main(["serve", str(archive), "--trust", "--port", "0"]) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_addresses_are_not_fetched(registry: Path, tmp_path: Path):
    """A model, an example or rows that are named by an address are looked for on this disk, and not found there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.3)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/model"
        with pytest.raises(errors.BundleError):
            mr.load(address, registry=registry)
        assert main(["serve", address, "--trust", "--port", "0"]) == 1
        assert main(["predict", "doubles", address, "--registry", str(registry)]) == 1
        assert main(["save", f"{address}.joblib", "--trust", "--name", "x", "--example", address]) == 1
        with pytest.raises(TimeoutError):
            listening.accept()
