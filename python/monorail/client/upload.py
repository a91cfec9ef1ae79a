"""Large tables on their way to the server: an Arrow stream made as it is sent, never held whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: Tables over so many bytes are sent as they are encoded.
LARGE_BYTES = 1 << 20
#: About how many bytes a record batch of them has.
BATCH_BYTES = 1 << 20


class Upload:
    """The body of a request: the pieces of an Arrow stream, one record batch after the other.

    Args:
        schema: Of the batches.
        batches: Gives the batches, again each time it is called if ``again``.
        again: Whether the body can be made more than once.
    """

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]], *, again: bool) -> None:
        self.again = again
        self._schema = schema
        self._batches = batches

    def __iter__(self) -> Iterator[bytes]:
        import pyarrow as pa

        sink = _Pieces()
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), self._schema) as writer:
            for batch in self._batches():
                writer.write_batch(batch)
                yield sink.take()
        yield sink.take()


class _Pieces:
    """A file that is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        """What was written since the last time."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole


def upload_of(table: pa.Table) -> Upload:
    """A table, in record batches of about :data:`BATCH_BYTES`."""
    rows = max(1, BATCH_BYTES * table.num_rows // max(1, table.nbytes))
    return Upload(table.schema, lambda: table.to_batches(max_chunksize=rows), again=True)


def upload_of_reader(reader: pa.RecordBatchReader) -> Upload:
    """What a reader reads, once; its batches are cut to about :data:`BATCH_BYTES`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            rows = max(1, BATCH_BYTES * batch.num_rows // max(1, batch.nbytes))
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    return Upload(reader.schema, batches, again=False)
