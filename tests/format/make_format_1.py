"""Wrote the golden bundle of format 1, once: `python tests/format/make_format_1.py FOLDER`.

The files in `format_1/` are what every later version must still read. They are not made anew: this
script is kept to show what is in them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[0.25], [-0.5], [2.0]])
CARRIERS = {"UA": 0.5, "B6": -1.0, "": 0.125, "Zürich": 3.0}
ROWS: list[dict[str, object]] = [
    {"carrier": "UA", "temp": 1.5, "distance": 4, "flag": True, "day": date(2013, 1, 1), "vector": [1.0, 2.0, 3.0]},
    {
        "carrier": "B6",
        "temp": None,
        "distance": None,
        "flag": False,
        "day": date(1969, 12, 31),
        "vector": [0.0, 0.5, -1.0],
    },
    {"carrier": None, "temp": -3.25, "distance": -7, "flag": True, "day": date(2024, 2, 29), "vector": [4.0, 0.0, 0.0]},
    {
        "carrier": "Zürich",
        "temp": 0.0,
        "distance": 2**40,
        "flag": False,
        "day": date(1970, 1, 1),
        "vector": [9.0, 9.0, 9.0],
    },
    {
        "carrier": "never seen",
        "temp": 1e300,
        "distance": 0,
        "flag": True,
        "day": date(2000, 6, 15),
        "vector": [0.0, 0.0, 0.0],
    },
]
WHEN = [
    datetime(2013, 1, 1, 5, 15, tzinfo=UTC),
    None,
    datetime(1969, 7, 20, tzinfo=UTC),
    None,
    datetime(2038, 1, 19, tzinfo=UTC),
]
UNUSED = [1, 2, 3, 4, 5]


def graph() -> onnx.ModelProto:
    """A logistic score over every type of graph input."""

    def constant(name: str, values: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(values, name)

    def feed(name: str, kind: int, width: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["rows", width])

    node = helper.make_node
    nodes = [
        node("IsNaN", ["numbers"], ["numbers_missing"]),
        node("Where", ["numbers_missing", "zero", "numbers"], ["numbers_filled"]),
        node("Clip", ["numbers_filled", "low", "high"], ["numbers_clipped"]),
        node("Cast", ["flag"], ["flag_number"], to=TensorProto.DOUBLE),
        node("Concat", ["numbers_clipped", "flag_number"], ["matrix"], axis=1),
        node("MatMul", ["matrix", "weights"], ["linear"]),
        node(
            "LabelEncoder",
            ["carrier"],
            ["carrier_known"],
            domain="ai.onnx.ml",
            keys_tensor=helper.make_tensor(
                "keys", TensorProto.STRING, [4], np.array([k.encode() for k in CARRIERS], dtype=object)
            ),
            values_tensor=constant("values", np.array(list(CARRIERS.values()))),
            default_tensor=constant("default", np.array([-2.0])),
        ),
        node("Where", ["carrier__valid", "carrier_known", "zero"], ["carrier_number"]),
        node("Cast", ["when__valid"], ["when_number"], to=TensorProto.DOUBLE),
        node("Cast", ["day"], ["day_number"], to=TensorProto.DOUBLE),
        node("Mul", ["day_number", "per_day"], ["day_part"]),
        node("Cast", ["vector"], ["vector_number"], to=TensorProto.DOUBLE),
        node("ReduceSum", ["vector_number", "axis"], ["vector_part"], keepdims=1),
        node("Sum", ["linear", "carrier_number", "when_number", "day_part", "vector_part"], ["score"]),
        node("Sigmoid", ["score"], ["positive"]),
        node("Sub", ["one", "positive"], ["negative"]),
        node("Concat", ["negative", "positive"], ["probability"], axis=1),
        node("Greater", ["positive", "half"], ["is_positive"]),
        node("Cast", ["is_positive"], ["label"], to=TensorProto.INT64),
    ]
    inputs = [
        feed("carrier", TensorProto.STRING, 1),
        feed("carrier__valid", TensorProto.BOOL, 1),
        feed("numbers", TensorProto.DOUBLE, 2),
        feed("flag", TensorProto.BOOL, 1),
        feed("day", TensorProto.INT64, 1),
        feed("when", TensorProto.INT64, 1),
        feed("when__valid", TensorProto.BOOL, 1),
        feed("vector", TensorProto.FLOAT, 3),
    ]
    outputs = [feed("label", TensorProto.INT64, 1), feed("probability", TensorProto.DOUBLE, 2)]
    initializers = [
        constant("zero", np.array(0.0)),
        constant("one", np.array(1.0)),
        constant("half", np.array(0.5)),
        constant("low", np.array(-5.0)),
        constant("high", np.array(5.0)),
        constant("per_day", np.array(1e-4)),
        constant("axis", np.array([1])),
        constant("weights", WEIGHTS),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "format_1", inputs, outputs, initializers),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)],
        producer_name="monorail",
    )


def answer(row: dict[str, object], when: datetime | None) -> tuple[int, list[float]]:
    """The original's answer for one row."""
    temp, distance, day, vector = row["temp"], row["distance"], row["day"], row["vector"]
    if not isinstance(day, date) or not isinstance(vector, list):
        raise TypeError("a row of another form")
    numbers = [float(v) if isinstance(v, int | float) else 0.0 for v in (temp, distance)]
    matrix = np.array([[*np.clip(numbers, -5, 5), float(bool(row["flag"]))]])
    carrier = 0.0 if row["carrier"] is None else CARRIERS.get(str(row["carrier"]), -2.0)
    days = (day - date(1970, 1, 1)).days
    score = (matrix @ WEIGHTS).item() + carrier + (when is not None) + days * 1e-4 + sum(vector)
    positive = 1 / (1 + np.exp(-score))
    return int(positive > 0.5), [1 - positive, positive]


