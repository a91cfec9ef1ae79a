"""Parquet files: fragments are row groups, read one by one by the leanest reader there is."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from ...errors import InputError
from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed
from .folders import constants, with_columns, with_keys
from .places import Place, file_system, unreadable
from .schemas import CastError, conformed, misfit, one_schema, plain_schema

#: Rows of a fragment, at least: smaller row groups of a file are read together.
FRAGMENT_ROWS = 131_072
#: What is read of a column at once, in bytes, where a file is on a disk: a row group is never whole in memory.
BUFFER_BYTES = 1 << 18
#: Files whose footers are read at once, of an object store.
_AT_ONCE = 16
_DICTIONARY = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
#: More than an index of a dictionary takes, less than a length and a text.
_INDEX_BYTES = 3


@dataclass(frozen=True)
class RowGroups:
    """Row groups of one file that follow each other; see :class:`monorail.data.source.Fragment`.

    Attributes:
        place: The file.
        groups: Numbers of the row groups.
        schema: Of the source; the file's own types may be narrower.
        rows: How many, before filters.
        start: Number of the first row in the source, or -1.
        first_row: Number of the first row in the file.
        kept: Which rows are wanted.
        keys: Columns that the folders spell, and their one value.
    """

    place: Place
    groups: tuple[int, ...]
    schema: pa.Schema
    rows: int
    start: int
    first_row: int = 0
    kept: pc.Expression | None = None
    keys: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The file and the row groups."""
        first, last = self.groups[0], self.groups[-1]
        return f"{self.place.name}, row group{f' {first}' if first == last else f's {first} to {last}'}"

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, read batch by batch in this thread."""
        wanted = list(columns) if columns is not None else self.schema.names
        return narrowed(self._read(wanted, max_rows, coded), self.schema, wanted, self.kept, max_rows)

    def _read(self, wanted: list[str], max_rows: int, coded: bool) -> Iterator[pa.RecordBatch]:
        filtered = columns_of(self.kept, self.schema)
        keys = dict(self.keys)
        read = [name for name in dict.fromkeys([*wanted, *filtered]) if name not in keys]
        spelt = [pair for pair in self.keys if pair[0] in wanted or pair[0] in filtered]
        try:
            with self.place.open() as source:
                metadata = footer(self.place)
                # Of no column, the rows must still be counted.
                read = read or _cheapest(metadata, self.groups[0], self.schema)
                coding = (
                    [name for name in _coded(metadata, self.groups[0], read) if name not in filtered] if coded else []
                )
                stored = self.place.store is not None
                file = pq.ParquetFile(
                    source,
                    metadata=metadata,
                    read_dictionary=coding or None,
                    # One request for a row group of an object store; a small window into each column of a file.
                    pre_buffer=stored,
                    buffer_size=0 if stored else BUFFER_BYTES,
                )
                groups = list(self.groups)
                for batch in file.iter_batches(max_rows, row_groups=groups, columns=read, use_threads=False):
                    yield with_columns(
                        conformed(batch, self.schema, coded=coded), constants(spelt, self.schema, batch.num_rows)
                    )
        except CastError as error:
            raise misfit(self.name, self.place.name, error) from error
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.place.name, error, row_group=self.groups[0]) from error


def parquet_source(places: Sequence[Place], kept: pc.Expression | None = None) -> Fragments:
    """Parquet files as a source.

    Raises:
        InputError: a file is not whole or no Parquet; or the files have no schema in common.
    """
    footers = _footers(places)
    schemas = [(place.name, _schema_of(place, metadata)) for place, metadata in zip(places, footers, strict=True)]
    schema, notes = one_schema(schemas)
    own = set(schema.names)
    schema, keys = with_keys(schema, places)
    fragments: list[RowGroups] = []
    rows = 0
    for place, metadata, spelt in zip(places, footers, keys, strict=True):
        values = tuple(pair for pair in spelt if pair[0] not in own)
        for groups, first, held in _units(metadata):
            if kept is not None:
                groups = _possible(place, groups, kept, schema, values)
            if groups:
                start = rows + first if kept is None else -1
                held = held if kept is None else sum(metadata.row_group(group).num_rows for group in groups)
                fragments.append(RowGroups(place, groups, schema, held, start, first, kept, values))
        rows += metadata.num_rows
    name = places[0].name if len(places) == 1 else f"{places[0].name} and {len(places) - 1} more"
    return Fragments(name, schema, fragments, rows=rows if kept is None else None, notes=notes)


@functools.lru_cache(maxsize=64)
def footer(place: Place) -> pq.FileMetaData:
    """What a file's footer says; read once a process while its fragments follow each other.

    Raises:
        InputError: it is no Parquet file, or not whole.
    """
    if place.size == 0:
        raise InputError(
            f"{place.name} is empty: not even a Parquet file without rows has no bytes",
            code="malformed_request",
            hint="was it being written, or did its writer end before it was done?",
            details=[{"code": "malformed_request", "file": place.name}],
        )
    try:
        with place.open() as source:
            return pq.read_metadata(source)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(place.name, error) from error


def _footers(places: Sequence[Place]) -> list[pq.FileMetaData]:
    if all(place.store is None for place in places):
        return [footer(place) for place in places]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="monorail-footers") as pool:
        return list(pool.map(footer, places))


def _schema_of(place: Place, metadata: pq.FileMetaData) -> pa.Schema:
    try:
        return plain_schema(metadata.schema.to_arrow_schema())
    except pa.ArrowException as error:
        raise unreadable(place.name, error) from error


def _units(metadata: pq.FileMetaData) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """The row groups of each fragment, its first row in the file, and how many rows it has."""
    groups: list[int] = []
    first = held = 0
    for number in range(metadata.num_row_groups):
        groups.append(number)
        held += metadata.row_group(number).num_rows
        if held >= FRAGMENT_ROWS or number == metadata.num_row_groups - 1:
            if held:
                yield tuple(groups), first, held
            first += held
            groups, held = [], 0


def _coded(metadata: pq.FileMetaData, group: int, names: Iterable[str]) -> list[str]:
    """The columns of text that are stored as a dictionary and its indices, to the end of the row group."""
    if not metadata.num_row_groups:
        return []
    chunks = metadata.row_group(group)
    wanted = set(names)
    found = []
    for number in range(chunks.num_columns):
        chunk = chunks.column(number)
        if chunk.path_in_schema not in wanted or chunk.physical_type != "BYTE_ARRAY" or not chunk.has_dictionary_page:
            continue
        # A writer gives its dictionary up when that grows; from then on each value costs its length and itself.
        indices = chunk.total_uncompressed_size - (chunk.data_page_offset - chunk.dictionary_page_offset)
        if _DICTIONARY & set(chunk.encodings) and indices < _INDEX_BYTES * chunk.num_values:
            found.append(chunk.path_in_schema)
    return found


def _cheapest(metadata: pq.FileMetaData, group: int, schema: pa.Schema) -> list[str]:
    """The column that is read fastest."""
    chunks = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
    plain = [chunk for chunk in chunks if chunk.path_in_schema in schema.names]
    return [min(plain, key=lambda chunk: chunk.total_compressed_size).path_in_schema] if plain else schema.names[:1]


def _possible(
    place: Place, groups: tuple[int, ...], kept: pc.Expression, schema: pa.Schema, keys: tuple[tuple[str, Any], ...]
) -> tuple[int, ...]:
    """Those row groups that, by their statistics, may hold rows that are wanted."""
    import pyarrow.dataset as ds

    spelt = pc.scalar(True)
    for name, value in keys:
        field = pc.field(name)
        spelt = spelt & (field.is_null() if value is None else field == pa.scalar(value, schema.field(name).type))
    system = fs.LocalFileSystem() if place.store is None else file_system(place.store)
    whole = ds.ParquetFileFormat().make_fragment(place.path, system, spelt, groups)
    # By the file's own types: those are what its statistics are of.
    own = [whole.physical_schema.field(f.name) if f.name in whole.physical_schema.names else f for f in schema]
    try:
        return tuple(sorted(group.id for group in whole.subset(kept, schema=pa.schema(own)).row_groups))
    except (pa.ArrowException, OSError):
        # Statistics of a type that the filter is not of: the rows themselves are filtered.
        return groups
