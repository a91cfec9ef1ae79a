"""What XGBoost's objectives make of the sums, in float32 and in the original's own steps.

Its exponential is the C library's for float32, which is not rounded correctly for one number in a few thousand; it is
made here from the same parts (a power of the 32nd root of two, and a cubic for the rest, in float64), so that answers
are equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .. import labels
from ..graph import Tensor
from ..registry import Context

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_HIGHEST = np.float32(88.7)
"""The largest number whose exponential XGBoost takes in its logistic function."""
_FAR = 200.0
_ROOTS = 32.0
_CUBIC = (
    float.fromhex("0x1.c6af84b912394p-5") / _ROOTS**3,
    float.fromhex("0x1.ebfce50fac4f3p-3") / _ROOTS**2,
    float.fromhex("0x1.62e42ff0c52d6p-1") / _ROOTS,
)
"""What multiplies the third, second and first power of the rest."""
_LEAST_SHARE = np.float32(1e-6)
"""A starting share is at least so far from 0 and 1."""

Link = Callable[[Context, Tensor], Tensor]


def base_margin(objective: str, base: np.ndarray) -> np.ndarray:
    """The starting margin of a starting value: every step in float32, the logarithm as the C library rounds it."""
    if objective in LOGISTIC:
        inside = np.clip(base, _LEAST_SHARE, _SINGLE.type(1) - _LEAST_SHARE)
        return -_logarithm(_SINGLE.type(1) / inside - _SINGLE.type(1))
    return _logarithm(base) if objective in EXPONENTIAL else base


def _logarithm(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values.astype(np.float64)).astype(_SINGLE)


def exponential(context: Context, margin: Tensor) -> Tensor:
    """`e` to the margin."""
    graph, width = context.graph, margin.width

    def step(operator: str, left: Tensor, right: Tensor | float) -> Tensor:
        value = right if isinstance(right, Tensor) else graph.constant(np.asarray([right]))
        return graph.node(operator, [left, value], _DOUBLE, width)

    wide = graph.cast(margin, _DOUBLE)
    # Beyond these all powers are infinite or zero in float32.
    low, high = graph.constant(-_FAR), graph.constant(_FAR)
    parts = step("Mul", graph.node("Clip", [wide, low, high], _DOUBLE, width), _ROOTS / math.log(2.0))
    whole = graph.node("Round", [parts], _DOUBLE, width)
    rest = step("Sub", parts, whole)
    square = step("Mul", rest, rest)
    upper = step("Mul", step("Add", step("Mul", rest, _CUBIC[0]), _CUBIC[1]), square)
    cubic = step("Add", upper, step("Add", step("Mul", rest, _CUBIC[2]), 1.0))
    two = graph.constant(np.asarray([2.0]))
    power = graph.node("Pow", [two, step("Div", whole, _ROOTS)], _DOUBLE, width)
    return graph.cast(step("Mul", cubic, power), _SINGLE)


def logistic(context: Context, margin: Tensor) -> Tensor:
    """One over one and `e` to the negative margin, every step rounded to float32."""
    graph = context.graph
    one = graph.constant(np.ones(1, _SINGLE))
    negative = graph.node("Neg", [margin], _SINGLE, margin.width)
    negative = graph.node("Min", [negative, graph.constant(np.asarray([_HIGHEST]))], _SINGLE, margin.width)
    below = graph.arithmetic("Add", exponential(context, negative), one, margin)
    return graph.arithmetic("Div", one, below, margin)


def softmax(context: Context, margin: Tensor) -> Tensor:
    """Float32 exponentials over their float64 sum."""
    graph = context.graph
    axes, keep = graph.constant(np.asarray([1])), {"keepdims": 1}
    largest = graph.node("ReduceMax", [margin, axes], _SINGLE, 1, attributes=keep)
    power = exponential(context, graph.arithmetic("Sub", margin, largest, margin))
    total = graph.node("ReduceSum", [graph.cast(power, _DOUBLE), axes], _DOUBLE, 1, attributes=keep)
    return graph.arithmetic("Div", power, graph.cast(total, _SINGLE), margin)


def step(context: Context, margin: Tensor) -> Tensor:
    """1 above zero, else 0."""
    return context.graph.cast(labels.positive(context, margin), _SINGLE)


def largest(context: Context, margin: Tensor) -> Tensor:
    """The number of the largest margin."""
    graph = context.graph
    place = graph.node("ArgMax", [margin], np.int64, 1, attributes={"axis": 1, "keepdims": 1})
    return graph.cast(place, _SINGLE)


def same(context: Context, margin: Tensor) -> Tensor:
    """The margin."""
    return margin


LOGISTIC = frozenset(("binary:logistic", "reg:logistic"))
EXPONENTIAL = frozenset(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"))
_SAME = (
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "reg:expectileerror",
    "binary:logitraw",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
)
LINKS: dict[str, Link] = {
    **dict.fromkeys(_SAME, same),
    **dict.fromkeys(EXPONENTIAL, exponential),
    "binary:logistic": logistic,
    "reg:logistic": logistic,
    "binary:hinge": step,
    "multi:softprob": softmax,
    "multi:softmax": largest,
}
