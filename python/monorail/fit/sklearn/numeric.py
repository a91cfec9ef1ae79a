"""What learners of numeric steps share: the numbers of their features, and the step's own ``fit`` on a few rows.

What does not depend on the values (names, types, parameters that contradict each other) is scikit-learn's own doing: a
copy of the step is fitted on a few rows of the right types, and what the data decides is put in place afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...adapters.frames import Form
from ...errors import InputError
from ..learning import Inputs, Learner, Statistic
from ..statistics import FeatureSummary, NumberSummary

#: Rows of a probe, the last of which may be null.
PROBE_ROWS = 4


def is_number(kind: pa.DataType) -> bool:
    """Whether scikit-learn takes a column of this type for numbers; one that is null throughout is."""
    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def named(inputs: Inputs, place: int) -> str:
    """What errors call a feature."""
    return inputs.names[place] if inputs.names else f"feature {place}"


def is_sparse(inputs: Inputs) -> bool:
    """Whether the step gets a sparse matrix."""
    return hasattr(inputs.sample, "toarray")


def holds_objects(inputs: Inputs) -> bool:
    """Whether the step gets a matrix of Python objects."""
    return not inputs.names and getattr(inputs.sample, "dtype", None) == np.dtype(object)


class Features:
    """The numbers of a step's features, an array of one element a feature each.

    Attributes:
        rows: How many rows.
        missing: Nulls and NaN.
        infinities: Infinite values.
        counts: Finite values; what follows is of these.
        minimum: NaN where there is none, as in ``maximum`` and ``mean``.
        maximum: The greatest.
        mean: Their mean.
        m2: Sums of squared deviations from it.
    """

    def __init__(self, inputs: Inputs, found: Mapping[Statistic, Any]) -> None:
        if inputs.names:
            states = [found.get(NumberSummary(place)) for place in range(inputs.width)]
            self.rows = max((state.rows for state in states if state is not None), default=inputs.rows or 0)
            self.missing = np.array([self.rows if s is None else s.nulls + s.nans for s in states], np.int64)
            self.infinities = np.array([0 if s is None else s.infinities for s in states], np.int64)
            self.counts = np.array([0 if s is None else s.count for s in states], np.int64)
            self.minimum = np.array([np.nan if s is None or s.minimum is None else s.minimum for s in states], float)
            self.maximum = np.array([np.nan if s is None or s.maximum is None else s.maximum for s in states], float)
            self.mean = np.array([np.nan if s is None else s.mean for s in states], float)
            self.m2 = np.array([0.0 if s is None else s.m2 for s in states], float)
        else:
            state = found[FeatureSummary()]
            self.rows, self.missing, self.infinities = state.rows, state.nans, state.infinities
            self.counts, self.minimum, self.maximum = state.counts, state.minimum, state.maximum
            self.mean, self.m2 = state.mean, state.m2
        # A constant's mean is the constant, and no rounding of sums should make it vary.
        same = (self.counts > 0) & (self.minimum == self.maximum)
        self.mean = np.where(same, self.minimum, self.mean)
        self.m2 = np.where(same, 0.0, self.m2)

    @property
    def variance(self) -> np.ndarray:
        """Variances, of all rows and not of a sample; NaN where there are no values."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.counts > 0, self.m2 / self.counts, np.nan)


def summaries(inputs: Inputs) -> list[Statistic]:
    """The statistics that :class:`Features` is made of."""
    if not inputs.names:
        return [FeatureSummary()]
    return [NumberSummary(place) for place, kind in enumerate(inputs.types) if not pa.types.is_null(kind)]


def check_values(step: Any, inputs: Inputs, features: Features, *, takes_missing: bool = True) -> None:
    """Refuse what the step's own ``fit`` would refuse.

    Args:
        step: The step.
        inputs: What it is fitted on.
        features: The numbers of it.
        takes_missing: Whether it takes nulls and NaN.

    Raises:
        InputError: ``wrong_shape``: there are no rows; ``not_finite``; ``null_not_allowed``.
    """
    kind = type(step).__name__
    check_rows(step, features.rows)
    _refuse(inputs, features.infinities, "not_finite", f"{kind} does not take infinity", "filter those rows out")
    if not takes_missing:
        hint = "impute them in a step before it"
        _refuse(inputs, features.missing, "null_not_allowed", f"{kind} does not take missing values", hint)


def check_rows(step: Any, rows: int) -> None:
    """Refuse data without rows.

    Raises:
        InputError: ``wrong_shape``.
    """
    if not rows:
        raise InputError(f"there are no rows to fit {type(step).__name__} on", code="wrong_shape")


def _refuse(inputs: Inputs, counts: np.ndarray, code: str, message: str, hint: str) -> None:
    places = np.flatnonzero(counts)
    if len(places):
        details = [
            {"code": code, "column": named(inputs, place), "got": many_rows(int(counts[place]))}
            for place in places.tolist()
        ]
        raise InputError(message, code=code, hint=hint, details=details[:100])


