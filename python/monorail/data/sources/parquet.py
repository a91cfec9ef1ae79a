"""Parquet files: fragments are row groups, read one by one by the leanest reader there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...errors import InputError
from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed

#: Rows of a fragment, at least: smaller row groups of a file are read together.
FRAGMENT_ROWS = 131_072


@dataclass(frozen=True)
class RowGroups:
    """Row groups of one file that follow each other; see :class:`monorail.data.source.Fragment`."""

    path: str
    groups: tuple[int, ...]
    schema: pa.Schema
    rows: int
    start: int
    kept: pc.Expression | None = None

    @property
    def name(self) -> str:
        """The path and the row groups."""
        first, last = self.groups[0], self.groups[-1]
        return f"{self.path}, row group{f' {first}' if first == last else f's {first} to {last}'}"

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, read row group by row group."""
        wanted = list(columns) if columns is not None else self.schema.names
        read = list(dict.fromkeys([*wanted, *columns_of(self.kept, self.schema)]))
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            found = file.iter_batches(max_rows, row_groups=list(self.groups), columns=read, use_threads=False)
            yield from narrowed(found, self.schema, wanted, self.kept, max_rows)


def parquet_source(paths: Sequence[str], kept: pc.Expression | None = None) -> Fragments:
    """Parquet files as a source."""
    fragments: list[RowGroups] = []
    schema: pa.Schema | None = None
    rows = 0
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                metadata, found = file.metadata, file.schema_arrow.remove_metadata()
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read: {error}", code="malformed_request") from error
        schema = found if schema is None else schema
        if not found.equals(schema):
            raise InputError(f"{path} has other columns than {paths[0]}", code="wrong_type")
        group: list[int] = []
        held = 0
        for number in range(metadata.num_row_groups):
            group.append(number)
            held += metadata.row_group(number).num_rows
            if held >= FRAGMENT_ROWS or number == metadata.num_row_groups - 1:
                fragments.append(RowGroups(path, tuple(group), schema, held, rows if kept is None else -1, kept))
                rows += held
                group, held = [], 0
    return Fragments(paths[0], schema or pa.schema([]), fragments, rows=None if kept is not None else rows)
