"""The table that a traced function is given where the original gives it a pandas frame.

Columns that the function does not touch pass as they are, text too. A column that it computes with is an array of the
trace; missing numbers are NaN in both. What pandas does beyond numpy is known for the methods listed here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ..columns import Cell, Feature, Matrix
from ..graph import TEXT
from .functions import FUNCTIONS, METHODS
from .values import Array, Recorder, Store

_OPERATORS = {
    "add": np.add,
    "sub": np.subtract,
    "subtract": np.subtract,
    "mul": np.multiply,
    "multiply": np.multiply,
    "div": np.true_divide,
    "divide": np.true_divide,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_ARRAYS = (np.where, np.select, np.column_stack, np.isin, np.digitize, np.searchsorted, np.nan_to_num, np.stack)
"""Functions that give arrays, whatever they are given."""


class _Elementwise(np.lib.mixins.NDArrayOperatorsMixin):
    """What a column and a table have in common: operations on every value."""

    recorder: Recorder

    def each(self, made: Callable[[Array], Any]) -> Any:
        """The same kind of thing with every column replaced."""
        raise NotImplementedError

    def joined(self, other: Any, made: Callable[[Array, Any], Any]) -> Any:
        """Every column together with the other side's."""
        raise NotImplementedError

    def abs(self) -> Any:
        """Absolute values."""
        return self.each(np.abs)

    def copy(self, deep: bool = True) -> Any:
        """A copy."""
        return self.each(lambda array: array.copy())

    def round(self, decimals: int = 0) -> Any:
        """Rounded to even."""
        return self.each(lambda array: np.round(array, decimals))

    def isna(self) -> Any:
        """Whether values are missing."""
        return self.each(np.isnan)

    isnull = isna

    def notna(self) -> Any:
        """Whether values are there."""
        return self.each(lambda array: ~np.isnan(array))

    notnull = notna

    def clip(self, lower: Any = None, upper: Any = None) -> Any:
        """Values moved between two limits, which are numbers."""
        if not all(limit is None or isinstance(limit, int | float) for limit in (lower, upper)):
            self.recorder.fail("clips by a column")
        return self.each(lambda array: np.clip(array, lower, upper))

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self.recorder.fail("makes a plain array of its input where that cannot be followed")

    def __bool__(self) -> NoReturn:
        self.recorder.fail("decides by the values of its input what to do (`if`, `while`, `and`, `or`)")

    def __len__(self) -> NoReturn:
        self.recorder.fail("asks for the number of rows")

    def __float__(self) -> NoReturn:
        self.recorder.fail("takes single values out of its input")

    __int__ = __float__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            self.recorder.fail(f"calls `{ufunc.__name__}` with options")
        if len(inputs) == 1:
            return self.each(ufunc)
        if inputs[0] is self:
            return self.joined(inputs[1], ufunc)
        return self.joined(inputs[0], lambda own, other: ufunc(other, own))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in (np.clip, np.round, np.around) and args[0] is self:
            return getattr(self, "clip" if function is np.clip else "round")(*args[1:], **kwargs)
        if function not in _ARRAYS:
            self.recorder.fail(f"calls `numpy.{function.__name__}` on a table")
        return FUNCTIONS[function](self.recorder, *(plain(value) for value in args), **kwargs)


def plain(value: Any) -> Any:
    """Columns as arrays, also inside lists."""
    if isinstance(value, Series):
        return value.array
    if isinstance(value, Frame):
        return value.to_numpy()
    return type(value)(plain(part) for part in value) if isinstance(value, list | tuple) else value


