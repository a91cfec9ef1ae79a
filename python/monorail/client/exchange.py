"""One request and its answer: what goes wrong on the way, and what the server refuses, as typed errors."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx

from ..errors import DeadlineError, InternalError, MonorailError, SettingError, UnreachableError, error_from


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request to be sent.

    Attributes:
        method: Of HTTP.
        path: Under the server's address.
        timeout_s: Longest wait for the answer; also told to the server as the deadline.
        params: Of the query.
        content: The body.
        headers: Besides the client's own.
        again: Whether it is sent once more where the connection is lost, since twice does no more than once.
    """

    method: str
    path: str
    timeout_s: float
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    content: bytes | Iterable[bytes] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    again: bool = False

    def options(self, *, pool_s: float | None) -> dict[str, Any]:
        """As httpx takes it.

        Args:
            pool_s: Longest wait for a free connection, in seconds; None for no limit.
        """
        return {
            "method": self.method,
            "url": self.path,
            "params": dict(self.params) or None,
            "content": self.content,
            "headers": {"monorail-timeout-s": f"{self.timeout_s:g}", **self.headers},
            "timeout": httpx.Timeout(self.timeout_s, pool=pool_s),
        }


def send(http: httpx.Client, ask: Ask, *, again: bool = False) -> httpx.Response:
    """Ask, and wait for the answer.

    Raises:
        MonorailError: the server's own, or that there was no answer.
    """
    try:
        with _faults_of(http.base_url, ask):
            return _succeeded(http.request(**ask.options(pool_s=ask.timeout_s)))
    except UnreachableError as error:
        if again or not (ask.again and _was_lost(error)):
            raise
    return send(http, ask, again=True)


@contextlib.contextmanager
def streamed(http: httpx.Client, ask: Ask) -> Iterator[httpx.Response]:
    """Ask, and give the answer before its body has come; it is closed at the end of the block.

    Raises:
        MonorailError: the server's own, or that there was no answer, or no more of it.
    """
    with _faults_of(http.base_url, ask), http.stream(**ask.options(pool_s=ask.timeout_s)) as answer:
        if not answer.is_success:
            answer.read()
        yield _succeeded(answer)


async def send_async(http: httpx.AsyncClient, ask: Ask, *, again: bool = False) -> httpx.Response:
    """As :func:`send`, without blocking the event loop."""
    try:
        with _faults_of(http.base_url, ask):
            return _succeeded(await http.request(**ask.options(pool_s=None)))
    except UnreachableError as error:
        if again or not (ask.again and _was_lost(error)):
            raise
    return await send_async(http, ask, again=True)


def checked_timeout(timeout_s: float) -> float:
    """A number of seconds that can pass.

    Raises:
        SettingError: ``setting_invalid``: it is none.
    """
    number = isinstance(timeout_s, numbers.Real) and not isinstance(timeout_s, bool)
    if not number or not math.isfinite(timeout_s) or timeout_s <= 0:
        raise SettingError(
            f"timeout_s is {timeout_s!r}", code="setting_invalid", hint="give seconds: a finite number above 0"
        )
    return timeout_s


@contextlib.contextmanager
def _faults_of(url: httpx.URL, ask: Ask) -> Iterator[None]:
    """What httpx raises, as our own."""
    address = str(url).rstrip("/")
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise _unreachable(address, error) from error
    except httpx.TimeoutException as error:
        raise DeadlineError(
            f"{address} did not answer within {ask.timeout_s:g} s",
            code="deadline_exceeded",
            hint="send fewer rows at once, or raise timeout_s",
        ) from error
    except httpx.TransportError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"{address} cannot be reached: {error}",
        code="unreachable",
        hint="check the address, and that `monorail serve` runs there",
    )


def _was_lost(error: UnreachableError) -> bool:
    """Whether there was a connection: then the request may have arrived."""
    return isinstance(error.__cause__, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)


def _succeeded(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is no refusal."""
    if not answer.is_success:
        raise _error_of(answer)
    return answer


def _error_of(answer: httpx.Response) -> MonorailError:
    """The error that an answer carries."""
    try:
        error = answer.json()["error"]
        return error_from(
            error["code"], error["message"], error.get("hint"), error.get("details"), error.get("request_id")
        )
    except (ValueError, KeyError, TypeError):
        return InternalError(
            f"the server answered {answer.status_code} in a form that is not Monorail's",
            code="internal",
            hint="check that the address is a Monorail server's",
            request_id=answer.headers.get("x-request-id"),
        )
