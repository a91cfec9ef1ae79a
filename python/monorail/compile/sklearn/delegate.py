"""Estimators that hand every question on to the one inside: searches, frozen ones, self-training."""

from __future__ import annotations

from typing import Any

from ..columns import Matrix
from ..registry import Context, convert, converter

_SEARCH = "sklearn.model_selection._search"
_HALVING = "sklearn.model_selection._search_successive_halving"


@converter(
    f"{_SEARCH}.GridSearchCV",
    f"{_SEARCH}.RandomizedSearchCV",
    f"{_HALVING}.HalvingGridSearchCV",
    f"{_HALVING}.HalvingRandomSearchCV",
)
def search(context: Context, model: Any, matrix: Matrix) -> Any:
    """The best estimator."""
    if not hasattr(model, "best_estimator_"):
        raise context.refuse(model, "it kept no best estimator (refit=False)")
    return convert(context.at("best_estimator_"), model.best_estimator_, matrix)


@converter("sklearn.frozen._frozen.FrozenEstimator")
def frozen(context: Context, model: Any, matrix: Matrix) -> Any:
    """The estimator that was frozen."""
    return convert(context.at("estimator"), model.estimator, matrix)


@converter("sklearn.semi_supervised._self_training.SelfTrainingClassifier")
def self_training(context: Context, model: Any, matrix: Matrix) -> Any:
    """The classifier of the last round."""
    return convert(context.at("estimator_"), model.estimator_, matrix)
