"""Real brokers on a free port in a folder of their own: started, stopped, killed, held still, started again there."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

#: Longest wait for a broker to become ready or to end.
DEADLINE_S = 30.0
#: Read before each test is given an environment without it.
_OTHERS = os.environ.get("MONORAIL_TEST_BROKERS", "")
#: How often another port is tried where somebody took the free one first.
_TRIES = 5


class BrokerServer:
    """A broker's own server as a process, listening when this returns. What it keeps is in ``folder``.

    Args:
        folder: For its data and settings; kept from one start to the next.
        options: More words for its command line.
        prefix: What comes before its command line.
        start: Whether it starts at once. Its address is settled either way.
    """

    program: ClassVar[str]
    scheme: ClassVar[str]
    #: What it logs once it listens, and where it could not take its port.
    ready: ClassVar[str]
    taken: ClassVar[str] = "address already in use"

    def __init__(self, folder: Path, *options: str, prefix: Sequence[str] = (), start: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.options = options
        self.prefix = prefix
        self.log: list[str] = []
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        if start:
            self._start_somewhere()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def arguments(self) -> list[str]:
        """Its command line behind the program."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it says that it listens."""
        assert self._process is None, "it runs already"
        lines: queue.Queue[str | None] = queue.Queue()
        self._process = process = subprocess.Popen(
            [*self.prefix, path_of(self.program), *self.arguments()],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(process.stdout, lines), daemon=True)
        self._reader.start()
        while True:
            try:
                line = lines.get(timeout=DEADLINE_S)
            except queue.Empty:
                line = None
            if line is None:
                self.kill()
                raise AssertionError(f"{self.program} did not start: {''.join(self.log)}")
            if self.ready in line:
                return

    def stop(self) -> None:
        """SIGTERM: it writes down what it has, and ends."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def hold(self) -> None:
        """Have it answer nothing, with its connections open, until it is let go."""
        os.kill(self.pid, signal.SIGSTOP)

    def let_go(self) -> None:
        """Go on after ``hold``."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _start_somewhere(self) -> None:
        for left in reversed(range(_TRIES)):
            try:
                return self.start()
            except AssertionError:
                if not left or not any(self.taken in line.lower() for line in self.log):
                    raise
                self.log.clear()
                self.port = free_port()

    def _read(self, stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
        for line in stream or ():
            self.log.append(line)
            lines.put(line)
        lines.put(None)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
            # One that is held still hears of its end once it is let go.
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait(DEADLINE_S)
            if self._reader is not None:
                self._reader.join(DEADLINE_S)
            if process.stdout is not None:
                process.stdout.close()


class RedisServer(BrokerServer):
    """``redis-server`` that writes every command to its append-only file before it answers."""

    program = "redis-server"
    scheme = "redis"
    ready = "Ready to accept connections"

    def arguments(self) -> list[str]:
        settings = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self.folder),
            "--appendonly": "yes",
            "--appendfsync": "always",
            "--save": "",
        }
        return [*(word for setting in settings.items() for word in setting), *self.options]


class NatsServer(BrokerServer):
    """``nats-server`` with JetStream, its streams in files.

    ``settings`` are those of its configuration file: ``authorization={"user": ..., "password": ...}``.
    """

    program = "nats-server"
    scheme = "nats"
    ready = "Server is ready"

    def __init__(
        self, folder: Path, *options: str, prefix: Sequence[str] = (), start: bool = True, **settings: object
    ) -> None:
        self.settings: dict[str, object] = {"jetstream": {"store_dir": str(folder / "jetstream")}, **settings}
        super().__init__(folder, *options, prefix=prefix, start=start)

    def arguments(self) -> list[str]:
        # Its configuration language takes JSON.
        path = self.folder / "nats.conf"
        path.write_text(json.dumps(self.settings), encoding="utf-8")
        return ["--addr", "127.0.0.1", "--port", str(self.port), "--config", str(path), *self.options]


def path_of(program: str) -> str:
    """Where a broker's server is: beside this Python, where a wheel brought it, or on the path.

    The folder of ``MONORAIL_TEST_BROKERS`` comes first, so that other versions can be tried.
    """
    beside = os.path.dirname(sys.executable)
    folders = [_OTHERS, beside, os.environ.get("PATH", os.defpath)]
    found = shutil.which(program, path=os.pathsep.join(folder for folder in folders if folder))
    if found is None:
        raise FileNotFoundError(f"{program} is missing: `make setup` brings it")
    return found


def versions(programs: Sequence[str] = (RedisServer.program, NatsServer.program)) -> list[str]:
    """What the brokers' servers say of their versions."""
    said: list[str] = []
    for program in programs:
        try:
            command = [path_of(program), "--version"]
        except FileNotFoundError as missing:
            said.append(str(missing))
            continue
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said.append((done.stdout or done.stderr).strip())
    return said


def free_port() -> int:
    """A port that is free now, and that a broker can have again when it is started again.

    It is none of those that the system gives to outgoing connections: one of these could take it while the broker is
    away, and a client that tries to reach the broker could even be connected with itself.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
