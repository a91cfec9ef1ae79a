"""The process that opens a pickle and saves what is in it, for ``monorail save --trust``.

The request is JSON on stdin; the answer is the last line of stdout, ``{"saved": ...}`` or ``{"error": ...}``.
The model's own code may print: that goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
from typing import Any

from ..errors import InputError, MissingExtraError, MonorailError


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = {"saved": _save(**request)}
        except MonorailError as error:
            parts = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
            answer = {"error": parts}
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return 0


def _save(file: str, name: str, example: str, reference: str | None, **options: Any) -> dict[str, Any]:
    """Open the pickle and save the model."""
    from .. import save
    from ..data.files import read_table

    version = save(
        _open(file),
        name,
        example=_frame(example, read_table),
        reference=None if reference is None else read_table(reference),
        nullable=options.pop("nullable") or None,
        outputs=options.pop("outputs") or None,
        **options,
    )
    return {"name": version.name, "version": version.version, "path": str(version.path), "proof": str(version.proof)}


def _open(file: str) -> Any:
    """The object in a pickle or joblib file."""
    try:
        try:
            import joblib
        except ImportError:
            with open(file, "rb") as stream:
                return pickle.load(stream)
        return joblib.load(file)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the model in {file} needs the package of {error.name}, which is not installed",
            code="missing_extra",
            hint="install what the model was fitted with",
        ) from error
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, OSError) as error:
        raise InputError(
            f"{file} cannot be opened: {type(error).__name__}: {error}",
            code="malformed_request",
            hint="check that it is a pickle or joblib file, made with the versions installed here",
        ) from error


def _frame(path: str, read_table: Any) -> Any:
    """The example as most models were fitted on it: a pandas frame, where pandas is there."""
    table = read_table(path)
    try:
        import pandas  # noqa: F401
    except ImportError:
        return table
    return table.to_pandas()


if __name__ == "__main__":
    sys.exit(main())
