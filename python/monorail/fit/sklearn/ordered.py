"""What learners of quantiles share: a sketch of each feature in the first pass, exact values in later ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import InputError
from ..learning import Inputs, Statistic
from ..statistics import ExactQuantiles, QuantileSketch, quantiles, ranks
from .numeric import Features, NumericLearner, check_values, is_sparse, named, summaries

#: Values that a pass for exact quantiles may hold, all features together: 256 MB. Where more are needed, they come in
#: several passes.
HELD_VALUES = 32_000_000
#: Features of a sparse matrix whose quantiles are learnt: each is looked at as a whole column.
SPARSE_WIDTH = 2_000


class Known:
    """The exact values at some ranks of one feature, as :func:`monorail.fit.statistics.quantiles` asks for them.

    Attributes:
        count: How many finite values the feature has.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.ranks = np.zeros(0, np.int64)
        self.values = np.zeros(0)

    def add(self, wanted: np.ndarray, values: np.ndarray) -> None:
        """Take values; ranks come in increasing order."""
        self.ranks = np.concatenate([self.ranks, wanted])
        self.values = np.concatenate([self.values, values])

    def at(self, wanted: Any) -> np.ndarray:
        """The values at these ranks."""
        return self.values[np.searchsorted(self.ranks, wanted)]


class Ordered:
    """Quantiles of features over passes: sketches first, exact values behind them where they are asked for.

    Args:
        inputs: What the step is fitted on.
        places: Which features.
    """

    def __init__(self, inputs: Inputs, places: Sequence[int]) -> None:
        self.places = list(places)
        self.worst = 0.0
        self._inputs = inputs
        self._sketches: dict[int, Any] = {}
        self._known: dict[int, Known] = {}
        self._left: list[tuple[int, np.ndarray]] = []
        self._asked: dict[Statistic, tuple[int, np.ndarray]] = {}

    def sketches(self, make: Any = QuantileSketch) -> list[Statistic]:
        """What the first pass should gather."""
        return [make(place) for place in self.places]

    def take_sketches(self, found: Mapping[Statistic, Any], make: Any = QuantileSketch) -> None:
        """Take what it gathered."""
        self._sketches = {place: found[make(place)] for place in self.places}

    def ask(self, shares: np.ndarray, method: str) -> None:
        """Plan the passes for the exact values at these quantiles."""
        for place, sketch in self._sketches.items():
            if sketch.count and sketch.rank_error:
                self._known[place] = Known(sketch.count)
                self._left.append((place, ranks(shares, sketch.count, method)))

    def wants(self, behind: Any = ExactQuantiles.behind) -> list[Statistic]:
        """What the next pass should gather: as much as may be held."""
        self._asked, room = {}, HELD_VALUES
        while self._left and (room > 0 or not self._asked):
            place, wanted = self._left.pop(0)
            sketch = self._sketches[place]
            held = np.minimum(_held(wanted, 2 * sketch.rank_error + 1), sketch.count)
            most = max(1, int(np.searchsorted(held, room, "right")))
            now, later = wanted[:most], wanted[most:]
            if len(later):
                self._left.insert(0, (place, later))
            room -= int(held[len(now) - 1])
            self._asked[behind(place, sketch, now)] = (place, now)
        return list(self._asked)

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what it gathered."""
        for statistic, (place, wanted) in self._asked.items():
            self._known[place].add(wanted, found[statistic].at(wanted))
        self._asked = {}

    def values(self, place: int, shares: np.ndarray, method: str, ends: tuple[float, float] | None) -> np.ndarray:
        """The quantiles of a feature; the least and the greatest value are exact where ``ends`` are known."""
        known: Any = self._known.get(place, self._sketches.get(place))
        if known is None or not known.count:
            return np.full(len(shares), np.nan)
        made = quantiles(known, shares, method)
        if not isinstance(known, Known):
            self.worst = max(self.worst, known.rank_error / known.count)
            if ends is not None:
                made = np.clip(made, *ends)
                made = np.where(shares == 0, ends[0], np.where(shares == 1, ends[1], made))
        return made

    def note(self) -> str | None:
        """What the report should say."""
        if not self.worst:
            return None
        return f"quantiles within {100 * self.worst:.2g} % of the rows; exact_quantiles=True makes them exact"


def _held(wanted: np.ndarray, around: int) -> np.ndarray:
    """How many values may hold the first, the first two, ... of these ranks, with so many around each of them."""
    return np.cumsum(np.minimum(np.diff(wanted, prepend=wanted[0] - around), around))


class QuantileLearner(NumericLearner):
    """A learner of quantiles, the same of every feature."""

    method: str = "linear"

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        empty = [bool(inputs.names) and pa.types.is_null(kind) for kind in inputs.types]
        self.ordered = Ordered(inputs, [place for place in range(inputs.width) if not empty[place]])
        self._features: Features | None = None

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        if is_sparse(self.inputs) and self.inputs.width > SPARSE_WIDTH:
            return (
                f"it would learn quantiles of {self.inputs.width:,} sparse features, and {SPARSE_WIDTH:,} is the limit"
            )
        return super().refusal()

    def first(self) -> Sequence[Statistic]:
        """What the first pass should gather."""
        return [*summaries(self.inputs), *self.ordered.sketches()]

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        if self._features is None:
            features = self._features = Features(self.inputs, found)
            check_values(self.step, self.inputs, features, takes_missing=self.takes_missing)
            self.ordered.take_sketches(found)
            if self.exact:
                self.ordered.ask(self.shares(features), self.method)
        else:
            features = self._features
            self.ordered.learn(found)
        self._wanted = self.ordered.wants()
        if not self._wanted:
            self.finish(features)

    def finish(self, features: Features) -> None:
        """Put what was learnt into the step."""
        shares = self.shares(features)
        ends = list(zip(features.minimum, features.maximum, strict=True))
        columns = [self.ordered.values(place, shares, self.method, ends[place]) for place in range(self.inputs.width)]
        self.place(features, np.stack(columns, axis=1) if columns else np.zeros((len(shares), 0)))

    def shares(self, features: Features) -> np.ndarray:
        """Which quantiles, from 0 to 1."""
        raise NotImplementedError

    def place(self, features: Features, values: np.ndarray) -> None:
        """Put quantiles, ``[shares, features]``, into the step."""
        raise NotImplementedError

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        return self.ordered.note()


def refuse_negative(inputs: Inputs, features: Features, step: Any) -> None:
    """Refuse a sparse matrix with negative values.

    Raises:
        InputError: ``out_of_range``.
    """
    places = np.flatnonzero(features.minimum < 0)
    if is_sparse(inputs) and len(places):
        details = [{"code": "out_of_range", "column": named(inputs, int(place))} for place in places[:100]]
        raise InputError(
            f"{type(step).__name__} takes no negative values in a sparse matrix", code="out_of_range", details=details
        )
