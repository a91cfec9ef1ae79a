"""What fitting in passes is made of: blocks of rows, statistics gathered from them, and learners that ask for those.

A pass reads the data once. Every step that can be fitted in it is a :class:`Learner`, which says which
:class:`Statistic` it wants; equal statistics of the same input are gathered once, however many steps want them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Block:
    """Consecutive rows as one step gets them: named columns, or a matrix.

    Attributes:
        batch: The columns as Arrow has them; None where an earlier step made a matrix.
        matrix: ``[rows, features]``, a NumPy array or a SciPy sparse row matrix; None where there are columns.
        start: Number of the first row in the whole data; -1 while nobody knows.
        target: What is to be learnt, a value a row; None where nothing is.
        weight: Weight of each row, float64; None where all weigh the same.
        picked: Number of each row in the whole data where they are not consecutive: rows that were picked.
    """

    batch: pa.RecordBatch | None
    matrix: Any = None
    start: int = -1
    target: pa.Array | None = None
    weight: np.ndarray | None = None
    picked: np.ndarray | None = None

    @property
    def row_numbers(self) -> np.ndarray:
        """Number of each row in the whole data; only where ``start`` or ``picked`` is known."""
        return np.arange(self.start, self.start + self.rows) if self.picked is None else self.picked

    @cached_property
    def rows(self) -> int:
        """How many rows."""
        return self.batch.num_rows if self.batch is not None else self.matrix.shape[0]

    @cached_property
    def width(self) -> int:
        """How many columns or features."""
        return self.batch.num_columns if self.batch is not None else self.matrix.shape[1]

    def arrow(self, place: int) -> pa.Array:
        """A column as Arrow has it; one of a matrix as float64 of its type, NaN kept."""
        if self.batch is not None:
            return self.batch.column(place)
        column = self.matrix[:, [place]].toarray()[:, 0] if hasattr(self.matrix, "toarray") else self.matrix[:, place]
        return pa.array(np.ascontiguousarray(column))

    def numbers(self, place: int) -> np.ndarray:
        """A column as float64, NaN for null."""
        if self.batch is None:
            return np.asarray(self.arrow(place).to_numpy(zero_copy_only=False), np.float64)
        column = self.batch.column(place)
        if not pa.types.is_float64(column.type):
            column = column.cast(pa.float64(), safe=False)
        if column.null_count:
            column = pc.fill_null(column, float("nan"))
        return column.to_numpy(zero_copy_only=False)

    @cached_property
    def dense(self) -> np.ndarray:
        """All features as ``[rows, features]`` float64, rows first in memory."""
        if self.batch is None:
            matrix = self.matrix.toarray() if hasattr(self.matrix, "toarray") else self.matrix
            return np.ascontiguousarray(matrix, np.float64)
        made = np.empty((self.rows, self.width))
        for place in range(self.width):
            made[:, place] = self.numbers(place)
        return made


@dataclass(frozen=True)
class Inputs:
    """What a step will be fitted on, known before the first pass over it.

    Attributes:
        names: Names of the columns; empty where an earlier step made a matrix without names.
        types: Arrow types of the columns; of a matrix, one type for each feature.
        sample: The first rows (at most 1,000) exactly as ``fit`` would be given them: a pandas frame or a matrix.
            Fitting a copy of the step on it is a way to everything that does not depend on the data.
        target_sample: The target of those rows; None where there is none.
        rows: How many rows the data has; None where only a pass tells.
        target_type: Arrow type of the target.
        weighted: Whether rows have weights.
        listed: Whether the one column of the target was named in a list: ``fit`` would be given a frame of one column.
    """

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    sample: Any
    target_sample: Any = None
    rows: int | None = None
    target_type: pa.DataType | None = None
    weighted: bool = False
    listed: bool = False

    @property
    def width(self) -> int:
        """How many columns or features."""
        return len(self.types)


class Statistic(ABC):
    """Something that is gathered from blocks and merges: a frozen dataclass, so that equal ones are gathered once."""

    @abstractmethod
    def start(self) -> Any:
        """An empty state; it can be pickled."""

    @abstractmethod
    def update(self, state: Any, block: Block) -> Any:
        """The state with a block's rows; it may be the same object, changed."""

    def merge(self, state: Any, later: Any) -> Any:
        """One state of two, ``later`` gathered from rows behind those of ``state``; most states do it themselves."""
        state.merge(later)
        return state


class Learner(ABC):
    """Fits one step from statistics.

    Args:
        step: The step, not fitted; the learner fits it in place.
        inputs: What it is fitted on.
    """

    def __init__(self, step: Any, inputs: Inputs) -> None:
        self.step = step
        self.inputs = inputs

    def refusal(self) -> str | None:
        """Why it cannot be fitted so, one line in lower case; None where it can. Asked before any pass."""
        return None

    @abstractmethod
    def wants(self) -> Sequence[Statistic]:
        """What the next pass should gather; empty once the step is fitted."""

    @abstractmethod
    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what a pass gathered: states, by the statistics that :meth:`wants` named."""

    def note(self) -> str | None:
        """What the report should say of how the step was fitted (a rank error, say)."""
        return None

    def for_training(self) -> Callable[[Block], Any] | None:
        """How later steps see rows while training, where that is not what the fitted step's ``transform`` gives.

        A function that can be pickled, from this step's block to a matrix. Asked once the step is fitted.
        """
        return None


@dataclass(frozen=True)
class Target:
    """What the first pass found of the target.

    Attributes:
        type: Its Arrow type.
        rows: How many rows.
        counts: How often each value is there, in the order of the values; None where there are more than 10,000.
    """

    type: pa.DataType
    rows: int
    counts: Mapping[Any, int] | None = field(default=None)

    @property
    def classes(self) -> np.ndarray:
        """The values in order, as ``numpy.unique`` of the whole target would give them."""
        return np.unique(np.array(list(self.counts or ())))
