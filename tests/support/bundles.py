"""Hand-made graphs, published as bundles: what a test needs a model to do, and nothing else."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from monorail import _core

OPSETS = {"ai.onnx": 21, "ai.onnx.ml": 4}
PROOF = {
    "passed": True,
    "unproven": False,
    "rtol": 1e-6,
    "atol": 1e-9,
    "rows": 1,
    "hard_rows": 0,
    "label_mismatches": 0,
    "worst_difference": 0.0,
    "refused_by_original": 0,
    "generators": {},
}
ELEMENTS = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}
Port = tuple[str, str, list[int | str]]

node = helper.make_node


def column(name: str, kind: str, *, nullable: bool = False, **more: Any) -> dict[str, Any]:
    """An input column of a signature."""
    return {"name": name, "type": kind, "nullable": nullable, **more}


def output(name: str, kind: str, size: int | None = None) -> dict[str, Any]:
    """An output column of a signature."""
    return {"name": name, "type": kind} | ({} if size is None else {"size": size})


def constant(name: str, values: Any) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(values), name)


def graph(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """A graph's file. A port is a name, an element type, and the dimensions behind the rows."""

    def ports(given: Sequence[Port]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, ELEMENTS[kind], ["rows", *dims]) for n, kind, dims in given]

    model = helper.make_model(
        helper.make_graph(list(nodes), "hand_made", ports(inputs), ports(outputs), list(constants)),
        ir_version=10,
        opset_imports=[
            helper.make_opsetid("" if domain == "ai.onnx" else domain, number) for domain, number in OPSETS.items()
        ],
    )
    return model.SerializeToString()


def publish(
    registry: Path,
    name: str,
    content: bytes,
    columns: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    stage_inputs: Sequence[Mapping[str, Any]],
    *,
    row_wise: bool = True,
    golden: pa.Table | None = None,
    **manifest: Any,
) -> Path:
    """Publish a graph as the next version of ``name``, and give its folder. Its outputs are named as in the graph."""
    draft = _core.Registry(str(registry)).draft(name)
    folder = Path(draft.path)
    (folder / "graph.onnx").write_bytes(content)
    if golden is not None:
        with pa.OSFile(str(folder / "golden.arrow"), "wb") as sink, pa.ipc.new_stream(sink, golden.schema) as writer:
            writer.write_table(golden)
    stage = {
        "engine": "native",
        "graph": "graph.onnx",
        "inputs": list(stage_inputs),
        "outputs": [{"name": o["name"], "graph_output": o["name"]} for o in outputs],
        "opsets": OPSETS,
        "runtime": {"onnxruntime": "1.20"},
    }
    described = {
        "format": 1,
        "created": "2026-01-01T00:00:00Z",
        "monorail": _core.__version__,
        "signature": {"inputs": list(columns), "outputs": list(outputs)},
        "row_wise": row_wise,
        "stages": [stage],
        "frameworks": {},
        "environment": {"python": "3.11.0", "platform": "any", "packages": {}},
        "proof": PROOF,
        "golden": None if golden is None else {"file": "golden.arrow", "rows": len(golden)},
        "metrics": {},
        "tags": {},
        **manifest,
    }
    draft.publish(json.dumps(described))
    return folder


# ---------------------------------------------------------------- models

SCORER_WEIGHTS = np.array([[0.75, -1.5], [-0.3, 0.2], [1.1, 0.4], [0.05, -0.7]])
SCORER_OUTPUTS = [output("label", "int64"), output("probability", "float64", 2), output("single", "float32")]


