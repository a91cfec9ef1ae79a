"""Linear leaves of LightGBM: which leaf each tree ends in, then that leaf's own weights on the raw values.

Every sum is made from left to right, as the original makes it: one term after the other within a leaf, one tree after
the other within a score (CumSum is defined so, ReduceSum is not). A leaf that meets a value which is not finite falls
back to its constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context
from ..trees import tree_sums
from .text import BoosterText

_DOUBLE, _INTEGER = np.dtype(np.float64), np.dtype(np.int64)


def linear_sums(
    context: Context,
    matrix: Matrix,
    compared: Matrix,
    text: BoosterText,
    rounding: Callable[[np.ndarray], np.ndarray] | None,
) -> Tensor:
    """`[rows, outputs]` float64.

    Args:
        context: the step being compiled.
        matrix: the features that leaves weigh.
        compared: the same features as splits see them.
        text: the booster.
        rounding: to float32, where the original does so first.
    """
    graph, trees = context.graph, len(text.trees)
    starts = np.cumsum([0, *(len(tree.value) for tree in text.trees)])
    places = [
        replace(tree, target=number, value=np.arange(starts[number], starts[number + 1], dtype=np.float64))
        for number, tree in enumerate(text.trees)
    ]
    leaf = graph.cast(tree_sums(context, compared, places, trees, rounding=rounding), _INTEGER)
    used = sorted({f for leaves in text.linear for features in leaves.features for f in features})
    answer = _per_leaf(context, leaf, np.concatenate([leaves.constant for leaves in text.linear]))
    if used:
        values = _values(context, matrix, used, rounding)
        answer = _weighed(context, text, leaf, answer, values, {f: place for place, f in enumerate(used)})
    sums = [_running_sum(context, answer, list(range(k, trees, text.outputs))) for k in range(text.outputs)]
    return graph.concat(sums)


def _values(
    context: Context, matrix: Matrix, used: list[int], rounding: Callable[[np.ndarray], np.ndarray] | None
) -> Tensor:
    """The features that leaves weigh, and a last column of zeros for terms that a leaf lacks."""
    chosen = matrix.select(used)
    tensor = context.reader.ordered(chosen, np.float32 if rounding is not None else _DOUBLE)
    tensor = context.graph.cast(tensor, _DOUBLE)
    first = context.graph.gather(tensor, [0])
    same = context.graph.node("Equal", [first, first], np.bool_, 1)
    zero = context.graph.constant([[0.0]])
    return context.graph.concat([tensor, context.graph.node("Where", [same, zero, zero], _DOUBLE, 1)])


def _per_leaf(context: Context, leaf: Tensor, table: np.ndarray) -> Tensor:
    """What a table of all leaves says of the leaves met, `[rows, trees]`."""
    graph = context.graph
    return graph.node("Gather", [graph.constant(table), leaf], table.dtype, leaf.width, attributes={"axis": 0})


def _weighed(
    context: Context, text: BoosterText, leaf: Tensor, constant: Tensor, values: Tensor, place: dict[int, int]
) -> Tensor:
    graph, trees = context.graph, leaf.width
    leaves = [pair for tree in text.linear for pair in zip(tree.features, tree.weights, strict=True)]
    most = max(len(features) for features, _ in leaves)
    position = np.full((most, len(leaves)), values.width - 1, np.int64)
    weight = np.zeros((most, len(leaves)))
    for number, (features, weights) in enumerate(leaves):
        position[: len(features), number] = [place[feature] for feature in features]
        weight[: len(features), number] = weights
    odd, answer = None, constant
    limit = graph.constant(np.asarray([np.finfo(np.float64).max]))
    for term in range(most):
        where = _per_leaf(context, leaf, position[term])
        value = graph.node("GatherElements", [values, where], _DOUBLE, trees, attributes={"axis": 1})
        product = graph.arithmetic("Mul", _per_leaf(context, leaf, weight[term]), value, value)
        answer = graph.arithmetic("Add", answer, product, value)
        size = graph.node("Abs", [value], _DOUBLE, trees)
        finite = graph.node("LessOrEqual", [size, limit], np.bool_, trees)
        odd = finite if odd is None else graph.node("And", [odd, finite], np.bool_, trees)
    plain = _per_leaf(context, leaf, np.concatenate([tree.value for tree in text.trees]))
    return graph.node("Where", [odd, answer, plain], _DOUBLE, trees) if odd is not None else answer


def _running_sum(context: Context, terms: Tensor, chosen: list[int]) -> Tensor:
    """The sum of some columns from left to right."""
    graph = context.graph
    axis = graph.constant(np.asarray(1, np.int64))
    sums = graph.node("CumSum", [graph.gather(terms, chosen), axis], _DOUBLE, len(chosen))
    return graph.gather(sums, [len(chosen) - 1])
