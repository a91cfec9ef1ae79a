"""Writing a bundle's files into a draft. Names, digests and ``bundle.json`` itself are Rust's."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .. import _core

if TYPE_CHECKING:
    from ..signature import Signature

#: Number of the bundle format. Raise it when an old reader would misread a new bundle; what an old reader can ignore
#: without a wrong answer does not raise it. Readers of older numbers stay, with their tests.
FORMAT = 1
GRAPH = "graph.onnx"
GOLDEN = "golden.arrow"


def write_graph(folder: Path, graph: bytes) -> None:
    """Write the graph."""
    (folder / GRAPH).write_bytes(graph)


def write_golden(folder: Path, golden: pa.Table | None) -> dict[str, Any] | None:
    """Write the golden rows as an uncompressed Arrow stream.

    Args:
        folder: The draft's.
        golden: Columns ``input/NAME`` and ``output/NAME``, or None to keep none.

    Returns:
        The manifest's ``golden``.
    """
    if golden is None or not len(golden):
        return None
    with pa.OSFile(str(folder / GOLDEN), "wb") as sink, pa.ipc.new_stream(sink, golden.schema) as writer:
        writer.write_table(golden.combine_chunks())
    return {"file": GOLDEN, "rows": len(golden)}


def manifest(
    signature: Signature,
    stage: Mapping[str, Any],
    *,
    frameworks: Mapping[str, str],
    environment: Mapping[str, Any],
    metrics: Mapping[str, Any],
    tags: Mapping[str, Any],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """``bundle.json`` before the proof, and without what publishing fills in (``name``, ``version``, ``files``).

    The proof adds ``row_wise``, ``proof`` and ``golden``.

    Args:
        signature: Inputs and outputs.
        stage: The graph's inputs, outputs, opsets and runtime.
        frameworks: Versions of the frameworks the model comes from.
        environment: As :func:`~monorail.bundle.environment.environment` gives it.
        metrics: The author's numbers.
        tags: The author's notes.
        data: As :func:`describe_data` gives it.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        "format": FORMAT,
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "monorail": _core.__version__,
        "signature": signature.to_json(),
        "row_wise": True,
        "stages": [{"engine": "native", "graph": GRAPH, **stage}],
        "frameworks": dict(frameworks),
        "environment": dict(environment),
        "golden": None,
        "metrics": dict(metrics),
        "tags": dict(tags),
        "data": dict(data),
    }


def describe_data(table: pa.Table) -> dict[str, Any]:
    """Row count and digest of the rows a model was described with: the same rows give the same digest."""
    digest = hashlib.sha256()
    with pa.PythonFile(_Digesting(digest), mode="w") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return {"rows": len(table), "sha256": digest.hexdigest()}


class _Digesting:
    """A file that keeps nothing but a digest of what is written."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._written = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
