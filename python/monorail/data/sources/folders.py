"""Columns that folders spell, ``month=3/day=4/x.parquet``: one value for all rows of a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from ...errors import InputError
from .places import Place


def with_keys(schema: pa.Schema, places: Sequence[Place]) -> tuple[pa.Schema, list[tuple[tuple[str, Any], ...]]]:
    """The schema with the columns that folders spell, and their values for each file.

    Raises:
        InputError: ``missing_column``: the folders of some file do not spell one that others do.
    """
    names = list(dict.fromkeys(name for place in places for name, _ in place.keys))
    spelt = [dict(place.keys) for place in places]
    for place, values in zip(places, spelt, strict=True):
        for name in names:
            if name not in values and name not in schema.names:
                raise InputError(
                    f"{place.name} lies in no folder {name}=…, as others do",
                    code="missing_column",
                    hint="read files apart that lie in different kinds of folders",
                    details=[{"code": "missing_column", "file": place.name, "column": name}],
                )
    whole = {name: all(_is_whole(values.get(name)) for values in spelt) for name in names}
    for name in names:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.int64() if whole[name] else pa.string()))
    return schema, [
        tuple((name, int(value) if value is not None and whole[name] else value) for name, value in values.items())
        for values in spelt
    ]


def _is_whole(text: str | None) -> bool:
    """Whether a folder's value is a whole number, as it would be written; ``007`` is a name."""
    return text is None or (text.lstrip("-").isdigit() and str(int(text)) == text and abs(int(text)) < 1 << 63)


def constants(keys: Iterable[tuple[str, Any]], schema: pa.Schema, rows: int) -> dict[str, pa.Array]:
    """Columns that have one value in all rows."""
    return {
        name: pa.repeat(pa.scalar(value, schema.field(name).type), rows)
        if value is not None
        else pa.nulls(rows, schema.field(name).type)
        for name, value in keys
    }


def with_columns(batch: pa.RecordBatch, more: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch with more columns."""
    if not more:
        return batch
    return pa.RecordBatch.from_arrays([*batch.columns, *more.values()], names=[*batch.schema.names, *more])
