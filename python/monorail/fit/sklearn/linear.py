"""Linear models of least squares, from moments: one pass, and then scikit-learn's own solver on a few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FitError
from ..labels import Labels
from ..learning import Block
from ..training import Trainer, TrainingRows
from .matrices import not_numbers, prepare, tabled, targets
from .moments import Few, Wanted, gather

#: Solvers of ridge regression that step through single rows.
BY_ROWS = ("sag", "saga")


class LeastSquares(Trainer):
    """What all of them share: gather, solve, and put the intercept back."""

    #: Attributes that ``fit`` leaves, apart from ``coef_`` and ``intercept_``.
    learnt: tuple[str, ...] = ()
    takes_missing = False

    @property
    def sparse(self) -> bool:
        """Whether ``fit`` would be given a sparse matrix."""
        return hasattr(self.inputs.sample, "toarray")

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        return not_numbers(self.inputs)

    def fit(self, rows: TrainingRows) -> None:
        """Train it."""
        kind = prepare(self.estimator, rows.inputs)
        few = gather(rows, self.wanted(rows))
        inner = self.inner(few)
        self._finish(few, inner, kind)

    @property
    def products(self) -> bool:
        """Whether products of columns are enough."""
        return True

    def wanted(self, rows: TrainingRows) -> Wanted:
        """What to gather."""
        target = tabled if rows.inputs.listed else targets
        return Wanted(rows.inputs, self.estimator.fit_intercept, self.products, target)

    def inner(self, few: Few) -> Any:
        """The estimator's own kind, fitted on the few rows, which are centred already."""
        from scipy.sparse import csr_matrix
        from sklearn.base import clone

        made: Any = clone(self.estimator)
        made.set_params(fit_intercept=False, copy_X=True, **self.settings(few))
        return made.fit(csr_matrix(few.matrix) if self.sparse else few.matrix, few.target)

    def settings(self, few: Few) -> dict[str, Any]:
        """Parameters that are others for the few rows."""
        return {}

    def _finish(self, few: Few, inner: Any, kind: np.dtype) -> None:
        step = self.estimator
        for name in self.learnt:
            if hasattr(inner, name):
                setattr(step, name, getattr(inner, name))
        step.coef_ = inner.coef_.astype(kind, copy=False)
        if step.fit_intercept:
            step.intercept_ = np.asarray(few.target_mean - few.means @ inner.coef_.T, kind)[()]
        else:
            step.intercept_ = inner.intercept_

    def note(self) -> str | None:
        """That it took one pass."""
        return "from moments, one pass"


class LinearTrainer(LeastSquares):
    """``LinearRegression``: the triangle has the singular values of all rows, so rank and least norm are its own."""

    learnt = ("rank_", "singular_")

    @property
    def products(self) -> bool:
        """Whether products of columns are enough: they have not the digits of small singular values."""
        return self.sparse

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if self.sparse and self.estimator.positive:
            return "scikit-learn fits it with positive=True on dense features alone"
        return not_numbers(self.inputs)


class RidgeTrainer(LeastSquares):
    """``Ridge``: any solver that works with products takes the same steps on the few rows."""

    learnt = ("n_iter_", "solver_")

    @property
    def products(self) -> bool:
        """Whether products of columns are enough."""
        return self.sparse or self.estimator.solver in ("auto", "cholesky")

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        step = self.estimator
        if step.solver in BY_ROWS:
            return f"solver={step.solver!r} steps through single rows; solver='auto' is fitted from moments"
        if step.solver == "lbfgs" and not step.positive:
            return "scikit-learn takes solver='lbfgs' with positive=True alone"
        if step.positive and step.solver not in ("auto", "lbfgs"):
            return f"scikit-learn does not take positive=True with solver={step.solver!r}"
        if self.sparse and step.solver in (("svd", "cholesky") if step.fit_intercept else ("svd",)):
            return f"scikit-learn does not take sparse features with solver={step.solver!r}; solver='auto' works"
        return not_numbers(self.inputs)


