"""A way to a server on which connections break: requests arrive, and answers are lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class Cutting:
    """A proxy that passes bytes on, and closes a connection instead of giving back the first byte of an answer.

    Args:
        server: Where requests go.
        lost: So many connections lose their first answer; later ones work.
    """

    def __init__(self, server: tuple[str, int], *, lost: int) -> None:
        self._server, self._left = server, lost
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def left(self) -> int:
        """How many more answers will be lost."""
        return self._left

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for one, other, back in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pass, args=(one, other, back))
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if back and self._left:
                    # The server has answered, so it has done what was asked.
                    self._left -= 1
                    break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Cutting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for end in self._open:
            end.close()
