"""Processes of this machine that run what a spool packed: Python code side by side; one that is lost is replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from ..errors import EngineError
from .spool import Reader, cloudpickle, unpacked

#: How often a task runs before it is given up, where its process is lost each time.
TRIES = 3

#: How many threads the libraries of a process start.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from monorail.fit.processes import serve; serve(int(sys.argv[2]))"
)


class Processes:
    """So many processes, started when they are needed. A context manager.

    Unlike ``multiprocessing`` they do not import the user's main script again, so it needs no ``if __name__`` guard.

    Args:
        count: How many, at most.
        reader: What finds kept objects.
    """

    def __init__(self, count: int, reader: Reader) -> None:
        self._reader = reader
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)
        self._threads = max(1, (os.cpu_count() or 1) // count)
        self._running: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, task: bytes) -> bytes:
        """What a packed function without arguments returns, pickled with how it went; see :func:`result_of`.

        Raises:
            EngineError: ``worker_lost``: three processes ended while they ran it.
        """
        code = 0
        for _ in range(TRIES):
            process = self._idle.get()
            try:
                process = process or self._started()
                return process.ask(task)
            except (EOFError, OSError):
                if process is not None:
                    code = process.end()
                    self._running.discard(process)
                process = None
                if self._closed:
                    break
            finally:
                self._idle.put(process)
        raise EngineError(
            f"the process of a candidate was lost {TRIES} times ({_reason(code)})",
            code="worker_lost",
            hint="it may need more memory than there is: try fewer workers=",
        )

    def close(self) -> None:
        """End all of them, whatever they do."""
        with self._lock:
            self._closed = True
        for process in list(self._running):
            process.end()
        self._running.clear()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    @property
    def ids(self) -> list[int]:
        """Numbers of the processes that run."""
        return [process.id for process in list(self._running)]

    def _started(self) -> _Process:
        with self._lock:
            if self._closed:
                raise EOFError
            process = _Process(self._reader, self._threads)
            self._running.add(process)
            return process


class _Process:
    """One process, and the connection to it."""

    def __init__(self, reader: Reader, threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {**dict.fromkeys(_THREADS, str(threads)), **os.environ}
            command = [sys.executable, "-c", _START, json.dumps(sys.path), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
        self.id = self._process.pid
        self._ending = threading.Lock()
        self._connection = Connection(ours.detach())
        self._reader: Reader | None = reader

    def ask(self, task: bytes) -> bytes:
        if self._reader is not None:
            self._connection.send(self._reader)
            self._reader = None
        self._connection.send_bytes(task)
        return self._connection.recv_bytes()

    def end(self) -> int:
        """Kill it; its exit status."""
        with self._ending:
            self._process.kill()
            code = self._process.wait()
            if not self._connection.closed:
                self._connection.close()
            return code


def serve(file: int) -> None:
    """Run what comes, until the other end is closed: the main function of a process."""
    # An interrupt from the keyboard reaches all processes of a terminal; the one that asks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(file)
    try:
        reader = connection.recv()
        while True:
            connection.send_bytes(ran(reader, connection.recv_bytes()))
    except (EOFError, OSError):
        return


def ran(reader: Reader, task: bytes) -> bytes:
    """Run a packed function without arguments; what it returned or raised, pickled."""
    try:
        outcome = (True, unpacked(reader, task)())
    except Exception as error:  # the asking process raises it again
        outcome = (False, error)
    try:
        return cloudpickle().dumps(outcome, protocol=5)
    except Exception as error:  # whatever cannot be pickled, and whatever says so
        what = outcome[1] if not outcome[0] else error
        return cloudpickle().dumps((False, RuntimeError(f"{type(what).__name__}: {what}")), protocol=5)


def result_of(answer: bytes) -> Any:
    """What the function returned.

    Raises:
        Exception: what it raised.
    """
    import pickle

    good, content = pickle.loads(answer)
    if good:
        return content
    raise content


def _reason(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
