"""XGBoost on rows that need not fit in memory."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import FitError
from .boosting.gang import Seat, train_together
from .boosting.xgboost_data import Feed, quantile_matrix
from .labels import Labels, is_text, numbers, refused_target
from .learning import Inputs
from .storing import store
from .training import Trainer, TrainingRows


class XGBoostTrainer(Trainer):
    """XGBClassifier, XGBRegressor and their forests: their own ``fit``, over binned data that blocks have filled."""

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        model = self.estimator
        if model.tree_method not in ("hist", "auto", None) or model.booster == "gblinear":
            asked = "booster='gblinear'" if model.booster == "gblinear" else f"tree_method={model.tree_method!r}"
            return f"{asked} needs all rows in memory; tree_method='hist' does not"
        if model.early_stopping_rounds:
            return "early stopping needs a validation set, which fit is not given here"
        for name, kind in zip(self.inputs.names, self.inputs.types, strict=False):
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
                return f"column {name} is {kind}, and XGBoost takes numbers: encode it in a step before"
        classifies = hasattr(type(model), "predict_proba")
        if classifies and self.inputs.target_type is not None and is_text(self.inputs.target_type):
            return "the target is text, and XGBoost takes the classes 0, 1, 2, ...: number them in the data"
        return refused_target(self.inputs, classifies=classifies, several=True)

    def fit(self, rows: TrainingRows) -> None:
        """Train it.

        Raises:
            FitError: ``cannot_fit``: the target is not what the estimator learns.
            InputError: a row has no target.
        """
        if not rows.rows:
            raise FitError("there are no rows", code="cannot_fit")
        classes = self._classes(rows)
        if rows.executor.name == "ray":
            found = train_together(rows, train_seat, SeatTask(self.estimator, self.inputs, classes), tracked=True)
            vars(self.estimator).update(vars(found), n_jobs=self.estimator.n_jobs)
        else:
            fit_over(self.estimator, Feed(self.inputs, rows.kept().blocks, numbers), classes)

    def note(self) -> str | None:
        """Told in the report."""
        return "bins from XGBoost's own sketch of all rows"

    def _classes(self, rows: TrainingRows) -> np.ndarray | None:
        """What the classifier takes for its target's values; None for a regressor."""
        if not hasattr(type(self.estimator), "predict_proba"):
            return None
        labels = Labels(rows.target)
        if not np.array_equal(labels.classes, np.arange(len(labels.classes))):
            named = type(self.estimator).__name__
            raise FitError(
                f"{named} takes the classes 0, 1, 2, ...; the target has {', '.join(map(repr, labels.classes[:5]))}",
                code="cannot_fit",
                hint="number the classes in the data, or use LGBMClassifier, which takes any",
            )
        return labels.classes


class RankerTrainer(XGBoostTrainer):
    """XGBRanker: not fitted."""

    def refusal(self) -> str | None:
        """It needs what a column of the target cannot say."""
        return "a ranker needs groups of rows, which fit is not given here"


@dataclass(frozen=True)
class SeatTask:
    """What every seat of a cluster is given.

    Attributes:
        estimator: Not fitted.
        inputs: What it is fitted on.
        classes: The values of the target; None for a regressor.
    """

    estimator: Any
    inputs: Inputs
    classes: np.ndarray | None


def train_seat(task: SeatTask, seat: Seat) -> Any:
    """The estimator, fitted with the other seats. Runs in an actor."""
    from xgboost.collective import CommunicatorContext

    if task.estimator.n_jobs is None:
        task.estimator.n_jobs = 1  # a seat has one core
    with tempfile.TemporaryDirectory(prefix="monorail-fit-") as folder, contextlib.ExitStack() as network:
        # XGBoost reads its rows four times; they are made once.
        stored = store(seat.blocks(), Path(folder), seat.start)
        feed = Feed(task.inputs, functools.partial(stored.blocks, 65_536), numbers)
        if seat.tracker is not None:
            network.enter_context(CommunicatorContext(**seat.tracker, dmlc_task_id=f"{seat.rank:06}"))
        fit_over(task.estimator, feed, task.classes)
    return task.estimator


def fit_over(estimator: Any, feed: Feed, classes: np.ndarray | None) -> None:
    """Call the estimator's own ``fit``, with binned data in the place of the data it would make itself.

    Args:
        estimator: Fitted in place.
        feed: Where the rows come from.
        classes: The values of the target; None for a regressor.
    """

    def made(
        ref: Any, *, enable_categorical: Any, missing: Any, feature_weights: Any, feature_types: Any, **_: Any
    ) -> Any:
        return quantile_matrix(
            feed,
            feature_weights=feature_weights,
            feature_types=feature_types,
            enable_categorical=enable_categorical,
            missing=missing,
            nthread=estimator.n_jobs,
            max_bin=estimator.max_bin,
        )

    estimator._create_dmatrix = made
    try:
        # Of the target, its fit looks at nothing but the values there are.
        estimator.fit(None, classes)
    finally:
        del estimator._create_dmatrix


#: By qualified class name.
TRAINERS = {
    "xgboost.sklearn.XGBClassifier": XGBoostTrainer,
    "xgboost.sklearn.XGBRegressor": XGBoostTrainer,
    "xgboost.sklearn.XGBRFClassifier": XGBoostTrainer,
    "xgboost.sklearn.XGBRFRegressor": XGBoostTrainer,
    "xgboost.sklearn.XGBRanker": RankerTrainer,
}
