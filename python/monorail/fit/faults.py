"""What a step says of the data, as an error that names the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..errors import FitError, MonorailError


@contextlib.contextmanager
def told_by(step: Any, path: str | None = None, doing: str = "cannot be fitted on these rows") -> Iterator[None]:
    """Have what a step raises say which step it was.

    Args:
        step: The step.
        path: The way to it, where that is known.
        doing: What it does not do.

    Raises:
        FitError: ``cannot_fit``: the step raised something of its own; that is the cause.
    """
    kind = f"{type(step).__module__}.{type(step).__qualname__}"
    try:
        yield
    except MonorailError as error:
        if path is not None:
            for detail in error.details:
                detail.setdefault("path", path)
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place: dict[str, Any] = {"code": "cannot_fit", "got": kind}
        raise FitError(
            f"`{path or type(step).__name__}` {doing}: {text}",
            code="cannot_fit",
            hint="the step's own error is above; put a step before it that mends the values, or leave the rows out",
            details=[place if path is None else {**place, "path": path}],
        ) from error
