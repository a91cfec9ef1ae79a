"""Training on several workers of a Ray cluster at once: an actor a seat, each with its share of the parts.

What trains in the seats talks among itself (LightGBM's machines, XGBoost's tracker), so one lost seat ends the work of
all. Then it begins again from the start, on the seats that the cluster still has, a bounded number of times.
"""

from __future__ import annotations

import functools
import itertools
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import EngineError, MonorailError
from ..learning import Block
from ..training import TrainingRows

#: How often a training begins again after it lost a seat.
TRIES = 4
#: How long to wait for a seat that the cluster should have room for, before its room is counted anew.
PATIENCE_S = 20.0
#: How long a failure waits for the news that a seat was lost, which would be its reason.
GRACE_S = 10.0

Read = Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class Seat:
    """One of the workers that train together.

    Attributes:
        rank: Its number.
        start: Number of its first row.
        rows: How many rows it has.
        blocks: Gives them, each time it is called.
        addresses: ``HOST:PORT`` of every seat, by rank; the ports were free a moment ago.
        tracker: What XGBoost's workers need to find each other; None where one trains alone.
    """

    rank: int
    start: int
    rows: int
    blocks: Read
    addresses: Sequence[str]
    tracker: dict[str, Any] | None = None


class _Lost(Exception):  # noqa: N818 - a reason to begin again
    """A seat was lost, or never came."""


def train_together(rows: TrainingRows, train: Callable[[Any, Seat], Any], shared: Any, *, tracked: bool = False) -> Any:
    """What ``train(shared, seat)`` returns in the first seat, run in every seat at the same time.

    Args:
        rows: The rows; each seat gets consecutive parts, about as many rows as the others.
        train: A function that can be pickled.
        shared: Given to every seat.
        tracked: Whether to run XGBoost's tracker.

    Raises:
        EngineError: ``worker_lost``: seats were lost again and again.
    """
    executor: Any = rows.executor
    reason = ""
    for _ in range(TRIES):
        try:
            return _Gang(executor, rows, tracked).train(train, shared)
        except _Lost as lost:
            reason = str(lost)
    raise EngineError(
        f"training on the Ray cluster lost a worker {TRIES} times: {reason}",
        code="worker_lost",
        hint="look for out-of-memory kills and crashes in the logs of the cluster's nodes",
    )


def shares(part_rows: Sequence[int], seats: int) -> list[list[int]]:
    """Consecutive parts for each seat, about the same number of rows; no seat without rows.

    Args:
        part_rows: How many rows each part has.
        seats: How many seats, at most.
    """
    parts = [part for part, rows in enumerate(part_rows) if rows]
    seats = min(seats, len(parts))
    total = sum(part_rows)
    made: list[list[int]] = [[]]
    done = 0
    for place, part in enumerate(parts):
        begun = len(made)
        enough = done >= total * begun / seats
        # The seats that are left need a part each.
        needed = len(parts) - place <= seats - begun
        if made[-1] and begun < seats and (enough or needed):
            made.append([])
        made[-1].append(part)
        done += part_rows[part]
    return made


class _Gang:
    """The seats of one try."""

    def __init__(self, executor: Any, rows: TrainingRows, tracked: bool) -> None:
        import ray

        self._ray: Any = ray
        self._executor, self._rows, self._tracked = executor, rows, tracked
        cores = int(ray.cluster_resources().get("CPU", 0))
        self._shares = shares(rows.part_rows, max(1, min(executor.workers, cores)))
        made: Any = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(_Actor)
        self._actors: list[Any] = [made.remote() for _ in self._shares]

    def train(self, train: Callable[[Any, Seat], Any], shared: Any) -> Any:
        """One try.

        Raises:
            _Lost: a seat was lost, or did not come.
        """
        try:
            addresses = self._results([actor.address.remote() for actor in self._actors], PATIENCE_S)
            tracker = None
            if self._tracked and len(self._actors) > 1:
                (tracker,) = self._results([self._actors[0].track.remote(len(self._actors))], PATIENCE_S)
            content = self._executor.put((train, shared))
            runs = []
            for rank, (actor, parts) in enumerate(zip(self._actors, self._shares, strict=True)):
                read = functools.partial(_read, [self._rows.reader(part) for part in parts])
                sizes = self._rows.part_rows
                start, held = sum(sizes[: parts[0]]), sum(sizes[part] for part in parts)
                seat = self._executor.put(Seat(rank, start, held, read, addresses, tracker))
                # In a list a reference stays one: Ray would give the actor what it stands for.
                runs.append(actor.run.remote([content, seat]))
            return pickle.loads(self._results(runs, None)[0])
        finally:
            for actor in self._actors:
                self._ray.kill(actor)

    def _results(self, references: list[Any], patience: float | None) -> list[Any]:
        """What all gave; the first failure ends the try."""
        left = list(references)
        while left:
            ready, left = self._ray.wait(left, num_returns=1, timeout=patience)
            if not ready:
                raise _Lost(f"a seat did not start within {PATIENCE_S:.0f} s")
            self._check(ready[0], left)
        return self._ray.get(references)

    def _check(self, reference: Any, others: list[Any]) -> None:
        """Raise what a seat raised; but where another was lost, that is the reason."""
        errors = self._ray.exceptions
        try:
            self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, MonorailError):
                raise cause from None
            if self._lost(others) or _is_network(cause):
                raise _Lost(str(cause)) from error
            raise cause if isinstance(cause, Exception) else error from None
        except errors.RayError as error:
            raise _Lost(str(error).strip().partition("\n")[0]) from error

    def _lost(self, others: list[Any]) -> bool:
        """Whether a seat among these was lost, or is about to be known to be."""
        while others:
            ready, others = self._ray.wait(others, num_returns=1, timeout=GRACE_S)
            if not ready:
                return False
            try:
                self._ray.get(ready[0])
            except self._ray.exceptions.RayTaskError:
                continue
            except self._ray.exceptions.RayError:
                return True
        return False


class _Actor:
    """A seat, in a process of its own on some node."""

    def __init__(self) -> None:
        self._tracker: Any = None

    def address(self) -> str:
        """Where the others reach it."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def track(self, seats: int) -> dict[str, Any]:
        """Start XGBoost's tracker here."""
        import ray
        from xgboost.tracker import RabitTracker

        self._tracker = RabitTracker(seats, host_ip=ray.util.get_node_ip_address(), sortby="task")
        self._tracker.start()
        return dict(self._tracker.worker_args())

    def run(self, content: list[Any]) -> bytes:
        """Train; what it gave, pickled, in the first seat."""
        import ray

        (train, shared), seat = (pickle.loads(ray.get(reference)) for reference in content)
        made = train(shared, seat)
        return pickle.dumps(made if seat.rank == 0 else None)


def _read(readers: list[Callable[[int], Iterator[Block]]], max_rows: int = 65_536) -> Iterator[Block]:
    return itertools.chain.from_iterable(reader(max_rows) for reader in readers)


def _is_network(cause: Any) -> bool:
    """Whether a booster failed to reach the others: a port that was taken meanwhile, a seat that went away."""
    words = ("socket", "connect", "bind", "rabit", "tracker", "network")
    return any(word in str(cause).lower() for word in words)
