"""Numbers and tensors of a trace in the types that the runtime has operators for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Tensor
from .values import Array, Recorder

BOOL, WHOLE = np.dtype(np.bool_), np.dtype(np.int64)
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def numpy_type(recorder: Recorder, value: Any) -> Any:
    """What numpy's rules of types are asked with: Python's own types for plain numbers, else an element type."""
    if isinstance(value, Array):
        return value.dtype
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return type(value)
    if isinstance(value, np.generic | np.ndarray | list | tuple):
        dtype = np.asarray(value).dtype
        if dtype.kind in "biuf":
            return dtype
    return recorder.fail(f"computes with a {type(value).__name__}")


def working_type(recorder: Recorder, dtype: np.dtype) -> np.dtype:
    """The type in which to compute: integers all have 64 bits, and are cut to their own size afterwards."""
    if dtype in _FLOATS or dtype == BOOL:
        return dtype
    if dtype.kind in "iu" and dtype != np.dtype(np.uint64):
        return WHOLE
    return recorder.fail(f"computes with numbers of type {dtype}")


def cast_tensor(recorder: Recorder, tensor: Tensor, dtype: np.dtype) -> Tensor:
    """A tensor as another type, as numpy casts."""
    graph = recorder.context.graph
    if dtype == BOOL and tensor.dtype != BOOL:
        working = graph.cast(tensor, working_type(recorder, tensor.dtype))
        zero = graph.constant(0, working.dtype)
        same = graph.node("Equal", [working, zero], BOOL, tensor.width)
        return graph.node("Not", [same], BOOL, tensor.width)
    working_type(recorder, dtype)
    return graph.cast(tensor, dtype)


def constant_row(recorder: Recorder, value: Any) -> np.ndarray:
    """A constant as `[1, width]`; one with several rows cannot go with rows that are not known."""
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[0] == 1:
        return array
    if array.ndim > 1:
        recorder.fail("computes with a constant array that has rows of its own")
    return array.reshape(1, -1)


def constant_tensor(recorder: Recorder, value: np.ndarray, like: Array) -> Tensor:
    """A constant in every row, as wide as an array of the trace."""
    row = constant_row(recorder, value)
    if row.shape[1] not in (1, like.width) or (like.ndim == 1 and row.shape[1] != 1):
        recorder.fail("writes a constant of another width")
    row = np.ascontiguousarray(np.broadcast_to(row, (1, like.width)))
    return spread(recorder, row, like.traced_tensor)


def spread(recorder: Recorder, row: np.ndarray, like: Tensor) -> Tensor:
    """A constant row in as many rows as a tensor has."""
    graph = recorder.context.graph
    working = working_type(recorder, row.dtype)
    first = graph.gather(like, [0])
    yes = graph.node("Equal", [first, first], BOOL, 1)
    if working == BOOL:
        yes = graph.node("Or", [yes, graph.node("Not", [yes], BOOL, 1)], BOOL, 1)
        return graph.node("And", [yes, graph.constant(row)], BOOL, row.shape[1])
    constant = graph.constant(row, working)
    return graph.cast(graph.node("Where", [yes, constant, constant], working, row.shape[1]), row.dtype)


def choose(recorder: Recorder, test: Tensor | None, yes: Tensor, no: Tensor, width: int) -> Tensor:
    """`yes` where the test holds, else `no`, both of one type."""
    graph = recorder.context.graph
    if test is None and yes.width == width:
        return yes
    if test is None:
        return graph.gather(yes, [0] * width)
    if yes.dtype == BOOL:
        held = graph.node("And", [test, yes], BOOL, width)
        other = graph.node("And", [graph.node("Not", [test], BOOL, test.width), no], BOOL, width)
        return graph.node("Or", [held, other], BOOL, width)
    working = working_type(recorder, yes.dtype)
    sides = [graph.cast(side, working) for side in (yes, no)]
    return graph.cast(graph.node("Where", [test, *sides], working, width), yes.dtype)
