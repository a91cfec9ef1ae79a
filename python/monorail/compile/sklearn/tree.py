"""Decision trees and forests: float32 comparisons, float64 leaves, sums in the order of the trees."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import TEXT, Tensor
from ..registry import Context, Output, converter, qualified_name
from ..trees import Tree, tree_sums
from .linear import regression_output
from .submodels import several_labels, several_probabilities

_DOUBLE = np.dtype(np.float64)
_TREE, _FOREST = "sklearn.tree._classes", "sklearn.ensemble._forest"
_CLASSIFIERS = (f"{_TREE}.DecisionTreeClassifier", f"{_TREE}.ExtraTreeClassifier")
_REGRESSORS = (f"{_TREE}.DecisionTreeRegressor", f"{_TREE}.ExtraTreeRegressor")


def to_float32(values: np.ndarray) -> np.ndarray:
    """What every tree of this framework does to its input first."""
    return values.astype(np.float32)


def tree_of(model: Any, target: int, values: np.ndarray) -> Tree:
    """One fitted tree adding `values` (one a node) to one target."""
    tree = model.tree_
    left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
    leaf = left < 0
    inner, number = np.flatnonzero(~leaf), np.empty(len(left), np.int64)
    number[~leaf] = np.arange(len(inner))
    number[leaf] = -1 - np.arange(int(leaf.sum()))
    missing = np.asarray(tree.missing_go_to_left) if hasattr(tree, "missing_go_to_left") else np.zeros(len(left))
    return Tree(
        target,
        np.asarray(tree.feature)[inner].astype(np.int64),
        np.asarray(tree.threshold)[inner].astype(np.float64),
        missing[inner].astype(bool),
        number[left[inner]],
        number[right[inner]],
        np.asarray(values, np.float64)[leaf],
    )


def on_features(tree: Tree, features: Any) -> Tree:
    """A tree that was fitted on some of the features, as one on all of them."""
    return replace(tree, feature=np.asarray(features, np.int64)[tree.feature])


def as_array(matrix: Matrix) -> Matrix:
    """The matrix as one array, as estimators see it that hand arrays on: every column in the common element type."""
    dtype = matrix.common()
    if matrix.dtype is not None or dtype == TEXT:
        return matrix
    features = tuple(
        replace(f, dtype=dtype, origin=None if f.origin is None else f.origin.then(lambda raw: raw.astype(dtype)))
        for f in matrix.features
    )
    return replace(matrix, features=features, dtype=dtype)


def is_classifier_tree(model: Any) -> bool:
    """Whether it is one tree that answers one label a row."""
    return qualified_name(model) in _CLASSIFIERS and int(model.n_outputs_) == 1


def is_regressor_tree(model: Any) -> bool:
    """Whether it is one tree of numbers."""
    return qualified_name(model) in _REGRESSORS


def _means(context: Context, matrix: Matrix, models: list[Any], columns: list[int]) -> Tensor:
    """For each of these columns of the trees' values the mean over the trees."""
    trees = [
        tree_of(model, target, model.tree_.value.reshape(model.tree_.node_count, -1)[:, column])
        for model in models
        for target, column in enumerate(columns)
    ]
    return tree_sums(context, as_array(matrix), trees, len(columns), rounding=to_float32)


def _divided(context: Context, total: Tensor, count: int) -> Tensor:
    if count == 1:
        return total
    return context.graph.arithmetic("Div", total, context.graph.constant(float(count)), total)


def _probabilities(context: Context, matrix: Matrix, models: list[Any], classes: int) -> Tensor:
    """Mean class shares. Two classes and only pure leaves: counting one class is exact and halves the trees."""
    values = [model.tree_.value.reshape(model.tree_.node_count, -1) for model in models]
    leaves = [shares[np.asarray(m.tree_.children_left) < 0] for m, shares in zip(models, values, strict=True)]
    if classes == 2 and all(np.isin(shares, (0.0, 1.0)).all() for shares in leaves):
        second = _means(context, matrix, models, [1])
        count = context.graph.constant(float(len(models)))
        first = context.graph.arithmetic("Sub", count, second, second)
        total = context.graph.concat([first, second])
    else:
        total = _means(context, matrix, models, list(range(classes)))
    return _divided(context, total, len(models))


@converter(
    *_CLASSIFIERS,
    f"{_FOREST}.RandomForestClassifier",
    f"{_FOREST}.ExtraTreesClassifier",
)
def tree_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean class shares, and the largest one's label."""
    if model.n_outputs_ > 1:
        return _several_answers(context, model, matrix)
    values = labels.class_values(context, model, model.classes_)
    models = list(getattr(model, "estimators_", [model]))
    probability = _probabilities(context, matrix, models, int(model.n_classes_))
    return {
        "label": labels.label_of_largest(context, values, probability),
        "probability": Output(probability, "float64", [str(value) for value in model.classes_]),
    }


def _several_answers(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Several labels a row, each by the mean shares of its own classes."""
    models = list(getattr(model, "estimators_", [model]))
    most = int(max(model.n_classes_))
    columns = [k * most + place for k, count in enumerate(model.n_classes_) for place in range(int(count))]
    whole = _divided(context, _means(context, matrix, models, columns), len(models))
    ends = np.cumsum([0, *(int(count) for count in model.n_classes_)]).tolist()
    shares = [context.graph.gather(whole, list(range(start, end))) for start, end in pairwise(ends)]
    chosen = [
        labels.label_of_largest(context, labels.class_values(context, model, names), share)
        for names, share in zip(model.classes_, shares, strict=True)
    ]
    return {
        "label": several_labels(context, model, chosen),
        "probability": several_probabilities(context, model.classes_, shares),
    }


@converter(
    *_REGRESSORS,
    f"{_FOREST}.RandomForestRegressor",
    f"{_FOREST}.ExtraTreesRegressor",
)
def tree_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean of the trees."""
    models = list(getattr(model, "estimators_", [model]))
    total = _means(context, matrix, models, list(range(int(model.n_outputs_))))
    return {"prediction": regression_output(_divided(context, total, len(models)))}
