"""HTTP by hand over one socket: what is sent is exactly what the test says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

DEADLINE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    version: str

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error it carries."""
        return self.json()["error"]


class Closed(Exception):  # noqa: N818
    """The server closed the connection. ``received`` is what it had sent of an answer."""

    def __init__(self, received: bytes, *, reset: bool) -> None:
        super().__init__(f"closed after {received!r}")
        self.received, self.reset = received, reset


class Raw:
    """One connection."""

    def __init__(self, address: tuple[str, int], *, deadline_s: float = DEADLINE_S) -> None:
        self.socket = socket.create_connection(address, timeout=deadline_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(
        self, method: str, path: str, body: bytes | None = None, *headers: str, version: str = "HTTP/1.1"
    ) -> None:
        """Send one whole request."""
        self.send(request(method, path, body, *headers, version=version))

    def ask(self, method: str, path: str, body: bytes | None = None, *headers: str) -> Answer:
        """Send one whole request and read its answer."""
        self.request(method, path, body, *headers)
        return self.answer(head_only=method == "HEAD")

    def answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer; more may follow it."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            self._more()
        lines = self._received[:end].decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        body_start = end + 4
        length = 0 if head_only or int(status) < 200 else int(headers["content-length"])
        while len(self._received) < body_start + length:
            self._more()
        body = self._received[body_start : body_start + length]
        self._received = self._received[body_start + length :]
        return Answer(int(status), headers, body, version)

    def ends(self) -> bytes:
        """What comes until the server closes."""
        with contextlib.suppress(Closed):
            while True:
                self._more()
        return self._received

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            self._more()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(DEADLINE_S)
        return False

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError as error:
            raise Closed(self._received, reset=True) from error
        if not data:
            raise Closed(self._received, reset=False)
        self._received += data

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_right(answer: Answer) -> None:
    """Make sure that an answer is one row's prediction."""
    assert answer.status == 200, answer
    assert len(answer.json()["predictions"]) == 1


def request(method: str, path: str, body: bytes | None = None, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """A whole request's bytes; a body gets its length and the JSON content type unless ``headers`` have one."""
    lines = [f"{method} {path} {version}", "Host: test", *headers]
    given = {header.split(":", 1)[0].lower() for header in headers}
    if body is not None:
        if "content-length" not in given and "transfer-encoding" not in given:
            lines.append(f"Content-Length: {len(body)}")
        if "content-type" not in given:
            lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def is_gone(address: tuple[str, int]) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return True
    return False


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


@contextlib.contextmanager
def connections(address: tuple[str, int], count: int) -> Iterator[list[Raw]]:
    """Many connections, closed at the end of the block."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Raw(address)) for _ in range(count)]
