"""Rows kept as they are read: a uniform sample, the same however the work was split, and rows of given numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .coding import spelt_batch

#: Rows of a fragment that has no known first row are numbered behind its own number.
_BITS = 40
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))


@dataclass(frozen=True)
class Picked:
    """Rows that were kept, in their order.

    Attributes:
        rows: The rows.
        numbers: Number of each: in the whole data where that was known, else only increasing.
    """

    rows: pa.Table | None
    numbers: np.ndarray

    def least(self, most: int) -> Picked:
        """At most so many of them, as if no more had been kept of the whole data."""
        if self.rows is None or len(self.numbers) <= most:
            return self
        places = np.sort(np.argsort(_hashed(self.numbers), kind="stable")[:most])
        return Picked(self.rows.take(pa.array(places)), self.numbers[places])


class Uniform:
    """A uniform sample of so many rows: those whose numbers have the least hashes.

    Args:
        most: How many rows.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._keys = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.int64)
        self._rows: list[Any] = []

    def add(self, batch: pa.RecordBatch, fragment: int, before: int, start: int, text: Collection[str] = ()) -> None:
        """Take in a batch.

        Args:
            batch: The rows.
            fragment: Number of the fragment they are of.
            before: Rows of the fragment before them.
            start: Number of the first of them in the whole data, -1 where unknown.
            text: Columns that are text, whatever they were read as.
        """
        first = start if start >= 0 else (fragment << _BITS) + before
        numbers = np.arange(first, first + batch.num_rows)
        keys = _hashed(numbers)
        if len(self._keys) >= self.most:
            places = np.flatnonzero(keys < self._keys.max())
            if not len(places):
                return
        else:
            places = np.arange(len(keys))
        if len(places) > self.most:
            places = np.sort(np.argpartition(keys, self.most)[: self.most])
        self._rows.append(pa.Table.from_batches([spelt_batch(batch.take(pa.array(places)), text)]))
        self._keys = np.concatenate([self._keys, keys[places]])
        self._numbers = np.concatenate([self._numbers, numbers[places]])
        if len(self._keys) > 2 * self.most:
            self._shrink()

    def merge(self, later: Uniform) -> None:
        """Take in what another has kept."""
        self._keys = np.concatenate([self._keys, later._keys])
        self._numbers = np.concatenate([self._numbers, later._numbers])
        self._rows += later._rows
        self._shrink()

    def picked(self) -> Picked:
        """The rows, in order."""
        self._shrink()
        if not self._rows:
            return Picked(None, self._numbers)
        order = np.argsort(self._numbers, kind="stable")
        return Picked(pa.concat_tables(self._rows).take(pa.array(order)), self._numbers[order])

    def _shrink(self) -> None:
        if len(self._keys) <= self.most:
            return
        places = np.sort(np.argpartition(self._keys, self.most)[: self.most])
        self._rows = [pa.concat_tables(self._rows).take(pa.array(places)).combine_chunks()]
        self._keys, self._numbers = self._keys[places], self._numbers[places]


class Chosen:
    """Rows of given numbers.

    Args:
        numbers: Increasing; None for none.
    """

    def __init__(self, numbers: np.ndarray | None) -> None:
        self._wanted = numbers
        self._rows: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch, start: int, text: Collection[str] = ()) -> None:
        """Take in a batch, whose first row has this number; ``text`` as of :meth:`Uniform.add`."""
        if self._wanted is None or start < 0:
            return
        first, last = np.searchsorted(self._wanted, [start, start + batch.num_rows])
        if last > first:
            places = self._wanted[first:last] - start
            self._rows.append(pa.Table.from_batches([spelt_batch(batch.take(pa.array(places)), text)]))

    def merge(self, later: Chosen) -> None:
        """Take in what another, of later rows, has kept."""
        self._rows += later._rows

    def picked(self) -> Picked:
        """The rows, in order."""
        if not self._rows or self._wanted is None:
            return Picked(None, np.empty(0, np.int64))
        return Picked(pa.concat_tables(self._rows), self._wanted)


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """A hash of each number, spread evenly over 64 bits (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) * _MIX[2] + _MIX[2]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        return mixed ^ (mixed >> np.uint64(31))
