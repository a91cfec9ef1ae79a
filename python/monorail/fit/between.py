"""Rows between two steps: how a pass makes them of the raw columns, wherever it runs.

A :class:`Value` is a recipe that can be pickled. What compiles is made by the serving engine, so that later steps learn
from what serving will give them; the rest by the fitted steps' own ``transform``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..adapters.frames import Form, one_batch
from ..data import to_arrow
from .coding import spelt
from .faults import told_by
from .graphs import Graph
from .learning import Block
from .sparse import one_hot, side_by_side


class Given:
    """A batch of raw columns on its way through the steps; what was made of it once is not made again.

    Attributes:
        coded: The raw columns, the target and the weights among them; those in ``text`` may be dictionaries.
        start: Number of its first row, -1 where nobody knows.
        picked: Number of each row where they are not consecutive.
        text: Columns that are text, whatever they were read as.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        start: int = -1,
        picked: np.ndarray | None = None,
        text: Collection[str] = (),
    ) -> None:
        self.coded = batch
        self.text = text
        self.start = start
        self.picked = picked
        self._made: dict[Value, Any] = {}
        self._spelt: dict[str, pa.Array] = {}

    def columns(self, names: Sequence[str]) -> pa.RecordBatch:
        """Raw columns of the types that they have."""
        for name in names:
            if name not in self._spelt:
                self._spelt[name] = spelt(self.coded.column(name), name, self.text)
        return pa.RecordBatch.from_arrays([self._spelt[name] for name in names], names=list(names))

    def rows(self, value: Value) -> Any:
        """What a value is for this batch: a pandas frame or series, or a matrix."""
        if value not in self._made:
            self._made[value] = value.made(self)
        return self._made[value]

    def block(
        self,
        value: Value,
        target: pa.Array | None = None,
        weight: np.ndarray | None = None,
        *,
        coded: bool = False,
    ) -> Block:
        """A value as a block; text may be dictionaries if it may be coded."""
        if isinstance(value, Columns):
            batch = self.coded.select(list(value.names)) if coded else self.columns(value.names)
            return Block(batch, None, self.start, target, weight, self.picked)
        rows = self.rows(value)
        if hasattr(rows, "columns"):
            return Block(one_batch(table_of(rows)), None, self.start, target, weight, self.picked)
        return Block(None, rows, self.start, target, weight, self.picked)


class Value(ABC):
    """What a step is given, for any batch."""

    @abstractmethod
    def made(self, given: Given) -> Any:
        """It, for one batch; see :meth:`Given.rows`."""


class Columns(Value):
    """Raw columns as a pandas frame, or one of them as a series.

    Args:
        names: Of the columns.
        alone: Whether the step is given one column by itself, a series.
        nullable: Columns that hold a null somewhere: of these, whole numbers are floats in every batch.
    """

    def __init__(self, names: Sequence[str], alone: bool = False, nullable: frozenset[str] = frozenset()) -> None:
        self.names = tuple(names)
        self.alone = alone
        self.nullable = nullable

    def made(self, given: Given) -> Any:
        """The frame."""
        frame = frame_of(given.columns(self.names), self.nullable)
        return frame[self.names[0]] if self.alone else frame


class Transformed(Value):
    """What a fitted step gives.

    Args:
        base: What it is given.
        step: The step.
        parts: Of a composite, what its own steps give, to be put side by side; None where only it can say.

    Attributes:
        training: Makes the rows for later steps while training, where that is not ``transform``.
        graph: The step and all before it in the serving engine, where they compile.
    """

    def __init__(self, base: Value, step: Any, parts: Parts | None = None) -> None:
        self.base = base
        self.step = step
        self.parts = parts
        self.training: Callable[[Block], Any] | None = None
        self.graph: Graph | None = None

    @property
    def differs(self) -> bool:
        """Whether while training it is not what the fitted steps would give."""
        inside = self.parts.values if self.parts is not None else ()
        return self.training is not None or any(differs(value) for value in (self.base, *inside))

    def made(self, given: Given) -> Any:
        """What ``transform`` gives: by the engine where that was found to be the same, else by the steps."""
        if self.training is not None:
            with told_by(self.step, doing="cannot transform these rows"):
                return self.training(given.block(self.base))
        if self.graph is not None:
            return self.graph.run(given.coded)
        if self.parts is not None:
            return self.parts.made(given)
        if isinstance(self.base, Columns) and (coded := one_hot(self.step, given.coded, self.base.names)) is not None:
            return coded
        rows = given.rows(self.base)
        with told_by(self.step, doing="cannot transform these rows"):
            return self.step.transform(rows)


class Parts:
    """Values side by side, as a fitted ColumnTransformer or FeatureUnion puts them.

    Args:
        values: The parts, in order.
        sparse: Whether the whole is a sparse matrix.
        weights: A factor for each part, or None.
    """

    def __init__(self, values: Sequence[Value], sparse: bool, weights: Sequence[float | None]) -> None:
        self.values = tuple(values)
        self.sparse = sparse
        self.weights = tuple(weights)

    def made(self, given: Given) -> Any:
        """The matrix."""
        pairs = zip(self.values, self.weights, strict=True)
        parts = [given.rows(value) if weight is None else given.rows(value) * weight for value, weight in pairs]
        return side_by_side(parts, self.sparse)


class Picked(Value):
    """Some features of what an earlier step made.

    Args:
        base: What it made.
        columns: Positions, names, a slice or a mask, as a ColumnTransformer has them.
    """

    def __init__(self, base: Value, columns: Any) -> None:
        self.base = base
        self.columns = columns

    def made(self, given: Given) -> Any:
        """The features."""
        from sklearn.utils import _safe_indexing

        return _safe_indexing(given.rows(self.base), self.columns, axis=1)


def differs(value: Value) -> bool:
    """Whether a value is something else while training."""
    if isinstance(value, Transformed):
        return value.differs
    return isinstance(value, Picked) and differs(value.base)


def table_of(frame: Any) -> pa.Table:
    """A frame that a step gave, as Arrow has it; text and dates of objects, too."""
    return to_arrow(frame)


def frame_of(batch: pa.RecordBatch | pa.Table, nullable: frozenset[str] = frozenset()) -> Any:
    """Raw columns as ``fit`` would be given them in a pandas frame of all rows.

    Args:
        batch: The columns.
        nullable: Those that hold a null somewhere in the data, though not perhaps here.
    """
    words, columns = {}, []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if name in nullable and not column.null_count:
            if pa.types.is_integer(kind):
                column = column.cast(pa.float64(), safe=False)
            elif pa.types.is_boolean(kind):
                words[name] = "object"
        columns.append(column)
    return Form("pandas", words).frame(pa.table(columns, names=batch.schema.names))
