"""LightGBM on rows that need not fit in memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import FitError
from .boosting.categories import Categories, categories_of, is_categorical
from .boosting.gang import train_together
from .boosting.lightgbm_data import Feed, sampled_rows
from .boosting.lightgbm_training import SeatTask, Training, booster_of, train_seat, trained
from .labels import Labels, numbers, refused_target
from .learning import Block
from .training import Trainer, TrainingRows

#: LightGBM counts rows with 31 bits.
MOST_ROWS = 2**31 - 1


class LightGBMTrainer(Trainer):
    """LGBMClassifier and LGBMRegressor: rows are pushed block by block into LightGBM's binned data."""

    def refusal(self) -> str | None:
        """Why it cannot be fitted so; None where it can."""
        from lightgbm.basic import _ConfigAliases

        params = self.estimator.get_params()
        given = {key: value for key, value in params.items() if value is not None}
        if any(given.get(alias) for alias in _ConfigAliases.get("linear_tree")):
            return "linear_tree needs the raw rows in memory"
        if any(given.get(alias, 0) for alias in _ConfigAliases.get("early_stopping_round")):
            return "early stopping needs a validation set, which fit is not given here"
        if any(given.get(alias) for alias in _ConfigAliases.get("machines")):
            return "machines= is set; on='ray' finds its own"
        if self.estimator.class_weight is not None and not self._classifies:
            return "class_weight is for classifiers"
        return self._refused_columns() or refused_target(self.inputs, classifies=self._classifies)

    def rows_wanted(self, rows: int) -> np.ndarray | None:
        """The rows that the bins are found from."""
        seed = self.estimator.random_state
        if not isinstance(seed, int | np.integer | None):
            return None  # drawing from a generator would change it
        return sampled_rows(rows, copy.copy(self.estimator)._process_params("fit"))

    def fit(self, rows: TrainingRows) -> None:
        """Train it.

        Raises:
            FitError: ``cannot_fit``: the target is not what the estimator learns.
            InputError: a row has no target, or a column holds what LightGBM does not take.
        """
        if rows.rows > MOST_ROWS:
            raise FitError(f"LightGBM takes at most {MOST_ROWS:,} rows", code="cannot_fit", hint="pass sample_rows=")
        if rows.rows < 2:
            raise FitError(f"there are {rows.rows} rows, LightGBM needs two", code="cannot_fit")
        labels = Labels(rows.target) if self._classifies else None
        if labels is not None:
            self._set_classes(labels)
        params = self._params()
        sample = rows.take(sampled_rows(rows.rows, params))
        values = (labels.codes if labels else numbers, self._weight(labels))
        categories = categories_of(rows, self.inputs)
        self.categories = categories.words(self.inputs)
        self.estimator._evals_result = {}
        if rows.executor.name == "ray":
            booster = self._trained_together(rows, sample, params, values, categories)
        else:
            feed = Feed(rows.rows, rows.blocks, *values, sample, rows.rows, categories)
            booster = trained(Training(params, self.estimator.n_estimators, self._names), feed)
        self._finish(booster)

    @property
    def _classifies(self) -> bool:
        return hasattr(type(self.estimator), "predict_proba")

    @property
    def _names(self) -> Any:
        """Names of the features where ``fit`` would be given a frame, else "auto"."""
        return list(self.inputs.names) if hasattr(self.inputs.sample, "columns") else "auto"

    def _refused_columns(self) -> str | None:
        for name, kind in zip(self.inputs.names, self.inputs.types, strict=False):
            number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            if not number and not is_categorical(kind):
                return (
                    f"column {name} is {kind}, and LightGBM takes numbers and categories: encode it in a step before, "
                    "or have it as a category"
                )
        return None

    def _set_classes(self, labels: Labels) -> None:
        """What the classifier's ``fit`` learns of the target before it trains."""
        model = self.estimator
        model._le = labels.encoder
        model._class_map = dict(zip(labels.classes, labels.encoder.transform(labels.classes), strict=True))
        if isinstance(model.class_weight, dict):
            model._class_weight = {model._class_map[key]: value for key, value in model.class_weight.items()}
        model._classes, model._n_classes = labels.classes, len(labels.classes)
        if model.objective is None:
            model._objective = None

    def _params(self) -> dict[str, Any]:
        """The parameters of the training, as the estimator's ``fit`` makes them."""
        params = self.estimator._process_params("fit")
        metric = params["metric"]
        listed = [metric] if isinstance(metric, str) or metric is None else metric
        return {**params, "metric": [name for name in listed if name is not None]}

    def _weight(self, labels: Labels | None) -> Any:
        """What gives the weights of a block's rows; None where all weigh the same."""
        model = self.estimator
        if model._class_weight is None:
            model._class_weight = model.class_weight
        if model._class_weight is None or labels is None:
            return _own_weight if self.inputs.weighted else None
        return ClassWeights(labels, class_weights(model._class_weight, labels))

    def _trained_together(
        self, rows: TrainingRows, sample: Block, params: dict[str, Any], values: Any, categories: Categories
    ) -> Any:
        """A booster trained on the workers of a Ray cluster; the bins are those of one process."""
        if self.estimator.n_jobs is None:
            params["num_threads"] = 1  # a seat has one core
        training = Training(params, self.estimator.n_estimators, self._names)
        labels, weights = values
        task = SeatTask(training, labels, weights, sample, rows.rows, categories)
        return booster_of(*train_together(rows, train_seat, task))

    def _finish(self, booster: Any) -> None:
        """The attributes that ``fit`` leaves."""
        model = self.estimator
        model.n_features_in_ = self.inputs.width
        model._Booster = booster
        model._n_features = booster.num_feature()
        model._fitted_with_feature_names = self._names != "auto"
        model._best_iteration, model._best_score = booster.best_iteration, booster.best_score
        model.fitted_ = True
        booster.free_dataset()


class RankerTrainer(LightGBMTrainer):
    """LGBMRanker: not fitted."""

    def refusal(self) -> str | None:
        """It needs what a column of the target cannot say."""
        return "a ranker needs groups of rows, which fit is not given here"


class ClassWeights:
    """The weight of a row by its class, times its own; it can be pickled."""

    def __init__(self, labels: Labels, weights: np.ndarray) -> None:
        self.labels, self.weights = labels, weights

    def __call__(self, block: Block) -> np.ndarray:
        """The weights of a block's rows."""
        found = self.weights[self.labels.codes(block)]
        return found if block.weight is None else block.weight * found


def class_weights(wanted: Any, labels: Labels) -> np.ndarray:
    """The weight of each class, as ``sklearn.utils.class_weight.compute_sample_weight`` gives it to the rows.

    Args:
        wanted: "balanced", or the weight of a class by its code; classes not named weigh one.
        labels: The classes and how often each is there.
    """
    if wanted == "balanced":
        return labels.counts.sum() / (len(labels.counts) * labels.counts.astype(np.float64))
    return np.array([wanted.get(code, 1.0) for code in range(len(labels.counts))], np.float64)


def _own_weight(block: Block) -> Any:
    return block.weight


#: By qualified class name.
TRAINERS = {
    "lightgbm.sklearn.LGBMClassifier": LightGBMTrainer,
    "lightgbm.sklearn.LGBMRegressor": LightGBMTrainer,
    "lightgbm.sklearn.LGBMRanker": RankerTrainer,
}
