"""numpy's functions and array methods on traced arrays; those that mix rows end the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .indexing import join_columns
from .operands import BOOL, cast_tensor, constant_row, numpy_type, spread, working_type
from .ufuncs import where
from .values import Array, Recorder, Rows, Turned, fresh_array

FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""By numpy's function: what it does with traced arrays. Called with the recorder, then as numpy's own."""
METHODS: dict[str, Callable[..., Any]] = {}
"""By name: methods of arrays."""


def reads(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers what numpy functions do."""

    def register(made: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, made))
        return made

    return register


def call_function(recorder: Recorder, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What `__array_function__` answers."""
    made = FUNCTIONS.get(function)
    if made is None:
        recorder.fail(f"calls `numpy.{getattr(function, '__name__', function)}`")
    return made(recorder, *args, **kwargs)


def columns_axis(recorder: Recorder, array: Array, axis: Any) -> None:
    """Ends the trace unless an axis is that of the columns of a table."""
    if array.traced_mask is not None:
        recorder.fail("computes over picked cells")
    if array.ndim != 2 or axis not in (1, -1):
        recorder.fail("computes over rows")


# Joining and choosing columns.


def _parts(recorder: Recorder, arrays: Any, two: bool) -> list[Array]:
    """Arrays to put side by side, constants spread over the rows."""
    given = list(arrays.array.T) if isinstance(arrays, Turned) else list(arrays)
    known = next((value for value in given if isinstance(value, Array)), None)
    if known is None:
        recorder.fail("joins transposed arrays")
    parts = []
    for value in given:
        if not isinstance(value, Array):
            if isinstance(value, Turned) or not two:
                recorder.fail("joins arrays of other kinds")
            row = constant_row(recorder, value)
            value = fresh_array(recorder, spread(recorder, row, known.traced_tensor), 2)
        parts.append(value)
    return parts


@reads(np.column_stack)
def _column_stack(recorder: Recorder, tup: Any) -> Array:
    return join_columns(recorder, _parts(recorder, tup, False))


@reads(np.hstack)
def _hstack(recorder: Recorder, tup: Any, **options: Any) -> Array:
    return _concatenate(recorder, tup, axis=1, **options)


@reads(np.concatenate)
def _concatenate(recorder: Recorder, arrays: Any, axis: Any = 0, **options: Any) -> Array:
    parts = _parts(recorder, arrays, False)
    if options or axis not in (1, -1) or any(part.ndim != 2 for part in parts):
        recorder.fail("joins arrays by rows")
    return join_columns(recorder, parts)


@reads(np.stack)
def _stack(recorder: Recorder, arrays: Any, axis: Any = 0, **options: Any) -> Any:
    parts = _parts(recorder, arrays, False)
    if options or any(part.ndim != 1 for part in parts):
        recorder.fail("stacks arrays of two dimensions")
    joined = join_columns(recorder, parts)
    return joined if axis in (1, -1) else Turned(joined)


@reads(np.vstack)
def _vstack(recorder: Recorder, tup: Any, **options: Any) -> Turned:
    return _stack(recorder, tup, axis=0, **options)


@reads(np.delete)
def _delete(recorder: Recorder, arr: Any, obj: Any, axis: Any = None) -> Array:
    columns_axis(recorder, arr, axis)
    return arr[:, np.delete(np.arange(arr.width), obj)]


@reads(np.take)
def _take(recorder: Recorder, a: Any, indices: Any, axis: Any = None, **options: Any) -> Array:
    columns_axis(recorder, a, axis)
    return a[:, indices] if not options else recorder.fail("calls `numpy.take` with options")


@reads(np.fliplr)
def _fliplr(recorder: Recorder, m: Any) -> Array:
    return m[:, ::-1]


@reads(np.repeat)
def _repeat(recorder: Recorder, a: Any, repeats: Any, axis: Any = None) -> Array:
    columns_axis(recorder, a, axis)
    return a[:, np.repeat(np.arange(a.width), repeats)]


@reads(np.expand_dims)
def _expand_dims(recorder: Recorder, a: Any, axis: Any) -> Array:
    if a.ndim != 1 or axis not in (1, -1):
        recorder.fail("makes an array of other dimensions")
    return a[:, None]


@reads(np.squeeze)
def _squeeze(recorder: Recorder, a: Any, axis: Any = None) -> Array:
    if axis not in (None, 1, -1) or a.ndim != 2 or a.width != 1 or axis is None:
        # Without an axis a single row would lose its dimension too.
        recorder.fail("squeezes an array by what it holds")
    return a[:, 0]


@reads(np.atleast_2d)
def _atleast_2d(recorder: Recorder, *arys: Any) -> Array:
    if len(arys) != 1 or arys[0].ndim != 2:
        recorder.fail("turns a column into a row")
    return arys[0]


@reads(np.ravel)
def _ravel(recorder: Recorder, a: Any, order: str = "C") -> Array:
    return _reshape(recorder, a, -1)


@reads(np.reshape)
def _reshape(recorder: Recorder, a: Any, *shape: Any, order: str = "C", **options: Any) -> Array:
    wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if a.ndim == 2 and len(wanted) == 2 and not options and order == "C" and _same_shape(wanted, a.width):
        return a.view(range(a.width), 2)
    columns = [1 if place else None for place in range(len(wanted))]
    rows_kept = bool(wanted) and (isinstance(wanted[0], Rows) or wanted[0] == -1)
    if options or order != "C" or not rows_kept or a.width != 1 or list(wanted)[1:] != columns[1:] or len(wanted) > 2:
        recorder.fail("gives an array another shape")
    return a.view([0], len(wanted))


def _same_shape(wanted: Sequence[Any], width: int) -> bool:
    """Whether a shape of two dimensions is that of an array with this many columns."""
    rows, columns = wanted
    if isinstance(rows, Rows):
        return columns in (-1, width)
    return rows == -1 and columns == width


@reads(np.transpose)
def _transpose(recorder: Recorder, a: Any, axes: Any = None) -> Any:
    return a.T if axes is None else recorder.fail("transposes by axes")


@reads(np.diff)
def _diff(recorder: Recorder, a: Any, n: int = 1, axis: int = -1, **options: Any) -> Array:
    columns_axis(recorder, a, axis)
    if n != 1 or options or a.dtype == BOOL:
        recorder.fail("takes differences of another kind")
    return a[:, 1:] - a[:, :-1]


@reads(np.cumsum)
def _cumsum(recorder: Recorder, a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    columns_axis(recorder, a, axis)
    totals = [a[:, 0]]
    for column in range(1, a.width):
        totals.append(totals[-1] + a[:, column])
    return np.column_stack(totals)


# Values.


@reads(np.where)
def _where(recorder: Recorder, condition: Any, *sides: Any) -> Array:
    if len(sides) != 2:
        recorder.fail("asks for the places where a condition holds")
    if not isinstance(condition, Array):
        recorder.fail("chooses by a constant")
    return where(recorder, condition, *sides)


@reads(np.select)
def _select(recorder: Recorder, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    # numpy gives all choices and the default one type first.
    kinds = [numpy_type(recorder, value) for value in [*choicelist, default]]
    dtype = np.result_type(*(kind(0) if isinstance(kind, type) else kind for kind in kinds))
    result: Any = np.asarray(default, dtype)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        typed = choice.astype(dtype) if isinstance(choice, Array) else np.asarray(choice, dtype)
        result = np.where(condition, typed, result)
    return result


@reads(np.clip)
def _clip(recorder: Recorder, a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **options: Any) -> Any:
    low, high = options.pop("min", a_min), options.pop("max", a_max)
    if options or out is not None or not isinstance(a, Array):
        recorder.fail("clips with options")
    result = a if low is None else np.maximum(a, low)
    result = result if high is None else np.minimum(result, high)
    return result.copy() if result is a else result


@reads(np.nan_to_num)
def _nan_to_num(
    recorder: Recorder, x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not copy or x.dtype.kind != "f":
        recorder.fail("calls `numpy.nan_to_num` in place or on whole numbers")
    limits = np.finfo(x.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    x = np.where(np.isnan(x), x.dtype.type(nan), x)
    x = np.where(x == np.inf, x.dtype.type(high), x)
    return np.where(x == -np.inf, x.dtype.type(low), x)


@reads(np.round, np.around)
def _round(recorder: Recorder, a: Any, decimals: int = 0, out: Any = None) -> Any:
    if a.dtype.kind != "f":
        return a.copy() if decimals >= 0 and a.dtype.kind in "iu" else recorder.fail("rounds whole numbers to tens")
    if decimals == 0:
        return np.rint(a)
    scale = a.dtype.type(10.0 ** abs(decimals))
    return np.rint(a * scale) / scale if decimals > 0 else np.rint(a / scale) * scale


@reads(np.isin)
def _isin(recorder: Recorder, element: Any, test_elements: Any, **options: Any) -> Any:
    invert = options.pop("invert", False)
    if options or isinstance(test_elements, Array) or not isinstance(element, Array):
        recorder.fail("calls `numpy.isin` with options")
    values = np.asarray(test_elements).ravel()
    if not len(values):
        recorder.fail("asks for values among none")
    found = element == values[0]
    for value in values[1:]:
        found = found | (element == value)
    return ~found if invert else found


@reads(np.digitize)
def _digitize(recorder: Recorder, x: Any, bins: Any, right: bool = False) -> Any:
    limits = np.asarray(bins)
    if isinstance(bins, Array) or limits.ndim != 1 or np.any(np.diff(limits) < 0) or not len(limits):
        recorder.fail("calls `numpy.digitize` with bins that are not increasing constants")
    return np.searchsorted(limits, x, side="left" if right else "right")


@reads(np.searchsorted)
def _searchsorted(recorder: Recorder, a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    if isinstance(a, Array) or sorter is not None or v.ndim != 1:
        recorder.fail("searches among values of its input")
    limits = np.asarray(a)
    total: Any = None
    # NaN lies behind all numbers.
    for limit in limits:
        above = ~(v < limit) if side == "right" else ~(v <= limit)
        total = above.astype(np.int64) if total is None else total + above.astype(np.int64)
    return total if total is not None else recorder.fail("searches among no values")


@reads(np.zeros_like)
def _zeros_like(recorder: Recorder, a: Any, dtype: Any = None, **options: Any) -> Array:
    return _full_like(recorder, a, 0, dtype, **options)


@reads(np.ones_like)
def _ones_like(recorder: Recorder, a: Any, dtype: Any = None, **options: Any) -> Array:
    return _full_like(recorder, a, 1, dtype, **options)


@reads(np.empty_like)
def _empty_like(recorder: Recorder, prototype: Any, dtype: Any = None, **options: Any) -> Array:
    return _full_like(recorder, prototype, 0, dtype, **options)


@reads(np.full_like)
def _full_like(recorder: Recorder, a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Array:
    kind = a.dtype if dtype is None else np.dtype(dtype)
    if options or not isinstance(a, Array):
        recorder.fail("makes an array with options")
    row = np.full((1, a.width), fill_value, kind)
    return fresh_array(recorder, spread(recorder, row, a.traced_tensor), a.ndim)


@reads(np.dot)
def _dot(recorder: Recorder, a: Any, b: Any, out: Any = None) -> Array:
    return matmul(recorder, a, b)


def matmul(recorder: Recorder, left: Any, right: Any) -> Array:
    """A product with a constant matrix or vector."""
    if (
        not isinstance(left, Array)
        or isinstance(right, Array | Turned)
        or left.ndim != 2
        or left.traced_mask is not None
    ):
        recorder.fail("multiplies matrices that both come from its input")
    weights = np.asarray(right)
    dtype = np.result_type(left.dtype, weights.dtype)
    if weights.ndim not in (1, 2) or weights.shape[0] != left.width or dtype.kind != "f":
        recorder.fail("multiplies by a matrix that does not fit")
    columns = weights.reshape(left.width, -1)
    graph = recorder.context.graph
    tensor = cast_tensor(recorder, left.traced_tensor, working_type(recorder, dtype))
    made = graph.node("MatMul", [tensor, graph.constant(np.ascontiguousarray(columns), dtype)], dtype, columns.shape[1])
    return fresh_array(recorder, made, weights.ndim, exact=False)


@reads(np.copy)
def _copied(recorder: Recorder, a: Any, **_: Any) -> Array:
    return METHODS["copy"](a)


@reads(np.polyval)
def _polyval(recorder: Recorder, p: Any, x: Any) -> Any:
    total = np.zeros_like(x)
    for value in np.asarray(p):
        total = total * x + value
    return total


@reads(np.shape)
def _shape(recorder: Recorder, a: Any) -> Any:
    return a.shape


@reads(np.ndim)
def _ndim(recorder: Recorder, a: Any) -> int:
    return a.ndim


# Methods.


def _copy(array: Array, order: str = "C") -> Array:
    result = array.new(array.traced_tensor, exact=array.traced_exact, mask=array.traced_mask)
    result._store.origins = array.traced_origins
    return result


def _astype(array: Array, dtype: Any, copy: bool = True, **options: Any) -> Array:
    kind = np.dtype(dtype)
    if options or kind.kind not in "biuf":
        array.recorder.fail(f"turns numbers into {kind}")
    if kind == array.dtype:
        return _copy(array) if copy else array
    if kind.kind != "f" and array.dtype.kind == "f" and not array.traced_exact:
        array.recorder.fail("rounds numbers that are not exact to the last bit")
    made = cast_tensor(array.recorder, array.traced_tensor, kind)
    return array.new(made, exact=array.traced_exact, mask=array.traced_mask)


def _flatten(array: Array, order: str = "C") -> Array:
    return _copy(_reshape(array.recorder, array, -1))


def _fill(array: Array, value: Any) -> None:
    array[...] = value


METHODS.update({"copy": _copy, "astype": _astype, "flatten": _flatten, "fill": _fill})
_BY_FUNCTION = {
    "sum": np.sum, "mean": np.mean, "var": np.var, "std": np.std, "max": np.max, "min": np.min, "prod": np.prod,
    "any": np.any, "all": np.all, "take": np.take, "repeat": np.repeat, "squeeze": np.squeeze, "ravel": np.ravel,
    "reshape": np.reshape, "cumsum": np.cumsum, "clip": np.clip, "round": np.round, "dot": np.dot,
}  # fmt: skip


def _method(function: Any) -> Callable[..., Any]:
    return lambda array, *args, **kwargs: call_function(array.recorder, function, (array, *args), kwargs)


METHODS.update({name: _method(function) for name, function in _BY_FUNCTION.items()})
