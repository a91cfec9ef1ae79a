"""joblib and pickle files: opened only with trust, since opening one can run any code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingExtraError, TrustError
from .pickles import imports_of, unusual

#: Endings of such files.
ENDINGS = (".joblib", ".pickle", ".pkl")
_SHOWN = 20


def open_file(path: Path, trust: bool) -> Any:
    """The object in a pickle or joblib file.

    Raises:
        TrustError: `untrusted`, with what it would import; nothing of it was run.
        InputError: `malformed_request`: it cannot be opened.
        MissingExtraError: a package that the object needs is not installed.
    """
    if not trust:
        raise refusal(path)
    try:
        return _load(path)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the model in {path} needs the package of {error.name}, which is not installed",
            code="missing_extra",
            hint="install what the model was fitted with",
        ) from error
    except Exception as error:  # a pickle runs code of its own, which may raise anything
        raise InputError(
            f"{path} cannot be opened: {type(error).__name__}: {error}",
            code="malformed_request",
            hint="check that it is a pickle or joblib file, made with the versions installed here",
        ) from error


def refusal(path: Path, what: str = "a pickle") -> TrustError:
    """The refusal of a file that runs code when it is opened, with what it would import."""
    names, stopped = imports_of(path)
    names = unusual(names)
    listed = f"; it imports {', '.join(names[:_SHOWN])}" if names else ""
    listed += f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    listed += "; what it imports cannot be told to its end" if stopped else ""
    return TrustError(
        f"{path} is {what}: opening it can run any code{listed}",
        code="untrusted",
        hint="add --trust if you know where it comes from (in Python trust=True), or save the fitted object itself",
    )


def _load(path: Path) -> Any:
    try:
        import joblib
    except ImportError:
        with path.open("rb") as stream:
            return pickle.load(stream)
    return joblib.load(path)
