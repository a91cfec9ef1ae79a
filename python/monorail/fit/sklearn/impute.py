"""Imputers, and the indicator of what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...errors import InputError
from ..labels import is_text
from ..learning import Block, Inputs, Learner, Statistic
from ..states import Counts, Numbers, Order, Quantiles
from ..statistics import ExactQuantiles, QuantileSketch, ValueCounts
from .numeric import (
    Features,
    check_rows,
    fit_on,
    holds_objects,
    is_number,
    is_sparse,
    many_rows,
    named,
    probe_rows,
    summaries,
)
from .ordered import SPARSE_WIDTH, Ordered

#: Its functions are made at import, so type checkers know none of them.
pc: Any = pyarrow.compute


@dataclass(frozen=True)
class Gaps(Statistic):
    """How many rows there are, how many of a column are null or NaN, and how many hold a value that stands for that.

    Attributes:
        place: Which column.
        marker: The value; None where only nulls and NaN are missing.
    """

    place: int
    marker: Any = None

    def start(self) -> np.ndarray:
        """An empty state: rows, nulls and NaN, markers, infinities."""
        return np.zeros(4, np.int64)

    def update(self, state: np.ndarray, block: Block) -> np.ndarray:
        """The state with a block's rows."""
        column = block.arrow(self.place)
        state[0] += len(column)
        state[1] += pc.sum(column.is_null(nan_is_null=True)).as_py() or 0
        if self.marker is not None:
            state[2] += pc.sum(_marked(column, self.marker)).as_py() or 0
        if pa.types.is_floating(column.type):
            state[3] += pc.sum(pc.is_inf(column)).as_py() or 0
        return state

    def merge(self, state: np.ndarray, later: np.ndarray) -> np.ndarray:
        """One state of two."""
        return state + later


@dataclass(frozen=True)
class Unmarked(Statistic):
    """Another statistic of a column, without the rows that hold the value that stands for a missing one.

    Attributes:
        place: Which column.
        marker: The value.
        kind: ``numbers`` or ``quantiles``; ``order`` with ``brackets``.
        brackets: As in :class:`~monorail.fit.statistics.ExactQuantiles`.
    """

    place: int
    marker: Any
    kind: str
    brackets: tuple[tuple[float, float], ...] = ()

    def start(self) -> Numbers | Quantiles | Order:
        """An empty state."""
        if self.kind == "order":
            return Order(self.brackets)
        return Numbers() if self.kind == "numbers" else Quantiles()

    def update(self, state: Any, block: Block) -> Any:
        """The state with a block's rows."""
        column = block.arrow(self.place)
        marked = pc.fill_null(_marked(column, self.marker), False)
        state.update(pc.if_else(marked, pa.scalar(None, column.type), column))
        return state


def _marked(column: pa.Array, marker: Any) -> pa.Array:
    """Which values are the marker, as Python would say."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text != isinstance(marker, str):
        return pa.array(np.zeros(len(column), bool))
    if text:
        return pc.equal(column, pa.scalar(marker, column.type))
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        # As NumPy compares: the marker in the type of the column.
        return pc.equal(column, pa.scalar(marker, pa.float64()).cast(column.type))
    if float(marker) != int(marker):
        return pa.array(np.zeros(len(column), bool))
    return pc.equal(column.cast(pa.int64(), safe=False), pa.scalar(int(marker), pa.int64()))


def _is_null(marker: Any) -> bool:
    """Whether the step's ``missing_values`` means nulls and NaN."""
    from sklearn.utils._missing import is_pandas_na, is_scalar_nan

    return bool(is_pandas_na(marker) or is_scalar_nan(marker))


