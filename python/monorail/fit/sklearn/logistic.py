"""Logistic regression: the L-BFGS of scikit-learn, with loss and gradient summed over parts of the data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import FitError, InputError
from ..labels import Labels
from ..learning import Block, Inputs
from ..training import Trainer, TrainingRows
from .linear import Weights, class_weights
from .matrices import finite, not_numbers, prepare

#: What scikit-learn tells SciPy's minimiser.
LINE_SEARCH_STEPS = 50
ENOUGH = 64 * np.finfo(float).eps


class LogisticTrainer(Trainer):
    """``LogisticRegression`` with ``solver="lbfgs"``: start, scale, steps and stopping rule are scikit-learn's own."""

    passes = 0
    takes_missing = False

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        step = self.estimator
        if penalty_of(step) not in ("l2", None):
            return (
                "a penalty of absolute values has no gradient to follow; "
                "SGDClassifier(loss='log_loss', penalty='l1' or 'elasticnet') is fitted block by block"
            )
        if step.solver != "lbfgs":
            return f"solver={step.solver!r} needs all rows in memory; solver='lbfgs' finds the same minimum in passes"
        if step.dual:
            return "scikit-learn takes dual=True with solver='liblinear' alone"
        return not_numbers(self.inputs)

    def fit(self, rows: TrainingRows) -> None:
        """Train it."""
        step, kind = self.estimator, prepare(self.estimator, rows.inputs)
        labels = Labels(rows.target)
        if len(labels.classes) < 2:
            raise FitError(
                f"a classifier needs two classes, and the target is always {labels.classes.tolist()[0]!r}",
                code="cannot_fit",
                hint="look at target= and filters=",
            )
        kept = rows.kept()
        asked = Asked(rows.inputs, labels, None, step.fit_intercept, None)
        weights = labels.counts.astype(np.float64)
        if rows.inputs.weighted:
            weights = np.sum(list(kept.map(_class_weights, shared=asked)), axis=0)
            self.passes += 1
        heavy = class_weights(step.class_weight, labels, weights) if step.class_weight is not None else None
        total = float(weights.sum() if heavy is None else (weights * heavy).sum())
        if not total:
            raise InputError("all weights are zero", code="out_of_range", hint="see sample_weight=")
        found = self._minimum(kept, replace(asked, of_classes=heavy), total)
        step.classes_ = labels.classes
        # Those of one feature lie together, as in scikit-learn.
        solution = found.x if len(labels.classes) == 2 else found.x.reshape((len(labels.classes), -1), order="F")
        solution = np.atleast_2d(solution).astype(kind)
        step.n_iter_ = np.array([min(found.nit, step.max_iter)], np.int32)
        step.coef_ = solution[:, :-1] if step.fit_intercept else solution
        step.intercept_ = solution[:, -1] if step.fit_intercept else np.zeros(len(solution), kind)

    def _minimum(self, rows: TrainingRows, asked: Asked, total: float) -> Any:
        """Where the loss is least, as SciPy reports it."""
        from scipy.optimize import minimize
        from sklearn.exceptions import ConvergenceWarning

        step, classes = self.estimator, len(asked.labels.classes)
        several = classes if classes > 2 else 1
        features = rows.inputs.width
        pull = 0.0 if penalty_of(step) is None else 1.0 / (step.C * total)

        def value(point: np.ndarray) -> tuple[float, np.ndarray]:
            matrix = point.reshape((several, -1), order="F")
            loss, slope = 0.0, np.zeros(matrix.shape, order="F")
            # Values are looked at once: the rows stay as they are.
            for part_loss, part_slope in rows.map(_evaluated, shared=replace(asked, point=matrix, looked=self.passes)):
                loss += part_loss
                slope += part_slope
            self.passes += 1
            inner = matrix[:, :features]
            loss = loss / total + 0.5 * pull * float((inner * inner).sum())
            slope /= total
            slope[:, :features] += pull * inner
            return loss, slope.ravel(order="F")

        start = np.zeros(several * (features + int(step.fit_intercept)))
        options = {"maxiter": step.max_iter, "maxls": LINE_SEARCH_STEPS, "gtol": step.tol, "ftol": ENOUGH}
        found: Any = minimize(value, start, method="L-BFGS-B", jac=True, options=options)
        if found.status != 0:
            warnings.warn(
                f"logistic regression did not converge in {found.nit} iterations ({found.message}); scale the features "
                "or raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return found

    def note(self) -> str | None:
        """How many passes it took."""
        return f"L-BFGS, {self.passes} passes over the transformed rows" if self.passes else None


@dataclass(frozen=True)
class Asked:
    """What a part is asked; it travels to workers.

    Attributes:
        inputs: Of the estimator.
        labels: The classes.
        of_classes: What a row of each class weighs; None where all weigh the same.
        intercept: Whether the last column of ``point`` is one.
        point: ``[1 or classes, features and intercept]``, where to take loss and gradient.
        looked: How often the rows were read before; they are checked the first time.
    """

    inputs: Inputs
    labels: Labels
    of_classes: np.ndarray | None
    intercept: bool
    point: np.ndarray | None
    looked: int = 0


def penalty_of(step: Any) -> str | None:
    """``l1``, ``l2``, ``elasticnet`` or None, of whichever parameters say it in this version of scikit-learn."""
    if getattr(step, "penalty", "deprecated") != "deprecated":
        return None if step.penalty == "none" else step.penalty
    ratio = step.l1_ratio or 0
    if np.isinf(step.C):
        return None
    return "l2" if ratio == 0 else ("l1" if ratio == 1 else "elasticnet")


def _class_weights(asked: Asked, blocks: Iterator[Block]) -> np.ndarray:
    """The sum of the weights of each class' rows."""
    sums = np.zeros(len(asked.labels.classes))
    for block in blocks:
        if block.weight is not None and (not np.isfinite(block.weight).all() or (block.weight < 0).any()):
            raise InputError("a weight is negative or not a number", code="out_of_range", hint="see sample_weight=")
        sums += np.bincount(asked.labels.codes(block), weights=block.weight, minlength=len(sums))
    return sums


def _evaluated(asked: Asked, blocks: Iterator[Block]) -> tuple[float, np.ndarray]:
    """Loss and gradient of one part's rows, summed."""
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

    point: Any = asked.point
    several, features = len(point), asked.inputs.width
    losses: Any = HalfBinomialLoss() if several == 1 else HalfMultinomialLoss(n_classes=several)
    loss, slope = 0.0, np.zeros(point.shape)
    for block in blocks:
        if not block.rows:
            continue
        matrix = _matrix(block) if asked.looked > 1 else finite(block, asked.inputs)
        codes = asked.labels.codes(block).astype(np.float64)
        weight = Weights(asked.labels, asked.of_classes)(block)
        raw = np.asarray(matrix @ point[:, :features].T)
        if asked.intercept:
            raw += point[:, features]
        raw = np.ascontiguousarray(raw[:, 0] if several == 1 else raw)
        each, by_row = losses.loss_gradient(y_true=codes, raw_prediction=raw, sample_weight=weight)
        by_row = by_row.reshape(len(codes), several)
        loss += float(each.sum())
        slope[:, :features] += np.asarray((matrix.T @ by_row).T)
        if asked.intercept:
            slope[:, features] += by_row.sum(axis=0)
    return loss, slope


def _matrix(block: Block) -> Any:
    """The features as they are, checked before."""
    return block.matrix if hasattr(block.matrix, "toarray") else block.dense


#: By qualified class name.
TRAINERS = {"sklearn.linear_model._logistic.LogisticRegression": LogisticTrainer}
