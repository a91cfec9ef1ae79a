"""Topics of documents: each row is fitted to the topics on its own, round by round until it moves no more."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Graph, Tensor
from ..pairwise import row_sum
from ..registry import Context, converter
from .maths import floats, where

_DOUBLE, _INDEX, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_EULER = 0.577215664901532860606512090082402431
_MOST_ROUNDS = 65_536


@converter("sklearn.decomposition._lda.LatentDirichletAllocation")
def topics(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The share of each topic in a row of counts."""
    if matrix.floating() != _DOUBLE:
        raise context.refuse(model, "its rounds in single precision end where theirs do by chance")
    rounds = int(model.max_doc_update_iter)
    if rounds > _MOST_ROUNDS:
        raise context.refuse(model, f"it goes on for more than {_MOST_ROUNDS:,} rounds")
    graph = context.graph
    counts = context.reader.ordered(matrix, _DOUBLE)
    words = np.ascontiguousarray(model.exp_dirichlet_component_, _DOUBLE)
    count = len(words)
    none = graph.node("IsNaN", [graph.gather(counts, [0])], _BOOL, 1)
    ones = where(context, none, 1.0, 1.0, counts)
    start = graph.node("Add", [ones, graph.constant(np.zeros((1, count)))], _DOUBLE, count)
    total = graph.node("Mul", [ones, graph.constant(float(count))], _DOUBLE, 1)
    share = graph.node("Exp", [graph.arithmetic("Sub", _psi(graph, start), _psi(graph, total), start)], _DOUBLE, count)
    going = graph.node("Not", [graph.node("Not", [graph.cast(ones, _BOOL)], _BOOL, 1)], _BOOL, 1)
    fitted = _fitted(graph, model, counts, words, (start, share, going), rounds)
    return floats(context, matrix, graph.arithmetic("Div", fitted, row_sum(context, fitted), fitted))


def _fitted(
    graph: Graph, model: Any, counts: Tensor, words: np.ndarray, state: tuple[Tensor, Tensor, Tensor], rounds: int
) -> Tensor:
    """Runs the rounds; a row that moved less than the tolerance stays as it is."""
    count, inner = len(words), graph.inner()
    turn, on = Tensor(inner.unique("turn"), _INDEX, -1), Tensor(inner.unique("going"), _BOOL, -1)
    topic, share, going = (Tensor(inner.unique("state"), tensor.dtype, tensor.width) for tensor in state)
    explained = inner.node("MatMul", [share, inner.constant(words)], _DOUBLE, counts.width)
    explained = inner.arithmetic("Add", explained, inner.constant(float(np.finfo(np.float64).eps)), explained)
    weight = inner.arithmetic("Div", counts, explained, explained)
    back = inner.node("MatMul", [weight, inner.constant(np.ascontiguousarray(words.T))], _DOUBLE, count)
    fresh = inner.arithmetic("Mul", share, back, share)
    fresh = inner.arithmetic("Add", fresh, inner.constant(float(model.doc_topic_prior_)), fresh)
    total = _in_turn(inner, fresh)
    moved = _in_turn(inner, inner.node("Abs", [inner.arithmetic("Sub", topic, fresh, fresh)], _DOUBLE, count))
    moved = inner.node("Div", [moved, inner.constant(float(count))], _DOUBLE, 1)
    logs = inner.arithmetic("Sub", _psi(inner, fresh), _psi(inner, total), fresh)
    new_share = inner.node("Exp", [logs], _DOUBLE, count)
    still = inner.node("Less", [moved, inner.constant(float(model.mean_change_tol))], _BOOL, 1)
    stays = inner.node("And", [going, inner.node("Not", [still], _BOOL, 1)], _BOOL, 1)
    kept = [
        inner.node("Where", [going, fresh, topic], _DOUBLE, count),
        inner.node("Where", [going, new_share, share], _DOUBLE, count),
        stays,
    ]
    some = inner.node("ReduceMax", [inner.cast(stays, np.int32)], np.int32, -1, attributes={"keepdims": 0})
    body, read = inner.body("round", [turn, on, topic, share, going], [inner.cast(some, _BOOL), *kept])
    made = graph.several(
        "Loop",
        [graph.constant(rounds, _INDEX), "", *state],
        [(_DOUBLE, count), (_DOUBLE, count), (_BOOL, 1)],
        attributes={"body": body},
        captured=read,
    )
    return made[0]


def _in_turn(graph: Graph, tensor: Tensor) -> Tensor:
    """The sum of the columns one after the other, as the original's loop adds them."""
    total = graph.gather(tensor, [0])
    for column in range(1, tensor.width):
        total = graph.arithmetic("Add", total, graph.gather(tensor, [column]), total)
    return total


def _psi(graph: Graph, x: Tensor) -> Tensor:
    """The digamma function as the original approximates it: shifted to 6 and above, then three terms of a series."""

    def node(operator: str, *inputs: Tensor | float) -> Tensor:
        names = [value if isinstance(value, Tensor) else graph.constant(value, _DOUBLE) for value in inputs]
        return graph.node(operator, names, _DOUBLE, x.width)

    def test(operator: str, left: Tensor, right: float) -> Tensor:
        return graph.node(operator, [left, graph.constant(right, _DOUBLE)], _BOOL, x.width)

    shifted, result = x, node("Mul", x, 0.0)
    result = graph.node(
        "Where", [test("Equal", result, 0.0), graph.constant(0.0), graph.constant(0.0)], _DOUBLE, x.width
    )
    for _ in range(6):
        low = test("Less", shifted, 6.0)
        result = graph.node("Where", [low, node("Sub", result, node("Div", 1.0, shifted)), result], _DOUBLE, x.width)
        shifted = graph.node("Where", [low, node("Add", shifted, 1.0), shifted], _DOUBLE, x.width)
    inverse = node("Div", 1.0, shifted)
    result = node("Add", result, node("Sub", node("Log", shifted), node("Mul", inverse, 0.5)))
    square = node("Mul", inverse, inverse)
    inner = node("Sub", 1.0 / 120.0, node("Mul", square, 1.0 / 252.0))
    series = node("Mul", square, node("Sub", 1.0 / 12.0, node("Mul", square, inner)))
    result = node("Sub", result, series)
    near = node("Sub", -_EULER, node("Div", 1.0, x))
    return graph.node("Where", [test("LessOrEqual", x, 1e-6), near, result], _DOUBLE, x.width)
