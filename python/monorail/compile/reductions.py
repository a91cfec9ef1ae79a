"""Sums over the columns in numpy's order, and what is made of logarithms of shares."""

from __future__ import annotations

import numpy as np

from .graph import Graph, Tensor
from .registry import Context

_COLUMNS = np.dtype(np.int64)
_LANES = 8
_BLOCK = 128
"""Up to so many numbers numpy adds in eight lanes; more are halved first."""


def numpy_sum(context: Context, tensor: Tensor) -> Tensor:
    """The sum over the columns in the order in which numpy adds numbers that lie together, `[rows, 1]`."""
    return _range_sum(context.graph, tensor, 0, tensor.width)


def _range_sum(graph: Graph, tensor: Tensor, start: int, count: int) -> Tensor:
    if count > _BLOCK:
        half = count // 2
        half -= half % _LANES
        left = _range_sum(graph, tensor, start, half)
        return graph.arithmetic("Add", left, _range_sum(graph, tensor, start + half, count - half), left)
    if count < _LANES:
        total, rest = graph.gather(tensor, [start]), range(start + 1, start + count)
    else:
        lanes = graph.gather(tensor, range(start, start + _LANES))
        whole = count - count % _LANES
        for block in range(start + _LANES, start + whole, _LANES):
            lanes = graph.arithmetic("Add", lanes, graph.gather(tensor, range(block, block + _LANES)), lanes)
        while lanes.width > 1:
            even, odd = graph.gather(lanes, range(0, lanes.width, 2)), graph.gather(lanes, range(1, lanes.width, 2))
            lanes = graph.arithmetic("Add", even, odd, even)
        total, rest = lanes, range(start + whole, start + count)
    for column in rest:
        total = graph.arithmetic("Add", total, graph.gather(tensor, [column]), total)
    return total


def largest(context: Context, tensor: Tensor) -> Tensor:
    """The largest of the columns, `[rows, 1]`."""
    axes = context.graph.constant([1], _COLUMNS)
    return context.graph.node("ReduceMax", [tensor, axes], tensor.dtype, 1, attributes={"keepdims": 1})


def log_of_sum(context: Context, logs: Tensor) -> Tensor:
    """The logarithm of the sum of the columns' exponentials, `[rows, 1]`."""
    graph = context.graph
    top = largest(context, logs)
    shares = graph.node("Exp", [graph.arithmetic("Sub", logs, top, logs)], logs.dtype, logs.width)
    total = graph.node("Log", [numpy_sum(context, shares)], logs.dtype, 1)
    nothing = graph.constant(-np.inf, logs.dtype)
    none = graph.node("Equal", [top, nothing], np.bool_, 1)
    return graph.node("Where", [none, nothing, graph.arithmetic("Add", top, total, top)], logs.dtype, 1)


def shares_of_logs(context: Context, logs: Tensor) -> Tensor:
    """Each column's share of the sum of exponentials, by way of its logarithm as scikit-learn makes it."""
    graph = context.graph
    apart = graph.arithmetic("Sub", logs, log_of_sum(context, logs), logs)
    return graph.node("Exp", [apart], logs.dtype, logs.width)
