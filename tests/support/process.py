"""A real server process: started, read line by line, asked, and stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa

from .waiting import wait_until

ARROW = "application/vnd.apache.arrow.stream"
#: Longest wait for a server to become ready or to end.
DEADLINE_S = 60.0

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class ServerProcess:
    """``monorail serve`` in a process of its own, ready when this returns.

    ``settings`` are flags by name: ``threads=1`` is ``--threads 1``, ``access_log=True`` is ``--access-log``.
    The command begins with ``prefix``, which must end in running the rest in its own place.
    """

    def __init__(
        self,
        registry: Path,
        *models: str,
        read_stderr: bool = True,
        wait: bool = True,
        port: int = 0,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        ready_s: float = DEADLINE_S,
        **settings: Any,
    ) -> None:
        command = [*prefix, python, "-m", "monorail.cli", "serve", *models]
        command += ["--registry", str(registry), "--port", str(port)]
        for name, value in settings.items():
            word = "--" + name.replace("_", "-")
            command += ([word] if value else []) if isinstance(value, bool) else [word, str(value)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [self._read(self.process.stdout, self.out, self._lines)]
        if read_stderr:
            self._readers.append(self._read(self.process.stderr, self.err, None))
        self.url = ""
        if wait:
            self.wait_ready(ready_s)

    @staticmethod
    def _read(stream: IO[str] | None, into: list[str], lines: queue.Queue[str | None] | None) -> threading.Thread:
        def read() -> None:
            for line in stream or ():
                into.append(line)
                if lines is not None:
                    lines.put(line)
            if lines is not None:
                lines.put(None)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def wait_ready(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait for the line on stdout that says where it listens."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            line = None
        if not line:
            self.kill()
            raise AssertionError(f"the server did not start: {self.stderr}")
        self.url = line.strip()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def stderr(self) -> str:
        """What was read of stderr so far; all of it once the process has ended."""
        return "".join(self.err)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Its exit status, with both streams read to their ends."""
        status = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return status

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal()
        return self.wait()

    def kill(self) -> None:
        """End it whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.process.poll() is None:
                status = self.stop()
                assert status == 0, self.stderr
        finally:
            self.kill()

    def get(self, path: str, timeout_s: float = 30.0) -> Reply:
        return self._ask("GET", path, None, {}, timeout_s)

    def predict(self, name: str, body: Any, *, headers: dict[str, str] | None = None) -> Reply:
        """One prediction: ``bytes`` as they are, an Arrow table as a stream, anything else as JSON."""
        headers = dict(headers or {})
        if isinstance(body, pa.Table):
            body = to_stream(body)
            headers.setdefault("content-type", ARROW)
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
        return self._ask("POST", f"/models/{name}/predict", body, headers, 60)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout_s: float) -> Reply:
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=timeout_s)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def metrics(self) -> Metrics:
        return Metrics(self.get("/metrics").text)

    def settle(self, name: str) -> None:
        """Wait until no row of ``name`` waits."""
        wait_until(f"no row of {name} waits", lambda: self.metrics().value("monorail_queue_rows", model=name) == 0)


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error it carries."""
        return self.json()["error"]


class Metrics:
    """A scrape of ``/metrics``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                match = _SAMPLE.match(line)
                assert match, f"not a sample: {line!r}"
                labels = dict(_LABEL.findall(match[2] or ""))
                self.samples.append((match[1], labels, float(match[3])))

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of ``name`` that have these labels; 0 if there is none."""
        return sum(value for sample, found, value in self.samples if sample == name and labels.items() <= found.items())


def to_stream(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_stream(body: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    return pa.ipc.open_stream(body).read_all()


@contextlib.contextmanager
def running(threads: Iterable[threading.Thread]) -> Iterator[None]:
    """Start threads, and join them at the end of the block."""
    threads = list(threads)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a thread does not end"
