"""Scalers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .numeric import Features, NumericLearner, fit_on, is_sparse, proxy
from .ordered import QuantileLearner


class StandardLearner(NumericLearner):
    """``StandardScaler``: means and variances."""

    def finish(self, features: Features) -> None:
        """Put what was learnt into the step."""
        from sklearn.preprocessing._data import _handle_zeros_in_scale, _is_constant_feature

        step = self.structure(features)
        counts = features.counts.astype(np.asarray(step.n_samples_seen_).dtype)
        step.n_samples_seen_ = counts[0] if (counts == counts[0]).all() else counts
        mean, variance = features.mean, features.variance
        if is_sparse(self.inputs):
            # Of sparse matrices scikit-learn rounds them to the matrix's own type.
            kind = self.inputs.sample.dtype
            mean, variance = mean.astype(kind).astype(np.float64), variance.astype(kind).astype(np.float64)
        if step.mean_ is not None:
            step.mean_ = mean
        if step.var_ is not None:
            step.var_ = variance
        if step.scale_ is not None:
            constant = _is_constant_feature(variance, mean, step.n_samples_seen_)
            step.scale_ = _handle_zeros_in_scale(np.sqrt(variance), copy=False, constant_mask=constant)


class ExtremesLearner(NumericLearner):
    """``MinMaxScaler`` and ``MaxAbsScaler``: of the extremes alone they learn the same as of all rows."""

    def finish(self, features: Features) -> None:
        """Put what was learnt into the step."""
        ends = np.stack([features.minimum, features.maximum])
        rows: Any = proxy(self.inputs, features, ends)
        fit_on(self.step, type(self.inputs.sample)(rows) if is_sparse(self.inputs) else rows)
        self.step.n_samples_seen_ = features.rows


class RobustLearner(QuantileLearner):
    """``RobustScaler``: medians and ranges between quantiles."""

    def shares(self, features: Features) -> np.ndarray:
        """The median and the two ends of the range."""
        return np.array([0.5, *(end / 100 for end in self.step.quantile_range)])

    def place(self, features: Features, values: np.ndarray) -> None:
        """Put what was learnt into the step."""
        from sklearn.preprocessing._data import _handle_zeros_in_scale

        step = self.structure(features)
        median, low, high = values
        if step.center_ is not None:
            step.center_ = median.astype(step.center_.dtype)
        if step.scale_ is not None:
            kind = step.scale_.dtype
            adjust = _span(step.quantile_range) if step.unit_variance else None
            step.scale_ = _handle_zeros_in_scale((high - low).astype(kind), copy=False)
            if adjust is not None:
                step.scale_ = step.scale_ / adjust


def _span(quantile_range: tuple[float, float]) -> Any:
    """How far the ends of the range are from each other in the normal distribution."""
    from scipy import stats

    low, high = quantile_range
    return stats.norm.ppf(high / 100.0) - stats.norm.ppf(low / 100.0)


_MODULE = "sklearn.preprocessing._data"
#: By qualified class name.
LEARNERS = {
    f"{_MODULE}.StandardScaler": StandardLearner,
    f"{_MODULE}.MinMaxScaler": ExtremesLearner,
    f"{_MODULE}.MaxAbsScaler": ExtremesLearner,
    f"{_MODULE}.RobustScaler": RobustLearner,
}
