"""A job: one prediction that the server makes when it comes to it, and the handle that waits for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import re
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

import httpx

from ..errors import DeadlineError, InputError, MonorailError, NotFoundError, OverloadedError, error_from
from .encoding import Question, answer_of, predictions_of
from .exchange import Ask, checked_timeout

if TYPE_CHECKING:
    from .client import Client

#: How long the server is asked to wait for a job's end before it answers, in seconds; proxies cut what is silent for
#: half a minute.
POLL_S = 25.0
#: Least time between two questions, in seconds: a server that is stopping answers at once.
PAUSE_S = 0.5
#: Longest silence of a stream of events, in seconds; the server says something every 15.
SILENCE_S = 45.0
EVENTS = "text/event-stream"

State: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
#: States after which nothing happens unless somebody retries the job.
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What the server says of a job.

    Attributes:
        id: Its id.
        model: As it was named when the job was submitted, ``flights`` or ``flights@3``.
        version: The version that answered, or None.
        state: ``queued``, ``running``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
        rows: Of its input.
        rows_done: Those of them that are scored.
        priority: Greater ones first.
        attempts: How often it was begun.
        created: When it was submitted; this and all times are seconds since 1970, or None.
        started: When it was last begun.
        finished: When it ended.
        expires: When the ended job is forgotten.
        deadline: After which it expires if it has not begun.
        not_before: Before which it does not begin.
        result: The server's whole answer, if it is JSON and short; :meth:`Job.result` has every other one, too.
        result_url: Where the answer is, if the job succeeded.
        error: Why it failed: ``code``, ``message``, ``hint``, ``details``.
        callback: Whom its end is told to, if it was submitted with ``callback_url``: ``url``, ``state`` (``waiting``,
            ``pending``, ``delivered``, ``dead``), ``event``, ``attempts``, ``next``, ``settled``, ``last_error``. Lists
            leave it out.
    """

    id: str
    model: str
    state: State
    rows: int
    priority: int
    attempts: int
    rows_done: int = 0
    version: int | None = None
    created: float | None = None
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    deadline: float | None = None
    not_before: float | None = None
    result: Mapping[str, Any] | None = None
    result_url: str | None = None
    error: Mapping[str, Any] | None = None
    callback: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> JobStatus:
        """A record as the server gives it; what a newer server tells besides is left out."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in names})

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody retries it."""
        return self.state in ENDED

    @property
    def progress(self) -> float:
        """The share of its rows that is scored, from 0 to 1."""
        if self.state == "succeeded":
            return 1.0
        return self.rows_done / self.rows if self.rows else 0.0


