"""Columns of categories as LightGBM takes them of a pandas frame: codes in the order of the categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...errors import FitError
from ..labels import is_text
from ..learning import Block, Inputs
from ..training import TrainingRows

pc: Any = pyarrow.compute
#: Categories of a column, at most: LightGBM looks at every one of them in every split.
MOST_CATEGORIES = 100_000


@dataclass(frozen=True)
class Categories:
    """The categories of each column that has some: those of its dictionaries, in the order of their appearance.

    Attributes:
        of: By the column's place: its categories, text.
        ordered: Columns whose categories are in order: to LightGBM they are numbers.
    """

    of: Mapping[int, pa.Array]
    ordered: frozenset[int] = frozenset()

    @property
    def listed(self) -> list[list[str]]:
        """What LightGBM remembers of them, in the order of the columns."""
        return [values.to_pylist() for values in self.of.values()]

    @property
    def places(self) -> list[int]:
        """The columns that are split by sets of categories."""
        return [place for place in self.of if place not in self.ordered]

    def words(self, inputs: Inputs) -> dict[str, Any]:
        """The categories by column, in the words of :class:`monorail.adapters.frames.Form`."""
        pairs = zip(self.of, self.listed, strict=True)
        return {inputs.names[place]: {"categories": held, "ordered": place in self.ordered} for place, held in pairs}

    def coded(self, block: Block) -> Block:
        """A block with codes, float64, in place of categories; NaN for null."""
        if block.batch is None or not self.of:
            return block
        columns = list(block.batch.columns)
        for place, values in self.of.items():
            columns[place] = _codes(columns[place], values)
        batch = pa.RecordBatch.from_arrays(columns, names=block.batch.schema.names)
        return Block(batch, None, block.start, block.target, block.weight, block.picked)


def is_categorical(kind: pa.DataType) -> bool:
    """Whether a column is of pandas' category type, or Arrow's of dictionaries, over text."""
    return pa.types.is_dictionary(kind) and is_text(kind)


def categories_of(rows: TrainingRows, inputs: Inputs) -> Categories:
    """The categories of a trainer's rows. One pass over the data where there are any.

    Raises:
        FitError: ``cannot_fit``: a column has more than 100,000.
    """
    places = [place for place, kind in enumerate(inputs.types) if is_categorical(kind)]
    if not places:
        return Categories({})
    found: dict[int, pa.Array] = {}
    for part in rows.map(_dictionaries, shared=places):
        for place, values in part.items():
            found[place] = values if place not in found else _together(found[place], values)
            if len(found[place]) > MOST_CATEGORIES:
                name = inputs.names[place]
                raise FitError(
                    f"`{name}` has more than {MOST_CATEGORIES:,} categories",
                    code="cannot_fit",
                    hint="make them coarser, or encode them in a step before (TargetEncoder)",
                    details=[{"code": "cannot_fit", "column": name}],
                )
    ordered = frozenset(place for place in places if getattr(inputs.types[place], "ordered", False))
    return Categories({place: found.get(place, pa.array([], pa.string())) for place in places}, ordered)


def _dictionaries(places: list[int], blocks: Iterator[Block]) -> dict[int, pa.Array]:
    """The categories of one part."""
    found: dict[int, pa.Array] = {}
    for block in blocks:
        for place in places:
            values = block.arrow(place).dictionary.cast(pa.string())
            found[place] = values if place not in found else _together(found[place], values)
    return found


def _together(first: pa.Array, later: pa.Array) -> pa.Array:
    """The categories of both, new ones behind."""
    if first.equals(later):
        return first
    return pa.concat_arrays([first, later.filter(pc.invert(pc.is_in(later, value_set=first)))])


def _codes(column: pa.Array, values: pa.Array) -> pa.Array:
    """The place of each value among the categories, float64."""
    places = pc.index_in(column.dictionary.cast(pa.string()), value_set=values).cast(pa.float64())
    return pc.fill_null(places.take(column.indices), np.nan)
