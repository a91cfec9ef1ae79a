"""CSV: types by the first block of each file, the same for all; empty cells are null; a file is a fragment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from ...errors import InputError
from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed
from .folders import constants, with_columns, with_keys
from .places import COMPRESSED, Place, unreadable
from .schemas import one_schema

#: What is parsed at once, in bytes; also what types are inferred from.
BLOCK_BYTES = 1 << 21
_FAULT = re.compile(r"CSV column #(\d+)(?:: Row #(\d+))?: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Lines:
    """One CSV file; see :class:`monorail.data.source.Fragment`.

    Attributes:
        place: The file.
        schema: Of the source.
        names: The file's own columns, in its order.
        start: 0 for the first file, else -1.
        kept: Which rows are wanted.
        keys: Columns that the folders spell, and their one value.
    """

    place: Place
    schema: pa.Schema
    names: tuple[str, ...]
    start: int
    kept: pc.Expression | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    rows: int | None = None

    @property
    def name(self) -> str:
        """The file."""
        return self.place.name

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, parsed block by block."""
        wanted = list(columns) if columns is not None else self.schema.names
        return narrowed(self._read(wanted), self.schema, wanted, self.kept, max_rows)

    def _read(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        needed = {*wanted, *columns_of(self.kept, self.schema)}
        spelt = [pair for pair in self.keys if pair[0] in needed]
        names = [name for name in self.names if name in needed] or list(self.names[:1])
        types = {name: self.schema.field(name).type for name in self.names}
        for batch in _parsed(self.place, self.names, types, names):
            yield with_columns(batch, constants(spelt, self.schema, batch.num_rows))


def csv_source(places: Sequence[Place], kept: pc.Expression | None = None) -> Fragments:
    """CSV files as a source.

    Raises:
        InputError: a file has no header or cannot be parsed; or the files have no schema in common.
    """
    schemas = [_inferred(place) for place in places]
    schema, notes = one_schema([(place.name, found) for place, found in zip(places, schemas, strict=True)])
    empty = [name for name in schema.names if pa.types.is_null(schema.field(name).type)]
    if empty:
        schema = _later_types(places, schemas, schema, empty)
    own = set(schema.names)
    schema, keys = with_keys(schema, places)
    fragments = [
        Lines(
            place,
            schema,
            tuple(found.names),
            0 if number == 0 and kept is None else -1,
            kept,
            tuple(pair for pair in spelt if pair[0] not in own),
        )
        for number, (place, found, spelt) in enumerate(zip(places, schemas, keys, strict=True))
    ]
    name = places[0].name if len(places) == 1 else f"{places[0].name} and {len(places) - 1} more"
    return Fragments(name, schema, fragments, notes=notes)


def _inferred(place: Place) -> pa.Schema:
    """Names and types by the first block of a file."""
    if place.size == 0:
        raise InputError(
            f"{place.name} is empty: it has not even a line of names",
            code="malformed_request",
            hint="give files that begin with the names of their columns",
            details=[{"code": "malformed_request", "file": place.name}],
        )
    with _opened(place, {}, None) as reader:
        return reader.schema.remove_metadata()


def _later_types(
    places: Sequence[Place], schemas: Sequence[pa.Schema], schema: pa.Schema, empty: list[str]
) -> pa.Schema:
    """Types of columns that have no value in any first block, by the first block where they have; text if never."""
    found: dict[str, pa.DataType] = {}
    for place, own in zip(places, schemas, strict=True):
        left = [name for name in empty if name not in found]
        if not left:
            break
        for batch in _parsed(place, tuple(own.names), dict.fromkeys(left, pa.string()), left):
            for name in [name for name in left if batch.column(name).null_count < batch.num_rows]:
                found[name] = _type_of(batch.column(name))
            left = [name for name in left if name not in found]
            if not left:
                break
    fields = [pa.field(f.name, found.get(f.name, pa.string()) if f.name in empty else f.type) for f in schema]
    return pa.schema(fields)


def _type_of(texts: pa.Array) -> pa.DataType:
    """The type that would have been inferred of these values."""
    sink = pa.BufferOutputStream()
    csv.write_csv(pa.table({"column": texts.drop_null()}), sink)
    kind = csv.read_csv(pa.BufferReader(sink.getvalue()), csv.ReadOptions(use_threads=False)).schema.field(0).type
    return pa.string() if pa.types.is_null(kind) else kind


def _parsed(
    place: Place, names: Sequence[str], types: dict[str, pa.DataType], wanted: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """A file's rows, of these types."""
    with _opened(place, types, wanted) as reader:
        try:
            yield from reader
        except pa.ArrowException as error:
            raise _fault(place, names, types, error) from error


@contextmanager
def _opened(
    place: Place, types: dict[str, pa.DataType], wanted: Sequence[str] | None
) -> Iterator[csv.CSVStreamingReader]:
    options = csv.ConvertOptions(
        column_types=types,
        include_columns=list(wanted) if wanted is not None else None,
        strings_can_be_null=True,
        null_values=[""],
    )
    reading = csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    end = "." + place.suffix.rpartition(".")[2]
    parsing = csv.ParseOptions(newlines_in_values=True, delimiter="\t" if ".tsv" in place.suffix else ",")
    with place.open() as file:
        # The end of its name says how a file is compressed; a stream has no name.
        kind = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}[end] if end in COMPRESSED else None
        content = pa.CompressedInputStream(file, kind) if kind else file
        try:
            reader = csv.open_csv(content, reading, parsing, options)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise _fault(place, [], types, error) from error
        with reader:
            yield reader


def _fault(place: Place, names: Sequence[str], types: dict[str, pa.DataType], error: Exception) -> InputError:
    """What cannot be parsed, by column and row where the parser says so."""
    match = _FAULT.search(str(error))
    if match is None:
        return unreadable(place.name, error)
    number, row, why = int(match.group(1)), match.group(2), match.group(3).splitlines()[0]
    column = names[number] if number < len(names) else f"#{number}"
    detail: dict[str, Any] = {"code": "wrong_type", "file": place.name, "column": column}
    if row is not None:
        # Rows are counted from 0 behind the line of names; the parser counts lines from 1.
        detail["row"] = int(row) - 2
    if column in types:
        detail["expected"] = str(types[column])
    return InputError(
        f"{place.name}: column {column!r} has a value of another type than the first rows: {why}",
        code="wrong_type",
        hint="write Parquet or Arrow, which hold their types, or mend the value",
        details=[detail],
    )
