"""What every first pass gathers of the raw columns, for the report and for the dtypes that pandas would have made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from .between import Columns
from .passes import Passed, Request
from .profile import nulls_of, profile_statistics, seen_of_column


def wanted_profile(whole: Columns, schema: pa.Schema) -> list[Request]:
    """What the first pass should gather of the raw columns."""
    return [
        (whole, statistic)
        for place, name in enumerate(whole.names)
        for statistic in profile_statistics(place, schema.field(name).type, len(whole.names))
    ]


def nullable_of(whole: Columns, schema: pa.Schema, passed: Passed) -> frozenset[str]:
    """The raw columns that hold a null."""
    return frozenset(name for name, _, found in _found(whole, schema, passed) if nulls_of(found))


def seen_of(whole: Columns, schema: pa.Schema, passed: Passed) -> Mapping[str, Mapping[str, Any]]:
    """What was seen of each raw column, as the bundle format says it."""
    rows = sum(passed.part_rows)
    return {name: seen_of_column(kind, rows, found) for name, kind, found in _found(whole, schema, passed)}


def _found(whole: Columns, schema: pa.Schema, passed: Passed) -> Iterator[tuple[str, pa.DataType, list[Any]]]:
    """Each raw column with what was gathered of it."""
    for place, name in enumerate(whole.names):
        kind = schema.field(name).type
        yield name, kind, [passed[whole, statistic] for statistic in profile_statistics(place, kind, len(whole.names))]
