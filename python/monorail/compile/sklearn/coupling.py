"""Probabilities out of libsvm's decisions between pairs of classes: a sigmoid a pair, then rounds until they agree."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .. import labels, reductions
from ..graph import Graph, Tensor
from ..pairwise import apply, row_sum, scaled
from ..registry import Context

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)
_LEAST = 1e-7
"""libsvm's bound for the chance of one class of a pair."""
_ENOUGH = 0.005
"""Rounds stop when no class is off by more than this share of one class's part."""


def coupled(context: Context, model: Any, decision: Tensor) -> Tensor:
    """The probability of each class, `[rows, classes]`.

    Args:
        context: the step being compiled.
        model: a classifier fitted with probabilities.
        decision: libsvm's decision value of every pair of classes.
    """
    graph, count = context.graph, len(model.classes_)
    slope, shift = (np.asarray(values, _DOUBLE).ravel() for values in (model._probA, model._probB))
    inner = scaled(context, "Add", scaled(context, "Mul", decision, slope), shift)
    first = labels.sigmoid(context, apply(context, "Neg", inner))
    # Written so, what is not a number becomes the least chance, as there.
    least = graph.constant(_LEAST)
    above = graph.node("Greater", [first, least], _BOOL, first.width)
    first = scaled(context, "Min", graph.node("Where", [above, first, least], _DOUBLE, first.width), 1 - _LEAST)
    second = graph.arithmetic("Sub", graph.constant(1.0), first, first)
    wins, losses = _tables(context, first, second, count)
    # Of the matrix that libsvm calls Q: its diagonal, and its columns.
    squares = graph.arithmetic("Mul", losses, losses, losses)
    zero = scaled(context, "Mul", graph.gather(first, [0]), 0.0)
    diagonal = graph.concat(
        [row_sum(context, graph.gather(squares, range(own * count, (own + 1) * count))) for own in range(count)]
    )
    crossed = apply(context, "Neg", graph.arithmetic("Mul", wins, losses, wins))
    columns = []
    for own in range(count):
        parts = [graph.gather(crossed, [other * count + own]) for other in range(count)]
        parts[own] = graph.gather(diagonal, [own])
        columns.append(graph.concat(parts))
    start = graph.node("Add", [zero, graph.constant(np.full((1, count), 1.0 / count))], _DOUBLE, count)
    return _rounds(context, start, columns, diagonal)


def _tables(context: Context, first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Row by row of a table of pairs: the chance of the row's class over the column's, and the reverse; 0 between."""
    graph = context.graph
    number = {pair: place for place, pair in enumerate(combinations(range(count), 2))}
    size = len(number)
    both = graph.concat([first, second, scaled(context, "Mul", graph.gather(first, [0]), 0.0)])
    wins, losses = [], []
    for own in range(count):
        for other in range(count):
            if own == other:
                wins.append(2 * size)
                losses.append(2 * size)
                continue
            place = number[min(own, other), max(own, other)]
            wins.append(place if own < other else size + place)
            losses.append(size + place if own < other else place)
    return graph.gather(both, wins), graph.gather(both, losses)


def _rounds(context: Context, start: Tensor, columns: list[Tensor], diagonal: Tensor) -> Tensor:
    """Improves the probabilities in turn until every row's agree, at most as often as libsvm does."""
    graph, count = context.graph, start.width
    body = graph.inner()
    turn, going = Tensor(body.unique("turn"), _INDEX, -1), Tensor(body.unique("going"), _BOOL, -1)
    shares = Tensor(body.unique("shares"), _DOUBLE, count)
    inside = Context(body, context.reader, context.path)
    products = _weighted(body, shares, columns)
    total = row_sum(inside, body.arithmetic("Mul", shares, products, shares))
    error = apply(inside, "Abs", body.arithmetic("Sub", products, total, products))
    worst = reductions.largest(inside, error)
    open_ = body.node("GreaterOrEqual", [worst, body.constant(_ENOUGH / count)], _BOOL, 1)
    moved = _round(body, shares, products, total, columns, diagonal)
    kept = body.node("Where", [open_, moved, shares], _DOUBLE, count)
    more = body.node("ReduceMax", [body.cast(open_, np.int32)], np.int32, -1, attributes={"keepdims": 0})
    made, read = body.body("round", [turn, going, shares], [body.cast(more, _BOOL), kept])
    limit = graph.constant(max(100, count), _INDEX)
    return graph.several("Loop", [limit, "", start], [(_DOUBLE, count)], attributes={"body": made}, captured=read)[0]


def _weighted(graph: Graph, shares: Tensor, columns: list[Tensor]) -> Tensor:
    total: Tensor | None = None
    for place, column in enumerate(columns):
        part = graph.arithmetic("Mul", column, graph.gather(shares, [place]), column)
        total = part if total is None else graph.arithmetic("Add", total, part, part)
    if total is None:
        raise ValueError("there are classes")
    return total


def _round(
    graph: Graph, shares: Tensor, products: Tensor, total: Tensor, columns: list[Tensor], diagonal: Tensor
) -> Tensor:
    """One improvement of every class's probability in turn."""
    count = shares.width
    for place in range(count):
        own, square = graph.gather(products, [place]), graph.gather(diagonal, [place])
        step = graph.arithmetic("Div", graph.arithmetic("Sub", total, own, own), square, own)
        only = graph.constant(np.eye(count)[place : place + 1])
        shares = graph.arithmetic("Add", shares, graph.node("Mul", [step, only], _DOUBLE, count), shares)
        whole = graph.arithmetic("Add", step, graph.constant(1.0), step)
        inside = graph.arithmetic(
            "Add",
            graph.arithmetic("Mul", step, square, step),
            graph.arithmetic("Mul", own, graph.constant(2.0), own),
            own,
        )
        total = graph.arithmetic("Add", total, graph.arithmetic("Mul", step, inside, step), step)
        total = graph.arithmetic("Div", graph.arithmetic("Div", total, whole, step), whole, step)
        added = graph.arithmetic("Mul", columns[place], step, products)
        products = graph.arithmetic("Div", graph.arithmetic("Add", products, added, products), whole, products)
        shares = graph.arithmetic("Div", shares, whole, shares)
    return shares
