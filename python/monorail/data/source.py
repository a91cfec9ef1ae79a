"""Data of any size: a source is a list of fragments, each of which can be read again and again, anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from ..errors import InputError

#: Rows of a record batch that a fragment gives, at most.
BATCH_ROWS = 65_536


class Fragment(Protocol):
    """A part of a source: a file's row groups, a slice of a table. It can be pickled, and opens nothing until read.

    Attributes:
        name: What errors call it: a path and its row groups.
        rows: How many rows it holds, before filters; None where only reading tells.
        start: Number of its first row in the whole source; -1 where only reading tells (and where there are filters).
    """

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def rows(self) -> int | None:
        """How many rows, before filters."""
        ...

    @property
    def start(self) -> int:
        """Number of its first row in the source, or -1."""
        ...

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows in order, no more than ``max_rows`` at once; only these columns, in this order.

        Args:
            columns: Names; None for all.
            max_rows: Of a batch.
            coded: Text may come as dictionaries where that is how it is stored: cheaper to read and to count, but not
                of the type that the schema says.

        Raises:
            InputError: what is stored cannot be read, or a value has no place in the schema's type.
        """
        ...


class Source(Protocol):
    """Data as fragments. A context manager: what was spooled for it is removed at the end.

    Attributes:
        name: What errors and progress call it.
        schema: Names and types of its columns.
        fragments: Its parts, in the order of its rows.
        rows: How many rows it holds; None where only reading tells.
        notes: What the user should be told of how it is read: a line for each column that was widened, say.
        slips: By column, the value that made it text while its others are numbers; it is an error to nobody who takes
            text.
    """

    name: str
    schema: pa.Schema
    fragments: list[Fragment]
    rows: int | None
    notes: tuple[str, ...]
    slips: dict[str, InputError]

    def __enter__(self) -> Source: ...
    def __exit__(self, *reason: object) -> None: ...


def open_source(data: Any, *, filters: Any = None, types: Mapping[str, pa.DataType] | None = None) -> Source:
    """Open data of any kind as a source.

    Args:
        data: A path, glob or URL, or a list of them (Parquet, CSV, Arrow IPC); a pandas or Polars frame, an Arrow
            table, batch, reader or dataset; a Daft frame; a Ray dataset; anything with the Arrow stream interface.
        filters: Rows wanted: a :class:`pyarrow.compute.Expression`, or ``[(column, op, value), ...]`` as in
            ``pyarrow.parquet.read_table``. Row groups whose statistics exclude them are not read.
        types: Of columns by name, for CSV, which has none; those of other columns are inferred.

    Raises:
        InputError: there is no such file, it cannot be read, or the files do not have one schema.
    """
    from .opening import opened

    return opened(data, filters, types)
