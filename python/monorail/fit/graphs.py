"""Fitted steps as a graph in the serving engine, made while a pipeline is still being fitted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .. import _core
from ..bundle import writer
from ..compile.build import compile_model
from ..data import conform, read_stream, to_numpy
from ..engine import runtime_library
from ..errors import MonorailError
from ..signature import Output, Signature, infer

#: Engines that a thread keeps open.
_OPEN = 8
_here = threading.local()


@dataclasses.dataclass(frozen=True)
class Graph:
    """A compiled prefix of a pipeline; it can be pickled.

    Attributes:
        data: The ONNX file.
        manifest: Text of a ``bundle.json`` for it.
        columns: The raw columns it reads.
        dtype: Element type of the matrix that the steps themselves give.
        digest: What engines are kept by.
    """

    data: bytes
    manifest: str
    columns: tuple[str, ...]
    dtype: str
    digest: str

    def run(self, batch: pa.RecordBatch) -> np.ndarray:
        """The matrix for a batch that has its columns among others.

        Raises:
            InputError: a value that no signature holds, such as a null where there was none before.
        """
        answer = read_stream(_engine(self).predict(batch.select(list(self.columns))))
        return to_numpy(answer.column("features")).astype(self.dtype, copy=False)


def compiled(model: Any, sample: pa.Table, nullable: Iterable[str], expected: Any) -> Graph | None:
    """A fitted transformer as a graph, where it has one that gives the same for a sample.

    Args:
        model: The fitted transformer.
        sample: Raw columns it is given.
        nullable: Those of them that hold a null somewhere.
        expected: What it gives for the sample.

    Returns:
        The graph; None where it does not compile, gives other than a plain dense matrix of numbers, or something else.
    """
    if not isinstance(expected, np.ndarray) or expected.ndim != 2 or expected.dtype.kind not in "iufb":
        return None
    try:
        graph = _compiled(model, sample, nullable, expected)
        same = _same(graph.run(sample.combine_chunks().to_batches()[0]), expected)
    except MonorailError:
        # Steps that serving runs in Python are run in Python here, too.
        return None
    return graph if same else None


def _compiled(model: Any, sample: pa.Table, nullable: Iterable[str], expected: np.ndarray) -> Graph:
    signature = infer(sample, nullable=list(nullable))
    # Infinity is a step's own to refuse.
    columns = tuple(
        dataclasses.replace(column, seen={"infinity": True} if "float" in f"{column.type}{column.dtype}" else None)
        for column in signature.inputs
    )
    signature = Signature(columns)
    made = compile_model(model, signature.to_json()["inputs"])
    described = writer.manifest(
        signature.with_outputs(Output.from_json(output) for output in made.outputs),
        [writer.graph_stage(made.stage)],
        frameworks={},
        environment={"python": "", "packages": {}},
        metrics={},
        tags={},
        data=writer.describe_data(conform(sample.slice(0, 0), signature)),
    )
    data, manifest = made.to_bytes(), json.dumps(described)
    digest = hashlib.sha256(data + manifest.encode()).hexdigest()
    return Graph(data, manifest, tuple(sample.column_names), expected.dtype.str, digest)


def _same(got: np.ndarray, expected: np.ndarray) -> bool:
    if got.shape != expected.shape:
        return False
    return np.allclose(got.astype(np.float64), expected.astype(np.float64), rtol=1e-9, atol=1e-12, equal_nan=True)


def _engine(graph: Graph) -> _core.Engine:
    """The engine of this thread for a graph: threads that share one would wait for its one session."""
    kept: OrderedDict[str, _core.Engine] | None = getattr(_here, "engines", None)
    if kept is None:
        kept = _here.engines = OrderedDict()
    if graph.digest not in kept:
        kept[graph.digest] = _opened(graph)
        while len(kept) > _OPEN:
            kept.popitem(last=False)
    kept.move_to_end(graph.digest)
    return kept[graph.digest]


def _opened(graph: Graph) -> _core.Engine:
    with tempfile.TemporaryDirectory(prefix="monorail-fit-") as folder:
        writer.write_graph(Path(folder), graph.data)
        return _core.Engine(folder, runtime=runtime_library(), threads=1, manifest=graph.manifest)
