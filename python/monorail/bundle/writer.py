"""Writing a bundle's files into a draft. Names, digests and ``bundle.json`` itself are Rust's."""

from __future__ import annotations

import datetime
import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .. import _core

if TYPE_CHECKING:
    from ..signature import Column, Signature

#: Numbers of the bundle format: of one graph, and of what has a worker. A new number is needed where an old reader
#: would misread a new bundle; what an old reader can ignore without a wrong answer needs none.
FORMAT_GRAPH = 1
FORMAT_WORKER = 2
GRAPH = "graph.onnx"
GOLDEN = "golden.arrow"
PROGRAM = "worker.json"
LOCK = "requirements.txt"
#: Types whose nulls travel in a second input of a stage.
_WITH_VALIDITY = ("string", "dictionary", "date32", "timestamp")
#: Names that files of a bundle may have.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


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


def graph_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The stage of a compiled graph, written to :data:`GRAPH`.

    Args:
        stage: Its inputs, outputs, opsets and runtime.
    """
    return {"engine": "native", "graph": GRAPH, **stage}


def worker_stage(
    columns: Sequence[Column],
    files: Mapping[str, str],
    *,
    gives: Sequence[Column] | None = None,
    idempotent: bool = False,
    locked: bool = True,
    reason: str = "",
) -> dict[str, Any]:
    """The stage of a worker whose program was written to :data:`PROGRAM`.

    Args:
        columns: The signature's inputs; all of them reach the worker.
        files: Paths in the worker's folder and the bundle's files for them, as :func:`write_files` gives them.
        gives: The columns it gives to the graph after it; None where it gives the signature's outputs.
        idempotent: Whether a batch may run again after the process that had it was lost.
        locked: Whether what it needs was written to :data:`LOCK`.
        reason: Why it is not a graph, one line for people.
    """
    stage: dict[str, Any] = {
        "engine": "worker",
        "program": PROGRAM,
        "inputs": _inputs(columns),
        "files": dict(files),
        "idempotent": idempotent,
        "lock": LOCK if locked else None,
        "reason": reason,
    }
    if gives is not None:
        stage["columns"] = [{k: v for k, v in column.to_json().items() if k != "seen"} for column in gives]
    return stage


def _inputs(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """How columns enter a worker: each alone, with a second input where its values cannot say that they are null."""
    entries: list[dict[str, Any]] = [
        {"name": column.name, "type": _element(column), "columns": [column.name]} for column in columns
    ]
    names = {column.name for column in columns}
    for column in columns:
        if column.nullable and column.type in _WITH_VALIDITY:
            name = f"{column.name}__valid"
            while name in names:
                name += "_"
            names.add(name)
            entries.append({"name": name, "type": "bool", "valid": column.name})
    return entries


def _element(column: Column) -> str:
    """The type of a column's values where they enter a stage."""
    if column.type == "tensor":
        return str(column.dtype)
    if column.type == "dictionary":
        return "string"
    if column.type in ("date32", "timestamp"):
        return "int64"
    if column.nullable and column.type not in ("float32", "float64", "string"):
        return "float64"
    return column.type


def write_files(folder: Path, files: Mapping[str, Path | bytes]) -> dict[str, str]:
    """Copy what a worker finds in its folder into a draft, each under a plain name of its own.

    Args:
        folder: The draft's.
        files: By path in the worker's folder, with ``/`` between names: a file to copy, or its content.

    Returns:
        The stage's ``files``.
    """
    names: dict[str, str] = {}
    taken = {GRAPH, GOLDEN, PROGRAM, LOCK, "bundle.json"}
    for number, (path, content) in enumerate(files.items(), 1):
        name = path.rsplit("/", 1)[-1]
        if not _PLAIN.fullmatch(name) or name.lower() in taken:
            name = f"file-{number}"
        while name.lower() in taken:
            name = f"{name}-{number}"
        taken.add(name.lower())
        names[path] = name
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            shutil.copyfile(content, folder / name)
    return names


def manifest(
    signature: Signature,
    stages: Sequence[Mapping[str, Any]],
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
        stages: What runs, in order, as :func:`graph_stage` and :func:`worker_stage` give it.
        frameworks: Versions of the frameworks the model comes from.
        environment: As :func:`~monorail.bundle.environment.environment` gives it.
        metrics: The author's numbers.
        tags: The author's notes.
        data: As :func:`describe_data` gives it.
    """
    now = datetime.datetime.now(datetime.UTC)
    has_worker = any(stage["engine"] == "worker" for stage in stages)
    return {
        "format": FORMAT_WORKER if has_worker else FORMAT_GRAPH,
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "monorail": _core.__version__,
        "signature": signature.to_json(),
        "row_wise": True,
        "stages": [dict(stage) for stage in stages],
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
