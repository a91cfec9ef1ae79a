"""Functions the runtime has no float64 operator for, and products with fixed matrices, for all converters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, scaled
from ..registry import Context
from ..trees import Tree, constant_tree, tree_sums
from .scale import cells

_DOUBLE = np.dtype(np.float64)


def product(context: Context, matrix: Matrix, weights: Any, bias: Any = None) -> Tensor:
    """`[rows, k]`: `X @ weights + bias`, whatever the order in which the features lie in the graph.

    Args:
        context: the step being compiled.
        matrix: numeric features.
        weights: `[features, k]`, sparse or not. Single precision on both sides is kept, as the original keeps it.
        bias: `[k]`, or None for no addition.
    """
    given = np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights)
    dtype = np.result_type(matrix.floating(), given.dtype)
    dense = context.reader.dense(matrix, dtype)
    arranged = np.zeros((dense.tensor.width, given.shape[1]), dtype)
    for feature, position in enumerate(dense.positions):
        arranged[position] += given[feature]
    graph = context.graph
    if bias is None:
        return graph.node("MatMul", [dense.tensor, graph.constant(arranged)], dtype, given.shape[1])
    added = np.ascontiguousarray(np.broadcast_to(np.asarray(bias, dtype).ravel(), (given.shape[1],)))
    return graph.node("Gemm", [dense.tensor, graph.constant(arranged), graph.constant(added)], dtype, given.shape[1])


def floats(context: Context, matrix: Matrix, tensor: Tensor, *others: Any) -> Matrix:
    """The columns of a tensor as features of the type numpy gives the data and these arrays together.

    Where the original computes in float32, so does the rounding of its result; its own arithmetic is less exact.
    """
    kept = np.result_type(matrix.floating(), *(np.dtype(other.dtype) for other in others))
    return Matrix(cells(context.graph.cast(tensor, kept), list(matrix.features)), kept)


def log1p(context: Context, x: Tensor) -> Tensor:
    """`log(1 + x)`, exact for small `x` too: the rounding of `1 + x` is divided out."""
    graph, one = context.graph, context.graph.constant(1.0)
    whole = graph.arithmetic("Add", x, one, x)
    kept = graph.arithmetic("Sub", whole, one, whole)
    logarithm = apply(context, "Log", whole)
    share = graph.arithmetic("Div", x, kept, x)
    corrected = graph.arithmetic("Mul", logarithm, share, x)
    tiny = graph.node("Equal", [kept, graph.constant(0.0)], np.bool_, x.width)
    huge = graph.node("Equal", [kept, x], np.bool_, x.width)
    return _where(context, tiny, x, _where(context, huge, logarithm, corrected))


def expm1(context: Context, x: Tensor) -> Tensor:
    """`exp(x) - 1`, exact for small `x` too."""
    graph, one = context.graph, context.graph.constant(1.0)
    power = apply(context, "Exp", x)
    less = graph.arithmetic("Sub", power, one, power)
    share = graph.arithmetic("Div", x, apply(context, "Log", power), x)
    corrected = graph.arithmetic("Mul", less, share, x)
    tiny = graph.node("Equal", [power, one], np.bool_, x.width)
    small = graph.node("Less", [apply(context, "Abs", x), one], np.bool_, x.width)
    return _where(context, tiny, x, _where(context, small, corrected, less))


def _where(context: Context, test: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return context.graph.node("Where", [test, yes, no], no.dtype, no.width)


def where(context: Context, test: Tensor, yes: Tensor | float, no: Tensor | float, like: Tensor) -> Tensor:
    """`yes` where the test holds, else `no`; plain numbers become constants of `like`'s type."""
    sides = [side if isinstance(side, Tensor) else context.graph.constant(side, like.dtype) for side in (yes, no)]
    return context.graph.node("Where", [test, *sides], like.dtype, like.width)


