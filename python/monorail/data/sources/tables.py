"""Tables in memory: fragments are slices of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import Fragments, cut, filtered

#: Rows of a fragment of a table: large enough for a task, small enough to be shared out.
FRAGMENT_ROWS = 1_000_000


@dataclass(frozen=True)
class TableSlice:
    """Rows of a table in memory; see :class:`monorail.data.source.Fragment`."""

    table: pa.Table
    name: str
    rows: int
    start: int
    kept: pc.Expression | None = None

    def batches(self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Its rows, as views of the table."""
        wanted = list(columns) if columns is not None else self.table.column_names
        table = self.table if self.kept is not None else self.table.select(wanted)
        for batch in table.to_batches(max_chunksize=max_rows):
            yield from (part for part in cut(filtered(batch, self.kept, wanted), max_rows))


def table_source(table: pa.Table, kept: pc.Expression | None = None, *, name: str = "table") -> Fragments:
    """A table as a source."""
    fragments = [
        TableSlice(
            table.slice(first, FRAGMENT_ROWS),
            f"{name}, rows from {first}",
            min(FRAGMENT_ROWS, len(table) - first),
            first if kept is None else -1,
            kept,
        )
        for first in range(0, len(table), FRAGMENT_ROWS)
    ]
    return Fragments(name, table.schema, fragments, rows=None if kept is not None else len(table))
