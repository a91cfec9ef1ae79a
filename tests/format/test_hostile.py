"""Hostile but consistent: bundles with right digests whose graph means harm are refused, with the node named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from monorail import _core, errors

GOLDEN = Path(__file__).parent / "format_1"


def forge(folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of the golden bundle with another graph and digests that agree with it."""
    bundle = Path(shutil.copytree(GOLDEN, folder / "bundle"))
    model = onnx.load_model(str(bundle / "graph.onnx"), load_external_data=False)
    change(model)
    data = model.SerializeToString()
    (bundle / "graph.onnx").write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["files"]["graph.onnx"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


def external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node.add(op_type="Run", domain="custom", output=["ran"], name="runs something")


def custom_import(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="custom", version=1)


def loop(trips: int | None) -> Callable[[onnx.ModelProto], None]:
    """A loop of so many turns, or of as many as there are rows."""

    def change(model: onnx.ModelProto) -> None:
        body = helper.make_graph(
            [helper.make_node("Identity", ["going"], ["goes_on"])],
            "body",
            [
                helper.make_tensor_value_info("turn", TensorProto.INT64, []),
                helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            ],
            [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, [])],
        )
        if trips is None:
            model.graph.node.append(helper.make_node("Size", ["day"], ["trips"]))
        else:
            model.graph.initializer.append(numpy_helper.from_array(np.array(trips), "trips"))
        model.graph.node.append(helper.make_node("Loop", ["trips", ""], [], name="turns", body=body))

    return change


def large_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="large", data_type=TensorProto.DOUBLE, dims=[2**40, 2**40])


def training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "more graphs"


def endless_tree(model: onnx.ModelProto) -> None:
    node = helper.make_node(
        "TreeEnsemble",
        ["numbers"],
        ["sums"],
        domain="ai.onnx.ml",
        name="grows",
        n_targets=1,
        tree_roots=[0],
        nodes_featureids=[0, 0],
        nodes_truenodeids=[1, 0],
        nodes_trueleafs=[0, 0],
        nodes_falsenodeids=[0, 0],
        nodes_falseleafs=[1, 1],
        nodes_modes=numpy_helper.from_array(np.zeros(2, np.uint8)),
        nodes_splits=numpy_helper.from_array(np.zeros(2)),
        leaf_targetids=[0],
        leaf_weights=numpy_helper.from_array(np.zeros(1)),
    )
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external_data, r"lies outside the graph \(location \.\./\.\./\.\./etc/passwd\)"),
        (custom_operator, r'node "runs something" \(Run\): the domain "custom"'),
        (custom_import, 'the domain "custom"'),
        (loop(65_537), r'"turns" \(Loop\).*takes 65537 turns'),
        (loop(None), r'"turns" \(Loop\).*not a constant'),
        (large_tensor, "which no tensor can have"),
        (training, "not ONNX as we know it"),
        (endless_tree, r'"grows" \(TreeEnsemble\).*two branches lead to the node 0'),
    ],
)
def test_a_graph_that_means_harm_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    bundle = forge(tmp_path, change)
    with pytest.raises(errors.BundleError, match=words) as caught:
        _core.Bundle(str(bundle))
    assert caught.value.code == "graph_refused"
    assert "graph.onnx" in caught.value.message


def test_a_graph_that_means_no_harm_is_read(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.doc_string = "another digest"
        loop(10)(model)

    _core.Bundle(str(forge(tmp_path, change)))


def test_what_is_refused_is_never_published(tmp_path: Path) -> None:
    bundle = forge(tmp_path, external_data)
    registry = _core.Registry(str(tmp_path / "registry"))
    draft = registry.draft("hostile")
    for file in ("graph.onnx", "golden.arrow"):
        shutil.copy(bundle / file, draft.path)
    with pytest.raises(errors.BundleError, match="outside the graph"):
        draft.publish((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert json.loads(registry.list()) == []
    draft.discard()
    assert not (tmp_path / "registry" / "hostile").exists()


@pytest.mark.parametrize("name", ["../bundle.json", "/etc/passwd", "..", "a/b", "a\\b", ".hidden", "bundle.json"])
def test_file_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    bundle = forge(tmp_path, lambda model: None)
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"][name] = manifest["files"]["graph.onnx"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(errors.BundleError, match="not plain"):
        _core.Bundle(str(bundle))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    bundle = forge(tmp_path, lambda model: None)
    moved = tmp_path / "elsewhere.onnx"
    (bundle / "graph.onnx").rename(moved)
    (bundle / "graph.onnx").symlink_to(moved)
    with pytest.raises(errors.BundleError, match=r"graph\.onnx cannot be opened"):
        _core.Bundle(str(bundle))
