"""Partial least squares and canonical correlation: centred rows times fixed weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import scaled
from ..registry import Context, converter
from .linear import regression_output
from .scale import cells

_DOUBLE = np.dtype(np.float64)
_PLS = "sklearn.cross_decomposition._pls"


def _scores(context: Context, model: Any, matrix: Matrix, weights: Any) -> Matrix:
    """Rows on the model's axes."""
    centred = scaled(context, "Sub", context.reader.ordered(matrix, _DOUBLE), model._x_mean)
    tensor = pairwise.products(context, scaled(context, "Div", centred, model._x_std), np.asarray(weights).T)
    return Matrix(cells(tensor), _DOUBLE)


@converter(*(f"{_PLS}.{name}" for name in ("PLSRegression", "PLSCanonical", "CCA")))
def partial_least_squares(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """One product of the centred rows for the targets, one for the scores."""
    graph, weights = context.graph, np.asarray(model.coef_, _DOUBLE)
    centred: Tensor = scaled(context, "Sub", context.reader.ordered(matrix, _DOUBLE), model._x_mean)
    constants = [graph.constant(np.ascontiguousarray(weights.T)), graph.constant(np.asarray(model.intercept_, _DOUBLE))]
    made = graph.node("Gemm", [centred, *constants], _DOUBLE, len(weights))
    return {
        "prediction": regression_output(made),
        "features": _scores(context, model, matrix, model.x_rotations_),
    }


@converter(f"{_PLS}.PLSSVD")
def singular_vectors(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Scores alone."""
    return _scores(context, model, matrix, model.x_weights_)
