"""Threads of this process. What they run releases the GIL: readers, kernels and the engine."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from .threads import one_thread_each


class LocalExecutor:
    """Items on threads; see :class:`monorail.executors.Executor`. One worker is the calling thread itself.

    Args:
        workers: Items that run at once; default: as many as this process may use cores.
    """

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cores()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="monorail-local")

    def map(self, function: Callable[[Any, Any], Any], items: Iterable[Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, item)`` for every item; results in the order of the items."""
        if self.workers == 1:
            with one_thread_each():
                for item in items:
                    yield function(shared, item)
            return
        done: SimpleQueue[Future[Any]] = SimpleQueue()
        left = iter(items)
        more = True
        with one_thread_each(), contextlib.closing(_Waiting()) as waiting:
            while more or waiting:
                while more and len(waiting) <= 2 * self.workers:
                    try:
                        item = next(left)
                    except StopIteration:
                        more = False
                        break
                    waiting.append(self._pool.submit(function, shared, item))
                    waiting[-1].add_done_callback(done.put)
                while waiting and not (waiting[0].done() and done.empty()):
                    # Whichever is first, not the first in order: a failure is raised at once.
                    done.get().result()
                if waiting:
                    yield waiting.popleft().result()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *reason: object) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Waiting(deque[Future[Any]]):
    """Items under way, in order; those that have not begun are given up at the end."""

    def close(self) -> None:
        for future in self:
            future.cancel()


def _cores() -> int:
    """How many cores this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
