"""What stands in for numpy in the globals of a traced function: the functions that numpy would not hand over.

`numpy.asarray`, `numpy.zeros` and their like never ask the array that they are given. So a function is called with a
copy of its globals in which numpy's module is this one, which knows them and passes everything else on.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Tensor
from .frame import Frame, Series, plain
from .indexing import join_columns
from .operands import spread
from .values import Array, Recorder, Rows, TraceError, Turned, fresh_array

_STATES = ("random", "memmap", "load", "loadtxt", "genfromtxt", "fromfile", "vectorize", "frompyfunc")


class _IsArray(type):
    """Makes `isinstance(x, numpy.ndarray)` say of a traced array what it would say of the original."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Array | Turned | np.ndarray)


class _Kind(type):
    """Makes `isinstance(x, pandas.DataFrame)` say of a traced table what it would say of the original."""

    traced: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.traced)

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise TraceError(f"makes a `pandas.{cls.__name__}` of its own")


class Pandas:
    """The module `pandas` for one trace."""

    def __init__(self, pandas: Any) -> None:
        self._pandas = pandas

    def __getattr__(self, name: str) -> Any:
        return replaced_kind(getattr(self._pandas, name))

    def isna(self, obj: Any) -> Any:
        """Whether values are missing."""
        return np.isnan(obj) if isinstance(obj, Array) else obj.isna()

    isnull = isna

    def notna(self, obj: Any) -> Any:
        """Whether values are there."""
        return ~self.isna(obj)

    notnull = notna


def replaced_kind(value: Any) -> Any:
    """The stand-in for the classes of pandas that a trace has; others as they are."""
    if isinstance(value, type) and value.__module__.partition(".")[0] == "pandas":
        traced = {"DataFrame": Frame, "Series": Series}.get(value.__name__)
        if traced is not None:
            return _Kind(value.__name__, (), {"traced": traced})
    return value


class _Columns:
    """`numpy.c_`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getitem__(self, key: Any) -> Any:
        parts = plain(key if isinstance(key, tuple) else (key,))
        if not any(isinstance(part, Array) for part in parts):
            return np.c_[key]
        if not all(isinstance(part, Array) for part in parts):
            self._recorder.fail("joins columns and constants with `numpy.c_`")
        return join_columns(self._recorder, parts)


class Numpy:
    """The module `numpy` for one trace."""

    def __init__(self, recorder: Recorder, given: Array | Frame) -> None:
        self._recorder, self._given = recorder, given
        self.ndarray = _IsArray("ndarray", (), {})
        self.c_ = _Columns(recorder)

    def __getattr__(self, name: str) -> Any:
        if name in _STATES:
            self._recorder.fail(f"uses `numpy.{name}`")
        return getattr(np, name)

    def _like(self) -> Tensor:
        """A tensor with as many rows as the input."""
        given = self._given.to_numpy() if isinstance(self._given, Frame) else self._given
        return given.traced_tensor

    def asarray(self, a: Any, dtype: Any = None, **options: Any) -> Any:
        """The array itself, or a copy of another type."""
        a = plain(a)
        if isinstance(a, Array):
            return a if dtype is None or np.dtype(dtype) == a.dtype else a.astype(dtype)
        return self.array(a, dtype, **options)

    asanyarray = ascontiguousarray = asarray

    def array(self, object: Any, dtype: Any = None, **options: Any) -> Any:
        """A copy; a list of columns becomes rows of a transposed array."""
        object = plain(object)
        if isinstance(object, Array):
            copied = object.copy()
            return copied if dtype is None else copied.astype(dtype)
        if isinstance(object, list | tuple) and any(isinstance(part, Array) for part in object):
            stacked: Any = np.stack(list(object))
            return stacked if dtype is None else Turned(stacked.T.astype(dtype))
        return np.array(object, dtype=dtype, **options)

    def copy(self, a: Any, **options: Any) -> Any:
        """A copy."""
        return a.copy() if isinstance(a, Array) else np.copy(a, **options)

    def full(self, shape: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
        """A constant array, with as many rows as the input where its shape says so."""
        parts = shape if isinstance(shape, tuple | list) else (shape,)
        if not any(isinstance(part, Rows) for part in parts):
            return np.full(shape, fill_value, dtype, **options)
        if not isinstance(parts[0], Rows) or len(parts) > 2 or isinstance(fill_value, Array):
            self._recorder.fail("makes an array of another shape")
        row = np.full((1, int(parts[1]) if len(parts) == 2 else 1), fill_value, dtype)
        return fresh_array(self._recorder, spread(self._recorder, row, self._like()), len(parts))

    def zeros(self, shape: Any, dtype: Any = float, **options: Any) -> Any:
        """Zeros."""
        return self.full(shape, 0, dtype, **options)

    empty = zeros

    def ones(self, shape: Any, dtype: Any = float, **options: Any) -> Any:
        """Ones."""
        return self.full(shape, 1, dtype, **options)


def with_numpy(function: Any, numpy: Numpy) -> Any:
    """A function that sees the stand-in where it sees numpy; other callables as they are."""
    if isinstance(function, functools.partial):
        return functools.partial(with_numpy(function.func, numpy), *function.args, **function.keywords)
    if isinstance(function, types.MethodType):
        return types.MethodType(with_numpy(function.__func__, numpy), function.__self__)
    if not isinstance(function, types.FunctionType):
        return function
    return _copied(function, numpy, {})


def _copied(function: types.FunctionType, numpy: Numpy, done: dict[int, Any]) -> Any:
    """The function over a copy of its globals; its own helpers from the same module are copied with it."""
    if id(function) in done:
        return done[id(function)]
    names: dict[str, Any] = dict(function.__globals__)
    cells = None if function.__closure__ is None else tuple(types.CellType() for _ in function.__closure__)
    copied = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    copied.__kwdefaults__ = function.__kwdefaults__
    done[id(function)] = copied
    for name in _names(function.__code__):
        if name in names:
            names[name] = _replaced(names[name], function, numpy, done)
    for cell, original in zip(cells or (), function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _replaced(original.cell_contents, function, numpy, done)
        except ValueError:
            # An empty cell is a name not bound yet; so is the copy.
            continue
    return copied


def _names(code: types.CodeType) -> set[str]:
    """Names a function may look up, those of functions inside it too."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _replaced(value: Any, function: types.FunctionType, numpy: Numpy, done: dict[int, Any]) -> Any:
    if value is np:
        return numpy
    if isinstance(value, types.ModuleType) and value.__name__ == "pandas":
        return Pandas(value)
    if isinstance(value, type):
        return replaced_kind(value)
    if isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
        return _copied(value, numpy, done)
    name = getattr(value, "__name__", None)
    own: Callable[..., Any] | None = getattr(type(numpy), name, None) if isinstance(name, str) else None
    if own is not None and value is getattr(np, str(name), None):
        return getattr(numpy, str(name))
    return value
