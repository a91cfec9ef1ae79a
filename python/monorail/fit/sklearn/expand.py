"""Steps that make features of features: those that learn nothing but their number, and splines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..learning import Inputs, Statistic
from .numeric import Features, NumericLearner, check_values, fit_on, probe_rows, proxy
from .ordered import QuantileLearner


class ShapeLearner(NumericLearner):
    """A step that learns the number of its features and their names, whatever the rows hold.

    It needs no pass. Where it gets named columns it looks for values that its ``fit`` would refuse: of raw columns the
    first pass counts them anyway.
    """

    takes_missing = False

    def wants(self) -> Sequence[Statistic]:
        """What the next pass should gather: nothing of a matrix."""
        if self._wanted is None and not self.inputs.names:
            self._wanted = ()
            fit_on(self.step, probe_rows(self.inputs))
        return super().wants()

    def finish(self, features: Features) -> None:
        """Fit the step on the extremes, so that it refuses what it would refuse of all rows: negative values, say.

        Raises:
            InputError: ``out_of_range``.
        """
        try:
            fit_on(self.step, proxy(self.inputs, features, np.stack([features.minimum, features.maximum])))
        except ValueError as error:
            raise InputError(" ".join(str(error).split()), code="out_of_range") from error


class RandomLearner(ShapeLearner):
    """A step that draws random numbers, as many as its features ask for."""

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        if getattr(self.step, "gamma", None) == "scale":
            return "gamma='scale' is a variance of all values; give a number"
        if getattr(self.step, "n_components", None) == "auto":
            return "n_components='auto' hangs on the number of rows; give a number"
        return None


class SplineLearner(QuantileLearner):
    """``SplineTransformer``: knots from extremes or quantiles."""

    def __init__(self, step: object, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self.takes_missing = self.step.handle_missing == "zeros"
        if not self._by_quantile:
            self.ordered.places.clear()

    @property
    def _by_quantile(self) -> bool:
        return isinstance(self.step.knots, str) and self.step.knots == "quantile"

    def shares(self, features: Features) -> np.ndarray:
        """The knots."""
        return np.linspace(0, 1, self.step.n_knots) if self._by_quantile else np.zeros(0)

    def place(self, features: Features, values: np.ndarray) -> None:
        """Fit the step on rows that have the same extremes, or those very quantiles."""
        check_values(self.step, self.inputs, features, takes_missing=self.takes_missing)
        ends = np.stack([features.minimum, features.maximum])
        fit_on(self.step, proxy(self.inputs, features, values if self._by_quantile else ends))


_PREPROCESSING = "sklearn.preprocessing"
_SHAPES = (
    f"{_PREPROCESSING}._data.Normalizer",
    f"{_PREPROCESSING}._data.Binarizer",
    f"{_PREPROCESSING}._polynomial.PolynomialFeatures",
    "sklearn.kernel_approximation.AdditiveChi2Sampler",
)
_DRAWS = (
    "sklearn.kernel_approximation.RBFSampler",
    "sklearn.kernel_approximation.SkewedChi2Sampler",
    "sklearn.kernel_approximation.PolynomialCountSketch",
    "sklearn.random_projection.GaussianRandomProjection",
    "sklearn.random_projection.SparseRandomProjection",
)
#: By qualified class name.
LEARNERS = {
    **dict.fromkeys(_SHAPES, ShapeLearner),
    **dict.fromkeys(_DRAWS, RandomLearner),
    f"{_PREPROCESSING}._polynomial.SplineTransformer": SplineLearner,
}
