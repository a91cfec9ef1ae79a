"""Models that weigh training rows by a kernel: kernel ridge regression and label propagation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels, pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context, Output, converter
from .linear import regression_output
from .nearest import search
from .neighbors import gathered

_DOUBLE = np.dtype(np.float64)
_SEMI = "sklearn.semi_supervised._label_propagation"


@converter("sklearn.kernel_ridge.KernelRidge")
def kernel_ridge(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The kernel between rows and training rows times the dual coefficients."""
    x, points = context.reader.ordered(matrix, _DOUBLE), points_of(model.X_fit_)
    parameters = pairwise.kernel_parameters(model)
    kernel = pairwise.kernel(context, x, points, model.kernel, **parameters)
    dual = points_of(model.dual_coef_).reshape(len(points), -1)
    made = context.graph.node("MatMul", [kernel, context.graph.constant(dual)], _DOUBLE, dual.shape[1])
    return {"prediction": regression_output(made)}


def _fading(context: Context, x: Tensor, points: np.ndarray, gamma: float, kept: np.dtype) -> Tensor:
    """The rbf kernel with the points' lengths added first, as for a kernel of points against rows."""
    graph = context.graph
    crossed = scaled(context, "Mul", pairwise.products(context, x, points), -2.0)
    total = scaled(context, "Add", crossed, np.einsum("ij,ij->i", points, points))
    total = graph.arithmetic("Add", total, pairwise.squared_norms(context, x), total)
    total = graph.cast(total, kept)
    total = scaled(context, "Max", total, 0.0)
    return graph.cast(apply(context, "Exp", scaled(context, "Mul", total, -gamma)), _DOUBLE)


@converter(f"{_SEMI}.LabelPropagation", f"{_SEMI}.LabelSpreading")
def label_propagation(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Labels of the training rows, weighed by nearness."""
    graph, values = context.graph, labels.class_values(context, model, model.classes_)
    shares = np.asarray(model.label_distributions_, _DOUBLE)
    if model.kernel == "rbf":
        x = context.reader.ordered(matrix, _DOUBLE)
        weights = _fading(context, x, points_of(model.X_), float(model.gamma), matrix.floating())
        total = graph.node("MatMul", [weights, graph.constant(shares)], _DOUBLE, shares.shape[1])
    elif model.kernel == "knn":
        found = search(context, model.nn_fit, matrix, int(model.nn_fit.n_neighbors))
        total = gathered(context, found, shares, None, "ReduceSum")
    else:
        raise context.refuse(model, "its kernel is a Python function")
    share = graph.arithmetic("Div", total, pairwise.row_sum(context, total), total)
    return {
        "label": labels.label_of_largest(context, values, share),
        "probability": Output(share, "float64", labels.class_names(values)),
    }
