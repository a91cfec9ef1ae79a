"""The synchronous client. Frames and Arrow go as Arrow streams, dicts and lists as JSON."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from ..errors import (
    DeadlineError,
    InputError,
    InternalError,
    MonorailError,
    SettingError,
    SignatureError,
    UnreachableError,
    error_from,
)
from ..signature import Signature

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"


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
        self.timeout_s = _checked_timeout(timeout_s)
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, headers=dict(headers or {}))
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
        path = f"/models/{quote(name, safe='@')}/predict"
        if isinstance(data, Mapping) and not any(hasattr(value, "__array__") for value in data.values()):
            return self._predict_dict(path, name, data, timeout_s)
        if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
            body = {"rows": [plain(row) for row in data]}
            return self._predict_json(path, body, timeout_s)
        return self._predict_arrow(path, name, data, timeout_s)

    def models(self) -> list[dict[str, Any]]:
        """The models the server has loaded: names, versions, signatures, engines."""
        return self._request("GET", "/models").json()["models"]

    def model(self, name: str) -> dict[str, Any]:
        """One model's description.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``.
        """
        return self._request("GET", f"/models/{quote(name, safe='@')}").json()

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

    def _predict_dict(self, path: str, name: str, data: Mapping[str, Any], timeout_s: float | None) -> Any:
        """A record or columns. Where values are lists, the signature says which of the two it is."""
        lists = any(isinstance(value, list | tuple) for value in data.values())
        if lists and not self._is_record(name, data):
            columns = {column: plain(values) for column, values in data.items()}
            return self._predict_json(path, {"columns": columns}, timeout_s)
        body = {"rows": [plain(data)]}
        return self._predict_json(path, body, timeout_s)[0]

    def _predict_json(self, path: str, body: dict[str, Any], timeout_s: float | None) -> Any:
        """The predictions of a JSON body."""
        content = _encoded(body)
        answer = self._request("POST", path, timeout_s, content=content, headers={"content-type": JSON})
        return answer.json()["predictions"]

    def _is_record(self, name: str, data: Mapping[str, Any]) -> bool:
        from ..data import is_record

        return is_record(data, self._signature(name))

    def _signature(self, name: str) -> Signature:
        """A model's signature, fetched once."""
        if name not in self._signatures:
            self._signatures[name] = Signature.from_json(self.model(name)["signature"])
        return self._signatures[name]

    def _predict_arrow(self, path: str, name: str, data: Any, timeout_s: float | None) -> Any:
        """Anything else, as an Arrow stream both ways."""
        import pyarrow as pa

        from ..data import better_hint, from_arrow, to_arrow

        # One vector a column may be the column, or one record's tensor: the signature says which.
        vectors = isinstance(data, Mapping) and any(getattr(value, "ndim", 0) == 1 for value in data.values())
        signature = self._signature(name) if vectors else None
        try:
            table = to_arrow(data, signature)
        except SignatureError as error:
            # What cannot be one Arrow type cannot be of the signature's type either.
            places = [{**detail, "code": "wrong_type"} for detail in error.details]
            raise InputError(error.message, code="wrong_type", hint=error.hint, details=places) from error
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        headers = {"content-type": ARROW, "accept": ARROW}
        try:
            answer = self._request("POST", path, timeout_s, content=sink.getvalue().to_pybytes(), headers=headers)
        except InputError as error:
            raise better_hint(error, data) from None
        return from_arrow(pa.ipc.open_stream(answer.content).read_all(), data, signature)

    def _request(self, method: str, path: str, timeout_s: float | None = None, **options: Any) -> httpx.Response:
        """One request; anything but success is raised as the server's own error."""
        limit = self.timeout_s if timeout_s is None else _checked_timeout(timeout_s)
        headers = {"monorail-timeout-s": f"{limit:g}", **options.pop("headers", {})}
        try:
            answer = self._http.request(method, path, headers=headers, timeout=limit, **options)
        except httpx.ConnectTimeout as error:
            raise self._unreachable(error) from error
        except httpx.TimeoutException as error:
            raise DeadlineError(
                f"{self.url} did not answer within {limit:g} s",
                code="deadline_exceeded",
                hint="send fewer rows at once, or raise timeout_s",
            ) from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise _error_of(answer)
        return answer

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"{self.url} cannot be reached: {error}",
            code="unreachable",
            hint="check the address, and that `monorail serve` runs there",
        )


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


def _checked_timeout(timeout_s: float) -> float:
    """A number of seconds that can pass."""
    number = isinstance(timeout_s, numbers.Real) and not isinstance(timeout_s, bool)
    if not number or not math.isfinite(timeout_s) or timeout_s <= 0:
        raise SettingError(
            f"timeout_s is {timeout_s!r}", code="setting_invalid", hint="give seconds: a finite number above 0"
        )
    return timeout_s


def _encoded(body: dict[str, Any]) -> bytes:
    """A body of plain values as JSON."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a string holds {error.object[error.start]!a}, half of a character",
            code="wrong_format",
            hint="decode the text again from its bytes, or leave the value out",
        ) from error
    except TypeError as error:
        raise InputError(
            f"a value has no form in JSON: {error}",
            code="wrong_type",
            hint="send numbers, bools, strings, dates, timestamps or None",
        ) from error


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and pandas' NA and NaT are null, dates and times are ISO 8601.

    Raises:
        InputError: ``not_finite``: JSON has no infinity.
    """
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(
                "JSON has no infinity", code="not_finite", hint="send a frame or an Arrow table, which have it"
            )
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas is not imported for it
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy scalars
        return plain(value.tolist())
    return value
