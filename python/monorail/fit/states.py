"""What statistics gather: numbers, quantiles and counts of a column, exact ranks, numbers of all features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

#: Its functions are made at import, so type checkers know none of them.
pc: Any = pyarrow.compute
#: Ranks of a sketch are wrong by at most this share of the values, up to a billion of them.
RANK_ERROR = 0.002


class Numbers:
    """Numbers of one column. Dates count days, times microseconds since 1970, bools 0 and 1.

    Attributes:
        rows: How many rows.
        nulls: How many are null.
        nans: How many are NaN and not null.
        infinities: How many are infinite, either sign.
        count: How many are finite; what follows is of these.
        minimum: The least: an int of whole numbers, else a float; None where there is none.
        maximum: The greatest.
        mean: NaN where there is none.
        m2: Sum of squared deviations from the mean.
    """

    def __init__(self) -> None:
        self.rows = self.nulls = self.nans = self.infinities = self.count = 0
        self.minimum: int | float | None = None
        self.maximum: int | float | None = None
        self.mean = float("nan")
        self.m2 = 0.0

    def variance(self, ddof: int = 0) -> float:
        """Variance of the finite values; NaN where there are too few."""
        return self.m2 / (self.count - ddof) if self.count > ddof else float("nan")

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column."""
        self.rows += len(column)
        self.nulls += column.null_count
        values = plain(column)
        nan = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        finite = np.isfinite(values)
        self.nans += int(nan.sum())
        self.infinities += int((~finite & ~nan).sum())
        values = values[finite]
        if len(values):
            mean = float(values.mean(dtype=np.float64))
            off = values - np.float64(mean)
            self._add(len(values), values.min().item(), values.max().item(), mean + float(off.mean()), float(off @ off))

    def merge(self, later: Numbers) -> None:
        """Take what another has gathered from rows behind these."""
        self.rows += later.rows
        self.nulls += later.nulls
        self.nans += later.nans
        self.infinities += later.infinities
        if later.count:
            self._add(later.count, later.minimum, later.maximum, later.mean, later.m2)

    def _add(self, count: int, least: Any, most: Any, mean: float, m2: float) -> None:
        if not self.count:
            self.count, self.minimum, self.maximum, self.mean, self.m2 = count, least, most, mean, m2
            return
        both = self.count + count
        off = mean - self.mean
        self.m2 += m2 + off * off * (self.count * count / both)
        self.mean += off * count / both
        self.count = both
        self.minimum, self.maximum = min(self.minimum or 0, least), max(self.maximum or 0, most)


class Features:
    """Numbers of every feature: arrays of one element a feature, of the finite values.

    Attributes:
        rows: How many rows.
        nans: NaN and nulls.
        infinities: Infinite values.
        counts: Finite values; all rows but those above, zeros of a sparse matrix too.
        zeros: How many of the finite values are zero.
        minimum: NaN where there is none, as in ``maximum`` and ``mean``.
        maximum: The greatest.
        mean: Their mean.
        m2: Sums of squared deviations from the mean.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.nans = self.infinities = self.counts = self.zeros = np.zeros(0, np.int64)
        self.minimum = self.maximum = self.mean = self.m2 = np.zeros(0)

    def variance(self, ddof: int = 0) -> np.ndarray:
        """Variances of the finite values; NaN where there are too few."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.counts > ddof, self.m2 / (self.counts - ddof), np.nan)

    def update(self, matrix: Any) -> None:
        """Take the rows of a matrix, dense or sparse."""
        if not matrix.shape[0]:
            return
        self.merge(_features_of(matrix.tocsc() if hasattr(matrix, "toarray") else matrix))

    def merge(self, later: Features) -> None:
        """Take what another has gathered from rows behind these."""
        if not later.rows:
            return
        if not self.rows:
            self.__dict__.update(later.__dict__)
            return
        both = np.maximum(self.counts + later.counts, 1)
        mine, others = np.where(self.counts > 0, self.mean, 0.0), np.where(later.counts > 0, later.mean, 0.0)
        off = np.where((self.counts > 0) & (later.counts > 0), others - mine, 0.0)
        mean = np.where(self.counts > 0, mine + off * (later.counts / both), others)
        self.m2 = self.m2 + later.m2 + off * off * (self.counts * (later.counts / both))
        self.counts = self.counts + later.counts
        self.mean = np.where(self.counts > 0, mean, np.nan)
        self.minimum, self.maximum = np.fmin(self.minimum, later.minimum), np.fmax(self.maximum, later.maximum)
        self.nans, self.infinities = self.nans + later.nans, self.infinities + later.infinities
        self.zeros, self.rows = self.zeros + later.zeros, self.rows + later.rows


def _features_of(matrix: Any) -> Features:
    """The numbers of one block."""
    made = Features()
    made.rows, width = matrix.shape
    found = [_feature(_column(matrix, place), made.rows) for place in range(width)]
    arrays = [np.array(values) for values in zip(*found, strict=True)] or [np.zeros(0)] * 8
    made.nans, made.infinities, made.counts, made.zeros, made.minimum, made.maximum, made.mean, made.m2 = arrays
    return made


def _column(matrix: Any, place: int) -> np.ndarray:
    """The values of a feature; those that a sparse matrix stores."""
    if hasattr(matrix, "indptr"):
        return matrix.data[matrix.indptr[place] : matrix.indptr[place + 1]]
    return matrix[:, place]


