"""What a bundle's files and stages are written as: the core takes them, and names and nulls do not meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monorail import _core, errors
from monorail.bundle import writer
from monorail.signature import Column, Output, Signature

COLUMNS = (
    Column("text", "string", nullable=True),
    Column("text__valid", "bool"),
    Column("word", "dictionary"),
    Column("count", "int16", nullable=True),
    Column("flag", "bool", nullable=True),
    Column("day", "date32", nullable=True),
    Column("when", "timestamp", nullable=True, zone="UTC"),
    Column("image", "tensor", dtype="uint8", shape=(2, 2)),
    Column("single", "float32", nullable=True),
)


def described(stages: list[dict[str, Any]]) -> dict[str, Any]:
    signature = Signature(COLUMNS, (Output("label", "string", size=2),))
    return writer.manifest(signature, stages, frameworks={}, environment={}, metrics={}, tags={}, data=DATA)


DATA = {"rows": 0, "sha256": "0" * 64}


def test_a_worker_is_published_with_its_files(tmp_path: Path) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(b"weights")
    registry = _core.Registry(str(tmp_path / "registry"))
    draft = registry.draft("worker")
    files = writer.write_files(
        draft.path,
        {
            "model.pkl": b"1",
            "files/Model.pkl": b"2",
            "files/worker.json": b"3",
            "files/größe": b"4",
            "files/deep/weights.bin": source,
            "file-2": b"5",
        },
    )
    assert len({name.lower() for name in files.values()}) == len(files)
    (draft.path / writer.PROGRAM).write_text("{}", encoding="utf-8")
    (draft.path / writer.LOCK).write_text("numpy==2.4.6\n", encoding="utf-8")
    stage = writer.worker_stage(COLUMNS, files, idempotent=True, reason="it is a test")
    manifest = described([stage])
    manifest["proof"] = {
        "passed": True,
        "unproven": False,
        "rtol": 0.0,
        "atol": 0.0,
        "rows": 0,
        "hard_rows": 0,
        "label_mismatches": 0,
        "worst_difference": 0.0,
    }
    draft.publish(json.dumps(manifest))
    published = json.loads(_core.Bundle(draft.path).manifest)
    assert published["format"] == 2
    assert published["stages"] == [stage]
    assert (draft.path / files["files/deep/weights.bin"]).read_bytes() == b"weights"
    contents = {path: (draft.path / name).read_bytes() for path, name in files.items()}
    assert contents["files/worker.json"] == b"3"
    assert contents["files/Model.pkl"] == b"2"
    with pytest.raises(errors.TrustError) as caught:
        _core.Engine(draft.path, runtime="unused")
    assert caught.value.code == "untrusted"
    assert "it is a test" in caught.value.message


def test_what_is_null_reaches_a_worker() -> None:
    entries = {entry["name"]: entry for entry in writer.worker_stage(COLUMNS, {})["inputs"]}
    assert {name: entry["type"] for name, entry in entries.items()} == {
        "text": "string",
        "text__valid": "bool",
        "text__valid_": "bool",
        "word": "string",
        "count": "float64",
        "flag": "float64",
        "day": "int64",
        "day__valid": "bool",
        "when": "int64",
        "when__valid": "bool",
        "image": "uint8",
        "single": "float32",
    }
    assert entries["text__valid"]["columns"] == ["text__valid"]
    assert entries["text__valid_"]["valid"] == "text"


def test_a_graph_alone_is_the_first_format_and_what_training_saw_stays_with_the_signature() -> None:
    assert described([writer.graph_stage({"inputs": []})])["format"] == 1
    seen = Column("a", "float64", seen={"null_share": 0.0})
    stage = writer.worker_stage(COLUMNS, {}, gives=[seen], locked=False)
    assert stage["columns"] == [{"name": "a", "type": "float64", "nullable": False}]
    assert stage["lock"] is None


def test_a_folder_is_trusted_if_it_is_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    registry = _core.Registry(str(folder))
    assert not registry.is_trusted()
    registry.draft("a")
    assert registry.is_trusted()
    for mode in (0o755, 0o750, 0o701, 0o777, 0o1777):
        folder.chmod(mode)
        assert not registry.is_trusted(), oct(mode)
    folder.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert not _core.Registry(str(link)).is_trusted()
    file = tmp_path / "file"
    file.touch(mode=0o700)
    assert not _core.Registry(str(file)).is_trusted()
