"""Rows for a trainer, out of a matrix or a table that is in memory: what stands for a pipeline's rows in tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone

from monorail.adapters.frames import Form
from monorail.executors import Executor
from monorail.executors.local import LocalExecutor
from monorail.fit.learning import Block, Inputs, Target
from monorail.fit.registry import trainer_for
from monorail.fit.training import TrainingRows

#: More values of a target than this are not counted, as in a real pass.
COUNTED_VALUES = 10_000


@dataclass(frozen=True)
class Part:
    """Consecutive rows; it can be pickled."""

    data: Any
    target: pa.Array | None
    weight: np.ndarray | None
    start: int

    @property
    def rows(self) -> int:
        return self.data.num_rows if isinstance(self.data, pa.Table) else self.data.shape[0]

    def piece(self, begin: int, end: int) -> Block:
        """Rows ``begin`` to ``end`` of this part."""
        target = None if self.target is None else self.target.slice(begin, end - begin)
        weight = None if self.weight is None else self.weight[begin:end]
        if isinstance(self.data, pa.Table):
            batch = self.data.slice(begin, end - begin).combine_chunks()
            return Block(_batch(batch), None, self.start + begin, target, weight)
        return Block(None, self.data[begin:end], self.start + begin, target, weight)

    def blocks(self, max_rows: int) -> Iterator[Block]:
        for begin in range(0, self.rows, max_rows):
            yield self.piece(begin, min(begin + max_rows, self.rows))


class MadeRows(TrainingRows):
    """A :class:`monorail.fit.training.TrainingRows` over what is in memory.

    Args:
        data: ``[rows, features]``, a NumPy array or a SciPy sparse row matrix; or an Arrow table, for an estimator that
            is given the columns themselves.
        target: A value a row, NumPy or Arrow; None where nothing is to be learnt.
        weight: Weight of each row.
        parts: Into how many parts the rows are cut, or the first row of each part.
        max_rows: Rows of a block, at most, whatever a reader asks for.
        names: Names of the matrix' features.
        executor: Where ``map`` runs; default: two threads.
    """

    def __init__(
        self,
        data: Any,
        target: Any = None,
        *,
        weight: Any = None,
        parts: int | Sequence[int] = 3,
        max_rows: int = 1_000,
        names: Sequence[str] = (),
        executor: Executor | None = None,
    ) -> None:
        self.data = data.combine_chunks() if isinstance(data, pa.Table) else data
        self.rows = data.num_rows if isinstance(data, pa.Table) else data.shape[0]
        column = None if target is None else _array(target)
        weight = None if weight is None else np.asarray(weight, np.float64)
        if isinstance(parts, int):
            parts = sorted({self.rows * part // parts for part in range(parts)})
        ends = [*parts[1:], self.rows]
        self.pieces = [self._part(begin, end, column, weight) for begin, end in zip(parts, ends, strict=True)]
        self.parts = len(self.pieces)
        self.part_rows = [piece.rows for piece in self.pieces]
        self.max_rows = max_rows
        self.executor = executor or LocalExecutor(2)
        self.target = None if column is None else found(column)
        self.inputs = self._inputs(names, column, weight is not None)
        self.reads = 0

    def _part(self, begin: int, end: int, target: pa.Array | None, weight: np.ndarray | None) -> Part:
        data = self.data.slice(begin, end - begin) if isinstance(self.data, pa.Table) else self.data[begin:end]
        cut = None if target is None else target.slice(begin, end - begin)
        return Part(data, cut, None if weight is None else weight[begin:end], begin)

    def _inputs(self, names: Sequence[str], target: pa.Array | None, weighted: bool) -> Inputs:
        given = None if target is None else target.slice(0, 1_000)
        kind = None if target is None else target.type
        if isinstance(self.data, pa.Table):
            sample = Form("pandas").frame(self.data.slice(0, 1_000))
            return Inputs(
                tuple(self.data.column_names), tuple(self.data.schema.types), sample, given, self.rows, kind, weighted
            )
        types = (pa.from_numpy_dtype(self.data.dtype),) * self.data.shape[1]
        return Inputs(tuple(names), types, self.data[:1_000], given, self.rows, kind, weighted)

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order; of one part, or of all."""
        for piece in self.pieces if part is None else [self.pieces[part]]:
            self.reads += piece.rows
            yield from piece.blocks(min(max_rows, self.max_rows))

    def reader(self, part: int) -> Callable[[int], Iterator[Block]]:
        """What reads one part elsewhere."""
        return functools.partial(_read, self.pieces[part], self.max_rows)

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part, on the executor."""
        return self.executor.map(functools.partial(_run, function, self.max_rows), self.pieces, shared=shared)

    def take(self, rows: Any) -> Block:
        """These rows, their numbers increasing, as one block."""
        rows = np.asarray(rows)
        targets = [piece.target for piece in self.pieces if piece.target is not None]
        weights = [piece.weight for piece in self.pieces if piece.weight is not None]
        target = pa.concat_arrays(targets).take(pa.array(rows)) if targets else None
        weight = np.concatenate(weights)[rows] if weights else None
        if isinstance(self.data, pa.Table):
            return Block(_batch(self.data.take(pa.array(rows)).combine_chunks()), None, -1, target, weight)
        return Block(None, self.data[rows], -1, target, weight)

    def kept(self) -> TrainingRows:
        """Itself: the rows are in memory already."""
        return self


def trained(estimator: Any, rows: TrainingRows) -> Any:
    """A copy of the estimator, fitted by its trainer."""
    copy: Any = clone(estimator)
    kind = trainer_for(copy)
    assert kind is not None, f"no trainer of {type(copy).__name__}"
    trainer = kind(copy, rows.inputs)
    assert trainer.refusal() is None
    trainer.fit(rows)
    return copy


def plainly(estimator: Any, *data: Any, **more: Any) -> Any:
    """A copy of the estimator, fitted by its own ``fit``."""
    copy: Any = clone(estimator)
    return copy.fit(*data, **more)


def refusal(estimator: Any, rows: TrainingRows) -> str:
    """Why the estimator's trainer refuses it; empty where it does not."""
    kind = trainer_for(estimator)
    assert kind is not None, f"no trainer of {type(estimator).__name__}"
    return kind(estimator, rows.inputs).refusal() or ""


def found(target: pa.Array) -> Target:
    """What a pass would have found of a target."""
    if pa.types.is_nested(target.type):
        return Target(target.type, len(target))
    counts = {pair["values"]: pair["counts"] for pair in target.drop_null().value_counts().to_pylist()}
    if len(counts) > COUNTED_VALUES:
        return Target(target.type, len(target))
    return Target(target.type, len(target), {value: counts[value] for value in sorted(counts)})


def _read(part: Part, most: int, max_rows: int) -> Iterator[Block]:
    return part.blocks(min(most, max_rows))


def _run(function: Callable[[Any, Iterator[Block]], Any], max_rows: int, shared: Any, part: Part) -> Any:
    return function(shared, part.blocks(max_rows))


def _array(values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.array(values)


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.to_batches()
    return (
        batches[0]
        if batches
        else pa.RecordBatch.from_arrays([pa.array([], f.type) for f in table.schema], schema=table.schema)
    )
