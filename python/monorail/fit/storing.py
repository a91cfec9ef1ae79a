"""What a fit writes: the rows that a trainer reads many times, and a fitted model in a file of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ..errors import InputError
from .learning import Block


@dataclass(frozen=True)
class Stored:
    """The rows of one part in files, as they are in memory: who reads them maps them.

    Attributes:
        path: Of the files, without what tells them apart.
        kind: ``batch``, ``dense`` or ``sparse``.
        dtype: Element type of a matrix.
        shape: Of the whole part.
        start: Number of the first row.
    """

    path: str
    kind: str
    dtype: str
    shape: tuple[int, int]
    start: int

    def blocks(self, max_rows: int) -> Iterator[Block]:
        """The rows in order, at most so many at once."""
        side = self._columns("side")
        matrix = self._matrix() if self.kind != "batch" else None
        batch = self._columns("batch")
        for first in range(0, self.shape[0], max_rows):
            rows = min(max_rows, self.shape[0] - first)
            part = None if batch is None else _one(batch.slice(first, rows))
            target = weight = None
            if side is not None and "target" in side.column_names:
                target = _one(side.slice(first, rows)).column("target")
            if side is not None and "weight" in side.column_names:
                weight = _one(side.slice(first, rows)).column("weight").to_numpy()
            cut = None if matrix is None else matrix[first : first + rows]
            yield Block(part, cut, self.start + first, target, weight)

    def _columns(self, name: str) -> pa.Table | None:
        path = Path(f"{self.path}.{name}.arrow")
        if not path.exists():
            return None
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()

    def _matrix(self) -> Any:
        if not self.shape[0] or not self.shape[1]:
            return np.empty(self.shape, self.dtype)
        if self.kind == "dense":
            return np.memmap(f"{self.path}.data", self.dtype, "r", shape=self.shape)
        import scipy.sparse as sp

        parts = []
        for name, dtype in (("data", self.dtype), ("indices", "<i4"), ("indptr", "<i8")):
            file = Path(f"{self.path}.{name}")
            parts.append(np.memmap(file, dtype, "r") if file.stat().st_size else np.empty(0, dtype))
        return sp.csr_matrix((parts[0], parts[1], parts[2]), shape=self.shape)


def store(blocks: Iterable[Block], folder: Path, start: int) -> Stored:
    """Store blocks, one after the other.

    Args:
        blocks: Of one part.
        folder: Where.
        start: Number of the first row: what tells parts apart.
    """
    path = str(folder / str(start))
    kind, dtype, rows, width = "dense", "<f8", 0, 0
    with _Files(path) as files:
        for block in blocks:
            width = block.width
            if block.batch is not None:
                kind = "batch"
                files.batch("batch", block.batch)
            elif hasattr(block.matrix, "indptr"):
                kind, dtype = "sparse", block.matrix.dtype.str
                files.sparse(block.matrix.tocsr())
            else:
                dtype = block.matrix.dtype.str
                files.raw("data", np.ascontiguousarray(block.matrix))
            files.side(block)
            rows += block.rows
    return Stored(path, kind, dtype, (rows, width), start)


class _Files:
    """Files of one part while they are written. A context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: dict[str, BinaryIO] = {}
        self._writers: dict[str, Any] = {}
        self._stored = 0

    def batch(self, name: str, batch: pa.RecordBatch) -> None:
        """Append columns."""
        if name not in self._writers:
            self._writers[name] = pa.ipc.new_file(f"{self._path}.{name}.arrow", batch.schema)
        self._writers[name].write_batch(batch)

    def raw(self, name: str, values: np.ndarray) -> None:
        """Append an array as it is in memory."""
        if name not in self._open:
            self._open[name] = open(f"{self._path}.{name}", "wb")  # noqa: SIM115 - closed at the end of the block
        self._open[name].write(values.tobytes() if values.size < 1_000 else values.data.cast("B"))

    def sparse(self, matrix: Any) -> None:
        """Append rows of a sparse matrix."""
        if "indptr" not in self._open:
            self.raw("indptr", np.zeros(1, np.int64))
        self.raw("data", matrix.data)
        self.raw("indices", matrix.indices.astype(np.int32, copy=False))
        self.raw("indptr", matrix.indptr[1:].astype(np.int64) + self._stored)
        self._stored += matrix.nnz

    def side(self, block: Block) -> None:
        """Append target and weights."""
        columns: dict[str, pa.Array] = {}
        if block.target is not None:
            columns["target"] = block.target
        if block.weight is not None:
            columns["weight"] = pa.array(block.weight)
        if columns:
            self.batch("side", pa.RecordBatch.from_pydict(columns))

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *reason: object) -> None:
        for file in [*self._open.values(), *self._writers.values()]:
            file.close()


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def check_path(path: str) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        InputError: ``malformed_request``: it is no ``.joblib`` file, or its folder is not there, or is closed.
    """
    folder = Path(path).resolve().parent
    if Path(path).suffix != ".joblib" or not folder.is_dir():
        raise InputError(
            f"{path or repr(path)} cannot be written",
            code="malformed_request",
            hint="name a .joblib file in a folder that is there",
        )
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritten(path, error) from error


def write_model(model: Any, path: str) -> None:
    """Write a fitted model, whole or not at all.

    Args:
        model: The model; its report goes with it.
        path: A ``.joblib`` file.

    Raises:
        InputError: ``malformed_request``: it cannot be written.
    """
    import joblib

    draft = Path(f"{path}.part")
    try:
        joblib.dump(model, draft)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _unwritten(path, error) from error


def _unwritten(path: str, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be written: {error.strerror or error}",
        code="malformed_request",
        hint="name a file in a folder that may be written to and has room",
    )
