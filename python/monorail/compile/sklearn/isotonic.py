"""Isotonic regression: the interval of a value by a tree search, then a straight line between its ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from ..trees import Tree, tree_sums
from .scale import cells

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)


def intervals(context: Context, matrix: Matrix, edges: np.ndarray) -> Tensor:
    """How many of the rising edges are not above the first feature's value, `[rows, 1]` int64."""
    count = len(edges)
    left, right = np.zeros(count, np.int64), np.zeros(count, np.int64)
    order: list[int] = []
    number: dict[tuple[int, int], int] = {}
    waiting = [(0, count)]
    while waiting:
        low, high = waiting.pop()
        number[low, high] = len(order)
        middle = (low + high) // 2
        order.append(middle)
        waiting += [part for part in ((low, middle), (middle + 1, high)) if part[0] < part[1]]
    for (low, high), node in number.items():
        middle = order[node]
        left[node] = number.get((low, middle), -1 - low)
        right[node] = number.get((middle + 1, high), -1 - high)
    below = np.nextafter(edges, -np.inf)[order]
    none = np.zeros(count, bool)
    tree = Tree(0, np.zeros(count, np.int64), below, none, left, right, np.arange(count + 1, dtype=np.float64))
    return context.graph.cast(tree_sums(context, matrix, [tree], 1), _INDEX)


def _looked_up(context: Context, values: np.ndarray, index: Tensor) -> Tensor:
    constant = context.graph.constant(np.asarray(values, _DOUBLE))
    return context.graph.node("Gather", [constant, index], _DOUBLE, 1, attributes={"axis": 0})


@converter("sklearn.isotonic.IsotonicRegression")
def isotonic_regression(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """Linear between thresholds; outside them clipped, unknown (NaN), or refused by the original (`raise`)."""
    graph = context.graph
    edges, heights = np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)
    if edges.dtype != _DOUBLE:
        raise context.refuse(model, "it was fitted on float32, in which it interpolates")
    x = context.reader.ordered(matrix.select([0]), _DOUBLE)
    index = intervals(context, matrix.select([0]), edges)
    last = len(edges) - 1
    if last == 0:
        made = _looked_up(context, np.repeat(heights, 2), index)
    else:
        with np.errstate(all="ignore"):
            slopes = np.append(np.diff(heights) / np.diff(edges), 0.0)
        place = graph.node("Sub", [index, graph.constant(1, _INDEX)], _INDEX, 1)
        place = graph.node("Max", [place, graph.constant(0, _INDEX)], _INDEX, 1)
        apart = graph.arithmetic("Sub", x, _looked_up(context, edges, place), x)
        risen = graph.arithmetic("Mul", _looked_up(context, slopes, place), apart, apart)
        made = graph.arithmetic("Add", risen, _looked_up(context, heights, place), risen)
        made = _outside(context, model, x, made, (edges, heights))
    return {"prediction": Output(made, "float64"), "features": Matrix(cells(made), _DOUBLE)}


def _outside(context: Context, model: Any, x: Tensor, made: Tensor, ends: tuple[np.ndarray, np.ndarray]) -> Tensor:
    graph, clips = context.graph, model.out_of_bounds == "clip"
    edges, heights = ends
    unknown = float("nan")
    low, high = (float(heights[0]), float(heights[-1])) if clips else (unknown, unknown)
    under = graph.node("Less", [x, graph.constant(float(edges[0]))], np.bool_, 1)
    over = graph.node("Greater", [x, graph.constant(float(edges[-1]))], np.bool_, 1)
    made = graph.node("Where", [under, graph.constant(low), made], _DOUBLE, 1)
    return graph.node("Where", [over, graph.constant(high), made], _DOUBLE, 1)
