"""Steps that bend a feature's scale: powers and quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, scaled
from ..registry import Context, converter
from .maths import count_below, expm1, floats, log1p, normal_quantile, where
from .scale import cells, standard_scaler

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)
_EDGE = 1e-7
"""How near to the ends of the fitted range a value counts as outside, on the way to a normal distribution."""


@converter("sklearn.preprocessing._data.PowerTransformer")
def power_transformer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Box-Cox or Yeo-Johnson with each feature's lambda, then scaled if asked."""
    tensor = context.reader.ordered(matrix, _DOUBLE)
    lambdas = np.asarray(model.lambdas_, _DOUBLE)
    make = _box_cox if model.method == "box-cox" else _yeo_johnson
    result = floats(context, matrix, make(context, tensor, lambdas))
    return standard_scaler(context, model._scaler, result) if model.standardize else result


def _box_cox(context: Context, x: Tensor, lambdas: np.ndarray) -> Tensor:
    return _bent(context, apply(context, "Log", x), lambdas, 1e-19)


def _yeo_johnson(context: Context, x: Tensor, lambdas: np.ndarray) -> Tensor:
    limit = float(np.finfo(np.float64).eps)
    size = log1p(context, apply(context, "Abs", x))
    above = _bent(context, size, lambdas, limit)
    below = apply(context, "Neg", _bent(context, size, 2 - lambdas, limit))
    negative = context.graph.node("Less", [x, context.graph.constant(0.0)], np.bool_, x.width)
    return where(context, negative, below, above, x)


def _bent(context: Context, logarithm: Tensor, powers: np.ndarray, limit: float) -> Tensor:
    """`expm1(power * logarithm) / power`, or the logarithm itself where the power is as good as zero."""
    flat = np.abs(powers) < limit
    safe = np.where(flat, 1.0, powers)
    curved = scaled(context, "Div", expm1(context, scaled(context, "Mul", logarithm, safe)), safe)
    if not flat.any():
        return curved
    return where(
        context, Tensor(context.graph.constant(flat), np.dtype(np.bool_), len(flat)), logarithm, curved, curved
    )


@converter("sklearn.preprocessing._data.QuantileTransformer")
def quantile_transformer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Where the value lies among the fitted quantiles: the mean of looking up from below and from above."""
    graph, kept = context.graph, matrix.floating()
    quantiles, references = np.asarray(model.quantiles_, _DOUBLE), np.asarray(model.references_, _DOUBLE)
    columns = list(quantiles.T)
    narrow = context.reader.ordered(matrix, kept)
    x = graph.cast(narrow, _DOUBLE)
    upward = _interpolated(context, matrix, x, columns, references, equal=True)
    downward = _interpolated(context, matrix, x, columns, references, equal=False)
    share = scaled(context, "Mul", graph.arithmetic("Add", upward, downward, x), 0.5)
    normal = model.output_distribution == "normal"
    low, high = quantiles[0].astype(kept), quantiles[-1].astype(kept)
    share = where(context, _outside(context, narrow, high, +_EDGE, normal), 1.0, share, x)
    share = where(context, _outside(context, narrow, low, -_EDGE, normal), 0.0, share, x)
    if normal:
        edge = _EDGE - np.spacing(1)
        # In single precision the share is rounded before its quantile is looked up.
        share = graph.cast(graph.cast(share, kept), _DOUBLE)
        share = graph.node("Clip", [share, graph.constant(edge), graph.constant(1 - edge)], _DOUBLE, x.width)
        share = normal_quantile(context, share)
    if matrix.sparse:
        # Of a sparse matrix the original transforms only what is stored.
        none = graph.node("Equal", [x, graph.constant(0.0)], np.bool_, x.width)
        share = where(context, none, 0.0, share, x)
    return Matrix(cells(graph.cast(share, kept), list(matrix.features)), kept, matrix.sparse)


def _outside(context: Context, x: Tensor, limits: np.ndarray, shift: float, normal: bool) -> Tensor:
    """Whether a value counts as the end of the fitted range."""
    constant = context.graph.constant(limits)
    if not normal:
        return context.graph.node("Equal", [x, constant], np.bool_, x.width)
    operator = "Greater" if shift > 0 else "Less"
    return context.graph.node(operator, [scaled(context, "Add", x, shift), constant], np.bool_, x.width)


def _interpolated(
    context: Context, matrix: Matrix, x: Tensor, columns: list[np.ndarray], references: np.ndarray, *, equal: bool
) -> Tensor:
    """`numpy.interp` of each feature: the last quantile at or below it, or (not `equal`) the first at or above it."""
    graph, count = context.graph, len(references)
    place = graph.cast(count_below(context, matrix, columns, equal=equal), _INDEX)
    width = count + 1
    # One table for all features: entry `i` is for a value that has `i` quantiles below it.
    starts, heights, slopes = (np.zeros((len(columns), width)) for _ in range(3))
    for row, quantiles in enumerate(columns):
        with np.errstate(all="ignore"):
            rises = np.diff(references) / np.diff(quantiles)
        heights[row, 0], heights[row, -1] = references[0], references[-1]
        inner = slice(0, -1) if equal else slice(1, None)
        starts[row, 1:-1], heights[row, 1:-1] = quantiles[inner], references[inner]
        slopes[row, 1:-1] = np.where(np.isfinite(rises), rises, 0.0)
    offset = graph.constant(np.arange(len(columns)) * width, _INDEX)
    index = graph.arithmetic("Add", place, offset, place)

    def taken(table: np.ndarray) -> Tensor:
        return graph.node(
            "Gather", [graph.constant(table.ravel()), index], _DOUBLE, len(columns), attributes={"axis": 0}
        )

    apart = graph.arithmetic("Sub", x, taken(starts), x)
    rise = graph.arithmetic("Mul", taken(slopes), apart, x)
    return graph.arithmetic("Add", rise, taken(heights), x)
