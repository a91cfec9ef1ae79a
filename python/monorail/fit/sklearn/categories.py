"""Categories: what scikit-learn's encoders learn of a column, from its different values and how often each is there.

scikit-learn's own code decides order, type and what is missing: it is given the different values in the form that the
whole column would have had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from ...adapters.frames import Form
from ...errors import FitError
from ..learning import Block, Inputs, Statistic
from ..statistics import ValueCounts, check_distinct


class Missing(Enum):
    """A NaN among objects: one key, where every NaN would be another."""

    NAN = "nan"


@dataclass(frozen=True)
class ObjectCounts(Statistic):
    """How often each value of a column of a matrix of Python objects is there: a dict, in the order of appearance.

    Attributes:
        place: Which column.
    """

    place: int

    def start(self) -> dict[Any, int]:
        """An empty state."""
        return {}

    def update(self, state: dict[Any, int], block: Block) -> dict[Any, int]:
        """The state with a block's rows."""
        for value in block.matrix[:, self.place]:
            key = key_of(value)
            state[key] = state.get(key, 0) + 1
        check_distinct(len(state), block, self.place)
        return state

    def merge(self, state: dict[Any, int], later: dict[Any, int]) -> dict[Any, int]:
        """One state of two."""
        for key, count in later.items():
            state[key] = state.get(key, 0) + count
        check_distinct(len(state))
        return state


def key_of(value: Any) -> Any:
    """A value as a key of a dict: every NaN is one."""
    return Missing.NAN if value != value else value


def holds_objects(inputs: Inputs) -> bool:
    """Whether a step is given a matrix of Python objects."""
    return isinstance(inputs.sample, np.ndarray) and inputs.sample.dtype == object


def counting(inputs: Inputs, place: int) -> Statistic:
    """The statistic that counts the categories of a column."""
    return ObjectCounts(place) if holds_objects(inputs) else ValueCounts(place)


@dataclass(frozen=True)
class Distinct:
    """The different values of one column, as an encoder is given them.

    Attributes:
        X: A pandas frame or a matrix of one column, a row for each value.
        counts: How often each is there, int64.
        rows: How many rows the column has.

    Raises:
        FitError: ``cannot_fit``: times with a null, of which scikit-learn makes a category each.
    """

    X: Any
    counts: np.ndarray
    rows: int

    @classmethod
    def of_counts(cls, inputs: Inputs, place: int, found: Any) -> Distinct:
        """The values that :func:`counting` gathered."""
        if isinstance(found, Mapping):
            counts = np.fromiter(found.values(), np.int64, len(found))
            return cls(_objects(found), counts, int(counts.sum()))
        values, counts, missing = found.values, found.counts, found.nulls + found.nans
        if missing:
            values = pa.concat_arrays([values, pa.nulls(1, values.type)])
            counts = np.append(counts, missing)
        return cls(_column(inputs, place, values), counts, found.rows)

    @classmethod
    def of_keys(cls, inputs: Inputs, place: int, keys: Sequence[Any], counts: np.ndarray) -> Distinct:
        """Values that are keys of a dict, None where one is missing."""
        rows = int(counts.sum())
        if holds_objects(inputs):
            return cls(_objects(keys), counts, rows)
        return cls(_column(inputs, place, pa.array(keys, plain(inputs.types[place]))), counts, rows)


def plain(kind: Any) -> Any:
    """The type of a column's values: of a dictionary those that it holds."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _objects(keys: Any) -> np.ndarray:
    """Keys as a matrix of objects, one column."""
    made = np.empty((len(keys), 1), object)
    made[:, 0] = [np.nan if key is Missing.NAN else key for key in keys]
    return made


def _column(inputs: Inputs, place: int, values: pa.Array) -> Any:
    if inputs.names:
        name = inputs.names[place]
        if pa.types.is_dictionary(inputs.types[place]):
            values = values.cast(pa.string())
        if values.null_count and pa.types.is_timestamp(values.type):
            raise FitError(
                f"`{name}` holds times and nulls: scikit-learn makes every null a category of its own",
                code="cannot_fit",
                hint="leave out rows without a time, or fill them in",
                details=[{"code": "cannot_fit", "column": name}],
            )
        return Form("pandas").frame(pa.table({name: values}))
    plain = Form("matrix").frame(pa.table({"x": values}))
    return np.asarray(plain, inputs.sample.dtype)


@dataclass(frozen=True)
class Learnt:
    """What an encoder learns of one column.

    Attributes:
        categories: The categories in order, in the type that ``fit`` leaves.
        counts: How often each is there, int64.
        places: The place of each different value among them, -1 where it is none.
    """

    categories: np.ndarray
    counts: np.ndarray
    places: np.ndarray


def learnt(step: Any, inputs: Inputs, place: int, distinct: Distinct, handle_unknown: str) -> Learnt:
    """The categories that an encoder learns of a column, or finds in those it was given.

    Args:
        step: An encoder of scikit-learn.
        inputs: What it is fitted on.
        place: Which column.
        distinct: The column's different values.
        handle_unknown: Whether values that are not among given categories are refused: ``error`` or anything else.

    Raises:
        FitError: ``cannot_fit``: scikit-learn refuses these values.
    """
    from sklearn.base import clone
    from sklearn.utils._encode import _check_unknown, _encode

    one: Any = clone(step)
    grouping = {"min_frequency", "max_categories", "drop"} & set(one.get_params(deep=False))
    one.set_params(**dict.fromkeys(grouping))
    if step.categories != "auto":
        one.set_params(categories=[step.categories[place]])
    try:
        one._fit(distinct.X, handle_unknown=handle_unknown, ensure_all_finite="allow-nan")
        values = one._check_X(distinct.X, ensure_all_finite="allow-nan")[0][0]
        categories = one.categories_[0]
        if _in_order(values, categories):
            return Learnt(categories, distinct.counts, np.arange(len(values)))
        known: Any = _check_unknown(values, categories, return_mask=True)[1]
        places = np.full(len(values), -1, np.int64)
        if known.any():
            places[known] = _encode(values[known], uniques=categories, check_unknown=False)
    except (ValueError, TypeError) as error:
        raise refused(error, inputs, place) from error
    # Two values may be one category: True and 1 among objects.
    counts = np.bincount(places[known], weights=distinct.counts[known], minlength=len(categories))
    return Learnt(categories, counts.astype(np.int64), places)


def _in_order(values: np.ndarray, categories: np.ndarray) -> bool:
    """Whether the values are the categories already: the usual case, which needs no look-up of millions."""
    if len(values) != len(categories) or not (values[:-1] == categories[:-1]).all():
        return False
    last, expected = values[-1], categories[-1]
    return bool(last == expected or (last != last and expected != expected))


def refused(error: Exception, inputs: Inputs, place: int) -> FitError:
    """What scikit-learn says of one column, with its name."""
    name = inputs.names[place] if inputs.names else str(place)
    said = re.sub(r"column #?0\b", f"column {place}", str(error))
    return FitError(
        f"`{name}` cannot be encoded: {said}", code="cannot_fit", details=[{"code": "cannot_fit", "column": name}]
    )
