"""Every error Monorail raises, in one tree.

::

    MonorailError
    ├── InputError               the data sent is not what the signature asks for, or cannot be read
    ├── NotFoundError            no such model, version, alias or route
    ├── RetryableError           nothing wrong with the request: the same one may succeed later
    │   ├── OverloadedError      the queue is full, or the server is starting or stopping
    │   ├── DeadlineError        the request's deadline passed first
    │   └── UnreachableError     no server answers there
    ├── SignatureError           a column of a type that no signature holds, or a signature that contradicts itself
    ├── CompileError             a model, or a step of it, has no compiled form
    ├── FitError                 a step cannot be fitted on data of any size, or not on this data
    ├── ProofError               graph and original do not agree on some row
    ├── BundleError              a bundle is damaged, unsupported or refused
    ├── RegistryError            a name is not allowed or taken, or the folder cannot be used
    ├── SettingError             a setting is unknown or out of its range
    ├── TrustError               opening this would run code, and nobody said it may
    ├── MissingExtraError        an optional package is needed and not installed
    ├── EngineError              the engine failed
    └── InternalError            a fault of Monorail itself

Catch :class:`RetryableError` to try again. ``code`` is stable and made for programs; texts may be reworded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BundleError",
    "CompileError",
    "DeadlineError",
    "EngineError",
    "FitError",
    "InputError",
    "InternalError",
    "MissingExtraError",
    "MonorailError",
    "NotFoundError",
    "OverloadedError",
    "ProofError",
    "RegistryError",
    "RetryableError",
    "SettingError",
    "SignatureError",
    "TrustError",
    "UnreachableError",
    "error_from",
]

#: Details that the text of an error shows; ``details`` has all of them.
SHOWN_DETAILS = 5


class MonorailError(Exception):
    """The root of the tree.

    Attributes:
        message: What happened; lower case, no period.
        code: Stable identifier, one of ``CLASS_OF_CODE``.
        hint: What to try, or None.
        details: Places in the input, each a dict with some of ``code``, ``file``, ``row_group``, ``row``, ``column``,
            ``step``, ``path``, ``expected``, ``got``; at most 100.
        request_id: The request that failed, where a server said so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.details: list[dict[str, Any]] = [dict(detail) for detail in details]
        self.request_id = request_id

    def __str__(self) -> str:
        """What happened, where, and what to try, a line each."""
        lines = [self.message, *(f"  {place}" for place in self.places())]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        if self.request_id:
            lines.append(f"request: {self.request_id}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes whole: keyword-only arguments are lost otherwise."""
        return _rebuild, (type(self), self.message, self.code, self.hint, self.details, self.request_id)

    def places(self) -> list[str]:
        """The details as text, one line each, shortened to the first few."""
        shown = [_place(detail) for detail in self.details[:SHOWN_DETAILS]]
        if len(self.details) > SHOWN_DETAILS:
            shown.append(f"and {len(self.details) - SHOWN_DETAILS} more")
        return shown


class InputError(MonorailError):
    """The data sent is not what the signature asks for, or cannot be read."""


class NotFoundError(MonorailError):
    """No such model, version, alias or route."""


class RetryableError(MonorailError):
    """Nothing is wrong with the request: the same one may succeed later."""


class OverloadedError(RetryableError):
    """A queue or the store of jobs is full, or the server is starting or stopping."""


class DeadlineError(RetryableError):
    """The request's deadline passed before its rows were scored."""


class UnreachableError(RetryableError):
    """No server answers at the address."""


class SignatureError(MonorailError):
    """A column is of a type that no signature holds, or a signature contradicts itself."""


class CompileError(MonorailError):
    """A model, or a step of it, has no compiled form."""


class FitError(MonorailError):
    """A step cannot be fitted on data of any size, or not on this data; ``details`` has its path."""


class ProofError(MonorailError):
    """Graph and original do not agree; ``details`` has the row that shows it."""


class BundleError(MonorailError):
    """A bundle is damaged, of a format this version does not read, or refused."""


class RegistryError(MonorailError):
    """A name is not allowed or taken, or the registry's folder cannot be used."""


class SettingError(MonorailError):
    """A setting is unknown or out of its range."""


class TrustError(MonorailError):
    """Opening this would run code, and nobody said it may."""


class MissingExtraError(MonorailError):
    """An optional package is needed and not installed; the hint has the command that installs it."""


class EngineError(MonorailError):
    """The engine failed, or its runtime cannot be loaded."""


class InternalError(MonorailError):
    """A fault of Monorail itself."""


#: The class of every code, as Rust's table says (``crates/core/src/error.rs``); a test compares them.
CLASS_OF_CODE: dict[str, type[MonorailError]] = {
    "malformed_request": InputError,
    "malformed_json": InputError,
    "malformed_arrow": InputError,
    "unknown_route": NotFoundError,
    "unknown_model": NotFoundError,
    "unknown_version": NotFoundError,
    "method_not_allowed": InputError,
    "not_acceptable": InputError,
    "body_too_large": InputError,
    "too_deep": InputError,
    "too_many_rows": InputError,
    "unsupported_media_type": InputError,
    "headers_too_large": InputError,
    "missing_column": InputError,
    "unknown_column": InputError,
    "duplicate_column": InputError,
    "null_not_allowed": InputError,
    "wrong_type": InputError,
    "out_of_range": InputError,
    "not_finite": InputError,
    "wrong_format": InputError,
    "wrong_shape": InputError,
    "score_conflict": InputError,
    "overloaded": OverloadedError,
    "draining": OverloadedError,
    "not_ready": OverloadedError,
    "deadline_exceeded": DeadlineError,
    "engine_failed": EngineError,
    "worker_failed": EngineError,
    "worker_lost": EngineError,
    "environment_unavailable": EngineError,
    "internal": InternalError,
    "bundle_damaged": BundleError,
    "bundle_unsupported": BundleError,
    "graph_refused": BundleError,
    "golden_mismatch": BundleError,
    "runtime_missing": EngineError,
    "name_invalid": RegistryError,
    "name_conflict": RegistryError,
    "version_exists": RegistryError,
    "registry_unusable": RegistryError,
    "setting_invalid": SettingError,
    "address_in_use": SettingError,
    "signature_invalid": SignatureError,
    "unsupported_column": SignatureError,
    "cannot_compile": CompileError,
    "cannot_fit": FitError,
    "not_proven": ProofError,
    "unknown_framework": CompileError,
    "missing_extra": MissingExtraError,
    "untrusted": TrustError,
    "unknown_job": NotFoundError,
    "job_conflict": InputError,
    "callback_refused": InputError,
    "job_unfinished": InputError,
    "job_cancelled": InputError,
    "job_store_full": OverloadedError,
    "job_store_failed": InternalError,
    "jobs_unavailable": OverloadedError,
    "reply_to_refused": InputError,
    "queue_unavailable": OverloadedError,
    "unreachable": UnreachableError,
}


def error_from(
    code: str,
    message: str,
    hint: str | None = None,
    details: str | Sequence[Mapping[str, Any]] | None = None,
    request_id: str | None = None,
) -> MonorailError:
    """Build the error that belongs to ``code``.

    Args:
        code: One of Rust's table. An unknown one (a newer server's) gives the root class.
        message: What happened.
        hint: What to try.
        details: Places in the input, as dicts or as the JSON text of a list of them.
        request_id: The request that failed.

    Returns:
        An instance of the code's class, not raised.
    """
    places = json.loads(details) if isinstance(details, str) else details
    kind = CLASS_OF_CODE.get(code, MonorailError)
    return kind(message, code=code, hint=hint, details=places or (), request_id=request_id)


def _place(detail: Mapping[str, Any]) -> str:
    """One detail as text: where, what belongs there, what was found."""
    where = ", ".join(
        f"{word.replace('_', ' ')} {value!r}" if isinstance(value, str) else f"{word.replace('_', ' ')} {value}"
        for word in ("file", "row_group", "step", "row", "column")
        if (value := detail.get(word)) is not None
    )
    where = where or detail.get("path") or "input"
    found = [f"{word} {detail[word]}" for word in ("expected", "got") if detail.get(word)]
    return f"{where}: {', '.join(found)}" if found else f"{where}: {detail.get('code', 'wrong')}"


def _rebuild(
    kind: type[MonorailError],
    message: str,
    code: str,
    hint: str | None,
    details: list[dict[str, Any]],
    request_id: str | None,
) -> MonorailError:
    """Undo ``__reduce__``."""
    return kind(message, code=code, hint=hint, details=details, request_id=request_id)
