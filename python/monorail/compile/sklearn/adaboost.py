"""AdaBoost: weighted votes of classifiers, and the weighted median of regressors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from ..trees import tree_sums
from .submodels import answers, column, side_by_side, total
from .tree import as_array, is_classifier_tree, is_regressor_tree, to_float32, tree_of

_MODULE = "sklearn.ensemble._weight_boosting"
_DOUBLE, _INDEX = np.dtype(np.float64), np.dtype(np.int64)


@converter(f"{_MODULE}.AdaBoostClassifier")
def adaboost_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Every classifier votes with its weight for its class and against the others."""
    graph = context.graph
    values = labels.class_values(context, model, model.classes_)
    names = [str(value) for value in model.classes_]
    if len(values) < 2:
        raise context.refuse(model, "it knows one class")
    weights = np.asarray(model.estimator_weights_, np.float64)
    against = [float(-1 / (len(values) - 1) * weight) for weight in weights]
    # Of two classes one is counted: the votes for the other are the same with the other sign.
    counted = values[1:] if len(values) == 2 else values
    votes = _votes(context, model, as_array(matrix), counted, weights, against)
    votes = graph.arithmetic("Div", votes, graph.constant(float(weights.sum())), votes)
    if len(values) == 2:
        score = graph.arithmetic("Add", votes, votes, votes)
        label = labels.label_of_test(context, values, labels.positive(context, score))
        negative = graph.node("Neg", [score], _DOUBLE, 1)
        both = graph.concat([negative, score])
        scaled = graph.arithmetic("Div", both, graph.constant(2.0), both)
        return {
            "label": label,
            "probability": Output(labels.softmax(context, scaled), "float64", names),
            "score": Output(score, "float64"),
        }
    scaled = graph.arithmetic("Div", votes, graph.constant(float(len(values) - 1)), votes)
    return {
        "label": labels.label_of_largest(context, values, votes),
        "probability": Output(labels.softmax(context, scaled), "float64", names),
        "score": Output(votes, "float64", names),
    }


def _votes(
    context: Context, model: Any, matrix: Matrix, classes: np.ndarray, weights: np.ndarray, against: Sequence[float]
) -> Tensor:
    """`[rows, classes]`: the sum of the votes for each class."""
    graph = context.graph
    if all(is_classifier_tree(estimator) for estimator in model.estimators_):
        trees = []
        for estimator, weight, other in zip(model.estimators_, weights, against, strict=False):
            shares = estimator.tree_.value[:, 0, :]
            chosen = labels.class_values(context, model, estimator.classes_)[np.argmax(shares, axis=1)]
            trees += [
                tree_of(estimator, target, np.where(chosen == name, weight, other))
                for target, name in enumerate(classes)
            ]
        return tree_sums(context, matrix, trees, len(classes), rounding=to_float32)
    parts = []
    known = graph.constant(classes[None, :])
    for number, (estimator, weight, other) in enumerate(zip(model.estimators_, weights, against, strict=False)):
        said = column(context, answers(context, f"estimators_[{number}]", estimator, matrix)["label"].tensor)
        if said.dtype.kind in "if" and said.dtype != classes.dtype:
            said = graph.cast(said, classes.dtype)
        same = graph.node("Equal", [said, known], np.bool_, len(classes))
        choice = [same, graph.constant(float(weight)), graph.constant(other)]
        parts.append(graph.node("Where", choice, _DOUBLE, len(classes)))
    return total(context, parts)


@converter(f"{_MODULE}.AdaBoostRegressor")
def adaboost_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The first prediction, from below, at which half of the weight is reached."""
    graph, count = context.graph, len(model.estimators_)
    predictions = _predictions(context, model, as_array(matrix))
    attributes = {"axis": 1, "largest": 0, "sorted": 1}
    kept = [(_DOUBLE, count), (_INDEX, count)]
    ordered, places = graph.several("TopK", [predictions, graph.constant([count], _INDEX)], kept, attributes=attributes)
    weights = graph.constant(np.asarray(model.estimator_weights_, np.float64)[:count])
    weight = graph.node("Gather", [weights, places], _DOUBLE, count, attributes={"axis": 0})
    reached = graph.node("CumSum", [weight, graph.constant(1, _INDEX)], _DOUBLE, count)
    last = graph.gather(reached, [count - 1])
    half = graph.arithmetic("Mul", last, graph.constant(0.5), last)
    above = graph.cast(graph.node("GreaterOrEqual", [reached, half], np.bool_, count), _DOUBLE)
    first = graph.node("ArgMax", [above], _INDEX, 1, attributes={"axis": 1, "keepdims": 1})
    median = graph.node("GatherElements", [ordered, first], _DOUBLE, 1, attributes={"axis": 1})
    return {"prediction": Output(median, "float64")}


def _predictions(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """`[rows, estimators]` float64."""
    if all(is_regressor_tree(estimator) for estimator in model.estimators_):
        trees = [
            tree_of(estimator, number, estimator.tree_.value[:, 0, 0])
            for number, estimator in enumerate(model.estimators_)
        ]
        return tree_sums(context, matrix, trees, len(trees), rounding=to_float32)
    parts = [
        answers(context, f"estimators_[{number}]", estimator, matrix)["prediction"].tensor
        for number, estimator in enumerate(model.estimators_)
    ]
    return side_by_side(context, parts, _DOUBLE)
