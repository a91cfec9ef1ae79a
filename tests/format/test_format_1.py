"""Format 1 still reads: the golden bundle by the core, its manifest by the schema; damaged copies are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from monorail import _core, errors
from monorail.engine import runtime_library

GOLDEN = Path(__file__).parent / "format_1"
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "bundle.schema.json"
FILES = ("bundle.json", "graph.onnx", "golden.arrow")


def manifest() -> dict[str, Any]:
    return json.loads((GOLDEN / "bundle.json").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))


def conforms(value: dict[str, Any]) -> bool:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_the_golden_bundle_reads() -> None:
    bundle = _core.Bundle(str(GOLDEN))
    assert json.loads(bundle.manifest) == manifest()
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(FILES)


def test_the_golden_rows_give_the_answers_they_came_with() -> None:
    engine = _core.Engine(str(GOLDEN), runtime=runtime_library())
    report = json.loads(engine.check_golden())
    assert report["matched"]
    assert (report["rows"], report["label_mismatches"]) == (5, 0)


def test_the_golden_rows_are_what_the_signature_says() -> None:
    with pa.ipc.open_stream(GOLDEN / "golden.arrow") as reader:
        table = reader.read_all()
    signature = manifest()["signature"]
    expected = [f"input/{c['name']}" for c in signature["inputs"]] + [
        f"output/{c['name']}" for c in signature["outputs"]
    ]
    assert table.column_names == expected
    assert table.num_rows == manifest()["golden"]["rows"]


def test_the_schema_accepts_the_golden_manifest() -> None:
    assert conforms(manifest())


@pytest.mark.parametrize("file", FILES[1:])
def test_a_truncated_file_is_refused_by_name(copy: Path, file: str) -> None:
    path = copy / file
    path.write_bytes(path.read_bytes()[:1234])
    with pytest.raises(errors.BundleError, match=rf"{file} is truncated: 1,234 of ") as caught:
        _core.Bundle(str(copy))
    assert caught.value.code == "bundle_damaged"


@pytest.mark.parametrize("file", FILES[1:])
def test_an_altered_file_is_refused_by_name(copy: Path, file: str) -> None:
    path = copy / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.BundleError, match=f"{file} was altered") as caught:
        _core.Bundle(str(copy))
    assert caught.value.code == "bundle_damaged"


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_by_name(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(errors.BundleError, match=f"{file} is missing"):
        _core.Bundle(str(copy))


def test_a_truncated_manifest_is_refused(copy: Path) -> None:
    path = copy / "bundle.json"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(errors.BundleError, match=r"bundle\.json is truncated"):
        _core.Bundle(str(copy))


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set the field at ``path``, or remove it where ``value`` is the ellipsis."""

    def apply(whole: dict[str, Any]) -> None:
        place: Any = whole
        *way, last = (int(key) if key.isdigit() else key for key in path.split("/"))
        for key in way:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 3),
        ("name", "../up"),
        ("version", 0),
        ("version", "1"),
        ("created", "yesterday"),
        ("row_wise", ...),
        ("proof", ...),
        ("proof/passed", False),
        ("stages", []),
        ("stages/0/engine", "python"),
        ("stages/0/graph", "../graph.onnx"),
        ("stages/0/opsets/custom", 1),
        ("stages/0/inputs/0/later", 1),
        ("stages/0/inputs/0/valid", "carrier"),
        ("signature/inputs/0/type", "decimal"),
        ("signature/inputs/6/shape", ...),
        ("signature/inputs/0/later", 1),
        ("signature/outputs/0/type", "int8"),
        ("golden/rows", 257),
        ("metrics/auc", "good"),
        ("tags/owner", 1),
        ("files/graph.onnx/sha256", "ABC"),
        ("files/graph.onnx/bytes", -1),
    ],
)
def test_schema_and_reader_refuse_the_same(copy: Path, path: str, value: Any) -> None:
    changed = manifest()
    change(path, value)(changed)
    (copy / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
    assert not conforms(changed)
    with pytest.raises(errors.MonorailError) as caught:
        _core.Bundle(str(copy))
    assert caught.value.code in ("bundle_damaged", "bundle_unsupported", "signature_invalid")


@pytest.mark.parametrize("path", ["later", "proof/later", "environment/later", "data/later"])
def test_information_may_be_added(copy: Path, path: str) -> None:
    changed = manifest()
    change(path, {"anything": [1, None]})(changed)
    (copy / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
    assert conforms(changed)
    _core.Bundle(str(copy))


def test_reading_imports_and_executes_nothing(copy: Path) -> None:
    """Files that would run code if anything were imported from a bundle change nothing."""
    for name in ("__init__.py", "graph.py", "model.pkl"):
        (copy / name).write_text("raise SystemExit('executed')\n", encoding="utf-8")
    _core.Bundle(str(copy))
