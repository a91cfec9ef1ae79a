"""The last step: what trains it, and the rows it is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..executors import Executor
from .learning import Block, Inputs, Target


class TrainingRows(Protocol):
    """The rows as the last step gets them, through all steps before it; they can be read again and again.

    Attributes:
        inputs: Names, types and a sample.
        rows: How many.
        target: What the passes found of the target; None where there is none.
        parts: How many parts they come in; a part is read by one worker.
        part_rows: How many rows each part has.
        executor: Where functions run.
    """

    inputs: Inputs
    rows: int
    target: Target | None
    parts: int
    part_rows: Sequence[int]
    executor: Executor

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order, read here; of one part, or of all. ``Block.start`` is known."""
        ...

    def reader(self, part: int) -> Callable[[int], Iterator[Block]]:
        """What reads one part elsewhere (in a training actor, say): it can be pickled, and takes ``max_rows``."""
        ...

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part, on the executor; results in the order of the parts."""
        ...

    def take(self, rows: Any) -> Block:
        """These rows (their numbers, increasing) as one block."""
        ...

    def kept(self) -> TrainingRows:
        """The same rows, stored once as the last step sees them: for trainers that read them many times."""
        ...


class Trainer(ABC):
    """Fits a final estimator on rows that need not fit in memory.

    Args:
        estimator: Not fitted; the trainer fits it in place.
        inputs: What it is fitted on.
    """

    #: Whether it learns from rows with missing values.
    takes_missing = True
    #: Once it is trained: columns whose categories it learnt, in the words of :class:`monorail.adapters.frames.Form`.
    categories: Mapping[str, Any] = {}

    def __init__(self, estimator: Any, inputs: Inputs) -> None:
        self.estimator = estimator
        self.inputs = inputs

    def refusal(self) -> str | None:
        """Why it cannot be fitted so, one line in lower case; None where it can. Asked before any pass."""
        return None

    def rows_wanted(self, rows: int) -> np.ndarray | None:
        """Numbers of the rows, increasing, that :meth:`fit` will take first, where ``rows`` alone says so.

        Asked before the first pass, which may keep those rows as it reads them, so that ``take`` need not read again.
        """
        return None

    @abstractmethod
    def fit(self, rows: TrainingRows) -> None:
        """Train it."""

    def note(self) -> str | None:
        """What the report should say of how it was fitted."""
        return None
