"""Selectors of features."""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from .numeric import Features, NumericLearner, know_features, named


class VarianceLearner(NumericLearner):
    """``VarianceThreshold``: variances."""

    def finish(self, features: Features) -> None:
        """Put what was learnt into the step."""
        step, threshold = self.step, self.step.threshold
        variances = features.variance
        if threshold == 0:
            # Of a column with something missing NumPy has no range, and scikit-learn takes the variance.
            ranges = np.where(features.missing > 0, np.nan, features.maximum - features.minimum)
            variances = np.fmin(variances, ranges)
        if np.all(~np.isfinite(variances) | (variances <= threshold)):
            raise InputError(
                f"no feature has a variance above {threshold:g}, and {type(step).__name__} would keep none",
                code="out_of_range",
                hint="lower its threshold, or leave the step out",
                details=[
                    {"code": "out_of_range", "column": named(self.inputs, place), "got": f"{variance:g}"}
                    for place, variance in enumerate(variances[:100])
                ],
            )
        know_features(step, self.inputs, features)
        step.variances_ = variances

    def contradiction(self) -> str | None:
        """What scikit-learn itself says of its parameters and the kind of its input; None where they are fine."""
        threshold = self.step.threshold
        fine = isinstance(threshold, int | float | np.number) and threshold >= 0
        return None if fine else f"the threshold must be a number of 0 or more, not {threshold!r}"


#: By qualified class name.
LEARNERS = {"sklearn.feature_selection._variance_threshold.VarianceThreshold": VarianceLearner}
