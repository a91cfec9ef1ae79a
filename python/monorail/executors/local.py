"""Threads of this process. What they run releases the GIL: readers, kernels and the engine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class LocalExecutor:
    """Items on threads; see :class:`monorail.executors.Executor`."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="monorail-local")

    def map(self, function: Callable[[Any, Any], Any], items: Iterable[Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, item)`` for every item; results in the order of the items."""
        waiting: deque[Future[Any]] = deque()
        left = iter(items)
        try:
            for item in left:
                waiting.append(self._pool.submit(function, shared, item))
                if len(waiting) > self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *reason: object) -> None:
        self._pool.shutdown(cancel_futures=True)
