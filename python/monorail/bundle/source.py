"""What `mr.save` is given, made plain: a model file opened, texts and series as frames."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

#: Name of the one column that a list of texts becomes.
TEXT_COLUMN = "text"


def opened(model: Any, example: Any, *, trust: bool, quiet: bool = False) -> tuple[Any, Any]:
    """The model, read where it is the path of a file or folder, and the example, the file's own where none is given.

    What a trusted pickle imports is said before it is opened.

    Raises:
        TrustError: the file may run code, and nobody said it may.
        InputError: there is no example.
    """
    if isinstance(model, str | os.PathLike):
        from ..adapters.files import announcement, example_of, open_model

        path = Path(model)
        if trust and not quiet and (said := announcement(path)):
            sys.stderr.write(said + "\n")
        example = example_of(path) if example is None else example
        model = open_model(path, trust)
    if example is None:
        raise InputError(
            "no example was given", code="wrong_type", hint="pass example=, rows of the data the model was fitted on"
        )
    return model, example


def as_frame(data: Any, takes: str) -> Any:
    """A list of texts, or a series, as data with one column, for a model that takes texts; else the data as it is.

    Args:
        data: What the user gave.
        takes: As `Description.takes` says it.
    """
    if takes != "series":
        return data
    module, kind = type(data).__module__.partition(".")[0], type(data).__name__
    if kind == "Series" and module in ("pandas", "polars"):
        return data.to_frame(str(data.name) if data.name else TEXT_COLUMN)
    if isinstance(data, Sequence) and not isinstance(data, str) and data and all(isinstance(x, str) for x in data):
        return {TEXT_COLUMN: list(data)}
    return data