class Job:
    """One asynchronous prediction. Made by :meth:`Client.submit`, :meth:`Client.job` and :meth:`Client.jobs`.

    ``await job`` is :meth:`result` for programs with an event loop (asyncio), without a limit of its own.
    """

    def __init__(self, client: Client, known: JobStatus, question: Question | None = None) -> None:
        self._client = client
        self._question = question
        self._known = known

    @property
    def id(self) -> str:
        """Its id."""
        return self._known.id

    @property
    def known(self) -> JobStatus:
        """What the server said of it last, without asking."""
        return self._known

    @property
    def state(self) -> State:
        """The state it is in now; the server is asked."""
        return self.status().state

    @property
    def progress(self) -> float:
        """The share of its rows that is scored now, from 0 to 1; the server is asked."""
        return self.status().progress

    def status(self, wait_s: float | None = None) -> JobStatus:
        """What the server says of it now.

        Args:
            wait_s: Wait so many seconds for its end first, at most 60.

        Raises:
            NotFoundError: ``unknown_job``: it ended longer ago than it is kept.
            RetryableError: unreachable or too late.
        """
        return self._heard(self._client._send(self._look(wait_s)))

    def watch(self) -> Iterator[JobStatus]:
        """Follow it: what the server says now, and again whenever its state or its progress changes, up to its end.

        Raises:
            NotFoundError: ``unknown_job``: it ended longer ago than it is kept.
            UnreachableError: the server cannot be reached, or is gone. The job is on its disk: ask when it is back.
        """
        ask = Ask("GET", self._path, max(self._client.timeout_s, SILENCE_S), headers={"accept": EVENTS})
        told = None
        while True:
            try:
                with self._client._streamed(ask) as answer:
                    for record in records_of(answer.iter_lines()):
                        self._known = JobStatus.from_json(record)
                        if self._known != told:
                            yield (told := self._known)
            except OverloadedError:
                # It streams to as many as it may, or is about to stop.
                if self.status(wait_s=PAUSE_S) != told:
                    yield (told := self._known)
            if self._known.ended:
                return
            time.sleep(PAUSE_S)

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the answer.

        Args:
            timeout_s: Longest wait in seconds; default: as long as it takes.

        Returns:
            What :meth:`Client.predict` gives for the data that was submitted.

        Raises:
            DeadlineError: it has not ended within ``timeout_s``, and goes on; or it expired.
            InputError: ``job_cancelled``.
            MonorailError: why it failed, of the class of its code.
            NotFoundError: ``unknown_job``: it ended longer ago than it is kept.
            UnreachableError: the server cannot be reached. The job is on its disk: ask again when it is back.
        """
        steps = self._steps(timeout_s)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Ask):
                    step = steps.send(self._client._send(step))
                else:
                    time.sleep(step)
                    step = next(steps)
        except StopIteration as done:
            return done.value

    def cancel(self) -> JobStatus:
        """Cancel it. A job that has ended stays as it is.

        Returns:
            What became of it.
        """
        return self._heard(self._client._send(Ask("DELETE", self._path, self._client.timeout_s, again=True)))

    def retry(self) -> JobStatus:
        """Queue it again after it failed, expired or was cancelled.

        Raises:
            InputError: it has not ended, or it succeeded.
        """
        return self._heard(self._client._send(Ask("POST", f"{self._path}/retry", self._client.timeout_s)))

    def call_back(self) -> JobStatus:
        """Have the server tell of its end once more, with all tries anew.

        Raises:
            InputError: it has not ended, or was submitted without ``callback_url``.
        """
        return self._heard(self._client._send(Ask("POST", f"{self._path}/callback", self._client.timeout_s)))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self._known.state!r})"

    @property
    def _path(self) -> str:
        return path_of(self.id)

    def _heard(self, answer: httpx.Response) -> JobStatus:
        """Keep what the server says."""
        self._known = JobStatus.from_json(answer.json())
        return self._known

    def _look(self, wait_s: float | None) -> Ask:
        """The request for the record."""
        params = {} if wait_s is None else {"wait_s": f"{wait_s:g}"}
        return Ask("GET", self._path, self._client.timeout_s + (wait_s or 0), params=params, again=True)

    async def _answer(self) -> Any:
        """As :meth:`result`, over the event loop."""
        steps = self._steps(None)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Ask):
                    step = steps.send(await self._client._send_async(step))
                else:
                    await asyncio.sleep(step)
                    step = next(steps)
        except StopIteration as done:
            return done.value

    def _steps(self, timeout_s: float | None) -> Generator[Ask | float, httpx.Response, Any]:
        """What to do until there is a result: send a request and give its answer, or let so many seconds pass.

        Whoever does so may block or not.
        """
        until = math.inf if timeout_s is None else time.monotonic() + checked_timeout(timeout_s)
        while True:
            began = time.monotonic()
            status = self._heard((yield self._look(min(POLL_S, max(0.0, until - began)))))
            if status.ended:
                break
            now = time.monotonic()
            if now >= until:
                raise DeadlineError(
                    f"the job {self.id} is still {status.state} after {timeout_s:g} s",
                    code="deadline_exceeded",
                    hint="it goes on: ask for the result again, or cancel() it",
                )
            if (pause := min(began + PAUSE_S, until) - now) > 0:
                yield pause
        if status.state != "succeeded":
            raise self._fault(status)
        if status.result is not None:
            return predictions_of(status.result, self._question)
        answer = yield Ask("GET", f"{self._path}/result", self._client.timeout_s, again=True)
        return answer_of(answer, self._question)

    def _fault(self, status: JobStatus) -> MonorailError:
        """Why there is no result."""
        if status.state == "cancelled":
            return InputError(f"the job {self.id} was cancelled", code="job_cancelled", hint="retry() queues it again")
        if status.state == "expired":
            return DeadlineError(
                f"the job {self.id} expired: its deadline passed before it began",
                code="deadline_exceeded",
                hint="retry() queues it again, without the deadline",
            )
        error = status.error or {"code": "internal", "message": f"the job {self.id} failed without a reason"}
        return error_from(error["code"], error["message"], error.get("hint"), error.get("details"))


def records_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records of a stream of events."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:"))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


def path_of(id: str) -> str:
    """Where a job is.

    Raises:
        NotFoundError: ``unknown_job``: no job can have this id.
    """
    if not _ID.fullmatch(id):
        raise NotFoundError(
            f"{id!r} is no job's id", code="unknown_job", hint="an id has letters, digits, '.', '_' and '-'"
        )
    return f"/jobs/{quote(id)}"
