"""What `mr.save` is given, made plain: a model file opened, what a fit remembers, texts and series as frames."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..adapters.frames import Form
from ..errors import InputError
from ..signature import Column, Signature, infer

#: Name of the one column that a list of texts becomes.
TEXT_COLUMN = "text"
#: Where `mr.fit` keeps what it remembers.
REPORT = "fit_report_"


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model to be saved.

    Attributes:
        model: The model, without what `mr.fit` remembers of its data: that must not travel.
        example: Rows of the data it was fitted on.
        remembered: What `mr.fit` remembers (`monorail.fit.report.FitReport`), or None.
    """

    model: Any
    example: Any
    remembered: Any


def opened(model: Any, example: Any, *, trust: bool, quiet: bool = False) -> Opened:
    """The model, read where it is the path of a file or folder, and the example.

    Where no example is given it is the file's own, or the one that the fit remembers. What a trusted pickle
    imports is said before it is opened.

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
    remembered = getattr(model, "__dict__", {}).get(REPORT)
    if remembered is not None:
        model = copy.copy(model)
        delattr(model, REPORT)
        example = remembered.example if example is None else example
    if example is None:
        raise InputError(
            "no example was given", code="wrong_type", hint="pass example=, rows of the data the model was fitted on"
        )
    return Opened(model, example, remembered)


def with_seen(signature: Signature, remembered: Any) -> Signature:
    """The signature with what a fit saw of all rows: nulls, ranges, categories, quantiles.

    A column that has another type now keeps what the example says of it.
    """
    fitted = {column.name: column for column in infer(remembered.example).inputs}
    columns = []
    for column in signature.inputs:
        seen, then = remembered.seen.get(column.name), fitted.get(column.name)
        if seen and then is not None and then.describe() == column.describe():
            null = bool(seen.get("null_share")) and _can_be_null(column)
            column = dataclasses.replace(column, seen=dict(seen), nullable=column.nullable or null)
        columns.append(column)
    return dataclasses.replace(signature, inputs=tuple(columns))


def with_categories(form: Form, remembered: Any) -> Form:
    """The form with the categories that a fit learnt, of columns of which the example says nothing."""
    if remembered is None or not remembered.categories or form.kind not in ("pandas", "matrix"):
        return form
    # What learnt categories takes frames, whatever the step before it was told.
    return dataclasses.replace(form, kind="pandas", dtypes={**remembered.categories, **form.dtypes})


def _can_be_null(column: Column) -> bool:
    return column.type != "tensor" or (column.dtype or "").startswith("float")


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
