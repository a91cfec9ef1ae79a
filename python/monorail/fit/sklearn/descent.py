"""When a stochastic descent stops: scikit-learn's losses of linear models, and its rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..labels import Labels
from .pieces import Piece


class Stopping:
    """Stops when the loss of an epoch did not fall by ``tol`` so many times in a row.

    Args:
        tol: How much it has to fall; None never stops.
        patience: How many times.
    """

    def __init__(self, tol: float | None, patience: int) -> None:
        self._tol, self._patience = tol, patience
        self._best, self._idle = np.inf, 0

    def after(self, loss: float) -> bool:
        """Whether to stop after an epoch of this mean loss."""
        if self._tol is None:
            return False
        self._idle = self._idle + 1 if loss > self._best - self._tol else 0
        self._best = min(self._best, loss)
        return self._idle >= self._patience

    def again(self) -> None:
        """Go on, with smaller steps."""
        self._idle = 0


def loss_of(step: Any, piece: Piece, labels: Labels | None) -> float:
    """The loss of a piece before it is learnt, summed over rows; over classes, the mean.

    Args:
        step: A linear model of scikit-learn; before its first rows it says 0 to all.
        piece: The rows.
        labels: The classes; None for a regressor or a detector.
    """
    known = hasattr(step, "coef_")
    if labels is None:
        said = np.zeros(piece.rows)
        if known:
            # A detector's plane passes at one from its offset.
            shift = step.intercept_ if hasattr(step, "intercept_") else 1.0 - step.offset_
            said = np.ravel(piece.matrix @ np.ravel(step.coef_)) + shift
        wanted = np.ones(piece.rows) if piece.target is None else np.ravel(piece.target)
        return float(_loss(step, said, wanted).sum())
    several = len(labels.classes) if len(labels.classes) > 2 else 1
    said = step.decision_function(piece.matrix) if known else np.zeros((piece.rows, several))
    place = np.searchsorted(labels.classes, np.asarray(piece.target))
    signs = np.where(place[:, None] == (np.arange(several) if several > 1 else 1), 1.0, -1.0)
    return float(_loss(step, said.reshape(piece.rows, several), signs).sum()) / several


def _loss(step: Any, said: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The loss that the step's settings name, element by element."""
    name, width = getattr(step, "loss", "perceptron"), getattr(step, "epsilon", 0.1)
    if type(step).__name__ == "SGDOneClassSVM":
        name = "hinge"
    margin, apart = said * wanted, np.abs(said - wanted)
    outside = np.maximum(0.0, apart - width)
    with np.errstate(over="ignore"):
        losses = {
            "hinge": lambda: np.maximum(0.0, 1.0 - margin),
            "squared_hinge": lambda: np.maximum(0.0, 1.0 - margin) ** 2,
            "perceptron": lambda: np.maximum(0.0, -margin),
            "log_loss": lambda: np.logaddexp(0.0, -margin),
            "modified_huber": lambda: np.where(margin >= -1.0, np.maximum(0.0, 1.0 - margin) ** 2, -4.0 * margin),
            "squared_error": lambda: 0.5 * apart**2,
            "huber": lambda: np.where(apart <= width, 0.5 * apart**2, width * apart - 0.5 * width**2),
            "epsilon_insensitive": lambda: outside,
            "squared_epsilon_insensitive": lambda: outside**2,
        }
        return losses[name]()
