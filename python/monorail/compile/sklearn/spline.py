"""B-splines: every feature becomes the values of its basis functions, by de Boor's recursion in scipy's own order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import scaled
from ..registry import Context, converter
from .maths import count_below, where
from .scale import cells

_DOUBLE, _INDEX, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)


@dataclass
class _Basis:
    """The fitted splines of all features: `knots` is `[features, knots]`, `splines` functions a feature."""

    knots: np.ndarray
    degree: int
    splines: int

    @property
    def low(self) -> np.ndarray:
        return self.knots[:, self.degree]

    @property
    def high(self) -> np.ndarray:
        return self.knots[:, -self.degree - 1]

    def edges(self, linear: bool) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Where a feature is continued below and above, and how many functions are continued.

        Linear continuation of a degree below 2 needs one function more. The original then counts it for the features
        that follow as part of the degree, which also moves their edges inwards; answers must be the same.
        """
        low, high, reach, degree = [], [], [], self.degree
        for knots in self.knots:
            low.append(knots[degree])
            high.append(knots[-degree - 1])
            degree += 1 if linear and degree <= 1 else 0
            reach.append(degree)
        return np.asarray(low), np.asarray(high), reach


@converter("sklearn.preprocessing._polynomial.SplineTransformer")
def spline_transformer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The basis functions of each feature in turn, continued beyond the fitted range as the step was told."""
    graph, kept = context.graph, matrix.floating()
    first = model.bsplines_[0]
    basis = _Basis(
        np.stack([np.asarray(spline.t, _DOUBLE) for spline in model.bsplines_]), int(first.k), int(first.c.shape[1])
    )
    x = context.reader.ordered(matrix, _DOUBLE)
    flat = model.extrapolation in ("constant", "linear")
    inside = x
    if model.extrapolation == "periodic":
        inside = _periodic(context, model, x, basis)
        matrix_inside = Matrix(cells(inside, list(matrix.features)), _DOUBLE)
    else:
        matrix_inside = matrix
    if flat:
        raised = scaled(context, "Max", x, basis.low)
        inside = scaled(context, "Min", raised, basis.high)
    place = count_below(context, matrix_inside, list(basis.knots[:, basis.degree + 1 : -basis.degree - 1]), equal=True)
    values = _spread(context, basis, place, _recursion(context, basis, place, inside), bool(model.sparse_output))
    if flat:
        values = _beyond(context, model, basis, x, values)
    if model.handle_missing == "zeros":
        missing = _repeated(context, graph.node("IsNaN", [x], _BOOL, x.width), basis.splines)
        values = where(context, missing, 0.0, values, values)
    if not model.include_bias:
        values = graph.gather(values, [i for i in range(values.width) if (i + 1) % basis.splines])
    return Matrix(cells(graph.cast(values, kept), list(matrix.features)), kept, bool(model.sparse_output))


def _periodic(context: Context, model: Any, x: Tensor, basis: _Basis) -> Tensor:
    """Values moved into the fitted range by whole periods; Python's remainder has the sign of the divisor."""
    graph, period = context.graph, basis.high - basis.low
    if np.any(period <= 0):
        raise context.refuse(model, "a feature with a single value has no period")
    apart = scaled(context, "Sub", x, basis.low)
    rest = graph.node("Mod", [apart, graph.constant(period)], _DOUBLE, x.width, attributes={"fmod": 1})
    negative = graph.node("Less", [rest, graph.constant(0.0)], _BOOL, x.width)
    rest = where(context, negative, scaled(context, "Add", rest, period), rest, rest)
    return graph.node("Add", [graph.constant(basis.low), rest], _DOUBLE, x.width)