class RidgeClassifierTrainer(RidgeTrainer):
    """``RidgeClassifier``: ridge regression on -1 and 1."""

    def wanted(self, rows: TrainingRows) -> Wanted:
        """What to gather: a target for each class, and the weights of classes."""
        from sklearn.preprocessing import LabelBinarizer

        labels = Labels(rows.target)
        step = self.estimator
        step._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(labels.classes)
        step.classes_ = step._label_binarizer.classes_
        heavy = class_weights(step.class_weight, labels, labels.counts) if step.class_weight else None
        signs = Signs(labels, len(labels.classes))
        return Wanted(rows.inputs, step.fit_intercept, self.products, signs, Weights(labels, heavy))

    def inner(self, few: Few) -> Any:
        """Ridge regression of the same settings."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import Ridge

        settings = self.estimator.get_params(deep=False)
        settings.pop("class_weight")
        made = Ridge(**{**settings, "fit_intercept": False, "copy_X": True})
        return made.fit(csr_matrix(few.matrix) if self.sparse else few.matrix, few.target)


class LassoTrainer(LeastSquares):
    """``Lasso`` and ``ElasticNet``: coordinate descent sees products alone, so it takes the same steps."""

    learnt = ("n_iter_",)

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if self.estimator.precompute is not False and not isinstance(self.estimator.precompute, bool):
            return "precompute= is a matrix of rows that are not known yet; leave it at False"
        return not_numbers(self.inputs)

    def settings(self, few: Few) -> dict[str, Any]:
        """The penalty counts by the row."""
        return {"alpha": self.estimator.alpha * few.weight / len(few.matrix), "warm_start": False}

    def _finish(self, few: Few, inner: Any, kind: np.dtype) -> None:
        super()._finish(few, inner, kind)
        self.estimator.dual_gap_ = (np.asarray(inner.dual_gap_) * (len(few.matrix) / few.weight)).astype(kind)[()]


@dataclass(frozen=True)
class Signs:
    """A block's classes as -1 and 1, a column a class; one column where there are two."""

    labels: Labels
    classes: int

    def __call__(self, block: Block) -> np.ndarray:
        """``[rows, 1 or classes]`` float64."""
        codes = self.labels.codes(block)
        if self.classes <= 2:
            return np.where(codes == 1, 1.0, -1.0)[:, None]
        signs = np.full((len(codes), self.classes), -1.0)
        signs[np.arange(len(codes)), codes] = 1.0
        return signs


@dataclass(frozen=True)
class Weights:
    """A block's weights times those of its rows' classes."""

    labels: Labels
    of_classes: np.ndarray | None

    def __call__(self, block: Block) -> np.ndarray | None:
        """A weight a row, float64; None where all weigh the same."""
        if self.of_classes is None:
            return block.weight
        weights = self.of_classes[self.labels.codes(block)]
        return weights if block.weight is None else weights * block.weight


def class_weights(wanted: Any, labels: Labels, weights: np.ndarray) -> np.ndarray:
    """What a row of each class weighs, in the order of the classes.

    Args:
        wanted: ``class_weight=`` of an estimator: "balanced", a dict, or None.
        labels: The classes.
        weights: How much each class weighs by its rows alone.

    Raises:
        FitError: a class of the dict is not there.
    """
    from sklearn.utils.class_weight import compute_class_weight

    if isinstance(wanted, str):
        return weights.sum() / (len(weights) * weights)
    try:
        return compute_class_weight(wanted, classes=labels.classes, y=labels.classes)
    except ValueError as error:
        raise FitError(f"class_weight does not fit the target: {error}", code="cannot_fit") from error


#: By qualified class name.
TRAINERS = {
    "sklearn.linear_model._base.LinearRegression": LinearTrainer,
    "sklearn.linear_model._ridge.Ridge": RidgeTrainer,
    "sklearn.linear_model._ridge.RidgeClassifier": RidgeClassifierTrainer,
    "sklearn.linear_model._coordinate_descent.Lasso": LassoTrainer,
    "sklearn.linear_model._coordinate_descent.ElasticNet": LassoTrainer,
}
