"""What a step says of the data, as an error that names the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..data.source import Source
from ..errors import FitError, MonorailError

#: What steps raise of the values they are given; errors of their own package are theirs too.
OF_STEPS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _package(made: object) -> str:
    return type(made).__module__.partition(".")[0]


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
    except Exception as error:
        settings = type(error).__name__ == "InvalidParameterError"
        # What is wrong with a disk or with memory is no step's.
        if not isinstance(error, OF_STEPS) and _package(error) != _package(step):
            raise
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place: dict[str, Any] = {"code": "cannot_fit", "got": kind}
        raise FitError(
            f"`{path or type(step).__name__}` {'cannot be fitted' if settings else doing}: {text}",
            code="cannot_fit",
            hint="change the parameter"
            if settings
            else "the step's own error is above; put a step before it that mends the values, or leave the rows out",
            details=[place if path is None else {**place, "path": path}],
        ) from error


@contextlib.contextmanager
def telling_slips(source: Source) -> Iterator[None]:
    """Have an error about a column of text say which value made it text, where its others are numbers.

    Args:
        source: The data.

    Raises:
        MonorailError: what the block raised.
    """
    try:
        yield
    except MonorailError as error:
        named = {detail.get("column") for detail in error.details}
        for column, slip in source.slips.items():
            if column in named or f"{column!r}" in error.message or f"`{column}`" in error.message:
                error.details += [each for each in slip.details if each not in error.details]
                error.hint = f"{slip.message}: mend that value"
        raise