def _recursion(context: Context, basis: _Basis, place: Tensor, x: Tensor) -> list[Tensor]:
    """The `degree + 1` functions that are not zero where each value lies."""
    graph, degree, width = context.graph, basis.degree, basis.knots.shape[1]
    start = graph.constant(np.arange(len(basis.knots)) * width + degree, _INDEX)
    interval = graph.node("Add", [graph.cast(place, _INDEX), start], _INDEX, x.width)
    table = graph.constant(basis.knots.ravel())
    repeats = bool(np.any(np.diff(basis.knots, axis=1) == 0))

    def knot(offset: int) -> Tensor:
        moved = interval if offset == 0 else scaled(context, "Add", interval, offset)
        return graph.node("Gather", [table, moved], _DOUBLE, x.width, attributes={"axis": 0})

    values = [where(context, graph.node("IsNaN", [x], _BOOL, x.width), 1.0, 1.0, x)]
    for order in range(1, degree + 1):
        before, values = values, [scaled(context, "Mul", x, 0.0)] * (order + 1)
        left: Tensor | None = None
        for number in range(1, order + 1):
            above, below = knot(number), knot(number - order)
            share = graph.arithmetic("Div", before[number - 1], graph.arithmetic("Sub", above, below, x), x)
            if repeats:
                share = where(context, graph.node("Equal", [above, below], _BOOL, x.width), 0.0, share, x)
            fall = graph.arithmetic("Mul", share, graph.arithmetic("Sub", above, x, x), x)
            values[number - 1] = fall if left is None else graph.arithmetic("Add", left, fall, x)
            left = graph.arithmetic("Mul", share, graph.arithmetic("Sub", x, below, x), x)
            values[number] = left
    return values


def _repeated(context: Context, tensor: Tensor, times: int) -> Tensor:
    """Each column as many times in a row."""
    return context.graph.gather(tensor, np.repeat(np.arange(tensor.width), times).tolist())


def _spread(context: Context, basis: _Basis, place: Tensor, values: list[Tensor], sparse: bool) -> Tensor:
    """`[rows, features * splines]`: the functions that are not zero in their places, zero elsewhere.

    The dense original multiplies by zero, which makes infinities undefined; the sparse one leaves out.
    """
    graph, count = context.graph, basis.splines
    numbers = graph.constant(np.tile(np.arange(count, dtype=np.float64), place.width))
    wide = _repeated(context, place, count)
    parts = []
    for offset, value in enumerate(values):
        index = wide if offset == 0 else scaled(context, "Add", wide, float(offset))
        # Periodic splines have fewer functions than intervals reach: the last are the first again.
        past = graph.node("GreaterOrEqual", [index, graph.constant(float(count))], _BOOL, wide.width)
        index = where(context, past, scaled(context, "Sub", index, float(count)), index, index)
        here = graph.node("Equal", [index, numbers], _BOOL, wide.width)
        spread = _repeated(context, value, count)
        if sparse:
            parts.append(where(context, here, spread, 0.0, spread))
        else:
            parts.append(graph.arithmetic("Mul", graph.cast(here, _DOUBLE), spread, spread))
    return reduce(lambda left, right: graph.arithmetic("Add", left, right, right), parts)


def _beyond(context: Context, model: Any, basis: _Basis, x: Tensor, values: Tensor) -> Tensor:
    """Constant or linear continuation: only the functions next to the edge are not zero there."""
    count, linear = basis.splines, model.extrapolation == "linear"
    low, high, reach = basis.edges(linear)
    wide = _repeated(context, x, count)
    for operator, limits in (("Less", low), ("Greater", high)):
        heights, slopes = np.zeros((len(limits), count)), np.zeros((len(limits), count))
        for row, (spline, limit) in enumerate(zip(model.bsplines_, limits, strict=True)):
            kept = slice(0, reach[row]) if operator == "Less" else slice(count - reach[row], count)
            heights[row, kept] = spline(limit)[kept]
            if linear:
                slopes[row, kept] = spline(limit, nu=1)[kept]
        repeated = np.repeat(limits, count)
        apart = scaled(context, "Sub", wide, repeated)
        line = scaled(context, "Add", scaled(context, "Mul", apart, slopes.ravel()), heights.ravel())
        outside = context.graph.node(operator, [wide, context.graph.constant(repeated)], _BOOL, wide.width)
        values = where(context, outside, line, values, values)
    return values
