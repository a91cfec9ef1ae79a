"""Graphs of nearest training rows, and embeddings that place a new row by its neighbours."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import points_of, row_sum, scaled
from ..registry import Context, converter
from .maths import floats, where
from .nearest import reduced_distances, search, to_distance
from .project import centred_kernel, scaled_vectors

_DOUBLE, _INDEX, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_MOST_ROWS = 4_096
"""Largest number of training rows whose distances to each other become part of a graph."""
_MOST_NEIGHBOURS = 16


@converter("sklearn.neighbors._graph.KNeighborsTransformer")
def neighbors_graph(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """For every training row its distance, or 1, where it is among the nearest; else 0."""
    graph, distances = context.graph, model.mode == "distance"
    found = search(context, model, matrix, int(model.n_neighbors) + distances)
    count = len(points_of(model._fit_X))
    shape = graph.node("Shape", [found.indices], _INDEX, -1, attributes={"end": 1})
    whole = graph.node("Concat", [shape, graph.constant([count], _INDEX)], _INDEX, -1, attributes={"axis": 0})
    empty = graph.node("Expand", [graph.constant(0.0), whole], _DOUBLE, count)
    values = found.distances
    if not distances:
        values = where(context, graph.node("Equal", [found.indices] * 2, _BOOL, values.width), 1.0, 1.0, values)
    # Where the original finds too few, the first training row stands for several, and the sparse matrix adds them up.
    added = {"axis": 1, "reduction": "add"}
    spread = graph.node("ScatterElements", [empty, found.indices, values], _DOUBLE, count, attributes=added)
    return Matrix(floats(context, Matrix((), _DOUBLE), spread).features, _DOUBLE, True)


@converter("sklearn.neighbors._graph.RadiusNeighborsTransformer")
def radius_graph(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """For every training row its distance, or 1, where it lies within the radius; else 0."""
    reduced, power = reduced_distances(context, model, matrix)
    limit = float(model.radius)
    limit = limit * limit if power == 2 else limit**power
    hit = context.graph.node("LessOrEqual", [reduced, context.graph.constant(limit)], _BOOL, reduced.width)
    values = to_distance(context, reduced, power) if model.mode == "distance" else 1.0
    kept = where(context, hit, values, 0.0, reduced)
    return Matrix(floats(context, Matrix((), _DOUBLE), kept).features, _DOUBLE, True)


@converter("sklearn.manifold._isomap.Isomap")
def isomap(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The shortest way to every training row over the neighbours, as squared distances, projected."""
    if model.n_neighbors is None:
        raise context.refuse(model, "its neighbours are those within a radius, whose number differs from row to row")
    between = np.asarray(model.dist_matrix_, _DOUBLE)
    if len(between) > _MOST_ROWS:
        raise context.refuse(model, f"it was fitted on more than {_MOST_ROWS:,} rows, whose distances it keeps")
    graph = context.graph
    found = search(context, model.nbrs_, matrix, int(model.n_neighbors))
    ways = []
    for place in range(found.indices.width):
        rest = _rows(context, between, found.indices, place)
        step = graph.gather(found.distances, [place])
        ways.append(graph.arithmetic("Add", rest, step, rest))
    way = reduce(lambda left, right: graph.arithmetic("Min", left, right, right), ways)
    values = scaled(context, "Mul", graph.arithmetic("Mul", way, way, way), -0.5)
    centred = centred_kernel(context, model.kernel_pca_._centerer, values)
    alphas = scaled_vectors(model.kernel_pca_)
    scores = graph.node("MatMul", [centred, graph.constant(alphas, _DOUBLE)], _DOUBLE, alphas.shape[1])
    return floats(context, matrix, scores)


def _rows(context: Context, table: np.ndarray, indices: Tensor, place: int) -> Tensor:
    """The table's row for one neighbour of every row, `[rows, columns]`."""
    graph = context.graph
    flat = graph.node("Squeeze", [graph.gather(indices, [place]), graph.constant([1], _INDEX)], _INDEX, 0)
    return graph.node("Gather", [graph.constant(table), flat], _DOUBLE, table.shape[1], attributes={"axis": 0})


@converter("sklearn.manifold._locally_linear.LocallyLinearEmbedding")
def locally_linear(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The neighbours' places in the embedding, weighted so that their mean is nearest to the row."""
    count = int(model.n_neighbors)
    if count > _MOST_NEIGHBOURS:
        raise context.refuse(model, f"it weighs more than {_MOST_NEIGHBOURS} neighbours")
    graph, points = context.graph, points_of(model.nbrs_._fit_X)
    found = search(context, model.nbrs_, matrix, count)
    x = context.reader.ordered(matrix, _DOUBLE)
    apart = []
    for place in range(count):
        row = _rows(context, points, found.indices, place)
        apart.append(graph.arithmetic("Sub", row, x, x))
    gram = {}
    for i in range(count):
        for j in range(i + 1):
            gram[i, j] = row_sum(context, graph.arithmetic("Mul", apart[i], apart[j], x))
    trace = reduce(lambda left, right: graph.arithmetic("Add", left, right, right), [gram[i, i] for i in range(count)])
    some = graph.node("Greater", [trace, graph.constant(0.0)], _BOOL, 1)
    ridge = where(context, some, scaled(context, "Mul", trace, float(model.reg)), float(model.reg), trace)
    for i in range(count):
        gram[i, i] = graph.arithmetic("Add", gram[i, i], ridge, trace)
    weights = graph.concat(_solved(context, gram, count, trace))
    weights = graph.arithmetic("Div", weights, row_sum(context, weights), weights)
    places = np.ascontiguousarray(model.embedding_, _DOUBLE)
    parts = []
    for place in range(count):
        row = _rows(context, places, found.indices, place)
        parts.append(graph.arithmetic("Mul", row, graph.gather(weights, [place]), row))
    return floats(context, Matrix((), _DOUBLE), reduce(lambda a, b: graph.arithmetic("Add", a, b, b), parts))


def _solved(context: Context, gram: dict[tuple[int, int], Tensor], count: int, like: Tensor) -> list[Tensor]:
    """The solution of `gram @ w = 1` for every row, by Cholesky's factors written out; `gram` is its lower half."""
    graph, low = context.graph, {}

    def less(value: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return graph.arithmetic("Sub", value, graph.arithmetic("Mul", left, right, like), like)

    for j in range(count):
        for i in range(j, count):
            value = gram[i, j]
            for k in range(j):
                value = less(value, low[i, k], low[j, k])
            low[i, j] = (
                graph.node("Sqrt", [value], _DOUBLE, 1) if i == j else graph.arithmetic("Div", value, low[j, j], like)
            )
    one = where(context, graph.node("IsNaN", [like], _BOOL, 1), 1.0, 1.0, like)
    middle: list[Tensor] = []
    for i in range(count):
        value = one
        for k in range(i):
            value = less(value, low[i, k], middle[k])
        middle.append(graph.arithmetic("Div", value, low[i, i], like))
    solution = list(middle)
    for i in reversed(range(count)):
        value = middle[i]
        for k in range(i + 1, count):
            value = less(value, low[k, i], solution[k])
        solution[i] = graph.arithmetic("Div", value, low[i, i], like)
    return solution
