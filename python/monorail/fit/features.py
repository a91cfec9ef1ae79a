"""Numbers of every feature of a matrix, dense or sparse."""

from __future__ import annotations

from typing import Any

import numpy as np


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
