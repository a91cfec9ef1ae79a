"""What statistics gather: numbers, quantiles and counts of one column, and its exact values at some ranks."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .. import _core
from .._core import Numbers, Quantiles
from ..data import read_stream

__all__ = ["Counts", "Numbers", "Order", "Quantiles"]

#: Its functions are made at import, so type checkers know none of them.
pc: Any = pyarrow.compute
#: Values that are kept between brackets before equal ones are put together.
_LOOSE = 1 << 20


def _pickled(state: Any) -> tuple[Any, tuple[type, bytes]]:
    return _restored, (type(state), state.to_bytes())


def _restored(kind: Any, state: bytes) -> Any:
    return kind.from_bytes(state)


# What Rust keeps travels as bytes.
for _kind in (_core.Counts, Numbers, Quantiles):
    copyreg.pickle(_kind, _pickled)


class Counts:
    """How often each value of a column is there.

    Args:
        limit: Above twice so many different values only the most frequent are kept, and counts are estimates.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._core = _core.Counts(limit)
        self._type: pa.DataType | None = None

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column.

        Raises:
            InputError: ``wrong_type``: values of its type are not counted.
        """
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if self._type is None or pa.types.is_null(self._type):
            self._type = kind
        self._core.update(column)

    def merge(self, later: Counts) -> None:
        """Take what another has gathered from rows behind these."""
        if self._type is None or pa.types.is_null(self._type):
            self._type = later._type
        self._core.merge(later._core)

    @property
    def rows(self) -> int:
        """How many rows."""
        return self._core.rows

    @property
    def nulls(self) -> int:
        """How many are null."""
        return self._core.nulls

    @property
    def nans(self) -> int:
        """How many are NaN and not null."""
        return self._core.nans

    @property
    def exact(self) -> bool:
        """Whether the counts are exact: always, unless there is a limit."""
        return self._core.exact

    @property
    def distinct(self) -> int:
        """How many different values, null and NaN apart; within about 2 % where not exact."""
        return self._core.distinct

    @property
    def values(self) -> pa.Array:
        """The different values in order (text by code point), of the column's type; a dictionary's as its values."""
        return self._sorted().column("value").combine_chunks()

    @property
    def counts(self) -> np.ndarray:
        """How often each of ``values`` is there, int64."""
        return self._sorted().column("count").to_numpy()

    def top(self, most: int) -> list[tuple[Any, int]]:
        """The most frequent values and their counts; of equally frequent ones the lesser value first."""
        found = self._typed(self._core.top(most))
        return list(zip(found.column("value").to_pylist(), found.column("count").to_pylist(), strict=True))

    def _sorted(self) -> pa.Table:
        return self._typed(self._core.sorted())

    def _typed(self, found: Any) -> pa.Table:
        """Values in the column's own type."""
        table = read_stream(found)
        values, kind = table.column("value"), self._type or pa.null()
        if pa.types.is_date32(kind) or pa.types.is_boolean(kind):
            values = values.cast(pa.int32() if pa.types.is_date32(kind) else pa.uint8())
        return pa.table({"value": values.cast(kind), "count": table.column("count")})


class Order:
    """The exact values between some brackets, and how many lie below each.

    Args:
        brackets: Ranges of values, in order and apart.

    Attributes:
        count: How many finite values the column has.
    """

    def __init__(self, brackets: Sequence[tuple[float, float]]) -> None:
        self.count = 0
        self._low = np.array([low for low, _ in brackets], np.float64)
        self._high = np.array([high for _, high in brackets], np.float64)
        self._below = np.zeros(len(brackets), np.int64)
        self._kept: list[list[np.ndarray]] = [[] for _ in brackets]
        #: Different values between the brackets, and how often each is there; None where each is there once.
        self._values: list[np.ndarray] = [np.zeros(0) for _ in brackets]
        self._times: list[np.ndarray | None] = [None for _ in brackets]
        self._loose = 0

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column."""
        values = np.sort(_finite(column))
        self.count += len(values)
        starts = np.searchsorted(values, self._low, "left")
        ends = np.searchsorted(values, self._high, "right")
        self._below += starts
        for kept, start, end in zip(self._kept, starts, ends, strict=True):
            # A copy: a view would keep the whole column.
            kept.append(values[start:end].copy())
            self._loose += int(end - start)
        if self._loose > _LOOSE:
            self._tighten()

    def merge(self, later: Order) -> None:
        """Take what another has gathered from rows behind these."""
        later._tighten()
        self._tighten()
        self.count += later.count
        self._below += later._below
        for place in range(len(self._kept)):
            self._add(place, [later._values[place]], later._times[place])

    def at(self, wanted: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values at these ranks, 0 the least; only those that the brackets were made for."""
        self._tighten()
        wanted = np.asarray(wanted, np.int64)
        bracket = np.searchsorted(self._below, wanted, "right") - 1
        made = np.empty(len(wanted))
        for place in np.unique(bracket):
            here = bracket == place
            ranks, times = wanted[here] - self._below[place], self._times[place]
            made[here] = self._values[place][
                ranks if times is None else np.searchsorted(np.cumsum(times), ranks, "right")
            ]
        return made

    def __getstate__(self) -> dict[str, Any]:
        self._tighten()
        return dict(vars(self))

    def _tighten(self) -> None:
        """Put equal values together, so that ties take no memory."""
        if not any(self._kept):
            return
        for place, kept in enumerate(self._kept):
            self._add(place, kept)
            kept.clear()
        self._loose = 0

    def _add(self, place: int, more: Sequence[np.ndarray], times: np.ndarray | None = None) -> None:
        """More values of a bracket, each there so many times; None: once."""
        values = np.concatenate([self._values[place], *more])
        before = self._times[place]
        if before is None and times is None:
            values.sort()
            if not (values[1:] == values[:-1]).any():
                self._values[place] = values
                return
        held = len(self._values[place])
        both = [np.ones(held, np.int64) if before is None else before]
        both.append(np.ones(len(values) - held, np.int64) if times is None else times)
        self._values[place], self._times[place] = _together(values, np.concatenate(both))


def _together(values: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value once, in order, and how often it is there."""
    order = np.argsort(values, kind="stable")
    values, times = values[order], times[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))
    return values[first], np.add.reduceat(times, first) if len(first) else times


def _finite(column: pa.Array) -> np.ndarray:
    """The finite values of a column of numbers as float64; dates as days, times as microseconds, bools as 0 and 1."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.zeros(0)
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    values = np.asarray(pc.drop_null(column).to_numpy(zero_copy_only=False), np.float64)
    return values[np.isfinite(values)]
