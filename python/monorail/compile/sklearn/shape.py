"""Steps that work on a row or threshold it: normalising, binarising, polynomial terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Cell, Matrix
from ..graph import Tensor
from ..registry import Context, converter
from ..trees import largest_left
from .scale import cells


@converter("sklearn.preprocessing._data.Normalizer")
def normalizer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Each row divided by its norm; a row of zeros stays."""
    graph, dtype = context.graph, matrix.floating()
    tensor = context.reader.ordered(matrix, dtype)
    axes = graph.constant([1], np.dtype(np.int64))
    keep = {"keepdims": 1}
    size = graph.node("Abs", [tensor], dtype, tensor.width)
    if model.norm == "l1":
        norm = graph.node("ReduceSum", [size, axes], dtype, 1, attributes=keep)
    elif model.norm == "max":
        norm = graph.node("ReduceMax", [size, axes], dtype, 1, attributes=keep)
    else:
        square = graph.arithmetic("Mul", tensor, tensor, tensor)
        total = graph.node("ReduceSum", [square, axes], dtype, 1, attributes=keep)
        norm = graph.node("Sqrt", [total], dtype, 1)
    limit = graph.constant(10 * np.finfo(dtype).eps, dtype)
    tiny = graph.node("Less", [norm, limit], np.bool_, 1)
    norm = graph.node("Where", [tiny, graph.constant(1.0, dtype), norm], dtype, 1)
    return Matrix(cells(graph.arithmetic("Div", tensor, norm, tensor), list(matrix.features)), dtype, matrix.sparse)


@converter("sklearn.preprocessing._data.Binarizer")
def binarizer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """1 above the threshold, else 0."""
    graph, dtype = context.graph, matrix.common()
    compared = np.result_type(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.float64)
    dense = context.reader.dense(matrix, compared)
    threshold = np.asarray(model.threshold, compared)
    above = graph.node("Greater", [dense.tensor, graph.constant(threshold)], np.bool_, dense.tensor.width)
    tensor = graph.cast(above, dtype)
    for feature in matrix.features:
        if feature.origin is not None:
            origin = feature.origin
            left = largest_left(origin.column.dtype, origin.forward, np.asarray([float(threshold)]))
            context.split(origin.column.name, origin.element, left)
    features = tuple(
        replace(feature, source=Cell(tensor, position), dtype=dtype, origin=None)
        for feature, position in zip(matrix.features, dense.positions, strict=True)
    )
    return Matrix(features, dtype, matrix.sparse)


@converter("sklearn.preprocessing._polynomial.PolynomialFeatures")
def polynomial_features(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Products of features, each made from the one without its first factor, as the original makes them."""
    graph, dtype = context.graph, matrix.floating()
    base = context.reader.ordered(matrix, dtype)
    terms = [tuple(np.repeat(np.arange(matrix.width), row).tolist()) for row in model.powers_]
    needed = {term[start:] for term in terms for start in range(len(term))}
    place: dict[tuple[int, ...], tuple[Tensor, int]] = {(i,): (base, i) for i in range(matrix.width)}
    previous = base
    for degree in range(2, max((len(term) for term in needed), default=1) + 1):
        wanted = sorted(term for term in needed if len(term) == degree)
        rest = graph.gather(previous, [place[term[1:]][1] for term in wanted])
        first = graph.gather(base, [term[0] for term in wanted])
        previous = graph.arithmetic("Mul", rest, first, rest)
        place.update({term: (previous, number) for number, term in enumerate(wanted)})
    place[()] = _ones(context, base)
    source = matrix.features
    nullable = any(feature.nullable for feature in source)
    features = []
    for term in terms:
        tensor, index = place[term]
        if len(term) == 1:
            features.append(replace(source[term[0]], source=Cell(tensor, index), dtype=dtype, name=""))
        else:
            features.append(replace(cells(tensor)[index], nullable=nullable))
    return Matrix(tuple(features), dtype)


def _ones(context: Context, like: Tensor) -> tuple[Tensor, int]:
    """A column of ones with as many rows as another tensor, whatever that holds."""
    graph = context.graph
    same = graph.node("Equal", [graph.gather(like, [0]), graph.gather(like, [0])], np.bool_, 1)
    one = graph.constant([[1.0]], like.dtype)
    return graph.node("Where", [same, one, one], like.dtype, 1), 0