def _feature(values: np.ndarray, rows: int) -> tuple[Any, ...]:
    """Numbers of one feature; what is missing of ``rows`` is zero."""
    nans = int(np.isnan(values).sum())
    finite = np.ascontiguousarray(values[np.isfinite(values)], np.float64)
    infinities = len(values) - nans - len(finite)
    hidden = rows - len(values)
    count = len(finite) + hidden
    zeros = hidden + len(finite) - int(np.count_nonzero(finite))
    if not count:
        return nans, infinities, 0, zeros, np.nan, np.nan, np.nan, 0.0
    mean = finite.sum() / count
    off = finite - mean
    m2 = off @ off + hidden * mean * mean
    ends = ([0.0] if hidden else []) + ([finite.min(), finite.max()] if len(finite) else [])
    return nans, infinities, count, zeros, min(ends), max(ends), mean, m2


class Quantiles:
    """The finite values of a column in order, roughly.

    Attributes:
        count: How many values; nulls, NaN and infinities are not among them.
        rank_error: By how many ranks an answer may be wrong at most; 0 while all values are held.
    """

    def __init__(self) -> None:
        self.count = 0
        self.rank_error = 0
        self._values: list[np.ndarray] = []

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column."""
        values = finite(column)
        self._values.append(values)
        self.count += len(values)

    def merge(self, later: Quantiles) -> None:
        """Take what another has gathered from rows behind these."""
        self._values += later._values
        self.count += later.count

    def at(self, wanted: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values at these ranks, 0 the least; float64."""
        return self._sorted()[np.asarray(wanted, np.int64)]

    def brackets(self, wanted: Sequence[int] | np.ndarray) -> list[tuple[float, float]]:
        """Ranges of values, in order and apart, in which the values at these ranks lie for certain."""
        return [(float(value), float(value)) for value in np.unique(self.at(wanted))]

    def _sorted(self) -> np.ndarray:
        self._values = [np.sort(np.concatenate([np.zeros(0), *self._values]))]
        return self._values[0]


class Order:
    """The exact values between some brackets, and how many lie below each.

    Attributes:
        count: How many finite values the column has.
    """

    def __init__(self, brackets: Sequence[tuple[float, float]]) -> None:
        self.count = 0
        self._low = np.array([low for low, _ in brackets])
        self._high = np.array([high for _, high in brackets])
        self._below = np.zeros(len(brackets), np.int64)
        self._kept: list[list[np.ndarray]] = [[] for _ in brackets]

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column."""
        values = np.sort(finite(column))
        self.count += len(values)
        starts = np.searchsorted(values, self._low, "left")
        ends = np.searchsorted(values, self._high, "right")
        self._below += starts
        for kept, start, end in zip(self._kept, starts, ends, strict=True):
            kept.append(values[start:end])

    def merge(self, later: Order) -> None:
        """Take what another has gathered from rows behind these."""
        self.count += later.count
        self._below += later._below
        for kept, more in zip(self._kept, later._kept, strict=True):
            kept += more

    def at(self, wanted: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values at these ranks, 0 the least; only those that the brackets were made for."""
        held = [np.sort(np.concatenate([np.zeros(0), *kept])) for kept in self._kept]
        made = np.empty(len(wanted))
        for place, rank in enumerate(np.asarray(wanted, np.int64)):
            bracket = int(np.searchsorted(self._below, rank, "right")) - 1
            made[place] = held[bracket][rank - self._below[bracket]]
        return made


class Counts:
    """How often each value of a column is there.

    Attributes:
        rows: How many rows.
        nulls: How many are null.
        nans: How many are NaN and not null.
        exact: Whether the counts are exact: always, unless there is a limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.rows = self.nulls = self.nans = 0
        self.exact = True
        self._type: pa.DataType | None = None
        self._counter: Counter[Any] = Counter()

    @property
    def distinct(self) -> int:
        """How many different values, nulls and NaN apart; an estimate where not exact."""
        return len(self._counter)

    @property
    def values(self) -> pa.Array:
        """The different values in order (text by code point), of the column's type; a dictionary's as its values."""
        return pa.array(sorted(self._counter), self._type)

    @property
    def counts(self) -> np.ndarray:
        """How often each of ``values`` is there, int64."""
        return np.array([count for _, count in sorted(self._counter.items())], np.int64)

    def top(self, most: int) -> list[tuple[Any, int]]:
        """The most frequent values and their counts; of equally frequent ones the lesser value first."""
        return sorted(self._counter.items(), key=lambda pair: (-pair[1], pair[0]))[:most]

    def update(self, column: pa.Array) -> None:
        """Take the rows of a column."""
        self.rows += len(column)
        self.nulls += column.null_count
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        self._type = column.type
        column = pc.drop_null(column)
        if pa.types.is_floating(column.type):
            nan = pc.is_nan(column)
            self.nans += pc.sum(nan).as_py() or 0
            column = pc.add(column.filter(pc.invert(nan)), pa.scalar(0.0, column.type))
        for pair in pc.value_counts(column):
            self._counter[pair["values"].as_py()] += pair["counts"].as_py()

    def merge(self, later: Counts) -> None:
        """Take what another has gathered from rows behind these."""
        self.rows += later.rows
        self.nulls += later.nulls
        self.nans += later.nans
        self._type = self._type or later._type
        self._counter.update(later._counter)


def plain(column: pa.Array) -> np.ndarray:
    """The values of a column of numbers that are not null; dates as days, times as microseconds, bools as 0 and 1."""
    kind = column.type
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    return pc.drop_null(column).to_numpy(zero_copy_only=False)


def finite(column: pa.Array) -> np.ndarray:
    """The finite values of a column of numbers as float64."""
    values = plain(column).astype(np.float64)
    return values[np.isfinite(values)]
