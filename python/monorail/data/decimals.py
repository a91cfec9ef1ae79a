"""Decimal numbers, which no model takes, as the float64 that pandas users would make of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .source import BATCH_ROWS, Fragment, Source

#: Digits of whole numbers that float64 always holds, and the greatest power of ten.
_EXACT_DIGITS, _EXACT_TENS = 15, 22


def decimals_of(schema: pa.Schema) -> frozenset[str]:
    """The columns of decimal numbers, of any width."""
    return frozenset(field.name for field in schema if pa.types.is_decimal(field.type))


def as_floats(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """A batch with these columns as float64, each value the nearest there is."""
    if not names:
        return batch
    pairs = zip(batch.schema.names, batch.columns, strict=True)
    columns = [_floats(column) if name in names else column for name, column in pairs]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _floats(column: pa.Array) -> pa.Array:
    """The nearest float64 of each decimal number; Arrow's own cast is often off by the last bit."""
    kind = column.type
    if not len(column) or kind.bit_width != 128 or kind.precision > _EXACT_DIGITS or not 0 <= kind.scale <= _EXACT_TENS:
        return column.cast(pa.string()).cast(pa.float64())
    # Both are exact in float64, so their quotient is the nearest.
    words = np.frombuffer(column.buffers()[1], "<i8")[2 * column.offset :][: 2 * len(column) : 2]
    gaps = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    return pa.array(words / 10.0**kind.scale, mask=gaps)


def read_as_floats(source: Source) -> None:
    """Have a source give its decimal numbers as float64; one without any stays as it is."""
    if not (names := decimals_of(source.schema)):
        return
    fields = [field.with_type(pa.float64()) if field.name in names else field for field in source.schema]
    source.schema = pa.schema(fields, source.schema.metadata)
    source.fragments = [Floats(fragment, names) for fragment in source.fragments]


@dataclass(frozen=True)
class Floats:
    """A fragment whose decimal numbers are given as float64; see :class:`monorail.data.source.Fragment`.

    Attributes:
        fragment: What is read.
        decimals: Its columns of decimal numbers.
    """

    fragment: Fragment
    decimals: frozenset[str]

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.fragment.name

    @property
    def rows(self) -> int | None:
        """How many rows, before filters."""
        return self.fragment.rows

    @property
    def start(self) -> int:
        """Number of its first row in the source, or -1."""
        return self.fragment.start

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows in order."""
        for batch in self.fragment.batches(columns, max_rows=max_rows, coded=coded):
            yield as_floats(batch, self.decimals)
