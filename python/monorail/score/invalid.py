"""Rows that break the signature: where they are in their files, and what was wrong with each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..data.sources.base import columns_of, filtered
from ..data.sources.misfits import MISFITS
from ..data.sources.parquet import footer
from ..data.sources.places import Place
from ..errors import InputError
from .scorer import Scorer, answers_of

#: Rows of a batch looked at together when its faults are too many for one error to list.
SLICE_ROWS = 256
#: Faults that one error lists at most, as Rust's table of errors has it.
MOST_DETAILS = 100
_NUMBER = "monorail number"
#: What to do about a row.
MEND = 'mend the row, or score the others with invalid="quarantine"'
#: Columns of the side file besides those that were read.
PLACE = pa.schema(
    [
        ("monorail_file", pa.string()),
        ("monorail_row_group", pa.int64()),
        ("monorail_row", pa.int64()),
        ("monorail_column", pa.string()),
        ("monorail_reason", pa.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A batch in two.

    Attributes:
        answers: The rows that could be scored, as :meth:`Scorer.score` gives them.
        rows: Which rows could not, counted from the batch's first.
        faults: What is wrong with each of those, as in an error's ``details``.
    """

    answers: pa.RecordBatch
    rows: list[int]
    faults: list[list[dict[str, Any]]]


def check_names(names: Sequence[str]) -> None:
    """Refuse columns with the names that the side file adds.

    Args:
        names: Of the columns that are read.

    Raises:
        InputError: ``duplicate_column``.
    """
    taken = [name for name in names if name in (*PLACE.names, MISFITS)]
    if taken:
        raise InputError(
            f"column {taken[0]!r} has a name that the file of rows set aside uses itself",
            code="duplicate_column",
            hint="rename it in the data, or do not pass it through",
            details=[{"code": "duplicate_column", "column": name} for name in taken],
        )


def judge(scorer: Scorer, batch: pa.RecordBatch) -> Judged:
    """Score a batch without the rows that break the signature.

    Raises:
        InputError: what is wrong is no row's alone.
        EngineError: the engine failed.
    """
    known = _misfits(batch)
    if known:
        kept = [row for row in range(batch.num_rows) if row not in known]
        judged = judge(scorer, batch.drop_columns([MISFITS]).take(pa.array(kept, pa.int64())))
        known |= {kept[row]: faults for row, faults in zip(judged.rows, judged.faults, strict=True)}
        rows = sorted(known)
        return Judged(judged.answers, rows, [known[row] for row in rows])
    try:
        return Judged(scorer.score(batch), [], [])
    except InputError as error:
        found = _faults(scorer, batch, error)
    rows = sorted(found)
    kept = np.ones(batch.num_rows, bool)
    kept[rows] = False
    return Judged(scorer.score(batch.filter(pa.array(kept))), rows, [found[row] for row in rows])


def _misfits(batch: pa.RecordBatch) -> dict[int, list[dict[str, Any]]]:
    """The rows in which a reader has found values that are not of their column's type, with their faults."""
    if MISFITS not in batch.schema.names:
        return {}
    told = batch.column(MISFITS)
    return {row: json.loads(told[row].as_py()) for row in np.flatnonzero(told.is_valid()).tolist()}


def _faults(scorer: Scorer, batch: pa.RecordBatch, error: InputError) -> dict[int, list[dict[str, Any]]]:
    """Every row that breaks the signature, with its faults. An error lists so many at most; then slices tell."""
    found = _by_row(error)
    if len(error.details) < MOST_DETAILS:
        return found
    inputs, found = scorer.inputs(batch), {}
    for first in range(0, batch.num_rows, SLICE_ROWS):
        part = inputs.slice(first, SLICE_ROWS)
        left = list(range(part.num_rows))
        while left:
            try:
                answers_of(scorer.model.engine(), part.take(pa.array(left)))
                break
            except InputError as again:
                by_row = _by_row(again)
                found |= {first + left[row]: faults for row, faults in by_row.items()}
                left = [row for place, row in enumerate(left) if place not in by_row]
    return found


def _by_row(error: InputError) -> dict[int, list[dict[str, Any]]]:
    """An error's details by row; the error itself where one has none, for then no row can be left out."""
    found: dict[int, list[dict[str, Any]]] = {}
    for place in error.details:
        if place.get("row") is None:
            raise error
        found.setdefault(place["row"], []).append(place)
    if not found:
        raise error
    return found


