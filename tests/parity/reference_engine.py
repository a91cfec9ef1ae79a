"""A small engine on onnxruntime's Python package that feeds a graph by the rules of the bundle format.

Slow and simple on purpose: parity tests judge the graph with it, end-to-end tests judge the real engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc

from monorail.compile import Compiled


class ReferenceEngine:
    """Scores Arrow tables with a compiled model."""

    def __init__(self, compiled: Compiled, inputs: list[dict[str, Any]], graph: bytes | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(graph or compiled.to_bytes(), options, ["CPUExecutionProvider"])
        self.stage = compiled.stage
        self.columns = {entry["name"]: entry for entry in inputs}

    def __call__(self, table: pa.Table) -> dict[str, np.ndarray]:
        """The answers for each row, one array an output."""
        outputs = [entry["graph_output"] for entry in self.stage["outputs"]]
        answers = self.session.run(outputs, self.feed(table))
        result = {}
        for entry, values in zip(self.stage["outputs"], answers, strict=True):
            array = np.asarray(values)
            result[entry["name"]] = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        return result

    def feed(self, table: pa.Table) -> dict[str, np.ndarray]:
        """The graph's inputs for a table."""
        fed = {}
        for entry in self.stage["inputs"]:
            if "valid" in entry:
                fed[entry["name"]] = ~_nulls(table[entry["valid"]])[:, None]
            else:
                parts = [self._column(name, table[name]) for name in entry["columns"]]
                fed[entry["name"]] = np.ascontiguousarray(np.concatenate(parts, axis=1))
        return fed

    def _column(self, name: str, values: pa.ChunkedArray) -> np.ndarray:
        kind, nullable = self.columns[name]["type"], self.columns[name]["nullable"]
        if kind in ("string", "dictionary"):
            return np.asarray(pc.fill_null(values.cast(pa.string()), "").to_pylist(), dtype=object)[:, None]
        if kind == "tensor":
            flat = values.combine_chunks()
            flat = flat.flatten() if not isinstance(flat, pa.ChunkedArray) else flat.chunk(0).flatten()
            return flat.to_numpy(zero_copy_only=False).reshape(len(values), -1)
        if kind in ("float32", "float64"):
            return pc.fill_null(values, float("nan")).to_numpy()[:, None]
        if nullable:
            return pc.fill_null(values.cast(pa.float64(), safe=False), float("nan")).to_numpy()[:, None]
        return values.to_numpy()[:, None]


def _nulls(values: pa.ChunkedArray) -> np.ndarray:
    return values.is_null().to_numpy().astype(bool)
