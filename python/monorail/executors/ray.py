"""A Ray cluster: items are tasks of one core each; what they share is sent once; lost ones run again elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..data.sources.sending import sending
from ..errors import EngineError, MissingExtraError, SettingError, UnreachableError
from .packing import packed

#: How often an item runs again after its worker was lost.
TRIES = 4
#: How many shared values a worker process keeps: passes follow each other, two may be nested.
_KEPT = 2
_held: OrderedDict[bytes, tuple[Callable[[Any, Any], Any], Any]] = OrderedDict()


class RayExecutor:
    """Items as tasks on Ray; see :class:`monorail.executors.Executor`.

    Args:
        on: ``ray`` or ``ray://HOST:PORT``.
        workers: Items that run at once; default: as many as the cluster has cores.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingError: ``setting_invalid``: the process is connected to another cluster, or the cluster has no core.
        UnreachableError: no cluster answers there.
    """

    name = "ray"

    def __init__(self, on: str = "ray", workers: int | None = None) -> None:
        self._ray: Any = _imported()
        self._started = _connect(self._ray, on, workers)
        self._sent: dict[Hashable, tuple[Any, Stored]] = {}
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        if cores < 1:
            self.close()
            raise SettingError(
                "the Ray cluster has no core for tasks", code="setting_invalid", hint="start a node with --num-cpus"
            )
        self.workers = workers or cores
        # Where the cluster's own cores are the limit tasks may queue there, so that the next starts without us.
        self._most = self.workers if self.workers < cores else 2 * self.workers
        self._task = self._ray.remote(num_cpus=1, max_retries=TRIES)(_run)

    def map(self, function: Callable[[Any, Any], Any], items: Iterable[Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, item)`` for every item; results in the order of the items."""
        held = [self.put((function, shared))]
        key = os.urandom(16)
        order: deque[Any] = deque()
        pending: list[Any] = []
        done: dict[Any, Any] = {}
        left = iter(items)
        more = True
        try:
            while more or order:
                while more and len(pending) < self._most and len(order) <= 2 * self.workers:
                    try:
                        item = next(left)
                    except StopIteration:
                        more = False
                        break
                    with sending(self._send):
                        pending.append(self._task.remote(key, held, item))
                    order.append(pending[-1])
                if order and order[0] in done:
                    yield done.pop(order.popleft())
                elif pending:
                    # Whichever is first, not the first in order: a failure is raised at once.
                    ready, pending = self._ray.wait(pending, num_returns=1)
                    for reference in ready:
                        done[reference] = self._result(reference)
        finally:
            for reference in pending:
                # A function that does not listen would hold up the end of a cluster that is ours.
                self._ray.cancel(reference, force=self._started)

    def put(self, content: Any) -> Any:
        """A reference to anything, pickled and put where workers can get it; rows that lie here go there once."""
        with sending(self._send):
            return self._ray.put(packed(self._ray.cloudpickle, content))

    def _result(self, reference: Any) -> Any:
        """What a task gave, or the exception of its function."""
        errors = self._ray.exceptions
        try:
            return pickle.loads(self._ray.get(reference))
        except errors.RayTaskError as error:
            raise _own(error) from None
        except errors.RayError as error:
            raise EngineError(
                f"work on the Ray cluster was lost {TRIES + 1} times: {_first_line(error)}",
                code="worker_lost",
                hint="look for out-of-memory kills and crashes in the logs of the cluster's nodes",
            ) from error

    def _send(self, key: Hashable, owner: Any, read: Callable[[], pa.Buffer]) -> Stored:
        """Rows that lie here, put into the object store once."""
        if key not in self._sent:
            self._sent[key] = (owner, Stored(self._ray.put(read())))
        return self._sent[key][1]

    def close(self) -> None:
        """Leave the cluster as it was found; one that was started here is shut down."""
        self._sent = {}
        if self._started:
            self._started = False
            self._ray.shutdown()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


@dataclass(frozen=True)
class Stored:
    """Rows in Ray's object store."""

    reference: Any

    def buffer(self) -> pa.Buffer:
        """The rows as an Arrow IPC stream, in shared memory."""
        import ray

        return ray.get(self.reference)


def _run(key: bytes, held: list[Any], item: Any) -> bytes:
    """One item, in a worker; what is shared is unpickled by the first item of a process.

    The result is pickled here: arrays that Ray itself hands over lie in its store, where nothing may be added to them.
    """
    import ray
    from ray import cloudpickle

    if key not in _held:
        _held[key] = pickle.loads(ray.get(held[0]))
        while len(_held) > _KEPT:
            _held.popitem(last=False)
    function, shared = _held[key]
    return cloudpickle.dumps(function(shared, item), protocol=5)  # pyright: ignore[reportPrivateImportUsage]


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtraError(
            "work on a Ray cluster needs Ray, which is not installed",
            code="missing_extra",
            hint="pip install 'monorail[ray]'",
        ) from None
    return ray


def _connect(ray: Any, on: str, workers: int | None) -> bool:
    """Join the cluster that is meant; whether it, or the connection, is to be shut down at the end."""
    if ray.is_initialized():
        if on.startswith("ray://") and not ray.util.client.ray.is_connected():
            raise SettingError(
                "this process is connected to a Ray cluster already, and not by a ray:// address",
                code="setting_invalid",
                hint='use on="ray" for the cluster it is connected to, or call ray.shutdown() first',
            )
        return False
    address = on if on.startswith("ray://") else os.environ.get("RAY_ADDRESS")
    try:
        _answers(address)
        if address is None:
            # "local" said: a file that an earlier cluster left would make Ray try to connect to that.
            ray.init(
                address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error"
            )
        else:
            _use_token()
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UnreachableError(
            f"no Ray cluster can be used at {address or 'this machine'}: {_first_line(error)}",
            code="unreachable",
            hint="check the address, and RAY_AUTH_MODE and RAY_AUTH_TOKEN if the cluster asks for a token",
        ) from error
    return True


def _answers(address: str | None) -> None:
    """Ask whether somebody listens there: Ray itself would wait for minutes.

    Raises:
        OSError: nobody does.
    """
    match = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    if match is not None:
        socket.create_connection((match.group(1), int(match.group(2))), timeout=10).close()


def _use_token() -> None:
    """Show a cluster the token that this machine has for it, where nobody said whether to.

    Ray does so for clusters that it finds by itself, but not for one that is named, which then refuses with a timeout;
    one that asks for none takes no offence.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from ray._private.authentication import authentication_token_setup as tokens

        # It would warn that this very cluster asks for tokens, which nobody knows yet.
        tokens.logger.setLevel(logging.ERROR)
        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _own(error: Any) -> BaseException:
    """The exception that the function raised, as it raised it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] == "monorail":
        return EngineError(
            "the nodes of the Ray cluster do not have Monorail",
            code="environment_unavailable",
            hint="install the same version of monorail on every node",
        )
    if isinstance(cause, Exception):
        return cause
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
