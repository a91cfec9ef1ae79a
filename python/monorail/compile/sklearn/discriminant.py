"""Discriminant analyses: linear scores, and a quadratic form for every class."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels, pairwise, reductions
from ..columns import Matrix
from ..pairwise import scaled
from ..registry import Context, Output, converter
from .linear import linear_scores, score_outputs
from .scale import cells

_DOUBLE = np.dtype(np.float64)
_MODULE = "sklearn.discriminant_analysis"


@converter(f"{_MODULE}.LinearDiscriminantAnalysis")
def linear_discriminant(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """Sigmoid of the score for two classes, softmax for more; the directions found as features."""
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    outputs: dict[str, Any] = dict(score_outputs(context, model, scores))
    if scores.width == 1:
        probability = labels.both_probabilities(context, labels.sigmoid(context, scores))
    else:
        probability = labels.softmax(context, scores)
    outputs["probability"] = Output(probability, "float64", [str(c) for c in model.classes_])
    if model.solver != "lsqr":
        x = context.reader.ordered(matrix, _DOUBLE)
        if model.solver == "svd":
            x = scaled(context, "Sub", x, model.xbar_)
        directions = np.asarray(model.scalings_, _DOUBLE)[:, : model._max_components]
        tensor = context.graph.cast(pairwise.products(context, x, directions.T), matrix.floating())
        outputs["features"] = Matrix(cells(tensor), tensor.dtype)
    return outputs


@converter(f"{_MODULE}.QuadraticDiscriminantAnalysis")
def quadratic_discriminant(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Squared distances in each class's own axes, plus what its shape and prior add."""
    graph, values = context.graph, labels.class_values(context, model, model.classes_)
    x = context.reader.ordered(matrix, _DOUBLE)
    parts = []
    for mean, axes, spread in zip(model.means_, model.rotations_, model.scalings_, strict=True):
        turned = pairwise.products(context, scaled(context, "Sub", x, mean), (axes * spread ** (-0.5)).T)
        parts.append(reductions.numpy_sum(context, graph.arithmetic("Mul", turned, turned, turned)))
    shapes = np.asarray([np.sum(np.log(spread)) for spread in model.scalings_], _DOUBLE)
    scores = scaled(context, "Mul", scaled(context, "Add", graph.concat(parts), shapes), -0.5)
    scores = scaled(context, "Add", scores, np.log(model.priors_))
    label = labels.label_of_largest(context, values, scores)
    return {"label": label} | labels.discriminant_outputs(context, values, scores)
