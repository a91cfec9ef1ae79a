"""The statistics that learners share: numbers, quantiles and counts of one column, numbers of all features at once.

Each is a frozen dataclass; what it gathers is a state that merges and can be pickled. A state does not depend on how
its rows were cut into blocks; rows merge in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import FitError
from .features import Features
from .learning import Block, Statistic
from .states import Counts, Numbers, Order, Quantiles

#: Different values of a column that are counted exactly: each takes memory in every worker.
MOST_VALUES = 5_000_000

__all__ = [
    "Counts",
    "ExactQuantiles",
    "FeatureSummary",
    "Features",
    "NumberSummary",
    "Numbers",
    "Order",
    "QuantileSketch",
    "Quantiles",
    "ValueCounts",
    "check_distinct",
    "quantiles",
    "ranks",
]


@dataclass(frozen=True)
class NumberSummary(Statistic):
    """Count, nulls, extremes, mean and squared deviations of a column of numbers, dates or times.

    Attributes:
        place: Which column.
    """

    place: int

    def start(self) -> Numbers:
        """An empty state."""
        return Numbers()

    def update(self, state: Numbers, block: Block) -> Numbers:
        """The state with a block's rows."""
        state.update(block.arrow(self.place))
        return state


@dataclass(frozen=True)
class FeatureSummary(Statistic):
    """The numbers of every feature at once, for matrices, sparse ones too, and for columns that are all numbers."""

    def start(self) -> Features:
        """An empty state."""
        return Features()

    def update(self, state: Features, block: Block) -> Features:
        """The state with a block's rows."""
        state.update(block.matrix if hasattr(block.matrix, "toarray") else block.dense)
        return state


@dataclass(frozen=True)
class QuantileSketch(Statistic):
    """The values of a column of numbers in order, roughly; see :class:`Quantiles`.

    Attributes:
        place: Which column.
    """

    place: int

    def start(self) -> Quantiles:
        """An empty state."""
        return Quantiles()

    def update(self, state: Quantiles, block: Block) -> Quantiles:
        """The state with a block's rows."""
        state.update(block.arrow(self.place))
        return state


@dataclass(frozen=True)
class ExactQuantiles(Statistic):
    """The exact values at some ranks of a column, in a pass behind that of its :class:`QuantileSketch`.

    Make it by :meth:`behind`.

    Attributes:
        place: Which column.
        brackets: Least and greatest value between which the ranks lie, in order, not overlapping.
    """

    place: int
    brackets: tuple[tuple[float, float], ...]

    @classmethod
    def behind(cls, place: int, sketch: Quantiles, wanted: Sequence[int] | np.ndarray) -> ExactQuantiles:
        """For the values at these ranks (0 is the least) of what the sketch has seen."""
        return cls(place, tuple(sketch.brackets(np.asarray(wanted).tolist())))

    def start(self) -> Order:
        """An empty state."""
        return Order(self.brackets)

    def update(self, state: Order, block: Block) -> Order:
        """The state with a block's rows."""
        state.update(block.arrow(self.place))
        return state


@dataclass(frozen=True)
class ValueCounts(Statistic):
    """How often each value of a column is there.

    Attributes:
        place: Which column.
        limit: Different values from which on the less frequent are given up, and counts are estimates; None: never.
    """

    place: int
    limit: int | None = None

    def start(self) -> Counts:
        """An empty state."""
        return Counts(self.limit)

    def update(self, state: Counts, block: Block) -> Counts:
        """The state with a block's rows.

        Raises:
            FitError: ``cannot_fit``: there is no limit, and there are more different values than memory should hold.
        """
        column = block.arrow(self.place)
        state.update(column)
        # A dictionary's values are not looked up before another dictionary comes.
        if self.limit is None and not pa.types.is_dictionary(column.type):
            check_distinct(state.distinct, block, self.place)
        return state

    def merge(self, state: Counts, later: Counts) -> Counts:
        """One state of two."""
        state.merge(later)
        if self.limit is None:
            check_distinct(state.distinct)
        return state


def check_distinct(distinct: int, block: Block | None = None, place: int = 0) -> None:
    """Refuse to count more different values than memory should hold.

    Args:
        distinct: How many there are so far.
        block: The block they are in, for the column's name.
        place: Which column.

    Raises:
        FitError: ``cannot_fit``: there are more than :data:`MOST_VALUES`.
    """
    if distinct <= MOST_VALUES:
        return
    name = None if block is None or block.batch is None else block.batch.schema.field(place).name
    raise FitError(
        f"{f'`{name}`' if name else 'a column'} has more than {MOST_VALUES:,} different values, too many to count",
        code="cannot_fit",
        hint="leave the column out, make its values coarser, or hash them",
        details=[{"code": "cannot_fit", **({"column": name} if name else {})}],
    )


def ranks(shares: Sequence[float] | np.ndarray, count: int, method: str = "linear") -> np.ndarray:
    """The ranks whose values decide these quantiles: increasing, each once.

    Args:
        shares: From 0 to 1.
        count: How many values there are, 1 or more.
        method: Of ``numpy.quantile``: ``linear``, ``lower``, ``higher``, ``nearest``, ``inverted_cdf`` or
            ``averaged_inverted_cdf``.
    """
    below, above, _ = _neighbours(np.asarray(shares, np.float64), count, method)
    return np.unique(np.concatenate([below, above]))


def quantiles(
    found: Quantiles | Order, shares: Sequence[float] | np.ndarray, method: str = "linear", count: int | None = None
) -> np.ndarray:
    """The quantiles as ``numpy.quantile`` computes them from the values in order.

    Args:
        found: A sketch, for values that are about right; or what :class:`ExactQuantiles` gathered for these ranks.
        shares: From 0 to 1.
        method: As in :func:`ranks`.
        count: How many values there are; default: as many as ``found`` counted.

    Returns:
        A value for each share, float64; NaN where there are no values.
    """
    shares = np.asarray(shares, np.float64)
    count = found.count if count is None else count
    if not count:
        return np.full(shares.shape, np.nan)
    below, above, share = _neighbours(shares, count, method)
    low, high = (np.asarray(found.at(place.tolist()), np.float64) for place in (below, above))
    # As NumPy interpolates: from the nearer end, so that the result is monotonic.
    with np.errstate(invalid="ignore", over="ignore"):
        difference = high - low
        made = np.where(share >= 0.5, high - difference * (1 - share), low + difference * share)
    return np.where((low == high) | (share == 0), low, made)


def _neighbours(shares: np.ndarray, count: int, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks below and above each quantile, and how far it lies between them."""
    last = count - 1
    place: Any = shares * last
    if method == "inverted_cdf":
        place = np.ceil(shares * count) - 1
    elif method == "averaged_inverted_cdf":
        place = shares * count - 1
        whole = np.floor(place) == place
        place = np.where(whole, place + 0.5, np.ceil(place))
    elif method == "lower":
        place = np.floor(place)
    elif method == "nearest":
        place = np.rint(place)
    elif method == "higher":
        place = np.ceil(place)
    elif method != "linear":
        raise ValueError(f"no quantile method {method!r}")
    place = np.clip(place, 0, last)
    below = np.floor(place)
    above = np.minimum(below + 1, last)
    return below.astype(np.int64), above.astype(np.int64), place - below
