"""CSV: types by the first block of each file, the same for all; empty cells are null; a file is a fragment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from .misfits import content, delimiter, fault, misfit, set_aside, slip
from .places import Place
from .schemas import one_schema

#: What is parsed at once, in bytes; also what types are inferred from.
BLOCK_BYTES = 1 << 21


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
        aside: A value that is not of its column's type is no error: it is null, and told in the column ``MISFITS``,
            which can be asked for. Not of columns that rows are filtered by.
    """

    place: Place
    schema: pa.Schema
    names: tuple[str, ...]
    start: int
    kept: pc.Expression | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    rows: int | None = None
    aside: bool = False

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
        for batch in self._parsed(types, names):
            yield with_columns(batch, constants(spelt, self.schema, batch.num_rows))

    def _parsed(self, types: dict[str, pa.DataType], names: list[str]) -> Iterator[pa.RecordBatch]:
        if not self.aside:
            yield from _parsed(self.place, self.names, types, names)
            return
        done = 0
        try:
            for batch in _parsed(self.place, self.names, types, names):
                done += batch.num_rows
                yield set_aside(batch, {})
            return
        except InputError as error:
            if error.code != "wrong_type":
                raise
        # From the first block on that has such a value, the slower way.
        filtered = columns_of(self.kept, self.schema)
        loose = {name: types[name] for name in names if name not in filtered}
        for batch in _parsed(self.place, self.names, types | dict.fromkeys(loose, pa.binary()), names):
            skipped = min(done, batch.num_rows)
            done -= skipped
            if skipped < batch.num_rows:
                yield set_aside(batch.slice(skipped), loose)


def csv_source(
    places: Sequence[Place], kept: pc.Expression | None = None, types: Mapping[str, pa.DataType] | None = None
) -> Fragments:
    """CSV files as a source.

    Args:
        places: The files.
        kept: Which rows are wanted.
        types: Of columns by name, where they are known; others are inferred.

    Raises:
        InputError: a file has no header or cannot be parsed; or the files have no schema in common, with the value
            that does not fit.
    """
    slips: dict[str, InputError] = {}
    schemas = [_typed(_inferred(place, slips), types or {}) for place in places]
    try:
        schema, notes = one_schema([(place.name, found) for place, found in zip(places, schemas, strict=True)])
    except InputError as error:
        if error.code == "wrong_type":
            _blame(places, schemas, error.details[0]["column"])
        raise
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
    slips = {column: error for column, error in slips.items() if column not in (types or {})}
    return Fragments(name, schema, fragments, notes=notes, slips=slips)


def _inferred(place: Place, slips: dict[str, InputError]) -> pa.Schema:
    """Names and types by the first block of a file.

    Args:
        place: The file.
        slips: Is given the columns that are text by a few values, while the others are numbers.
    """
    if place.size == 0:
        raise InputError(
            f"{place.name} is empty: it has not even a line of names",
            code="malformed_request",
            hint="give files that begin with the names of their columns",
            details=[{"code": "malformed_request", "file": place.name}],
        )
    with _opened(place, [], {}, None) as reader:
        schema = reader.schema.remove_metadata()
        first = next(iter(reader), None)
    for column, (row, got) in (slip(first) if first is not None else {}).items():
        slips.setdefault(column, misfit(place, column, row, got, "a number", ", as its others are"))
    return schema


def _typed(schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema([field.with_type(types.get(field.name, field.type)) for field in schema])


def _blame(places: Sequence[Place], schemas: Sequence[pa.Schema], column: str) -> None:
    """Find the value that makes a column text in some file, while it is something else in another.

    Raises:
        InputError: ``wrong_type``: the value.
    """
    kinds = [schema.field(column).type for schema in schemas]
    texts = [pa.types.is_string(kind) or pa.types.is_binary(kind) for kind in kinds]
    other = next((place for place, kind in enumerate(kinds) if not texts[place] and not pa.types.is_null(kind)), None)
    if other is None:
        return
    kind = pa.float64() if pa.types.is_integer(kinds[other]) else kinds[other]
    for place, schema, is_text in zip(places, schemas, texts, strict=True):
        if not is_text:
            continue
        try:
            next(_parsed(place, schema.names, {column: kind}, [column]), None)
        except InputError as error:
            error.message += f", as in {places[other].name}"
            error.args = (error.message,)
            raise


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
    with _opened(place, names, types, wanted) as reader:
        yield from reader


@contextmanager
def _opened(
    place: Place, names: Sequence[str], types: Mapping[str, pa.DataType], wanted: Sequence[str] | None
) -> Iterator[csv.CSVStreamingReader]:
    options = csv.ConvertOptions(
        column_types=dict(types),
        include_columns=list(wanted) if wanted is not None else None,
        strings_can_be_null=True,
        null_values=[""],
    )
    reading = csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    parsing = csv.ParseOptions(newlines_in_values=True, delimiter=delimiter(place))
    with place.open() as file:
        try:
            # What is in the first block is parsed and converted here.
            reader = csv.open_csv(content(place, file), reading, parsing, options)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise fault(place, names, types, error) from error
        with reader:
            try:
                yield reader
            except (OSError, pa.ArrowException) as error:
                raise fault(place, names, types, error) from error
