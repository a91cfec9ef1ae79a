"""Steps that learn nothing of the rows: functions and hashing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..learning import Learner, Statistic


class StatelessLearner(Learner):
    """A step whose ``fit`` looks at names and parameters alone: it is fitted on the sample."""

    _fitted = False

    def refusal(self) -> str | None:
        """Parameters that scikit-learn refuses."""
        try:
            self.step._validate_params()
        except (ValueError, TypeError) as error:
            return str(error)
        return None

    def wants(self) -> Sequence[Statistic]:
        """No pass."""
        if not self._fitted:
            self.step.fit(self.inputs.sample)
            self._fitted = True
        return ()

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Nothing is learnt."""


class FunctionLearner(StatelessLearner):
    """``FunctionTransformer``, where its function looks at each row alone."""

    def refusal(self) -> str | None:
        """Parameters that scikit-learn refuses, and functions whose answers for a row depend on other rows."""
        reason = super().refusal()
        if reason is None and self.step.func is not None and not _row_wise(self.step, self.inputs.sample):
            reason = "its function answers otherwise for the same rows when it is given fewer of them at once"
        return reason


class RecordsLearner(Learner):
    """``DictVectorizer``: not fitted so, since columns are no records."""

    def refusal(self) -> str | None:
        """Always."""
        return "it takes a dict a row, and rows come as columns here; OneHotEncoder learns the same of text columns"

    def wants(self) -> Sequence[Statistic]:
        """Nothing."""
        return ()

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Nothing is learnt."""


def _row_wise(step: Any, sample: Any) -> bool:
    """Whether the two halves of the sample get the answers that they get together."""
    from sklearn.base import clone

    rows = sample.shape[0]
    if rows < 2:
        return True
    half = rows // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted: Any = clone(step)
            fitted.fit(sample)
            whole = _values(fitted.transform(sample))
            halves = [_values(fitted.transform(_rows(sample, part))) for part in (slice(0, half), slice(half, rows))]
        except Exception:
            # What it raises, it raises again where the step is fitted, with its place.
            return True
    if len(whole) != rows or [len(part) for part in halves] != [half, rows - half]:
        return False
    if any(part.shape[1:] != whole.shape[1:] for part in halves):
        return False
    return _alike(np.concatenate(halves), whole)


def _rows(sample: Any, rows: slice) -> Any:
    return sample.iloc[rows] if hasattr(sample, "iloc") else sample[rows]


def _values(made: Any) -> np.ndarray:
    if hasattr(made, "toarray"):
        made = made.toarray()
    return made.to_numpy() if hasattr(made, "to_numpy") else np.asarray(made)


def _alike(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays hold the same but for rounding, which may depend on how many rows are computed at once."""
    if left.dtype.kind in "fc" and right.dtype.kind in "fc":
        return bool(np.allclose(left, right, rtol=1e-6, atol=1e-9, equal_nan=True))
    same = (left == right) | ((left != left) & (right != right))
    return bool(np.all(same))


#: By qualified class name.
LEARNERS = {
    "sklearn.preprocessing._function_transformer.FunctionTransformer": FunctionLearner,
    "sklearn.feature_extraction.text.HashingVectorizer": StatelessLearner,
    "sklearn.feature_extraction._hash.FeatureHasher": StatelessLearner,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": RecordsLearner,
}