class _MissingLearner(Learner):
    """A learner of what is missing, in columns of numbers and text.

    Attributes:
        marker: The value that stands for a missing one; None where nulls and NaN are missing.
    """

    exact: bool = False

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self.nulls = _is_null(step.missing_values)
        self.marker = None if self.nulls else step.missing_values
        self._wanted: Sequence[Statistic] | None = None

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        from sklearn.base import clone

        step = type(self.step).__name__
        if self.step.missing_values is None:
            return "missing_values=None means None in object columns, and a null of Arrow is NaN there; leave it out"
        if holds_objects(self.inputs):
            return "its input is a matrix of objects; impute the columns before they are put together"
        for place, kind in enumerate(self.inputs.types):
            if not is_number(kind) and not is_text(kind):
                return f"column {named(self.inputs, place)!r} is {kind}, and {step} takes numbers and text"
        try:
            fit_on(clone(self.step), probe_rows(self.inputs))
        except (ValueError, TypeError) as error:
            # A column of bools with nulls is one of objects, which it does take: only the data tells.
            if "dtype bool" not in str(error):
                return " ".join(str(error).split())
        return None

    def wants(self) -> Sequence[Statistic]:
        """What the next pass should gather."""
        if self._wanted is None:
            self._wanted = self.first()
        return self._wanted

    def first(self) -> list[Statistic]:
        """What the first pass should gather."""
        if self.nulls and all(is_number(kind) for kind in self.inputs.types):
            return summaries(self.inputs)
        return [Gaps(place, self.marker) for place in range(self.inputs.width)]

    def gaps(self, found: Mapping[Statistic, Any]) -> tuple[int, np.ndarray, np.ndarray]:
        """Rows, which columns hold nulls or NaN, and how many of each column are missing to the step."""
        if Gaps(0, self.marker) in found:
            states = np.stack([found[Gaps(place, self.marker)] for place in range(self.inputs.width)])
            rows, nulls, marked, infinities = int(states[0, 0]), states[:, 1], states[:, 2], states[:, 3]
        else:
            features = Features(self.inputs, found)
            rows, nulls, infinities = features.rows, features.missing, features.infinities
            marked = nulls
        check_rows(self.step, rows)
        self._refuse(infinities, "not_finite", "does not take infinity")
        if not self.nulls:
            self._refuse(nulls, "null_not_allowed", f"takes {self.marker!r} for missing, and no nulls beside it")
        return rows, nulls > 0, nulls if self.nulls else marked

    def _refuse(self, counts: np.ndarray, code: str, words: str) -> None:
        places = np.flatnonzero(counts)[:100].tolist()
        if places:
            raise InputError(
                f"{type(self.step).__name__} {words}",
                code=code,
                details=[
                    {"code": code, "column": named(self.inputs, place), "got": many_rows(int(counts[place]))}
                    for place in places
                ],
            )

    def fit_probe(self, holed: np.ndarray) -> Any:
        """The step, fitted on a few rows of the types that ``fit`` would see; bools alone are refused there."""
        try:
            return fit_on(self.step, probe_rows(self.inputs, holed))
        except ValueError as error:
            columns = [{"code": "wrong_type", "column": named(self.inputs, p)} for p in range(self.inputs.width)]
            raise InputError(" ".join(str(error).split()), code="wrong_type", details=columns[:100]) from error


class IndicatorLearner(_MissingLearner):
    """``MissingIndicator``: which columns have something missing."""

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        _, holed, missing = self.gaps(found)
        step = self.fit_probe(holed)
        step.features_ = np.arange(self.inputs.width) if step.features == "all" else np.flatnonzero(missing)
        self._wanted = ()


