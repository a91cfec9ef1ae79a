"""The contract of an executor: one function over many items, wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol


class Executor(Protocol):
    """Runs one function over many items: threads of this process, or tasks on Ray. A context manager.

    Attributes:
        name: ``local`` or ``ray``.
        workers: How many items run at once.
    """

    name: str
    workers: int

    def map(self, function: Callable[[Any, Any], Any], items: Iterable[Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, item)`` for every item; results in the order of the items.

        No more than a few items a worker are under way or wait to be taken, so memory is bounded by the consumer. An
        item whose worker was lost runs again elsewhere; an exception of the function is raised here, at once.

        Args:
            function: A function that can be pickled; it may run more than once for an item.
            items: What to run it over; taken one by one.
            shared: Given to every call; sent to each worker once.
        """
        ...

    def __enter__(self) -> Executor: ...
    def __exit__(self, *reason: object) -> None: ...
