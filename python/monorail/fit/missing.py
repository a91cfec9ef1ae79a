"""Missing values that reach a last step which takes none: told as soon as they are known, with file, row and column."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..data.source import Source
from ..errors import InputError, MonorailError
from .between import Columns, Given, Picked, Transformed, Value
from .passes import placed

pc: Any = pyarrow.compute


def check_missing(source: Source, first: pa.RecordBatch, value: Value, gaps: Iterable[str], step: str) -> None:
    """Refuse missing values that no step fills in: rows with one in each column are taken through the steps.

    Args:
        source: The data.
        first: Its first rows.
        value: What the last step is given; the steps before it are fitted, if only on the first rows.
        gaps: Raw columns that hold a null or NaN.
        step: What to call the last step.

    Raises:
        InputError: ``null_not_allowed``, with the first row that has one.
    """
    names = [name for name in _root(value) if name in frozenset(gaps)]
    if not names:
        return
    batch = _holed(first, names)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            missing = _missing(Given(batch, 0).rows(value))
    except Exception:
        # What a step says of such rows, it says where it meets them.
        return
    for place, name in enumerate(names):
        # The last row has no gap but where the first rows have nothing else.
        empty = batch.column(name).null_count == batch.num_rows
        if (features := np.flatnonzero(missing[place] if empty else missing[place] & ~missing[-1])).size:
            raise _refused(source, name, feature_names(value)[features[0] :][:1], step)


def gaps_of(rows: pa.RecordBatch) -> frozenset[str]:
    """The columns of some rows that hold a null or NaN."""
    pairs = zip(rows.schema.names, rows.columns, strict=True)
    return frozenset(name for name, column in pairs if pc.any(pc.is_null(column, nan_is_null=True)).as_py())


def place_rows(error: MonorailError, source: Source, starts: Sequence[int], value: Value) -> None:
    """Say of an error's rows, which are numbered over all the data, in which file they are, and name its features.

    Args:
        error: Changed.
        source: The data.
        starts: Number of the first row of each fragment.
        value: What the step was given that raised it.
    """
    for detail in error.details:
        detail.setdefault("code", error.code)
        if "row" in detail and "file" not in detail:
            part = int(np.searchsorted(starts, detail["row"], "right")) - 1
            detail["row"] -= starts[part]
            detail["file"] = source.fragments[part].name
        number = str(detail.get("column", "")).removeprefix("feature ")
        if number.isdecimal() and (name := feature_names(value)[int(number) :][:1]):
            detail["column"] = name[0]


def feature_names(value: Value) -> list[str]:
    """The names of a value's features, as its steps give them out; empty where they have none."""
    if isinstance(value, Columns):
        return list(value.names)
    if not isinstance(value, Transformed):
        return []
    given: Any = feature_names(value.base) or None
    for names in (given, None):
        try:
            return [str(name) for name in value.step.get_feature_names_out(names)]
        except (AttributeError, TypeError, ValueError):
            continue
    return []


def _root(value: Value) -> tuple[str, ...]:
    """The raw columns that a value is made of."""
    while not isinstance(value, Columns):
        if not isinstance(value, Transformed | Picked):
            return ()
        value = value.base
    return value.names


def _holed(first: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """A row for each of these columns with a gap there alone, and one without; else they are the same."""
    rows = len(names) + 1
    columns = []
    for name, column in zip(first.schema.names, first.columns, strict=True):
        known = column.filter(pc.is_valid(column))
        if pa.types.is_floating(column.type):
            known = known.filter(pc.is_finite(known))
        filled = known.take(pa.array(np.zeros(rows, np.int64))) if len(known) else pa.nulls(rows, column.type)
        if name in names:
            filled = pc.if_else(pa.array(np.arange(rows) == names.index(name)), pa.scalar(None, column.type), filled)
        columns.append(filled)
    return pa.RecordBatch.from_arrays(columns, names=first.schema.names)


def _missing(rows: Any) -> np.ndarray:
    """Which cells are NaN."""
    made = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
    return np.isnan(made.astype(np.float64).reshape(len(made), -1))


def _refused(source: Source, name: str, feature: Sequence[str], step: str) -> InputError:
    reaches = f", as `{feature[0]}`" if feature and feature[0] != name else ""
    error = InputError(
        f"`{name}` has missing values that reach `{step}`{reaches}, which takes none",
        code="null_not_allowed",
        hint="impute it in a step before (SimpleImputer), or leave such rows out with filters=",
        details=[{"code": "null_not_allowed", "column": name}],
    )
    for fragment in source.fragments:
        before = 0
        for batch in fragment.batches([name]):
            found = pc.index(pc.is_null(batch.column(0), nan_is_null=True), pa.scalar(True)).as_py()
            if found >= 0:
                error.details[0]["row"] = found
                placed(error, fragment, before)
                return error
            before += batch.num_rows
    return error