class ImputerLearner(_MissingLearner):
    """``SimpleImputer``: means, medians, most frequent values, or a constant."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        places = [place for place, kind in enumerate(inputs.types) if not pa.types.is_null(kind)]
        self._places = places
        self.ordered = Ordered(inputs, places if step.strategy == "median" else ())
        self._missing = np.zeros(0, np.int64)
        self._holed = np.zeros(0, bool)
        self._rows = 0

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        step, strategy = self.step, self.step.strategy
        if callable(strategy):
            return "a strategy that is a function is called with whole columns"
        if is_sparse(self.inputs):
            if strategy == "constant" and not step.keep_empty_features:
                return (
                    "a constant for sparse features depends on which zeros are stored; keep_empty_features=True works"
                )
            if strategy in ("median", "most_frequent") and self.inputs.width > SPARSE_WIDTH:
                return f"{strategy} of {self.inputs.width:,} sparse features: {SPARSE_WIDTH:,} is the limit"
        if strategy in ("mean", "median"):
            for place, kind in enumerate(self.inputs.types):
                if not is_number(kind):
                    return f"column {named(self.inputs, place)!r} is {kind}, and strategy={strategy!r} takes numbers"
        return super().refusal()

    def first(self) -> list[Statistic]:
        """What the first pass should gather."""
        first = super().first()
        strategy = self.step.strategy
        if strategy == "mean" and not self.nulls:
            first += [Unmarked(place, self.marker, "numbers") for place in self._places]
        if strategy == "median":
            first += self.ordered.sketches(self._sketch)
        if strategy == "most_frequent":
            first += [ValueCounts(place) for place in self._places]
        return first

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        strategy, first = self.step.strategy, not self._rows
        if first:
            self._rows, self._holed, self._missing = self.gaps(found)
        if strategy == "median":
            if first:
                self.ordered.take_sketches(found, self._sketch)
                if self.exact:
                    self.ordered.ask(np.array([0.5]), "linear")
            else:
                self.ordered.learn(found)
            self._wanted = self.ordered.wants(self._behind)
            if self._wanted:
                return
        step = self.fit_probe(self._holed)
        if strategy == "mean":
            self._numbers(step, self._means(found))
        elif strategy == "median":
            columns = range(self.inputs.width)
            self._numbers(step, [self.ordered.values(p, np.array([0.5]), "linear", None)[0] for p in columns])
        elif strategy == "most_frequent":
            self._most_frequent(step, found)
        elif not step.keep_empty_features:
            step.statistics_[self._missing == self._rows] = np.nan
        if step.indicator_ is not None:
            step.indicator_.features_ = np.flatnonzero(self._missing)
        self._wanted = ()

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        return self.ordered.note()

    def _means(self, found: Mapping[Statistic, Any]) -> np.ndarray:
        if self.nulls:
            return Features(self.inputs, found).mean
        states = [found.get(Unmarked(place, self.marker, "numbers")) for place in range(self.inputs.width)]
        return np.array([np.nan if state is None else state.mean for state in states], float)

    def _numbers(self, step: Any, values: Any) -> None:
        """Put numbers into the step, of the type its matrix has."""
        made = np.asarray(values, np.float64).astype(step.statistics_.dtype)
        made[self._missing == self._rows] = 0 if step.keep_empty_features else np.nan
        step.statistics_ = made

    def _most_frequent(self, step: Any, found: Mapping[Statistic, Any]) -> None:
        types = step.statistics_
        made = np.empty(self.inputs.width, dtype=types.dtype)
        rows = probe_rows(self.inputs, self._holed)
        for place in range(self.inputs.width):
            made[place] = 0 if step.keep_empty_features else np.nan
            if place in self._places and (value := self._top(found[ValueCounts(place)])) is not None:
                # In a matrix of objects numbers are what their column holds: floats beside a null.
                floats = made.dtype == object and self.inputs.names and rows.dtypes.iloc[place].kind == "f"
                made[place] = float(value) if floats else value
        step.statistics_ = made

    def _top(self, counts: Counts) -> Any:
        """The most frequent value that is not missing, the least of several; None where there is none."""
        for value, _ in counts.top(2):
            if self.marker is None or value != self.marker:
                return value
        return None

    def _sketch(self, place: int) -> Statistic:
        return QuantileSketch(place) if self.nulls else Unmarked(place, self.marker, "quantiles")

    def _behind(self, place: int, sketch: Quantiles, wanted: np.ndarray) -> Statistic:
        exact = ExactQuantiles.behind(place, sketch, wanted)
        return exact if self.nulls else Unmarked(place, self.marker, "order", exact.brackets)


_MODULE = "sklearn.impute._base"
#: By qualified class name.
LEARNERS = {f"{_MODULE}.SimpleImputer": ImputerLearner, f"{_MODULE}.MissingIndicator": IndicatorLearner}
