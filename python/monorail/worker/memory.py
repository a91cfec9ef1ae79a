"""Record batches over the question's memory, and whether anything still looks at it."""

from __future__ import annotations

import mmap
import sys

import pyarrow as pa

#: Bytes before the message: the word that says which batch is to be given up, and room to the next cache line.
MESSAGE_START = 64


class Question:
    """One piece of question memory.

    The batches read from it are views: no value is copied. What a model keeps of one would change with the next
    batch, so the server is told, and gives other memory for that.
    """

    def __init__(self, memory: mmap.mmap, schema: pa.Schema) -> None:
        self._schema = schema
        self._word = memoryview(memory)[:8].cast("Q")
        self._address = pa.py_buffer(memory).address
        # Whatever looks at a buffer over this address holds it.
        self._holder = _Holder(memory)
        self._free = sys.getrefcount(self._holder)

    def batch(self, size: int) -> pa.RecordBatch:
        """The record batch whose message of ``size`` bytes lies there."""
        message = pa.foreign_buffer(self._address + MESSAGE_START, size, base=self._holder)
        return pa.ipc.read_record_batch(message, self._schema)

    def is_kept(self) -> bool:
        """Whether something still looks at a batch read from here."""
        return sys.getrefcount(self._holder) > self._free

    def given_up(self) -> int:
        """The number of the batch that the server has given up; 0 if none."""
        return self._word[0]


class _Holder:
    """Counts who looks at some memory, by being held, and keeps it mapped."""

    __slots__ = ("memory",)

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
