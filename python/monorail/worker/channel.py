"""The worker's end of the control channel: frames of 32 bytes, and descriptors of shared memory.

The other end is ``crates/core/src/engine/worker/channel.rs`` and ``frame.rs``. No frame holds an object of any kind.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import socket
import struct

FRAME = struct.Struct("<IIQQQ")
START, MEMORY, BATCH, PING = 1, 2, 3, 4
READY, REFUSED, ANSWER, FAILED, GROW, PONG = 65, 66, 67, 68, 69, 70
KEPT, INTERRUPTED, ANSWERS = 1, 2, 4
#: Most bytes of text behind a frame.
LIMIT_TEXT_BYTES = 8 << 10
_ROOM = socket.CMSG_SPACE(array.array("i").itemsize)


class Closed(Exception):  # noqa: N818 (nothing went wrong)
    """The server has closed the channel: there is no more to do."""


class Channel:
    """Frames to and from the server.

    Attributes:
        question: the memory that questions lie in, once the server has given it.
        answer: the memory for answers, likewise.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.question: mmap.mmap | None = None
        self.answer: mmap.mmap | None = None

    @classmethod
    def of_standard_input(cls) -> Channel:
        """The channel that the server made standard input, moved where nothing that the model starts finds it."""
        connection = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(connection)

    def receive(self) -> tuple[int, int, int, int, int]:
        """The next frame that is not about memory: kind, flags, sequence, size, rows. Memory is taken on the way.

        Raises:
            Closed: there will be none.
        """
        while True:
            try:
                data, extras, _, _ = self._connection.recvmsg(FRAME.size, _ROOM)
            except ConnectionError:
                data, extras = b"", []
            if len(data) < FRAME.size:
                data += self._rest(FRAME.size - len(data))
            frame = FRAME.unpack(data)
            if frame[0] != MEMORY:
                return frame
            self._take(frame, extras)

    def _take(self, frame: tuple[int, int, int, int, int], extras: list[tuple[int, int, bytes]]) -> None:
        """Maps the memory whose descriptor came beside a frame.

        Raises:
            OSError: none came. What was mapped before must not be taken for it: it holds another batch.
        """
        _, flags, _, size, _ = frame
        descriptor = -1
        for level, kind, descriptors in extras:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and descriptors:
                descriptor = array.array("i", descriptors)[0]
        if descriptor < 0:
            raise OSError(errno.EMFILE, "no shared memory could be received: the process has no descriptor left")
        try:
            if flags & ANSWERS:
                self.answer = mmap.mmap(descriptor, size)
            else:
                self.question = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def _rest(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                got = self._connection.recv(size - len(data))
            except ConnectionError:
                got = b""
            if not got:
                raise Closed
            data += got
        return data

    def fields(self, size: int) -> list[bytes]:
        """The fields behind a frame, each with its length before it."""
        data, fields = self._rest(size), []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            fields.append(data[4:end])
            data = data[end:]
        return fields

    def send(self, kind: int, *, flags: int = 0, sequence: int = 0, size: int = 0, text: str = "") -> None:
        """Sends a frame, and text behind it if there is some.

        Raises:
            Closed: nobody listens any more.
        """
        tail = text.encode("utf-8", "replace")[:LIMIT_TEXT_BYTES]
        try:
            self._connection.sendall(FRAME.pack(kind, flags, sequence, len(tail) or size, 0) + tail)
        except ConnectionError:
            raise Closed from None

    def wait_for_room(self, sequence: int, size: int) -> mmap.mmap:
        """Memory for an answer of ``size`` bytes; larger memory is asked for where it is too small.

        Raises:
            Closed: the server is gone.
        """
        while self.answer is None or len(self.answer) < size:
            self.send(GROW, sequence=sequence, size=size)
            data, extras, _, _ = self._connection.recvmsg(FRAME.size, _ROOM)
            data += self._rest(FRAME.size - len(data)) if len(data) < FRAME.size else b""
            self._take(FRAME.unpack(data), extras)
        return self.answer

    def close(self) -> None:
        """Closes this end. In a child that the model has forked, so that it does not keep the channel open."""
        self._connection.close()
