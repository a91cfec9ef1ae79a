"""Special functions in double precision out of basic operators; the runtime has some of them in single only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .graph import Tensor
from .pairwise import apply, scaled
from .registry import Context

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969): for each
# range the coefficients of the numerator and of the denominator, whose leading one is 1, from the highest power down.
_NEAR_UP = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_NEAR_DOWN = (1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
_MIDDLE_UP = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_DOWN = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
_FAR_UP = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_FAR_DOWN = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346047e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)
_NEAR, _FAR, _ONE_FROM = 0.46875, 4.0, 6.0


def erf(context: Context, x: Tensor) -> Tensor:
    """The error function, to the last digits."""
    size = apply(context, "Abs", x)
    # Beyond 6 it is 1 in double precision; the other branches then stay among ordinary numbers.
    y = scaled(context, "Min", size, _ONE_FROM)
    near = _near(context, x, y)
    rest = _complement(context, scaled(context, "Max", y, _NEAR))
    far = scaled(context, "Add", apply(context, "Neg", rest), 0.5)
    far = scaled(context, "Add", far, 0.5)
    far = context.graph.arithmetic("Mul", far, apply(context, "Sign", x), far)
    small = context.graph.node("LessOrEqual", [size, context.graph.constant(_NEAR)], np.bool_, x.width)
    return context.graph.node("Where", [small, near, far], x.dtype, x.width)


def _near(context: Context, x: Tensor, y: Tensor) -> Tensor:
    graph = context.graph
    squared = graph.arithmetic("Mul", y, y, y)
    return graph.arithmetic("Mul", x, _ratio(context, squared, _NEAR_UP, _NEAR_DOWN), x)


def _complement(context: Context, y: Tensor) -> Tensor:
    """One less the error function, from 0.46875 on."""
    graph = context.graph
    middle = _ratio(context, y, _MIDDLE_UP, _MIDDLE_DOWN)
    distant = scaled(context, "Max", y, _FAR)
    inverse = graph.arithmetic("Div", graph.constant(1.0), graph.arithmetic("Mul", distant, distant, y), y)
    share = graph.arithmetic("Mul", inverse, _ratio(context, inverse, _FAR_UP, _FAR_DOWN), y)
    far = graph.arithmetic("Sub", graph.constant(1.0 / np.sqrt(np.pi)), share, y)
    far = graph.arithmetic("Div", far, distant, y)
    inside = graph.node("LessOrEqual", [y, graph.constant(_FAR)], np.bool_, y.width)
    factor = graph.node("Where", [inside, middle, far], y.dtype, y.width)
    # exp(-y * y) in two parts, the first of a number that squares without rounding.
    coarse = scaled(context, "Div", apply(context, "Floor", scaled(context, "Mul", y, 16.0)), 16.0)
    fine = graph.arithmetic("Mul", graph.arithmetic("Sub", y, coarse, y), graph.arithmetic("Add", y, coarse, y), y)
    first = apply(context, "Exp", apply(context, "Neg", graph.arithmetic("Mul", coarse, coarse, y)))
    second = apply(context, "Exp", apply(context, "Neg", fine))
    return graph.arithmetic("Mul", graph.arithmetic("Mul", first, second, y), factor, y)


def _ratio(context: Context, x: Tensor, up: Sequence[float], down: Sequence[float]) -> Tensor:
    return context.graph.arithmetic("Div", _polynomial(context, x, up), _polynomial(context, x, down), x)


def _polynomial(context: Context, x: Tensor, coefficients: Sequence[float]) -> Tensor:
    total = scaled(context, "Add", scaled(context, "Mul", x, coefficients[0]), coefficients[1])
    for coefficient in coefficients[2:]:
        total = scaled(context, "Add", context.graph.arithmetic("Mul", total, x, x), coefficient)
    return total
