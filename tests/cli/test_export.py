"""``monorail export``: the graph as it was saved, and a map that is enough to feed it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import monorail as mr
from monorail.bundle.export import export_onnx
from monorail.errors import BundleError, CompileError


def fed(described: dict, rows: list[dict]) -> dict[str, np.ndarray]:
    """The graph's inputs, by the map alone."""
    inputs = {}
    for entry in described["inputs"]:
        if "valid" in entry:
            inputs[entry["name"]] = np.asarray([[row[entry["valid"]] is not None] for row in rows])
            continue
        cells = [
            [column.get("null") if row[column["name"]] is None else row[column["name"]] for column in entry["columns"]]
            for row in rows
        ]
        dtype = object if entry["type"] == "string" else entry["type"]
        inputs[entry["name"]] = np.asarray(cells, dtype=dtype).reshape(len(rows), *entry["shape"])
    return inputs


def test_the_map_is_enough_to_run_the_graph(monorail, registry: Path, frame: pd.DataFrame, tmp_path: Path):
    ran = monorail("export", "flights@champion", "--format", "onnx", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.split() == ["flights-1.onnx", "flights-1.json"]
    described = json.loads(Path("flights-1.json").read_text())
    graph = Path("flights-1.onnx").read_bytes()
    assert (described["graph"], described["model"], described["version"]) == ("flights-1.onnx", "flights", 1)
    assert described["sha256"] == hashlib.sha256(graph).hexdigest()
    rows = json.loads(str(frame.head(50).to_json(orient="records")))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output["graph_output"] for output in described["outputs"]]
    answers = dict(
        zip((o["name"] for o in described["outputs"]), session.run(names, fed(described, rows)), strict=True)
    )
    expected = mr.load("flights@1", registry=registry).predict(rows)
    assert np.asarray(answers["label"]).ravel().tolist() == [row["label"] for row in expected]
    assert np.allclose(np.asarray(answers["probability"]), [row["probability"] for row in expected], rtol=0, atol=1e-12)
    assert next(o for o in described["outputs"] if o["name"] == "probability")["names"] == ["late", "ok"]


def test_where_it_goes(monorail, registry: Path, tmp_path: Path):
    ran = monorail("export", "flights", "--format", "onnx", "--registry", registry, "--output", "m.onnx", "--json")
    assert json.loads(ran.out) == {"graph": "m.onnx", "map": "m.json"}
    assert Path("m.onnx").exists()
    assert Path("m.json").exists()
    ran = monorail("export", "flights", "--format", "onnx", "--registry", registry, "--output", "none/m.onnx")
    assert (ran.status, ran.out) == (1, "")
    assert "none/m.onnx cannot be written" in ran.err
    ran = monorail("export", "flights", "--format", "onnx", "--registry", registry, "--output", "m.json")
    assert ran.status == 1
    assert "ends in .onnx" in ran.err


def test_other_formats_are_refused(monorail, registry: Path):
    assert monorail("export", "flights", "--format", "pickle", "--registry", registry).status == 1
    with pytest.raises(mr.errors.InputError):
        mr.Registry(registry).version("flights").export("m.pkl", format="pickle")


def test_a_graph_that_was_changed_is_refused(registry: Path, tmp_path: Path):
    version = mr.Registry(registry).version("flights")
    files = {**version.manifest["files"], "graph.onnx": {"sha256": "0" * 64, "bytes": 1}}
    other = mr.Version(version.name, version.version, version.path, {**version.manifest, "files": files})
    with pytest.raises(BundleError, match="not the file that was saved"):
        export_onnx(other, tmp_path / "m.onnx")


@pytest.mark.parametrize("follows", [False, True])
def test_what_needs_a_worker_is_refused(registry: Path, tmp_path: Path, follows: bool):
    version = mr.Registry(registry).version("flights")
    worker = {"engine": "worker", "reason": "`model` (local.Thing): no converter is known for this class"}
    stages = [worker, *(version.manifest["stages"] if follows else [])]
    other = mr.Version(version.name, version.version, version.path, {**version.manifest, "stages": stages})
    with pytest.raises(CompileError, match="no converter is known") as caught:
        other.export(tmp_path / "m.onnx")
    assert caught.value.code == "cannot_compile"
    assert not (tmp_path / "m.onnx").exists()
