"""Arrow IPC, files and streams: fragments are runs of record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed
from .folders import constants, with_columns, with_keys
from .places import Place, unreadable
from .schemas import CastError, conformed, misfit, one_schema, plain_schema
from .sending import Sent, ipc_buffer, sent
from .tables import FRAGMENT_ROWS

_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class Batches:
    """Record batches of one file that follow each other; see :class:`monorail.data.source.Fragment`.

    Attributes:
        place: The file.
        first: Number of the first batch.
        count: How many; None for all of a stream, which can only be read from its beginning.
        schema: Of the source.
        rows: How many, before filters.
        start: Number of the first row in the source, or -1.
        kept: Which rows are wanted.
        keys: Columns that the folders spell, and their one value.
        private: Whether the file is a temporary one of this machine.
    """

    place: Place
    first: int
    count: int | None
    schema: pa.Schema
    rows: int | None
    start: int
    kept: pc.Expression | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    private: bool = False

    @property
    def name(self) -> str:
        """The file and the batches."""
        if self.count is None:
            return self.place.name
        return f"{self.place.name}, batches {self.first} to {self.first + self.count - 1}"

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, batch by batch."""
        wanted = list(columns) if columns is not None else self.schema.names
        return narrowed(self._read(wanted, coded), self.schema, wanted, self.kept, max_rows)

    def _read(self, wanted: list[str], coded: bool) -> Iterator[pa.RecordBatch]:
        needed = {*wanted, *columns_of(self.kept, self.schema)}
        spelt = [pair for pair in self.keys if pair[0] in needed]
        try:
            with self.place.open() as file:
                for batch in self._stored(file, needed):
                    more = constants(spelt, self.schema, batch.num_rows)
                    yield with_columns(conformed(batch, self.schema, coded=coded), more)
        except CastError as error:
            raise misfit(self.name, self.place.name, error) from error
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.place.name, error) from error

    def _stored(self, file: pa.NativeFile, needed: set[str]) -> Iterator[pa.RecordBatch]:
        if self.count is None:
            with pa.ipc.open_stream(file) as stream:
                names = [name for name in stream.schema.names if name in needed] or stream.schema.names[:1]
                for batch in stream:
                    yield batch.select(names)
            return
        names = pa.ipc.open_file(file).schema.names
        places = [place for place, name in enumerate(names) if name in needed] or [0]
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=places)
        with pa.ipc.open_file(file, options=options) as stored:
            for number in range(self.first, self.first + self.count):
                yield stored.get_batch(number)

    def __reduce__(self) -> tuple[Any, ...]:
        """A spooled file is on this machine alone, so elsewhere its rows are what is sent."""
        if not self.private:
            fields = (self.place, self.first, self.count, self.schema, self.rows, self.start, self.kept, self.keys)
            return Batches, fields
        whole = Batches(self.place, self.first, self.count, self.schema, self.rows, self.start)
        handle = sent((self.place.path, self.first), self.place, lambda: ipc_buffer(whole.batches(), self.schema))
        return Sent, (handle, self.name, self.rows, self.start, self.schema, self.kept)


def ipc_source(places: Sequence[Place], kept: pc.Expression | None = None, *, private: bool = False) -> Fragments:
    """Arrow IPC files and streams as a source.

    Args:
        places: The files.
        kept: Which rows are wanted.
        private: Whether they are temporary ones of this machine.

    Raises:
        InputError: a file is not whole or no Arrow; or the files have no schema in common.
    """
    contents = [_contents(place) for place in places]
    schema, notes = one_schema([(place.name, found) for place, (found, _) in zip(places, contents, strict=True)])
    own = set(schema.names)
    schema, keys = with_keys(schema, places)
    fragments: list[Batches] = []
    start, total = 0, 0
    for place, (_, counts), spelt in zip(places, contents, keys, strict=True):
        values = tuple(pair for pair in spelt if pair[0] not in own)
        at = -1 if kept is not None else start
        if counts is None:
            fragments.append(Batches(place, 0, None, schema, None, at, kept, values, private))
            start, total = -1, -1
            continue
        for first, count, rows in runs(counts):
            at = -1 if kept is not None else start
            fragments.append(Batches(place, first, count, schema, rows, at, kept, values, private))
            start = start + rows if start >= 0 else -1
        total = total + sum(counts) if total >= 0 else -1
    name = places[0].name if len(places) == 1 else f"{places[0].name} and {len(places) - 1} more"
    return Fragments(name, schema, fragments, rows=total if kept is None and total >= 0 else None, notes=notes)


def runs(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Batches in runs that are large enough for a task: the first, how many, how many rows."""
    first = held = 0
    for number, rows in enumerate(counts):
        held += rows
        if held >= FRAGMENT_ROWS or number == len(counts) - 1:
            if held:
                yield first, number + 1 - first, held
            first, held = number + 1, 0


def _contents(place: Place) -> tuple[pa.Schema, list[int] | None]:
    """The schema of a file, and how many rows each batch has; None where only reading tells."""
    try:
        with place.open() as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                file.seek(0)
                with pa.ipc.open_stream(file) as stream:
                    return plain_schema(stream.schema), None
            file.seek(0)
            schema = pa.ipc.open_file(file).schema
            options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=[_narrowest(schema)])
            with pa.ipc.open_file(file, options=options) as stored:
                counts = [stored.get_batch(number).num_rows for number in range(stored.num_record_batches)]
            return plain_schema(schema), counts
    except (OSError, pa.ArrowException) as error:
        raise unreadable(place.name, error) from error


def _narrowest(schema: pa.Schema) -> int:
    """The column that is read fastest; a batch's length stands nowhere else that can be read alone."""

    def width(place: int) -> int:
        kind = schema.field(place).type
        return kind.bit_width if pa.types.is_primitive(kind) else 1_000

    return min(range(len(schema)), key=width, default=0)
