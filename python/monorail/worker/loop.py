"""The work loop: takes batches one after the other, has the model answer, and survives what the model does.

Whatever the model raises becomes an error answer. When nobody waits for a batch any more the server sends SIGINT,
which raises :class:`GivenUp` in the main thread, in that batch and in no other.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

from . import channel as wire
from .channel import Channel, Closed
from .convert import conform
from .load import Answer, load
from .memory import Question


class GivenUp(BaseException):
    """Nobody waits for this batch any more. Not an ``Exception``, so that the model's own handlers let it pass."""


class Loop:
    """One worker's state."""

    def __init__(self, channel: Channel, answer: Answer, asked: pa.Schema, given: pa.Schema) -> None:
        self._channel = channel
        self._answer = answer
        self._asked, self._given = asked, given
        self._question: Question | None = None
        self._memory: Any = None
        self._pid = os.getpid()
        #: The batch that may be interrupted now; 0 while none may.
        self._current = 0
        signal.signal(signal.SIGINT, self._interrupted)

    def run(self) -> None:
        """Works until the server closes the channel."""
        self._channel.send(wire.READY)
        while True:
            kind, _, sequence, size, rows = self._channel.receive()
            if kind == wire.BATCH:
                self._work(sequence, size, rows)
            elif kind == wire.PING:
                self._channel.send(wire.PONG, sequence=sequence)

    def _work(self, sequence: int, size: int, rows: int) -> None:
        memory = self._channel.question
        if self._question is None or memory is not self._memory:
            if memory is None:
                raise Closed
            self._question, self._memory = Question(memory, self._asked), memory
        kind, text, message, flags = wire.ANSWER, "", None, 0
        try:
            self._current = sequence
            message = conform(self._answer(self._question.batch(size)), self._given, rows).serialize()
            self._current = 0
        except GivenUp:
            self._current = 0
            kind, text, flags = wire.FAILED, "given up", wire.INTERRUPTED
        except BaseException as error:  # sys.exit and all else that the model raises ends this batch alone
            self._current = 0
            kind, text = wire.FAILED, _told(error)
            self._leave_if_forked()
            _print_trace(error)
            del error
        self._leave_if_forked()
        if message is not None:
            self._channel.wait_for_room(sequence, message.size)[: message.size] = message
            size = message.size
        if self._question.is_kept():
            flags |= wire.KEPT
            self._question = None
        self._channel.send(kind, flags=flags, sequence=sequence, size=size, text=text)

    def _leave_if_forked(self) -> None:
        """Ends a child that the model has forked and that came back from it as if it were the worker."""
        if os.getpid() != self._pid:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(0)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        # The signal may come late, when another batch is under way already: the server has written which it meant.
        if self._current and self._question is not None and self._question.given_up() == self._current:
            self._current = 0
            raise GivenUp


def main() -> None:
    """Runs a worker until its server is gone or done with it."""
    channel = Channel.of_standard_input()
    _prepare(channel)
    with contextlib.suppress(Closed):
        frame = channel.receive()
        if frame[0] != wire.START:
            raise SystemExit("a worker is started by a server, which tells it what to load")
        program, folder, asked, given = channel.fields(frame[3])
        schemas = pa.ipc.read_schema(pa.py_buffer(asked)), pa.ipc.read_schema(pa.py_buffer(given))
        try:
            answer = load(Path(os.fsdecode(program)), Path(os.fsdecode(folder)), schemas[1])
        except BaseException as error:  # whatever the model's files and code raise, the server is told
            _print_trace(error)
            channel.send(wire.REFUSED, text=_told(error))
            return
        Loop(channel, answer, *schemas).run()


def _prepare(channel: Channel) -> None:
    """What a worker needs before the model's code runs."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    # A crash shows where it was, and a worker that is stuck, when the server asks before it is killed.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    die_with = _death_of_parent()
    os.register_at_fork(after_in_child=lambda: _forked(channel, die_with))


def _death_of_parent() -> Callable[[], None]:
    """What ties a process to its parent's life, to be called in it.

    The server has the kernel kill the worker with it, where the kernel can. Elsewhere a thread looks for that.
    """
    if sys.platform == "linux":
        system = ctypes.CDLL(None)
        return lambda: system.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    return lambda: None


def _watch_parent(server: int) -> None:
    while os.getppid() == server:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _forked(channel: Channel, die_with: Callable[[], None]) -> None:
    """In a child that the model has forked: it has no channel, and does not outlive the worker."""
    channel.close()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with()


def _told(error: BaseException) -> str:
    """What callers are told of an exception: its type and its own words."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        words = str(error)
    except Exception:  # the exception is the model's own
        words = ""
    return f"{name}: {words}" if words else name


def _print_trace(error: BaseException) -> None:
    """The traceback into the log. What it holds of the batch is let go afterwards."""
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
    traceback.clear_frames(error.__traceback__)
