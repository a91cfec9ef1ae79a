"""What `x[...]` and `x[...] = ...` do to a traced array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Tensor
from .operands import cast_tensor, choose, constant_tensor, numpy_type
from .values import Array

_BOOL = np.dtype(np.bool_)


def get_item(array: Array, key: Any) -> Array:
    """Columns, a new axis, or the cells where a condition holds."""
    if isinstance(key, Array):
        return _masked(array, key)
    rows, columns, view, ndim = _columns_of(array, key)
    found = array.view(columns, ndim)
    if rows is not None:
        return _masked(found, rows)
    return found if view else found.new(found.traced_tensor, ndim=ndim, exact=found.traced_exact)


def set_item(array: Array, key: Any, value: Any) -> None:
    """Replaces whole columns, or the cells where a condition holds."""
    condition: Array | None = None
    if isinstance(key, Array):
        condition, target = key, array
    else:
        condition, columns, _, ndim = _columns_of(array, key)
        target = array.view(columns, ndim)
    mask = None if condition is None else _mask_tensor(target, condition)
    new, exact = _value(target, value, mask)
    target.write(range(target.width), new, exact)


def _masked(array: Array, condition: Array) -> Array:
    """The chosen cells; they can only be computed with and written back where they came from."""
    mask = _mask_tensor(array, condition)
    return array.new(array.traced_tensor, exact=array.traced_exact, mask=mask)


def _mask_tensor(array: Array, condition: Array) -> Tensor:
    recorder = array.recorder
    if condition.dtype != _BOOL:
        recorder.fail("picks rows by their numbers")
    if condition.traced_mask is not None or array.traced_mask is not None:
        recorder.fail("picks cells out of picked cells")
    if condition.ndim > array.ndim or condition.width not in (1, array.width):
        recorder.fail("picks cells by a condition of another shape")
    if condition.ndim == 2 and condition.width != array.width:
        recorder.fail("picks cells by a condition of another shape")
    return condition.traced_tensor


def _columns_of(array: Array, key: Any) -> tuple[Array | None, list[int], bool, int]:
    """`(condition on rows, columns, whether it is a view, dimensions)` of an index."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = [part for part in parts if part is not Ellipsis]
    rows: Array | None = None
    if parts and isinstance(parts[0], Array):
        rows = parts[0]
    elif parts and not (isinstance(parts[0], slice) and parts[0] == slice(None)):
        if isinstance(key, tuple) and key[0] is Ellipsis and array.ndim == 2 and len(parts) == 1:
            return None, *_chosen(array, parts[0])
        array.recorder.fail("picks single rows")
    if array.ndim == 1:
        if len(parts) == 2 and parts[1] is None and rows is None:
            return None, [0], True, 2
        if len(parts) > 1:
            array.recorder.fail("indexes an array by more dimensions than it has")
        return rows, [0], True, 1
    if len(parts) < 2:
        return rows, list(range(array.width)), True, 2
    if len(parts) > 2:
        array.recorder.fail("makes an array of three dimensions")
    return rows, *_chosen(array, parts[1])


def _chosen(array: Array, part: Any) -> tuple[list[int], bool, int]:
    """The columns of one index, whether numpy gives a view for it, and the dimensions of the result."""
    numbers = range(array.width)
    if isinstance(part, int | np.integer) and not isinstance(part, bool | np.bool_):
        if not -array.width <= part < array.width:
            raise IndexError(f"index {part} is out of bounds for axis 1 with size {array.width}")
        return [numbers[int(part)]], True, 1
    if isinstance(part, slice):
        return list(numbers[part]), True, 2
    if part is None or isinstance(part, Array | tuple):
        array.recorder.fail("picks columns by values of its input or makes three dimensions")
    chosen = np.arange(array.width)[np.asarray(part)]
    if chosen.ndim != 1:
        array.recorder.fail("makes an array of three dimensions")
    return chosen.tolist(), False, 2


def _value(target: Array, value: Any, mask: Tensor | None) -> tuple[Tensor, bool]:
    """What the target's columns become."""
    recorder, old = target.recorder, target.traced_tensor
    if isinstance(value, Array):
        if value.traced_mask is not None and (mask is None or value.traced_mask.name != mask.name):
            recorder.fail("writes picked cells to other places")
        if mask is not None and value.traced_mask is None:
            recorder.fail("writes whole columns where only some cells were picked")
        if value.ndim != target.ndim and not (target.ndim == 2 and value.width == target.width == 1):
            recorder.fail("writes an array of other dimensions")
        if value.width not in (1, target.width):
            recorder.fail("writes an array of another width")
        exact = value.traced_exact and (target.dtype.kind == "f" or value.dtype.kind != "f")
        if target.dtype.kind != "f" and not value.traced_exact:
            recorder.fail("rounds numbers that are not exact to the last bit")
        new = cast_tensor(recorder, value.traced_tensor, target.dtype)
    else:
        numpy_type(recorder, value)
        new, exact = constant_tensor(recorder, np.asarray(value).astype(target.dtype), target), True
    return choose(recorder, mask, new, old, target.width), exact and (mask is None or target.traced_exact)


def join_columns(recorder: Any, arrays: Sequence[Array], ndim: int = 2) -> Array:
    """Arrays side by side, in the type numpy gives them together."""
    if any(array.traced_mask is not None for array in arrays):
        recorder.fail("joins picked cells")
    dtype = np.result_type(*(array.dtype for array in arrays))
    tensors = [cast_tensor(recorder, array.traced_tensor, dtype) for array in arrays]
    exact = all(array.traced_exact for array in arrays)
    return arrays[0].new(recorder.context.graph.concat(tensors), ndim=ndim, exact=exact)