def publish_scorer(
    registry: Path, name: str, *, busy_ms: float = 0.0, golden: bool = False, shift: float = 0.0
) -> Path:
    """A classifier of ``a``, ``b``, ``c`` (float64) and ``amount`` (string): fails at run time where that is no number.

    Args:
        registry: Where.
        name: The model's.
        busy_ms: What one call of the engine costs besides, however many rows it has.
        golden: Whether it keeps golden rows.
        shift: Added to the score, to tell versions apart.
    """
    nodes = [
        node("Cast", ["amount"], ["amount_number"], to=TensorProto.DOUBLE),
        node("Concat", ["numbers", "amount_number"], ["matrix"], axis=1),
        node("MatMul", ["matrix", "weights"], ["linear"]),
        node("Tanh", ["linear"], ["bent"]),
        node("Sub", ["bent", "shift"], ["shifted"]),
        node("Softmax", ["shifted"], ["probability"], axis=1),
        node("ArgMax", ["probability"], ["label"], axis=1, keepdims=0),
        node("ReduceSum", ["linear", "last_axis"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["single_plain"], to=TensorProto.FLOAT),
    ]
    more, constants = busy_nodes("numbers", busy_ms, "float64")
    nodes += more
    nodes.append(node("Add", ["single_plain", "idle"], ["single"]))
    columns = [column("a", "float64"), column("b", "float64"), column("c", "float64"), column("amount", "string")]
    content = graph(
        [("numbers", "float64", [3]), ("amount", "string", [1])],
        [("label", "int64", []), ("probability", "float64", [2]), ("single", "float32", [])],
        nodes,
        [
            *constants,
            constant("weights", SCORER_WEIGHTS),
            constant("shift", np.array([shift, 0.0])),
            constant("last_axis", np.array([1])),
        ],
    )
    stage_inputs = [
        {"name": "numbers", "type": "float64", "columns": ["a", "b", "c"]},
        {"name": "amount", "type": "string", "columns": ["amount"]},
    ]
    return publish(
        registry,
        name,
        content,
        columns,
        SCORER_OUTPUTS,
        stage_inputs,
        golden=_scorer_golden(shift) if golden else None,
    )


def scorer_answers(matrix: np.ndarray, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, probability and single for a matrix of ``a``, ``b``, ``c``, ``amount``, by NumPy."""
    linear = matrix @ SCORER_WEIGHTS
    scores = np.exp(np.tanh(linear) - np.array([shift, 0.0]))
    probability = scores / scores.sum(axis=1, keepdims=True)
    return probability.argmax(axis=1), probability, linear.sum(axis=1).astype(np.float32)


def _scorer_golden(shift: float) -> pa.Table:
    matrix = np.array([[0.5, -1.0, 2.0, 3.0], [1.5, 0.25, -2.0, -1.0], [0.0, 0.0, 0.0, 0.5]])
    label, probability, single = scorer_answers(matrix, shift)
    return pa.table(
        {
            "input/a": matrix[:, 0],
            "input/b": matrix[:, 1],
            "input/c": matrix[:, 2],
            "input/amount": [f"{value:g}" for value in matrix[:, 3]],
            "output/label": label,
            "output/probability": pa.FixedSizeListArray.from_arrays(pa.array(probability.reshape(-1)), 2),
            "output/single": single,
        }
    )


def publish_slow(registry: Path, name: str, *, busy_ms: float = 1_000.0, golden_rows: int = 0) -> Path:
    """Gives ``x`` back as ``y``; one call of the engine takes about ``busy_ms``, however many rows it has."""
    more, constants = busy_nodes("x", busy_ms, "float64")
    content = graph(
        [("x", "float64", [1])],
        [("y", "float64", [1])],
        [
            *more,
            node("Cast", ["idle"], ["idle_double"], to=TensorProto.DOUBLE),
            node("Add", ["x", "idle_double"], ["y"]),
        ],
        constants,
    )
    values = np.arange(golden_rows, dtype=float)
    return publish(
        registry,
        name,
        content,
        [column("x", "float64")],
        [output("y", "float64")],
        [{"name": "x", "type": "float64", "columns": ["x"]}],
        golden=pa.table({"input/x": values, "output/y": values}) if golden_rows else None,
    )


def publish_mean(registry: Path, name: str, *, busy_ms: float = 0.0) -> Path:
    """``y`` is ``x`` less the mean of the batch: not row-wise, so no batch may be shared."""
    more, constants = busy_nodes("x", busy_ms, "float64")
    content = graph(
        [("x", "float64", [1])],
        [("y", "float64", [1])],
        [
            *more,
            node("Cast", ["idle"], ["idle_double"], to=TensorProto.DOUBLE),
            node("ReduceMean", ["x", "rows_axis"], ["mean"], keepdims=1),
            node("Sub", ["x", "mean"], ["centred"]),
            node("Add", ["centred", "idle_double"], ["y"]),
        ],
        [*constants, constant("rows_axis", np.array([0]))],
    )
    return publish(
        registry,
        name,
        content,
        [column("x", "float64")],
        [output("y", "float64")],
        [{"name": "x", "type": "float64", "columns": ["x"]}],
        row_wise=False,
    )


_SIZE = 512


def busy_nodes(of: str, busy_ms: float, kind: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that take about ``busy_ms`` and give ``idle``, a float32 zero that hangs on the input ``of``.

    A chain of products of a matrix that the input has touched, so that nothing can be worked out beforehand.
    """
    steps = 0 if busy_ms == 0 else max(1, round(busy_ms / _step_ms()))
    if not steps:
        return [], [constant("idle", np.array(0, np.float32))]
    # A rotation of planes keeps the values' size whatever the number of products.
    angle = 0.7
    turn = np.eye(_SIZE, dtype=np.float32)
    for i in range(0, _SIZE, 2):
        turn[i : i + 2, i : i + 2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nodes = [
        node("ReduceMax", [of], ["touched"], keepdims=0),
        node("Cast", ["touched"], ["touched_single"], to=TensorProto.FLOAT),
        node("Clip", ["touched_single", "low", "high"], ["touched_small"]),
        node("Add", ["turn", "touched_small"], ["product_0"]),
        *(node("MatMul", [f"product_{i}", "turn"], [f"product_{i + 1}"]) for i in range(steps)),
        node("ReduceMax", [f"product_{steps}"], ["product"], keepdims=0),
        node("Clip", ["product", "zero", "zero"], ["idle"]),
    ]
    constants = [
        constant("turn", turn),
        constant("low", np.array(-1, np.float32)),
        constant("high", np.array(1, np.float32)),
        constant("zero", np.array(0, np.float32)),
    ]
    return nodes, constants


@functools.cache
def _step_ms() -> float:
    """What one product costs on one thread of ONNX Runtime here, in milliseconds."""
    import onnxruntime

    rng = np.random.default_rng(0)
    steps = 8
    content = graph(
        [("x", "float32", [_SIZE])],
        [("y", "float32", [_SIZE])],
        [
            node("MatMul", ["x" if i == 0 else f"p{i}", "w"], ["y" if i == steps - 1 else f"p{i + 1}"])
            for i in range(steps)
        ],
        [constant("w", np.eye(_SIZE, dtype=np.float32))],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    feed = {"x": rng.random((_SIZE, _SIZE), dtype=np.float32)}
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        session.run(None, feed)
        best = min(best, time.perf_counter() - began)
    return 1e3 * best / steps