# Wichura's rational approximations of the normal quantile (AS 241, PPND16): the middle, and the tails down to 1e-11.
_MIDDLE = (
    "2.5090809287301226727e3 3.3430575583588128105e4 6.7265770927008700853e4 4.5921953931549871457e4 "
    "1.3731693765509461125e4 1.9715909503065514427e3 1.3314166789178437745e2 3.3871328727963666080e0",
    "5.2264952788528545610e3 2.8729085735721942674e4 3.9307895800092710610e4 2.1213794301586595867e4 "
    "5.3941960214247511077e3 6.8718700749205790830e2 4.2313330701600911252e1 1.0",
)
_TAIL = (
    "7.74545014278341407640e-4 2.27238449892691845833e-2 2.41780725177450611770e-1 1.27045825245236838258e0 "
    "3.64784832476320460504e0 5.76949722146069140550e0 4.63033784615654529590e0 1.42343711074968357734e0",
    "1.05075007164441684324e-9 5.47593808499534494600e-4 1.51986665636164571966e-2 1.48103976427480074590e-1 "
    "6.89767334985100004550e-1 1.67638483018380384940e0 2.05319162663775882187e0 1.0",
)


def normal_quantile(context: Context, p: Tensor) -> Tensor:
    """The standard normal's quantile of probabilities between 1e-11 and 1 - 1e-11."""
    graph = context.graph
    centred = scaled(context, "Sub", p, 0.5)
    square = graph.arithmetic("Mul", centred, centred, centred)
    inner = graph.arithmetic("Sub", graph.constant(0.180625), square, square)
    middle = graph.arithmetic("Mul", centred, _ratio(context, inner, _MIDDLE), centred)
    rest = graph.arithmetic("Sub", graph.constant(1.0), p, p)
    nearest = graph.arithmetic("Min", p, rest, p)
    depth = apply(context, "Sqrt", apply(context, "Neg", apply(context, "Log", nearest)))
    tail = _ratio(context, scaled(context, "Sub", depth, 1.6), _TAIL)
    tail = graph.arithmetic("Mul", tail, apply(context, "Sign", centred), tail)
    near = graph.node("LessOrEqual", [apply(context, "Abs", centred), graph.constant(0.425)], np.bool_, p.width)
    return _where(context, near, middle, tail)


def _ratio(context: Context, x: Tensor, coefficients: tuple[str, str]) -> Tensor:
    parts = []
    for text in coefficients:
        series = [float(word) for word in text.split()]
        total = scaled(context, "Mul", x, series[0])
        for value in series[1:-1]:
            total = context.graph.arithmetic("Mul", scaled(context, "Add", total, value), x, x)
        parts.append(scaled(context, "Add", total, series[-1]))
    return context.graph.arithmetic("Div", parts[0], parts[1], x)


def count_below(context: Context, matrix: Matrix, limits: list[np.ndarray], *, equal: bool) -> Tensor:
    """`[rows, features]` float64: how many of a feature's limits lie below its value, or at it where `equal`.

    One search tree a feature, so the raw columns are read and the limits become hard rows.

    Args:
        context: the step being compiled.
        matrix: numeric features, all as numbers of the matrix's type.
        limits: increasing, one array a feature.
        equal: whether a limit that equals the value counts.
    """
    kept = matrix.floating()
    trees = []
    for target, values in enumerate(limits):
        sorted_values = np.asarray(values, _DOUBLE)
        trees.append(_search_tree(target, np.nextafter(sorted_values, -np.inf) if equal else sorted_values))
    return tree_sums(context, matrix, trees, len(limits), rounding=lambda raw: raw.astype(kept))


def _search_tree(target: int, limits: np.ndarray) -> Tree:
    """A balanced tree whose leaf `i` is the number `i` of limits that lie strictly below the value."""
    count = len(limits)
    if count == 0:
        return constant_tree(target, 0.0)
    middles, left, right = [], [], []

    def build(low: int, high: int) -> int:
        if low == high:
            return -1 - low
        number, middle = len(middles), (low + high) // 2
        middles.append(middle)
        left.append(0)
        right.append(0)
        left[number] = build(low, middle)
        right[number] = build(middle + 1, high)
        return number

    build(0, count)
    none = np.zeros(count, np.int64)
    order = np.asarray(middles)
    return Tree(
        target,
        none + target,
        limits[order],
        none.astype(bool),
        np.asarray(left),
        np.asarray(right),
        np.arange(count + 1.0),
    )
