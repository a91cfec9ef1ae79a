"""Models whose outputs are their inputs: what the rules for values made of each value can be seen."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import onnx
import pyarrow as pa
from onnx import TensorProto

from .bundles import ELEMENTS, Port, column, constant, graph, node, output, publish

UTC = datetime.UTC
#: Every type of a signature: its column, the Arrow type, and a value that is fine.
KINDS: dict[str, tuple[dict[str, Any], pa.DataType, Any]] = {
    "b": (column("b", "bool"), pa.bool_(), True),
    "i8": (column("i8", "int8"), pa.int8(), -8),
    "i16": (column("i16", "int16"), pa.int16(), -16),
    "i32": (column("i32", "int32"), pa.int32(), -32),
    "i64": (column("i64", "int64", seen={"null_share": 0.0, "min": -64, "max": 64}), pa.int64(), -64),
    "u8": (column("u8", "uint8"), pa.uint8(), 8),
    "u16": (column("u16", "uint16"), pa.uint16(), 16),
    "u32": (column("u32", "uint32"), pa.uint32(), 32),
    "u64": (column("u64", "uint64"), pa.uint64(), 64),
    "f32": (column("f32", "float32"), pa.float32(), 0.5),
    "f64": (column("f64", "float64", seen={"null_share": 0.0, "min": -1.0, "max": 1.0}), pa.float64(), 0.25),
    "finf": (column("finf", "float64", seen={"null_share": 0.0, "infinity": True}), pa.float64(), 0.75),
    "s": (column("s", "string"), pa.string(), "text"),
    "cat": (
        column("cat", "dictionary", seen={"null_share": 0.0, "distinct": 2, "categories": [["UA", 2], ["B6", 1]]}),
        pa.dictionary(pa.int32(), pa.string()),
        "UA",
    ),
    "day": (column("day", "date32"), pa.date32(), datetime.date(2013, 1, 2)),
    "at": (column("at", "timestamp"), pa.timestamp("us"), datetime.datetime(2013, 1, 2, 3, 4, 5, 678901)),
    "atz": (
        column("atz", "timestamp", zone="UTC"),
        pa.timestamp("us", "UTC"),
        datetime.datetime(2013, 1, 2, 3, 4, 5, 678901, UTC),
    ),
    "vec": (column("vec", "tensor", dtype="float64", shape=[2]), pa.list_(pa.float64(), 2), [1.5, -2.5]),
    "pix": (
        column("pix", "tensor", dtype="uint8", shape=[2, 2]),
        pa.list_(pa.list_(pa.uint8(), 2), 2),
        [[1, 2], [3, 4]],
    ),
}
BASE = {name: value for name, (_, _, value) in KINDS.items()}
SCHEMA = pa.schema([pa.field(name, kind) for name, (_, kind, _) in KINDS.items()])
#: How faults call the type of each column.
DESCRIBED = {
    name: {
        "at": "timestamp without zone",
        "atz": "timestamp with zone UTC",
        "vec": "tensor of float64 with shape [2]",
        "pix": "tensor of uint8 with shape [2, 2]",
    }.get(name, described["type"])
    for name, (described, _, _) in KINDS.items()
}
WHOLE = {"b", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"}
#: Names that JSON or a path must quote, and the words of the request's own forms.
ODD_NAMES = ["rows", "columns", 'q"uote', "né", "back\\slash", "sp ace", "0", "a.b", "[0]"]


def publish_echoes(registry: Path) -> None:
    """All models of this module."""
    publish_echo(registry, "strict", nullable=False)
    publish_echo(registry, "loose", nullable=True)
    _publish_odd(registry)
    _publish_logs(registry)
    _publish_matrix(registry)


def publish_echo(registry: Path, name: str, *, nullable: bool) -> None:
    """One column and one output of the same name for every kind; nullable ones also say ``NAME_valid``."""
    columns: list[dict[str, Any]] = [
        described | {"nullable": nullable and not _is_whole_tensor(described)} for described, _, _ in KINDS.values()
    ]
    inputs: list[Port] = []
    outputs: list[Port] = []
    nodes: list[onnx.NodeProto] = []
    stage: list[dict[str, Any]] = []
    signature: list[dict[str, Any]] = []

    def give(source: str, of: str, kind: str, target: str, size: int | None = None) -> None:
        nodes.append(
            node("Cast", [source], [of], to=ELEMENTS[target]) if kind != target else node("Identity", [source], [of])
        )
        outputs.append((of, target, [size or 1]))
        signature.append(output(of, target, size))

    for described in columns:
        own, kind = described["name"], described["type"]
        feed = f"in_{own}"
        if kind == "tensor":
            shape, element = described["shape"], described["dtype"]
            size = math.prod(shape)
            inputs.append((feed, element, shape))
            stage.append({"name": feed, "type": element, "columns": [own]})
            nodes.append(node("Reshape", [feed, f"flat_{size}"], [f"{feed}_flat"]))
            give(f"{feed}_flat", own, element, "float64", size)
            continue
        element = _element(described)
        inputs.append((feed, element, [1]))
        stage.append({"name": feed, "type": element, "columns": [own]})
        give(feed, own, element, _answer(element))
        if described["nullable"] and kind in ("string", "dictionary", "date32", "timestamp"):
            inputs.append((f"{feed}_valid", "bool", [1]))
            stage.append({"name": f"{feed}_valid", "type": "bool", "valid": own})
            give(f"{feed}_valid", f"{own}_valid", "bool", "bool")
    constants = [constant("flat_2", [-1, 2]), constant("flat_4", [-1, 4])]
    publish(registry, name, graph(inputs, outputs, nodes, constants), columns, signature, stage)


def _is_whole_tensor(described: dict[str, Any]) -> bool:
    return described["type"] == "tensor" and not described["dtype"].startswith("float")


def _element(described: dict[str, Any]) -> str:
    """The element type a column has in the graph."""
    kind = described["type"]
    if kind in ("string", "dictionary"):
        return "string"
    if kind in ("date32", "timestamp"):
        return "int64"
    return "float64" if described["nullable"] and not kind.startswith("float") else kind


def _answer(element: str) -> str:
    """The output type that shows a value of this element type."""
    return element if element in ("bool", "float32", "float64", "string") else "int64"


def _publish_odd(registry: Path) -> None:
    """``y`` is the sum of columns with odd names."""
    publish(
        registry,
        "odd",
        graph(
            [("x", "float64", [len(ODD_NAMES)])],
            [("y", "float64", [1])],
            [node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
            [constant("axis", [1])],
        ),
        [column(name, "float64") for name in ODD_NAMES],
        [output("y", "float64")],
        [{"name": "x", "type": "float64", "columns": ODD_NAMES}],
    )


def _publish_logs(registry: Path) -> None:
    """Logarithms in both precisions: 0 gives minus infinity, less gives NaN."""
    publish(
        registry,
        "logs",
        graph(
            [("x", "float64", [1])],
            [("log", "float64", [1]), ("log32", "float32", [1]), ("both", "float64", [2]), ("same32", "float32", [1])],
            [
                node("Log", ["x"], ["log"]),
                node("Cast", ["log"], ["log32"], to=TensorProto.FLOAT),
                node("Concat", ["x", "log"], ["both"], axis=1),
                node("Cast", ["x"], ["same32"], to=TensorProto.FLOAT),
            ],
        ),
        [column("x", "float64")],
        [
            output("log", "float64"),
            output("log32", "float32"),
            output("both", "float64", 2),
            output("same32", "float32"),
        ],
        [{"name": "x", "type": "float64", "columns": ["x"]}],
    )


def _publish_matrix(registry: Path) -> None:
    """One tensor column ``input``, as a NumPy example gives; ``y`` doubles it."""
    publish(
        registry,
        "matrix",
        graph([("input", "float64", [3])], [("y", "float64", [3])], [node("Add", ["input", "input"], ["y"])]),
        [column("input", "tensor", dtype="float64", shape=[3])],
        [output("y", "float64", 3)],
        [{"name": "input", "type": "float64", "columns": ["input"]}],
    )
