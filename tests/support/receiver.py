"""Receivers of callbacks, on a socket of their own: honest ones, and ones that do what they like with a connection."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .waiting import wait_until

#: Longest that a receiver waits for a request's next bytes.
PATIENCE_S = 30.0


@dataclasses.dataclass(frozen=True)
class Delivery:
    """A request as it came.

    Attributes:
        line: Its first line.
        headers: By name, in lower case.
        body: Its bytes.
    """

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """What the body tells."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def signed_with(self, secret: str, *, tolerance_s: float = 300.0) -> bool:
        """Whether one of its signatures is that of a secret, and its time about now."""
        timestamp = self.headers["webhook-timestamp"]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{self.id}.{timestamp}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        found = any(hmac.compare_digest(expected, each) for each in self.headers["webhook-signature"].split(" "))
        return found and abs(time.time() - int(timestamp)) < tolerance_s


#: What is done with a connection whose request has been read: the first argument, to which the second one was sent.
Manner = Callable[[socket.socket, Delivery], None]


def answering(status: int, *fields: str, body: bytes = b"") -> Manner:
    """Answers with a status and header fields, and closes."""

    def answer(connection: socket.socket, _: Delivery) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *fields]
        connection.sendall("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)

    return answer


def sending(*parts: bytes) -> Manner:
    """Sends these bytes, whatever they are, and closes."""

    def send(connection: socket.socket, _: Delivery) -> None:
        for part in parts:
            connection.sendall(part)

    return send


def endless(first: bytes, part: bytes) -> Manner:
    """Sends something, and then more of something else as long as it is taken."""

    def send(connection: socket.socket, _: Delivery) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(part)

    return send


class Held:
    """Answers nobody until it is let go."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def __call__(self, connection: socket.socket, delivery: Delivery) -> None:
        if self.gone.wait(PATIENCE_S):
            answering(204)(connection, delivery)


class Receiver:
    """Takes requests at a port of an address, a free one unless it is given, each connection on a thread.

    Attributes:
        manners: What is done with a request; the last one with all that follow.
        deliveries: The requests that were read, in the order in which they came.
    """

    def __init__(
        self, *manners: Manner, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.manners = list(manners or (answering(204),))
        self.deliveries: list[Delivery] = []
        self._host = host
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.socket()
        # Who is bound but does not listen is not reached, and nobody else gets the port.
        self._listener.bind((host, port))
        self.port: int = self._listener.getsockname()[1]

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    def url(self, path: str = "/") -> str:
        return self.origin + path

    def listen(self) -> Receiver:
        """Be there from now on."""
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def wait(self, count: int, what: Callable[[Delivery], bool] = lambda _: True) -> list[Delivery]:
        """The first so many requests of a kind, once they are there."""

        def found() -> list[Delivery]:
            wanted = [delivery for delivery in list(self.deliveries) if what(delivery)]
            return wanted[:count] if len(wanted) >= count else []

        return wait_until(f"{count} deliveries at {self.origin}", found)

    def of(self, job: str, count: int = 1) -> list[Delivery]:
        """The first so many requests about a job."""
        return self.wait(count, lambda delivery: delivery.event["data"]["id"] == job)

    def release(self) -> int:
        """Leave the port to somebody else who listens there at once."""
        self._listener.close()
        return self.port

    def close(self) -> None:
        # A thread that accepts is woken by this, not by closing.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Receiver:
        return self.listen()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        # The other end may go at any time: that is what some manners are for.
        with connection, contextlib.suppress(OSError):
            if self._tls:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._answer(secured)
            else:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        delivery = _read(connection)
        if delivery is None:
            return
        with self._lock:
            manner = self.manners[min(len(self.deliveries), len(self.manners) - 1)]
            self.deliveries.append(delivery)
        manner(connection, delivery)


def _read(connection: socket.socket) -> Delivery | None:
    """A whole request; None if the other end goes before that."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    while len(body) < int(headers["content-length"]):
        part = connection.recv(65_536)
        if not part:
            return None
        body += part
    return Delivery(line, headers, body)
