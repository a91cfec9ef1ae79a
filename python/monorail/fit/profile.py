"""What the first pass gathers of every raw column, and what the signature says of it: ranges, categories, quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..signature import MAX_CATEGORIES, QUANTILES, Column, column_of
from .learning import Block, Statistic
from .states import Counts, Numbers
from .statistics import NumberSummary, QuantileSketch, ValueCounts, quantiles

#: Different words above twice which only the most frequent are kept.
WORDS = 50_000
#: Raw columns above which no quantiles are gathered for the signature: each takes some 200 KB in every worker.
WIDE = 500


@dataclass(frozen=True)
class ElementSummary(Statistic):
    """Numbers of all elements of a tensor column.

    Attributes:
        place: Which column.
    """

    place: int

    def start(self) -> Numbers:
        """An empty state."""
        return Numbers()

    def update(self, state: Numbers, block: Block) -> Numbers:
        """The state with a block's rows."""
        values = block.arrow(self.place)
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        while pa.types.is_fixed_size_list(values.type):
            values = values.flatten()
        state.update(values)
        return state


@dataclass(frozen=True)
class NullCount(Statistic):
    """How many nulls a column of any type has.

    Attributes:
        place: Which column.
    """

    place: int

    def start(self) -> int:
        """None yet."""
        return 0

    def update(self, state: int, block: Block) -> int:
        """The count with a block's rows."""
        values = block.arrow(self.place)
        return state + (len(values) if pa.types.is_null(values.type) else values.null_count)

    def merge(self, state: int, later: int) -> int:
        """The sum."""
        return state + later


def profile_statistics(place: int, kind: pa.DataType, width: int = 1) -> tuple[Statistic, ...]:
    """What to gather of a raw column; the first one counts its nulls.

    Args:
        place: Which column.
        kind: Its type.
        width: How many raw columns there are.
    """
    column = column_of("", kind)
    if column is None:
        return (NullCount(place),)
    if column.type in ("string", "dictionary"):
        return (ValueCounts(place, WORDS),)
    if column.type == "tensor":
        return (NullCount(place), *([] if column.dtype == "bool" else [ElementSummary(place)]))
    if column.type == "bool" or width > WIDE:
        return (NumberSummary(place),)
    return (NumberSummary(place), QuantileSketch(place))


def nulls_of(found: Sequence[Any]) -> int:
    """How many nulls a column has, NaN not among them.

    Args:
        found: What was gathered for :func:`profile_statistics`, in its order.
    """
    return found[0] if isinstance(found[0], int) else found[0].nulls


def seen_of_column(kind: pa.DataType, rows: int, found: Sequence[Any]) -> dict[str, Any]:
    """What was seen of a column, as the bundle format says it; empty where no signature holds such a column.

    Args:
        kind: Its type.
        rows: How many rows the data has.
        found: What was gathered for :func:`profile_statistics`, in its order.
    """
    column = column_of("", kind)
    if column is None:
        return {}
    if column.type == "tensor":
        return _seen_tensor(rows, found)
    first = found[0]
    seen: dict[str, Any] = {"null_share": (first.nulls + first.nans) / rows if rows else 0.0}
    if isinstance(first, Counts):
        seen |= {
            "distinct": first.distinct,
            "categories": [[value, count] for value, count in first.top(MAX_CATEGORIES)],
        }
    elif column.type != "bool":
        seen |= _seen_range(first)
        if first.count and len(found) > 1:
            seen["quantiles"] = _seen_quantiles(column, first, found[1])
    return seen


def _seen_tensor(rows: int, found: Sequence[Any]) -> dict[str, Any]:
    """Of a tensor column: all its elements together."""
    nans = sum(numbers.nans + numbers.nulls for numbers in found[1:])
    seen: dict[str, Any] = {"null_share": (found[0] + nans) / rows if rows else 0.0}
    for numbers in found[1:]:
        seen |= _seen_range(numbers)
    return seen


def _seen_range(numbers: Numbers) -> dict[str, Any]:
    """Infinity, least and greatest."""
    seen: Mapping[str, Any] = {"infinity": True} if numbers.infinities else {}
    return {**seen, **({"min": numbers.minimum, "max": numbers.maximum} if numbers.count else {})}


def _seen_quantiles(column: Column, numbers: Numbers, sketch: Any) -> list[int] | list[float]:
    """Quantiles that are values of the column."""
    found = quantiles(sketch, np.arange(QUANTILES) / (QUANTILES - 1), "nearest")
    if column.type.startswith("float"):
        return found.tolist()
    # A double may not hold a long number; the ends are known exactly.
    low, high = int(numbers.minimum or 0), int(numbers.maximum or 0)
    return [min(max(round(value), low), high) for value in found.tolist()]
