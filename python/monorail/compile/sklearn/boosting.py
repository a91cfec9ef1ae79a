"""Gradient boosting, both kinds: a starting value, then the trees, then the loss's own link."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..codes import codes_of_values
from ..columns import Cell, Feature, Matrix
from ..graph import Tensor
from ..nulls import is_missing
from ..registry import Context, Output, converter
from ..trees import Tree, constant_tree, tree_sums
from .submodels import answers, column
from .tree import as_array, to_float32, tree_of

_DOUBLE = np.dtype(np.float64)
_GB, _HGB = "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"


def _gradient_scores(context: Context, model: Any, matrix: Matrix) -> Tensor:
    init, matrix = model.init_, as_array(matrix)
    if isinstance(init, str) or type(init).__name__ in ("DummyClassifier", "DummyRegressor"):
        start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32)))[0]
        trees = [constant_tree(target, float(value)) for target, value in enumerate(start)]
        return tree_sums(context, matrix, trees + _stages(model), len(start), rounding=to_float32)
    sums = tree_sums(context, matrix, _stages(model), model.estimators_.shape[1], rounding=to_float32)
    start = _estimated_start(context, model, init, matrix)
    return context.graph.arithmetic("Add", start, sums, sums)


def _stages(model: Any) -> list[Tree]:
    return [
        tree_of(tree, target, model.learning_rate * tree.tree_.value[:, 0, 0])
        for stage in model.estimators_
        for target, tree in enumerate(stage)
    ]


def _estimated_start(context: Context, model: Any, init: Any, matrix: Matrix) -> Tensor:
    """The loss's link of what an estimator answers, which is given the float32 array that the trees read."""
    graph, single = context.graph, np.dtype(np.float32)
    tensor = context.reader.ordered(matrix, single)
    features = tuple(
        Feature(Cell(tensor, place), single, f.nullable, None if f.origin is None else f.origin.then(to_float32))
        for place, f in enumerate(matrix.features)
    )
    made = answers(context, "init_", init, Matrix(features, single))
    name = "prediction" if "prediction" in made else "probability"
    if name not in made:
        raise context.refuse(init, "its probabilities have no compiled form")
    first = column(context, made[name].tensor)
    if first.dtype == single or getattr(init, "coef_", np.zeros(0)).dtype == single:
        raise context.refuse(init, "it computes in float32 what the trees then correct, and no two sums round alike")
    if name == "prediction":
        return first
    chance = first
    if model.estimators_.shape[1] == 1:
        chance = graph.gather(chance, [1])
    # The original keeps shares away from 0 and 1 by what can just be told apart.
    little = float(np.finfo(np.float64).eps)
    least, most = graph.constant(little), graph.constant(1 - little)
    chance = graph.node("Clip", [chance, least, most], _DOUBLE, chance.width)
    if chance.width > 1:
        logarithm = graph.node("Log", [chance], _DOUBLE, chance.width)
        axes = graph.constant(np.asarray([1]))
        mean = graph.node("ReduceMean", [logarithm, axes], _DOUBLE, 1, attributes={"keepdims": 1})
        return graph.arithmetic("Sub", logarithm, mean, logarithm)
    rest = graph.arithmetic("Sub", graph.constant(np.ones(1)), chance, chance)
    odds = graph.node("Log", [graph.arithmetic("Div", chance, rest, chance)], _DOUBLE, 1)
    halved = model.loss == "exponential"
    return graph.arithmetic("Mul", odds, graph.constant(0.5), odds) if halved else odds


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
    if model.is_categorical_ is not None:
        matrix = _encoded(context, model, matrix)
    start = np.asarray(model._baseline_prediction, np.float64).ravel()
    trees = [constant_tree(target, float(value)) for target, value in enumerate(start)]
    for stage in model._predictors:
        trees += [_histogram_tree(predictor, target) for target, predictor in enumerate(stage)]
    return tree_sums(context, matrix, trees, len(start))


def _encoded(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Codes of the categories, then the numbers: the order in which the trees count features.

    A category that training did not see is as a missing one.
    """
    chosen = np.asarray(model.is_categorical_, bool)
    known = model._preprocessor.named_transformers_["encoder"].categories_
    codes = []
    for number, categories in zip(np.flatnonzero(chosen).tolist(), known, strict=True):
        kept = [category for category in np.asarray(categories).tolist() if not is_missing(category)]
        codes.append(codes_of_values(context, matrix.features[number], kept, missing=np.nan, unknown=np.nan))
    numbers = [matrix.features[number] for number in np.flatnonzero(~chosen).tolist()]
    return Matrix((*codes, *numbers))


def _histogram_tree(predictor: Any, target: int) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    inner, number = np.flatnonzero(~leaf), np.empty(len(nodes), np.int64)
    number[~leaf] = np.arange(len(inner))
    number[leaf] = -1 - np.arange(int(leaf.sum()))
    chosen = nodes[inner]
    bits = np.ascontiguousarray(predictor.raw_left_cat_bitsets).view(np.uint8)
    members = {
        place: np.flatnonzero(np.unpackbits(bits[chosen["bitset_idx"][place]], bitorder="little"))
        for place in np.flatnonzero(chosen["is_categorical"]).tolist()
    }
    return Tree(
        target,
        chosen["feature_idx"].astype(np.int64),
        chosen["num_threshold"].astype(np.float64),
        chosen["missing_go_to_left"].astype(bool),
        number[chosen["left"].astype(np.int64)],
        number[chosen["right"].astype(np.int64)],
        nodes["value"][leaf].astype(np.float64),
        members,
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
