"""Clusterings that place new rows: the nearest of fixed centres, and a descent through pairs of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels, pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context, Output, converter
from .scale import cells

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)
_CLUSTER = "sklearn.cluster"


def ranked_distances(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Squared distances less the row's own length: `-2 x y + yy`, which keeps their order."""
    crossed = scaled(context, "Mul", pairwise.products(context, x, points), -2.0)
    return scaled(context, "Add", crossed, np.einsum("ij,ij->i", points, points))


def nearest(context: Context, distances: Tensor) -> Tensor:
    """The place of the smallest column, the first of equals, `[rows]`."""
    return context.graph.node("ArgMin", [distances], _INDEX, 0, attributes={"axis": 1, "keepdims": 0})


def nearest_by_search(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """The nearest point as a search for it computes: both lengths are added, which may make equals of neighbours."""
    return nearest(context, pairwise.searched_distances(context, x, points))


def distances_to(context: Context, matrix: Matrix, points: np.ndarray) -> Matrix:
    """Euclidean distances to points as features: what `transform` of a clustering gives."""
    x, kept = context.reader.ordered(matrix, _DOUBLE), matrix.floating()
    squared = context.graph.cast(pairwise.squared_by_product(context, x, points_of(points)), kept)
    tensor = apply(context, "Sqrt", squared)
    return Matrix(cells(tensor), tensor.dtype)


def _rows_and_centers(context: Context, model: Any, matrix: Matrix) -> tuple[Tensor, np.ndarray]:
    """The rows and the centres in the precision that the original computes in."""
    centers = np.asarray(model.cluster_centers_)
    kept = np.result_type(matrix.floating(), centers.dtype)
    return context.reader.ordered(matrix, kept), centers.astype(kept)


@converter(f"{_CLUSTER}._kmeans.KMeans", f"{_CLUSTER}._kmeans.MiniBatchKMeans")
def k_means(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The nearest centre."""
    x, centers = _rows_and_centers(context, model, matrix)
    index = nearest(context, ranked_distances(context, x, centers))
    values = np.arange(len(centers), dtype=np.int32)
    return {
        "label": labels.label_of_index(context, values, index),
        "features": distances_to(context, matrix, centers),
    }


@converter(f"{_CLUSTER}._bisect_k_means.BisectingKMeans")
def bisecting_k_means(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """Left or right at every split of the tree, then down it."""
    graph = context.graph
    x, centers = _rows_and_centers(context, model, matrix)
    shift = np.asarray(getattr(model, "_X_mean", 0.0))
    splits: list[Any] = []
    waiting = [model._bisecting_tree]
    while waiting:
        node = waiting.pop()
        if node.left is not None:
            splits.append(node)
            waiting += [node.left, node.right]
    label = graph.node("Mul", [graph.cast(graph.gather(x, [0]), _INDEX), graph.constant(0, _INDEX)], _INDEX, 1)
    if splits:
        pairs = np.asarray([side.center + shift for node in splits for side in (node.left, node.right)], x.dtype)
        distances = ranked_distances(context, x, pairs)
        left = graph.gather(distances, range(0, len(pairs), 2))
        right = graph.gather(distances, range(1, len(pairs), 2))
        label = _descend(context, splits, graph.node("Less", [right, left], np.bool_, len(splits)))
    return {
        "label": Output(graph.cast(label, np.int32), "int32"),
        "features": distances_to(context, matrix, centers),
    }


def _descend(context: Context, splits: list[Any], goes_right: Tensor) -> Tensor:
    """The label of the leaf that a row reaches; parents come before children in `splits`."""
    graph = context.graph
    reached: dict[int, Tensor | str] = {}
    for number in reversed(range(len(splits))):
        node, test = splits[number], graph.gather(goes_right, [number])
        ends = [
            graph.constant(np.asarray([side.label]), _INDEX) if side.left is None else reached[id(side)]
            for side in (node.right, node.left)
        ]
        reached[id(node)] = graph.node("Where", [test, *ends], _INDEX, 1)
    top = reached[id(splits[0])]
    if not isinstance(top, Tensor):
        raise TypeError("a split is a tensor")
    return top


@converter(f"{_CLUSTER}._affinity_propagation.AffinityPropagation", f"{_CLUSTER}._mean_shift.MeanShift")
def nearest_centre(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The nearest centre as a neighbour search finds it."""
    if not hasattr(model, "cluster_centers_") or model.cluster_centers_.shape[0] == 0:
        raise context.refuse(model, "it found no centres")
    x, centers = context.reader.ordered(matrix, _DOUBLE), points_of(model.cluster_centers_)
    index = nearest_by_search(context, x, centers)
    return {"label": labels.label_of_index(context, np.arange(len(centers)), index)}


@converter(f"{_CLUSTER}._birch.Birch")
def birch(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The cluster that the nearest subcluster belongs to."""
    x, centers = context.reader.ordered(matrix, _DOUBLE), points_of(model.subcluster_centers_)
    index = nearest_by_search(context, x, centers)
    values = labels.class_values(context, model, model.subcluster_labels_)
    return {
        "label": labels.label_of_index(context, values, index),
        "features": distances_to(context, matrix, centers),
    }
