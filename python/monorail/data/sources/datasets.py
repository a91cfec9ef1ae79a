"""Arrow datasets that the user made: files by our own reader where they are Parquet, anything else by theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed
from .parquet import parquet_source
from .places import found, unreadable
from .schemas import conformed, plain_schema
from .spooling import spooled


@dataclass(frozen=True)
class DatasetPart:
    """A fragment of an Arrow dataset; see :class:`monorail.data.source.Fragment`."""

    part: Any
    dataset_schema: pa.Schema
    schema: pa.Schema
    name: str
    rows: int | None
    start: int
    kept: pc.Expression | None = None

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, as the dataset's own reader gives them."""
        wanted = list(columns) if columns is not None else self.schema.names
        return narrowed(self._read(wanted, max_rows), self.schema, wanted, self.kept, max_rows)

    def _read(self, wanted: list[str], max_rows: int) -> Iterator[pa.RecordBatch]:
        read = list(dict.fromkeys([*wanted, *columns_of(self.kept, self.schema)]))
        options = {"batch_size": max_rows, "batch_readahead": 1, "use_threads": False}
        try:
            for batch in self.part.to_batches(schema=self.dataset_schema, columns=read, **options):
                yield conformed(batch, self.schema)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.name, error) from error


def dataset_source(dataset: Any, kept: pc.Expression | None = None) -> Fragments:
    """An Arrow dataset as a source."""
    import pyarrow.dataset as ds

    schema = plain_schema(dataset.schema)
    if not isinstance(dataset, ds.FileSystemDataset) or getattr(dataset, "_scan_options", None):
        # In memory, a union, or filtered already: only its own scanner knows all of that.
        batches = dataset.scanner(columns=schema.names, batch_size=BATCH_ROWS, batch_readahead=1).to_batches()
        return spooled(batches, schema, kept, name="dataset")
    plain = _files(dataset, schema, kept)
    if plain is not None:
        return plain
    fragments: list[DatasetPart] = []
    start = 0
    for number, part in enumerate(dataset.get_fragments(filter=kept)):
        known = isinstance(part, ds.ParquetFileFragment)
        pieces = part.split_by_row_group(kept, schema=dataset.schema) if known else [part]
        for piece in pieces:
            rows = sum(group.num_rows for group in piece.row_groups) if known else None
            name = getattr(piece, "path", None) or f"dataset, part {number}"
            at = start if kept is None and start >= 0 else -1
            fragments.append(DatasetPart(piece, dataset.schema, schema, name, rows, at, kept))
            start = start + rows if rows is not None and start >= 0 else -1
    return Fragments("dataset", schema, fragments, rows=start if kept is None and start >= 0 else None)


def _files(dataset: Any, schema: pa.Schema, kept: pc.Expression | None) -> Fragments | None:
    """Parquet files of this machine, where the dataset says no more of them than they do."""
    from pyarrow import fs

    if dataset.format.default_extname != "parquet" or not isinstance(dataset.filesystem, fs.LocalFileSystem):
        return None
    source = parquet_source(found(dataset.files, ()), kept)
    return source if source.schema.equals(schema) else None
