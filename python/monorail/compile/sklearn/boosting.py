"""Gradient boosting, both kinds: a starting value, then the trees, then the loss's own link."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from ..trees import Tree, constant_tree, tree_sums
from .tree import to_float32, tree_of

_DOUBLE = np.dtype(np.float64)
_GB, _HGB = "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"


def _gradient_scores(context: Context, model: Any, matrix: Matrix) -> Tensor:
    init = model.init_
    if not isinstance(init, str) and type(init).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise context.refuse(model, "it starts from an estimator of its own (init)")
    start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32)))[0]
    trees = [constant_tree(target, float(value)) for target, value in enumerate(start)]
    for stage in model.estimators_:
        for target, tree in enumerate(stage):
            trees.append(tree_of(tree, target, model.learning_rate * tree.tree_.value[:, 0, 0]))
    return tree_sums(context, matrix, trees, len(start), rounding=to_float32)


@converter(f"{_GB}.GradientBoostingRegressor")
def gradient_boosting_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The score itself."""
    return {"prediction": Output(_gradient_scores(context, model, matrix), "float64")}


@converter(f"{_GB}.GradientBoostingClassifier")
def gradient_boosting_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label by the score, which wins at exactly zero here; probability by the loss."""
    scores = _gradient_scores(context, model, matrix)
    values = labels.class_values(context, model, model.classes_)
    if scores.width == 1:
        zero = context.graph.constant(np.zeros(1))
        second = context.graph.node("GreaterOrEqual", [scores, zero], np.bool_, 1)
        label = labels.label_of_test(context, values, second)
    else:
        label = labels.label_of_largest(context, values, scores)
    return _classified(context, model, scores, label, model.loss == "exponential")


def _classified(context: Context, model: Any, scores: Tensor, label: Output, doubled: bool) -> dict[str, Output]:
    names = [str(value) for value in model.classes_]
    if scores.width == 1:
        link = context.graph.arithmetic("Mul", scores, context.graph.constant(2.0), scores) if doubled else scores
        probability = labels.both_probabilities(context, labels.sigmoid(context, link))
    else:
        probability = labels.softmax(context, scores)
    return {
        "label": label,
        "probability": Output(probability, "float64", names),
        "score": Output(scores, "float64", names if scores.width > 1 else None),
    }


def _histogram_scores(context: Context, model: Any, matrix: Matrix) -> Tensor:
    if model.is_categorical_ is not None and np.any(model.is_categorical_):
        raise context.refuse(model, "splits on categories are not compiled yet; encode them as numbers before")
    start = np.asarray(model._baseline_prediction, np.float64).ravel()
    trees = [constant_tree(target, float(value)) for target, value in enumerate(start)]
    for stage in model._predictors:
        trees += [_histogram_tree(predictor.nodes, target) for target, predictor in enumerate(stage)]
    return tree_sums(context, matrix, trees, len(start))


def _histogram_tree(nodes: np.ndarray, target: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    inner, number = np.flatnonzero(~leaf), np.empty(len(nodes), np.int64)
    number[~leaf] = np.arange(len(inner))
    number[leaf] = -1 - np.arange(int(leaf.sum()))
    chosen = nodes[inner]
    return Tree(
        target,
        chosen["feature_idx"].astype(np.int64),
        chosen["num_threshold"].astype(np.float64),
        chosen["missing_go_to_left"].astype(bool),
        number[chosen["left"].astype(np.int64)],
        number[chosen["right"].astype(np.int64)],
        nodes["value"][leaf].astype(np.float64),
    )


@converter(f"{_HGB}.HistGradientBoostingRegressor")
def histogram_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The loss's inverse link of the score."""
    scores = _histogram_scores(context, model, matrix)
    link = type(model._loss.link).__name__
    if link == "LogLink":
        scores = context.graph.node("Exp", [scores], _DOUBLE, scores.width)
    elif link != "IdentityLink":
        raise context.refuse(model, f"its link is {link}")
    return {"prediction": Output(scores, "float64")}


@converter(f"{_HGB}.HistGradientBoostingClassifier")
def histogram_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label by the score, which loses at exactly zero here; probability by the loss."""
    scores = _histogram_scores(context, model, matrix)
    values = labels.class_values(context, model, model.classes_)
    if scores.width == 1:
        label = labels.label_of_test(context, values, labels.positive(context, scores))
    else:
        label = labels.label_of_largest(context, values, scores)
    return _classified(context, model, scores, label, False)
