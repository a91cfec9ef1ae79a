"""The same answer in every row: constants with as many rows as the input has."""

from __future__ import annotations

from typing import Any

import numpy as np

from .columns import Matrix, Raw, Text, UnreadableError
from .graph import TEXT, Tensor
from .registry import Context

_INDEX = np.dtype(np.int64)


def constant_rows(context: Context, matrix: Matrix, values: Any, *, flat: bool = False) -> Tensor:
    """The same values in every row: `[rows, len(values)]`, or `[rows]` where `flat`.

    Args:
        context: the step being compiled.
        matrix: any features; one column of them says how many rows there are.
        values: one row.
        flat: give one value a row as `[rows]`; there must be one.
    """
    graph = context.graph
    row = np.asarray(values)
    if row.dtype.kind in "US":
        row = row.astype(TEXT)
    index = _zeros(context, matrix)
    constant = graph.constant(row if flat else row[None, :])
    return graph.node("Gather", [constant, index], row.dtype, 0 if flat else len(row), attributes={"axis": 0})


def _zeros(context: Context, matrix: Matrix) -> Tensor:
    """A zero a row, `[rows]` int64. Whatever the column holds, a comparison of it with itself is a row long."""
    graph = context.graph
    column = _any_column(context, matrix)
    same = graph.node("Equal", [column, column], np.bool_, 1)
    zero = graph.constant([[0]], _INDEX)
    zeros = graph.node("Where", [same, zero, zero], _INDEX, 1)
    return graph.node("Squeeze", [zeros, graph.constant([1], _INDEX)], _INDEX, 0)


def _any_column(context: Context, matrix: Matrix) -> Tensor:
    """One column of the matrix as a tensor, the first that can be read."""
    for feature in matrix.features:
        try:
            if isinstance(feature.source, Text):
                return feature.source.tensor
            if isinstance(feature.source, Raw) and feature.source.column.dtype == TEXT:
                return context.reader.text(feature.source.column).tensor
            return context.reader.cell(feature)
        except UnreadableError:
            continue
    raise UnreadableError("no column says how many rows there are")
