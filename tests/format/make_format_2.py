"""Wrote the golden bundles of format 2, once: `python tests/format/make_format_2.py FOLDER`.

`format_2/worker` is a Python class alone, `format_2/mixed` one whose columns a graph reads. As those of format 1, they
are not made anew: this script is kept to show what is in them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

#: What the worker imports: no pickle, and only what every worker has.
CODE = '''"""What the golden bundles of format 2 run."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Loading:
    """Points by carrier, from a file that came with the model."""

    row_wise = True
    idempotent = True

    def load(self, path):
        self.points = json.loads((Path(path) / "points" / "carriers.json").read_text(encoding="utf-8"))

    def carrier(self, batch):
        return np.array([self.points.get(word, -2.0) for word in batch.column("carrier").to_pylist()])


class Scores(Loading):
    """Label and probability."""

    def predict(self, batch):
        distance = pc.fill_null(batch.column("distance").cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        days = batch.column("day").cast(pa.int32()).to_numpy(zero_copy_only=False)
        vector = np.array(batch.column("vector").to_pylist())
        there = batch.column("when").is_valid().to_numpy(zero_copy_only=False)
        score = self.carrier(batch) + np.clip(distance, -5, 5) / 4 + days * 1e-4 + vector.sum(axis=1) + there
        positive = 1 / (1 + np.exp(-score))
        probability = np.column_stack([1 - positive, positive])
        flat = pa.array(probability.reshape(-1))
        label = np.where(positive > 0.5, "late", "on time")
        return {"label": pa.array(label), "probability": pa.FixedSizeListArray.from_arrays(flat, 2)}


class Features(Loading):
    """What the graph reads: the length of a text, points that may be missing, and the text in lower case."""

    def predict(self, batch):
        carrier = self.carrier(batch)
        texts = batch.column("text").to_pylist()
        return {
            "length": pa.array([None if text is None else len(text) for text in texts], pa.int64()),
            "points": pa.array(carrier, mask=carrier == -2.0),
            "word": pa.array([None if text is None else text.lower() for text in texts], pa.string()),
        }
'''
CARRIERS = {"UA": 0.5, "B6": -1.0, "": 0.125, "Zürich": 3.0}
ROWS: dict[str, pa.Array] = {
    "carrier": pa.array(["UA", "B6", None, "Zürich", "never seen"]),
    "distance": pa.array([4, None, -7, 2**40, 0], pa.int64()),
    "day": pa.array([date(2013, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(1970, 1, 1), date(2000, 6, 15)]),
    "when": pa.array(
        [datetime(2013, 1, 1, 5, 15, tzinfo=UTC), None, datetime(1969, 7, 20, tzinfo=UTC), None, None],
        pa.timestamp("us", "UTC"),
    ),
    "vector": pa.array([[1.0, 2.0], [0.0, 0.5], [4.0, 0.0], [9.0, 9.0], [0.0, 0.0]], pa.list_(pa.float32(), 2)),
}
TEXTS = pa.array(["Late", "", None, "ZÜRICH", "late"])
COLUMNS: dict[str, dict[str, Any]] = {
    "carrier": {"type": "dictionary", "nullable": True},
    "distance": {"type": "int64", "nullable": True, "seen": {"null_share": 0.2, "min": -7, "max": 2**40}},
    "day": {"type": "date32", "nullable": False},
    "when": {"type": "timestamp", "nullable": True, "zone": "UTC"},
    "vector": {"type": "tensor", "nullable": False, "dtype": "float32", "shape": [2]},
    "text": {"type": "string", "nullable": True},
}
ENTERS = {
    "carrier": "string",
    "distance": "float64",
    "day": "int64",
    "when": "int64",
    "vector": "float32",
    "text": "string",
}
LOCK = "numpy==2.4.6 \\\n    --hash=sha256:" + "0" * 64 + "\n"


def points(carrier: str | None) -> float:
    """The points of a carrier."""
    return CARRIERS.get(carrier, -2.0) if carrier is not None else -2.0


def scores() -> tuple[list[str], list[list[float]]]:
    """The answers of `Scores`, without its code."""
    labels, probabilities = [], []
    for carrier, distance, day, when, vector in zip(*(column.to_pylist() for column in ROWS.values()), strict=True):
        days = (day - date(1970, 1, 1)).days
        score = points(carrier) + np.clip(float(distance or 0), -5, 5) / 4 + days * 1e-4 + sum(vector)
        positive = 1 / (1 + np.exp(-(score + (when is not None))))
        labels.append("late" if positive > 0.5 else "on time")
        probabilities.append([1 - positive, positive])
    return labels, probabilities


def graph() -> onnx.ModelProto:
    """`prediction`: length or 0, plus points or 10, plus 100 for the word `late` and 1000 where there is none."""
    node = helper.make_node
    nodes = [
        node("IsNaN", ["length"], ["length_missing"]),
        node("Where", ["length_missing", "zero", "length"], ["length_number"]),
        node("IsNaN", ["points"], ["points_missing"]),
        node("Where", ["points_missing", "ten", "points"], ["points_filled"]),
        node(
            "LabelEncoder",
            ["word"],
            ["word_number"],
            domain="ai.onnx.ml",
            keys_strings=["late"],
            values_tensor=numpy_helper.from_array(np.array([100.0]), "values"),
            default_tensor=numpy_helper.from_array(np.array([0.0]), "default"),
        ),
        node("Where", ["word__valid", "word_number", "thousand"], ["word_filled"]),
        node("Sum", ["length_number", "points_filled", "word_filled"], ["prediction"]),
    ]

    def port(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["rows", 1])

    inputs = [
        port("length", TensorProto.DOUBLE),
        port("points", TensorProto.DOUBLE),
        port("word", TensorProto.STRING),
        port("word__valid", TensorProto.BOOL),
    ]
    values = {"zero": 0.0, "ten": 10.0, "thousand": 1000.0}
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in values.items()]
    return helper.make_model(
        helper.make_graph(nodes, "format_2", inputs, [port("prediction", TensorProto.DOUBLE)], constants),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)],
        producer_name="monorail",
    )


def predictions() -> list[float]:
    """The answers of the mixed model, without its code."""
    answers = []
    for carrier, text in zip(ROWS["carrier"].to_pylist(), TEXTS.to_pylist(), strict=True):
        score = points(carrier)
        answer = float(len(text)) if text is not None else 0.0
        answer += 10.0 if score == -2.0 else score
        answers.append(answer + (1000.0 if text is None else 100.0 * (text.lower() == "late")))
    return answers


def worker(names: list[str]) -> dict[str, Any]:
    """The worker's stage over these columns."""
    inputs: list[dict[str, Any]] = [{"name": name, "type": ENTERS[name], "columns": [name]} for name in names]
    inputs += [
        {"name": f"{name}__valid", "type": "bool", "valid": name}
        for name in names
        if COLUMNS[name]["nullable"] and COLUMNS[name]["type"] != "int64"
    ]
    return {
        "engine": "worker",
        "program": "worker.json",
        "inputs": inputs,
        "files": {"files/golden_worker.py": "code.txt", "files/points/carriers.json": "carriers.json"},
        "idempotent": True,
        "lock": "requirements.txt",
        "reason": "it is a Python class",
    }


def manifest(name: str, signature: dict[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest without its files."""
    return {
        "format": 2,
        "name": name,
        "version": 1,
        "created": "2026-11-22T19:00:00Z",
        "monorail": "0.1.0",
        "signature": signature,
        "row_wise": True,
        "stages": stages,
        "frameworks": {},
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
            "generators": {},
        },
        "golden": {"file": "golden.arrow", "rows": 5},
        "metrics": {},
        "tags": {"owner": "tests"},
        "data": {"rows": 5, "sha256": hashlib.sha256(b"golden").hexdigest()},
    }


def write(folder: Path, described: dict[str, Any], program: dict[str, Any], golden: pa.Table) -> None:
    """Writes one bundle."""
    (folder / "worker.json").write_text(json.dumps(program), encoding="utf-8")
    (folder / "code.txt").write_text(CODE, encoding="utf-8")
    (folder / "carriers.json").write_text(json.dumps(CARRIERS, ensure_ascii=False), encoding="utf-8")
    (folder / "requirements.txt").write_text(LOCK, encoding="utf-8")
    with pa.ipc.new_stream(str(folder / "golden.arrow"), golden.schema) as writer:
        writer.write_table(golden)
    described["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != "bundle.json"
    }
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")


def program(name: str) -> dict[str, Any]:
    """What tells the process to load a class of `golden_worker.py`."""
    return {"kind": "class", "file": None, "import": f"golden_worker:{name}", "folder": "files", "takes": "arrow"}


def main(folder: Path) -> None:
    """Writes both bundles."""
    names = list(ROWS)
    for name in ("worker", "mixed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    labels, probabilities = scores()
    outputs = [
        {"name": "label", "type": "string"},
        {"name": "probability", "type": "float64", "size": 2, "names": ["on time", "late"]},
    ]
    signature = {"inputs": [{"name": name, **COLUMNS[name]} for name in names], "outputs": outputs}
    golden = {f"input/{name}": ROWS[name] for name in names} | {
        "output/label": pa.array(labels),
        "output/probability": pa.array(probabilities, pa.list_(pa.float64(), 2)),
    }
    write(folder / "worker", manifest("worker", signature, [worker(names)]), program("Scores"), pa.table(golden))

    names = ["carrier", "text"]
    stage = worker(names) | {
        "columns": [
            {"name": "length", "type": "int64", "nullable": True},
            {"name": "points", "type": "float64", "nullable": True},
            {"name": "word", "type": "string", "nullable": True},
        ]
    }
    model = graph()
    onnx.checker.check_model(model)
    (folder / "mixed" / "graph.onnx").write_bytes(model.SerializeToString(deterministic=True))
    native = {
        "engine": "native",
        "graph": "graph.onnx",
        "inputs": [
            {"name": "length", "type": "float64", "columns": ["length"]},
            {"name": "points", "type": "float64", "columns": ["points"]},
            {"name": "word", "type": "string", "columns": ["word"]},
            {"name": "word__valid", "type": "bool", "valid": "word"},
        ],
        "outputs": [{"name": "prediction", "graph_output": "prediction"}],
        "opsets": {"ai.onnx": 21, "ai.onnx.ml": 4},
        "runtime": {"onnxruntime": "1.20"},
    }
    signature = {
        "inputs": [{"name": name, **COLUMNS[name]} for name in names],
        "outputs": [{"name": "prediction", "type": "float64"}],
    }
    golden = {
        "input/carrier": ROWS["carrier"],
        "input/text": TEXTS,
        "output/prediction": pa.array(predictions()),
    }
    write(folder / "mixed", manifest("mixed", signature, [stage, native]), program("Features"), pa.table(golden))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
