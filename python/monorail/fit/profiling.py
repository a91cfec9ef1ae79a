"""What every first pass gathers of the raw columns, for the report and for the dtypes that pandas would have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from .between import Columns
from .learning import Block, Statistic
from .passes import Passed, Request


class Nulls(Statistic):
    """How many nulls a raw column holds.

    Args:
        place: Which column.
    """

    def __init__(self, place: int) -> None:
        self.place = place

    def start(self) -> int:
        """None yet."""
        return 0

    def update(self, state: int, block: Block) -> int:
        """The count with a block's rows."""
        return state + block.arrow(self.place).null_count

    def merge(self, state: int, later: int) -> int:
        """The sum."""
        return state + later

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nulls) and other.place == self.place

    def __hash__(self) -> int:
        return hash(("nulls", self.place))


def wanted_profile(whole: Columns, schema: pa.Schema) -> list[Request]:
    """What the first pass should gather of the raw columns."""
    del schema
    return [(whole, Nulls(place)) for place in range(len(whole.names))]


def nullable_of(whole: Columns, schema: pa.Schema, passed: Passed) -> frozenset[str]:
    """The raw columns that hold a null."""
    del schema
    return frozenset(name for place, name in enumerate(whole.names) if passed[whole, Nulls(place)])


def seen_of(whole: Columns, schema: pa.Schema, passed: Passed) -> Mapping[str, Mapping[str, Any]]:
    """What was seen of each raw column, as the bundle format says it."""
    del whole, schema, passed
    return {}
