"""The nearest training rows as the original's search finds them: its distances to the last bit, its order of equals.

Trees add the distance up feature by feature; a search through all rows expands the square into a product. Rows too far
for a number to hold are nobody's neighbours: the search then answers with the first training row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)


@dataclass(frozen=True)
class Found:
    """Neighbours of every row: which training rows, and how far, nearest first; `[rows, neighbours]`."""

    indices: Tensor
    distances: Tensor


def reduced_distances(context: Context, model: Any, matrix: Matrix) -> tuple[Tensor, float]:
    """`[rows, n]`: distances before their root, in the original's arithmetic, and the power of that root."""
    graph, x = context.graph, context.reader.ordered(matrix, _DOUBLE)
    metric, parameters = model.effective_metric_, model.effective_metric_params_
    if not isinstance(metric, str):
        raise context.refuse(model, "its metric is a Python function")
    points = points_of(model._fit_X)
    brute = model._fit_method == "brute"
    if metric == "euclidean":
        if not brute:
            return pairwise.squared_differences(context, x, points), 2.0
        crossed = scaled(context, "Mul", pairwise.products(context, x, points), -2.0)
        total = graph.arithmetic("Add", pairwise.squared_norms(context, x), crossed, crossed)
        total = scaled(context, "Add", total, np.einsum("ij,ij->i", points, points))
        return scaled(context, "Max", total, 0.0), 2.0
    if metric in ("manhattan", "cityblock", "l1"):
        return pairwise.manhattan(context, x, points), 1.0
    if metric in ("chebyshev", "infinity"):
        return pairwise.chebyshev(context, x, points), 1.0
    if metric == "minkowski":
        power = float(parameters["p"])
        return pairwise.powered(context, x, points, power, parameters.get("w")), power
    if metric == "cosine":
        apart = scaled(context, "Add", apply(context, "Neg", pairwise.cosine_similarity(context, x, points)), 1.0)
        bounds = [graph.constant(0.0), graph.constant(2.0)]
        return graph.node("Clip", [apart, *bounds], _DOUBLE, apart.width), 1.0
    raise context.refuse(model, f"its metric is {metric!r}")


def to_distance(context: Context, reduced: Tensor, power: float) -> Tensor:
    """The root of reduced distances."""
    if power == 1:
        return reduced
    return apply(context, "Sqrt", reduced) if power == 2 else scaled(context, "Pow", reduced, 1.0 / power)


def search(context: Context, model: Any, matrix: Matrix, count: int) -> Found:
    """The `count` nearest training rows.

    Args:
        context: the step being compiled.
        model: a fitted neighbours estimator.
        matrix: the rows.
        count: how many neighbours.
    """
    graph = context.graph
    reduced, power = reduced_distances(context, model, matrix)
    order = np.arange(reduced.width)
    if model._tree is not None:
        order = np.asarray(model._tree.get_arrays()[1], _INDEX)
        reduced = graph.gather(reduced, order.tolist())
    kept = [(_DOUBLE, count), (_INDEX, count)]
    attributes = {"axis": 1, "largest": 0, "sorted": 1}
    values, places = graph.several("TopK", [reduced, graph.constant([count], _INDEX)], kept, attributes=attributes)
    indices = graph.node("Gather", [graph.constant(order, _INDEX), places], _INDEX, count, attributes={"axis": 0})
    lost = graph.node("IsInf", [values], np.bool_, count)
    indices = graph.node("Where", [lost, graph.constant(0, _INDEX), indices], _INDEX, count)
    if model._tree is None:
        values = graph.node("Where", [lost, graph.constant(np.finfo(_DOUBLE).max), values], _DOUBLE, count)
    return Found(indices, to_distance(context, values, power))
