"""Calibrated classifiers: each fold's scores through its calibrators, the mean of the folds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, convert, converter
from .scale import cells
from .submodels import answers, average, response, shares, side_by_side

_DOUBLE = np.dtype(np.float64)


@converter("sklearn.calibration.CalibratedClassifierCV")
def calibrated_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The mean of the folds' probabilities, and the label of the largest."""
    values = labels.class_values(context, model, model.classes_)
    parts = [
        _fold(context.at(f"calibrated_classifiers_[{number}]"), fold, matrix)
        for number, fold in enumerate(model.calibrated_classifiers_)
    ]
    probability = average(context, parts, None)
    return {
        "label": labels.label_of_largest(context, values, probability),
        "probability": Output(probability, "float64", labels.class_names(np.asarray(model.classes_))),
    }


def _fold(context: Context, model: Any, matrix: Matrix) -> Tensor:
    graph, inner, count = context.graph, model.estimator, len(model.classes)
    if len(inner.classes_) != count:
        raise context.refuse(inner, "a fold of the calibration has not seen every class")
    made = answers(context, "estimator", inner, matrix)
    scores, method = response(context, inner, made, ("decision_function", "predict_proba"))
    scores = graph.cast(scores, _DOUBLE)
    if count == 2 and method == "predict_proba":
        scores = graph.gather(scores, [1])
    if model.method == "temperature":
        chances = _tempered(context, model, scores, method)
    else:
        chances = _calibrated(context, model, scores)
        chances = labels.both_probabilities(context, chances) if count == 2 else shares(context, chances, 1 / count)
    return _at_most_one(context, chances)


def _calibrated(context: Context, model: Any, scores: Tensor) -> Tensor:
    """Every class's score through its own calibrator; of two classes only the second."""
    graph = context.graph
    if model.method == "sigmoid":
        slopes = graph.constant([[float(one.a_) for one in model.calibrators]], _DOUBLE)
        offsets = graph.constant([[float(one.b_) for one in model.calibrators]], _DOUBLE)
        line = graph.arithmetic("Add", graph.arithmetic("Mul", slopes, scores, scores), offsets, scores)
        return labels.sigmoid(context, graph.node("Neg", [line], _DOUBLE, line.width))
    if model.method != "isotonic":
        raise context.refuse(model, f"its method is {model.method!r}")
    columns = []
    for number, one in enumerate(model.calibrators):
        score = graph.gather(scores, [number])
        made = convert(context.at(f"calibrators[{number}]"), one, Matrix(cells(score), _DOUBLE))
        columns.append(made["prediction"].tensor)
    return side_by_side(context, columns)


def _tempered(context: Context, model: Any, scores: Tensor, method: str) -> Tensor:
    """Softmax of the logits times one factor. Probabilities become logits, a lone score stands for both classes."""
    graph = context.graph
    if method == "predict_proba":
        chances = labels.both_probabilities(context, scores) if scores.width == 1 else scores
        shifted = graph.arithmetic("Add", chances, graph.constant(1e-12, _DOUBLE), chances)
        logits = graph.node("Log", [shifted], _DOUBLE, shifted.width)
    elif scores.width == 1:
        logits = graph.concat([graph.node("Neg", [scores], _DOUBLE, 1), scores])
    else:
        logits = scores
    factor = graph.constant(float(model.calibrators[0].beta_), _DOUBLE)
    return labels.softmax(context, graph.arithmetic("Mul", factor, logits, logits))


def _at_most_one(context: Context, chances: Tensor) -> Tensor:
    """A probability that rounding has lifted over 1 is 1."""
    graph = context.graph
    over = graph.node("Greater", [chances, graph.constant(1.0, _DOUBLE)], np.bool_, chances.width)
    near = graph.node("LessOrEqual", [chances, graph.constant(1.0 + 1e-5, _DOUBLE)], np.bool_, chances.width)
    both = graph.node("And", [over, near], np.bool_, chances.width)
    return graph.node("Where", [both, graph.constant(1.0, _DOUBLE), chances], _DOUBLE, chances.width)