class Series(_Elementwise):
    """One column of numbers."""

    def __init__(self, recorder: Recorder, array: Array, name: Any = None) -> None:
        self.recorder, self.array, self.name = recorder, array, name

    def each(self, made: Callable[[Array], Any]) -> Series:
        """The column replaced."""
        return Series(self.recorder, made(self.array), self.name)

    def joined(self, other: Any, made: Callable[[Array, Any], Any]) -> Any:
        """The column together with another or a number."""
        if isinstance(other, Frame):
            self.recorder.fail("computes with a table and a column, which pandas aligns by name")
        if isinstance(other, np.ndarray | list) and np.size(other) != 1:
            self.recorder.fail("computes with a constant as long as a column")
        return Series(self.recorder, made(self.array, plain(other)), self.name)

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.array.dtype

    @property
    def values(self) -> Array:
        """The column as an array."""
        return self.array

    def to_numpy(self, dtype: Any = None) -> Array:
        """The column as an array."""
        return self.array if dtype is None else self.array.astype(dtype)

    def astype(self, dtype: Any) -> Series:
        """Another type."""
        return self.each(lambda array: array.astype(dtype))

    def rename(self, name: str) -> Series:
        """Another name."""
        return Series(self.recorder, self.array, name)

    def to_frame(self, name: Any = None) -> Frame:
        """A table of this column."""
        return Frame(self.recorder, {str(self.name if name is None else name): self.array})

    def fillna(self, value: Any) -> Series:
        """A number, or another column's, in place of what is missing."""
        if self.array.dtype.kind != "f":
            return self.copy()
        filled = plain(value) if isinstance(value, Series) else self.array.dtype.type(value)
        return self.each(lambda array: np.where(np.isnan(array), filled, array))

    def where(self, cond: Any, other: Any = np.nan) -> Series:
        """Itself where the condition holds, else the other."""
        return self.each(lambda array: np.where(plain(cond), array, plain(other)))

    def mask(self, cond: Any, other: Any = np.nan) -> Series:
        """Itself where the condition does not hold, else the other."""
        return self.each(lambda array: np.where(plain(cond), plain(other), array))

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Series:
        """Whether values lie between two others."""
        low = self >= left if inclusive in ("both", "left") else self > left
        return low & (self <= right if inclusive in ("both", "right") else self < right)

    def isin(self, values: Any) -> Series:
        """Whether values are among these."""
        return self.each(lambda array: np.isin(array, list(values)))

    def apply(self, func: Any) -> Series:
        """A universal function of numpy; another would be called value by value."""
        if not isinstance(func, np.ufunc):
            self.recorder.fail("applies a function to single values")
        return func(self)

    def __getattr__(self, name: str) -> Any:
        if name in _OPERATORS:
            return lambda other: _OPERATORS[name](self, other)
        if name.startswith("__"):
            raise AttributeError(name)
        return self.recorder.fail(f"uses `Series.{name}`")

    def __getitem__(self, key: Any) -> NoReturn:
        self.recorder.fail("picks rows of a column")

    def __iter__(self) -> NoReturn:
        self.recorder.fail("loops over rows")