def side_rows(scorer: Scorer, batch: pa.RecordBatch, judged: Judged, fragment: Any, first: int) -> pa.Table:
    """The rows that could not be scored, with what was read of them, where they are and why.

    Args:
        scorer: What judged.
        batch: What they are of.
        judged: How it came out.
        fragment: What the batch is of.
        first: How many rows of the fragment came before the batch.
    """
    places = locate(fragment, [first + row for row in judged.rows])
    head = [
        {
            "monorail_file": place.get("file"),
            "monorail_row_group": place.get("row_group"),
            "monorail_row": place.get("row"),
            "monorail_column": ", ".join(dict.fromkeys(str(fault.get("column")) for fault in faults)),
            "monorail_reason": "; ".join(reason(fault) for fault in faults),
        }
        for place, faults in zip(places, judged.faults, strict=True)
    ]
    rows = pa.Table.from_batches([scorer.plain(batch.take(pa.array(judged.rows, pa.int64())))])
    return pa.table(
        [*pa.Table.from_pylist(head, PLACE).columns, *rows.columns], names=[*PLACE.names, *rows.schema.names]
    )


def reason(fault: Mapping[str, Any]) -> str:
    """A fault in a few words."""
    return f"{fault.get('column')}: expected {fault.get('expected')}, got {fault.get('got')} ({fault.get('code')})"


def refusal(error: InputError, fragment: Any, first: int) -> InputError:
    """An error about rows of a batch as one about rows of a file.

    Args:
        error: Its rows count from the batch's first.
        fragment: What the batch is of.
        first: How many rows of the fragment came before the batch.
    """
    told = [detail for detail in error.details if detail.get("row") is not None]
    places = locate(fragment, [first + detail["row"] for detail in told])
    details = [{**detail, **place, "path": None} for detail, place in zip(told, places, strict=True)] or [
        {**detail, "file": fragment.name} for detail in error.details
    ]
    where, what = fragment.name, error.message
    if told:
        place, fault = places[0], told[0]
        group = "" if place.get("row_group") is None else f", row group {place['row_group']}"
        row = "" if place.get("row") is None else f", row {place['row']}"
        where = f"{place['file']}{group}{row}"
        what = f"column {reason(fault)}"
    return InputError(
        f"{where}: {what}",
        code=error.code,
        hint=MEND if told else error.hint,
        details=details,
    )


def locate(fragment: Any, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Where rows of a fragment are: ``file``, ``row_group`` where it has some, and ``row``, counted in the file from 0.

    Args:
        fragment: What they are of.
        rows: Counted among the rows that the fragment gives.
    """
    if getattr(fragment, "kept", None) is not None:
        rows = _before_filters(fragment, rows)
    place = place_of(fragment)
    if place is None:
        start = max(fragment.start, 0)
        return [{"file": fragment.name, "row": start + row} for row in rows]
    groups = getattr(fragment, "groups", None)
    if groups is None:
        first = _rows_before(fragment)
        return [{"file": place.name, "row": first + row} for row in rows]
    sizes = _row_groups(fragment)
    found = []
    for row in rows:
        for group in groups:
            if row < sizes[group]:
                found.append({"file": place.name, "row_group": group, "row": sum(sizes[:group]) + row})
                break
            row -= sizes[group]
    return found


def place_of(fragment: Any) -> Place | None:
    """The user's file that a fragment is of; None where it is of none, or of one that was spooled."""
    return None if getattr(fragment, "private", False) else getattr(fragment, "place", None)


def _row_groups(fragment: Any) -> list[int]:
    """How many rows each row group of a fragment's file has."""
    metadata = footer(fragment.place)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _rows_before(fragment: Any) -> int:
    """How many rows of an Arrow file come before a fragment of it; of other kinds of files a fragment is all."""
    if not getattr(fragment, "first", 0):
        return 0
    with fragment.place.open() as source, pa.ipc.open_file(source) as file:
        return sum(file.get_batch(number).num_rows for number in range(fragment.first))


def _before_filters(fragment: Any, rows: Sequence[int]) -> list[int]:
    """Which rows of the fragment as it lies those are that its filter keeps: it is read again, for this alone."""
    names = columns_of(fragment.kept, fragment.schema)
    whole = dataclasses.replace(fragment, kept=None)
    seen: list[int] = []
    start = 0
    for batch in whole.batches(names):
        number = pa.array(range(start, start + batch.num_rows), pa.int64())
        numbered = pa.RecordBatch.from_arrays([*batch.columns, number], names=[*names, _NUMBER])
        seen += filtered(numbered, fragment.kept).column(_NUMBER).to_pylist()
        start += batch.num_rows
        if len(seen) > max(rows, default=0):
            break
    return [seen[row] for row in rows]
