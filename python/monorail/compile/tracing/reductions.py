"""Sums, means and other reductions over the columns of a traced array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Tensor
from .functions import FUNCTIONS, columns_axis, reads
from .operands import BOOL, WHOLE, cast_tensor, working_type
from .values import Array, Recorder, fresh_array


def _reduced(
    recorder: Recorder, array: Any, axis: Any, keepdims: Any, made: Callable[[Array], tuple[Tensor, bool]]
) -> Any:
    if not isinstance(array, Array):
        recorder.fail("computes over rows")
    columns_axis(recorder, array, axis)
    tensor, exact = made(array)
    return fresh_array(recorder, tensor, 2 if keepdims is True else 1, exact=exact and array.traced_exact)


def _sum_tensor(array: Array) -> Tensor:
    graph = array.recorder.context.graph
    # numpy adds truth values and small integers as 64-bit ones.
    dtype = WHOLE if array.dtype.kind in "bi" else array.dtype
    tensor = cast_tensor(array.recorder, array.traced_tensor, dtype)
    axes = graph.constant([1], WHOLE)
    return graph.node("ReduceSum", [tensor, axes], dtype, 1, attributes={"keepdims": 1})


@reads(np.sum)
def _sum(
    recorder: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> Any:
    if dtype is not None or out is not None:
        recorder.fail("sums into another type")
    return _reduced(recorder, a, axis, keepdims, lambda array: (_sum_tensor(array), array.dtype.kind in "bi"))


@reads(np.mean)
def _mean(
    recorder: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> Any:
    if dtype is not None or out is not None:
        recorder.fail("takes a mean in another type")
    a = a.astype(np.float64) if isinstance(a, Array) and a.dtype.kind in "biu" else a
    return _reduced(
        recorder, a, axis, keepdims, lambda array: ((np.sum(array, axis=1) / array.width).traced_tensor, False)
    )


def _variance(array: Array, ddof: float) -> Array:
    apart = array - np.mean(array, axis=1, keepdims=True)
    return np.sum(apart * apart, axis=1) / max(array.width - ddof, 0)


@reads(np.var)
def _var(
    recorder: Recorder,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
) -> Any:
    if dtype is not None or out is not None:
        recorder.fail("takes a variance in another type")
    return _reduced(recorder, a, axis, keepdims, lambda array: (_variance(array, ddof).traced_tensor, False))


@reads(np.std)
def _std(
    recorder: Recorder,
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
) -> Any:
    return np.sqrt(_var(recorder, a, axis, dtype, out, ddof, keepdims))


def _folded(operator: str) -> Callable[[Array], tuple[Tensor, bool]]:
    """Columns joined one after the other; the runtime's own reductions lose NaN."""

    def made(array: Array) -> tuple[Tensor, bool]:
        graph, dtype = array.recorder.context.graph, working_type(array.recorder, array.dtype)
        tensor = graph.cast(array.traced_tensor, dtype)
        total = graph.gather(tensor, [0])
        for column in range(1, array.width):
            total = graph.arithmetic(operator, total, graph.gather(tensor, [column]), total)
        return graph.cast(total, array.dtype), True

    return made


@reads(np.max, np.amax)
def _max(recorder: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return _reduced(recorder, a, axis, keepdims, _folded("Max"))


@reads(np.min, np.amin)
def _min(recorder: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return _reduced(recorder, a, axis, keepdims, _folded("Min"))


@reads(np.prod)
def _prod(
    recorder: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> Any:
    made = _folded("Mul")
    return _reduced(recorder, a, axis, keepdims, lambda array: (made(array)[0], array.dtype.kind in "iu"))


def _truths(operator: str) -> Callable[[Array], tuple[Tensor, bool]]:
    def made(array: Array) -> tuple[Tensor, bool]:
        return _folded(operator)(array if array.dtype == BOOL else array.astype(np.bool_))

    return made


@reads(np.any)
def _any(recorder: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return _reduced(recorder, a, axis, keepdims, _truths("Or"))


@reads(np.all)
def _all(recorder: Recorder, a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return _reduced(recorder, a, axis, keepdims, _truths("And"))


@reads(np.linalg.norm)
def _norm(recorder: Recorder, x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    if ord not in (None, 2, 1) or not isinstance(x, Array):
        recorder.fail("takes a norm of another kind")
    return (
        np.sum(np.abs(x), axis=axis, keepdims=keepdims)
        if ord == 1
        else np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    )


_REDUCTIONS = {
    "add": np.sum,
    "multiply": np.prod,
    "maximum": np.max,
    "minimum": np.min,
    "logical_and": np.all,
    "logical_or": np.any,
}


def reduce_ufunc(recorder: Recorder, ufunc: np.ufunc, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """`ufunc.reduce`."""
    function = _REDUCTIONS.get(ufunc.__name__)
    if function is None or set(options) - {"axis", "keepdims"}:
        recorder.fail(f"calls `{ufunc.__name__}.reduce`")
    return FUNCTIONS[function](
        recorder, inputs[0], axis=options.get("axis", 0), keepdims=options.get("keepdims", False)
    )
