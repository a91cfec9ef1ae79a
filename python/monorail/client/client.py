"""The client: predictions now, jobs that are answered later, and what the server has loaded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from ..errors import InputError, NotFoundError, RetryableError
from ..signature import Signature
from .encoding import Question, answer_of, question_of
from .exchange import Ask, checked_timeout, send, streamed
from .job import Job, JobStatus, path_of
from .loops import Loops
from .upload import Upload

#: Jobs that one request for a list asks for at most.
PAGE_JOBS = 500


class Client:
    """A client of one server; connections are kept and shared between threads.

    Args:
        url: Of the server, ``http://HOST:PORT``.
        timeout_s: Longest wait for an answer, in seconds; also told to the server as the request's deadline.
        headers: Sent with every request.

    Use it as a context manager, or call :meth:`close`.

    Raises:
        SettingError: ``setting_invalid``: ``timeout_s`` is no number of seconds.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, timeout_s: float = 30.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = checked_timeout(timeout_s)
        options: dict[str, Any] = {
            "base_url": self.url,
            "timeout": timeout_s,
            "headers": dict(headers or {}),
            # Made once: it takes a quarter of a second.
            "verify": httpx.create_ssl_context(),
        }
        self._http = httpx.Client(**options)
        self._loops = Loops(options)
        self._signatures: dict[str, Signature] = {}

    def predict(self, name: str, data: Any, *, timeout_s: float | None = None) -> Any:
        """Score data on the server; the answer is of the same kind.

        Args:
            name: The model: ``name`` (newest version loaded), ``name@version`` or ``name@alias``.
            data: As for :meth:`monorail.Model.predict`.
            timeout_s: For this request; default: the client's.

        Returns:
            The output columns, a row per row of ``data``.

        Raises:
            InputError: the data does not go with the signature; ``details`` has row, column, expected and got.
            NotFoundError: ``unknown_model`` or ``unknown_version``.
            RetryableError: overloaded, draining, too late or unreachable.
        """
        limit = self.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        question = self._question(name, data)
        ask = Ask("POST", f"{_model_path(name)}/predict", limit, content=question.content, headers=question.headers)
        return answer_of(self._explained(ask, question), question)

    def submit(
        self,
        model: str,
        data: Any,
        *,
        id: str | None = None,
        priority: int = 0,
        deadline_s: float | None = None,
        not_before_s: float | None = None,
        ttl_s: float | None = None,
        callback_url: str | None = None,
    ) -> Job:
        """Have data scored later. Once this returns, the job is on the server's disk and will be answered.

        Args:
            model: As ``name`` of :meth:`predict`.
            data: As for :meth:`predict`, and of any size: tables and frames over a megabyte, and what a
                ``pyarrow.RecordBatchReader`` reads, are sent as they are encoded.
            id: Of the job: letters, digits, ``.``, ``_`` and ``-``, at most 128. The same id with the same data is the
                same job, however often it is submitted. Default: a new one.
            priority: From -1000 to 1000; greater ones first.
            deadline_s: Seconds from now after which the job expires if it has not begun.
            not_before_s: Seconds from now before which it does not begin.
            ttl_s: How long the ended job is kept, in seconds; default: the server's ``job_ttl_s``.
            callback_url: Where the server tells of the job's end; its host is one that the server's ``callback_hosts``
                allows.

        Returns:
            A handle: ``result()`` waits for the answer, and so does ``await``.

        Raises:
            InputError: as for :meth:`predict`; ``job_conflict``: the id is another job's; ``malformed_request``: a
                number is out of its range; ``callback_refused``: the server calls nobody there.
            NotFoundError: ``unknown_model`` or ``unknown_version``.
            RetryableError: ``job_store_full``, or unreachable. Where the answer was lost, the job may be there: the
                hint has the id to submit it with again.
        """
        question = self._question(model, data, large=True)
        given = {
            "id": secrets.token_hex(16) if id is None else id,
            "priority": priority or None,
            "deadline_s": deadline_s,
            "not_before_s": not_before_s,
            "ttl_s": ttl_s,
            "callback_url": callback_url,
        }
        ask = Ask(
            "POST",
            f"{_model_path(model)}/jobs",
            self.timeout_s,
            params={name: value for name, value in given.items() if value is not None},
            content=question.content,
            headers=question.headers,
            again=not isinstance(question.content, Upload) or question.content.again,
        )
        try:
            answer = self._explained(ask, question)
        except RetryableError as error:
            if error.code in ("unreachable", "deadline_exceeded"):
                error.hint = f"{error.hint}; to be sure, submit it again with id={given['id']!r}"
            raise
        return Job(self, JobStatus.from_json(answer.json()), question.kept())

    def job(self, id: str) -> Job:
        """A job by its id.

        Returns:
            A handle. Its ``result()`` is what the server keeps: an Arrow table, or for JSON a list of rows or a dict of
            columns.

        Raises:
            NotFoundError: ``unknown_job``: there is none, or it ended longer ago than it is kept.
        """
        try:
            answer = self._send(Ask("GET", path_of(id), self.timeout_s, again=True))
        except NotFoundError as error:
            # Whoever asks for many wants to know which one.
            error.message = f"there is no job {id!r}"
            raise
        return Job(self, JobStatus.from_json(answer.json()))

    def jobs(self, *, state: str | None = None, model: str | None = None, limit: int | None = None) -> Iterator[Job]:
        """The server's jobs, newest first.

        Args:
            state: Only those that are ``queued``, ``running``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
            model: Only those of one model, named as it was when they were submitted.
            limit: At most so many; default: all.

        Yields:
            Handles, as :meth:`job` gives them; their ``known`` is the state at the time of the list.
        """
        given = {"state": state, "model": model}
        left, after = limit, None
        while left is None or left > 0:
            page = PAGE_JOBS if left is None else min(left, PAGE_JOBS)
            params = {name: value for name, value in {**given, "after": after}.items() if value is not None}
            ask = Ask("GET", "/jobs", self.timeout_s, params=params | {"limit": page}, again=True)
            listed = self._send(ask).json()
            yield from (Job(self, JobStatus.from_json(record)) for record in listed["jobs"])
            after = listed["next"]
            if after is None:
                return
            left = None if left is None else left - len(listed["jobs"])

    def models(self) -> list[dict[str, Any]]:
        """The models the server has loaded: names, versions, signatures, engines."""
        return self._send(Ask("GET", "/models", self.timeout_s)).json()["models"]

    def model(self, name: str) -> dict[str, Any]:
        """One model's description.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``.
        """
        return self._send(Ask("GET", _model_path(name), self.timeout_s)).json()

    def ready(self) -> bool:
        """Whether the server answers and is ready; False also where nobody answers."""
        try:
            return self._http.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _send(self, ask: Ask) -> httpx.Response:
        return send(self._http, ask)

    def _streamed(self, ask: Ask) -> AbstractContextManager[httpx.Response]:
        return streamed(self._http, ask)

    async def _send_async(self, ask: Ask) -> httpx.Response:
        return await self._loops.send(ask)

    def _explained(self, ask: Ask, question: Question) -> httpx.Response:
        """The answer to data, whose refusal helps who holds the data."""
        try:
            return self._send(ask)
        except InputError as error:
            raise question.explained(error) from None

    def _question(self, name: str, data: Any, *, large: bool = False) -> Question:
        return question_of(data, lambda: self._signature(name), large=large)

    def _signature(self, name: str) -> Signature:
        """A model's signature, fetched once."""
        if name not in self._signatures:
            self._signatures[name] = Signature.from_json(self.model(name)["signature"])
        return self._signatures[name]


def _model_path(name: str) -> str:
    return f"/models/{quote(name, safe='@')}"
