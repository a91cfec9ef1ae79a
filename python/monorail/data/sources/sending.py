"""How a fragment that lies in this process's memory or temporary folder gets to a worker elsewhere.

Pickled by itself, such a fragment carries its rows. While an executor sends tasks (:func:`sending`), it carries a
handle instead: the rows are put once where workers can get them, however many passes read them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ..source import BATCH_ROWS
from .base import narrowed


class Handle(Protocol):
    """Where rows were put; it can be pickled."""

    def buffer(self) -> pa.Buffer:
        """The rows as an Arrow IPC stream."""
        ...


#: ``(key, owner, read)`` to a handle: ``owner`` is kept, so that the key stays its own; ``read`` makes the IPC stream.
Sender = Callable[[Hashable, Any, Callable[[], pa.Buffer]], Handle]
_sender: ContextVar[Sender | None] = ContextVar("sender", default=None)


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    """Fragments that are pickled in this block give their rows to ``sender``."""
    token = _sender.set(sender)
    try:
        yield
    finally:
        _sender.reset(token)


def sent(key: Hashable, owner: Any, read: Callable[[], pa.Buffer]) -> Handle:
    """A handle of rows: the sender's, where one is at work, else one that carries them."""
    sender = _sender.get()
    return Carried(read()) if sender is None else sender(key, owner, read)


@dataclass(frozen=True)
class Carried:
    """Rows that travel in the pickle itself."""

    content: pa.Buffer

    def buffer(self) -> pa.Buffer:
        """The rows as an Arrow IPC stream."""
        return self.content


@dataclass(frozen=True)
class Sent:
    """Rows that were sent from elsewhere; see :class:`monorail.data.source.Fragment`."""

    handle: Handle
    name: str
    rows: int | None
    start: int
    schema: pa.Schema
    kept: pc.Expression | None = None

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, as views of what was sent."""
        stream = pa.ipc.open_stream(self.handle.buffer())
        return narrowed(stream, self.schema, columns, self.kept, max_rows)


def ipc_buffer(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Buffer:
    """Batches as one Arrow IPC stream; of a slice, only its own rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()