def golden() -> pa.Table:
    """The rows and the original's answers."""
    answers = [answer(row, when) for row, when in zip(ROWS, WHEN, strict=True)]

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row[name] for row in ROWS], kind)

    return pa.table(
        {
            "input/carrier": column("carrier", pa.string()),
            "input/temp": column("temp", pa.float64()),
            "input/distance": column("distance", pa.int64()),
            "input/flag": column("flag", pa.bool_()),
            "input/day": column("day", pa.date32()),
            "input/when": pa.array(WHEN, pa.timestamp("us", "UTC")),
            "input/vector": column("vector", pa.list_(pa.float32(), 3)),
            "input/unused": pa.array(UNUSED, pa.int16()),
            "output/label": pa.array([label for label, _ in answers], pa.int64()),
            "output/probability": pa.array([p for _, p in answers], pa.list_(pa.float64(), 2)),
        }
    )


def manifest(files: dict[str, dict[str, object]]) -> dict[str, object]:
    """The manifest, with every field the format has."""
    inputs = [
        {
            "name": "carrier",
            "type": "dictionary",
            "nullable": True,
            "seen": {"null_share": 0.2, "distinct": 4, "categories": [["UA", 30], ["B6", 20], ["", 1], ["Zürich", 1]]},
        },
        {
            "name": "temp",
            "type": "float64",
            "nullable": True,
            "seen": {"null_share": 0.2, "min": -3.25, "max": 1e300, "quantiles": [-3.25 + i for i in range(32)]},
        },
        {"name": "distance", "type": "int64", "nullable": True, "seen": {"null_share": 0.2, "min": -7, "max": 2**40}},
        {"name": "flag", "type": "bool", "nullable": False},
        {"name": "day", "type": "date32", "nullable": False, "seen": {"null_share": 0.0, "min": -1, "max": 19782}},
        {
            "name": "when",
            "type": "timestamp",
            "zone": "UTC",
            "nullable": True,
            "seen": {"null_share": 0.4, "min": -14256000000000, "max": 2147472000000000},
        },
        {"name": "vector", "type": "tensor", "dtype": "float32", "shape": [3], "nullable": False},
        {"name": "unused", "type": "int16", "nullable": False, "seen": {"null_share": 0.0, "min": 1, "max": 5}},
    ]
    outputs = [
        {"name": "label", "type": "int64"},
        {"name": "probability", "type": "float64", "size": 2, "names": ["0", "1"]},
    ]
    stage = {
        "engine": "native",
        "graph": "graph.onnx",
        "inputs": [
            {"name": "carrier", "type": "string", "columns": ["carrier"]},
            {"name": "carrier__valid", "type": "bool", "valid": "carrier"},
            {"name": "numbers", "type": "float64", "columns": ["temp", "distance"]},
            {"name": "flag", "type": "bool", "columns": ["flag"]},
            {"name": "day", "type": "int64", "columns": ["day"]},
            {"name": "when", "type": "int64", "columns": ["when"]},
            {"name": "when__valid", "type": "bool", "valid": "when"},
            {"name": "vector", "type": "float32", "columns": ["vector"]},
        ],
        "outputs": [{"name": o["name"], "graph_output": o["name"]} for o in outputs],
        "opsets": {"ai.onnx": 21, "ai.onnx.ml": 4},
        "runtime": {"onnxruntime": "1.20"},
    }
    return {
        "format": 1,
        "name": "golden",
        "version": 1,
        "created": "2026-11-22T15:00:00Z",
        "monorail": "0.1.0",
        "signature": {"inputs": inputs, "outputs": outputs},
        "row_wise": True,
        "stages": [stage],
        "frameworks": {"scikit-learn": "1.9.1"},
        "environment": {"python": "3.11.7", "platform": "linux-x86_64", "packages": {"numpy": "2.4.6"}},
        "proof": {
            "passed": True,
            "unproven": False,
            "rtol": 1e-6,
            "atol": 1e-9,
            "rows": 5,
            "hard_rows": 0,
            "label_mismatches": 0,
            "worst_difference": 0.0,
            "refused_by_original": 0,
            "generators": {"null": 0},
        },
        "golden": {"file": "golden.arrow", "rows": len(ROWS)},
        "metrics": {"auc": 0.5},
        "tags": {"owner": "tests"},
        "data": {"rows": len(ROWS), "sha256": hashlib.sha256(b"golden").hexdigest()},
        "files": files,
    }


def main(folder: Path) -> None:
    """Writes the three files."""
    model = graph()
    onnx.checker.check_model(model)
    (folder / "graph.onnx").write_bytes(model.SerializeToString(deterministic=True))
    table = golden()
    with pa.ipc.new_stream(str(folder / "golden.arrow"), table.schema) as writer:
        writer.write_table(table)
    files: dict[str, dict[str, object]] = {}
    for name in ("golden.arrow", "graph.onnx"):
        data = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text = json.dumps(manifest(files), indent=1, ensure_ascii=False)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