def many_rows(count: int) -> str:
    """How many rows, in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def probe_rows(inputs: Inputs, missing: Sequence[bool] | np.ndarray | None = None) -> Any:
    """A few rows as ``fit`` would be given them, of the very element types: zeros and ones, text as numerals.

    Args:
        inputs: What the step is fitted on.
        missing: Which columns hold a null somewhere: pandas gives those other types.

    Returns:
        A pandas frame; a matrix where the step gets one, dense or of the same sparse kind.
    """
    if not inputs.names:
        rows = np.zeros((PROBE_ROWS, inputs.width), inputs.sample.dtype)
        rows[1] = 1
        return type(inputs.sample)(rows) if is_sparse(inputs) else rows
    columns = []
    for place, kind in enumerate(inputs.types):
        values: list[Any] = [0, 1, 0, None if missing is not None and missing[place] else 0]
        if pa.types.is_null(kind):
            columns.append(pa.nulls(PROBE_ROWS))
        elif is_number(kind):
            column = pa.array(values, pa.int8())
            # There is no way straight from integers to half floats.
            columns.append(column.cast(pa.float32()).cast(kind) if pa.types.is_floating(kind) else column.cast(kind))
        else:
            columns.append(pa.array([None if value is None else str(value) for value in values]))
    return Form("pandas").frame(pa.table(columns, names=list(inputs.names)))


def fit_on(step: Any, rows: Any) -> Any:
    """The step, fitted by its own ``fit``; warnings are for data, which this is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            return step.fit(rows)


def know_features(step: Any, inputs: Inputs, features: Features) -> None:
    """Let the step know the number of its features and their names, as its ``fit`` would.

    Args:
        step: The step; it is changed.
        inputs: What it is fitted on.
        features: The numbers of it.
    """
    from sklearn.utils.validation import validate_data

    rows = probe_rows(inputs, features.missing > 0)
    validate_data(step, rows, accept_sparse=True, ensure_all_finite=False, dtype=None)


def proxy(inputs: Inputs, features: Features, values: np.ndarray) -> Any:
    """Rows with these values, in the container and of the element type that ``fit`` would see.

    Args:
        inputs: What the step is fitted on.
        features: The numbers of it.
        values: ``[rows, features]`` float64.
    """
    dtype = float_type(inputs, features)
    if not inputs.names:
        return values.astype(dtype)
    import pandas

    return pandas.DataFrame(values.astype(dtype), columns=pandas.Index(inputs.names, dtype=object))


def float_type(inputs: Inputs, features: Features) -> np.dtype:
    """The float type of the matrix that scikit-learn makes of all rows: float64 unless all are narrower."""
    from sklearn.utils import check_array

    rows = probe_rows(inputs, features.missing > 0)
    floats: Any = [np.float64, np.float32, np.float16]
    return check_array(rows, dtype=floats, accept_sparse=True, ensure_all_finite=False).dtype


class NumericLearner(Learner):
    """A learner of features that are all numbers.

    Attributes:
        exact: Whether quantiles must be exact; who makes the learner may set it before the first :meth:`wants`.
        takes_missing: Whether the step takes nulls and NaN.
    """

    exact: bool = False
    takes_missing: bool = True

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self._wanted: Sequence[Statistic] | None = None

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        for place, kind in enumerate(self.inputs.types):
            if not is_number(kind):
                return f"column {named(self.inputs, place)!r} is {kind}, and {type(self.step).__name__} takes numbers"
        if holds_objects(self.inputs):
            try:
                np.asarray(self.inputs.sample, np.float64)
            except (ValueError, TypeError):
                return f"its input is a matrix of objects, and {type(self.step).__name__} takes numbers"
        return self.parameters() or self.contradiction()

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        return None

    def contradiction(self) -> str | None:
        """What scikit-learn itself says of its parameters and the kind of its input; None where they are fine."""
        from sklearn.base import clone

        try:
            fit_on(clone(self.step), probe_rows(self.inputs))
        except (ValueError, TypeError) as error:
            return " ".join(str(error).split())
        return None

    def wants(self) -> Sequence[Statistic]:
        """What the next pass should gather."""
        if self._wanted is None:
            self._wanted = self.first()
        return self._wanted

    def first(self) -> Sequence[Statistic]:
        """What the first pass should gather."""
        return summaries(self.inputs)

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        features = Features(self.inputs, found)
        check_values(self.step, self.inputs, features, takes_missing=self.takes_missing)
        self.finish(features)
        self._wanted = ()

    def finish(self, features: Features) -> None:
        """Put what was learnt into the step."""
        raise NotImplementedError

    def structure(self, features: Features) -> Any:
        """The step, fitted on a few rows of the right types."""
        return fit_on(self.step, probe_rows(self.inputs, features.missing > 0))
