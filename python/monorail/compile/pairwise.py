"""Distances and kernels between the rows of a batch and fixed points: `[rows, n]`, never `[rows, n, features]`.

Two roads give squared distances. `squared_differences` adds feature by feature, as tree searches and support vector
machines do, and is exact to the last bit; `squared_by_product` expands the square into one matrix product, as
`sklearn.metrics.pairwise` does, and shares its rounding. Which one a converter takes is decided by its original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .columns import UnreadableError
from .graph import Tensor
from .registry import Context

_DOUBLE = np.dtype(np.float64)
_COLUMNS = np.dtype(np.int64)
KERNELS = ("linear", "poly", "polynomial", "rbf", "laplacian", "sigmoid", "cosine", "chi2", "additive_chi2")
"""The kernels by name that `kernel` knows."""


def points_of(values: Any) -> np.ndarray:
    """Fitted points as a plain `[n, features]` array of doubles; sparse ones are filled in."""
    return np.ascontiguousarray(values.toarray() if hasattr(values, "toarray") else values, _DOUBLE)


def apply(context: Context, operator: str, tensor: Tensor) -> Tensor:
    """An operator of one argument that keeps type and width."""
    return context.graph.node(operator, [tensor], tensor.dtype, tensor.width)


def scaled(context: Context, operator: str, tensor: Tensor, value: Any) -> Tensor:
    """`tensor OPERATOR value`, where the value is a number or one number a column."""
    return context.graph.arithmetic(operator, tensor, context.graph.constant(value, tensor.dtype), tensor)


def row_sum(context: Context, tensor: Tensor) -> Tensor:
    """The sum over the columns, `[rows, 1]`."""
    axes = context.graph.constant([1], _COLUMNS)
    return context.graph.node("ReduceSum", [tensor, axes], tensor.dtype, 1, attributes={"keepdims": 1})


def products(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """`x @ points.T`, `[rows, n]`."""
    graph = context.graph
    return graph.node("MatMul", [x, graph.constant(np.ascontiguousarray(points.T), x.dtype)], x.dtype, len(points))


def gathered_sum(
    context: Context,
    x: Tensor,
    points: np.ndarray,
    term: Callable[[Tensor, int], Tensor],
    join: str = "Add",
) -> Tensor:
    """Joins one `[rows, n]` term a feature, in the order of the features.

    Args:
        context: the step being compiled.
        x: `[rows, features]`.
        points: `[n, features]`.
        term: makes the term of a feature out of `x_j - points_j` and the feature's number.
        join: the operator that joins them.
    """
    graph = context.graph
    total: Tensor | None = None
    for feature in range(points.shape[1]):
        column = graph.gather(x, [feature])
        apart = graph.node("Sub", [column, graph.constant(points[:, feature], x.dtype)], x.dtype, len(points))
        made = term(apart, feature)
        total = made if total is None else graph.arithmetic(join, total, made, made)
    if total is None:
        raise UnreadableError("it has no features")
    return total


def squared_differences(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Squared Euclidean distances, summed feature by feature."""
    return gathered_sum(context, x, points, lambda apart, _: context.graph.arithmetic("Mul", apart, apart, apart))


def squared_norms(context: Context, x: Tensor) -> Tensor:
    """The squared length of each row, `[rows, 1]`."""
    return row_sum(context, context.graph.arithmetic("Mul", x, x, x))


