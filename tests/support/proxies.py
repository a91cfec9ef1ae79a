"""Ways to a server on which something happens to what is sent: answers are lost, requests are held."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes on between callers and a server, unless a connection is to end.

    Args:
        server: Where requests go.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where callers come."""
        return self._listening.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asks(self, caller: socket.socket, data: bytes) -> bool:
        """Whether a caller's bytes go on; else its connection ends. May take its time."""
        return True

    def answers(self, data: bytes) -> bool:
        """Whether the server's bytes go back; else the connection ends."""
        return True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass, args=(one, other, near))
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, one: socket.socket, other: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not (self.asks(near, data) if one is near else self.answers(data)):
                    break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
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


class Cutting(Proxy):
    """Closes a connection instead of giving back the first byte of an answer.

    Args:
        server: Where requests go.
        lost: So many connections lose their first answer; later ones work.
    """

    def __init__(self, server: tuple[str, int], *, lost: int) -> None:
        self._left = lost
        super().__init__(server)

    @property
    def left(self) -> int:
        """How many more answers will be lost."""
        return self._left

    def answers(self, data: bytes) -> bool:
        # The server has answered, so it has done what was asked.
        self._left -= (is_lost := self._left > 0)
        return not is_lost


class Holding(Proxy):
    """Holds what one connection sends.

    Args:
        server: Where requests go.
        word: The second connection that sends something with this word in it is held from then on.
    """

    def __init__(self, server: tuple[str, int], *, word: bytes) -> None:
        self._word = word
        self._senders: list[socket.socket] = []
        self._released = threading.Event()
        super().__init__(server)

    @property
    def holds(self) -> bool:
        """Whether a connection is held."""
        return len(self._senders) > 1

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._released.set()

    def asks(self, caller: socket.socket, data: bytes) -> bool:
        if self._word in data and caller not in self._senders:
            self._senders.append(caller)
        if caller in self._senders[1:2]:
            self._released.wait()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        super().__exit__(kind, error, trace)
