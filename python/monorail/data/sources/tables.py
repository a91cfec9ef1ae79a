"""Tables in memory: fragments are slices of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import Fragments, narrowed
from .sending import Sent, ipc_buffer, sent

#: Rows of a fragment of a table: large enough for a task, small enough to be shared out.
FRAGMENT_ROWS = 262_144


@dataclass(frozen=True)
class TableSlice:
    """Rows of a table in memory; see :class:`monorail.data.source.Fragment`."""

    table: pa.Table
    name: str
    rows: int
    start: int
    kept: pc.Expression | None = None

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, as views of the table."""
        table = self.table
        if columns is not None and self.kept is None:
            table = table.select(list(columns))
        return narrowed(table.to_batches(max_rows), self.table.schema, columns, self.kept, max_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Elsewhere it is the rows that were sent there; pickled as it is, a slice would take the whole table along."""
        table = self.table
        handle = sent(id(table), table, lambda: ipc_buffer(iter(table.to_batches()), table.schema))
        return Sent, (handle, self.name, self.rows, self.start, table.schema, self.kept)


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
