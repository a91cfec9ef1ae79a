"""What the user names or holds, as a source."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .incoming import is_pandas, to_arrow
from .source import BATCH_ROWS, Source
from .sources.base import Fragments, check_filter, filter_expression
from .sources.places import Place, found, unreadable
from .sources.schemas import plain_schema
from .sources.spooling import spooled, sunk
from .sources.tables import table_source

#: Extensions of files of rows, by what reads them.
PARQUET = (".parquet", ".parq", ".pq")
ARROW = (".arrow", ".arrows", ".feather", ".ipc")
CSV = tuple(f"{kind}{end}" for kind in (".csv", ".tsv") for end in ("", ".gz", ".bz2", ".zst"))


def opened(data: Any, filters: Any = None, types: Mapping[str, pa.DataType] | None = None) -> Source:
    """Open data of any kind as a source; see :func:`monorail.data.source.open_source`."""
    kept = filter_expression(filters)
    if isinstance(data, str | os.PathLike):
        source = _files([os.fspath(data)], kept, types)
    elif isinstance(data, list | tuple) and data and all(isinstance(item, str | os.PathLike) for item in data):
        source = _files([os.fspath(item) for item in data], kept, types)
    elif isinstance(data, Fragments) and kept is None:
        return data
    else:
        source = _held(data, kept)
    try:
        check_filter(kept, source.schema)
    except InputError:
        source.__exit__(None, None, None)
        raise
    return source


def _files(names: list[str], kept: pc.Expression | None, types: Mapping[str, pa.DataType] | None) -> Source:
    """Files, all of one kind."""
    places = found(names, (*PARQUET, *ARROW, *CSV))
    kinds = {_kind(place): place for place in places}
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise InputError(
            f"{one.name} and {other.name} are of different kinds",
            code="malformed_request",
            hint="name files of one kind, for example with a pattern such as data/*.parquet",
        )
    kind = next(iter(kinds))
    if kind == "parquet":
        from .sources.parquet import parquet_source

        return parquet_source(places, kept)
    if kind == "arrow":
        from .sources.ipc import ipc_source

        return ipc_source(places, kept)
    from .sources.delimited import csv_source

    return csv_source(places, kept, types)


def _kind(place: Place) -> str:
    """What reads a file: by its extension, or by how it begins."""
    for kind, suffixes in (("parquet", PARQUET), ("arrow", ARROW), ("csv", CSV)):
        if place.path.lower().endswith(suffixes):
            return kind
    try:
        with place.open() as file:
            head = file.read(6)
    except OSError as error:
        raise unreadable(place.name, error) from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if head == b"ARROW1":
        return "arrow"
    raise InputError(
        f"{place.name} is of a kind that is not read",
        code="malformed_request",
        hint="give .parquet, .csv or .arrow",
        details=[{"code": "malformed_request", "file": place.name}],
    )


def _held(data: Any, kept: pc.Expression | None) -> Source:
    """What is not in files: tables in memory, streams, frames that are lazy or elsewhere."""
    module = type(data).__module__.partition(".")[0]
    if isinstance(data, pa.Table | pa.RecordBatch) or is_pandas(data):
        return table_source(_plain(to_arrow(data)), kept)
    if isinstance(data, pa.RecordBatchReader):
        return _stream(data, data.schema, kept)
    if module == "polars":
        return _polars(data, kept)
    if module == "daft":
        from .daft import daft_source

        return daft_source(data, kept)
    if module == "ray" and hasattr(data, "iter_internal_ref_bundles"):
        from .sources.ray_blocks import ray_source

        return ray_source(data, kept)
    if module == "pyarrow" and hasattr(data, "get_fragments"):
        from .sources.datasets import dataset_source

        return dataset_source(data, kept)
    if hasattr(data, "__arrow_c_stream__"):
        stream = _from_stream(data)
        return _stream(stream, stream.schema, kept)
    if isinstance(data, Iterator):
        return _iterator(data, kept)
    if module == "numpy":
        raise InputError(
            "a NumPy array has no column names",
            code="malformed_request",
            hint="pass a frame or a table, for example pandas.DataFrame(array, columns=[...])",
        )
    if isinstance(data, list | tuple) and data and all(isinstance(item, pa.Table | pa.RecordBatch) for item in data):
        return table_source(_plain(pa.concat_tables([to_arrow(item) for item in data])), kept)
    return table_source(_plain(to_arrow(data)), kept)


def _plain(table: pa.Table) -> pa.Table:
    """A table in the layouts that all our code reads."""
    schema = plain_schema(table.schema)
    if len(set(schema.names)) < len(schema):
        name = next(name for name in schema.names if schema.names.count(name) > 1)
        raise InputError(f"column {name!r} is there twice", code="duplicate_column", hint="rename or drop one")
    table = table.select(schema.names)
    return table if table.schema.equals(schema) else table.cast(schema)


def _polars(data: Any, kept: pc.Expression | None) -> Source:
    """A Polars frame; a lazy one is computed in its own streaming engine, into a temporary file."""
    if hasattr(data, "sink_ipc"):
        return sunk(lambda path: data.sink_ipc(path), kept, name="LazyFrame")
    return table_source(_plain(to_arrow(data)), kept)


def _from_stream(data: Any) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(
            f"a {type(data).__name__} is not a stream of record batches: {error}",
            code="malformed_request",
            hint="give a table, a frame, or an iterator of record batches",
        ) from error


def _stream(batches: Iterator[pa.RecordBatch], schema: pa.Schema, kept: pc.Expression | None) -> Source:
    check_filter(kept, schema)
    return spooled(batches, schema, kept)


def _iterator(batches: Iterator[Any], kept: pc.Expression | None) -> Source:
    """Record batches, or tables or frames, that come one by one."""
    first = next(batches, None)
    if first is None:
        raise InputError("the iterator is empty", code="malformed_request", hint="give at least one record batch")
    schema = to_arrow(first).schema

    def all_of_them() -> Iterator[pa.RecordBatch]:
        for item in itertools.chain([first], batches):
            yield from to_arrow(item).to_batches(BATCH_ROWS)

    return _stream(all_of_them(), schema, kept)
