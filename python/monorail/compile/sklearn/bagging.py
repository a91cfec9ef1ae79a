"""Bagging: the mean answer of estimators that each see some of the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from ..trees import tree_sums
from .linear import regression_output
from .submodels import answers, column, has, total
from .tree import as_array, is_classifier_tree, is_regressor_tree, on_features, to_float32, tree_of

_MODULE = "sklearn.ensemble._bagging"
_DOUBLE, _INDEX = np.dtype(np.float64), np.dtype(np.int64)


def _members(model: Any) -> list[tuple[int, Any, np.ndarray]]:
    """Number, estimator and columns of each."""
    pairs = zip(model.estimators_, model.estimators_features_, strict=True)
    return [(number, estimator, np.asarray(features, np.int64)) for number, (estimator, features) in enumerate(pairs)]


@converter(f"{_MODULE}.BaggingClassifier")
def bagging_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean of the probabilities, or of the votes of estimators that have none; the label is the largest one's."""
    graph, matrix = context.graph, as_array(matrix)
    if isinstance(model.classes_, list):
        raise context.refuse(model, "it answers several labels a row")
    values = labels.class_values(context, model, model.classes_)
    if all(is_classifier_tree(estimator) for estimator in model.estimators_):
        whole = _shares(context, model, matrix, len(values))
    else:
        whole = total(context, [_part(context, matrix, entry, len(values)) for entry in _members(model)])
    probability = graph.arithmetic("Div", whole, graph.constant(float(len(model.estimators_))), whole)
    names = [str(value) for value in model.classes_]
    result = {
        "label": labels.label_of_largest(context, values, probability),
        "probability": Output(probability, "float64", names),
    }
    if has(model, "decision_function"):
        result["score"] = _score(context, model, matrix, names)
    return result


def _shares(context: Context, model: Any, matrix: Matrix, classes: int) -> Tensor:
    """The sum of the trees' class shares; a tree's classes are numbers of the whole's."""
    trees = []
    for _, estimator, features in _members(model):
        shares = estimator.tree_.value[:, 0, :]
        for place, target in enumerate(np.asarray(estimator.classes_, np.int64).tolist()):
            trees.append(on_features(tree_of(estimator, target, shares[:, place]), features))
    return tree_sums(context, matrix, trees, classes, rounding=to_float32)


def _part(context: Context, matrix: Matrix, entry: tuple[int, Any, np.ndarray], classes: int) -> Tensor:
    """One estimator's probabilities, or 1 for the class it says, `[rows, classes]`."""
    graph = context.graph
    number, estimator, features = entry
    made = answers(context, f"estimators_[{number}]", estimator, matrix.select(features.tolist()))
    if not has(estimator, "predict_proba"):
        said = graph.cast(column(context, made["label"].tensor), _INDEX)
        same = graph.node("Equal", [said, graph.constant(np.arange(classes)[None, :])], np.bool_, classes)
        return graph.cast(same, _DOUBLE)
    if "probability" not in made:
        raise context.refuse(estimator, "its probabilities have no compiled form")
    chance = graph.cast(made["probability"].tensor, _DOUBLE)
    known = np.asarray(estimator.classes_, np.int64).tolist()
    if len(known) == classes:
        return chance
    # Classes that this estimator did not see get nothing of it.
    zero = graph.arithmetic("Mul", graph.gather(chance, [0]), graph.constant(0.0), graph.gather(chance, [0]))
    wide = graph.concat([chance, zero])
    return graph.gather(wide, [known.index(name) if name in known else len(known) for name in range(classes)])


def _score(context: Context, model: Any, matrix: Matrix, names: list[str]) -> Output:
    parts = []
    for number, estimator, features in _members(model):
        made = answers(context, f"estimators_[{number}]", estimator, matrix.select(features.tolist()))
        if "score" not in made:
            raise context.refuse(estimator, "its decision_function has no compiled form")
        parts.append(context.graph.cast(column(context, made["score"].tensor), _DOUBLE))
    whole = total(context, parts)
    mean = context.graph.arithmetic("Div", whole, context.graph.constant(float(len(parts))), whole)
    return Output(mean, "float64", names if mean.width == len(names) else None)


@converter(f"{_MODULE}.BaggingRegressor")
def bagging_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean of the predictions."""
    graph, matrix = context.graph, as_array(matrix)
    if all(is_regressor_tree(estimator) for estimator in model.estimators_):
        targets = int(model.estimators_[0].n_outputs_)
        trees = [
            on_features(tree_of(estimator, target, estimator.tree_.value[:, target, 0]), features)
            for _, estimator, features in _members(model)
            for target in range(targets)
        ]
        whole = tree_sums(context, matrix, trees, targets, rounding=to_float32)
    else:
        parts = [
            graph.cast(
                column(
                    context, answers(context, f"estimators_[{n}]", e, matrix.select(f.tolist()))["prediction"].tensor
                ),
                _DOUBLE,
            )
            for n, e, f in _members(model)
        ]
        whole = total(context, parts)
    mean = graph.arithmetic("Div", whole, graph.constant(float(len(model.estimators_))), whole)
    return {"prediction": regression_output(mean)}
