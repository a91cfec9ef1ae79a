"""Sparse codes by orthogonal matching pursuit, written out: one atom a round, all weights solved anew after each."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..graph import Tensor
from ..pairwise import apply, scaled
from ..registry import Context
from .maths import where

_DOUBLE, _INDEX, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_LEAST = float(np.finfo(np.float64).eps)
"""What the original takes for nothing left: of a squared correlation, and of a new atom's part beyond the others."""
MOST_ROUNDS = 16


class _Rounds:
    """What is known of every row so far: chosen atoms, Cholesky's factor of their products, weights, the code."""

    def __init__(self, context: Context, covariance: Tensor, gram: np.ndarray) -> None:
        self.context, self.graph, self.covariance, self.gram = context, context.graph, covariance, gram
        self.atoms: list[Tensor] = []
        self.products: list[Tensor] = []
        self.low: list[list[Tensor]] = []
        self.chosen: list[Tensor] = []

    def arithmetic(self, operator: str, left: Tensor | str, right: Tensor | str) -> Tensor:
        """An operator on two columns."""
        return self.graph.node(operator, [left, right], _DOUBLE, 1)

    def picked(self, values: Tensor, place: Tensor) -> Tensor:
        """Each row's value at its place."""
        return self.graph.node("GatherElements", [values, place], _DOUBLE, 1, attributes={"axis": 1})

    def less(self, value: Tensor, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The value less a sum of products, subtracted one by one."""
        for left, right in parts:
            value = self.arithmetic("Sub", value, self.arithmetic("Mul", left, right))
        return value

    def add(self, atom: Tensor) -> Tensor:
        """Takes one more atom; says whether it brings something the others do not have."""
        flat = self.graph.node("Squeeze", [atom, self.graph.constant([1], _INDEX)], _INDEX, 0)
        table = self.graph.constant(self.gram)
        products = self.graph.node("Gather", [table, flat], _DOUBLE, len(self.gram), attributes={"axis": 0})
        row: list[Tensor] = []
        for number, other in enumerate(self.atoms):
            value = self.less(self.picked(products, other), list(zip(self.low[number], row, strict=False)))
            row.append(self.arithmetic("Div", value, self.low[number][number]))
        own = self.less(self.picked(products, atom), [(part, part) for part in row])
        limit = self.graph.constant(_LEAST if self.atoms else -np.inf)
        enough = self.graph.node("Greater", [own, limit], _BOOL, 1)
        self.atoms.append(atom)
        self.products.append(products)
        self.chosen.append(self.picked(self.covariance, atom))
        self.low.append([*row, self.graph.node("Sqrt", [own], _DOUBLE, 1)])
        return enough

    def weights(self) -> list[Tensor]:
        """The weights of all atoms so far: Cholesky's factor, forwards and back."""
        count = len(self.atoms)
        middle: list[Tensor] = []
        for i in range(count):
            value = self.less(self.chosen[i], list(zip(self.low[i], middle, strict=False)))
            middle.append(self.arithmetic("Div", value, self.low[i][i]))
        found = list(middle)
        for i in reversed(range(count)):
            value = self.less(middle[i], [(self.low[k][i], found[k]) for k in range(i + 1, count)])
            found[i] = self.arithmetic("Div", value, self.low[i][i])
        return found


def matching_pursuit(context: Context, covariance: Tensor, gram: np.ndarray, rounds: int) -> Tensor:
    """`[rows, atoms]`: weights of at most `rounds` atoms, zero for the others.

    Args:
        context: the step being compiled.
        covariance: products of each row with each atom.
        gram: products of the atoms with each other.
        rounds: how many atoms to take.
    """
    graph, width = context.graph, covariance.width
    state = _Rounds(context, covariance, np.ascontiguousarray(gram, _DOUBLE))
    none = graph.node("IsNaN", [covariance], _BOOL, width)
    zero = where(context, none, 0.0, 0.0, covariance)
    code, rest, going = zero, covariance, None
    for number in range(rounds):
        size = apply(context, "Abs", rest)
        atom = graph.node("ArgMax", [size], _INDEX, 1, attributes={"axis": 1, "keepdims": 1})
        largest = state.picked(rest, atom)
        squared = state.arithmetic("Mul", largest, largest)
        tests = [graph.node("GreaterOrEqual", [squared, graph.constant(_LEAST)], _BOOL, 1)]
        for other in state.atoms:
            same = graph.node("Equal", [other, atom], _BOOL, 1)
            tests.append(graph.node("Not", [same], _BOOL, 1))
        tests.append(state.add(atom))
        going = reduce(lambda a, b: graph.node("And", [a, b], _BOOL, 1), tests if going is None else [going, *tests])
        weights = state.weights()
        places = graph.concat(state.atoms)
        values = graph.concat(weights)
        filled = graph.node("ScatterElements", [zero, places, values], _DOUBLE, width, attributes={"axis": 1})
        code = where(context, going, filled, code, code)
        if number + 1 < rounds:
            parts = [graph.arithmetic("Mul", p, w, p) for p, w in zip(state.products, weights, strict=True)]
            explained = reduce(lambda a, b: graph.arithmetic("Add", a, b, b), parts)
            rest = graph.arithmetic("Sub", covariance, explained, covariance)
    return code


def coded(context: Context, model: Any, covariance: Tensor, atoms: np.ndarray) -> Tensor:
    """The code of a dictionary whose algorithm is `threshold` or `omp`."""
    if model.transform_algorithm == "omp":
        count = model.transform_n_nonzero_coefs
        rounds = int(min(max(atoms.shape[1] / 10, 1), len(atoms)) if count is None else count)
        if rounds > MOST_ROUNDS:
            raise context.refuse(model, f"its codes take more than {MOST_ROUNDS} atoms a row")
        return matching_pursuit(context, covariance, atoms @ atoms.T, rounds)
    if model.transform_algorithm != "threshold":
        reason = f"its coding searches anew for every row (transform_algorithm={model.transform_algorithm!r})"
        raise context.refuse(model, reason)
    alpha = getattr(model, "alpha", None) if model.transform_alpha is None else model.transform_alpha
    size = scaled(context, "Sub", apply(context, "Abs", covariance), 1.0 if alpha is None else float(alpha))
    size = scaled(context, "Max", size, 0.0)
    code = context.graph.arithmetic("Mul", apply(context, "Sign", covariance), size, size)
    return scaled(context, "Max", code, 0.0) if model.positive_code else code
