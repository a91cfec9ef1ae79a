"""What XGBoost's objectives make of the sums, in float32 and in the original's own steps.

The exponential is taken in float64 and rounded, which is the float32 number the C library gives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import labels
from ..graph import Tensor
from ..registry import Context

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_HIGHEST = np.float32(88.7)
"""The largest number whose exponential XGBoost takes in its logistic function."""
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
    wide = context.graph.cast(margin, _DOUBLE)
    return context.graph.cast(context.graph.node("Exp", [wide], _DOUBLE, margin.width), _SINGLE)


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