class Frame(_Elementwise):
    """A table: by name a feature that nobody touched, or an array."""

    def __init__(self, recorder: Recorder, columns: Mapping[str, Feature | Array]) -> None:
        self._columns: dict[str, Feature | Array] = dict(columns)
        self.recorder = recorder

    def array(self, name: Any) -> Array:
        """One column of numbers."""
        if name not in self._columns:
            raise KeyError(name)
        column = self._columns[name]
        if isinstance(column, Array):
            return column
        if column.dtype == TEXT:
            self.recorder.fail(f"computes with column `{name}`, which is text")
        reader = self.recorder.context.reader
        origins = [column.origin]
        tensor = self.recorder.context.graph.cast(reader.cell(column), column.dtype)
        return Array(self.recorder, Store(tensor, True, origins), (0,), 1)

    def each(self, made: Callable[[Array], Any]) -> Frame:
        """Every column replaced."""
        return Frame(self.recorder, {name: made(self.array(name)) for name in self._columns})

    def joined(self, other: Any, made: Callable[[Array, Any], Any]) -> Frame:
        """Every column together with another table's or a number."""
        if isinstance(other, Frame):
            if list(other._columns) != list(self._columns):
                self.recorder.fail("computes with tables of different columns")
            return Frame(self.recorder, {n: made(self.array(n), other.array(n)) for n in self._columns})
        if not isinstance(other, int | float | np.generic):
            self.recorder.fail("computes with a table and a column, which pandas aligns by name")
        return self.each(lambda array: made(array, other))

    @property
    def columns(self) -> list[str]:
        """The names, in order."""
        return list(self._columns)

    @property
    def shape(self) -> tuple[Any, int]:
        """Rows, which are not known, and columns."""
        return (self.to_numpy().shape[0], len(self._columns))

    @property
    def values(self) -> Array:
        """All columns as one array."""
        return self.to_numpy()

    def to_numpy(self, dtype: Any = None) -> Array:
        """All columns as one array of the type that numpy gives them together."""
        made: Any = np.column_stack([self.array(name) for name in self._columns])
        return made if dtype is None else METHODS["astype"](made, dtype)

    def copy(self, deep: bool = True) -> Frame:
        """A copy."""
        return Frame(self.recorder, self._columns)

    def assign(self, **columns: Any) -> Frame:
        """A copy with more columns, each a value or a function of the table so far."""
        made = self.copy()
        for name, value in columns.items():
            made[name] = value(made) if callable(value) else value
        return made

    def drop(self, labels: Any = None, *, axis: Any = 0, columns: Any = None) -> Frame:
        """Without some columns."""
        names = labels if columns is None and axis in (1, "columns") else columns
        if names is None:
            self.recorder.fail("drops rows")
        gone = {names} if isinstance(names, str) else set(names)
        if not gone <= set(self._columns):
            raise KeyError(f"{sorted(gone - set(self._columns))} not found in axis")
        return Frame(self.recorder, {name: column for name, column in self._columns.items() if name not in gone})

    def rename(self, *, columns: Mapping[str, str]) -> Frame:
        """Other names."""
        return Frame(self.recorder, {columns.get(name, name): column for name, column in self._columns.items()})

    def fillna(self, value: Any) -> Frame:
        """Numbers in place of what is missing, one for all or by column."""
        made = self.copy()
        for name in self._columns if not isinstance(value, Mapping) else value:
            if name in self._columns:
                made[name] = self[name].fillna(value[name] if isinstance(value, Mapping) else value)
        return made

    def astype(self, dtype: Any) -> Frame:
        """Another type, for all or by column."""
        made = self.copy()
        for name in self._columns if not isinstance(dtype, Mapping) else dtype:
            made[name] = self[name].astype(dtype[name] if isinstance(dtype, Mapping) else dtype)
        return made

    def apply(self, func: Any) -> Frame:
        """A universal function of numpy; another could mix rows."""
        if not isinstance(func, np.ufunc):
            self.recorder.fail("applies a function to whole columns")
        return func(self)

    def pipe(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """The function of this table."""
        return func(self, *args, **kwargs)

    def _over_columns(self, axis: Any, made: Callable[[Any, Any], Any]) -> Series:
        if axis not in (1, "columns"):
            self.recorder.fail("computes over rows")
        values: Any = self.to_numpy()
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        return Series(self.recorder, made(values, ~np.isnan(values)))

    def sum(self, axis: Any = 0) -> Series:
        """Sums over the columns, what is missing left out."""
        if any(self.array(name).dtype.kind != "f" for name in self._columns):
            self.recorder.fail("sums columns of whole numbers in a table")
        return self._over_columns(axis, lambda values, there: np.sum(np.where(there, values, 0.0), axis=1))

    def mean(self, axis: Any = 0) -> Series:
        """Means over the columns, what is missing left out."""
        return self._over_columns(
            axis,
            lambda values, there: (
                np.sum(np.where(there, values, 0.0), axis=1) / np.sum(there.astype(np.float64), axis=1)
            ),
        )

    def get(self, key: Any, default: Any = None) -> Any:
        """A column, or the default."""
        return self[key] if key in self._columns else default

    def items(self) -> Iterator[tuple[str, Series]]:
        """Names and columns."""
        return iter([(name, self[name]) for name in self._columns])

    def keys(self) -> list[str]:
        """The names."""
        return self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._columns))

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return Series(self.recorder, self.array(key).copy(), key)
        if isinstance(key, list) and all(isinstance(name, str) for name in key):
            missing = [name for name in key if name not in self._columns]
            if missing or len(set(key)) < len(key):
                raise KeyError(f"{missing} not in index")
            return Frame(self.recorder, {name: self._columns[name] for name in key})
        return self.recorder.fail("picks rows of a table")

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str):
            self.recorder.fail("sets several columns or picked cells of a table")
        array = plain(value)
        if isinstance(array, bool | int | float | np.generic):
            some = self.array(next(iter(self._columns)))
            array = np.full_like(some, array, np.asarray(array).dtype)
        if not isinstance(array, Array) or array.ndim != 1:
            self.recorder.fail("sets a column to something other than a column")
        self._columns[key] = array.copy()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._columns:
            return self[name]
        if name in _OPERATORS:
            return lambda other: _OPERATORS[name](self, other)
        return self.recorder.fail(f"uses `DataFrame.{name}`")

    def matrix(self) -> Matrix:
        """The table as features, each with its own type and name."""
        features = []
        for name, column in self._columns.items():
            if isinstance(column, Array):
                tensor = column.traced_tensor
                made = Feature(Cell(tensor, 0), tensor.dtype, True, column.traced_origins[0], str(name))
                features.append(made)
            else:
                features.append(replace(column, name=str(name)))
        return Matrix(tuple(features))
