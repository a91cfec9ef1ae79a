"""Multi-layer perceptrons: a product, a sum and a curve for each layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context, Output, converter
from .linear import regression_output

_DOUBLE = np.dtype(np.float64)
_MODULE = "sklearn.neural_network._multilayer_perceptron"


def _curve(context: Context, model: Any, values: Tensor, name: str) -> Tensor:
    if name == "identity":
        return values
    if name == "relu":
        return scaled(context, "Max", values, 0.0)
    if name == "softmax":
        return labels.softmax(context, values)
    if name == "logistic":
        return labels.sigmoid(context, values)
    operator = {"tanh": "Tanh", "exp": "Exp"}.get(name)
    if operator is None:
        raise context.refuse(model, f"its activation is {name}")
    return apply(context, operator, values)


def _forward(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """The last layer's values."""
    graph, values = context.graph, context.reader.ordered(matrix, _DOUBLE)
    last = len(model.coefs_) - 1
    for layer, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        constants = [graph.constant(points_of(weights)), graph.constant(np.asarray(biases, _DOUBLE))]
        values = graph.node("Gemm", [values, *constants], _DOUBLE, weights.shape[1])
        values = _curve(context, model, values, model.activation if layer < last else model.out_activation_)
    return values


@converter(f"{_MODULE}.MLPRegressor")
def perceptron_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The last layer's values themselves."""
    return {"prediction": regression_output(_forward(context, model, matrix))}


@converter(f"{_MODULE}.MLPClassifier")
def perceptron_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One sigmoid for two classes, softmax for more, a sigmoid a label for several labels a row."""
    graph = context.graph
    values = labels.class_values(context, model, model.classes_)
    shares = _forward(context, model, matrix)
    names = labels.class_names(values)
    above = graph.node("Greater", [shares, graph.constant(0.5)], np.bool_, shares.width)
    if model._label_binarizer.y_type_.startswith("multilabel"):
        return {
            "label": Output(graph.cast(above, np.int64), "int64", names),
            "probability": Output(shares, "float64", names),
        }
    if shares.width == 1:
        label, shares = labels.label_of_test(context, values, above), labels.both_probabilities(context, shares)
    else:
        label = labels.label_of_largest(context, values, shares)
    return {"label": label, "probability": Output(shares, "float64", names)}
