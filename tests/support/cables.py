"""A way to a server that can be cut: what is sent vanishes, without an end of the connection, until it is mended."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class Cable:
    """A proxy that passes bytes on in both directions, unless it is cut.

    A cut is that of a network: connections stay open at both ends, and nothing arrives any more. What was begun before
    a cut does not go on after it either; new connections do once it is mended.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._cut = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listening.getsockname()[1]

    def cut(self) -> None:
        """From now on nothing arrives."""
        self._cut.set()

    def mend(self) -> None:
        """New connections work again."""
        self._cut = threading.Event()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass, args=(one, other, self._cut))
                    self._threads.append(thread)
                    thread.start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not cut.is_set():
                    other.sendall(data)
            if not cut.is_set():
                other.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Cable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for end in (self._listening, *self._open):
            end.close()
