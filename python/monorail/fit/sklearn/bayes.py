"""Naive Bayes: counts and moments of classes, equal to those of all rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FitError, InputError
from ..labels import Labels
from ..learning import Block, Inputs
from ..training import Trainer, TrainingRows
from .matrices import finite, not_numbers, prepare
from .pieces import Pieces


class CountsTrainer(Trainer):
    """The kinds that count: ``partial_fit`` of blocks adds up to ``fit`` of all rows."""

    takes_missing = False

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        return not_numbers(self.inputs)

    def fit(self, rows: TrainingRows) -> None:
        """Train it."""
        labels = Labels(rows.target)
        dense = type(self.estimator).__name__ == "CategoricalNB"
        for piece in Pieces(rows, np.float64, labels, dense=dense).all():
            self.estimator.partial_fit(piece.matrix, piece.target, classes=labels.classes, sample_weight=piece.weight)
        prepare(self.estimator, rows.inputs)

    def note(self) -> str | None:
        """That it took one pass."""
        return "counted in one pass"


class GaussianTrainer(Trainer):
    """``GaussianNB``: its own ``partial_fit`` would smooth by the variance of one block."""

    takes_missing = False

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if hasattr(self.inputs.sample, "toarray"):
            return "scikit-learn fits it on dense features alone"
        return not_numbers(self.inputs)

    def fit(self, rows: TrainingRows) -> None:
        """Train it.

        Raises:
            FitError: the priors do not fit the classes.
            InputError: there are no rows.
        """
        from sklearn.utils.multiclass import unique_labels

        labels, step = Labels(rows.target), self.estimator
        whole: Spread | None = None
        for part in rows.map(_spread, shared=Asked(rows.inputs, labels)):
            whole = part if whole is None else whole.merge(part)
        if whole is None or not whole.rows:
            raise InputError("there are no rows to fit on", code="wrong_shape", hint="look at the files")
        priors = None if step.priors is None else np.asarray(step.priors)
        if priors is not None and (len(priors) != len(labels.classes) or not np.isclose(priors.sum(), 1.0)):
            raise FitError(f"priors do not fit {len(labels.classes)} classes", code="cannot_fit")
        prepare(step, rows.inputs)
        step.epsilon_ = step.var_smoothing * (whole.squares[-1] / whole.weights[-1]).max()
        step.classes_ = unique_labels(labels.classes)
        of_classes = whole.weights[:-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            step.theta_ = whole.means[:-1]
            step.var_ = np.where(of_classes[:, None] > 0, whole.squares[:-1] / of_classes[:, None], 0) + step.epsilon_
        step.class_count_ = of_classes
        step.class_prior_ = of_classes / of_classes.sum() if priors is None else priors

    def note(self) -> str | None:
        """That it took one pass."""
        return "from moments, one pass"


@dataclass(frozen=True)
class Asked:
    """What a part is asked; it travels to workers."""

    inputs: Inputs
    labels: Labels


@dataclass
class Spread:
    """Weights, means and sums of squares around them: a row for each class, the last for all rows unweighted.

    Attributes:
        weights: ``[classes + 1]``.
        means: ``[classes + 1, features]``.
        squares: ``[classes + 1, features]``.
        rows: How many.
    """

    weights: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    rows: int = field(default=0)

    def add(self, group: int, weight: np.ndarray | None, matrix: np.ndarray) -> None:
        """Take rows of one class in."""
        total = float(len(matrix) if weight is None else weight.sum())
        if total <= 0:
            return
        means = np.average(matrix, axis=0, weights=weight)
        apart = (matrix - means) ** 2
        self.join(group, total, means, apart.sum(axis=0) if weight is None else weight @ apart)

    def join(self, group: int, total: float, means: np.ndarray, squares: np.ndarray) -> None:
        """Take moments of one class in."""
        together = self.weights[group] + total
        if together <= 0:
            return
        apart = means - self.means[group]
        self.squares[group] += squares + apart**2 * (self.weights[group] * total / together)
        self.means[group] += apart * (total / together)
        self.weights[group] = together

    def merge(self, later: Spread) -> Spread:
        """Itself, with what was gathered of later rows."""
        for group in range(len(self.weights)):
            self.join(group, float(later.weights[group]), later.means[group], later.squares[group])
        self.rows += later.rows
        return self


def _spread(asked: Asked, blocks: Iterator[Block]) -> Spread:
    """What one part holds."""
    groups, width = len(asked.labels.classes) + 1, asked.inputs.width
    found = Spread(np.zeros(groups), np.zeros((groups, width)), np.zeros((groups, width)))
    for block in blocks:
        if not block.rows:
            continue
        matrix: Any = finite(block, asked.inputs)
        matrix = matrix.toarray() if hasattr(matrix, "toarray") else matrix
        codes = asked.labels.codes(block)
        for group in np.unique(codes):
            here = codes == group
            found.add(int(group), None if block.weight is None else block.weight[here], matrix[here])
        found.add(groups - 1, None, matrix)
        found.rows += block.rows
    return found
