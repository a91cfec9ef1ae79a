"""Rows that come once, kept in a temporary Arrow file so that they can be read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import Fragments, narrowed
from .ipc import Batches, ipc_source, runs
from .places import Place
from .schemas import conformed, plain_schema


def spooled(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, kept: pc.Expression | None = None, *, name: str = "stream"
) -> Fragments:
    """Rows that come once, kept in a temporary file while the source is open, so that they can be read again.

    Args:
        batches: Read to their end here.
        schema: Theirs.
        kept: Which rows are wanted; others are not stored.
        name: What errors and progress call it.
    """
    folder = tempfile.TemporaryDirectory(prefix="monorail-", ignore_cleanup_errors=True)
    try:
        path = Path(folder.name) / "rows.arrow"
        plain = plain_schema(schema)
        counts = _spool(path, narrowed(map(_plain(plain), batches), plain, None, kept, BATCH_ROWS), plain)
        facts = path.stat()
        place = Place(name, str(path), facts.st_size, facts.st_mtime_ns)
        fragments, start = [], 0
        for first, count, rows in runs(counts):
            fragments.append(Batches(place, first, count, plain, rows, start, private=True))
            start += rows
    except BaseException:
        folder.cleanup()
        raise
    return Fragments(name, plain, fragments, rows=start, at_end=folder.cleanup)


def sunk(write: Callable[[str], object], kept: pc.Expression | None = None, *, name: str = "stream") -> Fragments:
    """What somebody else writes into an Arrow file, which is kept while the source is open.

    Args:
        write: Called with the path.
        kept: Which rows are wanted.
        name: What errors and progress call it.
    """
    folder = tempfile.TemporaryDirectory(prefix="monorail-", ignore_cleanup_errors=True)
    try:
        path = Path(folder.name) / "rows.arrow"
        write(str(path))
        facts = path.stat()
        source = ipc_source([Place(name, str(path), facts.st_size, facts.st_mtime_ns)], kept, private=True)
    except BaseException:
        folder.cleanup()
        raise
    return Fragments(name, source.schema, source.fragments, rows=source.rows, at_end=folder.cleanup)


def _plain(schema: pa.Schema) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """What brings batches to a schema."""
    return lambda batch: conformed(batch.select(schema.names), schema)


def _spool(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> list[int]:
    """Write batches, small ones together; how many rows each has in the file."""
    counts: list[int] = []
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False, emit_dictionary_deltas=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        codes = {
            name: Codes(schema.field(name).type)
            for name in schema.names
            if pa.types.is_dictionary(schema.field(name).type)
        }
        for batch in _gathered(_recoded(batch, codes) for batch in batches):
            writer.write_batch(batch)
            counts.append(batch.num_rows)
    return counts


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of a good size, out of batches of any."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if rows and rows + batch.num_rows > BATCH_ROWS:
            yield _joined(held)
            held, rows = [], 0
        held.append(batch)
        rows += batch.num_rows
    if held:
        yield _joined(held)


def _joined(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    return held[0] if len(held) == 1 else pa.concat_batches(held)


class Codes:
    """The values of a dictionary column, which only grow: a file may have one dictionary, and additions to it."""

    def __init__(self, kind: pa.DictionaryType) -> None:
        self._kind = kind
        self._values = pa.array([], kind.value_type)

    def recoded(self, column: pa.DictionaryArray) -> pa.DictionaryArray:
        """The column in codes of the values so far, with its new ones behind them."""
        if not column.dictionary.equals(self._values):
            new = _missing(column.dictionary, self._values)
            self._values = pa.concat_arrays([self._values, new.unique().drop_null()])
            codes = pc.call_function("index_in", [column.dictionary], pc.SetLookupOptions(self._values))
            column = pa.DictionaryArray.from_arrays(
                codes.take(column.indices).cast(self._kind.index_type), self._values, ordered=self._kind.ordered
            )
        return column


def _recoded(batch: pa.RecordBatch, codes: Mapping[str, Codes]) -> pa.RecordBatch:
    if not codes:
        return batch
    columns = [
        codes[name].recoded(column) if name in codes else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _missing(values: pa.Array, known: pa.Array) -> pa.Array:
    """The values that are not known yet."""
    return values.filter(pc.call_function("invert", [pc.call_function("is_in", [values], pc.SetLookupOptions(known))]))