def squared_by_product(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Squared Euclidean distances as `-2 x y + xx + yy`, not below zero: `sklearn.metrics.euclidean_distances`."""
    graph = context.graph
    doubled = scaled(context, "Mul", products(context, x, points), -2.0)
    total = graph.arithmetic("Add", doubled, squared_norms(context, x), doubled)
    total = scaled(context, "Add", total, np.einsum("ij,ij->i", points, points))
    return scaled(context, "Max", total, 0.0)


def searched_distances(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Squared distances as `xx - 2 x y + yy`, not below zero: a search through all points, to its rounding.

    There the lengths come from a dot product that rounds once for each feature, as matrix products do; so they are made
    by one here. Of 16 features and more its order of adding depends on the processor.
    """
    from scipy.linalg.blas import ddot  # pyright: ignore[reportAttributeAccessIssue]

    graph = context.graph
    row = graph.node("Unsqueeze", [x, graph.constant([1], _COLUMNS)], x.dtype, x.width)
    column = graph.node("Unsqueeze", [x, graph.constant([2], _COLUMNS)], x.dtype, 1)
    length = graph.node("MatMul", [row, column], x.dtype, 1)
    length = graph.node("Squeeze", [length, graph.constant([2], _COLUMNS)], x.dtype, 1)
    crossed = scaled(context, "Mul", products(context, x, points), -2.0)
    total = graph.arithmetic("Add", length, crossed, crossed)
    return scaled(context, "Max", scaled(context, "Add", total, np.asarray([ddot(y, y) for y in points])), 0.0)


def manhattan(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Sums of absolute differences."""
    return gathered_sum(context, x, points, lambda apart, _: apply(context, "Abs", apart))


def chebyshev(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """The largest absolute difference."""
    return gathered_sum(context, x, points, lambda apart, _: apply(context, "Abs", apart), "Max")


def powered(context: Context, x: Tensor, points: np.ndarray, power: float, weights: Any = None) -> Tensor:
    """Sums of `weight * |difference| ** power`: the Minkowski distance before its root."""

    def term(apart: Tensor, feature: int) -> Tensor:
        raised = scaled(context, "Pow", apply(context, "Abs", apart), power)
        return raised if weights is None else scaled(context, "Mul", raised, float(weights[feature]))

    return gathered_sum(context, x, points, term)


def unit_rows(context: Context, x: Tensor) -> Tensor:
    """Rows divided by their length; rows of zeros stay, as in `sklearn.preprocessing.normalize`."""
    graph = context.graph
    length = apply(context, "Sqrt", squared_norms(context, x))
    # A length of a few last digits of 1 counts as zero there.
    short = graph.node("Less", [length, graph.constant(10 * np.finfo(np.float64).eps)], np.bool_, 1)
    length = graph.node("Where", [short, graph.constant(1.0), length], _DOUBLE, 1)
    return graph.arithmetic("Div", x, length, x)


def unit_points(points: np.ndarray) -> np.ndarray:
    """The same for fixed points."""
    length = np.sqrt(np.einsum("ij,ij->i", points, points))
    length[length < 10 * np.finfo(np.float64).eps] = 1.0
    return points / length[:, None]


def cosine_similarity(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """`sklearn.metrics.pairwise.cosine_similarity`."""
    return products(context, unit_rows(context, x), unit_points(points))


def additive_chi2(context: Context, x: Tensor, points: np.ndarray) -> Tensor:
    """Minus the sum of `(x - y)^2 / (x + y)`, leaving out features where both are zero."""
    graph = context.graph

    def term(apart: Tensor, feature: int) -> Tensor:
        column = graph.gather(x, [feature])
        total = graph.node("Add", [column, graph.constant(points[:, feature])], _DOUBLE, len(points))
        share = graph.arithmetic("Div", graph.arithmetic("Mul", apart, apart, apart), total, apart)
        none = graph.node("Equal", [total, graph.constant(0.0)], np.bool_, len(points))
        return graph.node("Where", [none, graph.constant(0.0), share], _DOUBLE, len(points))

    return apply(context, "Neg", gathered_sum(context, x, points, term))


def kernel(
    context: Context,
    x: Tensor,
    points: np.ndarray,
    name: Any,
    *,
    gamma: float | None = None,
    degree: float = 3,
    coef0: float = 1,
) -> Tensor:
    """A kernel of `sklearn.metrics.pairwise` between rows and points, in its order of operations.

    Args:
        context: the step being compiled.
        x: `[rows, features]` doubles.
        points: `[n, features]`.
        name: the kernel.
        gamma: the factor; None is 1 for `chi2` and one over the number of features elsewhere.
        degree: the power of `poly`.
        coef0: the constant of `poly` and `sigmoid`.

    Raises:
        UnreadableError: the kernel is not in `KERNELS`; the step that asked is then refused.
    """
    if not isinstance(name, str) or name not in KERNELS:
        raise UnreadableError("its kernel is a function of its own" if callable(name) else f"its kernel is {name!r}")
    factor = (1.0 if name == "chi2" else 1.0 / points.shape[1]) if gamma is None else float(gamma)
    if name == "linear":
        return products(context, x, points)
    if name == "cosine":
        return cosine_similarity(context, x, points)
    if name in ("poly", "polynomial", "sigmoid"):
        inner = scaled(context, "Mul", products(context, x, points), factor)
        inner = scaled(context, "Add", inner, coef0)
        return apply(context, "Tanh", inner) if name == "sigmoid" else scaled(context, "Pow", inner, degree)
    if name == "rbf":
        return apply(context, "Exp", scaled(context, "Mul", squared_by_product(context, x, points), -factor))
    if name == "laplacian":
        return apply(context, "Exp", scaled(context, "Mul", manhattan(context, x, points), -factor))
    distance = additive_chi2(context, x, points)
    return distance if name == "additive_chi2" else apply(context, "Exp", scaled(context, "Mul", distance, factor))


def kernel_parameters(model: Any) -> Mapping[str, Any]:
    """`gamma`, `degree` and `coef0` of an estimator that has them, for `kernel`."""
    given = {name: getattr(model, name, None) for name in ("gamma", "degree", "coef0")}
    return {name: value for name, value in given.items() if value is not None}
