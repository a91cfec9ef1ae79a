"""Folds of rows for cross fitting: the ones that scikit-learn would make, kept as one small number a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FitError
from ..learning import Block

#: Rows up to which the folds are scikit-learn's own; beyond, a row's fold follows from its number.
MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class Folds:
    """In which fold each row is.

    Attributes:
        count: How many folds.
        seed: Decides the folds where there are too many rows to keep them.
        ids: The fold of each row, or None.
    """

    count: int
    seed: int = 0
    ids: np.ndarray | None = field(default=None, compare=False, repr=False)
    digest: str = ""

    @staticmethod
    def known(count: int, ids: np.ndarray) -> Folds:
        """Folds of rows that are few enough to keep the fold of each."""
        return Folds(count, 0, ids, hashlib.sha256(ids.tobytes()).hexdigest())

    def of(self, block: Block) -> np.ndarray:
        """The folds of a block's rows, int64.

        Raises:
            FitError: ``cannot_fit``: nobody knows the numbers of the rows, or there are more than before.
        """
        if block.start < 0 and block.picked is None:
            raise _changed()
        rows = block.row_numbers
        if self.ids is not None:
            if len(rows) and rows.max() >= len(self.ids):
                raise _changed()
            return self.ids[rows].astype(np.int64)
        # SplitMix64: every number of a row gets bits as if thrown.
        mixed = rows.astype(np.uint64) + np.uint64(self.seed)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(self.count)).astype(np.int64)


def _changed() -> FitError:
    return FitError(
        "the rows of the data are not those of the first pass, so their folds are not known",
        code="cannot_fit",
        hint="do not change the data while a model is fitted on it",
    )


def splitter_of(step: Any, classes: bool) -> Any:
    """The splitter of a target encoder.

    Args:
        step: A ``TargetEncoder``.
        classes: Whether its target is of classes.
    """
    from sklearn.model_selection import KFold, StratifiedKFold, check_cv

    if not isinstance(step.cv, int) and step.cv is not None:
        return check_cv(step.cv, classifier=classes)
    shuffle = True if step.shuffle == "deprecated" else step.shuffle
    seed = None if step.random_state == "deprecated" else step.random_state
    kind = StratifiedKFold if classes else KFold
    return kind(5 if step.cv is None else step.cv, shuffle=shuffle, random_state=seed)


def needs_target(step: Any) -> bool:
    """Whether folds depend on the target of each row, should that be of classes."""
    from sklearn.model_selection import KFold

    return type(splitter_of(step, True)) is not KFold


def make_folds(step: Any, rows: int, codes: Callable[[], np.ndarray] | None) -> Folds:
    """The folds of a target encoder.

    Args:
        step: A ``TargetEncoder``.
        rows: How many rows there are.
        codes: Gives the class of each row; None where the target is no class.

    Raises:
        FitError: ``cannot_fit``: the folds do not hold every row once, or scikit-learn refuses to make them.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = splitter_of(step, codes is not None)
    own = type(splitter) in (KFold, StratifiedKFold)
    try:
        count = splitter.get_n_splits()
        if own and rows > MOST_ROWS and splitter.shuffle:
            seed = splitter.random_state
            return Folds(count, seed if isinstance(seed, int) else 0)
        # It takes the number of rows from it, and nothing else.
        X = np.broadcast_to(np.float64(0), (rows, 1))
        if codes is None and isinstance(splitter, StratifiedKFold):
            raise ValueError("StratifiedKFold needs a target of classes, and this one is continuous")
        y = np.broadcast_to(np.float64(0), rows) if codes is None or type(splitter) is KFold else codes()
        ids = np.full(rows, -1, np.int8 if count < 128 else np.int32)
        seen = 0
        for number, (_, test) in enumerate(splitter.split(X, y)):
            ids[test] = number
            seen += len(test)
    except (ValueError, TypeError, IndexError) as error:
        raise FitError(f"the folds of the target encoder cannot be made: {error}", code="cannot_fit") from error
    if seen != rows or (ids < 0).any() or count < 2:
        raise FitError(
            "the folds of the target encoder do not hold every row exactly once",
            code="cannot_fit",
            hint="give cv= a number, or a splitter whose test folds cover all rows without overlap",
        )
    return Folds.known(count, ids)
